//! Effects and dead letters, encoded for the output topics.
//!
//! Every encoding is a function of its arguments alone: the same effect gives the same bytes and the same id, so that a
//! consumer can drop what it has seen. Which topic a message goes to is the shell's affair.

mod accuracy;
mod audit;
mod automation;
mod cloud_event;
mod dead_letter;
mod drift;
mod heartbeat;
mod recommendation;

pub use accuracy::accuracy;
pub use audit::audit;
pub use automation::automation;
pub use dead_letter::{Position, dead_letter};
pub use drift::drift;
pub use heartbeat::heartbeat;
pub use recommendation::recommendation;

use std::sync::Arc;

/// One message, ready for the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// `env/service`; for a dead letter, the key of the message it came from.
    pub key: Option<Vec<u8>>,
    pub payload: Vec<u8>,
    pub headers: Vec<(&'static str, String)>,
}

/// Who said it: stands in every message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Names the daemon's fleet in the `source`: `/regressd/<cluster>`.
    pub cluster: String,
    /// The hash of the policy in force when the effect was decided.
    pub config_hash: Arc<str>,
    pub engine_version: String,
}
