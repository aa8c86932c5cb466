//! The configuration: what an operator writes, checked whole, in the terms the rest of the program uses.
//!
//! Built-in defaults, then a TOML file, then the environment. The order is known here; the keys stand in `keys`, their
//! forms in `form`, merging in `layers`, the telling of mistakes in `section`. All mistakes are told at once, each with
//! the path of its key, what was found and what is allowed; a secret's value is told nowhere. Watching the file for
//! changes is `reload`'s affair.

mod form;
mod keys;
mod layers;
mod mask;
mod rendered;
mod section;
#[cfg(test)]
mod tests;
mod windows;

use crate::engine::policy::Policy;
use crate::engine::time::Span;
use ed25519_dalek::VerifyingKey;
use section::Reading;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

/// A file beyond this is no configuration; it is refused unread.
const FILE_BYTES_MAX: u64 = 1 << 20;

#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub kafka: Kafka,
    pub dead_letters: DeadLetters,
    pub control: Control,
    pub fleet: Fleet,
    pub state: State,
    pub http: Http,
    pub log: Log,
    /// Everything the engine is told; takes effect on reload. Its `hash` covers its settings and nothing else.
    pub policy: Policy,
    /// Every setting in force, path to value, secrets masked: for logs and for `changes`.
    pub rendering: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq)]
pub struct Kafka {
    pub brokers: String,
    pub group: String,
    /// Names this daemon's fleet in the `source` of what it publishes: `/regressd/<cluster>`.
    pub cluster: String,
    pub topics: Topics,
    pub delivery: DeliveryMode,
    pub group_protocol: GroupProtocol,
    /// Messages above this many bytes go to the dead letters unread.
    pub message_bytes_max: usize,
    /// `learn`: deployments older than a watch at the very first start are learned from; `judge`: spoken of too.
    pub past_deployments: PastDeployments,
    /// Handed to librdkafka as they are, for both consumer and producers.
    pub properties: BTreeMap<String, String>,
}

/// What a consumer of the output topics sees after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryMode {
    /// At once; after a crash the same may come again, under the same ids.
    AtLeastOnce,
    /// In transactions with the input positions: readers of what is committed see everything once.
    ExactlyOnce,
}

/// By which protocol members of a consumer group agree on who reads what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupProtocol {
    /// Members agree among each other.
    Classic,
    /// The brokers say (KIP-848), Kafka 4.0 and later.
    Consumer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PastDeployments {
    Learn,
    Judge,
}

/// No name stands twice, whether in a list or in two fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Topics {
    pub metrics: Vec<String>,
    pub logs: Vec<String>,
    pub deployments: Vec<String>,
    pub control: Vec<String>,
    pub recommendations: String,
    pub audit: String,
    pub dead_letter: String,
    /// Whose partitions are the seats of a fleet.
    pub lanes: String,
    /// What those who sit there write to each other.
    pub fleet: String,
}

/// When an input partition is stopped rather than drained into the dead letters; takes effect on reload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeadLetters {
    /// So many dead letters one after the other; 0: never.
    pub in_a_row: u64,
    /// More than this share of its last thousand messages; 1: never.
    pub share: f64,
}

/// Whose words on the control topic count; takes effect on reload.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Control {
    /// Only signed ones; there is a key then.
    pub require_signature: bool,
    pub keys: Vec<ControlKey>,
}

/// A public key of somebody's; a name may have several, and goes from one to the next that way.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlKey {
    pub by: String,
    pub key: VerifyingKey,
}

/// How the work is shared among the daemons of one group.
#[derive(Clone, Debug, PartialEq)]
pub struct Fleet {
    /// Shares of the services; 1: this daemon alone.
    pub lanes: u32,
    pub rekey: Rekey,
    /// A name of this daemon's own among the members: back within its session, it finds its seats as they were.
    pub member: Option<String>,
    /// A lane that is silent for so long is not waited for any longer.
    pub give_up: Span,
}

/// How metrics and logs get to the lanes of their services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rekey {
    /// As `Always` where there are several lanes.
    Auto,
    /// Read once by the fleet, and passed on to their lane.
    Always,
    /// Every lane reads all of it, and passes over what is another one's.
    Never,
}

