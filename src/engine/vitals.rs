//! What can be seen of the engine from outside, for metrics: levels and counters, and nothing that decides.

use super::fleet::Full;
use super::policy::Policy;
use super::series::Taken;
use super::time::Time;
use serde::{Deserialize, Serialize};

/// Counters count since the state was created.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Vitals {
    pub services: u64,
    pub signals: u64,
    pub series: u64,
    pub watches_warming: u64,
    pub watches_open: u64,
    pub cooldowns: u64,
    /// Tokens left in the fleet's bucket.
    pub fleet_tokens: f64,
    pub windows: u64,
    /// Kinds of log lines known.
    pub templates: u64,
    /// Log lines of kinds for which there was no room.
    pub lines_homeless: u64,
    /// Recommendations that still ask for something.
    pub threads_open: u64,
    /// Facts taken into a window; the rest is dropped for a reason below.
    pub applied: u64,
    pub dropped_late: u64,
    pub dropped_ahead: u64,
    pub dropped_duplicate: u64,
    pub dropped_overflow: u64,
    /// The latest moment that the log has told of.
    pub now: Time,
}

impl Vitals {
    /// What two parts of the engine have together.
    pub fn and(mut self, other: &Vitals) -> Vitals {
        self.services += other.services;
        self.signals += other.signals;
        self.series += other.series;
        self.watches_warming += other.watches_warming;
        self.watches_open += other.watches_open;
        self.cooldowns += other.cooldowns;
        self.fleet_tokens += other.fleet_tokens;
        self.windows += other.windows;
        self.templates += other.templates;
        self.lines_homeless += other.lines_homeless;
        self.threads_open += other.threads_open;
        self.applied += other.applied;
        self.dropped_late += other.dropped_late;
        self.dropped_ahead += other.dropped_ahead;
        self.dropped_duplicate += other.dropped_duplicate;
        self.dropped_overflow += other.dropped_overflow;
        self.now = self.now.max(other.now);
        self
    }

    pub fn count(&mut self, counted: Counted) {
        *match counted {
            Counted::Applied => &mut self.applied,
            Counted::Late => &mut self.dropped_late,
            Counted::Ahead => &mut self.dropped_ahead,
            Counted::Duplicate => &mut self.dropped_duplicate,
            Counted::Overflow => &mut self.dropped_overflow,
        } += 1;
    }
}

/// What became of a sample or a log line.
pub enum Counted {
    Applied,
    Late,
    Ahead,
    Duplicate,
    Overflow,
}

impl From<Result<Taken, Full>> for Counted {
    fn from(taken: Result<Taken, Full>) -> Counted {
        match taken {
            Ok(Taken::Applied) => Counted::Applied,
            Ok(Taken::Duplicate) => Counted::Duplicate,
            Ok(Taken::Late) => Counted::Late,
            Err(Full) => Counted::Overflow,
        }
    }
}

/// Why a fact is dropped for its time, if it is: too late for its minute, or from a clock that runs ahead.
pub fn out_of_time(policy: &Policy, now: Time, at: Time) -> Option<Counted> {
    if at > now + policy.watch.ahead {
        Some(Counted::Ahead)
    } else if at < now - policy.watch.lateness {
        Some(Counted::Late)
    } else {
        None
    }
}
