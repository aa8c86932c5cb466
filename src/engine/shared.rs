//! A list whose elements may still be read by a checkpoint while the engine goes on.
//!
//! An element that somebody else holds is copied when it is changed, and only then: a cut through the whole state costs
//! no more than a pointer for each element. Each element knows whether it was changed since it was last lent. Who holds
//! elements, and for how long, is not decided here.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::ops::{Index, IndexMut};
use std::sync::Arc;

/// 16 bytes an element, and 16 before the element itself.
#[derive(Clone, Debug)]
pub struct Shared<T>(Vec<Slot<T>>);

/// A place of the list.
#[derive(Clone, Debug)]
pub struct Slot<T> {
    held: Arc<T>,
    changed: bool,
}

impl<T> Shared<T> {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn push(&mut self, element: T) {
        self.0.push(Slot { held: Arc::new(element), changed: true });
    }

    pub fn get(&self, place: usize) -> Option<&T> {
        self.0.get(place).map(|slot| &*slot.held)
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &T> + DoubleEndedIterator + Clone {
        self.0.iter().map(|slot| &*slot.held)
    }

    /// Whether there is such an element and it was changed since it was last lent.
    pub fn is_changed(&self, place: usize) -> bool {
        self.0.get(place).is_some_and(|slot| slot.changed)
    }

    /// The element as it is now, for somebody who reads it later.
    pub fn lend(&mut self, place: usize) -> Option<Arc<T>> {
        let slot = self.0.get_mut(place)?;
        slot.changed = false;
        Some(slot.held.clone())
    }

    /// From elements as they were lent.
    pub fn restored(elements: impl IntoIterator<Item = T>) -> Shared<T> {
        Shared(elements.into_iter().map(|each| Slot { held: Arc::new(each), changed: false }).collect())
    }
}

impl<T: Clone> Shared<T> {
    pub fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        self.0.get_mut(place).map(Slot::change)
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().map(Slot::change)
    }
}

impl<T: Default> Shared<T> {
    /// Adds empty elements until there are so many.
    pub fn extend_to(&mut self, length: usize) {
        while self.0.len() < length {
            self.push(T::default());
        }
    }
}

impl<T: Clone> Slot<T> {
    fn change(&mut self) -> &mut T {
        self.changed = true;
        Arc::make_mut(&mut self.held)
    }
}

impl<T> Default for Shared<T> {
    fn default() -> Shared<T> {
        Shared(Vec::new())
    }
}

impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Shared<T>) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<T> Index<usize> for Shared<T> {
    type Output = T;

    fn index(&self, place: usize) -> &T {
        &self.0[place].held
    }
}

impl<T: Clone> IndexMut<usize> for Shared<T> {
    fn index_mut(&mut self, place: usize) -> &mut T {
        self.0[place].change()
    }
}

impl<'a, T> IntoIterator for &'a Shared<T> {
    type Item = &'a T;
    type IntoIter = std::iter::Map<std::slice::Iter<'a, Slot<T>>, fn(&'a Slot<T>) -> &'a T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(|slot| &*slot.held)
    }
}

impl<'a, T: Clone> IntoIterator for &'a mut Shared<T> {
    type Item = &'a mut T;
    type IntoIter = std::iter::Map<std::slice::IterMut<'a, Slot<T>>, fn(&'a mut Slot<T>) -> &'a mut T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter_mut().map(Slot::change)
    }
}

impl<T: Serialize> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Shared<T>, D::Error> {
        Ok(Shared::restored(Vec::<T>::deserialize(deserializer)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lent_stays_as_it_was() {
        let mut shared: Shared<String> = Shared::default();
        shared.push("a".into());
        shared.push("b".into());
        let lent = shared.lend(0).expect("there");
        shared[0].push('!');
        assert_eq!((lent.as_str(), shared[0].as_str()), ("a", "a!"));
        assert!(shared.is_changed(0) && shared.is_changed(1) && !shared.is_changed(2));
        assert_eq!(shared.lend(1).as_deref().map(String::as_str), Some("b"));
        assert!(!shared.is_changed(1) && shared.lend(2).is_none());
        assert_eq!(shared.iter().map(String::len).sum::<usize>(), 3, "reading is no change");
        assert!(!shared.is_changed(1));
    }

    #[test]
    fn nothing_is_copied_that_nobody_else_holds() {
        let mut shared: Shared<Vec<u8>> = Shared::restored([vec![1]]);
        let at = shared[0].as_ptr();
        shared[0][0] = 2;
        assert_eq!(shared[0].as_ptr(), at);
        drop(shared.lend(0));
        shared[0][0] = 3;
        assert_eq!(shared[0].as_ptr(), at, "it was given back");
        let lent = shared.lend(0);
        shared[0][0] = 4;
        assert_ne!(shared[0].as_ptr(), at);
        assert_eq!(lent.map(|lent| lent[0]), Some(3));
    }
}
