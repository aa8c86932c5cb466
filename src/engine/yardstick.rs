//! The yardstick of surprise: how far the same comparison moved at other moments, when nothing was deployed.
//!
//! A yardstick remembers sizes of deviations in logarithmic buckets, forgets slowly, and answers how often a deviation
//! at least so large would be seen in one look. Beyond what was seen it extrapolates by peaks over threshold (Siffer et
//! al., "Anomaly Detection in Streams with Extreme Value Theory", KDD 2017, section 3): a generalised Pareto tail over
//! the 90 % quantile, its shape estimated by moments and drawn towards a mildly heavy tail while there is little data.
//! A mean of many readings falls off faster than any such tail can: an exponential one from where most looks lie asks
//! two to three times as much of a rare size as there is. So the tail is fitted to a power of the sizes where the data
//! allows it (Wadsworth, Tawn, Jonathan, "Accounting for choice of measurement scale in extreme value modeling", Annals
//! of Applied Statistics 2010).
//! No normality and no independence is assumed, but the past must be like the present.

mod row;

use super::stats::Z95;
pub use row::Yardsticks;
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
/// log10 of 2.5 %.
const OFTEN: f64 = -1.602;
/// The prior of the tail's shape, and how many peaks it is worth.
const SHAPE_PRIOR: (f64, f64) = (0.08, 20.0);
const SHAPE_MAX: f64 = 0.45;
/// The looks from which on, up to twice as many, a tail may be lighter than an exponential one.
const KNOWN: f64 = 100.0;
/// Up to how many times the noise the threshold lies where nothing but noise is at work, and from where on there is.
const CALM: f64 = 1.5;
const WILD: f64 = 2.2;
/// The prior of the shape over sizes by themselves where noise alone is at work, and how many peaks it is worth: a
/// normal tail over its 90 % quantile has a shape of about -0.2.
const LIGHT_PRIOR: (f64, f64) = (-0.15, 10.0);

/// 152 bytes; less in a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Yardstick {
    counts: [u16; BUCKETS],
    zero: u32,
    total: u32,
}

impl Default for Yardstick {
    fn default() -> Yardstick {
        Yardstick { counts: [0; BUCKETS], zero: 0, total: 0 }
    }
}

/// How often deviations of a size are seen.
#[derive(Clone, Copy, Debug)]
pub struct Tail {
    /// Over the common peaks, and over the rare ones if there are any: noise with a few bursts is two tails in one.
    fits: [Option<Fit>; 2],
    /// The largest deviation that was seen, and log10 of one in all looks.
    largest: f64,
    once: f64,
    /// The standard deviation that noise alone gives to sizes.
    noise: f64,
}

/// What lies above a threshold, in sizes to some power.
struct Peaks {
    /// The first of its buckets.
    first: usize,
    above: f64,
    threshold: f64,
    /// Of the excesses over the threshold.
    average: f64,
    variance: f64,
}

/// The tail above a threshold, of sizes to some power.
#[derive(Clone, Copy, Debug)]
struct Fit {
    share: f64,
    power: f64,
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
    /// `overlap` is how many looks share their data, so that many looks of a slow comparison count for few. `noise` is
    /// how large sizes are, as a standard deviation, where noise alone makes them, `most` the highest power of sizes.
    pub fn tail(&self, floor: f64, noise: f64, overlap: f64, most: f64) -> Tail {
        let power = self.power(noise, overlap, most);
        let common = self.fit(ABOVE, 1.0, floor, overlap, power).unwrap_or(Fit {
            share: 1.0,
            power: 1.0,
            threshold: 2.0 * floor,
            scale: floor,
            shape: SHAPE_PRIOR.0,
        });
        let largest = self.counts.iter().rposition(|&count| count > 0).map_or(0.0, |place| lower_edge(place + 1));
        Tail {
            fits: [Some(common), self.fit(RARE, FEWEST, floor, overlap, power)],
            largest,
            once: -f64::from(self.total.max(1)).log10(),
            noise,
        }
    }

    /// The power of sizes whose tail is modelled, `most` at the most: 1 for what falls off exponentially, 2 for what
    /// does so as a sum of many small things. More than 1 only where enough is known, where sizes are not much larger
    /// than noise by itself makes them, and where the tail over the threshold is lighter than an exponential one.
    fn power(&self, noise: f64, overlap: f64, most: f64) -> f64 {
        let peaks = self.peaks(ABOVE, 1.0);
        let known = (f64::from(self.total) / KNOWN - 1.0).clamp(0.0, 1.0);
        let times = lower_edge(peaks.first) / noise.max(1e-9);
        let calm = ((WILD - times) / (WILD - CALM)).clamp(0.0, 1.0);
        let independent = peaks.above / overlap.max(1.0);
        let (prior, worth) = LIGHT_PRIOR;
        let shape = (peaks.shape().max(-0.5) * independent + prior * worth) / (independent + worth);
        1.0 + (most - 1.0) * known * calm * (shape / prior).clamp(0.0, 1.0)
    }

    /// The highest `share` of the looks, their sizes to some power.
    fn peaks(&self, share: f64, power: f64) -> Peaks {
        let total = f64::from(self.total);
        let (mut above, mut first) = (0.0, self.counts.len());
        while first > 0 && above < share * total {
            first -= 1;
            above += f64::from(self.counts[first]);
        }
        let threshold = lower_edge(first).powf(power);
        let (mut sum, mut squares) = (0.0, 0.0);
        for (place, &count) in self.counts.iter().enumerate().skip(first).filter(|(_, count)| **count > 0) {
            let excess = (middle(place).powf(power) - threshold).max(0.0);
            sum += f64::from(count) * excess;
            squares += f64::from(count) * excess * excess;
        }
        let average = sum / above.max(1.0);
        let variance = (squares / above.max(1.0) - average * average).max(1e-24);
        Peaks { first, above, threshold, average, variance }
    }

