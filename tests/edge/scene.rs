//! One daemon's surroundings: its own topics on a broker, its state folder, its configuration file.
//!
//! Scenes share nothing, so tests may run side by side on one broker. The settings are the defaults but for where
//! things are, for `recommend` (so that a regression is spoken of plainly) and for judging deployments of before the
//! start.

#![allow(dead_code, reason = "the edge and the fault tests use a part each")]

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::kafka::{Kafka, scratch};
use crate::ports::free_port;
use crate::topic::{self, Draft, Record};

/// With their partitions.
const TOPICS: [(&str, usize); 7] = [
    ("metrics", 3),
    ("logs", 2),
    ("deployments", 1),
    ("control", 1),
    ("recommendations", 1),
    ("audit", 1),
    ("dead-letter", 1),
];

pub struct Scene {
    name: String,
    group: String,
    brokers: String,
    /// Where the daemon comes in.
    door: String,
    folder: PathBuf,
    http: SocketAddr,
    /// More of `[kafka.properties]`.
    properties: String,
    delivery: &'static str,
    /// More of `[state]`.
    state: String,
    /// `[fleet]`.
    fleet: String,
    /// Of the groups.
    protocol: &'static str,
}

impl Scene {
    /// `name` is unique among the tests; the topics are called `<name>.metrics` and so on.
    pub fn new(kafka: &Kafka, name: &str) -> Scene {
        Scene::with_properties(kafka, name, "")
    }

    /// `properties` are lines of TOML for librdkafka.
    pub fn with_properties(kafka: &Kafka, name: &str, properties: &'static str) -> Scene {
        Scene::set(kafka, name, &kafka.addresses(), properties.to_owned(), "at_least_once")
    }

    /// The same, published in transactions.
    pub fn exactly_once(kafka: &Kafka, name: &str, properties: &'static str) -> Scene {
        Scene::set(kafka, name, &kafka.addresses(), properties.to_owned(), "exactly_once")
    }

    /// The same, with the state in a topic.
    pub fn stateful(kafka: &Kafka, name: &str, properties: &'static str) -> Scene {
        Scene::exactly_once(kafka, name, properties).with_state_topic(kafka, 1)
    }

    /// The same scene with a topic for the state.
    pub fn with_state_topic(mut self, kafka: &Kafka, partitions: usize) -> Scene {
        kafka.create_compacted(&self.topic("state"), partitions);
        self.state = format!("topic = \"{}\"", self.topic("state"));
        self.configure("");
        self
    }

    /// A fleet of so many lanes, its state in a topic; each daemon is a `member` of it.
    pub fn fleet(kafka: &Kafka, name: &str, lanes: usize, properties: &'static str) -> Scene {
        Scene::exactly_once(kafka, name, properties).with_lanes(kafka, lanes)
    }

    /// The same scene for a fleet.
    pub fn with_lanes(self, kafka: &Kafka, lanes: usize) -> Scene {
        let mut scene = self.with_state_topic(kafka, lanes + 1);
        kafka.create_topics(&[(scene.topic("lanes"), lanes + 1), (scene.topic("fleet"), 1)]);
        scene.fleet = format!("lanes = {lanes}");
        scene.configure("");
        scene
    }

    /// The same scene, whose groups are the brokers' affair (KIP-848).
    pub fn by_the_brokers(mut self) -> Scene {
        self.protocol = "consumer";
        self.configure("");
        self
    }

    /// A member's surroundings: the same group, a folder and an address of its own. `more` are lines of `[fleet]`.
    pub fn member(&self, name: &str, more: &str) -> Scene {
        let mut scene = self.beside(&format!("{}-{name}", self.name));
        scene.group = self.group.clone();
        scene.fleet = format!("{}\n{more}", self.fleet);
        scene.configure("");
        scene
    }

    /// The same, where the daemon comes in by a door of its own.
    pub fn secured(kafka: &Kafka, name: &str, door: &str, properties: String) -> Scene {
        Scene::set(kafka, name, door, properties, "exactly_once")
    }

