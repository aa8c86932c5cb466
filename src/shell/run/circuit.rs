//! The dead-letter circuit: a partition whose messages can't be taken, one after the other, is stopped.
//!
//! Some bad messages are a sender's mishap: they go to the dead letters and the stream goes on. When nearly all of them
//! are bad, a release of the sender is broken, or a topic stands in the wrong place, and draining it into the dead
//! letters would lose what it was meant to say. So each partition's dead letters are counted, in a row and as a share
//! of its last messages; past either limit it stops. Stopping and resuming a partition at the client is not done here.

use crate::shell::align::Slot;
use crate::shell::config::DeadLetters;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// A share is taken of so many messages, and of no fewer: a byte each, for each partition.
const SHARE_OF: usize = 1_000;

/// What is known of each partition's last messages.
pub struct Circuit {
    limits: DeadLetters,
    lanes: BTreeMap<Slot, Lane>,
    /// Not told yet.
    tripped: Vec<(Slot, Tripped)>,
}

#[derive(Default)]
struct Lane {
    in_a_row: u64,
    /// Which of the last messages were dead letters.
    last: VecDeque<bool>,
    dead: usize,
    stopped: bool,
}

/// Why a partition was stopped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tripped {
    InARow(u64),
    /// Of its last thousand messages.
    Share(f64),
}

impl Circuit {
    pub fn new(limits: DeadLetters) -> Circuit {
        Circuit { limits, lanes: BTreeMap::new(), tripped: Vec::new() }
    }

    /// Notes what became of a partition's message.
    pub fn note(&mut self, slot: Slot, is_dead_letter: bool) {
        let lane = self.lanes.entry(slot).or_default();
        lane.in_a_row = if is_dead_letter { lane.in_a_row + 1 } else { 0 };
        if lane.last.len() == SHARE_OF && lane.last.pop_front() == Some(true) {
            lane.dead -= 1;
        }
        lane.last.push_back(is_dead_letter);
        lane.dead += usize::from(is_dead_letter);
        if !is_dead_letter || lane.stopped {
            return;
        }
        let share = lane.dead as f64 / SHARE_OF as f64;
        let tripped = match self.limits.in_a_row {
            most if most > 0 && lane.in_a_row >= most => Tripped::InARow(lane.in_a_row),
            _ if lane.last.len() == SHARE_OF && share > self.limits.share => Tripped::Share(share),
            _ => return,
        };
        lane.stopped = true;
        self.tripped.push((slot, tripped));
    }

    /// What is to be stopped now, each once.
    pub fn take_tripped(&mut self) -> Vec<(Slot, Tripped)> {
        std::mem::take(&mut self.tripped)
    }

    /// It could not be given back.
    pub fn keep_stopped(&mut self, slot: Slot) {
        self.lanes.entry(slot).or_default().stopped = true;
    }

    pub fn is_stopped(&self, slot: Slot) -> bool {
        self.lanes.get(&slot).is_some_and(|lane| lane.stopped)
    }

    pub fn stopped(&self) -> impl Iterator<Item = Slot> {
        self.lanes.iter().filter(|(_, lane)| lane.stopped).map(|(slot, _)| *slot)
    }

    /// Other limits: everything is counted anew, and what was stopped is given back.
    pub fn set(&mut self, limits: DeadLetters) -> Vec<Slot> {
        if limits == self.limits {
            return Vec::new();
        }
        self.limits = limits;
        let stopped = self.stopped().collect();
        self.lanes.clear();
        stopped
    }
}

impl fmt::Display for Tripped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tripped::InARow(count) => write!(f, "{count} dead letters in a row"),
            Tripped::Share(share) => {
                write!(f, "{:.1} % of its last {SHARE_OF} messages are dead letters", share * 100.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circuit(in_a_row: u64, share: f64) -> Circuit {
        Circuit::new(DeadLetters { in_a_row, share })
    }

    #[test]
    fn dead_letters_in_a_row_stop_their_partition_and_no_other() {
        let mut circuit = circuit(3, 1.0);
        for _ in 0..100 {
            for is_dead_letter in [true, true, false] {
                circuit.note(0, is_dead_letter);
                circuit.note(1, is_dead_letter);
            }
        }
        assert_eq!(circuit.take_tripped(), []);
        for _ in 0..5 {
            circuit.note(0, true);
        }
        assert_eq!(circuit.take_tripped(), [(0, Tripped::InARow(3))], "told once");
        assert!(circuit.is_stopped(0) && !circuit.is_stopped(1));
    }

    #[test]
    fn a_share_stops_once_there_are_enough_to_tell() {
        let mut strict = circuit(0, 0.9);
        (0..999).for_each(|n| strict.note(7, n % 20 != 0));
        assert_eq!(strict.take_tripped(), []);
        strict.note(7, true);
        assert_eq!(strict.take_tripped(), [(7, Tripped::Share(0.95))]);
        let mut mild = circuit(0, 0.9);
        (0..5_000).for_each(|n| mild.note(7, n % 8 != 0));
        assert_eq!(mild.take_tripped(), [], "seven of eight are below the limit");
    }

    #[test]
    fn other_limits_give_back_what_was_stopped() {
        let mut circuit = circuit(2, 1.0);
        circuit.note(4, true);
        circuit.note(4, true);
        let unchanged = circuit.set(DeadLetters { in_a_row: 2, share: 1.0 });
        assert_eq!(unchanged, Vec::<Slot>::new(), "the same limits change nothing");
        assert_eq!(circuit.set(DeadLetters { in_a_row: 0, share: 1.0 }), vec![4 as Slot]);
        circuit.take_tripped();
        (0..5_000).for_each(|_| circuit.note(4, true));
        assert_eq!(circuit.take_tripped(), [], "no limit, no stop");
    }
}
