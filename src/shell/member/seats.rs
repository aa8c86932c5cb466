//! Who sits where: the members of a group share out the partitions of a topic, each of which is a seat.
//!
//! Nothing is read from it here. The group hands out partitions one by one (cooperative, sticky), so that a member that
//! comes or goes moves as few as can be; one with a name of its own that is back in time finds them as they were. A
//! seat that is taken away is left before the group hears that it is free, so that whoever gets it finds all that was
//! known.

use super::runs::Runs;
use crate::shell::client::{self, Side};
use crate::shell::config::Config;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long the brokers may take to tell of the topics.
const ASKED_WITHIN: Duration = Duration::from_secs(2);

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
        let client = settings.create_with_context(Usher { runs, joined: AtomicBool::new(false) })?;
        let (topic, letters) = (config.kafka.topics.lanes.clone(), config.kafka.topics.fleet.clone());
        let state = config.state.topic.clone();
        Ok(Seats { client, topic, letters, state, count: config.fleet.lanes as usize + 1 })
    }

    /// Whether the topics are there, with as many partitions as there are seats.
    ///
    /// # Errors
    /// What is to be done about it.
    pub fn check(&self) -> Result<(), String> {
        let make = |topic: &str, count: usize| format!("kafka-topics.sh --create --topic {topic} --partitions {count}");
        let wanted = [(&self.topic, self.count), (&self.letters, 1)].into_iter();
        for (topic, count) in wanted.chain(self.state.iter().map(|state| (state, self.count))) {
            let metadata = self.client.fetch_metadata(Some(topic), ASKED_WITHIN).map_err(|error| error.to_string())?;
            let found =
                metadata.topics().iter().find(|each| each.name() == topic).filter(|each| each.error().is_none());
            match found.map(|each| each.partitions().len()) {
                Some(there) if there == count => {}
                None | Some(0) => return Err(format!("the topic {topic:?} does not exist: {}", make(topic, count))),
                Some(there) => {
                    return Err(format!(
                        "the topic {topic:?} has {there} partitions and needs {count}: stop the fleet, delete it, {}",
                        make(topic, count)
                    ));
                }
            }
        }
        Ok(())
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
                tracing::debug!(%error, "the group of seats reports trouble and goes on");
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
    joined: AtomicBool,
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
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        client::log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "seats");
    }
}

impl ConsumerContext for Usher {
    fn rebalance(&self, consumer: &BaseConsumer<Usher>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        if let Err(error) = self.follow(consumer, error, list) {
            tracing::error!(%error, "a rebalance could not be followed");
        }
    }
}
