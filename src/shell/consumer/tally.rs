//! What became of everything a partition held: each fact and each dead letter ends as exactly one of a closed list.
//!
//! So that it can be shown, for each partition by itself, that nothing was left out: facts decoded and messages refused
//! are as many as these counts together. Counted since the process started.

use crate::engine::Vitals;
use crate::shell::pump::Contents;
use crate::wire::inbound::Kind;
use std::sync::atomic::{AtomicU64, Ordering};

words! {
    /// What became of a fact, or of a message that gave none.
    pub enum Fate {
        /// It counts. Deployments and control words always do; what was decided on them stands in the audit.
        Applied = "applied",
        Duplicate = "duplicate",
        Late = "late",
        Ahead = "ahead",
        Overflow = "overflow",
        /// Another lane's to look after.
        Filtered = "filtered",
        /// A whole message.
        DeadLetter = "dead_letter",
    }
}

/// One partition's counts, 64 bytes.
#[derive(Debug, Default)]
pub struct Tally {
    messages: AtomicU64,
    fates: [AtomicU64; Fate::ALL.len()],
}

impl Tally {
    /// Notes a message with these contents, by what the engine has counted while it took them.
    pub fn note(&self, kind: Kind, contents: Contents, before: &Vitals, after: &Vitals) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        for (fate, count) in Fate::ALL.iter().zip(&self.fates) {
            let more = match fate {
                Fate::Applied if matches!(kind, Kind::Deployments | Kind::Control | Kind::Letters) => {
                    contents.facts as u64
                }
                Fate::Applied => after.applied - before.applied,
                Fate::Duplicate => after.dropped_duplicate - before.dropped_duplicate,
                Fate::Late => after.dropped_late - before.dropped_late,
                Fate::Ahead => after.dropped_ahead - before.dropped_ahead,
                Fate::Overflow => after.dropped_overflow - before.dropped_overflow,
                Fate::Filtered => contents.filtered as u64,
                Fate::DeadLetter => u64::from(contents.is_refused),
            };
            count.fetch_add(more, Ordering::Relaxed);
        }
    }

    pub fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    pub fn fates(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Fate::ALL.iter().zip(&self.fates).map(|(fate, count)| (fate.word(), count.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_ends_as_one_thing() {
        let tally = Tally::default();
        let before = Vitals { applied: 5, dropped_late: 1, ..Vitals::default() };
        let after = Vitals { applied: 7, dropped_late: 2, dropped_overflow: 3, ..Vitals::default() };
        tally.note(Kind::Metrics, Contents { facts: 9, filtered: 3, is_refused: false }, &before, &after);
        tally.note(Kind::Metrics, Contents { is_refused: true, ..Contents::default() }, &after, &after);
        tally.note(Kind::Control, Contents { facts: 4, ..Contents::default() }, &after, &after);
        let counts: Vec<u64> = tally.fates().map(|(_, count)| count).collect();
        assert_eq!((tally.messages(), counts), (3, vec![6, 0, 1, 0, 3, 3, 1]));
    }
}
