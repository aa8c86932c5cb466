//! What a verdict rests on, one signal at a time.

use super::{Direction, Method};
use crate::engine::time::Time;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One signal's contribution to a verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The metric and its labels as one readable name.
    pub signal: String,
    pub direction: Direction,
    /// The level without the change, in the signal's unit.
    pub baseline: f64,
    pub current: f64,
    /// Where `current - baseline` may lie at 95 %, in the signal's unit.
    pub interval: Interval,
    /// When it began.
    pub onset: Time,
    /// Surprise: minus the decimal logarithm of how often so much would be seen in a whole watch by chance.
    pub strength: f64,
    pub samples_baseline: u64,
    pub samples_current: u64,
    pub method: Method,
    /// Users feel it, or the configuration calls the signal critical: alone enough for a rollback.
    pub weighty: bool,
    /// UCUM, where a producer said it.
    pub unit: Option<String>,
    /// The instances it was seen on, if not all; at most 10.
    pub instances: Vec<String>,
    /// Where log lines of one kind are the evidence.
    pub log: Option<Box<LogEvidence>>,
}

/// One kind of log line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogEvidence {
    /// The line with what varies masked as `<*>`.
    pub template: String,
    /// Hexadecimal; the same for the same template, everywhere and for ever.
    pub template_id: String,
    pub severity: Arc<str>,
    pub exception: Option<String>,
    /// The top frame of its stack trace.
    pub frame: Option<String>,
    /// At most three lines as they came, secrets masked.
    pub examples: Vec<String>,
    /// Lines in the hours before the change that it was held against.
    pub before: u64,
    /// Lines of instances that carry the change, since then.
    pub after: u64,
    /// The first of these.
    pub first: Option<Time>,
    /// The share of the instances that carry the change and write it.
    pub share: f64,
    /// Instances without the change run beside, and none of them writes it.
    pub only_new: bool,
}

/// Where a number may lie at 95 %. 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    pub lower: f64,
    pub upper: f64,
}

impl Interval {
    pub fn between(one: f64, other: f64) -> Interval {
        Interval { lower: one.min(other), upper: one.max(other) }
    }

    /// Of what is so much less.
    pub fn less(self, by: f64) -> Interval {
        Interval { lower: self.lower - by, upper: self.upper - by }
    }
}
