//! Reads the input topics: one consumer in the group, polled by one thread, decoding in place.
//!
//! One plain consumer and no partition queues: with those a partition can stall unseen after a rebalance. Messages are
//! lent, not owned; whoever keeps one copies it. Which offset to read from is decided here (our own position, else the
//! group's, else the earliest) and nothing is ever committed but what a checkpoint holds. What is done with a message,
//! and in which order of time, is the run loop's affair.

mod listener;
pub mod partitions;
pub mod tally;

use super::align::Slot;
use super::checkpoint::Positions;
use super::client::{self, Side};
use super::config::Kafka;
use super::telemetry::Metrics;
use super::tokens::Tokens;
use super::topics::Topics;
use listener::Listener;
pub use listener::Pulse;
use partitions::{Change, Partition, Partitions, UNKNOWN};
use rdkafka::bindings as native;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerGroupMetadata as GroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Message, Offset, TopicPartitionList};
use std::cell::Cell;
use std::ffi::CString;
use std::sync::Arc;
use std::time::Duration;

/// Defaults that an operator may change.
const DEFAULTS: [(&str, &str); 6] = [
    ("auto.offset.reset", "earliest"),
    // The client holds up to 16 MiB of fetched messages. When that is full it asks again after 5 ms, not after the
    // usual second: catching up is two to five times faster so.
    ("queued.max.messages.kbytes", "16384"),
    ("queued.min.messages", "10000"),
    ("fetch.queue.backoff.ms", "5"),
    // A topic that is created later is found within this.
    ("topic.metadata.refresh.interval.ms", "10000"),
    ("session.timeout.ms", "45000"),
];

/// What delivery depends on: offsets move when we say so.
const REQUIRED: [(&str, &str); 4] = [
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("enable.partition.eof", "true"),
    ("statistics.interval.ms", "1000"),
];

/// How long the brokers may take to tell of a topic.
const ASKED_WITHIN: Duration = Duration::from_secs(5);

/// How long the client may take to go back in a partition.
const SEEK_WITHIN: Duration = Duration::from_secs(5);

/// The group's member that this daemon is.
pub struct Consumer {
    client: BaseConsumer<Listener>,
    /// The assigned partitions, where a message finds its own without a lock.
    assigned: Vec<(Slot, Arc<Partition>)>,
    /// Messages come in runs: the place of the last one's partition in `assigned`.
    recent: Cell<usize>,
}

/// What a poll brought.
pub enum Polled<'a> {
    Message(Slot, Arc<Partition>, BorrowedMessage<'a>),
    /// A partition with this number is at its end; the client does not say of which topic.
    End(i32),
    /// A message of a partition that is no longer ours.
    Stray,
    /// No message within the time given.
    Nothing,
    /// Something that passes, in words for the log.
    Trouble(RDKafkaErrorCode),
    /// The client can't go on.
    Fatal(KafkaError),
}

impl Consumer {
    /// Joins the group; partitions come with a later poll. Fails where librdkafka refuses the settings; an unreachable
    /// broker or a missing topic is no failure.
    pub fn connect(
        kafka: &Kafka,
        topics: Arc<Topics>,
        partitions: Partitions,
        metrics: Arc<Metrics>,
    ) -> Result<Consumer, KafkaError> {
        let mut settings = client::settings(kafka, Side::Consumer, &DEFAULTS);
        settings.set("group.id", &kafka.group);
        REQUIRED.iter().for_each(|(name, value)| {
            settings.set(*name, *value);
        });
        let names: Vec<String> = topics.inputs().map(str::to_owned).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        client::join_by(kafka.group_protocol, &names, &mut settings);
        let client: BaseConsumer<Listener> =
            settings.create_with_context(Listener::new(topics, Tokens::of(&kafka.properties), partitions, metrics))?;
        // Whoever needs a token asks for it while being polled, and is asked for partitions before that.
        let _ = client.poll(Duration::ZERO);
        client.subscribe(&names)?;
        Ok(Consumer { client, assigned: Vec::new(), recent: Cell::new(0) })
    }

