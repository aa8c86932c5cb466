//! What is to be expected after a moment, from what was before it.
//!
//! Anything between the recent hour's and the recent ten bins' level, carried along by the season if that has been worth
//! expecting, else by the recent trend: an interval, not a line. A deviation is the distance outside of it.

use super::{Baseline, HORIZONS};
use crate::engine::window::{Minute, Ring};

/// The interval in which a mean over a window is no surprise, on the track's scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expectation {
    pub low: f64,
    pub high: f64,
    /// The level without season or trend.
    pub flat: f64,
    /// How much the season moves it, if a day or more is known.
    pub season: Option<f64>,
}

const RECENT: usize = 10;
const HOUR: usize = 60;
/// Fewer bins than this before the moment are no reference.
const FEWEST: usize = 5;

impl Baseline {
    /// What is expected of a window of `width` bins that ends with `minute`, from the bins before place `reference`.
    pub fn expect(&self, ring: &Ring, reference: usize, minute: Minute, width: usize) -> Option<Expectation> {
        let scale = self.scale?;
        if reference < FEWEST {
            return None;
        }
        let recent = self.level(ring, reference.saturating_sub(RECENT), reference, false)?;
        let hour = self.level(ring, reference.saturating_sub(HOUR), reference, true).unwrap_or(recent);
        let (recent, hour) = (scale.of(recent), scale.of(hour));
        let origin = ring.get(reference - 1)?.minute;
        let step = ring.get(reference - 1)?.minute - ring.get(reference.saturating_sub(RECENT))?.minute;
        let step = (step / (RECENT as Minute - 1)).max(1);
        let middle = minute - width as Minute * step / 2;
        let (mut low, mut high) = (recent.min(hour), recent.max(hour));
        let flat = 0.5 * (recent + hour);
        let shifted = |base: f64, age: Minute| {
            self.week.shift(origin - age * step, middle).map(|(usual, weekly)| {
                let weekly = weekly.unwrap_or(usual);
                (base + usual.min(weekly), base + usual.max(weekly))
            })
        };
        let season = self.week.shift(origin - 15 * step, middle).map(|shift| shift.0);
        match (shifted(recent, RECENT as Minute / 2), shifted(hour, HOUR as Minute / 2)) {
            (Some(a), Some(b)) if self.season_helps() => {
                low = a.0.min(b.0);
                high = a.1.max(b.1);
            }
            _ => {
                let trend = self.trend(ring, reference, middle, step).unwrap_or(0.0);
                low = low.min(recent + trend);
                high = high.max(recent + trend);
            }
        }
        Some(Expectation { low, high, flat, season })
    }

    /// Where the last hour's trend would lead, from now to `middle`; damped, for trends end.
    fn trend(&self, ring: &Ring, reference: usize, middle: Minute, step: Minute) -> Option<f64> {
        let scale = self.scale?;
        let start = reference.checked_sub(HOUR)?;
        let half = HOUR / 2;
        let before = scale.of(self.level(ring, start, start + half, true)?);
        let after = scale.of(self.level(ring, start + half, reference, true)?);
        let per_bin = (after - before) / half as f64;
        let ahead = f64::from(middle - ring.get(reference - 1)?.minute) / f64::from(step);
        Some(per_bin * ahead.clamp(0.0, 45.0))
    }

    /// The level of the bins at `[from, to)`, the outer fifths left out, and incidents too where enough is left.
    fn level(&self, ring: &Ring, from: usize, to: usize, without_incidents: bool) -> Option<f64> {
        if without_incidents && !self.incidents.is_empty() {
            let mut kept: Vec<(f64, f64, f64)> = ring
                .places(from, to)
                .filter(|bin| !self.was_left_out(bin.minute))
                .filter_map(|bin| Some((bin.value()?, f64::from(bin.num), f64::from(bin.den))))
                .collect();
            if kept.len() >= 15 {
                return trimmed(&mut kept);
            }
        }
        let mut kept: Vec<(f64, f64, f64)> = ring
            .places(from, to)
            .filter_map(|bin| Some((bin.value()?, f64::from(bin.num), f64::from(bin.den))))
            .collect();
        trimmed(&mut kept)
    }

    /// How far the window that ends before place `end` lies outside of what was expected, on one side; negative inside.
    pub fn deviation(&self, ring: &Ring, end: usize, horizon: usize, expected: &Expectation, up: bool) -> Option<f64> {
        let scale = self.scale?;
        let (width, drop) = HORIZONS[horizon];
        // On a mirrored scale the worst bins are the lowest readings.
        let seen = scale.of(pooled(ring, end.checked_sub(width)?, end, drop, up != scale.is_mirrored())?);
        Some(if up { seen - expected.high } else { expected.low - seen })
    }
}

/// The pooled value of the bins at `[from, to)`, the `drop` highest (or lowest) left out.
pub fn pooled(ring: &Ring, from: usize, to: usize, drop: usize, highest: bool) -> Option<f64> {
    let mut bins: Vec<(f64, f64, f64)> =
        ring.places(from, to).filter_map(|bin| Some((bin.value()?, f64::from(bin.num), f64::from(bin.den)))).collect();
    if drop > 0 && bins.len() > drop {
        bins.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        if highest {
            bins.truncate(bins.len() - drop);
        } else {
            bins.drain(..drop);
        }
    }
    ratio(&bins)
}

fn trimmed(bins: &mut [(f64, f64, f64)]) -> Option<f64> {
    bins.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let cut = bins.len() / 5;
    ratio(&bins[cut..bins.len() - cut])
}

fn ratio(bins: &[(f64, f64, f64)]) -> Option<f64> {
    let (num, den) = bins.iter().fold((0.0, 0.0), |(num, den), bin| (num + bin.1, den + bin.2));
    (den > 0.0).then(|| num / den)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_bins_are_left_out() {
        let mut ring = Ring::default();
        for (minute, num) in [1.0, 1.0, 50.0, 1.0, 1.0].into_iter().enumerate() {
            let bin = ring.bin(minute as Minute, 10).expect("in order");
            (bin.num, bin.den) = (num, 1.0);
        }
        assert_eq!(pooled(&ring, 0, 5, 1, true), Some(1.0));
        assert!(pooled(&ring, 0, 5, 1, false).is_some_and(|value| value > 10.0));
        assert_eq!(pooled(&ring, 0, 0, 0, true), None);
    }
}
