//! Passes metrics and logs on to the lanes of their services: take a batch, publish what follows, commit its offsets.
//!
//! The members share the input partitions in a group of their own, whatever seats they have. What is passed on twice is
//! known to the lanes, so the group's offsets are all that is remembered, and never before the brokers have
//! acknowledged what they stand for. A relay goes no further ahead of the lanes than they can buffer.

use super::office::Office;
use crate::engine::Engine;
use crate::engine::time::{Span, Time};
use crate::shell::checkpoint::Positions;
use crate::shell::clock::{Clock, wall};
use crate::shell::config::Config;
use crate::shell::consumer::Consumer;
use crate::shell::consumer::partitions::{Partition, Partitions};
use crate::shell::http::NotReady;
use crate::shell::poison::Poison;
use crate::shell::publisher::Publisher;
use crate::shell::pump::{Outgoing, Pump};
use crate::shell::run::beginning::Around;
use crate::shell::run::delivery::{Delivered, Delivery};
use crate::shell::run::intake::{Intake, Upto};
use crate::shell::run::report::Report;
use crate::shell::run::stepper::Stepper;
use crate::shell::run::{RunError, Stop};
use crate::shell::topics::Topics;
use crate::wire::letters::Origin;
use rdkafka::consumer::CommitMode;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// So far, in the log's time, may it be ahead of the slowest lane.
const STEP: Span = Span::seconds(60);

/// How often it is told how far inputs were passed on: lanes wait for it.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// After so many messages at once, as there are in a backlog, it is told whatever the time.
const MANY: usize = 100;

const WAIT: Duration = Duration::from_millis(20);

const COMMIT_EVERY: Duration = Duration::from_secs(1);

pub struct Relay {
    intake: Intake,
    delivery: Delivery,
    report: Report,
    pump: Pump,
    topics: Arc<Topics>,
    reloads: Option<Receiver<Arc<Config>>>,
    office: Arc<Office>,
    give_up: Duration,
    stop: Arc<Stop>,
    clock: Clock,
    told: Instant,
    /// Of inputs that showed nothing then: how far they were said to be.
    said: BTreeMap<(Arc<str>, i32), Time>,
    committed: Instant,
}

impl Relay {
    /// # Errors
    /// librdkafka refuses its settings, or the place for poison can't be read.
    pub fn begin(config: Arc<Config>, office: Arc<Office>, around: Around) -> Result<Relay, RunError> {
        let Around { clock, reloads, trap, metrics, health, stop, .. } = around;
        let dir = &config.state.dir;
        let in_dir = |error| RunError::State { dir: dir.clone(), error };
        if let Err(error) = std::fs::create_dir_all(dir) {
            let dir = dir.display();
            tracing::warn!(%dir, %error, "there is no place to note a message that breaks this relay");
        }
        let poison = Poison::in_directory(dir, &Positions::new()).map_err(in_dir)?;
        let topics = Arc::new(Topics::of_relay(&config.kafka.topics));
        let consumer = Consumer::connect(&config.kafka, topics.clone(), Partitions::default(), metrics.clone())?;
        consumer.follow_the_group();
        let publisher = Some(Publisher::connect(&config.kafka, metrics.clone())?);
        let stepper = Stepper { metrics: metrics.clone(), poison, trap };
        let give_up = Duration::from_millis(config.fleet.give_up.0.unsigned_abs());
        let lanes = config.fleet.lanes;
        Ok(Relay {
            intake: Intake::new(consumer, stepper, config.dead_letters, clock, metrics.clone()),
            delivery: Delivery {
                publisher,
                transactions: None,
                clock,
                metrics: metrics.clone(),
                health: health.clone(),
                stop: stop.clone(),
            },
            report: Report::new(metrics, health, clock),
            pump: Pump::new(Engine::default(), Time::MIN, config, topics.clone()).relaying(lanes),
            topics,
            reloads,
            office,
            give_up,
            stop,
            clock,
            told: Instant::now(),
            said: BTreeMap::new(),
            committed: Instant::now(),
        })
    }

