//! What the fleet really did, kept for the pictures beside the recommendations.
//!
//! The daemon never sees this; it is the demo's own memory of the last hours.

use crate::engine::time::{Span, Time};
use std::collections::VecDeque;

/// One instance in one step; rates are a second.
#[derive(Clone, Debug)]
pub struct Point {
    pub at: Time,
    pub instance: String,
    pub requests: f64,
    pub errors: f64,
    /// Mean seconds a request took.
    pub latency: f64,
    pub cpu: f64,
}

/// Fifteen instances for three hours at a step a minute: 2,700 points, under 500 kB.
const POINTS_MAX: usize = 2_700;

#[derive(Default)]
pub struct Record {
    points: VecDeque<Point>,
}

impl Record {
    pub fn push(&mut self, point: Point) {
        if self.points.len() == POINTS_MAX {
            self.points.pop_front();
        }
        self.points.push_back(point);
    }

    /// The minutes of `[from, to)`, oldest first, averaged over the instances whose names begin with `of`; `None` for a
    /// signal the fleet keeps no record of. A minute without points is missing.
    pub fn minutes(&self, of: &[String], signal: &str, from: Time, to: Time) -> Option<Vec<f64>> {
        let field = field(signal)?;
        let (mut minutes, mut minute) = (Vec::new(), from);
        while minute < to {
            // A point speaks of the step before it.
            let inside = |p: &&Point| p.at > minute && p.at <= minute + Span::MINUTE;
            let ours = |p: &&Point| of.iter().any(|name| p.instance.starts_with(name.as_str()));
            let (mut sum, mut count) = (0.0, 0.0);
            for point in self.points.iter().filter(inside).filter(ours) {
                sum += field(point);
                count += 1.0;
            }
            if count > 0.0 {
                minutes.push(sum / count);
            }
            minute = minute + Span::MINUTE;
        }
        Some(minutes)
    }
}

/// The record's field that a signal's name speaks of.
fn field(signal: &str) -> Option<fn(&Point) -> f64> {
    let speaks_of = |words: &[&str]| words.iter().any(|word| signal.to_ascii_lowercase().contains(word));
    // Errors first: "errors / requests" is about errors.
    if speaks_of(&["error", "log", "declined", "payment"]) {
        Some(|p| p.errors)
    } else if speaks_of(&["duration", "latency"]) {
        Some(|p| p.latency)
    } else if speaks_of(&["cpu"]) {
        Some(|p| p.cpu)
    } else if speaks_of(&["request"]) {
        Some(|p| p.requests)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(minute: i64, instance: &str, errors: f64) -> Point {
        Point { at: Time(minute * 60_000), instance: instance.into(), requests: 1.0, errors, latency: 0.1, cpu: 0.5 }
    }

    #[test]
    fn minutes_average_the_named_instances() {
        let mut record = Record::default();
        for minute in 1..=3 {
            record.push(point(minute, "cart-1", minute as f64));
            record.push(point(minute, "cart-2", 10.0));
        }
        let view = |of: &str| record.minutes(&[of.to_owned()], "http.server.errors", Time(0), Time(180_000));
        assert_eq!(view("cart-1"), Some(vec![1.0, 2.0, 3.0]));
        assert_eq!(view("cart-"), Some(vec![5.5, 6.0, 6.5]));
        assert_eq!(record.minutes(&[], "tides", Time(0), Time(180_000)), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut record = Record::default();
        (0..POINTS_MAX as i64 + 10).for_each(|minute| record.push(point(minute, "a", 0.0)));
        assert_eq!(record.points.len(), POINTS_MAX);
    }
}
