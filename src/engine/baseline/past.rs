//! The levels before each of the latest bins, from which a comparison that is made today would have started.
//!
//! Levels move slowly: a bin's stand for the next one's too, so that there are half as many of them as bins.

use super::expect::Levels;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// The oldest bin that is asked for lies so many before the newest one.
pub const OLDEST: usize = 88;
/// The most levels there are as a rule: one for two bins.
const USUAL: usize = OLDEST / 2 + 2;

/// 20 bytes for each of the levels, one for every other bin as a rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Past {
    /// Newest last.
    levels: VecDeque<Option<Levels>>,
    /// Which of them stand for two bins: a bit each, the lowest one the newest levels'.
    double: u128,
}

impl Past {
    /// Whether the newest levels stand for one bin alone so far.
    pub fn is_single(&self) -> bool {
        !self.levels.is_empty() && self.double & 1 == 0
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
        let length = self.levels.len();
        if length == self.levels.capacity() {
            let most = if length < USUAL { USUAL } else { OLDEST + 2 };
            self.levels.reserve_exact((2 * length).clamp(4, most).saturating_sub(length).max(1));
        }
        self.levels.push_back(levels);
        self.forget();
    }

    pub fn clear(&mut self) {
        *self = Past::default();
    }

    /// Drops what is older than anything that is asked for.
    fn forget(&mut self) {
        while self.newer_than(self.levels.len().saturating_sub(1)) > OLDEST {
            self.levels.pop_front();
        }
    }

    /// The levels of the bin that lies so many before the newest one.
    pub fn before(&self, bins: usize) -> Option<Levels> {
        // As a rule all but the newest levels stand for two bins.
        let newest = 1 + (self.double & 1) as usize;
        let mut back = (bins + 2).saturating_sub(newest) / 2;
        if back >= self.levels.len() {
            return None;
        }
        let asked = (1 << (back + 1)) - 1;
        if (self.double | 1) & asked != asked {
            back = bins / 2;
            while self.newer_than(back + 1) <= bins {
                back += 1;
            }
        }
        *self.levels.get(self.levels.len().checked_sub(1 + back)?)?
    }

    /// How many bins the newest so many levels stand for.
    fn newer_than(&self, levels: usize) -> usize {
        levels + (self.double & ((1 << levels.min(127)) - 1)).count_ones() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bin_finds_its_levels_and_old_ones_go() {
        // Levels for every other bin, for every bin, and for one or two by turns.
        for alone in [0, 1, 3, usize::MAX] {
            let (mut past, mut plain) = (Past::default(), Vec::new());
            for bin in 0..400_usize {
                if past.is_single() && (alone == 0 || (alone != usize::MAX && bin % (alone + 1) != 0)) {
                    past.repeat();
                    plain.push(plain[bin - 1]);
                } else {
                    past.push(Some(Levels::flat(bin as f32)));
                    plain.push(Some(Levels::flat(bin as f32)));
                }
                for bins in 0..=OLDEST {
                    let expected = plain.len().checked_sub(1 + bins).and_then(|place| plain[place]);
                    assert_eq!(past.before(bins), expected, "{bins} before {bin}");
                }
                assert!(past.newer_than(past.levels.len()) <= OLDEST + 2 && past.levels.capacity() <= OLDEST + 2);
            }
        }
    }
}
