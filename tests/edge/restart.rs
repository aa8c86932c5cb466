//! Whatever ends the daemon, and whenever: after the restart nothing is missing and nothing is said anew.
//!
//! The yardstick is a daemon that read the same input undisturbed. Ids are derived from the input, so both must have
//! said the same ids. A message may stand on the topic twice after a `kill -9`; then both are the same bytes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::clock::{now_ms, wait_for};
use crate::daemon::Daemon;
use crate::kafka::Kafka;
use crate::scene::Scene;
use crate::topic::Draft;
use crate::traffic::{MINUTE, SECOND, Service};

const LIMIT: Duration = Duration::from_secs(90);

/// A service whose deployment is the last message in order of time: its audit entry says that all is done.
const LAST: &str = "last";

/// As shares of the input: shortly after the first deployments, between the others, and near the end.
const INTERRUPTED_AT: [f64; 3] = [0.6, 0.7, 0.8];

/// Small sips. Else the daemon would have read everything before somebody could interrupt it. A sip is larger than a
/// batch, or the broker would serve only the first of the partitions asked for.
const SLOWLY: &str = r#"
"queued.min.messages" = "20"
"fetch.message.max.bytes" = "65536"
"fetch.queue.backoff.ms" = "50"
"#;

#[test]
fn after_sigterm_at_any_moment_the_same_is_said_once() {
    let input = Input::new();
    let undisturbed = input.undisturbed("sigterm-not");
    let scene = input.scene("sigterm", SLOWLY);
    let mut taken = 0.0;
    for part in INTERRUPTED_AT {
        let mut daemon = Daemon::launch(&scene);
        taken += input.wait_for_part(&mut daemon, part, taken);
        daemon.stop();
    }
    input.finish(&scene);
    let said = input.said(&scene);
    assert!(said.values().all(|messages| messages.len() == 1), "something was said twice: {said:#?}");
    assert_same(&scene, &said, &undisturbed);

    // Once more with nothing new to read: it has nothing to say.
    Daemon::start(&scene).stop();
    assert_eq!(input.said(&scene), said);
}

#[test]
fn after_kill_9_at_any_moment_the_same_is_said_with_the_same_ids() {
    let input = Input::new();
    let undisturbed = input.undisturbed("sigkill-not");
    let scene = input.scene("sigkill", SLOWLY);
    let mut taken = 0.0;
    for part in INTERRUPTED_AT {
        let mut daemon = Daemon::launch(&scene);
        taken += input.wait_for_part(&mut daemon, part, taken);
        daemon.kill();
    }
    input.finish(&scene);
    let said = input.said(&scene);
    for messages in said.values() {
        assert!(messages.iter().all(|message| *message == messages[0]), "one id, two contents: {messages:#?}");
    }
    assert_same(&scene, &said, &undisturbed);
}

/// The same bytes for every scene: six services, of which every other deployment is harmful.
pub struct Input {
    metrics: Vec<Draft>,
    deployments: Vec<Draft>,
    harmful: usize,
    /// Where the input ends; unix ms.
    end: i64,
}

impl Input {
    pub fn new() -> Input {
        Input::every(5 * SECOND)
    }

    /// With so many milliseconds between two samples of a series.
    pub fn every(step: i64) -> Input {
        let now = now_ms();
        let services: Vec<Service> = (0..6)
            .map(|n| {
                let service = Service::new(&format!("service-{n}")).every(step);
                let service = service.deployed_at(now - (45 - 5 * i64::from(n)) * MINUTE);
                if n % 2 == 0 { service.broken() } else { service }
            })
            .collect();
        let mut deployments: Vec<Draft> = services.iter().map(Service::deployment).collect();
        deployments.push(Service::new(LAST).deployed_at(now).deployment());
        let mut metrics: Vec<Draft> =
            services.iter().flat_map(|service| service.metrics(now - 105 * MINUTE, now)).collect();
        metrics.sort_by_key(|draft| draft.ts);
        Input { metrics, deployments, harmful: services.iter().filter(|service| service.broken).count(), end: now }
    }

    fn len(&self) -> usize {
        self.metrics.len() + self.deployments.len()
    }

    fn scene(&self, name: &str, properties: &'static str) -> Scene {
        let scene = Scene::with_properties(Kafka::shared(), name, properties);
        self.write(&scene);
        scene
    }

    pub fn write(&self, scene: &Scene) {
        scene.write("metrics", &self.metrics);
        scene.write("deployments", &self.deployments);
    }

    /// What a daemon says that nobody disturbs.
    pub fn undisturbed(&self, name: &str) -> Said {
        let scene = self.scene(name, "");
        self.finish(&scene);
        let said = self.said(&scene);
        let regressions = said.values().filter(|messages| messages[0].contains("\"verdict\":\"regression\"")).count();
        assert!(regressions >= self.harmful, "{} harmful deployments, but only this was said: {said:#?}", self.harmful);
        said
    }

    /// Until it is that far through the input, of which `before` messages were taken by others; how many it took.
    fn wait_for_part(&self, daemon: &mut Daemon, part: f64, before: f64) -> f64 {
        let deadline = Instant::now() + LIMIT;
        // No pause between two questions: thousands of messages are taken in the time of one.
        loop {
            daemon.assert_running();
            assert!(Instant::now() < deadline, "{part} of the input was not taken within {LIMIT:?}");
            let taken = daemon.messages();
            if before + taken >= part * self.len() as f64 {
                return taken;
            }
        }
    }

    /// Lets a daemon read what is left and stops it.
    pub fn finish(&self, scene: &Scene) {
        let mut daemon = Daemon::start(scene);
        wait_for("the last message to be answered", LIMIT, || {
            daemon.assert_running();
            let audit = scene.read("audit");
            audit.iter().any(|entry| entry.json()["data"]["deployment"] == format!("deploy-{LAST}")).then_some(())
        });
        assert!(daemon.messages() > 0.0, "nothing was left: the interruptions came too late to mean anything");
        daemon.stop();
    }

    /// What was said up to the end of the input. After it time goes on with the clock on the wall, so that a daemon
    /// which was interrupted lives to see another deadline, such as that nobody answered.
    pub fn said(&self, scene: &Scene) -> Said {
        let mut said = Said::new();
        for message in scene.recommendations() {
            let id = message["id"].as_str().expect("every message has an id").to_owned();
            let time = message["time"].as_str().expect("every message has a time");
            let time: jiff::Timestamp = time.parse().expect("the time of a message is RFC 3339");
            if time.as_millisecond() <= self.end {
                said.entry(id).or_default().push(message.to_string());
            }
        }
        said
    }
}

/// By id, everything that was published under it, in order.
pub type Said = BTreeMap<String, Vec<String>>;

/// The same ids, or it shows what the one said and the other did not, and how that came about.
pub fn assert_same(scene: &Scene, said: &Said, undisturbed: &Said) {
    let only = |these: &Said, those: &Said| -> Vec<String> {
        these.iter().filter(|(id, _)| !those.contains_key(*id)).flat_map(|(_, messages)| messages.clone()).collect()
    };
    let (more, less) = (only(said, undisturbed), only(undisturbed, said));
    let audit = || -> Vec<String> { scene.read("audit").iter().map(|entry| entry.json().to_string()).collect() };
    assert!(more.is_empty() && less.is_empty(), "too much: {more:#?}\ntoo little: {less:#?}\naudit: {:#?}", audit());
}
