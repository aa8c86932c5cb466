//! Checkpoints in a compacted topic: a record for each service, some for the head, and one that makes them a whole.
//!
//! All records of a cut go out in one Kafka transaction, with whatever else belongs to it, so a reader of what is
//! committed finds the state of exactly one cut. Only services that were changed since the cut before are written; the
//! last record counts and sums up all that there must be. Everything is in one partition, so that the latest record of
//! a key is the one with the highest offset. Beginning and committing the transaction is the publisher's affair. A note
//! lies beside them that is written when there can be no cut any more.

mod note;
mod parts;
mod reading;

use super::{Cut, Written};
use crate::engine::cut::Extent;
use crate::shell::publisher::Carrier;
pub use note::Note;
use parts::{Entry, Part, Whole};
use rdkafka::error::KafkaError;
pub use reading::{Reader, Unread};
use std::collections::BTreeMap;

/// What the topic holds of one state, as far as it is known here: 24 bytes a service.
#[derive(Clone, Debug, Default, PartialEq)]
struct Holding {
    heads: u32,
    services: BTreeMap<u64, Entry>,
}

/// The topic's records of one state.
pub struct Topic {
    name: String,
    partition: i32,
    /// What keys begin with: several states share a topic.
    prefix: String,
    carrier: Option<Carrier>,
    /// As of the last cut that stands.
    held: Holding,
    /// As of the one that was written since.
    pending: Option<Holding>,
    /// Parts that belong to no cut that can be trusted: deleted with the next one.
    stale: Vec<Part>,
    /// Whether the services that were not changed are in the topic.
    complete: bool,
}

impl Topic {
    /// For the state whose keys begin with this prefix.
    pub fn new(name: &str, partition: i32, prefix: &str) -> Topic {
        Topic {
            name: name.to_owned(),
            partition,
            prefix: prefix.to_owned(),
            carrier: None,
            held: Holding::default(),
            pending: None,
            stale: Vec::new(),
            complete: false,
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn extent(&self) -> Extent {
        if self.complete { Extent::Changed } else { Extent::All }
    }

    /// The note says nothing any more: it is deleted with the next cut.
    pub fn forget_note(&mut self) {
        self.stale.push(Part::Note);
    }

    /// The transaction that takes the next cut.
    pub fn carry(&mut self, carrier: Carrier) {
        self.carrier = Some(carrier);
    }

    /// Sends a cut and waits until the brokers have it.
    ///
    /// # Errors
    /// The transaction must be aborted.
    pub fn write(&mut self, cut: Cut) -> Result<Written, KafkaError> {
        // Until the transaction is committed, nobody knows what the topic holds of the services that were lent.
        self.complete = false;
        let carrier = self.carrier.take().ok_or(KafkaError::ClientCreation("no transaction".into()))?;
        let mut sending = Sending { topic: self, carrier: &carrier, sequence: cut.sequence, bytes: 0 };
        let head = sending.send(Part::Head, &cut.head)?;
        let all = cut.shares.len() == cut.services;
        let services = if all { BTreeMap::new() } else { self.held.services.clone() };
        let mut holding = Holding { heads: head.chunks, services };
        let mut body = Vec::new();
        for share in cut.shares {
            body.clear();
            body = postcard::to_io(&share, body).map_err(|e| KafkaError::ClientCreation(e.to_string()))?;
            let name = share.name();
            // Whatever the engine changes from here on it need not copy.
            drop(share);
            holding.services.insert(name, sending.send(|chunk| Part::Service(name, chunk), &body)?);
        }
        sending.delete(&holding)?;
        let digest = parts::digest(head, &holding.services);
        let whole = Whole { heads: head.chunks, services: cut.services as u64, digest };
        sending.send(|_| Part::Cut, &whole.to_bytes())?;
        let bytes = sending.bytes;
        carrier.flush();
        self.pending = Some(holding);
        Ok(Written { bytes, crc: digest as u32 })
    }

    fn place(&self) -> (&str, i32) {
        (&self.name, self.partition)
    }

    /// The transaction of the last cut was committed.
    pub fn stands(&mut self) {
        if let Some(pending) = self.pending.take() {
            self.held = pending;
            self.stale.clear();
            self.complete = true;
        }
    }
}

/// Sends the records of one cut.
struct Sending<'a> {
    topic: &'a Topic,
    carrier: &'a Carrier,
    sequence: u64,
    bytes: u64,
}

impl Sending<'_> {
    /// Sends a part in as many records as it takes.
    fn send(&mut self, part: impl Fn(u32) -> Part, body: &[u8]) -> Result<Entry, KafkaError> {
        let chunks = parts::chunks(body);
        for chunk in 0..chunks {
            let value = parts::record(self.sequence, chunk, chunks, body);
            self.bytes += value.len() as u64;
            self.carrier.send(self.topic.place(), &part(chunk).key(&self.topic.prefix), Some(&value))?;
        }
        Ok(Entry { chunks, crc: crc32fast::hash(body) })
    }

    /// Deletes what the topic held and holds no more.
    fn delete(&mut self, holding: &Holding) -> Result<(), KafkaError> {
        let stale = self.topic.stale.iter().copied();
        let heads = (0..self.topic.held.heads).map(Part::Head);
        let services = self.topic.held.services.iter();
        let services = services.flat_map(|(name, entry)| (0..entry.chunks).map(|chunk| Part::Service(*name, chunk)));
        for part in stale.chain(heads).chain(services).filter(|part| !holding.has(*part)) {
            self.carrier.send(self.topic.place(), &part.key(&self.topic.prefix), None)?;
        }
        Ok(())
    }
}

impl Holding {
    fn has(&self, part: Part) -> bool {
        match part {
            Part::Head(chunk) => chunk < self.heads,
            Part::Service(name, chunk) => self.services.get(&name).is_some_and(|entry| chunk < entry.chunks),
            Part::Cut => true,
            Part::Note => false,
        }
    }
}
