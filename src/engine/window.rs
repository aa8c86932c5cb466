//! Windows of event time: one bin a minute, and the last so many bins that hold anything.
//!
//! A bin is a fraction, `num / den`: a gauge's sum over its number of samples, errors over requests, counts over one.
//! Pooling bins adds numerators and denominators, so a busy minute weighs more than a quiet one where that is right.
//! Only minutes that hold something are kept, so a metric scraped every five minutes has as long a memory in bins as
//! one scraped every minute. Late samples find their bin as long as it is here.

mod packed;

use super::time::{Span, Time};
use std::collections::VecDeque;

/// The width of a bin.
pub const WIDTH: Span = Span::MINUTE;

/// A minute since the epoch.
pub type Minute = i32;

pub fn minute_of(at: Time) -> Minute {
    i32::try_from(at.0.div_euclid(WIDTH.0)).unwrap_or(if at.0 < 0 { i32::MIN } else { i32::MAX })
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

/// The newest `limit` bins, in order of time, none twice. 12 bytes a bin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ring {
    bins: VecDeque<Bin>,
}

impl Ring {
    /// The bin of `minute`, made if need be; none if it lies before everything a full ring remembers.
    pub fn bin(&mut self, minute: Minute, limit: usize) -> Option<&mut Bin> {
        let place = match self.bins.back() {
            Some(last) if last.minute == minute => return self.bins.back_mut(),
            Some(last) if last.minute < minute => self.bins.len(),
            None => 0,
            Some(_) => match self.place_of(minute) {
                place if self.bins[place].minute == minute => return self.bins.get_mut(place),
                0 if self.bins.len() >= limit => return None,
                place => place,
            },
        };
        let full = self.bins.len() >= limit;
        if full {
            self.bins.pop_front();
        }
        let place = place - usize::from(full);
        self.bins.insert(place, Bin { minute, num: 0.0, den: 0.0 });
        self.bins.get_mut(place)
    }

    pub fn len(&self) -> usize {
        self.bins.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bins.is_empty()
    }

    pub fn last(&self) -> Option<&Bin> {
        self.bins.back()
    }

    pub fn first(&self) -> Option<&Bin> {
        self.bins.front()
    }

    pub fn get(&self, place: usize) -> Option<&Bin> {
        self.bins.get(place)
    }

    pub fn at(&self, minute: Minute) -> Option<&Bin> {
        self.bins.get(self.place_of(minute)).filter(|bin| bin.minute == minute)
    }

    /// How many bins lie before `minute`: the place of the first that doesn't.
    pub fn place_of(&self, minute: Minute) -> usize {
        let Some(last) = self.bins.back().filter(|last| last.minute >= minute) else { return self.bins.len() };
        // Most rings miss no minute: then its distance from the last one is its place. Else it lies after that.
        let back = (i64::from(last.minute) - i64::from(minute)) as usize;
        let Some(guess) = (self.bins.len() - 1).checked_sub(back) else {
            return self.bins.partition_point(|bin| bin.minute < minute);
        };
        if self.bins[guess].minute == minute { guess } else { self.bins.partition_point(|bin| bin.minute < minute) }
    }

    /// Bins in `[from, to)`, oldest first.
    pub fn between(&self, from: Minute, to: Minute) -> impl DoubleEndedIterator<Item = &Bin> {
        let (low, high) = (self.place_of(from), self.place_of(to));
        self.bins.range(low..high.max(low))
    }

    /// Bins at the places `[from, to)`, oldest first.
    pub fn places(&self, from: usize, to: usize) -> impl DoubleEndedIterator<Item = &Bin> {
        let to = to.min(self.bins.len());
        self.bins.range(from.min(to)..to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(ring: &Ring) -> Vec<Minute> {
        ring.places(0, ring.len()).map(|bin| bin.minute).collect()
    }

    #[test]
    fn keeps_the_newest_in_order_whatever_the_order_of_arrival() {
        let mut ring = Ring::default();
        for minute in [5, 7, 6, 9, 8, 7] {
            ring.bin(minute, 4).expect("within the ring").num += 1.0;
        }
        assert_eq!(minutes(&ring), [6, 7, 8, 9]);
        assert_eq!(ring.at(7).map(|bin| bin.num), Some(2.0));
        assert!(ring.bin(3, 4).is_none(), "older than all a full ring remembers");
        assert_eq!(ring.between(7, 9).count(), 2);
    }

    #[test]
    fn places_are_found_with_and_without_gaps() {
        for minutes in [vec![5, 6, 7, 8], vec![5, 6, 9, 30], vec![i32::MIN, i32::MAX], vec![4], vec![]] {
            let mut ring = Ring::default();
            for &minute in &minutes {
                ring.bin(minute, 10).expect("in order");
            }
            for asked in (0..40).chain([i32::MIN, i32::MAX]) {
                assert_eq!(ring.place_of(asked), minutes.iter().filter(|&&minute| minute < asked).count());
                assert_eq!(ring.at(asked).is_some(), minutes.contains(&asked));
            }
        }
    }

    #[test]
    fn absurd_times_have_a_minute() {
        assert_eq!(minute_of(Time(i64::MAX)), i32::MAX);
        assert_eq!(minute_of(Time(-1)), -1);
    }
}
