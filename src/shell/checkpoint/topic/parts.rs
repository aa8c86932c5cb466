//! The records of a checkpoint in a topic: their keys, their form, and how they are put together again.
//!
//! A record is a chunk of a part, small enough for a broker with the usual limits, with a checksum of its own. Parts
//! are only taken together: the record `cut` tells how many there are and what they sum up to. No broker is known here.

use super::super::{FORMAT, Recovered, other_format, piece, recover};
use super::Holding;
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64;

/// Half of what a broker takes in one message by default.
const CHUNK: usize = 512 << 10;

/// Format, sequence of the cut, chunk, chunks, CRC-32 of these and the body; little endian.
const HEADER: usize = 4 + 8 + 4 + 4 + 4;

/// What a record holds a chunk of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Head(u32),
    /// By the service's fingerprint.
    Service(u64, u32),
    Cut,
    /// No part of a cut: written by itself, whenever there is something to be noted.
    Note,
}

/// What the last record of a cut says of the others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Whole {
    pub heads: u32,
    pub services: u64,
    pub digest: u64,
}

/// A part as the topic holds it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    pub chunks: u32,
    pub crc: u32,
}

/// The latest records of one state, by part; a record that is no part of it is nobody's affair here.
#[derive(Default)]
pub struct Gathered(BTreeMap<Part, Vec<u8>>);

/// A record's value, read.
struct Chunk<'a> {
    sequence: u64,
    chunk: u32,
    chunks: u32,
    body: &'a [u8],
}

/// What the records come to.
pub enum Assembled {
    Nothing,
    State(Box<Recovered>, Holding),
    Bad(String),
}

impl Part {
    pub fn key(self, prefix: &str) -> String {
        match self {
            Part::Head(chunk) => format!("{prefix}/head/{chunk}"),
            Part::Service(name, chunk) => format!("{prefix}/{name:016x}/{chunk}"),
            Part::Cut => format!("{prefix}/cut"),
            Part::Note => format!("{prefix}/poison"),
        }
    }

    pub fn of(prefix: &str, key: &str) -> Option<Part> {
        let rest = key.strip_prefix(prefix)?.strip_prefix('/')?;
        match rest {
            "cut" => return Some(Part::Cut),
            "poison" => return Some(Part::Note),
            _ => {}
        }
        let (first, chunk) = rest.split_once('/')?;
        let chunk = chunk.parse().ok()?;
        match first {
            "head" => Some(Part::Head(chunk)),
            name if name.len() == 16 => Some(Part::Service(u64::from_str_radix(name, 16).ok()?, chunk)),
            _ => None,
        }
    }
}

impl Whole {
    pub fn to_bytes(self) -> Vec<u8> {
        [&self.heads.to_le_bytes()[..], &self.services.to_le_bytes(), &self.digest.to_le_bytes()].concat()
    }

    fn of(bytes: &[u8]) -> Option<Whole> {
        let (heads, rest) = bytes.split_first_chunk()?;
        let (services, rest) = rest.split_first_chunk()?;
        let (digest, rest) = rest.split_first_chunk()?;
        rest.is_empty().then(|| Whole {
            heads: u32::from_le_bytes(*heads),
            services: u64::from_le_bytes(*services),
            digest: u64::from_le_bytes(*digest),
        })
    }
}

/// How many records a part takes.
pub fn chunks(body: &[u8]) -> u32 {
    body.len().div_ceil(CHUNK).max(1) as u32
}

/// A record's value.
pub fn record(sequence: u64, chunk: u32, chunks: u32, body: &[u8]) -> Vec<u8> {
    let from = (chunk as usize * CHUNK).min(body.len());
    let body = &body[from..(from + CHUNK).min(body.len())];
    let mut value = Vec::with_capacity(HEADER + body.len());
    value.extend(FORMAT.to_le_bytes());
    value.extend(sequence.to_le_bytes());
    value.extend(chunk.to_le_bytes());
    value.extend(chunks.to_le_bytes());
    value.extend(checksum(&value, body).to_le_bytes());
    value.extend(body);
    value
}

