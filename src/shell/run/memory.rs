//! When to write a checkpoint and when to commit.
//!
//! Both only ever after acknowledgement, and the commit only of what a checkpoint holds. A checkpoint follows every
//! batch that held a recommendation, every reload, the operator's stop, and else the configured interval; the group's
//! offsets follow it and matter only to a daemon that has lost its checkpoint. A checkpoint that can't be written is
//! counted and told, and the daemon goes on: it will then say again, under the same ids, what it said since the last
//! good one.

use crate::shell::checkpoint::{Positions, Remembering, Store, Written};
use crate::shell::consumer::Consumer;
use crate::shell::outbox::{Outbox, Sealed};
use crate::shell::pump::Pump;
use crate::shell::telemetry::Metrics;
use rdkafka::consumer::CommitMode;
use std::sync::Arc;
use std::time::{Duration, Instant};

const COMMIT_EVERY: Duration = Duration::from_secs(1);

/// A checkpoint that is not due by the clock waits until writing has cost no more than a fifth of the time: a large
/// state and a backlog full of recommendations would otherwise leave no time for anything else.
const REST: u32 = 4;

pub struct Memory {
    store: Store,
    every: Duration,
    metrics: Arc<Metrics>,
    attempted: Instant,
    committed: Instant,
    /// How long the last attempt took.
    took: Duration,
    /// Something has changed since the last good checkpoint.
    dirty: bool,
    wanted: bool,
}

impl Memory {
    pub fn new(store: Store, every: Duration, metrics: Arc<Metrics>) -> Memory {
        let now = Instant::now();
        Memory {
            store,
            every,
            metrics,
            attempted: now,
            committed: now,
            took: Duration::ZERO,
            dirty: false,
            wanted: false,
        }
    }

    /// The engine took something, and what followed from it has been acknowledged.
    pub fn changed(&mut self) {
        self.dirty = true;
    }

    /// Write a checkpoint soon, whatever the interval.
    pub fn want(&mut self) {
        self.dirty = true;
        self.wanted = true;
    }

    /// Writes and commits what is due. To be called only when everything stepped has been acknowledged.
    pub fn keep(&mut self, pump: &Pump, consumer: &Consumer) {
        if self.is_due() {
            self.write(pump, consumer);
        }
        if self.committed.elapsed() >= COMMIT_EVERY {
            consumer.commit(CommitMode::Async);
            self.committed = Instant::now();
        }
    }

    /// Whether it is time for a checkpoint.
    pub fn is_due(&self) -> bool {
        let since = self.attempted.elapsed();
        self.dirty && (since >= self.every || (self.wanted && since >= self.took * REST))
    }

    /// Whether anything has changed since the last one.
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Writes a checkpoint of everything stepped together with what is still to be published; true if it stands.
    pub fn seal(&mut self, pump: &Pump, consumer: &Consumer, outbox: &mut Outbox) -> bool {
        let positions = consumer.partitions().stepped();
        let sequence = outbox.next_sequence();
        let Some(written) = self.store(pump, &positions, &outbox.letters, sequence) else { return false };
        outbox.seal(sequence, written.crc, positions);
        true
    }

    /// The last thing before leaving the group.
    pub fn close(&mut self, pump: &Pump, consumer: &Consumer) {
        if self.dirty {
            self.write(pump, consumer);
        }
        // With no broker to answer, waiting for the commit would take a minute, and the checkpoint is what counts.
        let mode = if consumer.pulse().reachable { CommitMode::Sync } else { CommitMode::Async };
        consumer.commit(mode);
    }

    fn write(&mut self, pump: &Pump, consumer: &Consumer) {
        let positions = consumer.partitions().positions();
        if self.store(pump, &positions, &[], 0).is_some() {
            consumer.partitions().remember();
        }
    }

    fn store(&mut self, pump: &Pump, positions: &Positions, outbox: &[Sealed], sequence: u64) -> Option<Written> {
        let begun = Instant::now();
        let policy = &*pump.config().policy.hash;
        let (engine, now) = (pump.engine(), pump.now());
        let outcome = self.store.write(&Remembering { engine, positions, now, policy, outbox, sequence });
        match &outcome {
            Ok(Written { bytes, .. }) => {
                self.metrics.checkpointed(*bytes, begun.elapsed());
                tracing::debug!(bytes, millis = begun.elapsed().as_millis() as u64, "checkpoint written");
                self.dirty = false;
            }
            Err(error) => {
                self.metrics.checkpoint_failed();
                tracing::error!(%error, "could not write a checkpoint; the last one stays");
            }
        }
        self.wanted = false;
        self.attempted = Instant::now();
        self.took = begun.elapsed();
        outcome.ok()
    }
}
