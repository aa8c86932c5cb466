//! The yardstick of surprise: how far the same comparison moved at other moments, when nothing was deployed.
//!
//! A yardstick remembers sizes of deviations in logarithmic buckets, forgets slowly, and answers how often a deviation
//! at least so large would be seen in one look. Beyond what was seen it extrapolates by peaks over threshold (Siffer et
//! al., "Anomaly Detection in Streams with Extreme Value Theory", KDD 2017, section 3): a generalised Pareto tail over
//! the 90 % quantile, its shape estimated by moments and drawn towards a mildly heavy tail while there is little data.
//! No normality and no independence is assumed, but the past must be like the present.

use serde::{Deserialize, Serialize};

/// Buckets to an octave; a bucket is 19 % wide.
const FINENESS: f64 = 4.0;
/// The smallest deviation told from zero, in the yardstick's unit (log change): 2^-12, about 0.02 %.
const LOWEST_OCTAVE: f64 = -12.0;
/// 2^-12 to 2^6.
const BUCKETS: usize = 72;
/// When so many looks are remembered, all counts are halved: the memory is about twice this.
const FULL: u32 = 8_192;
/// The share of looks that lie above the threshold over which the tail is modelled.
const ABOVE: f64 = 0.10;
/// To be called unseen, a deviation must exceed the largest seen by this factor.
const MARGIN: f64 = 1.1;
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

/// The tail above `threshold`, fitted.
#[derive(Clone, Copy, Debug)]
pub struct Tail {
    share: f64,
    threshold: f64,
    scale: f64,
    shape: f64,
    /// The largest deviation that was seen, and log10 of one in all looks.
    largest: f64,
    once: f64,
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

    /// What was learned so far counts for a quarter from here on.
    pub fn fade(&mut self) {
        self.zero /= 4;
        self.counts.iter_mut().for_each(|count| *count /= 4);
        self.total = self.zero + self.counts.iter().map(|&count| u32::from(count)).sum::<u32>();
    }

    /// Fits the tail. `floor` is the least scale that is believed: the noise that short samples must have anyway.
    /// `overlap` is how many looks share their data, so that many looks of a slow comparison count for few.
    pub fn tail(&self, floor: f64, overlap: f64) -> Tail {
        let total = f64::from(self.total);
        let mut above = 0.0;
        let mut place = self.counts.len();
        while place > 0 && above < ABOVE * total {
            place -= 1;
            above += f64::from(self.counts[place]);
        }
        let threshold = if self.counts.is_empty() { 0.0 } else { lower_edge(place) };
        let (mut sum, mut squares) = (0.0, 0.0);
        for (i, &count) in self.counts.iter().enumerate().skip(place) {
            let excess = (middle(i) - threshold).max(0.0);
            sum += f64::from(count) * excess;
            squares += f64::from(count) * excess * excess;
        }
        let share = if total > 0.0 { (above / total).max(1e-3) } else { 1.0 };
        let peaks = above / overlap.max(1.0);
        if above < 1.0 {
            return Tail {
                share: 1.0,
                threshold: 2.0 * floor,
                scale: floor,
                shape: SHAPE_PRIOR.0,
                largest: 0.0,
                once: 0.0,
            };
        }
        let average = sum / above;
        let variance = (squares / above - average * average).max(1e-12);
        // Moments of the generalised Pareto distribution (Hosking and Wallis 1987, section 3).
        let fitted = 0.5 * (1.0 - average * average / variance);
        let shape = (fitted * peaks + SHAPE_PRIOR.0 * SHAPE_PRIOR.1) / (peaks + SHAPE_PRIOR.1);
        let shape = shape.clamp(0.0, SHAPE_MAX);
        // Few peaks may be lucky ones: the scale is widened by about one standard error.
        let scale = average * (1.0 - shape) * (1.0 + 1.0 / peaks.max(1.0).sqrt());
        let largest = self.counts.iter().rposition(|&count| count > 0).map_or(0.0, |place| lower_edge(place + 1));
        let once = -total.max(1.0).log10();
        Tail { share, threshold: threshold.max(2.0 * floor), scale: scale.max(floor), shape, largest, once }
    }
}

impl Tail {
    /// log10 of the probability that one look shows a deviation of at least `size`.
    pub fn log10_p(&self, size: f64) -> f64 {
        if size <= self.threshold {
            return 0.0;
        }
        let z = (size - self.threshold) / self.scale.max(1e-9);
        let ln = if self.shape < 1e-6 { -z } else { -(self.shape * z).ln_1p() / self.shape };
        let fitted = self.share.log10() + ln / std::f64::consts::LN_10;
        // What was seen once is not rarer than that, whatever the fit says.
        if size <= MARGIN * self.largest { fitted.max(self.once) } else { fitted }
    }

    /// The size whose `log10_p` is `target`.
    pub fn size_at(&self, target: f64) -> f64 {
        let ln = ((target - self.share.log10()) * std::f64::consts::LN_10).min(0.0);
        let z = if self.shape < 1e-6 { -ln } else { ((-ln * self.shape).exp() - 1.0) / self.shape };
        let fitted = self.threshold + z * self.scale;
        if target < self.once { fitted.max(MARGIN * self.largest) } else { fitted }
    }
}

fn bucket(size: f64) -> Option<usize> {
    let place = (size.log2() - LOWEST_OCTAVE) * FINENESS;
    if place.is_nan() || place < 0.0 {
        return None;
    }
    Some((place as usize).min(BUCKETS - 1))
}

fn lower_edge(place: usize) -> f64 {
    (place as f64 / FINENESS + LOWEST_OCTAVE).exp2()
}

fn middle(place: usize) -> f64 {
    ((place as f64 + 0.5) / FINENESS + LOWEST_OCTAVE).exp2()
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
