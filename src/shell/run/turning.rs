//! The loop itself: take a batch, step it, publish what follows, remember; then again, until it is time to stop.
//!
//! Two ways of the last two steps. At least once: publish, wait for every acknowledgement, then write a checkpoint now
//! and then. Exactly once: gather what follows in the outbox; when a checkpoint is due, write it with the outbox in it,
//! and publish the outbox in one transaction with the positions; where the state is kept in a topic, the checkpoint is
//! in that transaction. It is written beside the stream. Nothing is taken while publishing can't succeed.

use super::RunError;
use super::delivery::{Delivered, Delivery, STOP_WITHIN};
use super::intake::Intake;
use super::memory::{Memory, Saved};
use super::report::Report;
use super::stop::Stop;
use crate::shell::checkpoint::Remembered;
use crate::shell::clock::Clock;
use crate::shell::config::{Config, DeliveryMode};
use crate::shell::http::NotReady;
use crate::shell::outbox::Outbox;
use crate::shell::pump::{Outgoing, Pump};
use crate::shell::topics::Topics;
use rdkafka::consumer::CommitMode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// How long the first message of a batch is waited for; a wish to stop is noticed within this.
const WAIT: Duration = Duration::from_millis(100);

/// The same while a checkpoint is being written, which is to be concluded soon.
const WAIT_BRIEFLY: Duration = Duration::from_millis(10);

const COMMIT_EVERY: Duration = Duration::from_secs(1);

const NOTHING: Delivered = Delivered::All { recommendation: false };

/// What the run loop's thread owns.
pub struct Turning {
    pub intake: Intake,
    pub delivery: Delivery,
    pub memory: Memory,
    pub report: Report,
    pub pump: Pump,
    /// Used under `exactly_once` alone.
    pub outbox: Outbox,
    /// The outbox is full and can't be sealed: nothing is taken.
    pub held: bool,
    pub mode: DeliveryMode,
    /// When positions were last committed without a transaction.
    pub committed: Instant,
    pub topics: Arc<Topics>,
    pub clock: Clock,
    pub reloads: Option<Receiver<Arc<Config>>>,
    pub stop: Arc<Stop>,
    pub safe: Arc<AtomicBool>,
    pub out: Vec<Outgoing>,
}

impl Turning {
    pub fn run(mut self) -> Result<(), RunError> {
        let mut delivered = self.settle_earlier()?;
        while !self.stop.is_asked() && delivered != Delivered::Unfinished {
            delivered = self.turn()?;
        }
        self.report.health.set(NotReady::Stopping, true);
        if delivered != Delivered::Unfinished {
            delivered = self.close()?;
        }
        if delivered == Delivered::Unfinished {
            tracing::warn!("stopping with publications outstanding; the next start makes up for them");
        }
        self.safe.store(true, Ordering::Release);
        // Dropping the consumer leaves the group.
        Ok(())
    }

    /// What an earlier run sealed is published before anything else is said.
    fn settle_earlier(&mut self) -> Result<Delivered, RunError> {
        let was_sealed = self.outbox.sealed.is_some();
        let delivered = self.delivery.deliver_sealed(&mut self.intake, &mut self.outbox)?;
        if was_sealed && delivered != Delivered::Unfinished {
            if self.mode == DeliveryMode::AtLeastOnce && self.memory.is_file() {
                self.delivery.transactions = None;
            }
            // The next start need not ask what became of it.
            self.memory.want();
        }
        Ok(delivered)
    }

    /// Everything that is left to do before the group is left. Where that is unfinished, the engine may be ahead of
    /// what was published, and its state is not remembered without it.
    fn close(&mut self) -> Result<Delivered, RunError> {
        let mut delivered = self.finish()?;
        for _ in 0..2 {
            let had_letters = !self.outbox.letters.is_empty();
            if delivered == Delivered::Unfinished || !self.memory.is_dirty() || !self.has_positions() {
                break;
            }
            while !self.begin_checkpoint() {
                if self.stop.is_overdue(STOP_WITHIN) {
                    return Ok(Delivered::Unfinished);
                }
                self.report.health.beat();
                std::thread::sleep(WAIT_BRIEFLY);
                self.prepare()?;
            }
            delivered = self.finish()?;
            if !(had_letters && self.outbox.letters.is_empty() && self.memory.is_file()) {
                break;
            }
            // The next start need not ask what became of them.
            self.memory.want();
        }
        if self.delivery.transactions.is_none() {
            self.commit_at_last();
        }
        Ok(delivered)
    }

