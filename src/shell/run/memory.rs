//! When to write a checkpoint, and how one comes about beside the stream.
//!
//! Only ever after acknowledgement, or with the outbox in it. A checkpoint follows every batch that held a
//! recommendation, every reload, the operator's stop, and else the configured interval. The cut is made between two
//! batches; a thread of its own serialises and writes it while the loop goes on, and gives the store back when it is
//! done. A checkpoint that can't be written is counted and told, and the daemon goes on.

use crate::shell::checkpoint::{Cut, Positions, Remembered, Store, Unwritten, Written};
use crate::shell::publisher::Carrier;
use crate::shell::pump::Pump;
use crate::shell::telemetry::Metrics;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A checkpoint that is not due by the clock waits until writing has cost no more than a third of the time: a large
/// state and a backlog full of recommendations would otherwise keep a core and the disk busy all the time.
const REST: u32 = 2;

/// The first pause after a checkpoint that failed though somebody waits for it, and the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// A small state is written within this, and is waited for; a large one is written beside the stream.
const SOON: Duration = Duration::from_millis(20);
const LOOK_EVERY: Duration = Duration::from_millis(1);

pub struct Memory {
    /// Away while a checkpoint is written.
    store: Option<Store>,
    saving: Option<Saving>,
    every: Duration,
    metrics: Arc<Metrics>,
    attempted: Instant,
    /// How long the last attempt took, and how long is waited after one that failed.
    took: Duration,
    pause: Duration,
    /// Something has changed since the last good checkpoint.
    dirty: bool,
    wanted: bool,
    /// Of the last checkpoint.
    sequence: u64,
}

/// A checkpoint being written.
struct Saving {
    thread: JoinHandle<(Store, Result<Written, Unwritten>)>,
    begun: Instant,
    positions: Positions,
    letters: usize,
}

/// A checkpoint that was written, or was not.
pub struct Saved {
    pub outcome: Result<Written, Unwritten>,
    pub positions: Positions,
    /// How many letters the outbox held at the cut.
    pub letters: usize,
    pub sequence: u64,
    took: Duration,
}

impl Memory {
    pub fn new(store: Store, sequence: u64, every: Duration, metrics: Arc<Metrics>) -> Memory {
        Memory {
            store: Some(store),
            saving: None,
            every,
            metrics,
            attempted: Instant::now(),
            took: Duration::ZERO,
            pause: Duration::ZERO,
            dirty: false,
            wanted: false,
            sequence,
        }
    }

    /// The engine took something.
    pub fn changed(&mut self) {
        self.dirty = true;
    }

    /// Write a checkpoint soon, whatever the interval.
    pub fn want(&mut self) {
        self.dirty = true;
        self.wanted = true;
    }

    /// Whether it is time for a checkpoint.
    pub fn is_due(&self) -> bool {
        let since = self.attempted.elapsed();
        let rest = self.pause.max(self.took * REST);
        self.dirty && !self.is_busy() && (since >= self.every || (self.wanted && since >= rest))
    }

    /// Whether anything has changed since the last one.
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Whether one is being written.
    pub fn is_busy(&self) -> bool {
        self.saving.is_some()
    }

    /// Whether checkpoints are kept in a file, apart from what is published.
    pub fn is_file(&self) -> bool {
        matches!(self.store, Some(Store::Directory(_)))
    }

    /// Cuts through the state and begins to write it. What it is to be remembered with comes without its number, which
    /// is given here. A topic needs a transaction.
    pub fn begin(&mut self, pump: &mut Pump, mut remembered: Remembered, letters: usize, carrier: Option<Carrier>) {
        let Some(mut store) = self.store.take() else { return };
        let begun = Instant::now();
        self.sequence += 1;
        remembered.sequence = self.sequence;
        if let (Store::Topic(topic), Some(carrier)) = (&mut store, carrier) {
            topic.carry(carrier);
        }
        let cut = pump.cut(store.extent(), &remembered);
        self.metrics.checkpoint_paused(begun.elapsed());
        let write = move || {
            let outcome = cut.map_err(Unwritten::from).and_then(|cut: Cut| store.write(cut));
            (store, outcome)
        };
        let thread = std::thread::Builder::new().name("checkpoint".into()).spawn(write);
        let thread = thread.expect("a thread can be had: librdkafka has just had several");
        self.saving = Some(Saving { thread, begun, positions: remembered.positions, letters });
        (self.dirty, self.wanted) = (false, false);
    }

    /// The checkpoint under way, if it is done within about this time.
    pub fn saved(&mut self, within: Duration) -> Option<Saved> {
        let until = Instant::now() + within;
        while self.saving.as_ref().is_some_and(|saving| !saving.thread.is_finished()) {
            if Instant::now() >= until {
                return None;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        let Saving { thread, begun, positions, letters } = self.saving.take()?;
        let (store, outcome) = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        self.store = Some(store);
        Some(Saved { outcome, positions, letters, sequence: self.sequence, took: begun.elapsed() })
    }

    /// The same, for as long as a small state takes.
    pub fn saved_soon(&mut self) -> Option<Saved> {
        self.saved(SOON)
    }

    /// It stands.
    pub fn stands(&mut self, saved: &Saved) {
        if let Some(Store::Topic(topic)) = &mut self.store {
            topic.stands();
        }
        if let Ok(Written { bytes, .. }) = saved.outcome {
            self.metrics.checkpointed(bytes, saved.took);
            tracing::debug!(bytes, millis = saved.took.as_millis() as u64, "checkpoint written");
        }
        self.attempted = Instant::now();
        (self.took, self.pause) = (saved.took, Duration::ZERO);
    }

    /// It does not stand, and the last one does. `awaited` if something can't go on without one.
    pub fn failed(&mut self, saved: &Saved, awaited: bool) {
        self.metrics.checkpoint_failed();
        let why = match &saved.outcome {
            Err(error) => error.to_string(),
            Ok(_) => "its transaction was aborted".into(),
        };
        tracing::error!(why, "could not write a checkpoint; the last one stays");
        self.attempted = Instant::now();
        self.took = saved.took;
        self.pause = (self.pause * 2).clamp(PAUSE_FIRST, PAUSE_MAX);
        self.dirty = true;
        self.wanted |= awaited;
    }
}