    fn set(kafka: &Kafka, name: &str, door: &str, properties: String, delivery: &'static str) -> Scene {
        let scene = Scene {
            name: name.to_owned(),
            group: name.to_owned(),
            brokers: kafka.addresses(),
            door: door.to_owned(),
            folder: scratch(name),
            http: SocketAddr::from(([127, 0, 0, 1], free_port())),
            properties,
            delivery,
            state: String::new(),
            fleet: String::new(),
            protocol: "classic",
        };
        kafka.create_topics(&TOPICS.map(|(kind, partitions)| (scene.topic(kind), partitions)));
        scene.configure("");
        scene
    }

    /// Another daemon's surroundings on the same topics: its own group, state and address.
    pub fn beside(&self, group: &str) -> Scene {
        let (folder, http) = (scratch(group), SocketAddr::from(([127, 0, 0, 1], free_port())));
        let (name, brokers, door) = (self.name.clone(), self.brokers.clone(), self.door.clone());
        let (properties, delivery, group) = (self.properties.clone(), self.delivery, group.to_owned());
        let (state, fleet, protocol) = (self.state.clone(), self.fleet.clone(), self.protocol);
        let scene = Scene { name, group, brokers, door, folder, http, properties, delivery, state, fleet, protocol };
        scene.configure("");
        scene
    }

    /// Replaces the configuration file at once, as an editor or a deployment tool does. `more` is appended TOML.
    pub fn configure(&self, more: &str) {
        let draft = self.folder.join("regressd.toml.new");
        fs::write(&draft, self.settings(more)).expect("the scene's folder is writable");
        fs::rename(draft, self.config()).expect("both are in one folder");
    }

    pub fn config(&self) -> PathBuf {
        self.folder.join("regressd.toml")
    }

    pub fn log(&self) -> PathBuf {
        self.folder.join("stderr")
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// `metrics`, `logs`, `deployments`, `control`, `recommendations`, `audit`, `dead-letter`, `state`,
    /// `lanes`, `fleet`.
    pub fn topic(&self, kind: &str) -> String {
        format!("{}.{kind}", self.name)
    }

    pub fn is_exactly_once(&self) -> bool {
        self.delivery == "exactly_once"
    }

    /// The daemon's consumer group.
    pub fn group(&self) -> &str {
        &self.group
    }

    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    pub fn write(&self, kind: &str, drafts: &[Draft]) {
        topic::write(&self.brokers, &self.topic(kind), drafts);
    }

    pub fn read(&self, kind: &str) -> Vec<Record> {
        topic::read(&self.brokers, &self.topic(kind))
    }

    /// The documents on the recommendations topic.
    pub fn recommendations(&self) -> Vec<Value> {
        self.read("recommendations").iter().map(Record::json).collect()
    }

    /// The first message about a regression of this deployment, if it was published already.
    pub fn regression(&self, deployment: &str) -> Option<Value> {
        self.recommendations()
            .into_iter()
            .find(|said| said["data"]["verdict"] == "regression" && said["data"]["deployment"]["id"] == deployment)
    }

    fn settings(&self, more: &str) -> String {
        format!(
            r#"
[kafka]
brokers = "{brokers}"
group = "{group}"
cluster = "edge"
delivery = "{delivery}"
group_protocol = "{protocol}"
past_deployments = "judge"
message_bytes_max = 500000

[kafka.topics]
metrics = ["{name}.metrics"]
logs = ["{name}.logs"]
deployments = ["{name}.deployments"]
control = ["{name}.control"]
recommendations = "{name}.recommendations"
audit = "{name}.audit"
dead_letter = "{name}.dead-letter"
lanes = "{name}.lanes"
fleet = "{name}.fleet"

[kafka.properties]
{session}
{properties}

[state]
dir = "{state}"
checkpoint_every = "1s"
{more_state}

[fleet]
{fleet}

[http]
listen = "{http}"

[[automation]]
service = "*"
env = "*"
level = "recommend"

{more}
"#,
            brokers = self.door,
            group = self.group,
            name = self.name,
            state = self.folder.join("state").display(),
            http = self.http,
            properties = self.properties,
            delivery = self.delivery,
            protocol = self.protocol,
            // The group notices sooner that a killed member is gone; under the other protocol brokers say the same.
            session = if self.protocol == "classic" { "\"session.timeout.ms\" = \"6000\"" } else { "" },
            more_state = self.state,
            fleet = self.fleet,
        )
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // What a failed test left behind is evidence.
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}
