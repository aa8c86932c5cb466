//! When to write a checkpoint and when to commit.
//!
//! Both only ever after acknowledgement, and the commit only of what a checkpoint holds. A checkpoint follows every
//! batch that held a recommendation, every reload, the operator's stop, and else the configured interval; the group's
//! offsets follow it and matter only to a daemon that has lost its checkpoint. A checkpoint that can't be written is
//! counted and told, and the daemon goes on: it will then say again, under the same ids, what it said since the last
//! good one.

use crate::shell::checkpoint::{Remembering, Store};
use crate::shell::consumer::Consumer;
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
        let since = self.attempted.elapsed();
        if self.dirty && (since >= self.every || (self.wanted && since >= self.took * REST)) {
            self.write(pump, consumer);
        }
        if self.committed.elapsed() >= COMMIT_EVERY {
            consumer.commit(CommitMode::Async);
            self.committed = Instant::now();
        }
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
        let begun = Instant::now();
        let positions = consumer.partitions().positions();
        let policy = &*pump.config().policy.hash;
        let remembering = Remembering { engine: pump.engine(), positions: &positions, now: pump.now(), policy };
        match self.store.write(&remembering) {
            Ok(bytes) => {
                self.metrics.checkpointed(bytes, begun.elapsed());
                tracing::debug!(bytes, millis = begun.elapsed().as_millis() as u64, "checkpoint written");
                consumer.partitions().remember();
                self.dirty = false;
                self.wanted = false;
            }
            Err(error) => {
                self.metrics.checkpoint_failed();
                tracing::error!(%error, "could not write a checkpoint; the last one stays");
                self.wanted = false;
            }
        }
        self.attempted = Instant::now();
        self.took = begun.elapsed();
    }
}
