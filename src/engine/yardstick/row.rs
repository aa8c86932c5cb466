//! Several yardsticks in a row, in one piece of memory.
//!
//! Of each only the buckets between its smallest and its largest are kept: most sizes lie within some octaves. A size
//! beyond them, or a full memory, is seldom; then the yardstick is taken out, learns, and all of them are put together
//! anew.

use super::{BUCKETS, FULL, Yardstick, bucket};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Before the counts, for each of the yardsticks: where its counts begin, its first bucket and how many there are,
/// sizes of zero, and looks.
const HEAD: usize = 4;

/// 16 bytes; once anything is learned, 8 bytes each and 2 for each of their buckets, some 100 each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Yardsticks<const N: usize>(Box<[u16]>);

impl<const N: usize> Yardsticks<N> {
    /// One of them, as it is now.
    pub fn get(&self, place: usize) -> Yardstick {
        let mut yardstick = Yardstick::default();
        if let Some([begin, buckets, zero, total]) = self.head(place) {
            let (first, many) = span(buckets);
            let counts = &self.0[usize::from(begin)..usize::from(begin) + many];
            yardstick.counts[first..first + many].copy_from_slice(counts);
            (yardstick.zero, yardstick.total) = (zero.into(), total.into());
        }
        yardstick
    }

    /// Looks that one of them remembers.
    pub fn looks(&self, place: usize) -> u32 {
        self.head(place).map_or(0, |[_, _, _, total]| total.into())
    }

    /// One of them learns the size of a deviation (>= 0).
    pub fn learn(&mut self, place: usize, size: f64) {
        if !self.counts_in_place(place, size) {
            self.change(|each, yardstick| {
                if each == place {
                    yardstick.learn(size);
                }
            });
        }
    }

    /// What all of them learned so far counts for less from here on.
    pub fn fade(&mut self) {
        if !self.0.is_empty() {
            self.change(|_, yardstick| yardstick.fade());
        }
    }

    /// Counts a size whose bucket is there already, while there is room for one.
    fn counts_in_place(&mut self, place: usize, size: f64) -> bool {
        let Some([begin, buckets, zero, total]) = self.head(place) else { return false };
        if u32::from(total) + 1 >= FULL {
            return false;
        }
        let head = HEAD * place;
        match bucket(size) {
            None => self.0[head + 2] = zero + 1,
            Some(bucket) => {
                let (first, many) = span(buckets);
                let Some(at) = bucket.checked_sub(first).filter(|at| *at < many) else { return false };
                self.0[usize::from(begin) + at] += 1;
            }
        }
        self.0[head + 3] = total + 1;
        true
    }

    fn head(&self, place: usize) -> Option<[u16; HEAD]> {
        self.0.get(HEAD * place..)?.first_chunk().copied()
    }

    fn change(&mut self, change: impl Fn(usize, &mut Yardstick)) {
        let mut packed = vec![0; HEAD * N];
        for place in 0..N {
            let mut yardstick = self.get(place);
            change(place, &mut yardstick);
            let counts = &yardstick.counts;
            let first = counts.iter().position(|&count| count > 0).unwrap_or(0);
            let end = counts.iter().rposition(|&count| count > 0).map_or(first, |last| last + 1);
            let head = [packed.len() as u16, (first | (end - first) << 8) as u16, yardstick.zero as u16];
            packed[HEAD * place..HEAD * place + 3].copy_from_slice(&head);
            packed[HEAD * place + 3] = yardstick.total as u16;
            packed.extend_from_slice(&counts[first..end]);
        }
        self.0 = packed.into();
    }

    /// Whether all heads fit what they lead to.
    fn is_whole(&self) -> bool {
        let fits = |place| {
            let Some([begin, buckets, _, total]) = self.head(place) else { return false };
            let (first, many) = span(buckets);
            first + many <= BUCKETS && usize::from(begin) + many <= self.0.len() && u32::from(total) < FULL
        };
        self.0.is_empty() || (0..N).all(fits)
    }
}

/// The first bucket that is kept, and how many are.
fn span(buckets: u16) -> (usize, usize) {
    (usize::from(buckets & 0xff), usize::from(buckets >> 8))
}

impl<const N: usize> Serialize for Yardsticks<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|word| word.to_le_bytes()).collect();
        serializer.serialize_bytes(&bytes)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Yardsticks<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Yardsticks<N>, D::Error> {
        deserializer.deserialize_bytes(Packed::<N>)
    }
}

struct Packed<const N: usize>;

impl<const N: usize> Visitor<'_> for Packed<N> {
    type Value = Yardsticks<N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("packed yardsticks")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Yardsticks<N>, E> {
        let words = bytes.chunks_exact(2).map(|word| u16::from_le_bytes([word[0], word[1]]));
        let yardsticks = Yardsticks(words.collect());
        if yardsticks.is_whole() { Ok(yardsticks) } else { Err(E::custom("packed yardsticks that lead nowhere")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_learns_as_it_would_alone() {
        let (mut row, mut alone) = (Yardsticks::<3>::default(), [(); 3].map(|()| Yardstick::default()));
        let mut seed = 7_u64;
        for look in 0..40_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let place = (seed >> 40) as usize % 2;
            // From none to far beyond the buckets, and smaller ones by and by.
            let size = ((seed >> 20 & 0xffff) as f64 / 65_536.0).powi(9) * 1e4 / f64::from(1 + look / 100);
            row.learn(place, size);
            alone[place].learn(size);
            if look % 9_999 == 0 {
                row.fade();
                alone.iter_mut().for_each(Yardstick::fade);
            }
            if look % 1_000 == 0 {
                assert!((0..3).all(|place| row.get(place) == alone[place] && row.looks(place) == alone[place].looks()));
                let bytes = postcard::to_allocvec(&row).expect("plain");
                assert_eq!(postcard::from_bytes::<Yardsticks<3>>(&bytes), Ok(row.clone()));
                for end in 0..bytes.len() {
                    // What is cut off, or led astray, is refused or does no harm.
                    if let Ok(other) = postcard::from_bytes::<Yardsticks<3>>(&bytes[..end]) {
                        assert!((0..3).all(|place| other.get(place).looks() < FULL));
                    }
                }
            }
        }
        assert_eq!(row.looks(2), 0);
        assert!(row.0.len() <= HEAD * 3 + 2 * BUCKETS);
    }
}
