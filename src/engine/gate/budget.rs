//! How often one may speak: a token bucket on event time.
//!
//! It counts what is missing rather than what is there, so that an untouched bucket is a full one whatever the policy
//! says, and a policy that changes takes effect at once. It knows no service and no reason; the gate does.

use crate::engine::policy::RateLimit;
use crate::engine::time::Time;
use serde::{Deserialize, Serialize};

/// A whole token may come out of many small refills: this much is forgiven for the rounding.
const ROUNDING: f64 = 1e-9;

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// Tokens taken and not yet refilled, as of `at`.
    missing: f64,
    at: Time,
}

impl Bucket {
    /// Tokens there are, from 0 to `burst`.
    pub fn tokens(&self, limit: RateLimit, now: Time) -> f64 {
        f64::from(limit.burst) - self.missing_at(limit, now)
    }

    pub fn has_one(&self, limit: RateLimit, now: Time) -> bool {
        self.tokens(limit, now) + ROUNDING >= 1.0
    }

    /// Takes one token; ask `has_one` first. Taking from an empty bucket leaves it empty.
    pub fn take(&mut self, limit: RateLimit, now: Time) {
        let missing = self.missing_at(limit, now) + 1.0;
        self.missing = missing.min(f64::from(limit.burst));
        // A clock that goes back must not let the same hour refill twice.
        self.at = self.at.max(now);
    }

    pub fn is_full(&self, limit: RateLimit, now: Time) -> bool {
        self.missing_at(limit, now) <= 0.0
    }

    fn missing_at(&self, limit: RateLimit, now: Time) -> f64 {
        let hours = (now - self.at).as_minutes().max(0.0) / 60.0;
        let refilled = hours * limit.per_hour.max(0.0);
        (self.missing.min(f64::from(limit.burst)) - refilled).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::time::Span;
    use proptest::prelude::*;

    const LIMIT: RateLimit = RateLimit { burst: 2, per_hour: 1.0 };

    fn minutes(n: i64) -> Time {
        Time(0) + Span::minutes(n)
    }

    fn try_take(bucket: &mut Bucket, limit: RateLimit, now: Time) -> bool {
        let has = bucket.has_one(limit, now);
        if has {
            bucket.take(limit, now);
        }
        has
    }

    #[test]
    fn burst_then_rate() {
        let mut bucket = Bucket::default();
        let answers = [0, 0, 0, 59, 60, 61, 600, 600, 600].map(|m| try_take(&mut bucket, LIMIT, minutes(m)));
        assert_eq!(answers, [true, true, false, false, true, false, true, true, false]);
    }

    #[test]
    fn a_clock_that_goes_back_refills_nothing() {
        let mut bucket = Bucket::default();
        bucket.take(LIMIT, minutes(600));
        bucket.take(LIMIT, minutes(0));
        assert!(!bucket.has_one(LIMIT, minutes(600)));
        assert!(!bucket.has_one(LIMIT, minutes(10)));
        assert!(bucket.has_one(LIMIT, minutes(660)));
        assert!(bucket.has_one(LIMIT, Time(i64::MAX)));
        assert!(!bucket.has_one(LIMIT, Time::MIN));
    }

    #[test]
    fn a_new_policy_takes_effect_at_once() {
        let mut bucket = Bucket::default();
        let wide = RateLimit { burst: 10, per_hour: 1.0 };
        (0..10).for_each(|_| bucket.take(wide, minutes(0)));
        assert_eq!(bucket.tokens(wide, minutes(0)), 0.0);
        assert_eq!(bucket.tokens(LIMIT, minutes(60)), 1.0, "the debt is no larger than the new burst");
        assert_eq!(bucket.tokens(RateLimit { burst: 12, per_hour: 1.0 }, minutes(0)), 2.0);
        assert_eq!(bucket.tokens(RateLimit { burst: 10, per_hour: 60.0 }, minutes(2)), 2.0);
        assert!(!bucket.has_one(RateLimit { burst: 0, per_hour: 1.0 }, minutes(6_000)));
    }

    proptest! {
        /// In no stretch of time more than the burst and what was refilled in it.
        #[test]
        fn never_more_than_burst_and_rate(
            burst in 0u32..6,
            per_hour in 0.0f64..20.0,
            asks in prop::collection::vec((0i64..1_000_000, prop::bool::weighted(0.1)), 1..200),
        ) {
            let limit = RateLimit { burst, per_hour };
            let (mut bucket, mut now, mut latest) = (Bucket::default(), Time(0), Time(0));
            let mut taken = Vec::new();
            for (step, back) in asks {
                now = if back { now - Span(step) } else { now + Span(step) };
                latest = latest.max(now);
                if try_take(&mut bucket, limit, now) {
                    taken.push(latest);
                }
                let tokens = bucket.tokens(limit, now);
                prop_assert!((0.0..=f64::from(burst)).contains(&tokens), "{tokens}");
            }
            for (i, &from) in taken.iter().enumerate() {
                for (j, &to) in taken.iter().enumerate().skip(i) {
                    let hours = (to - from).as_minutes() / 60.0;
                    let allowed = f64::from(burst) + hours * per_hour + 1e-6;
                    prop_assert!((j - i + 1) as f64 <= allowed, "{} in {hours} h", j - i + 1);
                }
            }
        }
    }
}
