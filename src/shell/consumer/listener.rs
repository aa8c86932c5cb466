//! Hears from librdkafka while it is being polled: rebalances, commits, statistics, complaints.
//!
//! Everything here runs inside a poll, on the polling thread, so it is short: it notes what happened and lets the run
//! loop follow up. The one thing that can't wait is the commit of what is remembered of a revoked partition.

use super::offsets;
use super::partitions::{Partition, Partitions, UNKNOWN};
use crate::shell::client;
use crate::shell::telemetry::{KafkaTrouble, Metrics};
use crate::shell::tokens::{self, Tokens};
use crate::shell::topics::Topics;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A broker that is fetched from answers at least every half second, even with nothing to tell. One that has been
/// silent for this long may be hanging.
const SILENT_MICROS: i64 = 2_500_000;

/// Statistics come every second; older ones say nothing about now.
const STALE: Duration = Duration::from_secs(3);

/// How long the brokers may take to tell the group's offsets; nothing else is done meanwhile.
const ASKED_WITHIN: Duration = Duration::from_secs(5);

pub struct Listener {
    topics: Arc<Topics>,
    tokens: Option<Tokens>,
    partitions: Mutex<Partitions>,
    changed: AtomicBool,
    pulse: Mutex<Pulse>,
    metrics: Arc<Metrics>,
}

/// How the brokers are.
#[derive(Clone, Debug, Default)]
pub struct Pulse {
    /// Some broker answers.
    pub reachable: bool,
    /// Every assigned partition's leader has answered within the last seconds: silence there is silence indeed.
    served: bool,
    /// TLS or SASL failed, and no broker has taken us since.
    pub refused: bool,
    heard: Option<Instant>,
    /// The last thing the client complained of.
    pub complaint: Option<String>,
}

impl Pulse {
    /// Whether anything has been heard of the brokers yet, good or bad.
    pub fn is_known(&self) -> bool {
        self.heard.is_some() || self.complaint.is_some()
    }

    /// Whether the absence of messages means that there are none.
    pub fn is_silence_real(&self) -> bool {
        self.reachable && self.served && self.heard.is_some_and(|heard| heard.elapsed() < STALE)
    }
}

impl Listener {
    pub fn new(topics: Arc<Topics>, tokens: Option<Tokens>, partitions: Partitions, metrics: Arc<Metrics>) -> Listener {
        Listener {
            topics,
            tokens,
            partitions: Mutex::new(partitions),
            changed: AtomicBool::new(false),
            pulse: Mutex::new(Pulse::default()),
            metrics,
        }
    }

    pub fn partitions(&self) -> MutexGuard<'_, Partitions> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn pulse(&self) -> Pulse {
        self.feel().clone()
    }

    pub fn take_changed(&self) -> bool {
        self.changed.swap(false, Ordering::Relaxed)
    }

    fn feel(&self) -> MutexGuard<'_, Pulse> {
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn assign(&self, consumer: &BaseConsumer<Listener>, list: &TopicPartitionList) -> Result<(), KafkaError> {
        let mut wanted = TopicPartitionList::new();
        let group = self.where_the_group_stands(consumer, list);
        {
            let mut partitions = self.partitions();
            for element in list.elements() {
                let Some(kind) = self.topics.kind(element.topic()) else { continue };
                if !self.topics.reads(element.topic(), element.partition()) {
                    continue;
                }
                let group = group.find_partition(element.topic(), element.partition());
                let group = group.and_then(|committed| committed.offset().to_raw()).filter(|next| *next >= 0);
                // An invalid offset means: the group's committed one, else what `auto.offset.reset` says.
                let next = partitions.assign(element.topic(), element.partition(), kind, group);
                let offset = next.map_or(Offset::Invalid, Offset::Offset);
                wanted.add_partition_offset(element.topic(), element.partition(), offset)?;
                tracing::info!(topic = element.topic(), partition = element.partition(), ?offset, "partition assigned");
            }
        }
        self.changed.store(true, Ordering::Relaxed);
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(&wanted),
            _ => consumer.assign(&wanted),
        }
    }

    /// The group's offsets of partitions of which we know no position. Without them nobody could tell that such a
    /// partition is at its end, and the others would wait for it in vain. Where the brokers don't say, it is done
    /// without.
    fn where_the_group_stands(
        &self,
        consumer: &BaseConsumer<Listener>,
        list: &TopicPartitionList,
    ) -> TopicPartitionList {
        let mut unknown = TopicPartitionList::new();
        for element in list.elements() {
            if !self.partitions().is_known(element.topic(), element.partition()) {
                unknown.add_partition(element.topic(), element.partition());
            }
        }
        if unknown.count() == 0 {
            return unknown;
        }
        consumer.committed_offsets(unknown, ASKED_WITHIN).unwrap_or_else(|error| {
            tracing::warn!(%error, "the group's offsets are not known yet");
            TopicPartitionList::new()
        })
    }

    fn revoke(&self, consumer: &BaseConsumer<Listener>, list: &TopicPartitionList) -> Result<(), KafkaError> {
        let lost = consumer.assignment_lost();
        let mut revoked = Vec::new();
        {
            let mut partitions = self.partitions();
            for element in list.elements() {
                if let Some(slot) = partitions.slot(element.topic(), element.partition()) {
                    revoked.push(partitions.get(slot).clone());
                    partitions.revoke(element.topic(), element.partition());
                }
                tracing::info!(topic = element.topic(), partition = element.partition(), lost, "partition revoked");
            }
        }
        self.changed.store(true, Ordering::Relaxed);
        if !lost {
            // With no broker to answer, waiting for the commit would block the poll for a minute.
            let mode = if self.feel().reachable { CommitMode::Sync } else { CommitMode::Async };
            commit(consumer, revoked.iter().map(Arc::as_ref), mode);
        }
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
            _ => consumer.unassign(),
        }
    }
}

