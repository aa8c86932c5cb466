//! Latency distributions: what a histogram's buckets say, reduced to a few shares.
//!
//! A bucketed histogram knows quantiles only to the width of a bucket, so nothing here interpolates: a signal is judged
//! by the share of requests above fixed levels, chosen once near the median, the 90th and the 99th percentile of what
//! was first seen. The reference distribution is an hdrhistogram of two significant digits over a relative scale; each
//! bucket is recorded at its geometric middle, so producers may change their bounds without losing the history.

use super::event::Buckets;
use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Units in one of the producer's: a level of 1 is recorded as this many.
const FINE: f64 = 1e6;
const HIGHEST: u64 = 1 << 50;
/// Levels are chosen once so many requests were seen.
const ENOUGH: u64 = 100;
/// The shares above the levels: half, a tenth, a hundredth.
pub const SHARES: [f64; 3] = [0.5, 0.1, 0.01];

/// The reference of one signal: about 20 KiB while learning, a few hundred bytes of levels afterwards.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    learning: Option<Dense>,
    /// In the producer's unit; empty until enough was seen.
    levels: Vec<f64>,
}

#[derive(Clone, Debug, PartialEq)]
struct Dense(Histogram<u64>);

impl Distribution {
    /// Learns until the levels can be chosen; true when they just were.
    pub fn learn(&mut self, buckets: &Buckets) -> bool {
        if !self.levels.is_empty() {
            return false;
        }
        let dense = self.learning.get_or_insert_with(Dense::new);
        for (i, &count) in buckets.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let value = (middle(&buckets.bounds, i) * FINE).clamp(1.0, HIGHEST as f64) as u64;
            dense.0.saturating_record_n(value, count);
        }
        if dense.0.len() < ENOUGH {
            return false;
        }
        self.levels = SHARES.iter().map(|share| dense.0.value_at_quantile(1.0 - share) as f64 / FINE).collect();
        // Levels are bounds of the producer's, so that shares above them are counted and not guessed.
        for level in &mut self.levels {
            *level = nearest_bound(&buckets.bounds, *level);
        }
        self.levels.dedup();
        self.learning = None;
        true
    }

    pub fn levels(&self) -> &[f64] {
        &self.levels
    }
}

/// Requests above `level`; a bucket that holds the level counts in proportion to its logarithm.
pub fn above(buckets: &Buckets, level: f64) -> f64 {
    let mut total = 0.0;
    for (i, &count) in buckets.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let low = if i == 0 { 0.0 } else { buckets.bounds[i - 1] };
        let high = buckets.bounds.get(i).copied().unwrap_or(f64::INFINITY);
        let share = if low >= level {
            1.0
        } else if high <= level {
            0.0
        } else if high.is_finite() && low > 0.0 {
            (high / level).ln() / (high / low).ln()
        } else {
            0.5
        };
        total += share * count as f64;
    }
    total
}

/// The `q` quantile of buckets that were added up, at a bucket's geometric middle.
pub fn quantile(buckets: &Buckets, q: f64) -> Option<f64> {
    let total: u64 = buckets.counts.iter().sum();
    let rank = (total as f64 * q).ceil().max(1.0) as u64;
    let mut seen = 0;
    for (i, count) in buckets.counts.iter().enumerate() {
        seen += count;
        if total > 0 && seen >= rank {
            return Some(middle(&buckets.bounds, i));
        }
    }
    None
}

fn middle(bounds: &[f64], bucket: usize) -> f64 {
    match (bucket.checked_sub(1).and_then(|i| bounds.get(i)), bounds.get(bucket)) {
        (Some(&low), Some(&high)) if low > 0.0 => (low * high).sqrt(),
        (Some(&low), Some(&high)) => 0.5 * (low + high),
        (Some(&low), None) => low * 1.5,
        (None, Some(&high)) => high * 0.5,
        (None, None) => 1.0,
    }
}

fn nearest_bound(bounds: &[f64], level: f64) -> f64 {
    let away = |bound: &f64| (bound.max(1e-12) / level.max(1e-12)).ln().abs();
    bounds.iter().copied().min_by(|a, b| away(a).total_cmp(&away(b))).unwrap_or(level)
}

impl Dense {
    fn new() -> Dense {
        // These bounds are valid for two significant digits, and `new_with_bounds` fails on nothing else.
        Dense(Histogram::new_with_bounds(1, HIGHEST, 2).expect("constant bounds are valid"))
    }
}

impl Serialize for Dense {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let pairs: Vec<(u64, u64)> =
            self.0.iter_recorded().map(|each| (each.value_iterated_to(), each.count_at_value())).collect();
        pairs.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Dense {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Dense, D::Error> {
        let mut dense = Dense::new();
        for (value, count) in Vec::<(u64, u64)>::deserialize(deserializer)? {
            dense.0.saturating_record_n(value, count);
        }
        Ok(dense)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(counts: &[u64]) -> Buckets {
        Buckets { bounds: vec![0.1, 0.2, 0.5, 1.0], counts: counts.to_vec(), sum: None }
    }

    #[test]
    fn levels_are_bounds_near_the_quantiles() {
        let mut distribution = Distribution::default();
        assert!(!distribution.learn(&buckets(&[30, 10, 0, 0, 0])));
        assert!(distribution.learn(&buckets(&[30, 60, 20, 10, 0])));
        assert_eq!(distribution.levels(), [0.1, 0.5, 1.0], "{:?}", distribution);
        assert!(!distribution.learn(&buckets(&[1, 1, 1, 1, 1])), "chosen once");
    }

    #[test]
    fn shares_above_a_bound_are_counted() {
        assert_eq!(above(&buckets(&[5, 4, 3, 2, 1]), 0.2), 6.0);
        assert_eq!(above(&buckets(&[5, 4, 3, 2, 1]), 5.0), 0.5);
        let between = above(&buckets(&[0, 0, 10, 0, 0]), 0.3);
        assert!(between > 0.0 && between < 10.0);
    }

    #[test]
    fn quantiles_of_nothing_and_of_something() {
        assert_eq!(quantile(&buckets(&[0, 0, 0, 0, 0]), 0.5), None);
        assert_eq!(quantile(&buckets(&[90, 0, 0, 0, 10]), 0.99), Some(1.5));
    }

    #[test]
    fn survives_a_checkpoint() {
        let mut distribution = Distribution::default();
        distribution.learn(&buckets(&[30, 10, 0, 0, 0]));
        let bytes = postcard::to_allocvec(&distribution).expect("serialises");
        let mut back: Distribution = postcard::from_bytes(&bytes).expect("deserialises");
        assert_eq!(distribution.learn(&buckets(&[30, 60, 20, 1, 0])), back.learn(&buckets(&[30, 60, 20, 1, 0])));
        assert_eq!(distribution.levels(), back.levels());
    }
}
