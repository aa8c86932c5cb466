//! Publishes a sealed outbox and commits its positions in one Kafka transaction, step by step; where the state is kept
//! in a topic, the checkpoint goes out in the same transaction.
//!
//! Each step asks librdkafka for a bounded time and is asked again where it left off, so that the consumer can be
//! polled in between. A transaction that fails is aborted and begun anew; a producer that can't go on, fenced or fatal,
//! is replaced. Where nobody knows whether a commit went through, the group's offsets are asked for the seal's mark:
//! it is committed with the outbox or not at all. What is published when is not decided here.

use super::{DEFAULTS, Deliveries, PAUSE_FIRST, PAUSE_MAX, produce, record};
use crate::shell::client::{self, Side};
use crate::shell::clock::wall;
use crate::shell::config::Kafka;
use crate::shell::consumer::Consumer;
use crate::shell::outbox::{Seal, Sealed};
use crate::shell::telemetry::{KafkaTrouble, Metrics};
use crate::shell::tokens::Tokens;
use rdkafka::TopicPartitionList;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long one step may keep the run loop from its other duties.
const STEP: Duration = Duration::from_millis(500);

/// After this a producer whose call does not come back is given up; where the daemon would end with it, after the
/// longer.
const GIVE_UP: [Duration; 2] = [Duration::from_secs(15), Duration::from_secs(45)];

/// How long a transaction may be open, in milliseconds: after that the brokers end what a killed daemon left open, if
/// nobody has come in its place, and readers of what is committed see further. Where the state goes out in it, the
/// longer. More than the times above.
const OPEN_FOR: [&str; 2] = ["30000", "60000"];

/// A full queue is asked again after this.
const ROOM: Duration = Duration::from_millis(2);

/// The transactional producer and how far the outbox at hand is.
pub struct Transactions {
    settings: ClientConfig,
    tokens: Option<Tokens>,
    metrics: Arc<Metrics>,
    producer: Option<Arc<ThreadedProducer<Deliveries>>>,
    outcomes: Option<Receiver<(usize, Result<(), KafkaError>)>>,
    stage: Stage,
    /// A commit was asked for and nobody knows what became of it.
    doubtful: bool,
    pause: Duration,
    resume_at: Option<Instant>,
    trouble: Option<String>,
    /// The transaction that is open holds a checkpoint, which can't be sent again.
    carries: bool,
    /// Why no other producer may follow: whoever has taken this one's place goes on from the state in the topic.
    ended: Option<String>,
    /// Whether the state is kept in a topic.
    stateful: bool,
    /// Positions on their way into the transaction.
    sending: Option<Sending>,
}

/// A call that librdkafka bounds in time only as long as it finds the coordinators: while one of them is away it may
/// take as long as that does, and the run loop has a group to stay in and an operator to hear.
struct Sending {
    thread: JoinHandle<Result<(), KafkaError>>,
    begun: Instant,
}

/// What became of an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is published for good.
    Published,
    /// It is to be asked again.
    Pending,
    /// The transaction was aborted, and the checkpoint in it with it: it takes another one.
    Lost,
}

/// Sends the records of a checkpoint within the open transaction, from any thread.
pub struct Carrier(Arc<ThreadedProducer<Deliveries>>);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    /// Make a producer; what an earlier one left open is ended by that.
    Start,
    /// Was it published already?
    Ask,
    Begin,
    /// From this letter on.
    Send(usize),
    Offsets,
    Commit,
    Abort,
    Done,
}

impl Transactions {
    /// `stateful` if checkpoints go out with what is published. Nothing is connected before it is needed.
    pub fn new(kafka: &Kafka, stateful: bool, metrics: Arc<Metrics>) -> Transactions {
        let mut defaults = DEFAULTS.to_vec();
        defaults.push(("transaction.timeout.ms", OPEN_FOR[usize::from(stateful)]));
        let mut settings = client::settings(kafka, Side::Producer, &defaults);
        settings.set("transactional.id", &kafka.group).set("enable.idempotence", "true").set("acks", "all");
        Transactions {
            settings,
            tokens: Tokens::of(&kafka.properties),
            metrics,
            producer: None,
            outcomes: None,
            stage: Stage::Start,
            doubtful: false,
            pause: PAUSE_FIRST,
            resume_at: None,
            trouble: None,
            carries: false,
            ended: None,
            stateful,
            sending: None,
        }
    }

    /// The first outbox is of an earlier run, which may have published it.
    pub fn doubt(&mut self) {
        self.doubtful = true;
        if self.stage == Stage::Begin {
            self.stage = Stage::Ask;
        }
    }

    /// Gets ready before there is anything to publish: ends what a killed daemon left open, which holds up readers.
    /// Takes at most about one step, and waits for nothing where that has failed lately.
    pub fn prepare(&mut self) {
        let is_due = matches!(self.stage, Stage::Start | Stage::Abort) && !self.doubtful;
        if !is_due || self.ended.is_some() || self.resume_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        match self.step(&[], &Seal::default(), None) {
            Ok(next) => self.stage = next,
            Err(error) => self.stumble(&error),
        }
    }

