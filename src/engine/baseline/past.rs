//! The levels before each of the latest bins, from which a comparison that is made today would have started.
//!
//! Levels move slowly: a bin's stand for the next one's too, so that there are half as many of them as bins. Where they
//! stand two minutes apart, as they do where no minute is missing, their times are not kept.

use super::expect::{Heights, Levels, Times};
use crate::engine::window::Minute;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::num::NonZeroU16;

/// The oldest bin that is asked for lies so many before the newest one.
pub const OLDEST: usize = 88;
/// The most levels there are as a rule: one for two bins.
const USUAL: usize = OLDEST / 2 + 2;

/// The most there are: one for each bin.
const MOST: usize = OLDEST + 2;
/// Minutes from one bin's levels to those of the next but one.
const EVEN: Minute = 2;

/// 12 bytes for each of the levels, one for every other bin as a rule, and 8 for its time where a minute is missing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Past {
    /// Newest last, as all that follows.
    heights: VecDeque<Heights>,
    /// Of each, unless all of them are even; none where there were no levels.
    times: VecDeque<Option<Times>>,
    /// Of the newest.
    newest: Minute,
    /// How many of the newest stand two minutes apart, their bins a minute.
    even: u8,
    /// Which of them stand for two bins: a bit each, the lowest one the newest levels'.
    double: u128,
}

impl Past {
    /// Whether the newest levels stand for one bin alone so far.
    pub fn is_single(&self) -> bool {
        !self.heights.is_empty() && self.double & 1 == 0
    }

    /// One bin more, for which the newest levels stand, too.
    pub fn repeat(&mut self) {
        debug_assert!(self.is_single());
        self.double |= 1;
        self.forget();
    }

    /// One bin more.
    pub fn push(&mut self, levels: Option<Levels>) {
        self.double <<= 1;
        self.time(levels.map(|levels| levels.times));
        reserve(&mut self.heights);
        self.heights.push_back(levels.map_or(Heights::default(), |levels| levels.heights));
        self.forget();
    }

    /// Notes when the levels stand that are pushed next.
    fn time(&mut self, times: Option<Times>) {
        let is_even = times.is_some_and(|times| times.step == NonZeroU16::MIN);
        let follows = self.even > 0 && times.is_some_and(|times| self.newest.checked_add(EVEN) == Some(times.origin));
        let even = match (is_even, follows) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => self.even + 1,
        };
        if !self.times.is_empty() || usize::from(even) <= self.heights.len() {
            if self.times.is_empty() {
                self.times = (0..self.heights.len()).map(|place| self.times_of(place)).collect();
            }
            reserve(&mut self.times);
            self.times.push_back(times);
        }
        (self.even, self.newest) = (even, times.map_or(self.newest, |times| times.origin));
    }

    fn times_of(&self, place: usize) -> Option<Times> {
        if !self.times.is_empty() {
            return *self.times.get(place)?;
        }
        let back = (self.heights.len() - 1 - place) as Minute;
        Some(Times { origin: self.newest - EVEN * back, step: NonZeroU16::MIN })
    }

    pub fn clear(&mut self) {
        *self = Past::default();
    }

    /// Drops what is older than anything that is asked for.
    fn forget(&mut self) {
        while self.newer_than(self.heights.len().saturating_sub(1)) > OLDEST {
            self.heights.pop_front();
            self.times.pop_front();
        }
        self.even = self.even.min(self.heights.len() as u8);
        if usize::from(self.even) == self.heights.len() {
            self.times = VecDeque::new();
        }
    }

    /// The levels of the bin that lies so many before the newest one.
    pub fn before(&self, bins: usize) -> Option<Levels> {
        // As a rule all but the newest levels stand for two bins.
        let newest = 1 + (self.double & 1) as usize;
        let mut back = (bins + 2).saturating_sub(newest) / 2;
        if back >= self.heights.len() {
            return None;
        }
        let asked = (1 << (back + 1)) - 1;
        if (self.double | 1) & asked != asked {
            back = bins / 2;
            while self.newer_than(back + 1) <= bins {
                back += 1;
            }
        }
        let place = self.heights.len().checked_sub(1 + back)?;
        Some(Levels { times: self.times_of(place)?, heights: *self.heights.get(place)? })
    }

    /// How many bins the newest so many levels stand for.
    fn newer_than(&self, levels: usize) -> usize {
        levels + (self.double & ((1 << levels.min(127)) - 1)).count_ones() as usize
    }
}

/// Makes room for one more: for as many as there are as a rule, or for all there may be.
fn reserve<T>(queue: &mut VecDeque<T>) {
    let length = queue.len();
    if length == queue.capacity() {
        let most = if length < USUAL { USUAL } else { MOST };
        queue.reserve_exact((2 * length).clamp(4, most).saturating_sub(length).max(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bin_finds_its_levels_and_old_ones_go() {
        // Levels for every other bin, for every bin, and for one or two by turns; with all minutes and with some.
        for (alone, missing) in [(0, 400), (0, 37), (0, 3), (1, 400), (3, 400), (3, 37), (usize::MAX, 400)] {
            let (mut past, mut plain) = (Past::default(), Vec::new());
            for bin in 0..400_usize {
                if past.is_single() && (alone == 0 || (alone != usize::MAX && bin % (alone + 1) != 0)) {
                    past.repeat();
                    plain.push(plain[bin - 1]);
                } else {
                    // None at first; later on a minute is missing now and then, and for some time none.
                    let minute = bin + if bin < 200 { bin / missing } else { 200 / missing };
                    let levels = (bin > 4).then(|| Levels::flat(bin as f32, minute as Minute));
                    past.push(levels);
                    plain.push(levels);
                }
                for bins in 0..=OLDEST {
                    let expected = plain.len().checked_sub(1 + bins).and_then(|place| plain[place]);
                    assert_eq!(past.before(bins), expected, "{bins} before {bin}");
                }
                assert!(past.newer_than(past.heights.len()) <= MOST && past.heights.capacity() <= MOST);
                assert!(past.times.is_empty() || past.times.len() == past.heights.len());
                let bytes = postcard::to_allocvec(&past).expect("plain");
                assert_eq!(postcard::from_bytes::<Past>(&bytes), Ok(past.clone()));
            }
            assert_eq!(past.times.is_empty(), alone != usize::MAX, "kept where they are not even");
        }
    }
}
