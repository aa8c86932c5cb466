//! The loop itself: take a batch, step it, publish what follows, remember; then again, until it is time to stop.
//!
//! Two ways of the last two steps. At least once: publish, wait for every acknowledgement, then write a checkpoint now
//! and then. Exactly once: gather what follows in the outbox; when a checkpoint is due, write it with the outbox in it,
//! and publish the outbox in one transaction with the positions. Either way nothing is taken while that can't succeed.

use super::delivery::{Delivered, Delivery, Outlet};
use super::intake::Intake;
use super::memory::Memory;
use super::report::Report;
use super::stop::Stop;
use super::{RunError, outlet};
use crate::shell::clock::Clock;
use crate::shell::config::{Config, DeliveryMode};
use crate::shell::http::NotReady;
use crate::shell::outbox::Outbox;
use crate::shell::pump::{Outgoing, Pump};
use crate::shell::topics::Topics;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// How long the first message of a batch is waited for; a wish to stop is noticed within this.
const WAIT: Duration = Duration::from_millis(100);

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
        let delivered = self.delivery.deliver_sealed(&mut self.intake, &mut self.outbox)?;
        let is_other = matches!(self.delivery.outlet, Outlet::ExactlyOnce(_)) && self.mode == DeliveryMode::AtLeastOnce;
        if is_other && delivered != Delivered::Unfinished {
            self.delivery.outlet = outlet(self.pump.config(), false, &self.report.metrics)?;
            self.memory.want();
        }
        Ok(delivered)
    }

    /// Everything that is left to do before the group is left. Where that is unfinished, the engine may be ahead of
    /// what was published, and its state is not remembered without it.
    fn close(&mut self) -> Result<Delivered, RunError> {
        if self.mode == DeliveryMode::AtLeastOnce {
            self.memory.close(&self.pump, &self.intake.consumer);
            return Ok(Delivered::All { recommendation: false });
        }
        let had_letters = !self.outbox.letters.is_empty();
        let delivered = self.seal()?;
        if had_letters && self.outbox.letters.is_empty() {
            // The next start need not ask what became of them.
            self.memory.seal(&self.pump, &self.intake.consumer, &mut self.outbox);
        }
        Ok(delivered)
    }

    /// Take, step, publish, wait, remember.
    fn turn(&mut self) -> Result<Delivered, RunError> {
        self.reload();
        if let Outlet::ExactlyOnce(transactions) = &mut self.delivery.outlet {
            transactions.prepare();
        }
        if self.mode == DeliveryMode::ExactlyOnce && self.is_held()? {
            return if self.memory.is_due() { self.seal() } else { Ok(Delivered::All { recommendation: false }) };
        }
        let begun = Instant::now();
        let batch = self.intake.batch(&mut self.pump, WAIT, &mut self.out)?;
        let mut ticks = 0;
        if batch.messages == 0
            && let Some(until) = self.clock.idle_until()
            && self.intake.is_idle()
        {
            ticks = self.pump.tick_until(until, &mut self.out);
        }
        if batch.messages > 0 || ticks > 0 {
            self.memory.changed();
        }
        let delivered = match self.mode {
            DeliveryMode::AtLeastOnce => self.publish()?,
            DeliveryMode::ExactlyOnce => self.gather()?,
        };
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
        self.memory.keep(&self.pump, &self.intake.consumer);
        Ok(delivered)
    }

    fn gather(&mut self) -> Result<Delivered, RunError> {
        let recommendation = self.out.iter().any(Outgoing::is_recommendation);
        self.outbox.gather(&mut self.out);
        if recommendation || self.outbox.is_full() {
            self.memory.want();
        }
        if self.memory.is_due() { self.seal() } else { Ok(Delivered::All { recommendation }) }
    }

    /// Writes a checkpoint with the outbox in it and publishes the outbox. A checkpoint that can't be written leaves
    /// everything as it was: the outbox waits.
    fn seal(&mut self) -> Result<Delivered, RunError> {
        let nothing = Delivered::All { recommendation: false };
        // Before the first position is known there is nothing to commit a mark with.
        if !self.memory.is_dirty() || self.intake.consumer.partitions().stepped().is_empty() {
            return Ok(nothing);
        }
        let sealed = self.memory.seal(&self.pump, &self.intake.consumer, &mut self.outbox);
        self.report.health.set(NotReady::CheckpointFailing, !sealed);
        if !sealed {
            return Ok(nothing);
        }
        let delivered = self.delivery.deliver_sealed(&mut self.intake, &mut self.outbox)?;
        if delivered != Delivered::Unfinished {
            self.intake.consumer.partitions().settle();
        }
        Ok(delivered)
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
