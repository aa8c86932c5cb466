//! Takes a bounded batch: polls, puts messages in order of time, and pumps them through the engine.
//!
//! While everything is at its end a message goes from the client's memory straight into the engine; while there is a
//! backlog it waits its turn in `align`. Nothing is published or committed here, so whatever a batch has stepped is not
//! remembered yet.

mod progress;
mod relayed;

use super::circuit::Circuit;
use super::stepper::Stepper;
use crate::engine::event::Fact;
use crate::engine::time::Time;
use crate::shell::align::{Align, Next, Slot, Waiting};
use crate::shell::clock::{Clock, heard};
use crate::shell::config::DeadLetters;
use crate::shell::consumer::partitions::{Change, Partition, UNKNOWN};
use crate::shell::consumer::{Consumer, Polled};
use crate::shell::pump::{Outgoing, Pump, Taken};
use crate::shell::telemetry::{KafkaTrouble, Metrics};
use crate::shell::topics::Topics;
use crate::wire::inbound::{Kind, SIGNATURE};
pub use progress::Upto;
use rdkafka::Message;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers};
use relayed::Relayed;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A batch ends at the first of these; one message is always taken. What follows from a batch is held in memory until
/// it is acknowledged: a few MiB with these bounds.
const MESSAGES_MAX: usize = 10_000;
const BYTES_MAX: usize = 8 << 20;
const OUTGOING_MAX: usize = 2_000;
const DURATION_MAX: Duration = Duration::from_millis(200);

/// Positions move past what is no message this often.
const PASS_EVERY: Duration = Duration::from_secs(1);

/// While one partition holds up the others, so many messages are buffered between two looks at the order.
const BURST: usize = 64;

/// Messages come in, in order.
pub struct Intake {
    pub consumer: Consumer,
    align: Align,
    circuit: Circuit,
    stepper: Stepper,
    /// Not told yet.
    gaps: Vec<Gap>,
    /// Of a lane whose metrics and logs are passed on to it.
    relayed: Option<Relayed>,
    clock: Clock,
    metrics: Arc<Metrics>,
    began: Instant,
    /// When markers of transactions were last left behind.
    passed: Instant,
    /// A group was joined, with or without partitions.
    pub joined: bool,
}

/// A stretch of time that the log dropped before it was read; since the state's own time where the partition had shown
/// nothing before.
struct Gap {
    from: Option<Time>,
    to: Option<Time>,
}

/// What was taken.
#[derive(Debug, Default)]
pub struct Batch {
    pub messages: usize,
    pub bytes: usize,
    /// Positions have moved without a message for us: the partition that carries what is passed on was read on, or
    /// markers of transactions were left behind.
    pub has_moved: bool,
}

