//! An index by fingerprint: a hash map that is never iterated in its own order.
//!
//! Keys are hashes already, so they hash to themselves. A checkpoint holds the entries sorted by key: the same state
//! gives the same bytes.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// About 24 bytes an entry.
#[derive(Clone, Debug)]
pub struct Index<V>(HashMap<u64, V, BuildHasherDefault<Itself>>);

impl<V> Default for Index<V> {
    fn default() -> Index<V> {
        Index(HashMap::default())
    }
}

impl<V: Copy> Index<V> {
    pub fn get(&self, key: u64) -> Option<V> {
        self.0.get(&key).copied()
    }

    pub fn set(&mut self, key: u64, value: V) {
        self.0.insert(key, value);
    }

    pub fn remove(&mut self, key: u64) {
        self.0.remove(&key);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<V: Copy + Serialize> Serialize for Index<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut entries: Vec<(u64, V)> = self.0.iter().map(|(&key, &value)| (key, value)).collect();
        entries.sort_unstable_by_key(|entry| entry.0);
        entries.serialize(serializer)
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Index<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Index<V>, D::Error> {
        Ok(Index(Vec::<(u64, V)>::deserialize(deserializer)?.into_iter().collect()))
    }
}

#[derive(Clone, Copy, Default)]
struct Itself(u64);

impl Hasher for Itself {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 ^= u64::from_le_bytes(word);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_entries_give_the_same_bytes() {
        let (mut one, mut other) = (Index::default(), Index::default());
        for key in 0..100u64 {
            one.set(key.wrapping_mul(0x9e37_79b9_7f4a_7c15), key);
            other.set((99 - key).wrapping_mul(0x9e37_79b9_7f4a_7c15), 99 - key);
        }
        let bytes = postcard::to_allocvec(&one).expect("serialises");
        assert_eq!(bytes, postcard::to_allocvec(&other).expect("serialises"));
        let back: Index<u64> = postcard::from_bytes(&bytes).expect("deserialises");
        assert_eq!((back.len(), back.get(0)), (100, Some(0)));
    }
}