impl Fleet {
    /// Whether metrics and logs are passed on from one to another.
    pub fn is_relayed(&self) -> bool {
        self.lanes > 1 && self.rekey != Rekey::Never
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct State {
    pub dir: PathBuf,
    /// A compacted topic that holds the checkpoints in place of the directory.
    pub topic: Option<String>,
    /// Of that topic. Each seat of a fleet has one: a transaction that is open holds up the readers of its partition.
    pub partition: i32,
    pub checkpoint_every: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    pub listen: SocketAddr,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    pub json: bool,
    /// A `tracing` filter, such as `info` or `regressd=debug`.
    pub level: String,
}

/// Every mistake found, each with the path of its key.
#[derive(Debug, PartialEq)]
pub struct Mistakes(pub Vec<String>);

/// One setting that differs between two configurations.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub path: String,
    /// `None` where it was, or is, not set at all. Secrets are masked, and so may look the same.
    pub old: Option<String>,
    pub new: Option<String>,
}

impl Config {
    /// Built-in defaults, then the file, then the environment (`REGRESSD__KAFKA__BROKERS=…`). Without a file, the other
    /// two.
    pub fn load(file: Option<&Path>) -> Result<Config, Mistakes> {
        let text = match file {
            Some(path) => read_file(path).map_err(|error| Mistakes(vec![format!("{}: {error}", path.display())]))?,
            None => String::new(),
        };
        Config::from_text(&text)
    }

    /// The same, from a file's text that was read already.
    pub fn from_text(text: &str) -> Result<Config, Mistakes> {
        Config::from_layers(text, std::env::vars_os())
    }

    /// The same, without the environment.
    pub fn from_toml_str(text: &str) -> Result<Config, Mistakes> {
        Config::from_layers(text, [])
    }

