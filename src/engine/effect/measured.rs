//! What was measured of ourselves, in the terms in which it is told: how often we were right, and what that leads to.
//!
//! Only shapes and the two divisions; who counts what stands in `accuracy`, what follows from it in `earning`.

use super::{Automation, Method};
use crate::engine::stats::Z95;
use crate::engine::time::{Span, Time};
use std::sync::Arc;

words! {
    /// Where a label comes from; a later one in this list is stronger.
    pub enum Source {
        /// Somebody took the change back within its watch, or while its thread was open.
        RolledBack = "rolled_back",
        /// After it was taken back, what had got worse recovered, or did not.
        Recovery = "recovery",
        /// Somebody who may decide rejected the recommendation.
        Rejection = "rejection",
        /// Somebody said so.
        Feedback = "feedback",
    }
}

words! {
    /// What became of a deployment that was watched, as far as it is known.
    pub enum Outcome {
        /// Called a regression, and it was one.
        Right = "right",
        /// Called a regression, and it was none.
        FalseAlarm = "false_alarm",
        /// Not called, and it was a regression.
        Missed = "missed",
        /// Not called, and somebody said that this was right.
        Cleared = "cleared",
        /// Called a regression, and nobody said nor showed whether it was one.
        Unlabelled = "unlabelled",
        /// Not called, and nobody said nor showed anything to the contrary.
        Quiet = "quiet",
    }
}

/// A share with its Wilson score interval at 95 %.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share95 {
    pub estimate: f64,
    pub lower: f64,
    pub upper: f64,
}

/// How many of what there were, and how soon the right ones were called.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// In the order of `Outcome::ALL`.
    pub counts: [u64; Outcome::ALL.len()],
    /// Of all harm that is known, here and in the rest of the place: what a detector's finds are a share of.
    pub harmful: u64,
    /// From the deployment to the call, of those that were right: the median, and the time within which 9 of 10 were.
    pub detection: Option<(Span, Span)>,
}

impl Tally {
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.counts[outcome as usize]
    }

    /// Of what was called and is labelled, the share that was right.
    pub fn precision(&self) -> Option<Share95> {
        let right = self.count(Outcome::Right);
        wilson(right, right + self.count(Outcome::FalseAlarm))
    }

    /// Of the harm that is known, the share that was called (by this detector).
    pub fn recall(&self) -> Option<Share95> {
        wilson(self.count(Outcome::Right), self.harmful)
    }

    /// Labelled calls.
    pub fn labelled(&self) -> u64 {
        self.count(Outcome::Right) + self.count(Outcome::FalseAlarm)
    }
}

/// The Wilson score interval at 95 % of `hits` in `of` trials (Wilson 1927); none of no trials.
pub fn wilson(hits: u64, of: u64) -> Option<Share95> {
    if of == 0 {
        return None;
    }
    let n = of as f64;
    let share = hits.min(of) as f64 / n;
    let centre = (share + Z95 * Z95 / (2.0 * n)) / (1.0 + Z95 * Z95 / n);
    let half = Z95 / (1.0 + Z95 * Z95 / n) * (share * (1.0 - share) / n + Z95 * Z95 / (4.0 * n * n)).sqrt();
    // Rounding may carry the ends a hair beyond what a share can be, or past the estimate.
    let (lower, upper) = ((centre - half).max(0.0).min(share), (centre + half).min(1.0).max(share));
    Some(Share95 { estimate: share, lower, upper })
}

/// One line of the table: all of a place, one of its detectors, or one of its services.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// None: the whole fleet.
    pub env: Option<Arc<str>>,
    pub service: Option<Arc<str>>,
    /// How the strongest evidence was come by; none: all of them, and what nothing called.
    pub detector: Option<Method>,
    pub tally: Tally,
}

/// Watches whose risk lay in `[from, to)`, and how many of those that are labelled were harmful.
#[derive(Clone, Debug, PartialEq)]
pub struct Bin {
    pub from: f64,
    pub to: f64,
    pub labelled: u64,
    pub harmful: u64,
    pub unlabelled: u64,
    /// The mean risk of those that are labelled.
    pub risk: f64,
}

/// One scope of automation, where it stands and what speaks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Rung {
    pub service: Arc<str>,
    pub env: Arc<str>,
    pub configured: Automation,
    pub level: Automation,
    pub grounds: Grounds,
    /// Labelled calls that count for it, and how many of them were right.
    pub labelled: u64,
    pub right: u64,
    /// The level that was offered and not answered yet.
    pub offered: Option<Automation>,
}

words! {
    /// Why a scope's level is what it is.
    pub enum Grounds {
        Configured = "configured",
        /// The measured precision fell below the level's bar.
        Demoted = "demoted",
        /// Somebody said so by a control message.
        Decided = "decided",
    }
}

/// How often we were right, told every so often.
#[derive(Clone, Debug, PartialEq)]
pub struct Accuracy {
    pub at: Time,
    /// Deployments from here on are counted.
    pub since: Time,
    /// The fleet, then each environment with its detectors, then services with theirs.
    pub rows: Vec<Row>,
    /// Services for which there was no room in the table.
    pub left_out: u64,
    pub calibration: Vec<Bin>,
    /// Scopes that are not where the configuration has them, or have anything labelled.
    pub rungs: Vec<Rung>,
    /// Cases pushed out by the limit before their time, ever.
    pub forgotten: u64,
}

words! {
    /// What happened to a scope's level of automation.
    pub enum Change {
        /// The measured precision fell below the bar: lowered at once.
        Demoted = "demoted",
        /// Somebody took the words back that had led to it.
        Reinstated = "reinstated",
        /// The next level is earned, if a person agrees.
        Offered = "offered",
        /// Somebody said so.
        Decided = "decided",
    }
}

/// A scope's level changed, or may.
#[derive(Clone, Debug, PartialEq)]
pub struct AutomationNews {
    pub at: Time,
    /// Patterns, as the configuration has them.
    pub service: Arc<str>,
    pub env: Arc<str>,
    pub change: Change,
    pub from: Automation,
    /// What it is now; where it is offered, what it may be.
    pub to: Automation,
    pub by: Option<Arc<str>>,
    /// Labelled calls that it rests on, and how many of them were right.
    pub labelled: u64,
    pub right: u64,
    /// The lower bound of precision that was asked for.
    pub bar: Option<f64>,
    /// One sentence for a person.
    pub summary: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_as_wilson_has_them() {
        // Newcombe 1998, table I, method 3: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
        for (hits, of, lower, upper) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
            (20, 20, 0.8389, 1.0),
        ] {
            let share = wilson(hits, of).expect("there are trials");
            assert!((share.lower - lower).abs() < 1e-4 && (share.upper - upper).abs() < 1e-4, "{share:?}");
        }
        assert_eq!(wilson(0, 0), None, "nothing was seen: nothing is known");
    }

    #[test]
    fn more_of_the_same_is_surer() {
        let width = |n: u64| wilson(n * 9, n * 10).map(|share| share.upper - share.lower).unwrap_or_default();
        assert!(width(1) > width(10) && width(10) > width(100));
    }
}