    /// Waits for the checkpoint under way and what belongs to it.
    fn finish(&mut self) -> Result<Delivered, RunError> {
        while self.memory.is_busy() {
            self.report.health.beat();
            if let Some(saved) = self.memory.saved(WAIT) {
                return self.conclude(saved);
            }
            if self.stop.is_overdue(STOP_WITHIN) {
                return Ok(Delivered::Unfinished);
            }
        }
        Ok(NOTHING)
    }

    /// Take, step, publish, wait, remember.
    fn turn(&mut self) -> Result<Delivered, RunError> {
        self.reload();
        self.prepare()?;
        if self.mode == DeliveryMode::ExactlyOnce && self.is_held()? {
            return self.remember();
        }
        let begun = Instant::now();
        // Others wait for what a seat has to answer.
        let is_brief = self.memory.is_busy() || self.pump.is_seated();
        let wait = if is_brief { WAIT_BRIEFLY } else { WAIT };
        let batch = self.intake.batch(&mut self.pump, wait, &mut self.out)?;
        let idle_until = self.clock.idle_until().filter(|_| batch.messages == 0);
        let silent_until = idle_until.and_then(|wall| self.intake.silent_until(wall));
        let ticks = self.pump.attend(silent_until, &mut self.out);
        if self.pump.is_abandoned() {
            return Ok(Delivered::Unfinished);
        }
        if batch.messages > 0 || ticks > 0 || batch.has_moved {
            self.memory.changed();
        }
        let mut delivered = match self.mode {
            DeliveryMode::AtLeastOnce => self.publish()?,
            DeliveryMode::ExactlyOnce => self.tell_and_gather()?,
        };
        if delivered != Delivered::Unfinished {
            delivered = self.remember()?;
        }
        if delivered != Delivered::Unfinished {
            if batch.messages > 0 {
                self.report.metrics.batch_taken(begun.elapsed());
            }
            self.report.turn(&self.intake, &mut self.pump);
        }
        Ok(delivered)
    }

    fn publish(&mut self) -> Result<Delivered, RunError> {
        let delivered = self.delivery.deliver(&mut self.intake, &mut self.out)?;
        let Delivered::All { recommendation } = delivered else { return Ok(delivered) };
        self.intake.consumer.partitions().acknowledge();
        if recommendation {
            self.memory.want();
        }
        if self.delivery.transactions.is_none() && self.committed.elapsed() >= COMMIT_EVERY {
            self.intake.consumer.commit(CommitMode::Async);
            self.committed = Instant::now();
        }
        Ok(delivered)
    }

    /// Letters go out at once; they may come twice, and what follows from them is said once all the same.
    fn tell_and_gather(&mut self) -> Result<Delivered, RunError> {
        let mut letters: Vec<Outgoing> = self.out.extract_if(.., |outgoing| outgoing.is_letter()).collect();
        match self.delivery.deliver(&mut self.intake, &mut letters)? {
            Delivered::All { .. } => Ok(self.gather()),
            other => Ok(other),
        }
    }

    fn gather(&mut self) -> Delivered {
        let recommendation = self.out.iter().any(Outgoing::is_recommendation);
        self.outbox.gather(&mut self.out);
        if recommendation || self.outbox.is_full() {
            self.memory.want();
        }
        Delivered::All { recommendation }
    }

    /// Goes on with the checkpoint under way, or begins the one that is due. To be called between two batches, when all
    /// that was stepped is acknowledged or in the outbox.
    fn remember(&mut self) -> Result<Delivered, RunError> {
        let mut saved = self.memory.saved(Duration::ZERO);
        if saved.is_none() && self.memory.is_due() && self.has_positions() && self.begin_checkpoint() {
            saved = self.memory.saved_soon();
        }
        saved.map_or(Ok(NOTHING), |saved| self.conclude(saved))
    }

    /// Before the first position is known there is nothing to commit a mark with.
    fn has_positions(&self) -> bool {
        self.delivery.transactions.is_none() || !self.intake.consumer.partitions().stepped().is_empty()
    }

