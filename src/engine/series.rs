//! A series: one signal on one instance, turned from readings into bins.
//!
//! Counters are differentiated here: a fall is a restart and the new value counts from zero; a reading older than the
//! last one, or equal in time, is not counted twice. A rate is per minute whatever the scrape interval.

use super::time::{Span, Time};
use super::window::{Bin, Minute, Ring, minute_of};
use serde::{Deserialize, Serialize};

/// Bins kept of one instance: an hour and a little, 4 to 12 bytes each.
pub const KEPT: usize = 72;

/// Repeats are recognised among the latest so many moments of a series.
const RECENT: usize = 8;

/// About 0.5 KiB when full, for a gauge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Its fingerprint, by which the fleet finds it.
    pub name: u64,
    /// Place in the service's list of instances.
    pub instance: u32,
    /// The last cumulative reading.
    last: Option<(Time, f64)>,
    /// The last minute in which the cumulative reading fell: the process began anew.
    pub restarted: Minute,
    /// The low halves of these moments: two that share one lie 49 days apart.
    recent: [u32; RECENT],
    /// How many there were; no more than twice as many as are kept.
    seen: u8,
    strands: Box<[Strand]>,
}

/// What is kept of one track. 72 bytes and its bins.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Strand {
    pub ring: Ring,
    /// How far this instance usually stands apart from the rest, as known when the watch began.
    pub apart: Option<f32>,
    /// When the distance that was usual lately was worked out, and which it was, if that was known.
    pub usual: Option<(Minute, Option<f32>)>,
}

/// What became of a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Counted in a bin.
    Applied,
    /// Seen before.
    Duplicate,
    /// Too old for any bin.
    Late,
}

impl Series {
    pub fn new(name: u64, instance: u32, tracks: usize) -> Series {
        Series {
            name,
            instance,
            last: None,
            restarted: Minute::MIN,
            recent: [0; RECENT],
            seen: 0,
            strands: vec![Strand::default(); tracks].into(),
        }
    }

    /// What is kept of a track.
    pub fn strand(&self, track: usize) -> Option<&Strand> {
        self.strands.get(track)
    }

    pub fn strand_mut(&mut self, track: usize) -> Option<&mut Strand> {
        self.strands.get_mut(track)
    }

    pub fn ring(&self, track: usize) -> Option<&Ring> {
        self.strands.get(track).map(|strand| &strand.ring)
    }

    /// Makes room for the tracks that came to be.
    pub fn extend_to(&mut self, tracks: usize) {
        let mut strands = std::mem::take(&mut self.strands).into_vec();
        strands.resize_with(tracks, Default::default);
        self.strands = strands.into();
    }

    /// Forgets all bins.
    pub fn forget(&mut self) {
        self.strands.iter_mut().for_each(|strand| strand.ring = Ring::default());
    }

    /// Whether this moment was seen already; remembers it if not.
    pub fn is_repeat(&mut self, at: Time) -> bool {
        let (at, seen) = (at.0 as u32, usize::from(self.seen));
        if self.recent[..seen.min(RECENT)].contains(&at) {
            return true;
        }
        self.recent[seen % RECENT] = at;
        self.seen = if seen + 1 < 2 * RECENT { self.seen + 1 } else { RECENT as u8 };
        false
    }

    /// Adds to a track's bin.
    pub fn add(&mut self, track: usize, at: Time, num: f64, den: f64) -> Taken {
        self.change(track, at, |bin| {
            bin.num += within(num);
            bin.den += within(den);
        })
    }

    /// Adds a count to a track's bin; counts within a minute add up.
    pub fn count(&mut self, track: usize, at: Time, n: f64) -> Taken {
        self.change(track, at, |bin| {
            bin.num += within(n);
            bin.den = 1.0;
        })
    }

    fn change(&mut self, track: usize, at: Time, change: impl FnOnce(&mut Bin)) -> Taken {
        let strand = self.strands.get_mut(track);
        let applied = strand.is_some_and(|strand| strand.ring.change(minute_of(at), KEPT, change));
        if applied { Taken::Applied } else { Taken::Late }
    }

    /// The increase of a cumulative reading since the last one, per minute; none for the first and for stragglers.
    pub fn increase(&mut self, at: Time, value: f64) -> Option<f64> {
        match self.last {
            Some((then, _)) if at <= then => None,
            Some((then, before)) => {
                self.last = Some((at, value));
                if value < before {
                    self.restarted = minute_of(at);
                }
                let gained = if value < before { value } else { value - before };
                let length = (at - then).as_seconds().max(1.0);
                Some(gained * Span::MINUTE.as_seconds() / length)
            }
            None => {
                self.last = Some((at, value));
                None
            }
        }
    }
}

/// What a bin can add up without end: beyond this nobody measures, and a single such reading would make the minute, and
/// every level learned from it, infinite.
fn within(value: f64) -> f32 {
    const MOST: f64 = 1e24;
    value.clamp(-MOST, MOST) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Time {
        Time(seconds * 1000)
    }

    #[test]
    fn a_counter_is_differentiated_and_survives_a_restart() {
        let mut series = Series::new(0, 0, 1);
        assert_eq!(series.increase(at(0), 100.0), None);
        assert_eq!(series.increase(at(60), 160.0), Some(60.0));
        assert_eq!(series.increase(at(180), 280.0), Some(60.0), "a missing scrape changes no rate");
        assert_eq!(series.increase(at(240), 30.0), Some(30.0), "restarted");
        assert_eq!(series.increase(at(180), 280.0), None, "a straggler");
    }

    #[test]
    fn repeats_are_recognised() {
        let mut series = Series::new(0, 0, 1);
        assert!(!series.is_repeat(at(60)));
        assert!(!series.is_repeat(at(120)));
        assert!(series.is_repeat(at(60)));
    }
}