    /// Whether a transaction could begin.
    pub fn is_ready(&self) -> bool {
        self.stage == Stage::Begin
    }

    /// Begins the transaction that a checkpoint goes out in, if one can begin.
    pub fn open(&mut self) -> Option<Carrier> {
        if !self.is_ready() || self.resume_at.is_some_and(|at| Instant::now() < at) {
            return None;
        }
        match self.step(&[], &Seal::default(), None) {
            Ok(next) => self.stage = next,
            Err(error) => {
                self.stumble(&error);
                return None;
            }
        }
        self.carries = true;
        self.producer.clone().map(Carrier)
    }

    /// The checkpoint failed, and nothing of its transaction may stand.
    pub fn cancel(&mut self) {
        self.carries = false;
        if self.producer.is_some() && !matches!(self.stage, Stage::Start | Stage::Begin) {
            self.stage = Stage::Abort;
        }
    }

    /// Why it is over for this daemon, if it is.
    pub fn ended(&self) -> Option<&str> {
        self.ended.as_deref()
    }

    /// Works on the outbox for at most about `wait`, or as long as one step.
    pub fn settle(&mut self, letters: &[Sealed], seal: &Seal, consumer: &Consumer, wait: Duration) -> Settled {
        let until = Instant::now() + wait;
        loop {
            let now = Instant::now();
            if let Some(at) = self.resume_at {
                std::thread::sleep(at.min(until).saturating_duration_since(now));
                if at > until {
                    return Settled::Pending;
                }
                self.resume_at = None;
            }
            match self.step(letters, seal, Some(consumer)) {
                Ok(Stage::Done) => {
                    (self.stage, self.carries) = (Stage::Begin, false);
                    (self.pause, self.trouble) = (PAUSE_FIRST, None);
                    return Settled::Published;
                }
                Ok(next) => self.stage = next,
                Err(error) => self.stumble(&error),
            }
            if self.carries && self.stage == Stage::Begin || self.ended.is_some() {
                self.carries = false;
                return Settled::Lost;
            }
            if Instant::now() >= until {
                return Settled::Pending;
            }
        }
    }

    /// Whether the brokers have refused us since the producer was made.
    pub fn is_refused(&self) -> bool {
        self.producer.as_ref().is_some_and(|producer| producer.context().refused.load(Ordering::Relaxed))
    }

    /// Why it is not settled yet, as far as the brokers have said.
    pub fn trouble(&self) -> Option<String> {
        let heard = || self.producer.as_ref()?.context().heard.lock().ok()?.clone();
        self.trouble.clone().or_else(heard)
    }

    /// Without a consumer nothing is asked or committed; it stays at that stage.
    fn step(&mut self, letters: &[Sealed], seal: &Seal, consumer: Option<&Consumer>) -> Result<Stage, KafkaError> {
        let Some(producer) = &self.producer else {
            let (producer, outcomes) = produce(&self.settings, &self.tokens, &self.metrics)?;
            (self.producer, self.outcomes) = (Some(Arc::new(producer)), Some(outcomes));
            return Ok(Stage::Start);
        };
        match (self.stage, consumer) {
            (Stage::Start, _) => {
                producer.init_transactions(STEP)?;
                Ok(if self.doubtful { Stage::Ask } else { Stage::Begin })
            }
            (Stage::Ask, Some(consumer)) => {
                let published = consumer.is_marked(&seal.positions, &seal.mark, STEP)?;
                tracing::info!(published, mark = seal.mark, "asked whether the last outbox was published");
                self.doubtful = false;
                Ok(if published { Stage::Done } else { Stage::Begin })
            }
            (Stage::Begin, _) => {
                // What is told of the letters of a transaction that is over says nothing about this one.
                self.outcomes.iter().for_each(|outcomes| outcomes.try_iter().for_each(drop));
                producer.begin_transaction()?;
                Ok(Stage::Send(0))
            }
            (Stage::Send(from), _) => {
                for (index, letter) in letters.iter().enumerate().skip(from) {
                    match producer.send(record(index, letter)).map_err(|(error, _)| error) {
                        Ok(()) => {}
                        Err(KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) => {
                            // Backpressure: go on when something has been sent.
                            std::thread::sleep(Duration::from_millis(10));
                            return Ok(Stage::Send(index));
                        }
                        Err(error) => return Err(error),
                    }
                }
                Ok(Stage::Offsets)
            }
            (Stage::Offsets, Some(consumer)) => {
                let sending = match self.sending.take() {
                    Some(sending) => sending,
                    None => Sending::begin(producer.clone(), consumer.marked(&seal.positions, &seal.mark)?),
                };
                match sending.wait() {
                    Ok(outcome) => outcome.map(|()| Stage::Commit),
                    Err(sending) if sending.begun.elapsed() < GIVE_UP[usize::from(self.stateful)] => {
                        self.sending = Some(sending);
                        Ok(Stage::Offsets)
                    }
                    // The thread keeps the producer until its call comes back.
                    Err(_) => Err(KafkaError::Canceled),
                }
            }
            (Stage::Commit, _) => {
                self.doubtful = true;
                producer.commit_transaction(STEP)?;
                self.doubtful = false;
                Ok(Stage::Done)
            }
            (Stage::Abort, _) => {
                producer.abort_transaction(STEP)?;
                // What was aborted was not committed.
                self.doubtful = false;
                Ok(Stage::Begin)
            }
            (stage, _) => Ok(stage),
        }
    }