/// The same whatever the order in which services were written.
pub fn digest(head: Entry, services: &BTreeMap<u64, Entry>) -> u64 {
    let sum = |name: u64, entry: Entry| {
        let bytes = [&name.to_le_bytes()[..], &entry.chunks.to_le_bytes(), &entry.crc.to_le_bytes()].concat();
        xxh3_64(&bytes)
    };
    let services = services.iter().map(|(name, entry)| sum(*name, *entry));
    services.fold(sum(0, head).rotate_left(1), u64::wrapping_add)
}

impl Gathered {
    /// A record of the topic, in the order of offsets.
    pub fn take(&mut self, prefix: &str, key: &[u8], value: Option<&[u8]>) {
        let Some(part) = std::str::from_utf8(key).ok().and_then(|key| Part::of(prefix, key)) else { return };
        match value {
            Some(value) => _ = self.0.insert(part, value.to_vec()),
            None => _ = self.0.remove(&part),
        }
    }

    pub fn bytes(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    pub fn parts(&self) -> Vec<Part> {
        self.0.keys().copied().collect()
    }

    /// The note, which is no part of the state, as it was written.
    pub fn take_note(&mut self) -> Option<String> {
        self.0.remove(&Part::Note).map(|note| String::from_utf8_lossy(&note).into_owned())
    }

    /// Puts the state together, and forgets the records on the way.
    pub fn assemble(&mut self, group: &str) -> Assembled {
        if self.0.is_empty() {
            return Assembled::Nothing;
        }
        match self.state(group) {
            Ok((recovered, holding)) => Assembled::State(Box::new(recovered), holding),
            Err(why) => Assembled::Bad(why),
        }
    }

    fn state(&mut self, group: &str) -> Result<(Recovered, Holding), String> {
        let Some(Chunk { body, .. }) = self.record(Part::Cut)? else { return Err("torn: no cut is whole".into()) };
        let whole = Whole::of(body).ok_or("corrupt: a cut that is none")?;
        let head = self.part(Part::Head)?.ok_or("torn: the head is missing")?;
        let mut holding = Holding { heads: whole.heads, services: BTreeMap::new() };
        let names = self.0.keys().filter_map(|part| match part {
            Part::Service(name, 0) => Some(*name),
            _ => None,
        });
        let names: Vec<u64> = names.collect();
        let mut pieces = Vec::with_capacity(names.len());
        for name in names {
            let body = self.part(|chunk| Part::Service(name, chunk))?.unwrap_or_default();
            holding.services.insert(name, Entry { chunks: chunks(&body), crc: crc32fast::hash(&body) });
            pieces.push(piece(&body)?);
        }
        let entry = Entry { chunks: chunks(&head), crc: crc32fast::hash(&head) };
        if holding.services.len() as u64 != whole.services {
            return Err(format!("torn: {} of {} services", holding.services.len(), whole.services));
        }
        if digest(entry, &holding.services) != whole.digest {
            return Err("corrupt: the services are not those of one cut".into());
        }
        Ok((recover(&head, pieces, whole.digest as u32, group)?, holding))
    }

    /// The chunks of a part, put together; none where there is no first one.
    fn part(&self, part: impl Fn(u32) -> Part) -> Result<Option<Vec<u8>>, String> {
        let Some(first) = self.record(part(0))? else { return Ok(None) };
        let mut whole = first.body.to_vec();
        for number in 1..first.chunks {
            match self.record(part(number))? {
                Some(next) if next.sequence == first.sequence && next.chunk == number => whole.extend(next.body),
                _ => return Err("torn: a part of several records lacks one".into()),
            }
        }
        Ok(Some(whole))
    }

    fn record(&self, part: Part) -> Result<Option<Chunk<'_>>, String> {
        let Some(value) = self.0.get(&part) else { return Ok(None) };
        let torn = || format!("torn: {} bytes are less than a header", value.len());
        let (header, body) = value.split_first_chunk::<HEADER>().ok_or_else(torn)?;
        let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if word(0) != FORMAT {
            return Err(other_format(word(0)));
        }
        if checksum(&header[..HEADER - 4], body) != word(20) {
            return Err("corrupt: a checksum does not fit".into());
        }
        let sequence = u64::from(word(4)) | u64::from(word(8)) << 32;
        Ok(Some(Chunk { sequence, chunk: word(12), chunks: word(16), body }))
    }
}

fn checksum(header: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(body);
    hasher.finalize()
}

#[cfg(test)]
mod tests;
