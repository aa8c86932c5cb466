//! A note beside the checkpoints in a topic: written by itself and at once, by a daemon that can write no checkpoint
//! any more.
//!
//! It goes out with a producer of its own, outside of any transaction: the one under way is never committed. What it
//! says is not known here.

use super::parts::Part;
use crate::shell::config::Config;
use crate::shell::publisher;
use crate::shell::telemetry::Metrics;
use rdkafka::error::KafkaError;
use std::sync::Arc;
use std::time::Duration;

/// How long the brokers may take: the daemon is ending, and nothing else is done meanwhile.
const WITHIN: Duration = Duration::from_secs(20);

/// The place of the note.
pub struct Note {
    config: Arc<Config>,
    topic: String,
    metrics: Arc<Metrics>,
}

impl Note {
    pub fn new(config: Arc<Config>, topic: &str, metrics: Arc<Metrics>) -> Note {
        Note { config, topic: topic.to_owned(), metrics }
    }

    /// Replaces what it said.
    ///
    /// # Errors
    /// The brokers do not take it, or not in time.
    pub fn write(&self, text: &str) -> Result<(), KafkaError> {
        let key = Part::Note.key(&self.config.kafka.group);
        let place = (&*self.topic, self.config.state.partition, &*key);
        publisher::publish_alone(&self.config.kafka, &self.metrics, place, text.as_bytes(), WITHIN)
    }
}
