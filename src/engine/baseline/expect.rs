//! What is to be expected after a moment, from what was before it.
//!
//! Anything between the recent hour's and the recent ten bins' level, carried along by the season if that has been
//! worth expecting, else by the recent trend: an interval, not a line. A deviation is the distance outside of it.

use super::{Baseline, HORIZONS};
use crate::engine::window::{Bin, Minute, Ring};
use serde::{Deserialize, Serialize};
use std::num::NonZeroU16;

/// The levels before a moment, on the track's scale: what an expectation starts from. 20 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Levels {
    pub(super) heights: Heights,
    pub(super) times: Times,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Heights {
    recent: f32,
    hour: f32,
    /// Per bin, over the hour.
    slope: f32,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Times {
    /// The last minute before the moment.
    pub origin: Minute,
    /// Minutes from bin to bin.
    pub step: NonZeroU16,
}

/// The interval in which a mean over a window is no surprise, on the track's scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expectation {
    pub low: f64,
    pub high: f64,
    /// The level without season or trend.
    pub flat: f64,
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
        self.times.origin
    }

    /// Minutes from bin to bin.
    fn step(&self) -> Minute {
        self.times.step.get().into()
    }

    /// The middle of a window of `width` bins that ends with `minute`.
    pub fn middle(&self, minute: Minute, width: usize) -> Minute {
        minute - width as Minute * self.step() / 2
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
        let step = (origin - first) / (reference - start).saturating_sub(1).max(1) as Minute;
        let step = NonZeroU16::new(step.clamp(1, u16::MAX.into()) as u16)?;
        let heights = Heights { recent: recent as f32, hour: hour as f32, slope: slope as f32 };
        Some(Levels { heights, times: Times { origin, step } })
    }

    /// What is expected of a window of `width` bins that ends with `minute`.
    pub fn expect(&self, levels: &Levels, minute: Minute, width: usize) -> Expectation {
        let Heights { recent, hour, slope } = levels.heights;
        let (origin, step) = (levels.origin(), levels.step());
        let (recent, hour) = (f64::from(recent), f64::from(hour));
        let middle = levels.middle(minute, width);
        let mut expected = Expectation { low: recent.min(hour), high: recent.max(hour), flat: 0.5 * (recent + hour) };
        if self.season_helps() && self.season(levels, middle).is_some() {
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

    /// How much the season moves the level from before a moment to another one, if a day or more is known.
    pub fn season(&self, levels: &Levels, middle: Minute) -> Option<f64> {
        self.week.shift(levels.origin() - 15 * levels.step(), middle).map(|shift| shift.0)
    }

    /// How far the window that ends before place `end` lies outside of what was expected, on one side; negative inside.
    pub fn deviation(&self, ring: &Ring, end: usize, horizon: usize, expected: &Expectation, up: bool) -> Option<f64> {
        Some(expected.deviation(self.seen(ring, end, horizon, up)?, up))
    }

    /// What the window that ends before place `end` shows on the track's scale, the worst bins of one side left out.
    pub fn seen(&self, ring: &Ring, end: usize, horizon: usize, up: bool) -> Option<f64> {
        let scale = self.scale?;
        let (width, drop) = HORIZONS[horizon];
        // On a mirrored scale the worst bins are the lowest readings.
        Some(scale.of(pooled(ring, end.checked_sub(width)?, end, drop, up != scale.is_mirrored())?))
    }
}

impl Expectation {
    /// How far what was seen lies outside, on one side; negative inside.
    pub fn deviation(&self, seen: f64, up: bool) -> f64 {
        if up { seen - self.high } else { self.low - seen }
    }
}

/// What the windows show that end before one place, by horizon and side, each worked out once.
pub struct Seen<'a> {
    pub ring: &'a Ring,
    pub end: usize,
    known: [[Option<Option<f64>>; 2]; HORIZONS.len()],
}

