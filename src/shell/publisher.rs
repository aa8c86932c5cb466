//! Publishes a batch, in order, and says when every message of it has been acknowledged.
//!
//! One idempotent producer. librdkafka rides out an outage by itself, for as long as it takes and without changing the
//! order; what it reports as failed is sent again with the same bytes after a pause that grows, for ever. A batch is
//! settled when the brokers have acknowledged all of it and never before; whether to go on waiting is the caller's
//! affair. Records are stamped by the clock that is believed: one that was set an hour ahead, brokers would refuse.
//! Nothing here chooses what to say, and nothing is dropped.

mod transactions;

use super::client::{self, Side};
use super::clock::wall;
use super::config::Kafka;
use super::outbox::Sealed;
use super::pump::Outgoing;
use super::telemetry::{KafkaTrouble, Metrics};
use super::tokens::{self, Tokens};
use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
pub use transactions::{Carrier, Settled, Transactions};

/// Defaults that an operator may change.
const DEFAULTS: [(&str, &str); 3] = [
    ("compression.type", "lz4"),
    ("linger.ms", "5"),
    // A batch is bounded by what was taken, so the queue needs no great size: 64 MiB at most.
    ("queue.buffering.max.kbytes", "65536"),
];

/// What delivery depends on. Without a timeout librdkafka keeps order and identity of a message through any outage;
/// with one, a message that may have arrived already would come back as failed.
const REQUIRED: [(&str, &str); 3] = [("enable.idempotence", "true"), ("acks", "all"), ("message.timeout.ms", "0")];

/// The pause before what was reported as failed is sent again: doubled each time.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// The producer and the batch under way.
pub struct Publisher {
    settings: ClientConfig,
    tokens: Option<Tokens>,
    metrics: Arc<Metrics>,
    producer: ThreadedProducer<Deliveries>,
    outcomes: Receiver<(usize, Result<(), KafkaError>)>,
    batch: Vec<Outgoing>,
    /// One for each message of the batch.
    progress: Vec<Progress>,
    /// Nothing before this index is to be sent.
    cursor: usize,
    in_flight: usize,
    acknowledged: usize,
    pause: Duration,
    resume_at: Option<Instant>,
    trouble: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Waiting,
    InFlight,
    Acknowledged,
}

impl Publisher {
    /// Fails where librdkafka refuses the settings; an unreachable broker is no failure.
    pub fn connect(kafka: &Kafka, metrics: Arc<Metrics>) -> Result<Publisher, KafkaError> {
        let mut settings = client::settings(kafka, Side::Producer, &DEFAULTS);
        REQUIRED.iter().for_each(|(name, value)| {
            settings.set(*name, *value);
        });
        let tokens = Tokens::of(&kafka.properties);
        let (producer, outcomes) = produce(&settings, &tokens, &metrics)?;
        Ok(Publisher {
            settings,
            tokens,
            metrics,
            producer,
            outcomes,
            batch: Vec::new(),
            progress: Vec::new(),
            cursor: 0,
            in_flight: 0,
            acknowledged: 0,
            pause: PAUSE_FIRST,
            resume_at: None,
            trouble: None,
        })
    }

    /// Takes over a batch. The one before it must have been settled.
    pub fn begin(&mut self, batch: Vec<Outgoing>) {
        debug_assert!(self.is_settled(), "a batch begins after the one before it has ended");
        self.progress.clear();
        self.progress.resize(batch.len(), Progress::Waiting);
        self.batch = batch;
        self.cursor = 0;
        self.in_flight = 0;
        self.acknowledged = 0;
        self.trouble = None;
    }