    /// Decides how to go on after a step that failed.
    fn stumble(&mut self, error: &KafkaError) {
        let refused = self.outcomes.as_ref().and_then(|outcomes| outcomes.try_iter().find_map(|(_, it)| it.err()));
        let timed_out = matches!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::OperationTimedOut | RDKafkaErrorCode::RequestTimedOut)
        );
        if timed_out && refused.is_none() {
            // Asked again, it goes on where it was.
            return;
        }
        self.metrics.publish_retried();
        self.metrics.kafka_failed(KafkaTrouble::Produce);
        self.trouble = Some(refused.map_or_else(|| error.to_string(), |refused| format!("{error}: {refused}")));
        let (fatal, abort, again) = match error {
            KafkaError::Transaction(error) => (error.is_fatal(), error.txn_requires_abort(), error.is_retriable()),
            KafkaError::MessageProduction(_) => (false, true, false),
            KafkaError::Canceled => (true, false, false),
            // The group's answer, and the settings of a client that was not made.
            _ => (false, false, true),
        };
        match (fatal, abort, again) {
            _ if self.producer.is_none() => self.stage = Stage::Start,
            (false, true, _) if self.stage != Stage::Abort => self.stage = Stage::Abort,
            (false, false, true) => {}
            _ => {
                let why = self.trouble.as_deref().unwrap_or_default();
                if self.stateful && self.stage != Stage::Start {
                    tracing::error!(why, stage = ?self.stage, "the transactional producer can't go on");
                    self.ended = self.trouble.clone();
                    return;
                }
                tracing::error!(why, stage = ?self.stage, "the transactional producer can't go on; starting a new one");
                (self.producer, self.outcomes, self.stage) = (None, None, Stage::Start);
            }
        }
        self.resume_at = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }
}

impl Sending {
    fn begin(
        producer: Arc<ThreadedProducer<Deliveries>>,
        what: (TopicPartitionList, ConsumerGroupMetadata),
    ) -> Sending {
        let send = move || producer.send_offsets_to_transaction(&what.0, &what.1, STEP);
        let thread = std::thread::Builder::new().name("offsets".into()).spawn(send);
        let thread = thread.expect("a thread can be had: librdkafka has just had several");
        Sending { thread, begun: Instant::now() }
    }

    /// What came of it, or that it still goes on after a step's time.
    fn wait(self) -> Result<Result<(), KafkaError>, Sending> {
        let until = Instant::now() + STEP;
        while !self.thread.is_finished() {
            if Instant::now() >= until {
                return Err(self);
            }
            std::thread::sleep(ROOM);
        }
        Ok(self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    }
}

impl Carrier {
    /// Waits while the queue is full.
    ///
    /// # Errors
    /// The transaction can't go on.
    pub fn send(&self, (topic, partition): (&str, i32), key: &str, value: Option<&[u8]>) -> Result<(), KafkaError> {
        // One partition, so that a reader finds the records of a key in the order in which they were written.
        let mut record: BaseRecord<'_, str, [u8], usize> =
            BaseRecord::with_opaque_to(topic, usize::MAX).key(key).partition(partition);
        record.payload = value;
        record.timestamp = Some(wall().0);
        loop {
            match self.0.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                    record = again;
                    std::thread::sleep(ROOM);
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    /// Waits until the brokers have answered for everything; librdkafka gives up by itself when the transaction's time
    /// is over.
    pub fn flush(&self) {
        while self.0.in_flight_count() > 0 {
            std::thread::sleep(ROOM);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::config::Config;

    #[test]
    fn what_is_left_open_is_ended_soon_or_when_the_operator_says() {
        let timeout = |toml: &str, stateful: bool| {
            let config = Config::from_toml_str(toml).expect("no mistakes");
            let transactions = Transactions::new(&config.kafka, stateful, Arc::default());
            transactions.settings.get("transaction.timeout.ms").map(str::to_owned)
        };
        assert_eq!(timeout("", false).as_deref(), Some("30000"));
        assert_eq!(timeout("", true).as_deref(), Some("60000"));
        let longer = "[kafka.properties]\n\"transaction.timeout.ms\" = \"300000\"";
        assert_eq!(timeout(longer, true).as_deref(), Some("300000"));
    }
}
