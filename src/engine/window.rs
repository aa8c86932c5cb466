//! Windows of event time: one bin a minute, and the last so many bins that hold anything.
//!
//! A bin is a fraction, `num / den`: a gauge's sum over its number of samples, errors over requests, counts over one.
//! Pooling bins adds numerators and denominators, so a busy minute weighs more than a quiet one where that is right.
//! Only minutes that hold something are kept, so a metric scraped every five minutes has as long a memory in bins as
//! one scraped every minute. Late samples find their bin as long as it is here.

mod packed;
mod ring;

use super::time::{Span, Time};
pub use ring::Ring;

/// The width of a bin.
pub const WIDTH: Span = Span::MINUTE;

/// A minute since the epoch.
pub type Minute = i32;

/// The minute that something belongs to by its time. On the edge of two it is the one that ends there: a reading tells
/// of the time before it.
pub fn minute_of(at: Time) -> Minute {
    minute_at(at - Span(1))
}

/// The minute that runs at a moment, or begins with it.
pub fn minute_at(now: Time) -> Minute {
    i32::try_from(now.0.div_euclid(WIDTH.0)).unwrap_or(if now.0 < 0 { i32::MIN } else { i32::MAX })
}

pub fn start_of(minute: Minute) -> Time {
    Time(i64::from(minute) * WIDTH.0)
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bin {
    pub minute: Minute,
    pub num: f32,
    pub den: f32,
}

impl Bin {
    /// The bin's value; none where nothing was counted against.
    pub fn value(&self) -> Option<f64> {
        (self.den > 0.0).then(|| f64::from(self.num) / f64::from(self.den))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absurd_times_have_a_minute() {
        assert_eq!(minute_of(Time(i64::MAX)), i32::MAX);
        assert_eq!(minute_of(Time(i64::MIN)), i32::MIN);
        assert_eq!(minute_at(Time(-1)), -1);
    }

    #[test]
    fn what_is_stamped_on_an_edge_tells_of_the_minute_before() {
        assert_eq!([0, 1, 60_000, 60_001].map(|at| minute_of(Time(at))), [-1, 0, 0, 1]);
        assert_eq!([0, 1, 60_000, 60_001].map(|at| minute_at(Time(at))), [0, 0, 1, 1]);
    }
}