    /// The generalised Pareto tail over the highest `share` of the looks; none over fewer than `fewest` of them.
    fn fit(&self, share: f64, fewest: f64, floor: f64, overlap: f64, power: f64) -> Option<Fit> {
        let peaks = self.peaks(share, power);
        if peaks.above < fewest {
            return None;
        }
        let independent = peaks.above / overlap.max(1.0);
        let shape = (peaks.shape() * independent + SHAPE_PRIOR.0 * SHAPE_PRIOR.1) / (independent + SHAPE_PRIOR.1);
        let shape = shape.clamp(0.0, SHAPE_MAX);
        // Few peaks may be lucky ones: the scale is widened by about one standard error.
        let scale = peaks.average * (1.0 - shape) * (1.0 + 1.0 / independent.max(1.0).sqrt());
        Some(Fit {
            share: (peaks.above / f64::from(self.total)).max(1e-3),
            power,
            threshold: peaks.threshold.max((2.0 * floor).powf(power)),
            scale: scale.max(power * floor.powf(power)),
            shape,
        })
    }
}

impl Peaks {
    /// The shape of a generalised Pareto distribution by its moments (Hosking and Wallis 1987, section 3).
    fn shape(&self) -> f64 {
        0.5 * (1.0 - self.average * self.average / self.variance)
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
        let said = self.fits.iter().flatten().filter_map(|fit| fit.log10_p(size.max(0.0)));
        let Some(fitted) = said.reduce(f64::max) else { return 0.0 };
        // What was seen once is not rarer than that, whatever the fit says, and nothing beyond falls off at a cliff.
        let beyond = (size / (MARGIN * self.largest).max(1e-12)).log10().max(0.0);
        fitted.max(self.once - DECAY * beyond)
    }

    /// How far off on one side a level must be expected to be: 2.5 % of looks are farther, and noise alone is.
    pub fn often(&self) -> f64 {
        self.size_at(OFTEN).max(Z95 * self.noise)
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
        let size = size.powf(self.power);
        if size <= self.threshold {
            return None;
        }
        let z = (size - self.threshold) / self.scale.max(1e-18);
        let ln = if self.shape < 1e-6 { -z } else { -(self.shape * z).ln_1p() / self.shape };
        Some(self.share.log10() + ln / std::f64::consts::LN_10)
    }

    fn size_at(&self, target: f64) -> f64 {
        let ln = ((target - self.share.log10()) * std::f64::consts::LN_10).min(0.0);
        let z = if self.shape < 1e-6 { -ln } else { ((-ln * self.shape).exp() - 1.0) / self.shape };
        (self.threshold + z * self.scale).powf(1.0 / self.power)
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
        let tail = exponential(4000, 0.1).tail(0.0, 0.0, 1.0, 1.0);
        // True: p = exp(-1.0 / 0.1).
        let said = tail.log10_p(1.0);
        assert!((-5.5..-3.4).contains(&said), "{said}");
        let back = tail.size_at(-2.5);
        assert!((tail.log10_p(back) + 2.5).abs() < 1e-9, "{back}");
    }

    #[test]
    fn a_normal_tail_is_not_taken_for_an_exponential_one() {
        let mut yardstick = Yardstick::default();
        // Quantiles of a half-normal distribution by bisection on a logistic approximation of its distribution.
        let below = |x: f64| 2.0 / (1.0 + (-1.5976 * x - 0.070_56 * x * x * x).exp()) - 1.0;
        for look in 0..2_000 {
            let share = (f64::from(look) + 0.5) / 2_000.0;
            let (mut low, mut high) = (0.0, 6.0);
            for _ in 0..40 {
                let middle = 0.5 * (low + high);
                if below(middle) < share { low = middle } else { high = middle }
            }
            yardstick.learn(0.1 * low);
        }
        let (plain, lighter) = (yardstick.tail(0.0, 0.1, 5.0, 1.0), yardstick.tail(0.0, 0.1, 5.0, 2.0));
        // One in two thousand lies at 3.5 standard deviations; so many were seen, and no more is asked of what was not.
        let (plain, lighter) = (plain.size_at(-3.3), lighter.size_at(-3.3));
        assert!(0.35 < lighter && lighter < 0.9 * plain, "{lighter} {plain}");
    }

    #[test]
    fn surprise_grows_with_size_and_shrinks_with_noise() {
        let (quiet, loud) =
            (exponential(500, 0.01).tail(0.0, 0.0, 1.0, 1.0), exponential(500, 0.1).tail(0.0, 0.0, 1.0, 1.0));
        assert!(quiet.log10_p(0.3) < loud.log10_p(0.3));
        assert!(quiet.log10_p(0.3) < quiet.log10_p(0.2));
        assert_eq!(loud.log10_p(0.0), 0.0);
    }

    #[test]
    fn without_history_only_the_floor_speaks() {
        let tail = Yardstick::default().tail(0.1, 0.0, 1.0, 1.0);
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
        assert!(yardstick.tail(0.0, 0.0, 1.0, 1.0).log10_p(1.0) > -1.1);
    }
}
