//! How far each partition has been read: shared between the run loop and the client's callbacks.
//!
//! Five offsets, each "the next one": polled from the client, stepped by the engine, acknowledged (everything that
//! followed from it is published), remembered in a checkpoint, committed to the group. Their order is the delivery
//! promise: committed <= remembered <= acknowledged <= stepped <= polled. A commit ahead of the checkpoint would lose
//! messages: a partition of which the checkpoint knows nothing yet is read on from the group's offset. Both sides run
//! on the one polling thread; the lock is for the type system and is never waited for.

use super::tally::Tally;
use crate::engine::time::Time;
use crate::shell::align::Slot;
use crate::shell::checkpoint::Positions;
use crate::wire::inbound::Kind;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Not known yet.
pub const UNKNOWN: i64 = -1;

/// One partition of an input topic.
pub struct Partition {
    pub topic: Arc<str>,
    pub number: i32,
    pub kind: Kind,
    /// Its messages are passed on by others, so that not all of its offsets come.
    pub relayed: bool,
    pub polled: Next,
    pub stepped: Next,
    pub acknowledged: Next,
    pub remembered: Next,
    pub committed: Next,
    pub tally: Tally,
    /// The next offset after the last message that the client has handed over, whether it was taken or not.
    handed: Next,
    /// Of the last leader whose messages were polled.
    epoch: Next,
    /// Where the log was found to have been cut off and written on, until that message is stepped.
    cut: Next,
    /// The last timestamp that was believed, in milliseconds.
    pub last: AtomicI64,
}

/// The next offset; [`UNKNOWN`] before the first message.
pub struct Next(AtomicI64);

impl Next {
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    pub fn set(&self, next: i64) {
        self.0.store(next, Ordering::Relaxed);
    }
}

impl Partition {
    fn new(topic: Arc<str>, number: i32, kind: Kind, relayed: bool, next: i64) -> Partition {
        let at = || Next(AtomicI64::new(next));
        let (polled, stepped, acknowledged, remembered) = (at(), at(), at(), at());
        let (committed, last) = (Next(AtomicI64::new(UNKNOWN)), AtomicI64::new(Time::MIN.0));
        let unknown = || Next(AtomicI64::new(UNKNOWN));
        let (tally, handed, epoch, cut) = (Tally::default(), unknown(), unknown(), unknown());
        Partition {
            topic,
            number,
            kind,
            relayed,
            polled,
            stepped,
            acknowledged,
            remembered,
            committed,
            tally,
            handed,
            epoch,
            cut,
            last,
        }
    }

    /// A message was polled that a leader of this epoch took. One that comes again was taken by an earlier leader or by
    /// the same; where a later one took it, it is another message in the same place.
    pub fn see(&self, offset: i64, epoch: i64) {
        self.handed.set(offset + 1);
        if epoch <= self.epoch.get() {
            return;
        }
        if self.epoch.get() != UNKNOWN && offset < self.polled.get() {
            self.cut.set(offset);
        }
        self.epoch.set(epoch);
    }

    /// The client reads on from what was stepped: from its beginning, or the group's offset, where that is unknown.
    pub fn read_anew(&self) {
        self.polled.set(self.stepped.get());
        self.handed.set(UNKNOWN);
    }

    /// Whether every message that the client has handed over was polled, and none left out for now.
    pub fn has_all(&self) -> bool {
        [UNKNOWN, self.polled.get()].contains(&self.handed.get())
    }

    /// All before this offset was handed over, and what lies between it and what was polled are no messages: markers at
    /// the end of transactions, or what was aborted. They are stepped with what lies before them; whether that is done.
    pub fn pass(&self, position: i64) -> bool {
        let has_stepped_all = self.has_all() && self.stepped.get() == self.polled.get();
        let passes = has_stepped_all && position > self.polled.get();
        if passes {
            self.polled.set(position);
            self.stepped.set(position);
            self.handed.set(position);
        }
        passes
    }

    /// Whether this message is the first in place of others that were read there. It is asked once.
    pub fn is_cut(&self, offset: i64) -> bool {
        let is_cut = self.cut.get() == offset;
        if is_cut {
            self.cut.set(UNKNOWN);
        }
        is_cut
    }

    /// How far it is, as the metrics show it: each but the first is at most what the one before it is.
    pub fn stages(&self) -> [(&'static str, i64); 4] {
        let stages = [&self.stepped, &self.acknowledged, &self.remembered, &self.committed].map(Next::get);
        let [stepped, acknowledged, remembered, committed] = stages;
        [("stepped", stepped), ("acknowledged", acknowledged), ("remembered", remembered), ("committed", committed)]
    }

    /// The offset to commit, if the checkpoint has come to hold more than was committed last.
    pub fn to_commit(&self) -> Option<i64> {
        Some(self.remembered.get()).filter(|next| *next != UNKNOWN && *next != self.committed.get())
    }
}

/// What a rebalance did, for the run loop to follow up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Assigned(Slot),
    Revoked(Slot),
}

