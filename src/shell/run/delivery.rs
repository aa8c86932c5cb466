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
use crate::shell::publisher::{self, Publisher, Transactions};
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
    /// For what is published at least once.
    pub publisher: Option<Publisher>,
    /// For what is published exactly once, and for checkpoints in a topic.
    pub transactions: Option<Transactions>,
    pub clock: Clock,
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
    pub stop: Arc<Stop>,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    All {
        /// A recommendation was among it.
        recommendation: bool,
    },
    /// Nothing: the checkpoint that it belonged to does not stand.
    Lost,
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
        let Some(mut publisher) = self.publisher.take() else { return Ok(Delivered::Unfinished) };
        publisher.begin(std::mem::take(out));
        let settled = self.wait(intake, |_| match publisher.settle(SETTLE) {
            true => Ok(true),
            false => Err(publisher.trouble()),
        })?;
        if settled.is_some() {
            *out = publisher.take_settled();
        }
        self.publisher = Some(publisher);
        if settled.is_none() {
            return Ok(Delivered::Unfinished);
        }
        out.drain(..).for_each(|outgoing| self.count(outgoing.at, &outgoing.cause));
        Ok(Delivered::All { recommendation })
    }

    /// Publishes what is sealed of an outbox, exactly once, with the positions of its seal. If the transaction carried
    /// a checkpoint and is lost, nothing is published and the seal is broken.
    ///
    /// # Errors
    /// As above.
    pub fn deliver_sealed(&mut self, intake: &mut Intake, outbox: &mut Outbox) -> Result<Delivered, KafkaError> {
        let Some(seal) = &outbox.sealed else { return Ok(Delivered::All { recommendation: false }) };
        let letters = &outbox.letters[..seal.letters.min(outbox.letters.len())];
        let Some(mut transactions) = self.transactions.take() else { return Ok(Delivered::Unfinished) };
        let settled = self.wait(intake, |intake| match transactions.settle(letters, seal, &intake.consumer, SETTLE) {
            publisher::Settled::Published => Ok(true),
            publisher::Settled::Lost => Ok(false),
            publisher::Settled::Pending => Err(transactions.trouble()),
        });
        self.transactions = Some(transactions);
        match settled? {
            None => return Ok(Delivered::Unfinished),
            Some(false) => {
                outbox.unseal();
                return Ok(Delivered::Lost);
            }
            Some(true) => {}
        }
        outbox.settle().iter().for_each(|(at, cause)| self.count(*at, cause));
        Ok(Delivered::All { recommendation: false })
    }

    /// Until it is settled, one way or the other; nothing if it was time to go before. While it is not, `settle` tells
    /// what the trouble is, as far as it knows.
    fn wait(
        &mut self,
        intake: &mut Intake,
        mut settle: impl FnMut(&Intake) -> Result<bool, Option<String>>,
    ) -> Result<Option<bool>, KafkaError> {
        let begun = Instant::now();
        let mut held = false;
        let mut told: Option<Instant> = None;
        let outcome = loop {
            let trouble = match settle(intake) {
                Ok(outcome) => break outcome,
                Err(trouble) => trouble,
            };
            self.health.beat();
            if self.stop.is_overdue(STOP_WITHIN) {
                return Ok(None);
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
                let why = trouble.unwrap_or_else(|| "no answer from the brokers".into());
                let seconds = begun.elapsed().as_secs();
                tracing::error!(why, seconds, "can't publish; nothing more is taken until it succeeds");
            }
        };
        if held {
            intake.resume_all();
        }
        if told.is_some() {
            self.health.set(NotReady::PublishFailing, false);
            tracing::info!(seconds = begun.elapsed().as_secs(), "published after all; taking goes on");
        }
        Ok(Some(outcome))
    }

    fn count(&self, at: Time, cause: &Cause) {
        if let Cause::Effect(effect) = cause {
            self.metrics.observe_effect(effect);
        }
        if self.clock == Clock::Wall && !matches!(cause, Cause::Letter) {
            self.metrics.published((wall() - at).as_seconds());
        }
    }
}