    fn from_layers(
        text: &str,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Config, Mistakes> {
        let tree = layers::merge(text, environment)?;
        let reading = Reading::default();
        let mut config = keys::config(reading.root(tree));
        config.rendering = reading.finish()?;
        config.policy.hash = policy_hash(&config.rendering).into();
        Ok(config)
    }

    /// What differs in `new`, by path.
    pub fn changes(&self, new: &Config) -> Vec<Change> {
        let paths: BTreeSet<&String> = self.rendering.keys().chain(new.rendering.keys()).collect();
        let is_changed = |path: &str| match path.strip_prefix("kafka.properties.") {
            // A masked secret looks the same before and after.
            Some(name) => self.kafka.properties.get(name) != new.kafka.properties.get(name),
            None => self.rendering.get(path) != new.rendering.get(path),
        };
        let change = |path: &String| Change {
            path: path.clone(),
            old: self.rendering.get(path).cloned(),
            new: new.rendering.get(path).cloned(),
        };
        paths.into_iter().filter(|path| is_changed(path)).map(change).collect()
    }

    /// `self` as far as it can take effect in a running daemon whose configuration is `running`; what needs a restart
    /// stays as it is there.
    pub fn within(self, running: &Config) -> Config {
        let needs_restart = |path: &String| needs_restart(path);
        let kept = running.rendering.iter().filter(|(path, _)| needs_restart(path));
        let taken = self.rendering.iter().filter(|(path, _)| !needs_restart(path));
        Config {
            rendering: kept.chain(taken).map(|(path, value)| (path.clone(), value.clone())).collect(),
            kafka: running.kafka.clone(),
            dead_letters: self.dead_letters,
            control: self.control,
            fleet: running.fleet.clone(),
            state: running.state.clone(),
            http: running.http.clone(),
            log: Log { json: running.log.json, level: self.log.level },
            policy: self.policy,
        }
    }
}

impl Change {
    pub fn needs_restart(&self) -> bool {
        needs_restart(&self.path)
    }
}

/// Checks a file as the daemon would read it, environment included, and says what it comes to: one line, then what
/// differs from the defaults.
pub fn check_config(path: &Path) -> Result<String, Mistakes> {
    let config = Config::load(Some(path))?;
    let changes = Config::from_toml_str("")?.changes(&config);
    let differs = match changes.len() {
        0 => "as the defaults".to_owned(),
        1 => "1 setting differs from the defaults".to_owned(),
        n => format!("{n} settings differ from the defaults"),
    };
    let mut text = format!("{}: OK, policy {}, {differs}", path.display(), config.policy.hash);
    for change in changes {
        text += &format!("\n  {change}");
    }
    Ok(text)
}

/// Reads a configuration file; the error is told without the path.
pub fn read_file(path: &Path) -> Result<String, String> {
    let told = |error: std::io::Error| format!("can't be read: {error}");
    let bytes = std::fs::metadata(path).map_err(told)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(format!("can't be read: expected at most {FILE_BYTES_MAX} bytes; found {bytes}"));
    }
    std::fs::read_to_string(path).map_err(told)
}

fn needs_restart(path: &str) -> bool {
    let first = path.split('.').next();
    matches!(first, Some("kafka" | "fleet" | "state" | "http")) || path == "log.format"
}

/// Two policies that differ have different hashes, whatever the order or the spelling in the file.
fn policy_hash(rendering: &BTreeMap<String, String>) -> String {
    let is_shells = |path: &str| ["log.", "dead_letters.", "control."].iter().any(|section| path.starts_with(section));
    let is_policy = |path: &str| !needs_restart(path) && !is_shells(path);
    let lines = rendering.iter().filter(|(path, _)| is_policy(path));
    // Quoted, so that no value can look like the next line.
    let canonical: String = lines.map(|(path, value)| format!("{path}={value:?}\n")).collect();
    format!("{:016x}", xxh3_64(canonical.as_bytes()))
}

impl Default for Config {
    /// Everything as when nobody sets anything, but for the rendering and the hash, which only a reading fills in.
    fn default() -> Config {
        Config {
            kafka: Kafka {
                brokers: "localhost:9092".to_owned(),
                group: "regressd".to_owned(),
                cluster: "default".to_owned(),
                topics: Topics {
                    metrics: vec!["metrics".to_owned()],
                    logs: vec!["logs".to_owned()],
                    deployments: vec!["deployments".to_owned()],
                    control: vec!["control".to_owned()],
                    recommendations: "rollback-recommendations".to_owned(),
                    audit: "regressd.audit".to_owned(),
                    dead_letter: "regressd.dead-letter".to_owned(),
                    lanes: "regressd.lanes".to_owned(),
                    fleet: "regressd.fleet".to_owned(),
                },
                delivery: DeliveryMode::AtLeastOnce,
                group_protocol: GroupProtocol::Classic,
                message_bytes_max: 1 << 20,
                past_deployments: PastDeployments::Learn,
                properties: BTreeMap::new(),
            },
            control: Control::default(),
            fleet: Fleet { lanes: 1, rekey: Rekey::Auto, member: None, give_up: Span::minutes(2) },
            dead_letters: DeadLetters { in_a_row: 1_000, share: 0.99 },
            state: State {
                dir: PathBuf::from("regressd-state"),
                topic: None,
                partition: 0,
                checkpoint_every: Span::seconds(30),
            },
            http: Http { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9464)) },
            log: Log { json: false, level: "info".to_owned() },
            policy: Policy::default(),
            rendering: BTreeMap::new(),
        }
    }
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let masked: BTreeMap<&str, &str> =
            self.properties.iter().map(|(name, value)| (name.as_str(), mask::masked(name, value))).collect();
        f.debug_struct("Kafka")
            .field("brokers", &self.brokers)
            .field("group", &self.group)
            .field("cluster", &self.cluster)
            .field("topics", &self.topics)
            .field("delivery", &self.delivery)
            .field("group_protocol", &self.group_protocol)
            .field("message_bytes_max", &self.message_bytes_max)
            .field("past_deployments", &self.past_deployments)
            .field("properties", &masked)
            .finish()
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_unset = |value: &Option<String>| value.clone().unwrap_or_else(|| "(not set)".to_owned());
        write!(f, "{}: {} -> {}", self.path, or_unset(&self.old), or_unset(&self.new))
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Mistakes {}
