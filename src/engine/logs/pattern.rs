//! Patterns: what masked lines have in common, and when what differs between them is a variable.
//!
//! A place is variable if a mask was seen there, or enough different words. Three words in one place may well be the
//! three things that can happen: it takes more, and each place needs its own. Words that tell what was done or how
//! something stands (`opened`, `FAILED`) hardly ever fill a place that varies: they need many more, and in a short line
//! they are what it says, even where a number stood: `job 12`, `job failed`. How often a line came says nothing: what
//! depends on counts depends on the moment of the look.

use super::mask::{TELLING, VARIABLE};
use serde::{Deserialize, Serialize};

/// Different words that make a place variable.
pub const VALUES: usize = 4;
/// Different words that make a place variable even if they tell what was done.
const ANY_VALUES: usize = 12;
/// Places in which two forms may differ, where one of them is masked there anyway.
const FREE: u32 = 4;
/// Words that two lines have in common, below which a telling word is no value.
const SHORT: u32 = 3;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pattern {
    /// The variable places, one bit each.
    pub blanks: u64,
    /// Of any form that matches; those at variable places mean nothing.
    symbols: Box<[u32]>,
    /// Forms that match.
    pub count: u32,
    /// Its template, once alive.
    pub place: Option<u32>,
}

impl Pattern {
    pub fn new(blanks: u64, symbols: &[u32], count: u32) -> Pattern {
        Pattern { blanks, symbols: symbols.into(), count, place: None }
    }

    pub fn symbols(&self) -> &[u32] {
        &self.symbols
    }

    pub fn matches(&self, symbols: &[u32]) -> bool {
        if !alike(&self.symbols, symbols, self.blanks) {
            return false;
        }
        // Nearly every line has no telling word at a variable place, and so needs no count of the constant ones.
        let told = self.places().any(|place| symbols[place] & TELLING != 0);
        let constant = |&(place, &symbol): &(usize, &u32)| symbol != VARIABLE && self.blanks & (1 << place) == 0;
        !told || self.symbols.iter().enumerate().filter(constant).count() as u32 >= SHORT
    }

    /// Whether a form has a mask at a variable place.
    pub fn is_masked(&self, symbols: &[u32]) -> bool {
        self.places().any(|place| symbols.get(place) == Some(&VARIABLE))
    }

    /// Whether each variable place took a mask or enough words in those of the forms that match.
    pub fn varies<'a>(&self, forms: impl Iterator<Item = &'a [u32]> + Clone) -> bool {
        self.places().all(|place| {
            let mut seen = [VARIABLE; ANY_VALUES];
            let (mut all, mut plain) = (0, 0);
            for form in forms.clone().filter(|form| self.matches(form)) {
                let symbol = form[place];
                if symbol != VARIABLE && !seen[..all].contains(&symbol) {
                    seen[all] = symbol;
                    all += 1;
                    plain += usize::from(symbol & TELLING == 0);
                }
                if symbol == VARIABLE || plain >= VALUES || all >= ANY_VALUES {
                    return true;
                }
            }
            false
        })
    }

    fn places(&self) -> impl Iterator<Item = usize> {
        (0..self.symbols.len()).filter(|place| self.blanks & (1 << place) != 0)
    }
}

/// Whether two forms agree in all places but the variable ones.
fn alike(one: &[u32], other: &[u32], blanks: u64) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).enumerate().all(|(place, (a, b))| a == b || blanks & (1 << place) != 0)
}

/// The places in which two forms differ; none if they differ in too much to be two lines of one template.
pub fn in_common(one: &[u32], other: &[u32]) -> Option<u64> {
    let (mut blanks, mut free, mut constant, mut told) = (0_u64, [0_u32; 2], 0_u32, false);
    for (place, (&a, &b)) in one.iter().zip(other).enumerate() {
        if a == b {
            constant += u32::from(a != VARIABLE);
        } else {
            blanks |= 1 << place;
            told |= (a | b) & TELLING != 0;
            free[0] += u32::from(a == VARIABLE);
            free[1] += u32::from(b == VARIABLE);
        }
    }
    if told && constant < SHORT {
        return None;
    }
    let differ = blanks.count_ones();
    let masked = free[0].max(free[1]);
    if differ > 0 && masked == differ && differ <= FREE && constant > 0 {
        return Some(blanks);
    }
    // Verbs come first: what differs there does something else, unless all the rest is the same.
    if blanks & 1 != 0 && constant < 5 {
        return None;
    }
    let enough = matches!((differ, constant), (1, 2..) | (2, 4..) | (3, 7..));
    enough.then_some(blanks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::logs::mask::mask;

    /// Whether what the first two lines have in common lives, given all of them.
    fn lives(lines: &[&str]) -> bool {
        let forms: Vec<_> = lines.iter().map(|line| mask(line).symbols()).collect();
        let blanks = in_common(&forms[0], &forms[1]);
        blanks.is_some_and(|blanks| Pattern::new(blanks, &forms[0], 0).varies(forms.iter().map(|form| &**form)))
    }

    #[test]
    fn a_place_is_variable_by_its_values() {
        let users = ["login of ana failed", "login of ben failed", "login of cid failed", "login of dan failed"];
        assert!(lives(&users));
        assert!(!lives(&users[..3]));
        assert!(lives(&["login of ana failed", "login of u-1 failed"]));
        assert!(lives(&["rate for EUR gone", "rate for USD gone", "rate for GBP gone", "rate for YEN gone"]));
    }

    #[test]
    fn each_place_needs_its_own_values() {
        let power = ["on", "off", "low", "idle"].map(|state| format!("power of disk unit sda is now {state}"));
        let both = ["power of disk unit sdb is now off", "power of disk unit sda is now on"];
        assert!(!lives(&[&both[..], &power.iter().map(|line| &**line).collect::<Vec<_>>()].concat()));
    }

    #[test]
    fn what_tells_how_it_stands_is_no_value() {
        let tasks = ["FAILED", "RUNNING", "ASSIGNED", "KILLED", "opened", "closing"];
        let tasks = tasks.map(|state| format!("task moved on to {state} now"));
        assert!(!lives(&tasks.iter().map(|line| &**line).collect::<Vec<_>>()));
        let many: Vec<_> = ('A'..'N').map(|letter| format!("no rate for CODE{letter} today")).collect();
        assert!(lives(&many.iter().map(|line| &**line).collect::<Vec<_>>()));
    }

    #[test]
    fn what_was_done_is_no_value_of_a_short_line() {
        assert!(lives(&["job 12", "job nightly", "job failed"]));
        assert!(!lives(&["job 12", "job failed", "job nightly"]));
        let pattern = Pattern::new(0b10, &mask("job 12").symbols(), 0);
        assert!(pattern.matches(&mask("job nightly").symbols()) && !pattern.matches(&mask("job failed").symbols()));
        assert!(lives(&["login of user 12 refused", "login of user fred refused"]));
    }

    #[test]
    fn verbs_come_first() {
        assert!(!lives(&["open the file", "shut the file", "find the file", "lock the file", "read the file"]));
    }
}
