//! Who sits where: the members of a group share out the partitions of a topic, each of which is a seat.
//!
//! Nothing is read from it here. The group hands out partitions one by one (cooperative, sticky), so that a member that
//! comes or goes moves as few as can be; one with a name of its own that is back in time finds them as they were. A
//! seat that is taken away is left before the group hears that it is free, so that whoever gets it finds all that was
//! known.

use super::runs::Runs;
use crate::shell::client::{self, Side};
use crate::shell::config::Config;
use crate::shell::telemetry::KafkaTrouble;
use crate::shell::tokens::{self, Tokens};
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long the brokers may take to tell of the topics.
const ASKED_WITHIN: Duration = Duration::from_secs(2);

/// A topic that we may not even know of.
const FORBIDDEN: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;

pub struct Seats {
    client: BaseConsumer<Usher>,
    topic: String,
    letters: String,
    state: Option<String>,
    count: usize,
}

impl Seats {
    /// # Errors
    /// librdkafka refuses the settings.
    pub fn new(config: &Config, runs: Arc<Runs>) -> Result<Seats, KafkaError> {
        let mut settings = client::settings(&config.kafka, Side::Consumer, &[("session.timeout.ms", "45000")]);
        settings.set("group.id", format!("{}.seats", config.kafka.group));
        settings.set("enable.auto.commit", "false").set("partition.assignment.strategy", "cooperative-sticky");
        settings.remove("group.instance.id");
        if let Some(member) = &config.fleet.member {
            settings.set("group.instance.id", member);
        }
        client::join_by(config.kafka.group_protocol, &[&config.kafka.topics.lanes], &mut settings);
        let (joined, refused) = (AtomicBool::new(false), AtomicBool::new(false));
        let tokens = Tokens::of(&config.kafka.properties);
        let client = settings.create_with_context(Usher { runs, tokens, joined, refused })?;
        let (topic, letters) = (config.kafka.topics.lanes.clone(), config.kafka.topics.fleet.clone());
        let state = config.state.topic.clone();
        Ok(Seats { client, topic, letters, state, count: config.fleet.lanes as usize + 1 })
    }

    /// Whether the topics are there for us, with as many partitions as there are seats.
    ///
    /// # Errors
    /// What is to be done about it.
    pub fn check(&self) -> Result<(), String> {
        // Whoever needs a token asks for it while being polled.
        let _ = self.client.poll(Duration::ZERO);
        let lanes = self.count - 1;
        let make = |topic: &str, count: usize| format!("kafka-topics.sh --create --topic {topic} --partitions {count}");
        let wanted = [(&self.topic, self.count), (&self.letters, 1)].into_iter();
        for (topic, count) in wanted.chain(self.state.iter().map(|state| (state, self.count))) {
            let metadata = self.client.fetch_metadata(Some(topic), ASKED_WITHIN).map_err(|error| error.to_string())?;
            let found = metadata.topics().iter().find(|each| each.name() == topic);
            if found.and_then(|each| each.error()) == Some(FORBIDDEN) {
                return Err(format!("the topic {topic:?} is not for us: it takes the rights to read and to write it"));
            }
            match found.filter(|each| each.error().is_none()).map(|each| each.partitions().len()) {
                Some(there) if there == count => {}
                None | Some(0) => return Err(format!("the topic {topic:?} does not exist: {}", make(topic, count))),
                Some(there) => {
                    return Err(format!(
                        "fleet.lanes is {lanes}, which takes {count} partitions of the topic {topic:?}; it has \
                         {there}. Set it back, or stop the fleet, delete the topic, {}: with another number of \
                         lanes everything is learned anew",
                        make(topic, count)
                    ));
                }
            }
        }
        self.client.context().refused.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the brokers have refused us since they last answered.
    pub fn is_refused(&self) -> bool {
        self.client.context().refused.load(Ordering::Relaxed)
    }

    /// # Errors
    /// The name is none.
    pub fn subscribe(&self) -> Result<(), KafkaError> {
        self.client.subscribe(&[&self.topic])
    }

    /// Follows the group for so long.
    ///
    /// # Errors
    /// It can't go on: another daemon has the same name.
    pub fn poll(&self, wait: Duration) -> Result<(), KafkaError> {
        match self.client.poll(wait) {
            Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => Err(error),
            Some(Err(error)) => {
                match error.rdkafka_error_code() {
                    Some(RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure) => {}
                    _ => tracing::warn!(%error, "the group of seats reports trouble and goes on"),
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether the group has let this member in, with or without a seat.
    pub fn has_joined(&self) -> bool {
        self.client.context().joined.load(Ordering::Relaxed)
    }
}

/// Follows rebalances, inside a poll.
struct Usher {
    runs: Arc<Runs>,
    tokens: Option<Tokens>,
    joined: AtomicBool,
    /// Name, token or certificate were refused.
    refused: AtomicBool,
}

impl Usher {
    fn follow(
        &self,
        consumer: &BaseConsumer<Usher>,
        error: RDKafkaRespErr,
        list: &TopicPartitionList,
    ) -> Result<(), KafkaError> {
        let seats: Vec<u32> = list.elements().iter().filter_map(|each| u32::try_from(each.partition()).ok()).collect();
        if error != RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.runs.rise(&seats);
            return consumer.incremental_unassign(list);
        }
        let mut wanted = TopicPartitionList::new();
        for element in list.elements() {
            wanted.add_partition_offset(element.topic(), element.partition(), Offset::End)?;
        }
        consumer.incremental_assign(&wanted)?;
        if wanted.count() > 0 {
            // A seat is all that it is.
            consumer.pause(&wanted)?;
        }
        seats.into_iter().for_each(|seat| self.runs.sit(seat));
        self.joined.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl ClientContext for Usher {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        tokens::fetch(self.tokens.as_ref())
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        client::log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "seats");
        let is_refusal = client::trouble(&error, reason) == KafkaTrouble::Authentication;
        if is_refusal && !self.refused.swap(true, Ordering::Relaxed) {
            tracing::error!(reason, "{}", client::REFUSED);
        }
    }
}

impl ConsumerContext for Usher {
    fn rebalance(&self, consumer: &BaseConsumer<Usher>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        if let Err(error) = self.follow(consumer, error, list) {
            tracing::error!(%error, "a rebalance could not be followed");
        }
    }
}
