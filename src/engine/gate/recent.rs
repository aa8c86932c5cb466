//! A map with a limit that forgets what was put in longest ago.
//!
//! Everything the gate remembers lives in one of these, so that nothing it remembers can grow without end. It knows
//! nothing of what it holds; how many is enough, and what forgetting one costs, stands with each use.

use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use std::collections::BTreeMap;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recent<K: Ord, V> {
    entries: BTreeMap<K, (u64, V)>,
    /// From the turn in which a key was put in last to the key: the first is the oldest.
    order: BTreeMap<u64, K>,
    turn: u64,
    forgotten: u64,
}

impl<K: Ord, V> Default for Recent<K, V> {
    fn default() -> Self {
        Recent { entries: BTreeMap::new(), order: BTreeMap::new(), turn: 0, forgotten: 0 }
    }
}

impl<K: Ord + Clone, V> Recent<K, V> {
    /// Puts in or replaces, as the newest; beyond `limit` entries the oldest are forgotten and counted.
    pub fn insert(&mut self, key: K, value: V, limit: usize) {
        self.turn += 1;
        if let Some((turn, _)) = self.entries.insert(key.clone(), (self.turn, value)) {
            self.order.remove(&turn);
        }
        self.order.insert(self.turn, key);
        while self.entries.len() > limit {
            self.pop_oldest();
            self.forgotten += 1;
        }
    }

    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key).map(|(_, value)| value)
    }

    /// Changing a value does not make it newer.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.entries.get_mut(key).map(|(_, value)| value)
    }

    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        if let Some((turn, _)) = self.entries.remove(key) {
            self.order.remove(&turn);
        }
    }

    /// Drops from the old end while `spent` says that an entry has nothing left to tell.
    pub fn prune(&mut self, spent: impl Fn(&V) -> bool) {
        while let Some(key) = self.order.values().next()
            && self.get(key).is_none_or(&spent)
        {
            self.pop_oldest();
        }
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.values().map(|(_, value)| value)
    }

    /// In the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, (_, value))| (key, value))
    }

    /// How many were pushed out by the limit, ever.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn pop_oldest(&mut self) {
        if let Some((_, key)) = self.order.pop_first() {
            self.entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first() {
        let mut recent = Recent::default();
        for key in ["a", "b", "c"] {
            recent.insert(key, 1, 3);
        }
        recent.insert("a", 2, 3);
        recent.insert("d", 1, 3);
        assert_eq!((recent.get("b"), recent.get("a"), recent.get("d")), (None, Some(&2), Some(&1)));
        assert_eq!(recent.forgotten(), 1);
        assert_eq!(recent.entries.len(), recent.order.len());
    }

    #[test]
    fn a_lowered_limit_holds_at_once() {
        let mut recent = Recent::default();
        for key in 0..10 {
            recent.insert(key, (), 10);
        }
        recent.insert(10, (), 2);
        assert_eq!(recent.values().count(), 2);
        assert_eq!(recent.forgotten(), 9);
    }

    #[test]
    fn pruning_stops_at_the_first_that_still_counts() {
        let mut recent = Recent::default();
        for key in 0..5 {
            recent.insert(key, key, 10);
        }
        recent.remove(&0);
        recent.prune(|&value| value < 3);
        assert_eq!(recent.values().copied().collect::<Vec<_>>(), [3, 4]);
        assert_eq!(recent.forgotten(), 0, "what has nothing left to tell is not missed");
    }
}