impl Intake {
    pub fn new(
        consumer: Consumer,
        stepper: Stepper,
        limits: DeadLetters,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Intake {
        let (align, circuit, gaps) = (Align::default(), Circuit::new(limits), Vec::new());
        let (relayed, began, joined) = (None, Instant::now(), false);
        Intake { consumer, align, circuit, stepper, gaps, relayed, clock, metrics, began, passed: began, joined }
    }

    /// Takes what there is, waiting at most so long for the first message.
    ///
    /// # Errors
    /// Only what the client can't recover from.
    pub fn batch(&mut self, pump: &mut Pump, wait: Duration, out: &mut Vec<Outgoing>) -> Result<Batch, KafkaError> {
        let mut batch = self.take_batch(pump, wait, out)?;
        if self.passed.elapsed() >= PASS_EVERY {
            batch.has_moved = self.consumer.pass_markers();
            self.passed = Instant::now();
        }
        if let Some(relayed) = &self.relayed {
            batch.has_moved |= relayed.settle(&self.align);
        }
        Ok(batch)
    }

    fn take_batch(&mut self, pump: &mut Pump, wait: Duration, out: &mut Vec<Outgoing>) -> Result<Batch, KafkaError> {
        let begun = Instant::now();
        let mut batch = Batch::default();
        loop {
            self.follow_rebalance();
            tell_gaps(&mut self.gaps, pump, out);
            let held_up = self.take_waiting(pump, begun, &mut batch, out);
            self.stop_tripped();
            self.ease();
            if batch.is_full(begun, out) {
                return Ok(batch);
            }
            let left = match (batch.messages > 0, held_up) {
                (true, _) => Duration::ZERO,
                (false, true) => Duration::from_millis(10),
                (false, false) => wait.saturating_sub(begun.elapsed()),
            };
            for _ in 0..if held_up { BURST } else { 1 } {
                match self.poll(pump, left, &mut batch, out)? {
                    Brought::Something => self.stop_tripped(),
                    Brought::Nothing if batch.messages > 0 || begun.elapsed() >= wait => return Ok(batch),
                    Brought::Nothing => break,
                }
            }
        }
    }

    /// Keeps the membership alive without taking anything: what still comes is buffered for later.
    pub fn hold(&mut self) -> Result<(), KafkaError> {
        if self.follow_rebalance() {
            self.pause_all();
        }
        self.buffer()
    }

    /// Takes nothing either, but lets every partition show its next message.
    pub fn look_ahead(&mut self) -> Result<(), KafkaError> {
        self.follow_rebalance();
        self.buffer()?;
        self.ease();
        Ok(())
    }

    /// The moment of the next message, as far as any waits.
    pub fn next_at(&self) -> Option<Time> {
        self.align.next_at()
    }

    fn buffer(&mut self) -> Result<(), KafkaError> {
        match self.consumer.poll(Duration::ZERO) {
            Polled::Message(slot, ..) if self.circuit.is_stopped(slot) => Ok(()),
            Polled::Message(_, partition, message) if self.relayed.is_some() && partition.kind == Kind::Letters => {
                if let Some(relayed) = &mut self.relayed {
                    let told = (self.clock, &mut self.gaps);
                    relayed.take(&self.consumer, &mut self.align, &partition, &message, told);
                }
                Ok(())
            }
            Polled::Message(slot, partition, message) => {
                self.gaps.extend(gap(&self.consumer, &partition, &message, self.clock));
                let waiting = owned(&partition, &message, self.clock);
                self.align.offer(slot, waiting);
                partition.polled.set(message.offset() + 1);
                Ok(())
            }
            Polled::Fatal(error) => Err(error),
            _ => Ok(()),
        }
    }

    pub fn pause_all(&self) {
        self.consumer.pause(self.consumer.assigned().iter().map(|(slot, _)| *slot));
    }

    /// Resumes all but those whose buffer is full.
    pub fn resume_all(&mut self) {
        self.consumer.resume(self.consumer.assigned().iter().map(|(slot, _)| *slot));
        self.consumer.pause(self.align.paused());
        self.consumer.pause(self.circuit.stopped());
    }

    /// From here on metrics and logs are passed on to this lane by others.
    pub fn expect_relayed(&mut self, topics: Arc<Topics>, lanes: u32) {
        let metrics = self.metrics.clone();
        self.relayed = Some(Relayed::new((topics, lanes), metrics, &self.consumer, &mut self.align));
    }

    /// Whether every partition is at its end and nothing waits, and the brokers are there to tell.
    pub fn is_idle(&self) -> bool {
        self.align.is_empty()
            && !self.consumer.assigned().is_empty()
            && self.consumer.pulse().is_silence_real()
            && self
                .consumer
                .assigned()
                .iter()
                .all(|(slot, partition)| self.circuit.is_stopped(*slot) || self.consumer.at_end(partition))
    }

    fn poll(
        &mut self,
        pump: &mut Pump,
        wait: Duration,
        batch: &mut Batch,
        out: &mut Vec<Outgoing>,
    ) -> Result<Brought, KafkaError> {
        let consumer = &self.consumer;
        match consumer.poll(wait) {
            Polled::Message(slot, ..) if self.circuit.is_stopped(slot) => {}
            Polled::Message(_, source, message) if self.relayed.is_some() && source.kind == Kind::Letters => {
                if let Some(relayed) = &mut self.relayed {
                    let told = (self.clock, &mut self.gaps);
                    relayed.take(consumer, &mut self.align, &source, &message, told);
                }
            }
            Polled::Message(slot, partition, message) => {
                // Before anything else is stepped: else silence would be held against somebody in the meantime.
                self.gaps.extend(gap(consumer, &partition, &message, self.clock));
                tell_gaps(&mut self.gaps, pump, out);
                if self.align.passes(slot, |slot| consumer.is_at_end(slot)) {
                    let stamped = stamped(&message);
                    if let Some(stamped) = stamped {
                        heard(stamped, true);
                    }
                    let at = believed(&partition, stamped, self.clock);
                    let taken = Taken {
                        topic: &partition.topic,
                        partition: partition.number,
                        offset: message.offset(),
                        kind: partition.kind,
                        now: at,
                        stamped,
                        key: message.key(),
                        payload: message.payload().unwrap_or_default(),
                        signature: signature(&partition, &message),
                    };
                    if let Some(is_dead_letter) = self.stepper.step(consumer, &partition, &taken, pump, batch, out) {
                        self.circuit.note(slot, is_dead_letter);
                    }
                } else {
                    self.align.offer(slot, owned(&partition, &message, self.clock));
                }
                partition.polled.set(message.offset() + 1);
            }
            Polled::End(number) => {
                // The client names no topic: any partition of this number may be meant that is at its end by the
                // watermarks, or whose last messages still wait here. Only where there is none, the missing one is.
                let numbered = |slot: &Slot| {
                    let partition = consumer.partition(*slot);
                    partition.number == number && !partition.relayed
                };
                let missing: Vec<Slot> = self.align.missing().filter(numbered).collect();
                let assigned = consumer.assigned().iter().map(|(slot, _)| *slot).filter(numbered);
                let mut others = assigned.filter(|slot| !missing.contains(slot));
                let explained = others.any(|slot| consumer.is_at_end(slot) || self.align.is_waiting(slot));
                if let ([slot], false) = (&missing[..], explained) {
                    self.align.end(*slot);
                }
            }
            Polled::Stray => {}
            Polled::Nothing => return Ok(Brought::Nothing),
            Polled::Trouble(code) => self.tell(code),
            Polled::Fatal(error) => return Err(error),
        }
        Ok(Brought::Something)
    }

    /// Takes what waits and whose turn it is. True if something waits whose turn it is not yet.
    fn take_waiting(&mut self, pump: &mut Pump, begun: Instant, batch: &mut Batch, out: &mut Vec<Outgoing>) -> bool {
        let consumer = &self.consumer;
        while !batch.is_full(begun, out) {
            let elapsed = self.began.elapsed().as_millis() as u64;
            let next = self.align.next(elapsed, |slot| consumer.is_at_end(slot));
            for slot in self.align.take_given_up() {
                let partition = consumer.partition(slot);
                let (topic, number) = (&*partition.topic, partition.number);
                tracing::warn!(topic, number, "shows nothing and holds up the others; going on without it");
            }
            match next {
                Next::Empty => return false,
                Next::Wait => return true,
                Next::Take(slot, waiting) => {
                    let partition = consumer.partition(slot);
                    let taken = Taken {
                        topic: &partition.topic,
                        partition: partition.number,
                        offset: waiting.offset,
                        kind: partition.kind,
                        now: waiting.at,
                        stamped: waiting.stamped,
                        key: waiting.key.as_deref(),
                        payload: &waiting.payload,
                        signature: waiting.signature.as_deref(),
                    };
                    if let Some(is_dead_letter) = self.stepper.step(consumer, &partition, &taken, pump, batch, out) {
                        // Whoever passes it on sees all of a partition, and stops it.
                        self.circuit.note(slot, is_dead_letter && !partition.relayed);
                    }
                    if self.circuit.is_stopped(slot) {
                        // What waits of it will come again.
                        self.align.revoke(slot);
                    }
                }
            }
        }
        false
    }

    /// Stops what the circuit says: paused at the client, and for nobody to wait for.
    fn stop_tripped(&mut self) {
        for (slot, tripped) in self.circuit.take_tripped() {
            self.align.revoke(slot);
            self.consumer.pause([slot]);
            let partition = self.consumer.partition(slot);
            let (topic, number, next) = (&*partition.topic, partition.number, partition.stepped.get());
            tracing::error!(
                topic,
                partition = number,
                next,
                why = %tripped,
                "stopped: its messages can't be taken. Mend the sender; reading goes on at this offset when a reload \
                 changes [dead_letters], or after a restart"
            );
        }
    }

    /// Other limits for dead letters; what was stopped by the old ones goes on where it stopped.
    pub fn limit_dead_letters(&mut self, limits: DeadLetters) {
        for slot in self.circuit.set(limits) {
            let Some((_, partition)) = self.consumer.assigned().iter().find(|(assigned, _)| *assigned == slot) else {
                continue;
            };
            let (topic, number) = (partition.topic.clone(), partition.number);
            match self.consumer.seek_back(partition) {
                Ok(()) => {
                    tracing::info!(topic = &*topic, partition = number, "goes on under other limits for dead letters");
                    self.align.assign(slot, topic, number);
                    self.consumer.resume([slot]);
                }
                Err(error) => {
                    tracing::error!(topic = &*topic, partition = number, %error, "could not go on; a restart does");
                    self.circuit.keep_stopped(slot);
                }
            }
        }
    }

    /// How many partitions are stopped.
    pub fn stopped(&self) -> usize {
        self.circuit.stopped().count()
    }

    /// Pauses and resumes partitions by the room in their buffers.
    fn ease(&mut self) {
        let full = self.align.to_pause();
        if !full.is_empty() {
            self.consumer.pause(full);
        }
        let roomy = self.align.to_resume();
        if !roomy.is_empty() {
            self.consumer.resume(roomy);
        }
    }

    fn follow_rebalance(&mut self) -> bool {
        let Some(changes) = self.consumer.changes() else { return false };
        self.joined = true;
        let mut assigned = Vec::new();
        for change in changes {
            match change {
                // It comes back stopped: nothing has changed about it.
                Change::Assigned(slot) if self.circuit.is_stopped(slot) => self.consumer.pause([slot]),
                Change::Assigned(slot) => {
                    assigned.push(slot);
                    let partition = self.consumer.partition(slot);
                    if self.relayed.is_some() && partition.kind == Kind::Letters {
                        // What it carries is put in other places.
                        continue;
                    }
                    self.align.assign(slot, partition.topic.clone(), partition.number);
                }
                Change::Revoked(slot) => {
                    let partition = self.consumer.partition(slot);
                    self.align.revoke(slot);
                    self.metrics.forget_partition(&partition.topic, partition.number);
                }
            }
        }
        // A partition that was taken away while it was paused comes back paused, and nobody else would resume it.
        self.consumer.resume(assigned);
        true
    }

    fn tell(&self, code: RDKafkaErrorCode) {
        match code {
            // Told with the topic's name, or as an outage, elsewhere.
            RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => {}
            RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure => return,
            code => tracing::warn!(%code, "the consumer reports trouble and goes on"),
        }
        self.metrics.kafka_failed(KafkaTrouble::Consume);
    }
}

impl Batch {
    fn is_full(&self, begun: Instant, out: &[Outgoing]) -> bool {
        self.messages > 0
            && (self.messages >= MESSAGES_MAX
                || self.bytes >= BYTES_MAX
                || out.len() >= OUTGOING_MAX
                || begun.elapsed() >= DURATION_MAX)
    }
}

/// What the log dropped before this message, if anything that verdicts rest on. A message that comes again tells the
/// same again, which does no harm.
fn gap(consumer: &Consumer, partition: &Partition, message: &BorrowedMessage, clock: Clock) -> Option<Gap> {
    let expected = partition.polled.get();
    let is_ahead = expected != UNKNOWN && message.offset() > expected;
    if !is_ahead || !matches!(partition.kind, Kind::Metrics | Kind::Logs) {
        return None;
    }
    consumer.watermarks(partition).filter(|(low, _)| *low > expected)?;
    let from = Some(Time(partition.last.load(Ordering::Relaxed))).filter(|last| *last > Time::MIN);
    Some(Gap { from, to: stamped(message).and_then(|stamped| clock.believe(stamped)) })
}

fn tell_gaps(gaps: &mut Vec<Gap>, pump: &mut Pump, out: &mut Vec<Outgoing>) {
    for Gap { from, to } in gaps.drain(..) {
        let from = from.unwrap_or(pump.now());
        pump.tell(Fact::Gap { from, to: to.unwrap_or(from).max(from) }, out);
    }
}

enum Brought {
    Something,
    Nothing,
}

fn stamped(message: &BorrowedMessage) -> Option<Time> {
    message.timestamp().to_millis().map(Time)
}

/// The moment to take a message at. A timestamp that is missing or not believed counts as its predecessor's.
fn believed(partition: &Partition, stamped: Option<Time>, clock: Clock) -> Time {
    match stamped.and_then(|stamped| clock.believe(stamped)) {
        Some(at) => {
            partition.last.store(at.0, Ordering::Relaxed);
            at
        }
        None => Time(partition.last.load(Ordering::Relaxed)),
    }
}

/// Of a control message; of others nobody asks.
fn signature<'a>(partition: &Partition, message: &'a BorrowedMessage) -> Option<&'a [u8]> {
    let headers = message.headers().filter(|_| partition.kind == Kind::Control)?;
    headers.iter().find(|header| header.key == SIGNATURE)?.value
}

fn owned(partition: &Partition, message: &BorrowedMessage, clock: Clock) -> Waiting {
    let stamped = stamped(message);
    if let Some(stamped) = stamped {
        heard(stamped, false);
    }
    Waiting {
        at: believed(partition, stamped, clock),
        stamped,
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        payload: message.payload().unwrap_or_default().to_vec(),
        signature: signature(partition, message).map(<[u8]>::to_vec),
        carried: None,
    }
}
