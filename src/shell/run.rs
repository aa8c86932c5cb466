//! The daemon: the order in which it starts, turns and stops.
//!
//! One thread takes a batch, steps it, publishes what follows, waits for every acknowledgement, and only then remembers
//! how far it got; then it turns again. This file knows that order and does none of the work. What it promises: nothing
//! is lost, nothing is skipped, and what is said twice after a crash carries the same id.

pub mod beginning;
mod circuit;
pub mod delivery;
pub mod intake;
mod memory;
mod opening;
pub mod report;
pub mod stepper;
mod stop;
mod turning;

use super::clock::Clock;
use super::config::Config;
use super::http::{Health, Server, ServerError};
use super::member::Member;
use super::pump::Taken;
use super::reload::Reloader;
use super::telemetry::Metrics;
use beginning::{Around, Place};
use delivery::STOP_WITHIN;
use rdkafka::error::KafkaError;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
pub use stop::Stop;

/// Without a turn for so long the daemon counts as stalled: more than the longest wait between two turns.
pub const STALL_AFTER: Duration = Duration::from_secs(60);

/// How long leaving the group may take once everything is remembered. Closing a consumer can hang in librdkafka when
/// brokers come and go; then the process ends without it, and nothing is lost by that.
const LEAVE_WITHIN: Duration = Duration::from_secs(10);

/// How long a run may take to end.
pub const PATIENCE: Duration = STOP_WITHIN.saturating_add(LEAVE_WITHIN);

/// What a run needs besides its configuration.
#[derive(Default)]
pub struct Options {
    pub clock: Clock,
    /// New configurations, already within what a running daemon can change. Each is in force from the next batch on.
    pub reloads: Option<Receiver<Arc<Config>>>,
    /// Shared with whoever loads new configurations; otherwise the daemon makes its own.
    pub metrics: Option<Arc<Metrics>>,
    /// Set by whoever wants the daemon to stop, also while it waits for its state.
    pub asked: Option<Arc<AtomicBool>>,
    /// Called with each message before it is pumped: a test has its assertion there.
    pub trap: Option<fn(&Taken)>,
}

/// Why the daemon did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("state.dir {}: {error}", dir.display())]
    State { dir: PathBuf, error: std::io::Error },
    #[error(transparent)]
    Http(#[from] ServerError),
    #[error("kafka: {0}")]
    Kafka(#[from] KafkaError),
    #[error(
        "the transactional producer can't go on ({0}): another daemon may have taken over the group, or its \
             transaction took too long; a restart goes on from the state in the topic"
    )]
    Superseded(String),
    #[error("it was asked to stop before it had its state")]
    Interrupted,
    #[error("a thread or a signal could not be had: {0}")]
    Thread(std::io::Error),
    #[error("the run loop broke down")]
    Panicked,
    #[error("the run loop did not end in time, and what it was doing is not remembered")]
    Stuck,
}

/// A running daemon. Dropping it asks it to stop and waits for nothing.
pub struct Daemon {
    stop: Arc<Stop>,
    /// Everything that had to be remembered is.
    safe: Arc<AtomicBool>,
    thread: JoinHandle<Result<(), RunError>>,
    metrics: Arc<Metrics>,
    server: Server,
    is_member: bool,
}

impl Daemon {
    /// Starts everything and returns; partitions and brokers may come later.
    ///
    /// # Errors
    /// The state can't be read, the HTTP address can't be had, or librdkafka refuses its settings.
    pub fn start(config: Arc<Config>, options: Options) -> Result<Daemon, RunError> {
        let metrics = options.metrics.unwrap_or_default();
        let health = Arc::new(Health::new(STALL_AFTER));
        let stop = Arc::new(Stop::default());
        let safe = Arc::new(AtomicBool::new(false));
        let server = Server::start(config.http.listen, metrics.clone(), health.clone())?;
        metrics.config_loaded(&config.policy.hash);

        let around = Around {
            clock: options.clock,
            reloads: options.reloads,
            trap: options.trap,
            metrics: metrics.clone(),
            health,
            stop: stop.clone(),
            asked: options.asked,
            safe: safe.clone(),
        };
        let thread = std::thread::Builder::new().name("run".into());
        let is_member = config.fleet.lanes > 1;
        let thread = match config.fleet.lanes {
            1 => {
                let turning = beginning::begin(&config, Place::whole(), around)?;
                thread.spawn(move || turning.run())
            }
            _ => {
                let member = Member::join(config, around)?;
                thread.spawn(move || member.run())
            }
        };
        let thread = thread.map_err(RunError::Thread)?;
        Ok(Daemon { stop, safe, thread, metrics, server, is_member })
    }

    /// Where `/metrics` is.
    pub fn http_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Whether it has ended, by itself or because it was asked to.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Asks it to stop and waits until everything is remembered and the group is left, for a bounded time.
    ///
    /// # Errors
    /// What ended it before, or that it did not end in time.
    pub fn stop(self) -> Result<(), RunError> {
        self.stop.ask();
        let patience = if self.is_member { PATIENCE + LEAVE_WITHIN } else { PATIENCE };
        let begun = Instant::now();
        while !self.thread.is_finished() {
            if begun.elapsed() >= patience {
                if self.safe.load(Ordering::Acquire) {
                    tracing::warn!("the Kafka client does not close; leaving without it, everything is remembered");
                    return Ok(());
                }
                return Err(RunError::Stuck);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        match self.thread.join() {
            Ok(outcome) => outcome,
            Err(_) => Err(RunError::Panicked),
        }
    }
}

/// Runs until SIGTERM or SIGINT, or until it can't go on, and follows the changes of its configuration file. A second
/// signal ends the process at once.
///
/// # Errors
/// What kept it from starting, or ended it.
pub fn run(config: Arc<Config>, file: Option<PathBuf>) -> Result<(), RunError> {
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        // In this order: the second signal finds the flag set by the first.
        signal_hook::flag::register_conditional_shutdown(signal, 1, asked.clone()).map_err(RunError::Thread)?;
        signal_hook::flag::register(signal, asked.clone()).map_err(RunError::Thread)?;
    }
    let metrics = Arc::new(Metrics::new());
    let (reloader, reloads) = Reloader::start(file, config.clone(), metrics.clone()).map_err(RunError::Thread)?;
    let (reloads, metrics) = (Some(reloads), Some(metrics));
    let options = Options { clock: Clock::Wall, reloads, metrics, asked: Some(asked.clone()), trap: None };
    let daemon = match Daemon::start(config.clone(), options) {
        Err(RunError::Interrupted) => {
            tracing::info!("stopped");
            return Ok(());
        }
        daemon => daemon?,
    };
    let (brokers, http) = (&*config.kafka.brokers, daemon.http_addr());
    tracing::info!(version = env!("CARGO_PKG_VERSION"), brokers, %http, policy = &*config.policy.hash, "started");
    while !asked.load(Ordering::Relaxed) && !daemon.is_finished() {
        std::thread::sleep(Duration::from_millis(50));
    }
    if asked.load(Ordering::Relaxed) {
        tracing::info!("asked to stop");
    }
    let outcome = daemon.stop();
    drop(reloader);
    tracing::info!("stopped");
    outcome
}
