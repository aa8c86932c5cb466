//! How a finding is told: the level since it began to show, and where that may lie.
//!
//! What decides is a whole window with its worst minutes left out, which for half an hour holds what was before, too. A
//! person wants to know where it stands. The interval is as wide as the same mean was off at other moments.

use crate::engine::baseline::HORIZONS;
use crate::engine::baseline::expect::Expectation;
use crate::engine::baseline::scale::Scale;
use crate::engine::effect::Interval;
use crate::engine::stats::poisson_interval;

/// A level is taken from so many minutes at least.
pub const FEWEST: usize = 2;

/// The level by now, in the signal's unit.
#[derive(Clone, Copy, Debug)]
pub struct Present {
    pub value: f64,
    /// Samples that it is taken from.
    pub samples: u64,
    pub range: Interval,
}

impl Present {
    /// A level that may be so far off on the scale.
    pub fn within(scale: &Scale, value: f64, away: f64, samples: u64) -> Present {
        let y = scale.of(value);
        Present { value, samples, range: Interval::between(scale.value(y - away), scale.value(y + away)) }
    }

    /// What it is held against is the nearest end of what was expected, and may lie anywhere in it.
    pub fn against(self, scale: &Scale, expected: &Expectation, up: bool) -> Present {
        let width = (scale.value(expected.high) - scale.value(expected.low)).abs();
        let Interval { lower, upper } = self.range;
        let increase = up != scale.is_mirrored();
        let (lower, upper) = if increase { (lower, upper + width) } else { (lower - width, upper) };
        Present { range: Interval { lower, upper }, ..self }
    }

    /// A level that stands for so many events.
    pub fn counted(value: f64, events: f64, samples: u64) -> Present {
        let (lower, upper) = poisson_interval(events);
        let each = value / events.max(1.0);
        Present { value, samples, range: Interval::between(lower * each, upper * each) }
    }
}

/// The longest horizon that so many minutes fill.
pub fn filled(minutes: usize) -> usize {
    HORIZONS.iter().rposition(|&(width, _)| width <= minutes).unwrap_or(0)
}
