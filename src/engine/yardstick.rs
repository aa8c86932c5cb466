//! The yardstick of surprise: how far the same comparison moved at other moments, when nothing was deployed.
//!
//! A yardstick remembers sizes of deviations in logarithmic buckets, forgets slowly, and answers how often a deviation
//! at least so large would be seen in one look. Beyond what was seen it extrapolates by peaks over threshold (Siffer et
//! al., "Anomaly Detection in Streams with Extreme Value Theory", KDD 2017, section 3): a generalised Pareto tail over
//! the 90 % quantile, its shape estimated by moments and drawn towards a mildly heavy tail while there is little data.
//! No normality and no independence is assumed, but the past must be like the present.

use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

/// Buckets to an octave; a bucket is 19 % wide.
const FINENESS: f64 = 4.0;
/// The smallest deviation told from zero, in the yardstick's unit (log change): 2^-12, about 0.02 %.
const LOWEST_OCTAVE: f64 = -12.0;
/// 2^-12 to 2^6.
const BUCKETS: usize = 72;
/// When so many looks are remembered, all counts are halved: the memory is about twice this.
const FULL: u32 = 8_192;
/// Looks that must be left for anything to be forgotten early.
const KEPT: u32 = 100;
/// The share of looks that lie above the threshold over which the tail is modelled.
const ABOVE: f64 = 0.10;
/// The share of the rare peaks, and how many of them a fit needs.
const RARE: f64 = 0.02;
const FEWEST: f64 = 5.0;
/// To be called unseen, a deviation must exceed the largest seen by this factor.
const MARGIN: f64 = 1.1;
/// Beyond it the tail falls off no faster than size to this power: where bursts are few, no fit knows how large they
/// can be. A normal tail falls about so fast at three to five standard deviations.
const DECAY: f64 = 12.0;
/// The prior of the tail's shape, and how many peaks it is worth.
const SHAPE_PRIOR: (f64, f64) = (0.08, 20.0);
const SHAPE_MAX: f64 = 0.45;

/// About 160 bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Yardstick {
    counts: Vec<u16>,
    zero: u32,
    total: u32,
}

/// How often deviations of a size are seen.
#[derive(Clone, Copy, Debug)]
pub struct Tail {
    /// Over the common peaks, and over the rare ones if there are any: noise with a few bursts is two tails in one.
    fits: [Option<Fit>; 2],
    /// The largest deviation that was seen, and log10 of one in all looks.
    largest: f64,
    once: f64,
}

/// The tail above a threshold.
#[derive(Clone, Copy, Debug)]
struct Fit {
    share: f64,
    threshold: f64,
    scale: f64,
    shape: f64,
}

impl Yardstick {
    /// Looks remembered.
    pub fn looks(&self) -> u32 {
        self.total
    }

    /// Learns the size of one deviation (>= 0).
    pub fn learn(&mut self, size: f64) {
        if self.counts.is_empty() {
            self.counts = vec![0; BUCKETS];
        }
        match bucket(size) {
            None => self.zero += 1,
            Some(place) => self.counts[place] = self.counts[place].saturating_add(1),
        }
        self.total += 1;
        if self.total >= FULL {
            self.zero /= 2;
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.zero + self.counts.iter().map(|&count| u32::from(count)).sum::<u32>();
        }
    }

    /// What was learned so far counts for less from here on, as far as enough is left.
    pub fn fade(&mut self) {
        if self.total < 4 * KEPT {
            return;
        }
        self.zero /= 4;
        // Rounded up: what was seen once stays seen.
        self.counts.iter_mut().for_each(|count| *count = count.div_ceil(4));
        self.total = self.zero + self.counts.iter().map(|&count| u32::from(count)).sum::<u32>();
    }

    /// Fits the tail. `floor` is the least scale that is believed: the noise that short samples must have anyway.
    /// `overlap` is how many looks share their data, so that many looks of a slow comparison count for few.
    pub fn tail(&self, floor: f64, overlap: f64) -> Tail {
        let common = self.fit(ABOVE, 1.0, floor, overlap).unwrap_or(Fit {
            share: 1.0,
            threshold: 2.0 * floor,
            scale: floor,
            shape: SHAPE_PRIOR.0,
        });
        let largest = self.counts.iter().rposition(|&count| count > 0).map_or(0.0, |place| lower_edge(place + 1));
        Tail {
            fits: [Some(common), self.fit(RARE, FEWEST, floor, overlap)],
            largest,
            once: -f64::from(self.total.max(1)).log10(),
        }
    }

