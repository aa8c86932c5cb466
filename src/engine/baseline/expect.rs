//! What is to be expected after a moment, from what was before it.
//!
//! Anything between the recent hour's and the recent ten bins' level, carried along by the season if that has been
//! worth expecting, else by the recent trend: an interval, not a line. A deviation is the distance outside of it.

use super::{Baseline, HORIZONS};
use crate::engine::window::{Bin, Minute, Ring};
use serde::{Deserialize, Serialize};

/// The levels before a moment, on the track's scale: what an expectation starts from. 20 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Levels {
    recent: f32,
    hour: f32,
    /// Per bin, over the hour.
    slope: f32,
    /// The last minute before the moment, and minutes from bin to bin.
    origin: Minute,
    step: Minute,
}

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
const HALF: usize = HOUR / 2;
/// Fewer bins than this before the moment are no reference.
const FEWEST: usize = 5;
/// Bins for which a trend is believed to go on.
const TREND: f64 = 45.0;

impl Levels {
    /// The last minute before the moment.
    pub fn origin(&self) -> Minute {
        self.origin
    }
}

impl Baseline {
    /// The levels of the bins before place `reference`.
    pub fn levels(&self, ring: &Ring, reference: usize) -> Option<Levels> {
        let scale = self.scale?;
        if reference < FEWEST {
            return None;
        }
        let start = reference.saturating_sub(RECENT);
        let (origin, first) = (ring.get(reference - 1)?.minute, ring.get(start)?.minute);
        let recent = scale.of(Window::<RECENT>::of(ring, start, reference, &[]).trimmed()?);
        let from = reference.saturating_sub(HOUR);
        let hour = Window::<HOUR>::of(ring, from, reference, &self.incidents);
        // With too little left after the incidents, they are better than nothing.
        let mut hour = if hour.len >= 15 { hour } else { Window::of(ring, from, reference, &[]) };
        let slope = hour.slope(&scale).unwrap_or(0.0);
        let hour = hour.trimmed().map_or(recent, |level| scale.of(level));
        let step = ((origin - first) / (reference - start).saturating_sub(1).max(1) as Minute).max(1);
        Some(Levels { recent: recent as f32, hour: hour as f32, slope: slope as f32, origin, step })
    }

    /// What is expected of a window of `width` bins that ends with `minute`.
    pub fn expect(&self, levels: &Levels, minute: Minute, width: usize) -> Expectation {
        let &Levels { recent, hour, slope, origin, step } = levels;
        let (recent, hour) = (f64::from(recent), f64::from(hour));
        let middle = minute - width as Minute * step / 2;
        let season = self.week.shift(origin - 15 * step, middle).map(|shift| shift.0);
        let mut expected =
            Expectation { low: recent.min(hour), high: recent.max(hour), flat: 0.5 * (recent + hour), season };
        if season.is_some() && self.season_helps() {
            let ages = [(recent, RECENT as Minute / 2), (hour, HOUR as Minute / 2)];
            let shifted = ages.map(|(level, age)| {
                self.week.shift(origin - age * step, middle).map(|(usual, weekly)| {
                    let weekly = weekly.unwrap_or(usual);
                    (level + usual.min(weekly), level + usual.max(weekly))
                })
            });
            if let [Some(a), Some(b)] = shifted {
                (expected.low, expected.high) = (a.0.min(b.0), a.1.max(b.1));
                return expected;
            }
        }
        let ahead = (f64::from(middle - origin) / f64::from(step)).clamp(0.0, TREND);
        let led = recent + f64::from(slope) * ahead;
        (expected.low, expected.high) = (expected.low.min(led), expected.high.max(led));
        expected
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
    match to.saturating_sub(from) {
        0..=5 => Window::<5>::of(ring, from, to, &[]).without(drop, highest),
        6..=15 => Window::<15>::of(ring, from, to, &[]).without(drop, highest),
        _ => Window::<HOUR>::of(ring, from, to, &[]).without(drop, highest),
    }
}

/// A few bins on the stack, with their values.
struct Window<const N: usize> {
    bins: [(f32, Bin); N],
    len: usize,
}

impl<const N: usize> Window<N> {
    /// The newest `N` bins of the places `[from, to)`.
    fn of(ring: &Ring, from: usize, to: usize, without: &[(Minute, Minute)]) -> Window<N> {
        let mut window = Window { bins: [(0.0, Bin { minute: 0, num: 0.0, den: 0.0 }); N], len: 0 };
        for bin in ring.places(from.max(to.saturating_sub(N)), to) {
            if bin.den > 0.0 && !without.iter().any(|&(from, to)| from <= bin.minute && bin.minute <= to) {
                window.bins[window.len] = (bin.num / bin.den, *bin);
                window.len += 1;
            }
        }
        window
    }

    /// The pooled value without the `drop` highest or lowest.
    fn without(&mut self, drop: usize, highest: bool) -> Option<f64> {
        if self.len <= drop {
            return self.ratio(0, self.len);
        }
        if highest { self.cut(0, self.len - drop) } else { self.cut(drop, self.len) }
    }

    /// The pooled value without the lowest and the highest fifth.
    fn trimmed(&mut self) -> Option<f64> {
        let cut = self.len / 5;
        self.cut(cut, self.len - cut)
    }

    /// The pooled value of the ranks `[low, high)`; puts the bins out of order.
    fn cut(&mut self, low: usize, high: usize) -> Option<f64> {
        let by_value = |a: &(f32, Bin), b: &(f32, Bin)| a.0.total_cmp(&b.0);
        if low > 0 && low < self.len {
            self.bins[..self.len].select_nth_unstable_by(low, by_value);
        }
        if high > low && high < self.len {
            self.bins[low..self.len].select_nth_unstable_by(high - low, by_value);
        }
        self.ratio(low, high)
    }

    fn ratio(&self, low: usize, high: usize) -> Option<f64> {
        let bins = self.bins.get(low..high)?;
        let (num, den) =
            bins.iter().fold((0.0, 0.0), |(num, den), (_, bin)| (num + f64::from(bin.num), den + f64::from(bin.den)));
        (den > 0.0).then(|| num / den)
    }

    /// The slope a bin between the two halves' levels, while the bins are in order.
    fn slope(&self, scale: &super::scale::Scale) -> Option<f64> {
        if self.len < HALF {
            return None;
        }
        let half = self.len / 2;
        let part = |from: usize, to: usize| {
            let mut window = Window { bins: [self.bins[0]; HALF], len: to - from };
            window.bins[..to - from].copy_from_slice(&self.bins[from..to]);
            window.trimmed()
        };
        Some((scale.of(part(self.len - half, self.len)?) - scale.of(part(0, half)?)) / half as f64)
    }
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
