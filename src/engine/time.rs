//! Time as data: a moment and a length, both in whole milliseconds.
//!
//! The engine never asks what time it is; every input carries its time. Arithmetic saturates, so that no producer's
//! absurd timestamp can overflow anything.

use serde::{Deserialize, Serialize};
use std::ops::{Add, Sub};

/// A moment: Unix time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Time(pub i64);

/// A length of time in milliseconds; negative where something lies before something else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span(pub i64);

impl Span {
    pub const MINUTE: Span = Span(60_000);
    pub const HOUR: Span = Span(3_600_000);
    pub const DAY: Span = Span(86_400_000);

    pub const fn seconds(n: i64) -> Span {
        Span(n.saturating_mul(1_000))
    }

    pub const fn minutes(n: i64) -> Span {
        Span(n.saturating_mul(60_000))
    }

    pub fn as_minutes(self) -> f64 {
        self.0 as f64 / 60_000.0
    }

    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / 1_000.0
    }
}

impl Time {
    pub const MIN: Time = Time(i64::MIN);

    /// Unix time in seconds.
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / 1_000.0
    }

    /// The start of the interval of length `width` that holds this moment.
    pub fn floor(self, width: Span) -> Time {
        Time(self.0 - self.0.rem_euclid(width.0.max(1)))
    }
}

impl Add for Span {
    type Output = Span;
    fn add(self, other: Span) -> Span {
        Span(self.0.saturating_add(other.0))
    }
}

impl Add<Span> for Time {
    type Output = Time;
    fn add(self, span: Span) -> Time {
        Time(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Time {
    type Output = Time;
    fn sub(self, span: Span) -> Time {
        Time(self.0.saturating_sub(span.0))
    }
}

impl Sub<Time> for Time {
    type Output = Span;
    fn sub(self, other: Time) -> Span {
        Span(self.0.saturating_sub(other.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absurd_times_saturate() {
        assert_eq!(Time(i64::MAX) + Span::DAY, Time(i64::MAX));
        assert_eq!(Time::MIN - Span::DAY, Time::MIN);
        assert_eq!(Time(-1).floor(Span(1000)), Time(-1000));
    }
}