/// Every partition that was ever assigned or remembered; a slot is its place in the list and never changes. Some 200
/// bytes each, as many as the input topics have partitions.
#[derive(Default)]
pub struct Partitions {
    all: Vec<Arc<Partition>>,
    slots: BTreeMap<(Arc<str>, i32), Slot>,
    assigned: Vec<Slot>,
    changes: Vec<Change>,
    /// What is known of a partition goes with it: another member may have read on meanwhile.
    pub forgetful: bool,
}

impl Partitions {
    /// From a checkpoint's positions; topics that are no longer configured are forgotten.
    pub fn restore(positions: &Positions, kind: impl Fn(&str) -> Option<Kind>) -> Partitions {
        let mut partitions = Partitions::default();
        for ((topic, number), next) in positions {
            if let Some(kind) = kind(topic) {
                partitions.add(topic.clone(), *number, kind, *next);
            }
        }
        partitions
    }

    pub fn get(&self, slot: Slot) -> &Arc<Partition> {
        &self.all[slot]
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<Partition>> {
        self.all.iter()
    }

    pub fn assigned(&self) -> impl Iterator<Item = (Slot, &Arc<Partition>)> {
        self.assigned.iter().map(|slot| (*slot, &self.all[*slot]))
    }

    pub fn slot(&self, topic: &str, number: i32) -> Option<Slot> {
        self.assigned.iter().copied().find(|slot| {
            let partition = &self.all[*slot];
            partition.number == number && *partition.topic == *topic
        })
    }

    /// Whether it is known where to read on.
    pub fn is_known(&self, topic: &str, number: i32) -> bool {
        let slot = self.slots.get(&(Arc::from(topic), number));
        slot.is_some_and(|slot| self.all[*slot].stepped.get() != UNKNOWN)
    }

    /// Notes an assignment; the offset to read on from, if it is known, or else where the group stands.
    pub fn assign(&mut self, topic: &str, number: i32, kind: Kind, group: Option<i64>) -> Option<i64> {
        let key = (Arc::from(topic), number);
        let slot = match self.slots.get(&key) {
            Some(slot) => *slot,
            None => self.add(key.0, number, kind, UNKNOWN),
        };
        let partition = &self.all[slot];
        if let (UNKNOWN, Some(next)) = (partition.stepped.get(), group) {
            let Partition { stepped, acknowledged, remembered, .. } = &**partition;
            [stepped, acknowledged, remembered].iter().for_each(|at| at.set(next));
        }
        // What was polled and not stepped went with the last assignment.
        partition.read_anew();
        if !self.assigned.contains(&slot) {
            self.assigned.push(slot);
        }
        self.changes.push(Change::Assigned(slot));
        Some(partition.stepped.get()).filter(|next| *next != UNKNOWN)
    }

    pub fn revoke(&mut self, topic: &str, number: i32) {
        if let Some(slot) = self.slot(topic, number) {
            self.assigned.retain(|assigned| *assigned != slot);
            if self.forgetful {
                self.forget(slot);
            }
            self.changes.push(Change::Revoked(slot));
        }
    }

    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Everything stepped has been acknowledged.
    pub fn acknowledge(&self) {
        self.all.iter().for_each(|partition| partition.acknowledged.set(partition.stepped.get()));
    }

    /// A checkpoint holds these positions.
    pub fn remember(&self, positions: &Positions) {
        self.each(positions, |partition, next| partition.remembered.set(next));
    }

    /// A transaction has committed these positions of a checkpoint, with everything that followed from it.
    pub fn settle(&self, positions: &Positions) {
        self.each(positions, |partition, next| {
            partition.acknowledged.set(next);
            partition.remembered.set(next);
            partition.committed.set(next);
        });
    }

    fn each(&self, positions: &Positions, set: impl Fn(&Partition, i64)) {
        for (key, next) in positions {
            if let Some(slot) = self.slots.get(key) {
                set(&self.all[*slot], *next);
            }
        }
    }

    /// What has been stepped, of every partition that is known.
    pub fn stepped(&self) -> Positions {
        let known = self.all.iter().filter(|partition| partition.stepped.get() != UNKNOWN);
        known.map(|partition| ((partition.topic.clone(), partition.number), partition.stepped.get())).collect()
    }

    /// What has been acknowledged, of every partition that is known: a checkpoint's positions.
    pub fn positions(&self) -> Positions {
        let known = self.all.iter().filter(|partition| partition.acknowledged.get() != UNKNOWN);
        known.map(|partition| ((partition.topic.clone(), partition.number), partition.acknowledged.get())).collect()
    }

    /// A partition whose messages are passed on by others; made if need be.
    pub fn relayed(&mut self, topic: &str, number: i32, kind: Kind) -> Slot {
        let key = (Arc::from(topic), number);
        let slot = match self.slots.get(&key) {
            Some(slot) => *slot,
            None => self.add(key.0.clone(), number, kind, UNKNOWN),
        };
        if !self.all[slot].relayed {
            let next = self.all[slot].stepped.get();
            self.all[slot] = Arc::new(Partition::new(key.0, number, kind, true, next));
        }
        slot
    }

    fn forget(&mut self, slot: Slot) {
        let Partition { topic, number, kind, relayed, .. } = &*self.all[slot];
        self.all[slot] = Arc::new(Partition::new(topic.clone(), *number, *kind, *relayed, UNKNOWN));
    }

    fn add(&mut self, topic: Arc<str>, number: i32, kind: Kind, next: i64) -> Slot {
        let slot = self.all.len();
        self.all.push(Arc::new(Partition::new(topic.clone(), number, kind, false, next)));
        self.slots.insert((topic, number), slot);
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_comes_back_is_read_on_from_what_was_stepped() {
        let mut partitions = Partitions::default();
        assert_eq!(partitions.assign("metrics", 0, Kind::Metrics, None), None);
        let partition = partitions.get(0).clone();
        partition.polled.set(12);
        partition.stepped.set(10);
        partitions.revoke("metrics", 0);
        assert_eq!(partitions.slot("metrics", 0), None);
        assert_eq!(partitions.assign("metrics", 0, Kind::Metrics, None), Some(10));
        assert_eq!(partition.polled.get(), 10);
        assert_eq!(partitions.take_changes(), [Change::Assigned(0), Change::Revoked(0), Change::Assigned(0)]);
    }

    #[test]
    fn without_a_position_of_our_own_the_groups_is_where_we_stand() {
        let mut partitions = Partitions::default();
        assert!(!partitions.is_known("metrics", 0));
        assert_eq!(partitions.assign("metrics", 0, Kind::Metrics, Some(7)), Some(7));
        assert!(partitions.is_known("metrics", 0));
        let partition = partitions.get(0).clone();
        assert_eq!((partition.polled.get(), partition.remembered.get()), (7, 7));
        partition.stepped.set(9);
        assert_eq!(partitions.assign("metrics", 0, Kind::Metrics, Some(3)), Some(9), "our own goes first");
    }

    #[test]
    fn only_what_is_acknowledged_is_remembered() {
        let mut partitions = Partitions::default();
        partitions.assign("metrics", 0, Kind::Metrics, None);
        partitions.assign("logs", 0, Kind::Logs, None);
        partitions.get(0).stepped.set(5);
        assert!(partitions.positions().is_empty());
        partitions.acknowledge();
        let positions: Positions = [(("metrics".into(), 0), 5)].into();
        assert_eq!(partitions.positions(), positions);
        let restored = Partitions::restore(&positions, |topic| (topic == "metrics").then_some(Kind::Metrics));
        assert_eq!(restored.positions(), positions);
        assert!(Partitions::restore(&positions, |_| None).positions().is_empty());
    }

    #[test]
    fn markers_are_stepped_with_all_that_lies_before_them_and_never_without() {
        let partition = Partition::new("metrics".into(), 0, Kind::Metrics, false, UNKNOWN);
        let at = || (partition.polled.get(), partition.stepped.get());
        assert!(partition.pass(2) && at() == (2, 2), "one that was aborted, and nothing else");
        partition.see(2, 0);
        assert!(!partition.has_all() && !partition.pass(3), "handed over and not polled");
        partition.polled.set(3);
        assert!(!partition.pass(4) && at() == (3, 2), "it waits to be stepped");
        partition.stepped.set(3);
        assert!(partition.pass(4) && at() == (4, 4));
        assert!(!partition.pass(4) && !partition.pass(3) && partition.has_all());
        // Messages that are left out for now, as those of a partition that is stopped.
        partition.see(4, 0);
        assert!(!partition.pass(6) && at() == (4, 4));
        partition.read_anew();
        assert!(partition.has_all() && at() == (4, 4));
    }

    #[test]
    fn nothing_is_committed_that_no_checkpoint_holds() {
        let mut partitions = Partitions::default();
        partitions.assign("deployments", 0, Kind::Deployments, None);
        let partition = partitions.get(0).clone();
        partition.stepped.set(7);
        partitions.acknowledge();
        assert_eq!(partition.to_commit(), None);
        partitions.remember(&partitions.positions());
        partition.stepped.set(9);
        partitions.acknowledge();
        assert_eq!(partition.to_commit(), Some(7));
        partition.committed.set(7);
        assert_eq!(partition.to_commit(), None);
    }

    #[test]
    fn only_what_a_later_leader_took_in_the_same_place_is_another_message() {
        let partition = Partition::new("metrics".into(), 0, Kind::Metrics, false, UNKNOWN);
        let poll = |offset: i64, epoch: i64| {
            partition.see(offset, epoch);
            partition.polled.set(offset + 1);
            partition.is_cut(offset)
        };
        // New leaders go on where the old ones stood; what comes again is of the old ones.
        assert!(
            ![(0, 0), (1, 0), (2, 1), (1, 0), (2, 1), (3, 1)]
                .map(|(offset, epoch)| poll(offset, epoch))
                .contains(&true)
        );
        assert!(poll(2, 3), "cut off and written on");
        assert!(![(3, 3), (4, 3), (3, 3)].map(|(offset, epoch)| poll(offset, epoch)).contains(&true));
        assert!(!poll(0, -1), "where nobody says it is not known");
    }
}