impl Seen<'_> {
    pub fn new(ring: &Ring, end: usize) -> Seen<'_> {
        Seen { ring, end, known: Default::default() }
    }

    pub fn over(&mut self, baseline: &Baseline, horizon: usize, up: bool) -> Option<f64> {
        *self.known[horizon][usize::from(up)].get_or_insert_with(|| baseline.seen(self.ring, self.end, horizon, up))
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

/// A few bins on the stack, in order of time.
struct Window<const N: usize> {
    bins: [Bin; N],
    /// Their values with their places: numbers in the values' order, which sort several times faster than bins do. In
    /// order of time until a part of them is sorted.
    keys: [u64; N],
    len: usize,
}

impl<const N: usize> Window<N> {
    /// The newest `N` bins of the places `[from, to)`.
    fn of(ring: &Ring, from: usize, to: usize, without: &[(Minute, Minute)]) -> Window<N> {
        let mut window = Window { bins: [Bin { minute: 0, num: 0.0, den: 0.0 }; N], keys: [0; N], len: 0 };
        ring.places(from.max(to.saturating_sub(N)), to).for_each(|bin| {
            if bin.den > 0.0 && !without.iter().any(|&(from, to)| from <= bin.minute && bin.minute <= to) {
                window.bins[window.len] = bin;
                window.keys[window.len] = key(bin.num / bin.den, window.len);
                window.len += 1;
            }
        });
        window
    }

    /// The pooled value without the `drop` highest or lowest.
    fn without(&mut self, drop: usize, highest: bool) -> Option<f64> {
        let low = if highest || self.len <= drop { 0 } else { drop };
        let high = if highest && self.len > drop { self.len - drop } else { self.len };
        self.pooled(0, self.len, low, high)
    }

    /// The pooled value without the lowest and the highest fifth.
    fn trimmed(&mut self) -> Option<f64> {
        self.trimmed_part(0, self.len)
    }

    /// The same of the bins `[from, to)`.
    fn trimmed_part(&mut self, from: usize, to: usize) -> Option<f64> {
        let cut = (to - from) / 5;
        self.pooled(from, to, cut, to - from - cut)
    }

    /// The pooled value of the ranks `[low, high)` among the bins `[from, to)`.
    fn pooled(&mut self, from: usize, to: usize, low: usize, high: usize) -> Option<f64> {
        let keys = &mut self.keys[from..to];
        keys.sort();
        let (mut num, mut den) = (0.0, 0.0);
        for &key in &keys[low..high] {
            let bin = &self.bins[key as u32 as usize];
            (num, den) = (num + f64::from(bin.num), den + f64::from(bin.den));
        }
        (den > 0.0).then(|| num / den)
    }

    /// The slope a bin between the two halves' levels, while the keys are in order of time.
    fn slope(&mut self, scale: &super::scale::Scale) -> Option<f64> {
        if self.len < HALF {
            return None;
        }
        let half = self.len / 2;
        // The whole is sorted later: of two halves in order a stable sort merges the whole.
        self.keys[..half].sort_unstable();
        self.keys[self.len - half..self.len].sort_unstable();
        let (before, after) = (self.trimmed_part(0, half)?, self.trimmed_part(self.len - half, self.len)?);
        Some((scale.of(after) - scale.of(before)) / half as f64)
    }
}

/// A number above which lies that of every higher value (as `total_cmp` has it), and of the same value farther on.
fn key(value: f32, place: usize) -> u64 {
    let bits = value.to_bits();
    // As numbers, floats below zero are in reverse order, and above those that are not.
    let ordered = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
    u64::from(ordered) << 32 | place as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Levels {
        /// As they are where nothing moves, at some minute.
        pub fn flat(level: f32, origin: Minute) -> Levels {
            let heights = Heights { recent: level, hour: level, slope: 0.0 };
            Levels { heights, times: Times { origin, step: NonZeroU16::MIN } }
        }
    }

    #[test]
    fn the_worst_bins_are_left_out() {
        let mut ring = Ring::default();
        for (minute, num) in [1.0, 1.0, 50.0, 1.0, 1.0].into_iter().enumerate() {
            ring.set(Bin { minute: minute as Minute, num, den: 1.0 }, 10);
        }
        assert_eq!(pooled(&ring, 0, 5, 1, true), Some(1.0));
        assert!(pooled(&ring, 0, 5, 1, false).is_some_and(|value| value > 10.0));
        assert_eq!(pooled(&ring, 0, 0, 0, true), None);
    }
}
