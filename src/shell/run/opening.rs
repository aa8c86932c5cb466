//! Opens the store of checkpoints and reads what is in it.
//!
//! A directory answers at once. A topic takes as long as its brokers: first the transactions of an earlier run are
//! ended (whoever still has the transactional id can commit nothing from then on), then everything that is committed is
//! read. Nothing is taken before that, and without brokers there is nothing to take. What to make of it is not decided
//! here.

use super::RunError;
use crate::shell::checkpoint::directory::Directory;
use crate::shell::checkpoint::topic::{Note, Reader, Topic, Unread};
use crate::shell::checkpoint::{Found, Positions, Store};
use crate::shell::config::{Config, DeliveryMode};
use crate::shell::http::{Health, NotReady};
use crate::shell::poison::Poison;
use crate::shell::publisher::Transactions;
use crate::shell::telemetry::Metrics;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(100);

/// What is told now and then while the brokers do not answer, for the first time after a moment.
const TELL_AFTER: Duration = Duration::from_secs(1);
const TELL_EVERY: Duration = Duration::from_secs(10);

/// A store, what it held, what is noted beside it, and the producer that its checkpoints go out with, where they need
/// one.
pub struct Opened {
    pub store: Store,
    pub found: Found,
    pub poison: Poison,
    pub transactions: Option<Transactions>,
}

/// Opens what the configuration names.
///
/// # Errors
/// A directory can't be read, librdkafka refuses its settings, or it was `asked` to stop.
pub fn open(
    config: &Arc<Config>,
    metrics: &Arc<Metrics>,
    health: &Health,
    asked: Option<&AtomicBool>,
) -> Result<Opened, RunError> {
    let (dir, group) = (&config.state.dir, &config.kafka.group);
    let in_dir = |error| RunError::State { dir: dir.clone(), error };
    let Some(topic) = &config.state.topic else {
        let directory = Directory::open(dir, group).map_err(in_dir)?;
        let found = directory.read().map_err(in_dir)?;
        let poison = Poison::in_directory(dir, &positions(&found)).map_err(in_dir)?;
        let exactly_once = config.kafka.delivery == DeliveryMode::ExactlyOnce;
        let transactions = exactly_once.then(|| Transactions::new(&config.kafka, false, metrics.clone()));
        return Ok(Opened { store: Store::Directory(directory), found, poison, transactions });
    };
    let mut waiting = Waiting { health, asked, tell_at: Instant::now() + TELL_AFTER };
    let mut transactions = Transactions::new(&config.kafka, true, metrics.clone());
    while !transactions.is_ready() {
        transactions.prepare();
        if let Some(why) = transactions.ended() {
            return Err(RunError::Superseded(why.to_owned()));
        }
        health.set(NotReady::AuthenticationFailed, transactions.is_refused());
        waiting.pass(transactions.trouble())?;
    }
    health.set(NotReady::AuthenticationFailed, false);
    let mut reader = Reader::new(&config.kafka, Topic::new(topic, config.state.partition, group))?;
    loop {
        match reader.read() {
            Ok(true) => break,
            Ok(false) => waiting.pass(None)?,
            Err(error @ Unread::Missing(_)) => waiting.pass(Some(error.to_string()))?,
            Err(Unread::Kafka(error)) => waiting.pass(Some(error.to_string()))?,
        }
    }
    let (mut topic, found, note) = reader.finish();
    let found = match found {
        Found::Nothing => earlier(dir, group).map_err(in_dir)?,
        found => found,
    };
    let place = Note::new(config.clone(), topic.name(), metrics.clone());
    let poison = Poison::in_topic(place, note.as_deref().unwrap_or_default(), &positions(&found));
    if note.is_some() && poison.is_empty() {
        topic.forget_note();
    }
    Ok(Opened { store: Store::Topic(Box::new(topic)), found, poison, transactions: Some(transactions) })
}

/// Where a run from this goes on, as far as that is known.
fn positions(found: &Found) -> Positions {
    match found {
        Found::Checkpoint(recovered) => recovered.remembered.positions.clone(),
        Found::Nothing | Found::Bad { .. } => Positions::new(),
    }
}

/// Whoever moves from a directory to a topic goes on from what the directory holds.
fn earlier(dir: &Path, group: &str) -> std::io::Result<Found> {
    if !dir.is_dir() {
        return Ok(Found::Nothing);
    }
    Directory::open(dir, group)?.read()
}

/// Waits for brokers, alive.
struct Waiting<'a> {
    health: &'a Health,
    asked: Option<&'a AtomicBool>,
    tell_at: Instant,
}

impl Waiting<'_> {
    fn pass(&mut self, trouble: Option<String>) -> Result<(), RunError> {
        self.health.beat();
        if self.asked.is_some_and(|asked| asked.load(Ordering::Relaxed)) {
            return Err(RunError::Interrupted);
        }
        if let Some(why) = trouble {
            if Instant::now() >= self.tell_at {
                self.tell_at = Instant::now() + TELL_EVERY;
                tracing::error!(why, "can't read the state yet");
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }
}
