//! What a run begins with: its state, the clients it needs, and the loop that owns them.
//!
//! The same for a daemon alone and for each seat of a fleet; what differs is the part of the engine, how it reaches the
//! others, and under which names its configuration has it read and write. Starting threads is not done here.

use super::delivery::Delivery;
use super::intake::Intake;
use super::memory::Memory;
use super::opening::{self, Opened};
use super::report::Report;
use super::stepper::Stepper;
use super::turning::Turning;
use super::{RunError, Stop};
use crate::engine::event::Fact;
use crate::engine::time::{Span, Time};
use crate::engine::{Engine, Part};
use crate::shell::checkpoint::{Found, Positions, Recovered, Remembered};
use crate::shell::clock::{Clock, wall};
use crate::shell::config::{Config, DeliveryMode, PastDeployments};
use crate::shell::consumer::Consumer;
use crate::shell::consumer::partitions::Partitions;
use crate::shell::http::Health;
use crate::shell::outbox::Outbox;
use crate::shell::publisher::{Publisher, Transactions};
use crate::shell::pump::divided::Post;
use crate::shell::pump::{Outgoing, Pump, Taken};
use crate::shell::telemetry::Metrics;
use crate::shell::topics::Topics;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// What a run is told, and tells, while it goes on.
pub struct Around {
    pub clock: Clock,
    pub reloads: Option<Receiver<Arc<Config>>>,
    pub trap: Option<fn(&Taken)>,
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
    pub stop: Arc<Stop>,
    /// Set by whoever wants it to stop while it waits for its state.
    pub asked: Option<Arc<AtomicBool>>,
    /// Everything that had to be remembered is.
    pub safe: Arc<AtomicBool>,
}

/// Which part of the engine runs, and how it reaches the others.
pub struct Place {
    pub part: Part,
    pub post: Option<Box<dyn Post>>,
}

impl Place {
    /// Of a daemon alone.
    pub fn whole() -> Place {
        Place { part: Part::Whole, post: None }
    }
}

/// Reads the state and makes the clients; partitions and brokers may come later.
///
/// # Errors
/// The state can't be read, librdkafka refuses its settings, or it was asked to stop before.
pub fn begin(config: &Arc<Config>, place: Place, around: Around) -> Result<Turning, RunError> {
    let Around { clock, reloads, trap, metrics, health, stop, asked, safe } = around;
    let opened = opening::open(config, &metrics, &health, asked.as_deref())?;
    let Opened { store, found, poison, mut transactions } = opened;
    let topics = Arc::new(Topics::seated(&config.kafka.topics, place.part, config.fleet.is_relayed()));
    let Recalled { pump, positions, outbox, out, sequence } = recall(found, place.part, config, &topics, &metrics);
    let pump = match place.post {
        Some(post) => pump.seated(post),
        None => pump,
    };
    if outbox.sealed.is_some() {
        // What an earlier run sealed goes out in a transaction, whatever is configured now.
        let make = || Transactions::new(&config.kafka, false, metrics.clone());
        transactions.get_or_insert_with(make).doubt();
    }
    let publisher = match (config.kafka.delivery, place.part) {
        // A lane's letters wait for no checkpoint.
        (DeliveryMode::AtLeastOnce, _) | (_, Part::Lane(..)) => {
            Some(Publisher::connect(&config.kafka, metrics.clone())?)
        }
        (DeliveryMode::ExactlyOnce, _) => None,
    };
    let stepper = Stepper { metrics: metrics.clone(), poison, trap };
    let partitions = Partitions::restore(&positions, |topic| topics.kind(topic));
    if transactions.is_some() {
        // Only transactions commit: a plain commit would wipe out the mark of the last one.
        partitions.settle(&positions);
    }
    let consumer = Consumer::connect(&config.kafka, topics.clone(), partitions, metrics.clone())?;
    let every = Duration::from_millis(config.state.checkpoint_every.0.max(0).unsigned_abs());
    let (delivery_metrics, delivery_health, delivery_stop) = (metrics.clone(), health.clone(), stop.clone());
    let mut intake = Intake::new(consumer, stepper, config.dead_letters, clock, metrics.clone());
    if !topics.relayed().is_empty() {
        intake.expect_relayed(topics.clone(), config.fleet.lanes);
    }
    Ok(Turning {
        intake,
        delivery: Delivery {
            publisher,
            transactions,
            clock,
            metrics: delivery_metrics,
            health: delivery_health,
            stop: delivery_stop,
        },
        memory: Memory::new(store, sequence, every, metrics.clone()),
        report: Report::new(metrics, health, clock),
        pump,
        outbox,
        held: false,
        mode: config.kafka.delivery,
        committed: Instant::now(),
        topics,
        clock,
        reloads,
        stop,
        safe,
        out,
    })
}

/// The state to go on from: the checkpoint's, or a new one that is told to learn from what lies in the past.
fn recall(found: Found, part: Part, config: &Arc<Config>, topics: &Arc<Topics>, metrics: &Metrics) -> Recalled {
    let mut out = Vec::new();
    match found {
        Found::Checkpoint(recovered) => {
            let Recovered { engine, remembered, crc } = *recovered;
            let Remembered { positions, now, policy, outbox, sequence, .. } = remembered;
            let outbox = Outbox::restore(outbox, sequence, crc, &positions);
            tracing::info!(partitions = positions.len(), now = now.0, "going on from the checkpoint");
            metrics.restored(&engine.vitals());
            let mut pump = Pump::new(engine, now, config.clone(), topics.clone());
            if *policy != *config.policy.hash {
                pump.tell(Fact::PolicyChanged, &mut out);
            }
            return Recalled { pump, positions, outbox, out, sequence };
        }
        Found::Nothing => tracing::info!("no checkpoint: starting with nothing learned"),
        Found::Bad { why, moved_to } => {
            let kept_at = moved_to.unwrap_or_else(|| "nowhere: the next one replaces it".into());
            tracing::error!(
                why,
                kept_at,
                "the checkpoint can't be used: starting with nothing learned, where the group stands. Nothing need be \
                 done; until signals have a past again, verdicts are inconclusive"
            );
        }
    }
    let mut pump = Pump::new(Engine::part_of(part), Time::MIN, config.clone(), topics.clone());
    // What is spoken of is not a lane's affair.
    let speaks = !matches!(part, Part::Lane(..));
    if speaks && config.kafka.past_deployments == PastDeployments::Learn {
        let since = wall() - Span(config.policy.watch.duration.0);
        pump.tell(Fact::ColdStart { since }, &mut out);
    }
    Recalled { pump, positions: Positions::new(), outbox: Outbox::default(), out, sequence: 0 }
}

/// What a run begins with.
struct Recalled {
    pump: Pump,
    positions: Positions,
    outbox: Outbox,
    out: Vec<Outgoing>,
    /// Of the checkpoint.
    sequence: u64,
}
