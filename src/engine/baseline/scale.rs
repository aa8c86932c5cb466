//! The scale on which a track is compared: where equal steps are equally bad.
//!
//! Positive signals are compared by ratio, `ln(x + c)`, with an offset `c` that keeps values near zero from exploding:
//! for errors about the usual level itself, for the rest a tenth of it. Shares of success are mirrored into shares of
//! failure: from 99.9 % to 99 % is ten times the failures, not 0.9 % less success. Signals that were ever negative are
//! compared by difference, in units of their own spread.

use crate::engine::character::Class;
use crate::engine::stats::{median, spread};
use crate::engine::window::Ring;
use serde::{Deserialize, Serialize};

/// The offset of positive signals, of their usual level.
const OFFSET: f64 = 0.1;

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Scale {
    /// `ln(x + offset)`.
    Ratio { offset: f64 },
    /// `ln(whole - x + offset)`: shares of success.
    Mirrored { whole: f64, offset: f64 },
    /// `x / unit`.
    Difference { unit: f64 },
}

impl Scale {
    /// Chooses from what was first seen; none while that is all zero and says nothing about the size of things.
    pub fn choose(ring: &Ring, class: Class) -> Option<Scale> {
        let values: Vec<f64> = ring.places(0, ring.len()).filter_map(|bin| bin.value()).collect();
        let (low, high) = values.iter().fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(*v), high.max(*v)));
        let mean = |f: &dyn Fn(f64) -> f64| values.iter().map(|v| f(*v)).sum::<f64>() / values.len().max(1) as f64;
        let counted: f64 = ring.places(0, ring.len()).map(|bin| f64::from(bin.den)).sum::<f64>() / values.len() as f64;
        if low < 0.0 {
            let unit = spread(&values).filter(|unit| *unit > 0.0).unwrap_or((high - low) / 4.0);
            return (unit > 0.0).then_some(Scale::Difference { unit });
        }
        match class {
            Class::Success if high <= 100.5 => {
                let whole = if high <= 1.005 { 1.0 } else { 100.0 };
                let failures = mean(&|v| (whole - v).max(0.0));
                Some(Scale::Mirrored { whole, offset: failures.max(0.01 * whole) })
            }
            Class::Errors => {
                // The size of one event: of a share one in what was counted, of a rate half a count.
                let one = if counted > 1.5 {
                    1.0 / counted
                } else if high <= 1.0 {
                    0.002
                } else {
                    0.5
                };
                Some(Scale::Ratio { offset: mean(&|v| v).max(one) })
            }
            _ if high <= 0.0 => None,
            _ if counted > 1.5 && high <= 1.0 => Some(Scale::Ratio { offset: (0.3 * mean(&|v| v)).max(1.0 / counted) }),
            _ => {
                let level = median(&mut values.clone()).filter(|m| *m > 0.0).unwrap_or(mean(&|v| v));
                Some(Scale::Ratio { offset: OFFSET * level })
            }
        }
    }

    pub fn of(&self, value: f64) -> f64 {
        match *self {
            Scale::Ratio { offset } => (value.max(0.0) + offset).ln(),
            Scale::Mirrored { whole, offset } => ((whole - value).max(0.0) + offset).ln(),
            Scale::Difference { unit } => value / unit,
        }
    }

    /// How much a share of bad events counts on the scale: the derivative there.
    pub fn slope(&self, bad: f64) -> f64 {
        match *self {
            Scale::Ratio { offset } => 1.0 / (bad + offset),
            Scale::Mirrored { whole, offset } => whole / (whole * bad + offset),
            Scale::Difference { unit } => 1.0 / unit,
        }
    }

    /// The level that the scale was chosen for, of what is compared by its ratio to it.
    pub fn usual(&self) -> Option<f64> {
        match *self {
            Scale::Ratio { offset } => Some(offset / OFFSET),
            Scale::Mirrored { .. } | Scale::Difference { .. } => None,
        }
    }

    /// How far `one` lies above `other`, in the order of `of(one) - of(other)`, but without a logarithm: for sorting.
    pub fn apart(&self, one: f64, other: f64) -> f64 {
        match *self {
            Scale::Ratio { offset } => (one.max(0.0) + offset) / (other.max(0.0) + offset),
            Scale::Mirrored { whole, offset } => {
                ((whole - one).max(0.0) + offset) / ((whole - other).max(0.0) + offset)
            }
            Scale::Difference { unit } => (one - other) / unit,
        }
    }

    /// How far two such distances lie from each other, in the order of their differences on the scale.
    pub fn beside(&self, one: f64, other: f64) -> f64 {
        match self {
            Scale::Ratio { .. } | Scale::Mirrored { .. } => (one / other).max(other / one),
            Scale::Difference { .. } => (one - other).abs(),
        }
    }

    /// Back to the signal's own unit; nothing is less than none of it, or more than all.
    pub fn value(&self, y: f64) -> f64 {
        match *self {
            Scale::Ratio { offset } => (y.exp() - offset).max(0.0),
            Scale::Mirrored { whole, offset } => (whole + offset - y.exp()).min(whole),
            Scale::Difference { unit } => y * unit,
        }
    }

    /// Whether anything happened at all: not zero, or any failure.
    pub fn is_eventful(&self, value: f64) -> bool {
        match *self {
            Scale::Ratio { .. } => value > 0.0,
            Scale::Mirrored { whole, .. } => value < whole - 1e-9,
            Scale::Difference { .. } => true,
        }
    }

    /// The value at which nothing happens.
    pub fn uneventful(&self) -> f64 {
        match *self {
            Scale::Mirrored { whole, .. } => whole,
            Scale::Ratio { .. } | Scale::Difference { .. } => 0.0,
        }
    }

    pub fn is_mirrored(&self) -> bool {
        matches!(self, Scale::Mirrored { .. })
    }

    /// The relative change from `baseline` to `current`, both in the signal's unit, as `min_change` means it.
    pub fn relative_change(&self, baseline: f64, current: f64) -> f64 {
        match *self {
            // Below the size of one event or of a hundredth, "relative" would blow up nothing into much.
            Scale::Ratio { offset } => (current - baseline) / baseline.max(0.3 * offset).max(1e-12),
            Scale::Mirrored { whole, offset } => {
                let failures = (whole - baseline).max(0.3 * offset).max(1e-12);
                (baseline - current) / failures
            }
            // A difference of one spread is as telling as a change by a tenth elsewhere.
            Scale::Difference { unit } => 0.1 * (current - baseline) / unit.max(1e-12),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::window::Bin;

    fn ring(values: &[f32], den: f32) -> Ring {
        let mut ring = Ring::default();
        for (minute, value) in values.iter().enumerate() {
            ring.set(Bin { minute: minute as i32, num: value * den, den }, 100);
        }
        ring
    }

    #[test]
    fn there_and_back() {
        for scale in [
            Scale::Ratio { offset: 0.1 },
            Scale::Mirrored { whole: 1.0, offset: 0.01 },
            Scale::Difference { unit: 3.0 },
        ] {
            assert!((scale.value(scale.of(0.7)) - 0.7).abs() < 1e-9);
        }
    }

    #[test]
    fn chosen_by_what_is_seen() {
        assert_eq!(Scale::choose(&ring(&[0.0; 10], 1.0), Class::Latency), None);
        assert!(matches!(Scale::choose(&ring(&[-1.0, 1.0, 2.0], 1.0), Class::Other), Some(Scale::Difference { .. })));
        assert!(matches!(
            Scale::choose(&ring(&[1.0; 5], 1.0), Class::Success),
            Some(Scale::Mirrored { whole: 1.0, .. })
        ));
        assert_eq!(Scale::choose(&ring(&[0.0; 10], 200.0), Class::Errors), Some(Scale::Ratio { offset: 0.005 }));
    }

    #[test]
    fn distances_are_in_the_same_order_without_a_logarithm() {
        for scale in [
            Scale::Ratio { offset: 0.1 },
            Scale::Mirrored { whole: 1.0, offset: 0.01 },
            Scale::Difference { unit: 3.0 },
        ] {
            let pairs = [(0.1, 0.9), (0.2, 0.3), (0.5, 0.5), (0.9, 0.7), (0.8, 0.1)];
            let direct = |(a, b): (f64, f64)| scale.of(a) - scale.of(b);
            for one in pairs {
                for other in pairs {
                    let quick = |pair: (f64, f64)| scale.apart(pair.0, pair.1);
                    assert_eq!(quick(one).total_cmp(&quick(other)), direct(one).total_cmp(&direct(other)), "{scale:?}");
                    let (far, near) = (scale.beside(quick(one), quick(other)), scale.beside(quick(one), quick(one)));
                    assert_eq!(far > near, (direct(one) - direct(other)).abs() > 0.0, "{scale:?}");
                }
            }
        }
    }

    #[test]
    fn ten_times_the_failures_is_ten_times_worse() {
        let scale = Scale::Mirrored { whole: 1.0, offset: 0.01 };
        assert!(scale.relative_change(0.99, 0.90) > 8.0);
        assert!(scale.relative_change(0.90, 0.99) < 0.0);
    }
}
