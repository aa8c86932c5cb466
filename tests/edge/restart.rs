//! Whatever ends the daemon, and whenever: after the restart nothing is missing and nothing is said anew.
//!
//! The yardstick is a daemon that read the same input undisturbed. Ids are derived from the input, so both must have
//! said the same ids. A message may stand on the topic twice after a `kill -9`; then both are the same bytes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::clock::{ask_until, now_ms};
use crate::daemon::Daemon;
use crate::kafka::Kafka;
use crate::scene::Scene;
use crate::topic::Draft;
use crate::traffic::{MINUTE, SECOND, Service};

const LIMIT: Duration = Duration::from_secs(90);

#[test]
fn after_sigterm_at_any_moment_the_same_is_said_once() {
    let input = Input::new();
    let undisturbed = input.undisturbed("sigterm-not");
    let scene = input.scene("sigterm");
    for part in 1..=3 {
        let mut daemon = Daemon::start(&scene);
        input.wait_for_part(&mut daemon, part, 4);
        daemon.stop();
    }
    input.finish(&scene);
    let said = said(&scene);
    assert!(said.values().all(|messages| messages.len() == 1), "something was said twice: {said:#?}");
    assert_eq!(ids(&said), ids(&undisturbed));

    // Once more with nothing new to read: it has nothing to say.
    Daemon::start(&scene).stop();
    assert_eq!(self::said(&scene), said);
}

#[test]
fn after_kill_9_at_any_moment_the_same_is_said_with_the_same_ids() {
    let input = Input::new();
    let undisturbed = input.undisturbed("sigkill-not");
    let scene = input.scene("sigkill");
    for part in 1..=3 {
        let mut daemon = Daemon::launch(&scene);
        input.wait_for_part(&mut daemon, part, 4);
        daemon.kill();
    }
    input.finish(&scene);
    let said = said(&scene);
    for messages in said.values() {
        assert!(messages.iter().all(|message| *message == messages[0]), "one id, two contents: {messages:#?}");
    }
    assert_eq!(ids(&said), ids(&undisturbed));
}

/// The same bytes for every scene: six services, of which every other deployment is harmful.
struct Input {
    metrics: Vec<Draft>,
    deployments: Vec<Draft>,
    harmful: usize,
}

impl Input {
    fn new() -> Input {
        let now = now_ms();
        let services: Vec<Service> = (0..6)
            .map(|n| {
                let service = Service::new(&format!("service-{n}")).every(10 * SECOND);
                let service = service.deployed_at(now - (45 - 5 * i64::from(n)) * MINUTE);
                if n % 2 == 0 { service.broken() } else { service }
            })
            .collect();
        let deployments: Vec<Draft> = services.iter().map(Service::deployment).collect();
        let mut metrics: Vec<Draft> =
            services.iter().flat_map(|service| service.metrics(now - 240 * MINUTE, now)).collect();
        metrics.sort_by_key(|draft| draft.ts);
        Input { metrics, deployments, harmful: services.iter().filter(|service| service.broken).count() }
    }

    fn len(&self) -> usize {
        self.metrics.len() + self.deployments.len()
    }

    fn scene(&self, name: &str) -> Scene {
        let scene = Scene::new(Kafka::shared(), name);
        scene.write("metrics", &self.metrics);
        scene.write("deployments", &self.deployments);
        scene
    }

    /// What a daemon says that nobody disturbs.
    fn undisturbed(&self, name: &str) -> Said {
        let scene = self.scene(name);
        let mut daemon = Daemon::start(&scene);
        daemon.wait_for_messages(self.len(), LIMIT);
        daemon.stop();
        let said = said(&scene);
        let regressions = said.values().filter(|messages| messages[0].contains("\"verdict\":\"regression\"")).count();
        assert!(regressions >= self.harmful, "{} harmful deployments, but only this was said: {said:#?}", self.harmful);
        said
    }

    /// Until the daemon is in the middle: that far through the input, counted from its own start.
    fn wait_for_part(&self, daemon: &mut Daemon, part: usize, parts: usize) {
        let enough = (self.len() * part / parts / 3) as f64;
        let deadline = Instant::now() + LIMIT;
        while daemon.messages() < enough {
            daemon.assert_running();
            assert!(Instant::now() < deadline, "{enough} messages were not taken within {LIMIT:?}");
        }
    }

    /// Lets a daemon read to the end and stops it.
    fn finish(&self, scene: &Scene) {
        let mut daemon = Daemon::start(scene);
        let done = ask_until(LIMIT, || {
            daemon.assert_running();
            (daemon.messages() > 0.0 || daemon.is_ready()).then_some(())?;
            (lag(&daemon)? == 0.0).then_some(())
        });
        assert!(done.is_some(), "the input was not read to its end within {LIMIT:?}");
        daemon.stop();
    }
}

/// Messages not yet taken, once all partitions are known.
fn lag(daemon: &Daemon) -> Option<f64> {
    let exposition = daemon.exposition()?;
    exposition.contains("regressd_consumer_lag_messages{").then(|| daemon.metric("regressd_consumer_lag_messages", &[]))
}

/// By id, everything that was published under it, in order.
type Said = BTreeMap<String, Vec<String>>;

fn said(scene: &Scene) -> Said {
    let mut said = Said::new();
    for message in scene.recommendations() {
        let id = message["id"].as_str().expect("every message has an id").to_owned();
        said.entry(id).or_default().push(message.to_string());
    }
    said
}

fn ids(said: &Said) -> Vec<&str> {
    said.keys().map(String::as_str).collect()
}
