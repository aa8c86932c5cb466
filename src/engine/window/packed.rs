//! A ring as a checkpoint holds it: rings are most of a state, so they are packed.
//!
//! Bins of minutes in a row are a run: its first minute, its length, the numerators, and the denominators unless all of
//! them are the first one. Numbers keep every bit. What was packed by another build is not read here; the checkpoint's
//! format sees to that.

use super::{Bin, Minute, Ring};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// First minute, length, whether all denominators are the same.
const HEADER: usize = 4 + 2 + 1;

impl Serialize for Ring {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::with_capacity(HEADER + 4 + 8 * self.len());
        let mut bins = Vec::with_capacity(self.len());
        // Not `collect`, which takes them one by one: of a checkpoint's time that was half.
        self.places(0, self.len()).for_each(|bin| bins.push(bin));
        let run = |a: &Bin, b: &Bin| a.minute.checked_add(1) == Some(b.minute);
        // Longer ones than a ring ever has would not fit the length.
        let runs = bins.chunk_by(run).flat_map(|run| run.chunks(usize::from(u16::MAX)));
        runs.for_each(|run| pack(run, &mut bytes));
        serializer.serialize_bytes(&bytes)
    }
}

fn pack(run: &[Bin], bytes: &mut Vec<u8>) {
    let Some(first) = run.first() else { return };
    let same = run.iter().all(|bin| bin.den.to_bits() == first.den.to_bits());
    bytes.extend(first.minute.to_le_bytes());
    bytes.extend((run.len() as u16).to_le_bytes());
    bytes.push(u8::from(same));
    bytes.extend(run.iter().flat_map(|bin| bin.num.to_le_bytes()));
    match same {
        true => bytes.extend(first.den.to_le_bytes()),
        false => bytes.extend(run.iter().flat_map(|bin| bin.den.to_le_bytes())),
    }
}

impl<'de> Deserialize<'de> for Ring {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Ring, D::Error> {
        deserializer.deserialize_bytes(Packed)
    }
}

struct Packed;

impl Visitor<'_> for Packed {
    type Value = Ring;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a packed ring")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Ring, E> {
        unpack(bytes).ok_or_else(|| E::custom("a packed ring that ends within a run"))
    }
}

fn unpack(mut bytes: &[u8]) -> Option<Ring> {
    let mut bins = Vec::new();
    while !bytes.is_empty() {
        let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
        let first = Minute::from_le_bytes([header[0], header[1], header[2], header[3]]);
        let length = usize::from(u16::from_le_bytes([header[4], header[5]]));
        let same = header[6] == 1;
        let (nums, rest) = rest.split_at_checked(4 * length)?;
        let (dens, rest) = rest.split_at_checked(if same { 4 } else { 4 * length })?;
        let float = |bytes: &[u8], place: usize| -> Option<f32> {
            Some(f32::from_le_bytes(*bytes.get(4 * place..)?.first_chunk()?))
        };
        for place in 0..length {
            let minute = first.checked_add(place as Minute)?;
            let den = float(dens, if same { 0 } else { place })?;
            bins.push(Bin { minute, num: float(nums, place)?, den });
        }
        bytes = rest;
    }
    Some(Ring::of(&bins))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_comes_back() {
        let mut ring = Ring::default();
        for (minute, num, den) in
            [(1, 0.1, 1.0), (2, -0.0, 1.0), (3, f32::MAX, 1.0), (9, 1.0, 2.0), (10, 5.0, 3.0), (i32::MAX, 0.0, 0.0)]
        {
            ring.set(Bin { minute, num, den }, 5);
            let bytes = postcard::to_allocvec(&ring).expect("plain");
            assert_eq!(postcard::from_bytes::<Ring>(&bytes), Ok(ring.clone()));
        }
        assert_eq!(ring.len(), 5);
        let bytes = postcard::to_allocvec(&ring).expect("plain");
        assert_eq!(bytes.len(), 1 + 3 * HEADER + (2 + 1) * 4 + (2 + 2) * 4 + (1 + 1) * 4);
        for end in 1..bytes.len() {
            assert!(unpack(&bytes[1..end]).is_none_or(|other| other != ring), "cut at {end}");
        }
    }

    #[test]
    fn a_full_hour_of_a_gauge_is_four_bytes_a_minute() {
        let mut ring = Ring::default();
        for minute in 0..100 {
            ring.set(Bin { minute, num: 0.5, den: 1.0 }, 60);
        }
        assert!(postcard::to_allocvec(&ring).expect("plain").len() < 60 * 4 + 30);
    }
}