    /// Until it is asked to stop.
    ///
    /// # Errors
    /// What it can't go on from.
    pub fn run(mut self) -> Result<(), RunError> {
        let mut out = Vec::new();
        while !self.stop.is_asked() && self.turn(&mut out)? {}
        self.report.health.set(NotReady::Stopping, true);
        self.intake.consumer.commit(CommitMode::Sync);
        // Dropping the consumer leaves the group.
        Ok(())
    }

    /// False if it was time to stop before all was passed on.
    fn turn(&mut self, out: &mut Vec<Outgoing>) -> Result<bool, RunError> {
        self.reload();
        if !self.wait_for_lanes(out)? {
            return Ok(false);
        }
        let begun = Instant::now();
        let batch = self.intake.batch(&mut self.pump, WAIT, out)?;
        if batch.messages >= MANY || self.told.elapsed() >= TELL_EVERY {
            self.tell(out);
        }
        if self.delivery.deliver(&mut self.intake, out)? == Delivered::Unfinished {
            return Ok(false);
        }
        {
            let partitions = self.intake.consumer.partitions();
            partitions.acknowledge();
            let positions = partitions.positions();
            partitions.remember(&positions);
        }
        if self.committed.elapsed() >= COMMIT_EVERY {
            self.intake.consumer.commit(CommitMode::Async);
            self.committed = Instant::now();
        }
        if batch.messages > 0 {
            self.report.metrics.batch_taken(begun.elapsed());
        }
        self.report.turn(&self.intake, &mut self.pump);
        Ok(true)
    }

    /// Says how far each input was passed on.
    fn tell(&mut self, out: &mut Vec<Outgoing>) {
        self.told = Instant::now();
        let now = self.pump.now();
        let progress = self.intake.progress(if self.clock == Clock::Wall { wall() } else { now }, now);
        let lanes = self.office.lanes();
        let said = &mut self.said;
        let mut news = |(each, upto): &(Arc<Partition>, Option<Upto>)| match upto {
            // Said again it would say that somebody can read on there.
            Some(Upto::Last(at)) => said.insert((each.topic.clone(), each.number), *at) != Some(*at),
            Some(Upto::Known(_)) => true,
            None => false,
        };
        let origins = progress.iter().filter(|each| news(each)).map(|(each, upto)| {
            let (topic, partition, offset) = (&*each.topic, each.number, each.stepped.get());
            Origin { topic, partition, offset, at: upto.map(Upto::time), lanes }
        });
        let progress: Vec<Origin> = origins.collect();
        if !progress.is_empty() {
            self.pump.pass_on_progress(&progress, out);
        }
    }

    /// What was passed on waits in the lanes for what the slowest input has to show. False if it was time to stop.
    fn wait_for_lanes(&mut self, out: &mut Vec<Outgoing>) -> Result<bool, RunError> {
        let is_ahead = |relay: &Relay| {
            let lanes = (0..relay.office.lanes()).filter(|lane| !relay.office.is_silent(*lane, relay.give_up));
            let slowest = lanes.map(|lane| relay.office.reached(lane)).min();
            let limit = slowest.map(|slowest| slowest + STEP);
            // By its next message, and not by its last: an input that came from another member may be further behind.
            relay.intake.next_at().is_some_and(|next| limit.is_some_and(|limit| next > limit))
        };
        while is_ahead(self) && !self.stop.is_asked() {
            self.intake.look_ahead()?;
            self.report.turn(&self.intake, &mut self.pump);
            // Lanes may wait for just this.
            if self.told.elapsed() >= TELL_EVERY {
                self.tell(out);
                if self.delivery.deliver(&mut self.intake, out)? == Delivered::Unfinished {
                    return Ok(false);
                }
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(true)
    }

    fn reload(&mut self) {
        let Some(reloads) = &self.reloads else { return };
        for config in reloads.try_iter() {
            self.intake.limit_dead_letters(config.dead_letters);
            self.pump.reload(config, self.topics.clone(), &mut Vec::new());
        }
    }
}
