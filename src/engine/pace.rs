//! How many watches a week the whole fleet opens: what the fleet's budget of false alarms is shared among.
//!
//! Counted by days, at the log's time. Today and the seven days before it are counted as one week, so that a day's hour
//! never makes it too few; a daemon that knows less than a week takes the rest to be like it. Decides nothing.

use super::time::{Span, Time};
use serde::{Deserialize, Serialize};

/// Today and seven days before.
const DAYS: usize = 8;

/// 56 bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pace {
    /// Watches opened today, yesterday, and so on.
    days: [u32; DAYS],
    /// Which day today is, from the epoch on, and the first that was counted.
    today: i64,
    first: i64,
}

impl Pace {
    /// Counts a watch that is opened now; how many are to be expected in a week, this one among them.
    pub fn count(&mut self, now: Time) -> f64 {
        let day = now.0.div_euclid(Span::DAY.0);
        if self.days.iter().all(|count| *count == 0) {
            (self.today, self.first) = (day, day);
        }
        let passed = (day - self.today).clamp(0, DAYS as i64) as usize;
        self.days.rotate_right(passed % DAYS);
        self.days[..passed].fill(0);
        self.today = self.today.max(day);
        self.days[0] = self.days[0].saturating_add(1);
        let known = (self.today - self.first).clamp(1, 7) as f64;
        let counted: f64 = self.days.iter().map(|count| f64::from(*count)).sum();
        counted * 7.0 / known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(day: i64) -> Time {
        Time(20_000 * Span::DAY.0 + day * Span::DAY.0 + 1)
    }

    #[test]
    fn a_week_is_counted_and_then_forgotten() {
        let mut pace = Pace::default();
        assert_eq!(pace.count(day(0)), 7.0);
        assert_eq!(pace.count(day(1)), 14.0);
        assert_eq!(pace.count(day(2)), 3.0 * 7.0 / 2.0);
        assert_eq!(pace.count(day(7)), 4.0);
        assert_eq!(pace.count(day(8)), 4.0, "the first day is over a week ago");
        assert_eq!(pace.count(day(400)), 1.0);
        assert_eq!(pace.count(day(399)), 2.0, "time does not go back");
    }

    #[test]
    fn many_a_day_are_as_many_in_a_week() {
        let mut pace = Pace::default();
        let mut weekly = 0.0;
        for hour in 0..24 * 30 {
            weekly = pace.count(Time(day(0).0 + hour * Span::HOUR.0));
        }
        assert!((168.0..=192.0).contains(&weekly), "{weekly}");
    }
}
