//! What a daemon reads while something goes wrong, and what one said that read the same undisturbed.
//!
//! Six services over an hour and three quarters, of which every other deployment is harmful. The input is the same
//! bytes for every scene, made once; so is the undisturbed run, which every other is held against.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::clock::{now_ms, wait_for};
use crate::daemon::Daemon;
use crate::kafka::Kafka;
use crate::scene::Scene;
use crate::topic::Draft;
use crate::traffic::{MINUTE, SECOND, Service};

pub const LIMIT: Duration = Duration::from_secs(90);

/// A service whose deployment is the last message in order of time: its audit entry says that all is done.
const LAST: &str = "last";

/// Small sips with so many milliseconds between them, and more properties. Else the daemon would have read everything
/// before somebody could interrupt it. A sip is larger than a batch, or the broker would serve only the first of the
/// partitions asked for.
macro_rules! sips {
    ($every:literal $(, $more:literal)*) => {
        concat!(
            "\"queued.min.messages\" = \"20\"\n\"fetch.message.max.bytes\" = \"65536\"\n",
            "\"fetch.queue.backoff.ms\" = \"", $every, "\"\n",
            $($more, "\n",)*
        )
    };
}
pub(crate) use sips;

pub const SLOWLY: &str = sips!(50);

pub struct Input {
    pub metrics: Vec<Draft>,
    pub deployments: Vec<Draft>,
    /// Ids of the harmful deployments.
    pub harmful: Vec<String>,
    /// Where the input ends; unix ms.
    pub end: i64,
}

/// By id, everything that was published under it, in order.
pub type Said = BTreeMap<String, Vec<String>>;

impl Input {
    /// The input of all tests that need no other, and what is said of it undisturbed.
    pub fn shared() -> &'static (Input, Said) {
        static SHARED: OnceLock<(Input, Said)> = OnceLock::new();
        SHARED.get_or_init(|| {
            let input = Input::every(10 * SECOND);
            let undisturbed = input.undisturbed("undisturbed");
            (input, undisturbed)
        })
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
        let harmful = services.iter().filter(|service| service.broken).map(Service::deployment_id).collect();
        Input { metrics, deployments, harmful, end: now }
    }

    pub fn len(&self) -> usize {
        self.metrics.len() + self.deployments.len()
    }

    pub fn write(&self, scene: &Scene) {
        scene.write("metrics", &self.metrics);
        scene.write("deployments", &self.deployments);
    }

    /// What a daemon says that nobody disturbs.
    pub fn undisturbed(&self, name: &str) -> Said {
        let scene = Scene::new(Kafka::shared(), name);
        self.write(&scene);
        self.finish(&scene);
        let said = self.said(&scene);
        assert_eq!(Input::accused(&said), self.harmful, "not even undisturbed the truth is found: {said:#?}");
        said
    }

    /// Until it is that far through the input, of which `before` messages were taken by others; how many it took.
    pub fn wait_for_part(&self, daemon: &mut Daemon, part: f64, before: f64) -> f64 {
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

    /// Until it has answered the last message.
    pub fn wait_for_the_end(&self, daemon: &mut Daemon, scene: &Scene) {
        wait_for("the last message to be answered", LIMIT, || {
            daemon.assert_running();
            let audit = scene.read("audit");
            audit.iter().any(|entry| entry.json()["data"]["deployment"] == format!("deploy-{LAST}")).then_some(())
        });
    }

    /// Lets a daemon read what is left, and there must be something.
    pub fn finish(&self, scene: &Scene) {
        assert!(self.read_on(scene) > 0.0, "nothing was left: the interruptions came too late to mean anything");
    }

    /// Lets a daemon read what is left, if anything, and stops it; how many messages that were.
    pub fn read_on(&self, scene: &Scene) -> f64 {
        let mut daemon = Daemon::start(scene);
        self.wait_for_the_end(&mut daemon, scene);
        let taken = daemon.messages();
        daemon.stop();
        taken
    }

    /// The ids of the deployments that were called a regression, in order.
    pub fn accused(said: &Said) -> Vec<String> {
        let mut accused: Vec<String> = said.values().filter_map(|messages| accused(&messages[0])).collect();
        accused.sort_unstable();
        accused.dedup();
        accused
    }

    /// What was said up to the end of the input. After it time goes on with the clock on the wall, so that a daemon
    /// which was interrupted lives to see another deadline, such as that nobody answered.
    pub fn said(&self, scene: &Scene) -> Said {
        let mut said = Said::new();
        for mut message in scene.recommendations() {
            let id = message["id"].as_str().expect("every message has an id").to_owned();
            let time = message["time"].as_str().expect("every message has a time");
            let time: jiff::Timestamp = time.parse().expect("the time of a message is RFC 3339");
            if time.as_millisecond() <= self.end {
                // Which configuration decided may differ; what was decided may not.
                message["data"]["decision"]["config"].take();
                said.entry(id).or_default().push(message.to_string());
            }
        }
        said
    }
}

/// The deployment's id, if the message calls it a regression.
fn accused(message: &str) -> Option<String> {
    let message: serde_json::Value = serde_json::from_str(message).expect("it was written by us");
    let data = &message["data"];
    (data["verdict"] == "regression").then(|| data["deployment"]["id"].as_str().map(str::to_owned))?
}