    /// The generalised Pareto tail over the highest `share` of the looks; none over fewer than `fewest` of them.
    fn fit(&self, share: f64, fewest: f64, floor: f64, overlap: f64) -> Option<Fit> {
        let total = f64::from(self.total);
        let mut above = 0.0;
        let mut place = self.counts.len();
        while place > 0 && above < share * total {
            place -= 1;
            above += f64::from(self.counts[place]);
        }
        if above < fewest {
            return None;
        }
        let threshold = lower_edge(place);
        let (mut sum, mut squares) = (0.0, 0.0);
        for (i, &count) in self.counts.iter().enumerate().skip(place) {
            let excess = (middle(i) - threshold).max(0.0);
            sum += f64::from(count) * excess;
            squares += f64::from(count) * excess * excess;
        }
        let peaks = above / overlap.max(1.0);
        let average = sum / above;
        let variance = (squares / above - average * average).max(1e-12);
        // Moments of the generalised Pareto distribution (Hosking and Wallis 1987, section 3).
        let fitted = 0.5 * (1.0 - average * average / variance);
        let shape = (fitted * peaks + SHAPE_PRIOR.0 * SHAPE_PRIOR.1) / (peaks + SHAPE_PRIOR.1);
        let shape = shape.clamp(0.0, SHAPE_MAX);
        // Few peaks may be lucky ones: the scale is widened by about one standard error.
        let scale = average * (1.0 - shape) * (1.0 + 1.0 / peaks.max(1.0).sqrt());
        let share = (above / total).max(1e-3);
        Some(Fit { share, threshold: threshold.max(2.0 * floor), scale: scale.max(floor), shape })
    }
}

impl Tail {
    /// The largest deviation that was seen.
    pub fn largest(&self) -> f64 {
        self.largest
    }

    /// log10 of the probability that one look shows a deviation of at least `size`.
    pub fn log10_p(&self, size: f64) -> f64 {
        // A fit whose threshold is not passed has nothing to say; where none has, the size is common.
        let said = self.fits.iter().flatten().filter_map(|fit| fit.log10_p(size));
        let Some(fitted) = said.reduce(f64::max) else { return 0.0 };
        // What was seen once is not rarer than that, whatever the fit says, and nothing beyond falls off at a cliff.
        let beyond = (size / (MARGIN * self.largest).max(1e-12)).log10().max(0.0);
        fitted.max(self.once - DECAY * beyond)
    }

    /// The size whose `log10_p` is `target`.
    pub fn size_at(&self, target: f64) -> f64 {
        let fitted = self.fits.iter().flatten().map(|fit| fit.size_at(target)).fold(0.0, f64::max);
        let beyond = (self.once - target) / DECAY;
        if beyond > 0.0 { fitted.max(MARGIN * self.largest * 10f64.powf(beyond)) } else { fitted }
    }
}

impl Fit {
    fn log10_p(&self, size: f64) -> Option<f64> {
        if size <= self.threshold {
            return None;
        }
        let z = (size - self.threshold) / self.scale.max(1e-9);
        let ln = if self.shape < 1e-6 { -z } else { -(self.shape * z).ln_1p() / self.shape };
        Some(self.share.log10() + ln / std::f64::consts::LN_10)
    }

    fn size_at(&self, target: f64) -> f64 {
        let ln = ((target - self.share.log10()) * std::f64::consts::LN_10).min(0.0);
        let z = if self.shape < 1e-6 { -ln } else { ((-ln * self.shape).exp() - 1.0) / self.shape };
        self.threshold + z * self.scale
    }
}

fn bucket(size: f64) -> Option<usize> {
    let place = (size.log2() - LOWEST_OCTAVE) * FINENESS;
    if place.is_nan() || place < 0.0 {
        return None;
    }
    Some((place as usize).min(BUCKETS - 1))
}

/// The edges and middles of all buckets by turns: a fit asks for each of them.
static SIZES: LazyLock<[f64; 2 * BUCKETS + 1]> =
    LazyLock::new(|| std::array::from_fn(|half| (half as f64 / 2.0 / FINENESS + LOWEST_OCTAVE).exp2()));

fn lower_edge(place: usize) -> f64 {
    SIZES[2 * place]
}

fn middle(place: usize) -> f64 {
    SIZES[2 * place + 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exponential(n: u32, scale: f64) -> Yardstick {
        let mut yardstick = Yardstick::default();
        for i in 0..n {
            yardstick.learn(-scale * (1.0 - (f64::from(i) + 0.5) / f64::from(n)).ln());
        }
        yardstick
    }

    #[test]
    fn tail_of_an_exponential_is_about_right() {
        let tail = exponential(4000, 0.1).tail(0.0, 1.0);
        // True: p = exp(-1.0 / 0.1).
        let said = tail.log10_p(1.0);
        assert!((-5.5..-3.4).contains(&said), "{said}");
        let back = tail.size_at(-2.5);
        assert!((tail.log10_p(back) + 2.5).abs() < 1e-9, "{back}");
    }

    #[test]
    fn surprise_grows_with_size_and_shrinks_with_noise() {
        let (quiet, loud) = (exponential(500, 0.01).tail(0.0, 1.0), exponential(500, 0.1).tail(0.0, 1.0));
        assert!(quiet.log10_p(0.3) < loud.log10_p(0.3));
        assert!(quiet.log10_p(0.3) < quiet.log10_p(0.2));
        assert_eq!(loud.log10_p(0.0), 0.0);
    }

    #[test]
    fn without_history_only_the_floor_speaks() {
        let tail = Yardstick::default().tail(0.1, 1.0);
        assert_eq!(tail.log10_p(0.2), 0.0);
        assert!(tail.log10_p(3.0) < -3.0);
    }

    #[test]
    fn memory_is_bounded_and_forgets() {
        let mut yardstick = exponential(20_000, 0.01);
        assert!(yardstick.looks() < FULL);
        for _ in 0..100_000 {
            yardstick.learn(1.0);
        }
        assert!(yardstick.tail(0.0, 1.0).log10_p(1.0) > -1.1);
    }
}