    /// Works on the batch for at most about `wait`; true once all of it has been acknowledged.
    pub fn settle(&mut self, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        loop {
            self.replace_if_fatal();
            self.send_waiting();
            if self.is_settled() {
                self.pause = PAUSE_FIRST;
                self.trouble = None;
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.outcomes.recv_timeout(left.min(Duration::from_millis(50))) {
                Ok((index, outcome)) => self.note(index, outcome),
                Err(RecvTimeoutError::Timeout) if left.is_zero() => return false,
                Err(RecvTimeoutError::Timeout) => {}
                // The sender lives in the producer, which lives in `self`.
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    /// The batch that has been settled, for counting; the publisher forgets it.
    pub fn take_settled(&mut self) -> Vec<Outgoing> {
        self.progress.clear();
        self.acknowledged = 0;
        std::mem::take(&mut self.batch)
    }

    /// Why the batch is not settled yet, as far as the brokers have said.
    pub fn trouble(&self) -> Option<String> {
        let heard = || self.producer.context().heard.lock().ok().and_then(|heard| heard.clone());
        self.trouble.clone().or_else(heard)
    }

    fn is_settled(&self) -> bool {
        self.acknowledged == self.batch.len()
    }

    /// Sends in order what waits. After a failure nothing is sent until everything in flight has come back, so that
    /// the second attempt keeps the order too.
    fn send_waiting(&mut self) {
        if let Some(at) = self.resume_at {
            if self.in_flight > 0 || Instant::now() < at {
                return;
            }
            self.resume_at = None;
            self.cursor = 0;
        }
        while let Some(outgoing) = self.batch.get(self.cursor) {
            if self.progress[self.cursor] == Progress::Waiting {
                if let Err(error) = send(&self.producer, self.cursor, outgoing) {
                    if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                        self.fail(error.to_string());
                    }
                    // A full queue is backpressure: go on when something has come back.
                    return;
                }
                self.progress[self.cursor] = Progress::InFlight;
                self.in_flight += 1;
            }
            self.cursor += 1;
        }
    }

    fn note(&mut self, index: usize, outcome: Result<(), KafkaError>) {
        // An index that is not in flight belongs to a batch that a fatal error cut short.
        if self.progress.get(index) != Some(&Progress::InFlight) {
            return;
        }
        self.in_flight -= 1;
        match outcome {
            Ok(()) => {
                self.progress[index] = Progress::Acknowledged;
                self.acknowledged += 1;
            }
            Err(error) => {
                self.progress[index] = Progress::Waiting;
                self.fail(format!("{}: {error}", self.batch[index].topic));
            }
        }
    }

    fn fail(&mut self, why: String) {
        self.metrics.publish_retried();
        self.metrics.kafka_failed(KafkaTrouble::Produce);
        self.trouble = Some(why);
        if self.resume_at.is_none() {
            self.resume_at = Some(Instant::now() + self.pause);
            self.pause = (self.pause * 2).min(PAUSE_MAX);
        }
    }

    /// After a fatal error a producer takes nothing more: a new one gets everything that was not acknowledged.
    fn replace_if_fatal(&mut self) {
        let Some((code, why)) = self.producer.client().fatal_error() else { return };
        if self.resume_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        tracing::error!(%code, why, "the producer can't go on; starting a new one");
        match produce(&self.settings, &self.tokens, &self.metrics) {
            Ok((producer, outcomes)) => {
                self.producer = producer;
                self.outcomes = outcomes;
                let in_flight = self.progress.iter_mut().filter(|progress| **progress == Progress::InFlight);
                in_flight.for_each(|progress| *progress = Progress::Waiting);
                self.in_flight = 0;
                self.cursor = 0;
            }
            Err(error) => self.fail(error.to_string()),
        }
    }
}

/// Publishes one record by itself, to a topic's first partition and under a key, and waits for its acknowledgement.
///
/// # Errors
/// The brokers do not take it, or not in time.
pub fn publish_alone(
    kafka: &Kafka,
    metrics: &Arc<Metrics>,
    (topic, partition, key): (&str, i32, &str),
    payload: &[u8],
    within: Duration,
) -> Result<(), KafkaError> {
    let mut settings = client::settings(kafka, Side::Producer, &DEFAULTS);
    settings.set("enable.idempotence", "true").set("acks", "all");
    settings.set("message.timeout.ms", within.as_millis().to_string());
    let (producer, outcomes) = produce(&settings, &Tokens::of(&kafka.properties), metrics)?;
    let record = BaseRecord::<str, [u8], usize>::with_opaque_to(topic, 0).key(key).payload(payload);
    let record = record.partition(partition).timestamp(wall().0);
    producer.send(record).map_err(|(error, _)| error)?;
    let late = KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut);
    outcomes.recv_timeout(within + PAUSE_MAX).map_or(Err(late), |(_, outcome)| outcome)
}

type Started = (ThreadedProducer<Deliveries>, Receiver<(usize, Result<(), KafkaError>)>);

fn produce(settings: &ClientConfig, tokens: &Option<Tokens>, metrics: &Arc<Metrics>) -> Result<Started, KafkaError> {
    let (sender, outcomes) = mpsc::channel();
    let (tokens, metrics) = (tokens.clone(), metrics.clone());
    let deliveries =
        Deliveries { outcomes: sender, heard: Mutex::new(None), refused: AtomicBool::new(false), tokens, metrics };
    Ok((settings.create_with_context(deliveries)?, outcomes))
}

fn send(producer: &ThreadedProducer<Deliveries>, index: usize, outgoing: &Outgoing) -> Result<(), KafkaError> {
    let mut headers = OwnedHeaders::new_with_capacity(outgoing.message.headers.len());
    for (key, value) in &outgoing.message.headers {
        headers = headers.insert(Header { key, value: Some(value) });
    }
    let record = BaseRecord::<[u8], [u8], usize>::with_opaque_to(&outgoing.topic, index)
        .timestamp(wall().0)
        .payload(&outgoing.message.payload)
        .headers(headers);
    let record = match &outgoing.message.key {
        Some(key) => record.key(key.as_slice()),
        None => record,
    };
    let record = match outgoing.partition {
        Some(partition) => record.partition(partition),
        None => record,
    };
    producer.send(record).map_err(|(error, _)| error)
}

/// The same for a letter of an outbox.
fn record(index: usize, letter: &Sealed) -> BaseRecord<'_, [u8], [u8], usize> {
    let mut headers = OwnedHeaders::new_with_capacity(letter.headers.len());
    for (key, value) in &letter.headers {
        headers = headers.insert(Header { key, value: Some(value) });
    }
    let record = BaseRecord::with_opaque_to(&letter.topic, index).timestamp(wall().0).headers(headers);
    let record = record.payload(letter.payload.as_slice());
    match &letter.key {
        Some(key) => record.key(key.as_slice()),
        None => record,
    }
}

/// Hears from librdkafka, on the producer's own thread.
struct Deliveries {
    /// Bounded by what is in flight.
    outcomes: Sender<(usize, Result<(), KafkaError>)>,
    /// The last thing the client complained of.
    heard: Mutex<Option<String>>,
    /// Name, token or certificate were refused; nothing tells when they no longer are.
    refused: AtomicBool,
    tokens: Option<Tokens>,
    metrics: Arc<Metrics>,
}

impl ClientContext for Deliveries {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        tokens::fetch(self.tokens.as_ref())
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        client::log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "producer");
        let trouble = client::trouble(&error, reason);
        self.metrics.kafka_failed(trouble);
        self.refused.fetch_or(trouble == KafkaTrouble::Authentication, Ordering::Relaxed);
        if let Ok(mut heard) = self.heard.lock() {
            *heard = Some(reason.to_owned());
        }
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, index: usize) {
        let outcome = result.as_ref().map(|_| ()).map_err(|(error, _)| error.clone());
        // The receiver is gone only when the publisher is, and then nobody asks any more.
        let _ = self.outcomes.send((index, outcome));
    }
}
