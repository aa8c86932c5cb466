//! Writing to and reading from topics, as producers and consumers beside the daemon do.
//!
//! Writing returns when the broker has acknowledged everything; reading goes from the first record to the last there is
//! at that moment. Both fail the test after a limit.

#![allow(dead_code, reason = "the edge and the fault tests use a part each")]

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::clock::wait_for;

const LIMIT: Duration = Duration::from_secs(60);

/// For writing what is to be read: a busy machine takes its time, and that is not what is tested.
const WRITE_LIMIT: Duration = Duration::from_secs(300);

/// A record to write.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// The record's own time, Unix ms: the log's opinion of when it was taken.
    pub ts: i64,
    pub key: Option<String>,
    pub payload: Option<Vec<u8>>,
}

/// A record as it lies in a topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    pub ts: i64,
    pub key: Option<Vec<u8>>,
    pub payload: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Draft {
    pub fn json(ts: i64, key: &str, value: &serde_json::Value) -> Draft {
        Draft { ts, key: Some(key.to_owned()), payload: Some(value.to_string().into_bytes()) }
    }

    pub fn bytes(ts: i64, payload: impl Into<Vec<u8>>) -> Draft {
        Draft { ts, key: None, payload: Some(payload.into()) }
    }
}

impl Record {
    pub fn json(&self) -> serde_json::Value {
        let payload = self.payload.as_deref().expect("it has a payload");
        serde_json::from_slice(payload).unwrap_or_else(|error| panic!("not JSON ({error}): {payload:?}"))
    }

    /// The header's text, or nothing where there is none of that name.
    pub fn header(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers.iter().find(|(key, _)| key == name)?;
        Some(String::from_utf8_lossy(value).into_owned())
    }
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Committed,
    Aborted,
}

/// Writes all of it in one transaction.
pub fn write_in_transaction(brokers: &str, topic: &str, drafts: &[Draft], ending: Ending) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("log_level", "0").set("transactional.id", topic);
    let producer: BaseProducer<Refused> = config.create_with_context(Refused::default()).expect("valid settings");
    producer.init_transactions(LIMIT).expect("a producer of its own");
    producer.begin_transaction().expect("none is open");
    send_all(&producer, topic, drafts);
    match ending {
        Ending::Committed => producer.commit_transaction(LIMIT),
        Ending::Aborted => producer.abort_transaction(LIMIT),
    }
    .unwrap_or_else(|error| panic!("{topic}: not {ending:?}: {error}"));
}

/// Writes all of it, in order within a partition.
pub fn write(brokers: &str, topic: &str, drafts: &[Draft]) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("log_level", "0").set("message.max.bytes", "8388608");
    config.set("enable.idempotence", "true").set("message.timeout.ms", "290000");
    // A consumer gets whole batches, however little it asks for: small ones let a test catch a daemon in the middle.
    config.set("batch.num.messages", "50");
    let producer: BaseProducer<Refused> = config.create_with_context(Refused::default()).expect("valid settings");
    send_all(&producer, topic, drafts);
}

/// Until the brokers have acknowledged all of it.
fn send_all(producer: &BaseProducer<Refused>, topic: &str, drafts: &[Draft]) {
    let deadline = Instant::now() + WRITE_LIMIT;
    for draft in drafts {
        let mut record = BaseRecord::<str, [u8]>::to(topic).timestamp(draft.ts);
        record.key = draft.key.as_deref();
        record.payload = draft.payload.as_deref();
        while let Err((error, returned)) = producer.send(record) {
            let full = matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
            assert!(full && Instant::now() < deadline, "{topic}: {error}");
            producer.poll(Duration::from_millis(50));
            record = returned;
        }
        producer.poll(Duration::ZERO);
    }
    let written = producer.flush(WRITE_LIMIT);
    written.unwrap_or_else(|error| panic!("{topic} was not written within {WRITE_LIMIT:?}: {error}"));
    assert_eq!(producer.context().0.load(Ordering::Relaxed), 0, "{topic} refused records");
}

/// All committed records of the topic; per partition in order.
pub fn read(brokers: &str, topic: &str) -> Vec<Record> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("log_level", "0").set("group.id", "edge-reader");
    config.set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    config.set("fetch.message.max.bytes", "8388608").set("fetch.wait.max.ms", "50");
    let consumer: BaseConsumer = config.create().expect("valid settings");
    let metadata = consumer.fetch_metadata(Some(topic), LIMIT).expect("the broker answers");
    let mut places = TopicPartitionList::new();
    for partition in metadata.topics().first().expect("it was asked for").partitions() {
        places.add_partition_offset(topic, partition.id(), Offset::Beginning).expect("a valid offset");
    }
    consumer.assign(&places).expect("valid places");
    let (mut records, mut ended) = (Vec::new(), 0);
    let deadline = Instant::now() + LIMIT;
    while ended < places.count() {
        assert!(Instant::now() < deadline, "{topic} was not read within {LIMIT:?}");
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => records.push(record(&message)),
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            // Lost connections are the client's to mend; the deadline is ours.
            Some(Err(_)) | None => {}
        }
    }
    records.sort_by_key(|record| (record.partition, record.offset));
    records
}

/// How many records the topic has, over all partitions.
pub fn count(brokers: &str, topic: &str) -> usize {
    read(brokers, topic).len()
}

/// How far the group has committed each partition, and where each one ends.
pub fn committed(brokers: &str, group: &str, topic: &str) -> Vec<(Offset, i64)> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("log_level", "0").set("group.id", group);
    // Else the answer waits for the transaction of a killed daemon.
    config.set("isolation.level", "read_uncommitted");
    let consumer: BaseConsumer = config.create().expect("valid settings");
    let metadata = consumer.fetch_metadata(Some(topic), LIMIT).expect("the broker answers");
    let numbers = metadata.topics().first().expect("it was asked for").partitions().iter().map(|each| each.id());
    numbers
        .map(|number| {
            let mut list = TopicPartitionList::new();
            list.add_partition(topic, number);
            let list = consumer.committed_offsets(list, LIMIT).expect("the broker answers");
            // On a busy machine a broker is missed now and then, and another one leads.
            let asked = || consumer.fetch_watermarks(topic, number, LIMIT).ok();
            let (_, end) = wait_for("the partition's leader to answer", LIMIT, asked);
            (list.elements()[0].offset(), end)
        })
        .collect()
}

fn record(message: &BorrowedMessage) -> Record {
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers.iter().map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec())).collect()
    });
    Record {
        partition: message.partition(),
        offset: message.offset(),
        ts: message.timestamp().to_millis().unwrap_or(-1),
        key: message.key().map(<[u8]>::to_vec),
        payload: message.payload().map(<[u8]>::to_vec),
        headers,
    }
}

/// Counts what the broker did not take.
#[derive(Default)]
struct Refused(AtomicUsize);

impl ClientContext for Refused {}

impl ProducerContext for Refused {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}
