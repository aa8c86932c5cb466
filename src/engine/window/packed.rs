//! A ring as a checkpoint holds it: rings are most of a state, so they are packed.
//!
//! Bins of minutes in a row are a run: its first minute, its length, the numerators, and the denominators unless all of
//! them are the first one. Small counts take two bytes, as in the ring. Numbers keep every bit. What was packed by
//! another build is not read here; the checkpoint's format sees to that.

use super::ring::Width;
use super::{Bin, Minute, Ring};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// First minute, length, and of these what holds.
const HEADER: usize = 4 + 2 + 1;
const SAME_DENS: u8 = 1;
const NARROW_NUMS: u8 = 2;
const NARROW_DENS: u8 = 4;

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
    let dens = if same { 1 } else { run.len() };
    let nums = || run.iter().map(|bin| bin.num);
    let dens = || run[..dens].iter().map(|bin| bin.den);
    let (num_width, den_width) = (Width::of_all(nums()), Width::of_all(dens()));
    bytes.extend(first.minute.to_le_bytes());
    bytes.extend((run.len() as u16).to_le_bytes());
    let narrow = |width: Width, mark: u8| if width == Width::Narrow { mark } else { 0 };
    let same = if same { SAME_DENS } else { 0 };
    bytes.push(same | narrow(num_width, NARROW_NUMS) | narrow(den_width, NARROW_DENS));
    pack_numbers(nums(), num_width, bytes);
    pack_numbers(dens(), den_width, bytes);
}

fn pack_numbers(numbers: impl Iterator<Item = f32>, width: Width, bytes: &mut Vec<u8>) {
    match width {
        Width::Narrow => bytes.extend(numbers.flat_map(|number| (number as u16).to_le_bytes())),
        Width::Wide => bytes.extend(numbers.flat_map(f32::to_le_bytes)),
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
        let holds = |mark: u8| header[6] & mark != 0;
        let (nums, rest) = unpack_numbers(rest, length, holds(NARROW_NUMS))?;
        let (dens, rest) = unpack_numbers(rest, if holds(SAME_DENS) { 1 } else { length }, holds(NARROW_DENS))?;
        for (place, num) in nums.into_iter().enumerate() {
            let minute = first.checked_add(place as Minute)?;
            bins.push(Bin { minute, num, den: *dens.get(if holds(SAME_DENS) { 0 } else { place })? });
        }
        bytes = rest;
    }
    Some(Ring::of(&bins))
}

fn unpack_numbers(bytes: &[u8], length: usize, narrow: bool) -> Option<(Vec<f32>, &[u8])> {
    let (packed, rest) = bytes.split_at_checked(length * if narrow { 2 } else { 4 })?;
    let numbers = match narrow {
        true => packed.as_chunks().0.iter().map(|bytes| u16::from_le_bytes(*bytes).into()).collect(),
        false => packed.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
    };
    Some((numbers, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_comes_back() {
        let mut ring = Ring::default();
        for (minute, num, den) in
            [(1, 0.1, 1e9), (2, -0.0, 1e9), (3, f32::MAX, 1e9), (9, 1.0, 2.0), (10, 5.0, 0.5), (i32::MAX, 0.0, 0.0)]
        {
            ring.set(Bin { minute, num, den }, 5);
            let bytes = postcard::to_allocvec(&ring).expect("plain");
            assert_eq!(postcard::from_bytes::<Ring>(&bytes), Ok(ring.clone()));
        }
        assert_eq!(ring.len(), 5);
        let bytes = postcard::to_allocvec(&ring).expect("plain");
        assert_eq!(bytes.len(), 1 + 3 * HEADER + (2 + 1) * 4 + 2 * (2 + 4) + (1 + 1) * 2);
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
