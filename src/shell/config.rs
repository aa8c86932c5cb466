//! The configuration: what an operator writes, checked whole, in the terms the rest of the program uses.

use crate::engine::policy::Policy;
use crate::engine::time::Span;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub kafka: Kafka,
    pub state: State,
    pub http: Http,
    pub log: Log,
    /// Everything the engine is told; takes effect on reload.
    pub policy: Policy,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Kafka {
    pub brokers: String,
    pub group: String,
    /// Names this daemon's fleet in the `source` of what it publishes: `/regressd/<cluster>`.
    pub cluster: String,
    pub topics: Topics,
    /// Messages above this many bytes go to the dead letters unread.
    pub message_bytes_max: usize,
    /// `learn`: deployments older than a watch at the very first start are learned from; `judge`: spoken of too.
    pub past_deployments: PastDeployments,
    /// Handed to librdkafka as they are, for both consumer and producers.
    pub properties: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PastDeployments {
    Learn,
    Judge,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Topics {
    pub metrics: Vec<String>,
    pub logs: Vec<String>,
    pub deployments: Vec<String>,
    pub control: Vec<String>,
    pub recommendations: String,
    pub audit: String,
    pub dead_letter: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct State {
    pub dir: PathBuf,
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
#[derive(Debug)]
pub struct Mistakes(pub Vec<String>);

impl Config {
    /// Built-in defaults, then the file, then the environment (`REGRESSD__KAFKA__BROKERS=…`).
    pub fn load(_file: Option<&Path>) -> Result<Config, Mistakes> {
        Err(Mistakes(Vec::new()))
    }
}