    /// Waits for one message at most so long.
    pub fn poll(&self, wait: Duration) -> Polled<'_> {
        let message = match self.client.poll(wait) {
            None => return Polled::Nothing,
            Some(Ok(message)) => message,
            Some(Err(KafkaError::PartitionEOF(number))) => return Polled::End(number),
            Some(Err(KafkaError::MessageConsumption(code))) => return Polled::Trouble(code),
            Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => return Polled::Fatal(error),
            Some(Err(error)) => match error.rdkafka_error_code() {
                Some(code) => return Polled::Trouble(code),
                None => return Polled::Fatal(error),
            },
        };
        let is_its = |(_, partition): &(Slot, Arc<Partition>)| {
            partition.number == message.partition() && *partition.topic == *message.topic()
        };
        if !self.assigned.get(self.recent.get()).is_some_and(is_its) {
            match self.assigned.iter().position(is_its) {
                Some(place) => self.recent.set(place),
                None => return Polled::Stray,
            }
        }
        let (slot, partition) = &self.assigned[self.recent.get()];
        partition.see(message.offset(), leader_epoch(&message));
        Polled::Message(*slot, partition.clone(), message)
    }

    /// What rebalances have done since this was last asked, if there was one. A member may well end up with nothing.
    pub fn changes(&mut self) -> Option<Vec<Change>> {
        let listener = self.client.context();
        if !listener.take_changed() {
            return None;
        }
        let mut partitions = listener.partitions();
        self.assigned = partitions.assigned().map(|(slot, partition)| (slot, partition.clone())).collect();
        self.recent.set(0);
        Some(partitions.take_changes())
    }

    pub fn assigned(&self) -> &[(Slot, Arc<Partition>)] {
        &self.assigned
    }

    /// The same by slot; a partition that is not ours has nothing to show.
    pub fn is_at_end(&self, slot: Slot) -> bool {
        let found = self.assigned.iter().find(|(assigned, _)| *assigned == slot);
        match found {
            Some((_, partition)) => self.at_end(partition),
            // What is passed on by others may always have more.
            None => !self.partition(slot).relayed,
        }
    }

    pub fn partition(&self, slot: Slot) -> Arc<Partition> {
        self.client.context().partitions().get(slot).clone()
    }

    /// How many partitions a topic has, as far as the brokers say.
    pub fn count(&self, topic: &str) -> i32 {
        match self.client.fetch_metadata(Some(topic), ASKED_WITHIN) {
            Ok(metadata) => metadata.topics().first().map_or(0, |topic| topic.partitions().len() as i32),
            Err(error) => {
                tracing::warn!(topic, %error, "its partitions are known when they are first heard of");
                0
            }
        }
    }

    /// The partitions whose messages are passed on by others.
    pub fn relayed(&self) -> Vec<Arc<Partition>> {
        self.partitions().all().filter(|partition| partition.relayed).cloned().collect()
    }

    /// Another member may have read on in a partition that comes back: the group knows where.
    pub fn follow_the_group(&self) {
        self.partitions().forgetful = true;
    }

    /// All positions, whether assigned now or not.
    pub fn partitions(&self) -> std::sync::MutexGuard<'_, Partitions> {
        self.client.context().partitions()
    }

    /// How the brokers are, as of about a second ago.
    pub fn pulse(&self) -> Pulse {
        self.client.context().pulse()
    }

    /// Whether everything that the log held at the last fetch has been polled.
    pub fn at_end(&self, partition: &Partition) -> bool {
        let Some((low, high)) = self.watermarks(partition) else { return false };
        let is_polled = match partition.polled.get() {
            UNKNOWN => low == high,
            next => next >= high,
        };
        is_polled || (partition.has_all() && self.position(partition).is_some_and(|position| position >= high))
    }

    /// Leaves the markers of transactions behind that all partitions stand before; whether there were any.
    pub fn pass_markers(&self) -> bool {
        let mut any = false;
        for (_, partition) in &self.assigned {
            let is_before = self.watermarks(partition).is_some_and(|(_, high)| partition.polled.get() < high);
            if is_before && let Some(position) = self.position(partition) {
                any |= partition.pass(position);
            }
        }
        any
    }

    /// The client's own position, from its memory: what is no message, and is handed to nobody, lies behind it as well.
    /// Unknown from an assignment or a seek until something of the partition has come.
    fn position(&self, partition: &Partition) -> Option<i64> {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition(&partition.topic, partition.number);
        // SAFETY: the client's pointer lives as long as `self.client`, the list's as long as `list`, and librdkafka
        // writes into its elements alone. rust-rdkafka asks for all assigned partitions or none.
        let outcome = unsafe { native::rd_kafka_position(self.client.client().native_ptr(), list.ptr()) };
        let is_told = outcome == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
        list.elements().first().filter(|_| is_told).and_then(|element| match element.offset() {
            Offset::Offset(position) => Some(position),
            _ => None,
        })
    }

    /// Messages that lie in the log and whose effects are not published yet.
    pub fn lag(&self, partition: &Partition) -> Option<u64> {
        let (low, high) = self.watermarks(partition)?;
        let next = partition.acknowledged.get().max(low);
        u64::try_from(high - next).ok()
    }

    /// The lowest and the next offset of a partition as of the last fetch, from the client's memory.
    pub fn watermarks(&self, partition: &Partition) -> Option<(i64, i64)> {
        let topic = CString::new(partition.topic.as_bytes()).ok()?;
        let (mut low, mut high) = (-1, -1);
        // SAFETY: the client's pointer lives as long as `self.client`, the topic is a terminated string, and the two
        // numbers are written before the call returns; librdkafka allows this call on any thread. rust-rdkafka wraps
        // only the variant that asks the broker and blocks.
        let outcome = unsafe {
            let client = self.client.client().native_ptr();
            native::rd_kafka_get_watermark_offsets(client, topic.as_ptr(), partition.number, &mut low, &mut high)
        };
        (outcome == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some((low, high))
    }

    /// Positions with a mark, as a transaction commits them, and the group that they are committed for.
    ///
    /// # Errors
    /// An offset that is none, which positions never hold.
    pub fn marked(&self, positions: &Positions, mark: &str) -> Result<(TopicPartitionList, GroupMetadata), KafkaError> {
        // A topic that was deleted can't be committed, and would hold up the others. What is assigned exists; before
        // the first assignment nothing better is known than everything.
        let is_assigned = |topic: &str, number: i32| {
            self.assigned.iter().any(|(_, partition)| partition.number == number && *partition.topic == *topic)
        };
        let any = positions.keys().any(|(topic, number)| is_assigned(topic, *number));
        let mut list = TopicPartitionList::new();
        for ((topic, number), next) in
            positions.iter().filter(|((topic, number), _)| !any || is_assigned(topic, *number))
        {
            let mut element = list.add_partition(topic, *number);
            element.set_offset(Offset::Offset(*next))?;
            element.set_metadata(mark);
        }
        let group = self.client.group_metadata().ok_or(KafkaError::ClientCreation("no group".into()))?;
        Ok((list, group))
    }

    /// Whether the group's offsets of these partitions were committed with this mark. Waits for transactions that are
    /// being ended.
    ///
    /// # Errors
    /// The brokers do not say, within about this time.
    pub fn is_marked(&self, positions: &Positions, mark: &str, within: Duration) -> Result<bool, KafkaError> {
        let mut list = TopicPartitionList::new();
        for (topic, number) in positions.keys() {
            list.add_partition(topic, *number);
        }
        let committed = self.client.committed_offsets(list, within)?;
        Ok(committed.elements().iter().any(|element| element.metadata() == mark))
    }

    /// Commits what has been remembered since the last commit. A commit that fails is told in the log and made up for
    /// by the next one.
    pub fn commit(&self, mode: CommitMode) {
        let assigned = self.assigned.iter().map(|(_, partition)| partition.as_ref());
        listener::commit(&self.client, assigned, mode);
    }

    /// Stops fetching these partitions. They stay ours.
    pub fn pause(&self, slots: impl IntoIterator<Item = Slot>) {
        if let Some(list) = self.list(slots)
            && let Err(error) = self.client.pause(&list)
        {
            tracing::warn!(%error, "could not pause partitions");
        }
    }

    pub fn resume(&self, slots: impl IntoIterator<Item = Slot>) {
        if let Some(list) = self.list(slots)
            && let Err(error) = self.client.resume(&list)
        {
            tracing::warn!(%error, "could not resume partitions");
        }
    }

    /// Goes back to what was stepped last, so that what was polled since comes again.
    ///
    /// # Errors
    /// The client can't within a bounded time; the partition then stands where it stood.
    pub fn seek_back(&self, partition: &Partition) -> Result<(), KafkaError> {
        let next = partition.stepped.get();
        self.client.seek(&partition.topic, partition.number, Offset::Offset(next), SEEK_WITHIN)?;
        partition.read_anew();
        Ok(())
    }

    /// The assigned ones among these; `None` if there are none.
    fn list(&self, slots: impl IntoIterator<Item = Slot>) -> Option<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for slot in slots {
            if let Some((_, partition)) = self.assigned.iter().find(|(assigned, _)| *assigned == slot) {
                list.add_partition(&partition.topic, partition.number);
            }
        }
        (list.count() > 0).then_some(list)
    }
}

/// Which leader took the message, counted; less than 0 where the brokers don't say.
fn leader_epoch(message: &BorrowedMessage) -> i64 {
    // SAFETY: the pointer is the message's own, and nothing is written through it.
    i64::from(unsafe { native::rd_kafka_message_leader_epoch(message.ptr()) })
}

/// A list of positions as librdkafka wants them.
fn offsets<'a>(partitions: impl Iterator<Item = (&'a Partition, i64)>) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    for (partition, next) in partitions {
        list.add_partition_offset(&partition.topic, partition.number, Offset::Offset(next))?;
    }
    Ok(list)
}
