//! Reads a state back from its topic: everything that is committed, from the beginning to the end.
//!
//! To be asked again and again for a bounded time, so that whoever waits can go on with other things. It waits for
//! brokers as long as it is asked, because a state that can't be read is not a state that is not there. Transactions of
//! a daemon that was killed must have been ended before: they would hold up the reading.

use super::Topic;
use super::parts::{Assembled, Gathered};
use crate::shell::checkpoint::Found;
use crate::shell::client::{self, Side};
use crate::shell::config::Kafka;
use crate::shell::tokens::{self, Tokens};
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Message, Offset, TopicPartitionList};
use std::error::Error;
use std::time::{Duration, Instant};

/// How long is waited for one answer.
const WAIT: Duration = Duration::from_secs(2);

/// How often it is told how far it got.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// What reading depends on.
const REQUIRED: [(&str, &str); 4] = [
    ("isolation.level", "read_committed"),
    ("enable.auto.commit", "false"),
    ("enable.partition.eof", "true"),
    ("auto.offset.reset", "earliest"),
];

/// Why the state can't be read yet.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    #[error("the topic {0:?} does not exist: create it, with cleanup.policy=compact")]
    Missing(String),
    #[error(transparent)]
    Kafka(#[from] KafkaError),
}

/// A reading under way.
pub struct Reader {
    client: BaseConsumer<Quiet>,
    topic: Topic,
    group: String,
    gathered: Gathered,
    assigned: bool,
    begun: Instant,
    told: Instant,
}

impl Reader {
    /// # Errors
    /// librdkafka refuses the settings.
    pub fn new(kafka: &Kafka, topic: Topic) -> Result<Reader, KafkaError> {
        let mut settings = client::settings(kafka, Side::Consumer, &[]);
        settings.set("group.id", &kafka.group);
        REQUIRED.iter().for_each(|(name, value)| {
            settings.set(*name, *value);
        });
        // It must not take the name of the group's member.
        settings.remove("group.instance.id");
        let client = settings.create_with_context(Quiet(Tokens::of(&kafka.properties)))?;
        let now = Instant::now();
        let (gathered, group) = (Gathered::default(), kafka.group.clone());
        Ok(Reader { client, topic, group, gathered, assigned: false, begun: now, told: now })
    }

    /// Reads for at most a few seconds; true once the end is reached.
    ///
    /// # Errors
    /// No answer, or not the one that was hoped for; it can be asked again.
    pub fn read(&mut self) -> Result<bool, Unread> {
        if !self.assigned {
            self.assign()?;
        }
        let until = Instant::now() + WAIT;
        while Instant::now() < until {
            match self.client.poll(Duration::from_millis(100)) {
                None => {}
                Some(Ok(message)) => {
                    self.gathered.take(&self.topic.prefix, message.key().unwrap_or_default(), message.payload());
                    if self.told.elapsed() >= TELL_EVERY {
                        self.told = Instant::now();
                        let (offset, mib) = (message.offset(), self.gathered.bytes() >> 20);
                        tracing::info!(topic = self.topic.name, offset, mib, "reading the state");
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(true),
                Some(Err(error)) => return Err(error.into()),
            }
        }
        Ok(false)
    }

    /// What was read, and the note beside it.
    pub fn finish(mut self) -> (Topic, Found, Option<String>) {
        let note = self.gathered.take_note();
        let (bytes, parts) = (self.gathered.bytes(), self.gathered.parts());
        let mut topic = self.topic;
        let found = match self.gathered.assemble(&self.group) {
            Assembled::Nothing => Found::Nothing,
            Assembled::State(recovered, holding) => {
                topic.stale = parts.into_iter().filter(|part| !holding.has(*part)).collect();
                (topic.held, topic.complete) = (holding, true);
                Found::Checkpoint(recovered)
            }
            Assembled::Bad(why) => {
                topic.stale = parts;
                Found::Bad { why: format!("in the topic {:?}: {why}", topic.name), moved_to: None }
            }
        };
        let millis = self.begun.elapsed().as_millis() as u64;
        tracing::info!(topic = topic.name, bytes, millis, "read the state");
        (topic, found, note)
    }

    fn assign(&mut self) -> Result<(), Unread> {
        // Whoever needs a token asks for it while being polled.
        let _ = self.client.poll(Duration::ZERO);
        let name = &self.topic.name;
        let metadata = self.client.fetch_metadata(Some(name), WAIT)?;
        let found = metadata.topics().iter().find(|topic| topic.name() == name);
        match found.map(|topic| (topic.error(), topic.partitions().is_empty())) {
            Some((None, false)) => {}
            Some((Some(code), _)) if RDKafkaErrorCode::from(code) != RDKafkaErrorCode::UnknownTopicOrPartition => {
                return Err(KafkaError::MetadataFetch(code.into()).into());
            }
            _ => return Err(Unread::Missing(name.clone())),
        }
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(name, self.topic.partition, Offset::Beginning)?;
        self.client.assign(&list)?;
        self.assigned = true;
        Ok(())
    }
}

/// Hears from librdkafka.
struct Quiet(Option<Tokens>);

impl ClientContext for Quiet {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        tokens::fetch(self.0.as_ref())
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        client::log(level, facility, line);
    }
}

impl ConsumerContext for Quiet {}