    /// Cuts through the state and begins to write it; false where no transaction can begin for it yet.
    fn begin_checkpoint(&mut self) -> bool {
        let is_file = self.memory.is_file();
        let carrier = match &mut self.delivery.transactions {
            Some(transactions) if !is_file => match transactions.open() {
                None => return false,
                some => some,
            },
            _ => None,
        };
        let partitions = self.intake.consumer.partitions();
        let (positions, letters) = match self.mode {
            DeliveryMode::AtLeastOnce => (partitions.positions(), 0),
            DeliveryMode::ExactlyOnce => (partitions.stepped(), self.outbox.letters.len()),
        };
        drop(partitions);
        let config = self.pump.config();
        let remembered = Remembered {
            group: config.kafka.group.clone(),
            positions,
            now: self.pump.now(),
            policy: config.policy.hash.to_string(),
            // In a topic they are published with it, or it does not stand.
            outbox: if is_file { self.outbox.letters[..letters].to_vec() } else { Vec::new() },
            sequence: 0,
        };
        self.memory.begin(&mut self.pump, remembered, letters, carrier);
        true
    }

    /// A checkpoint is written, or is not: publishes what was sealed with it.
    fn conclude(&mut self, saved: Saved) -> Result<Delivered, RunError> {
        let awaited = self.mode == DeliveryMode::ExactlyOnce;
        let (Ok(written), true) = (&saved.outcome, self.delivery.transactions.is_some()) else {
            match &saved.outcome {
                Ok(_) => {
                    self.memory.stands(&saved);
                    self.intake.consumer.partitions().remember(&saved.positions);
                }
                Err(_) => self.lose(&saved, awaited),
            }
            return Ok(NOTHING);
        };
        self.outbox.seal(saved.sequence, written.crc, saved.positions.clone(), saved.letters);
        if self.memory.is_file() {
            self.memory.stands(&saved);
            self.report.health.set(NotReady::CheckpointFailing, false);
        }
        let delivered = self.delivery.deliver_sealed(&mut self.intake, &mut self.outbox)?;
        match delivered {
            Delivered::Unfinished => {}
            Delivered::Lost => self.lose(&saved, awaited),
            Delivered::All { .. } => {
                if !self.memory.is_file() {
                    self.memory.stands(&saved);
                    self.report.health.set(NotReady::CheckpointFailing, false);
                }
                self.intake.consumer.partitions().settle(&saved.positions);
            }
        }
        Ok(delivered)
    }

    fn lose(&mut self, saved: &Saved, awaited: bool) {
        self.memory.failed(saved, awaited);
        self.report.health.set(NotReady::CheckpointFailing, awaited);
        if let Some(transactions) = &mut self.delivery.transactions
            && !self.memory.is_file()
        {
            transactions.cancel();
        }
    }

    /// Gets the next transaction ready, as far as that can be done beside the stream.
    fn prepare(&mut self) -> Result<(), RunError> {
        let Some(transactions) = &mut self.delivery.transactions else { return Ok(()) };
        transactions.prepare();
        transactions.ended().map_or(Ok(()), |why| Err(RunError::Superseded(why.to_owned())))
    }

    /// With no broker to answer, waiting for the commit would take a minute, and the checkpoint is what counts.
    fn commit_at_last(&mut self) {
        let consumer = &self.intake.consumer;
        consumer.commit(if consumer.pulse().reachable { CommitMode::Sync } else { CommitMode::Async });
    }

    /// While the outbox is full because no checkpoint can be written, nothing is taken; the group is kept.
    fn is_held(&mut self) -> Result<bool, RunError> {
        let is_full = self.outbox.is_full();
        if is_full != self.held {
            match is_full {
                true => self.intake.pause_all(),
                false => self.intake.resume_all(),
            }
            self.held = is_full;
        }
        if is_full {
            self.intake.hold()?;
            self.report.turn(&self.intake, &mut self.pump);
            std::thread::sleep(WAIT);
            self.memory.want();
        }
        Ok(is_full)
    }

    /// Between two batches, so that a batch has one policy.
    fn reload(&mut self) {
        let Some(reloads) = &self.reloads else { return };
        for config in reloads.try_iter() {
            tracing::info!(policy = &*config.policy.hash, "a new policy is in force");
            self.intake.limit_dead_letters(config.dead_letters);
            self.pump.reload(config, self.topics.clone(), &mut self.out);
            self.memory.want();
        }
    }
}
