//! Opens the store of checkpoints and reads what is in it.
//!
//! A directory answers at once. A topic takes as long as its brokers: first the transactions of an earlier run are
//! ended (whoever still has the transactional id can commit nothing from then on), then everything that is committed is
//! read. Nothing is taken before that, and without brokers there is nothing to take. What to make of it is not decided
//! here.

use super::RunError;
use crate::shell::checkpoint::directory::Directory;
use crate::shell::checkpoint::topic::{Reader, Topic, Unread};
use crate::shell::checkpoint::{Found, Store};
use crate::shell::config::{Config, DeliveryMode};
use crate::shell::http::Health;
use crate::shell::publisher::Transactions;
use crate::shell::telemetry::Metrics;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(100);

/// What is told now and then while the brokers do not answer.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// A store, what it held, and the producer that its checkpoints go out with, where they need one.
pub struct Opened {
    pub store: Store,
    pub found: Found,
    pub transactions: Option<Transactions>,
}

/// Opens what the configuration names.
///
/// # Errors
/// A directory can't be read, librdkafka refuses its settings, or it was `asked` to stop.
pub fn open(
    config: &Config,
    metrics: &Arc<Metrics>,
    health: &Health,
    asked: Option<&AtomicBool>,
) -> Result<Opened, RunError> {
    let (dir, group) = (&config.state.dir, &config.kafka.group);
    let in_dir = |error| RunError::State { dir: dir.clone(), error };
    let Some(topic) = &config.state.topic else {
        let directory = Directory::open(dir, group).map_err(in_dir)?;
        let found = directory.read().map_err(in_dir)?;
        let exactly_once = config.kafka.delivery == DeliveryMode::ExactlyOnce;
        let transactions = exactly_once.then(|| Transactions::new(&config.kafka, false, metrics.clone()));
        return Ok(Opened { store: Store::Directory(directory), found, transactions });
    };
    if let Err(error) = std::fs::create_dir_all(dir) {
        tracing::warn!(%error, dir = %dir.display(), "no directory: a message that breaks the daemon will do so again");
    }
    let mut waiting = Waiting { health, asked, told: Instant::now() };
    let mut transactions = Transactions::new(&config.kafka, true, metrics.clone());
    while !transactions.is_ready() {
        transactions.prepare();
        if let Some(why) = transactions.ended() {
            return Err(RunError::Superseded(why.to_owned()));
        }
        waiting.pass(transactions.trouble())?;
    }
    let mut reader = Reader::new(&config.kafka, Topic::new(topic, config.state.partition, group))?;
    loop {
        match reader.read() {
            Ok(true) => break,
            Ok(false) => waiting.pass(None)?,
            Err(error @ Unread::Missing(_)) => waiting.pass(Some(error.to_string()))?,
            Err(Unread::Kafka(error)) => waiting.pass(Some(error.to_string()))?,
        }
    }
    let (topic, found) = reader.finish();
    let found = match found {
        Found::Nothing => earlier(dir, group).map_err(in_dir)?,
        found => found,
    };
    Ok(Opened { store: Store::Topic(Box::new(topic)), found, transactions: Some(transactions) })
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
    told: Instant,
}

impl Waiting<'_> {
    fn pass(&mut self, trouble: Option<String>) -> Result<(), RunError> {
        self.health.beat();
        if self.asked.is_some_and(|asked| asked.load(Ordering::Relaxed)) {
            return Err(RunError::Interrupted);
        }
        if let Some(why) = trouble {
            if self.told.elapsed() >= TELL_EVERY {
                self.told = Instant::now();
                tracing::error!(why, "can't read the state yet");
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }
}