/// Commits what the checkpoint has come to hold of these partitions since their last commit.
pub fn commit<'a>(
    consumer: &BaseConsumer<Listener>,
    partitions: impl Iterator<Item = &'a Partition>,
    mode: CommitMode,
) {
    let due: Vec<(&Partition, i64)> =
        partitions.filter_map(|partition| Some((partition, partition.to_commit()?))).collect();
    if due.is_empty() {
        return;
    }
    match offsets(due.iter().copied()).and_then(|list| consumer.commit(&list, mode)) {
        Ok(()) => due.iter().for_each(|(partition, next)| partition.committed.set(*next)),
        Err(error) => tracing::warn!(%error, "could not commit; the next commit makes up for it"),
    }
}

impl ClientContext for Listener {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        tokens::fetch(self.tokens.as_ref())
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        client::log(level, facility, line);
    }

    fn stats(&self, statistics: Statistics) {
        let is_up = |id: i32| {
            let broker = statistics.brokers.values().find(|broker| broker.nodeid == id);
            broker.is_some_and(|broker| broker.state == "UP" && broker.rxidle < SILENT_MICROS)
        };
        let leader = |partition: &Partition| {
            statistics.topics.get(&*partition.topic)?.partitions.get(&partition.number).map(|stated| stated.leader)
        };
        let served = self.partitions().assigned().all(|(_, partition)| leader(partition).is_some_and(is_up));
        let mut pulse = self.feel();
        pulse.reachable = statistics.brokers.values().any(|broker| broker.state == "UP");
        pulse.served = served;
        pulse.refused &= !pulse.reachable;
        pulse.heard = Some(Instant::now());
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            // The end of a partition comes along this way too, and is none.
            Some(RDKafkaErrorCode::PartitionEOF) => return,
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                tracing::warn!(reason, "an input topic does not exist; once it does, it is read from its beginning");
            }
            _ => {}
        }
        tracing::debug!(%error, reason, "consumer");
        let trouble = client::trouble(&error, reason);
        self.metrics.kafka_failed(trouble);
        let mut pulse = self.feel();
        pulse.refused |= trouble == KafkaTrouble::Authentication;
        // That all brokers are down says less than why.
        if !(pulse.refused && error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown)) {
            pulse.complaint = Some(reason.to_owned());
        }
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            pulse.reachable = false;
        }
    }
}

impl ConsumerContext for Listener {
    fn rebalance(&self, consumer: &BaseConsumer<Listener>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let outcome = match error {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(consumer, list),
            _ => self.revoke(consumer, list),
        };
        if let Err(error) = outcome {
            tracing::error!(%error, "a rebalance could not be followed");
        }
    }

    fn commit_callback(&self, outcome: Result<(), KafkaError>, list: &TopicPartitionList) {
        let Err(error) = outcome else { return };
        tracing::warn!(%error, "a commit was refused; the next one makes up for it");
        self.metrics.kafka_failed(KafkaTrouble::Commit);
        let partitions = self.partitions();
        for element in list.elements() {
            if let Some(slot) = partitions.slot(element.topic(), element.partition()) {
                partitions.get(slot).committed.set(UNKNOWN);
            }
        }
    }
}
