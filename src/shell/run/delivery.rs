//! Publishes what a batch has led to and waits until all of it is acknowledged, or until it is time to go.
//!
//! While the brokers take nothing, nothing is taken from them either: the partitions are paused, and the consumer is
//! polled only to stay in its group. The wait has no end but the operator's; then what is unpublished stays unsaid and
//! unremembered, and the next start says it.

use super::intake::Intake;
use super::stop::Stop;
use crate::engine::time::Time;
use crate::shell::clock::{Clock, wall};
use crate::shell::http::{Health, NotReady};
use crate::shell::outbox::Outbox;
use crate::shell::publisher::{Publisher, Transactions};
use crate::shell::pump::{Cause, Outgoing};
use crate::shell::telemetry::Metrics;
use rdkafka::error::KafkaError;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// After this the consumer is polled on the side, so that it stays in its group.
const HOLD_AFTER: Duration = Duration::from_secs(1);

/// After this, publishing counts as failing.
const FAILING_AFTER: Duration = Duration::from_secs(3);

/// How long is worked on publishing between two looks at everything else.
const SETTLE: Duration = Duration::from_millis(100);

/// How long a stop waits for acknowledgements.
pub const STOP_WITHIN: Duration = Duration::from_secs(10);

/// What is told now and then while it fails.
const TELL_EVERY: Duration = Duration::from_secs(60);

pub struct Delivery {
    pub outlet: Outlet,
    pub clock: Clock,
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
    pub stop: Arc<Stop>,
}

/// Which way publications go.
pub enum Outlet {
    AtLeastOnce(Publisher),
    ExactlyOnce(Transactions),
}

impl Outlet {
    fn trouble(&self) -> Option<String> {
        match self {
            Outlet::AtLeastOnce(publisher) => publisher.trouble(),
            Outlet::ExactlyOnce(transactions) => transactions.trouble(),
        }
    }
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    All {
        /// A recommendation was among it.
        recommendation: bool,
    },
    /// It was time to go; what is unpublished must not be remembered as done.
    Unfinished,
}

impl Delivery {
    /// Publishes all of `out`, at least once, and leaves it empty.
    ///
    /// # Errors
    /// Only what the consumer can't recover from, heard while waiting.
    pub fn deliver(&mut self, intake: &mut Intake, out: &mut Vec<Outgoing>) -> Result<Delivered, KafkaError> {
        if out.is_empty() {
            return Ok(Delivered::All { recommendation: false });
        }
        let recommendation = out.iter().any(Outgoing::is_recommendation);
        let Outlet::AtLeastOnce(publisher) = &mut self.outlet else { return Ok(Delivered::Unfinished) };
        publisher.begin(std::mem::take(out));
        let outcome = self.wait(intake, |outlet, _| match outlet {
            Outlet::AtLeastOnce(publisher) => publisher.settle(SETTLE),
            Outlet::ExactlyOnce(_) => false,
        })?;
        if outcome == Settled::No {
            return Ok(Delivered::Unfinished);
        }
        if let Outlet::AtLeastOnce(publisher) = &mut self.outlet {
            *out = publisher.take_settled();
        }
        out.drain(..).for_each(|outgoing| self.count(outgoing.at, &outgoing.cause));
        Ok(Delivered::All { recommendation })
    }

    /// Publishes a sealed outbox, exactly once, with the positions of its seal, and leaves it empty.
    ///
    /// # Errors
    /// As above.
    pub fn deliver_sealed(&mut self, intake: &mut Intake, outbox: &mut Outbox) -> Result<Delivered, KafkaError> {
        let Some(seal) = &outbox.sealed else { return Ok(Delivered::All { recommendation: false }) };
        let letters = &outbox.letters;
        let outcome = self.wait(intake, |outlet, intake| match outlet {
            Outlet::AtLeastOnce(_) => false,
            Outlet::ExactlyOnce(transactions) => transactions.settle(letters, seal, &intake.consumer, SETTLE),
        })?;
        if outcome == Settled::No {
            return Ok(Delivered::Unfinished);
        }
        outbox.settle().iter().for_each(|(at, cause)| self.count(*at, cause));
        Ok(Delivered::All { recommendation: false })
    }

    fn wait(
        &mut self,
        intake: &mut Intake,
        mut settle: impl FnMut(&mut Outlet, &Intake) -> bool,
    ) -> Result<Settled, KafkaError> {
        let begun = Instant::now();
        let mut held = false;
        let mut told: Option<Instant> = None;
        while !settle(&mut self.outlet, intake) {
            self.health.beat();
            if self.stop.is_overdue(STOP_WITHIN) {
                return Ok(Settled::No);
            }
            if begun.elapsed() >= HOLD_AFTER {
                if !held {
                    intake.pause_all();
                    held = true;
                }
                intake.hold()?;
            }
            if begun.elapsed() >= FAILING_AFTER && told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
                if told.is_none() {
                    self.metrics.publish_failed();
                    self.health.set(NotReady::PublishFailing, true);
                }
                told = Some(Instant::now());
                let why = self.outlet.trouble().unwrap_or_else(|| "no answer from the brokers".into());
                let seconds = begun.elapsed().as_secs();
                tracing::error!(why, seconds, "can't publish; nothing more is taken until it succeeds");
            }
        }
        if held {
            intake.resume_all();
        }
        if told.is_some() {
            self.health.set(NotReady::PublishFailing, false);
            tracing::info!(seconds = begun.elapsed().as_secs(), "published after all; taking goes on");
        }
        Ok(Settled::Yes)
    }

    fn count(&self, at: Time, cause: &Cause) {
        if let Cause::Effect(effect) = cause {
            self.metrics.observe_effect(effect);
        }
        if self.clock == Clock::Wall {
            self.metrics.published((wall() - at).as_seconds());
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Settled {
    Yes,
    No,
}
