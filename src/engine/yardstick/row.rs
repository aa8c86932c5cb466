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

/// 16 bytes; once anything is learned, 8 each and 2 for each of their buckets, some 100 in all.
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
        if self.0.is_empty() {
            self.0 = vec![0; HEAD * N].into();
            (0..N).for_each(|each| self.0[HEAD * each] = (HEAD * N) as u16);
        }
        if self.looks(place) + 1 < FULL {
            self.count(place, size);
        } else {
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

    /// Counts a size, which does not fill the memory.
    fn count(&mut self, place: usize, size: f64) {
        let head = HEAD * place;
        self.0[head + 3] += 1;
        let Some(bucket) = bucket(size) else {
            self.0[head + 2] += 1;
            return;
        };
        let (mut first, many) = span(self.0[head + 1]);
        if !(first..first + many).contains(&bucket) {
            first = self.reach(place, bucket);
        }
        self.0[usize::from(self.0[head]) + bucket - first] += 1;
    }

    /// Makes room for a bucket that is not kept yet; the first one that is from here on.
    fn reach(&mut self, place: usize, bucket: usize) -> usize {
        let (begin, (first, many)) = (usize::from(self.0[HEAD * place]), span(self.0[HEAD * place + 1]));
        let (from, to) =
            if many == 0 { (bucket, bucket + 1) } else { (first.min(bucket), (first + many).max(bucket + 1)) };
        let more = to - from - many;
        let at = if bucket < first || many == 0 { begin } else { begin + many };
        let mut words = Vec::with_capacity(self.0.len() + more);
        words.extend_from_slice(&self.0[..at]);
        words.resize(at + more, 0);
        words.extend_from_slice(&self.0[at..]);
        words[HEAD * place + 1] = (from | (to - from) << 8) as u16;
        (place + 1..N).for_each(|later| words[HEAD * later] += more as u16);
        self.0 = words.into();
        from
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
