//! The outbox: what is to be published under `exactly_once`, kept with the state until it is.
//!
//! A checkpoint seals it: state, positions and outbox stand in one file, under a mark of its own. Then one Kafka
//! transaction publishes the outbox and commits the positions with the mark. Whoever starts from that checkpoint asks
//! the group for the mark and knows whether the transaction went through. Nothing is sent from here.

use super::checkpoint::Positions;
use super::pump::{Cause, Outgoing};
use crate::engine::time::Time;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;

/// Past either of these the outbox is sealed whatever the interval, and nothing more is taken until it is: with the
/// batch that brought it there, some 16 MiB of memory and of each checkpoint.
const LETTERS_MAX: usize = 2_000;
const BYTES_MAX: usize = 8 << 20;

/// A message to publish, as it survives a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sealed {
    pub topic: Arc<str>,
    pub key: Option<Vec<u8>>,
    pub payload: Vec<u8>,
    pub headers: Vec<(Cow<'static, str>, String)>,
}

/// What waits to be published, in order.
#[derive(Default)]
pub struct Outbox {
    pub letters: Vec<Sealed>,
    /// Event time and cause of each letter, for counting; of letters from an earlier run nothing is known.
    pub causes: Vec<(Time, Cause)>,
    bytes: usize,
    pub sealed: Option<Seal>,
    /// Of the last seal.
    sequence: u64,
}

/// What a checkpoint that holds an outbox is known by.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seal {
    /// Committed with the positions: whoever finds it there knows that all of it is published.
    pub mark: String,
    pub positions: Positions,
}

impl Outbox {
    /// From a checkpoint; `crc` is its checksum.
    pub fn restore(letters: Vec<Sealed>, sequence: u64, crc: u32, positions: &Positions) -> Outbox {
        let sealed = (!letters.is_empty()).then(|| Seal { mark: mark(sequence, crc), positions: positions.clone() });
        let bytes = letters.iter().map(size).sum();
        Outbox { letters, causes: Vec::new(), bytes, sealed, sequence }
    }

    /// Adds what a batch has led to, and leaves `out` empty.
    pub fn gather(&mut self, out: &mut Vec<Outgoing>) {
        for Outgoing { topic, at, cause, message } in out.drain(..) {
            let headers = message.headers.into_iter().map(|(name, value)| (name.into(), value)).collect();
            let letter = Sealed { topic, key: message.key, payload: message.payload, headers };
            self.bytes += size(&letter);
            self.letters.push(letter);
            self.causes.push((at, cause));
        }
    }

    pub fn is_full(&self) -> bool {
        self.letters.len() >= LETTERS_MAX || self.bytes >= BYTES_MAX
    }

    /// The number that the next checkpoint carries.
    pub fn next_sequence(&self) -> u64 {
        self.sequence + 1
    }

    /// A checkpoint with that number and this checksum holds the outbox.
    pub fn seal(&mut self, sequence: u64, crc: u32, positions: Positions) {
        self.sequence = sequence;
        self.sealed = Some(Seal { mark: mark(sequence, crc), positions });
    }

    /// All of it is published: the outbox is empty again. What it held is returned for counting.
    pub fn settle(&mut self) -> Vec<(Time, Cause)> {
        self.letters.clear();
        self.bytes = 0;
        self.sealed = None;
        std::mem::take(&mut self.causes)
    }
}

/// The number alone would come again after a cold start; with the checksum it does not.
fn mark(sequence: u64, crc: u32) -> String {
    format!("regressd/{sequence}/{crc:08x}")
}

fn size(letter: &Sealed) -> usize {
    letter.payload.len() + letter.key.as_ref().map_or(0, Vec::len) + 256
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::inbound::RejectReason;
    use crate::wire::outbound::Message;

    fn outgoing(payload: &[u8]) -> Outgoing {
        let headers = vec![("regressd-reason", "empty".to_owned())];
        let message = Message { key: None, payload: payload.to_vec(), headers };
        Outgoing { topic: "letters".into(), at: Time(1), cause: Cause::DeadLetter(RejectReason::Empty), message }
    }

    #[test]
    fn what_is_sealed_is_restored_under_the_same_mark() {
        let mut outbox = Outbox::default();
        outbox.gather(&mut vec![outgoing(b"a"), outgoing(b"b")]);
        let positions: Positions = [(("metrics".into(), 0), 4)].into();
        outbox.seal(outbox.next_sequence(), 0xabc, positions.clone());
        let restored = Outbox::restore(outbox.letters.clone(), 1, 0xabc, &positions);
        assert_eq!(restored.sealed, outbox.sealed);
        assert_eq!(restored.next_sequence(), outbox.next_sequence());
        assert_eq!(outbox.settle().len(), 2);
        assert!(outbox.letters.is_empty() && outbox.sealed.is_none());
        assert!(Outbox::restore(Vec::new(), 1, 0xabc, &positions).sealed.is_none(), "nothing to ask for");
    }

    #[test]
    fn it_is_full_by_number_and_by_size() {
        let mut many = Outbox::default();
        many.gather(&mut (0..LETTERS_MAX - 1).map(|_| outgoing(b"")).collect());
        assert!(!many.is_full());
        many.gather(&mut vec![outgoing(b"")]);
        assert!(many.is_full());
        many.settle();
        assert!(!many.is_full());
        let mut large = Outbox::default();
        large.gather(&mut vec![outgoing(&vec![0; BYTES_MAX])]);
        assert!(large.is_full());
    }
}
