//! A series: one signal on one instance, turned from readings into bins.
//!
//! Counters are differentiated here: a fall is a restart and the new value counts from zero; a reading older than the
//! last one, or equal in time, is not counted twice. A rate is per minute whatever the scrape interval.

use super::time::{Span, Time};
use super::window::{Bin, Minute, Ring, minute_of};
use serde::{Deserialize, Serialize};

/// Bins kept of one instance: an hour and a little, 2 to 12 bytes each.
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
    /// Whether all tracks have the first one's denominators: they are kept there alone, and the others' are `LED`.
    led: bool,
    strands: Box<[Strand]>,
}

const LED: f32 = 1.0;

/// What is kept of one track. 80 bytes and its bins.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Strand {
    ring: Ring,
    /// How far this instance usually stands apart from the rest, as known when the watch began.
    pub apart: Option<f32>,
    /// Its own level in the hour before that, if it was there.
    pub before: Option<f32>,
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
            led: tracks > 1,
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

    /// A track's bin of a minute.
    pub fn bin(&self, track: usize, minute: Minute) -> Option<Bin> {
        let bin = self.strands.get(track)?.ring.at(minute)?;
        match self.leader(track) {
            Some(leader) => Some(Bin { den: leader.at(minute)?.den, ..bin }),
            None => Some(bin),
        }
    }

    /// A track's last bin before a minute.
    pub fn bin_before(&self, track: usize, minute: Minute) -> Option<Bin> {
        let ring = &self.strands.get(track)?.ring;
        self.bin(track, ring.get(ring.place_of(minute).checked_sub(1)?)?.minute)
    }

    /// A track's bins in `[from, to)`, oldest first.
    pub fn bins(&self, track: usize, from: Minute, to: Minute, mut each: impl FnMut(Bin)) {
        let Some(strand) = self.strands.get(track) else { return };
        let bins = strand.ring.between(from, to);
        match self.leader(track) {
            // They are of the same minutes.
            Some(leader) => {
                bins.zip(leader.between(from, to)).for_each(|(bin, Bin { den, .. })| each(Bin { den, ..bin }))
            }
            None => bins.for_each(each),
        }
    }

    /// Where a track's denominators are kept, if that is elsewhere.
    fn leader(&self, track: usize) -> Option<&Ring> {
        self.strands.first().filter(|_| self.led && track > 0).map(|first| &first.ring)
    }

    /// Makes room for the tracks that came to be.
    pub fn extend_to(&mut self, tracks: usize) {
        let mut strands = std::mem::take(&mut self.strands).into_vec();
        strands.resize_with(tracks, Default::default);
        self.strands = strands.into();
        self.lead();
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

    /// Adds to the bins of all tracks, which were counted out of the same.
    pub fn add_to_all(&mut self, at: Time, nums: impl Iterator<Item = f64>, den: f64) -> Taken {
        let (led, mut taken) = (self.led, Taken::Late);
        for (track, num) in nums.enumerate() {
            taken = self.change(track, at, |bin| {
                bin.num += within(num);
                bin.den = if led && track > 0 { LED } else { bin.den + within(den) };
            });
        }
        if !led {
            self.lead();
        }
        taken
    }

    /// Drops the denominators of the other tracks, once they are the first one's: tracks come later than the first one,
    /// and what is late may find a bin of the first one alone, but old bins go.
    fn lead(&mut self) {
        let Some((first, others)) = self.strands.split_first_mut().filter(|(_, others)| !others.is_empty()) else {
            return;
        };
        let ends = |ring: &Ring| (ring.len(), ring.first().map(|bin| bin.minute));
        let alike = |one: Bin, other: Bin| one.minute == other.minute && one.den.to_bits() == other.den.to_bits();
        let follows = |ring: &Ring| {
            ends(ring) == ends(&first.ring) && all(ring).zip(all(&first.ring)).all(|(one, other)| alike(one, other))
        };
        self.led = others.iter().all(|strand| follows(&strand.ring));
        if self.led {
            for strand in others {
                let led: Vec<Bin> = all(&strand.ring).map(|bin| Bin { den: LED, ..bin }).collect();
                strand.ring = Ring::of(&led);
            }
        }
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

fn all(ring: &Ring) -> impl Iterator<Item = Bin> {
    ring.places(0, ring.len())
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
    fn denominators_kept_once_are_those_that_each_would_have() {
        for seed in 0..40 {
            // Tracks come in the middle of a minute, and some of what comes is late.
            let (mut series, mut plain) = (Series::new(0, 0, 1), [(); 3].map(|()| Ring::default()));
            let mut dice = seed;
            for second in 0..9_000_i64 {
                dice = (dice * 1_103_515_245 + 12_345) & 0x7fff_ffff;
                if second == 95 {
                    series.extend_to(3);
                }
                let (tracks, late) =
                    (if second < 95 { 1 } else { 3 }, if dice >> 8 & 31 == 0 { 20 * (dice >> 16 & 255) } else { 0 });
                let (now, den) = (at(7 * second - late), f64::from(dice as i32 >> 4 & 15));
                let nums = || (0..tracks).map(|track| den / f64::from(1 + track));
                let taken = series.add_to_all(now, nums(), den);
                let mut known = false;
                for (ring, num) in plain.iter_mut().zip(nums()) {
                    let change = |bin: &mut Bin| (bin.num, bin.den) = (bin.num + num as f32, bin.den + den as f32);
                    known = ring.change(minute_of(now), KEPT, change);
                }
                assert_eq!(known, taken == Taken::Applied);
                if second % 50 == 0 {
                    for (track, ring) in plain.iter().enumerate() {
                        let (mut bins, from, upto) = (Vec::new(), minute_of(now) - 40, minute_of(now));
                        series.bins(track, from, upto, |bin| bins.push(bin));
                        assert_eq!(bins, ring.between(from, upto).collect::<Vec<Bin>>());
                        assert_eq!(series.bin(track, from), ring.at(from));
                        assert_eq!(series.bin_before(track, upto), ring.between(Minute::MIN, upto).next_back());
                    }
                    let bytes = postcard::to_allocvec(&series).expect("plain");
                    assert_eq!(postcard::from_bytes::<Series>(&bytes), Ok(series.clone()));
                }
            }
            assert!(series.led && series.strands[1].ring.last().is_some_and(|bin| bin.den == LED));
            let mut later = Series::new(1, 1, 3);
            later.add_to_all(at(70), [1.0, 2.0, 3.0].into_iter(), 5.0);
            assert_eq!(later.bin(2, 1), Some(Bin { minute: 1, num: 3.0, den: 5.0 }));
            assert!(later.led, "from its beginning");
        }
    }

    #[test]
    fn repeats_are_recognised() {
        let mut series = Series::new(0, 0, 1);
        assert!(!series.is_repeat(at(60)));
        assert!(!series.is_repeat(at(120)));
        assert!(series.is_repeat(at(60)));
    }
}
