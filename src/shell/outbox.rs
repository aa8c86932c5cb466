//! The outbox: what is to be published under `exactly_once`, kept with the state until it is.
//!
//! A checkpoint seals it: state, positions and outbox stand in one file, under a mark of its own. Then one Kafka
//! transaction publishes the outbox and commits the positions with the mark. Whoever starts from that checkpoint asks
//! the group for the mark and knows whether the transaction went through. Where the checkpoint goes to a topic, it goes
//! in that transaction. What is gathered after the cut waits for the next one. Nothing is sent from here.

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
}

/// What a checkpoint that holds an outbox is known by.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seal {
    /// Committed with the positions: whoever finds it there knows that all of it is published.
    pub mark: String,
    pub positions: Positions,
    /// How many of the letters, the first ones, belong to it.
    pub letters: usize,
}

impl Outbox {
    /// From a checkpoint; `crc` is its checksum.
    pub fn restore(letters: Vec<Sealed>, sequence: u64, crc: u32, positions: &Positions) -> Outbox {
        let bytes = letters.iter().map(size).sum();
        let mut outbox = Outbox { letters, causes: Vec::new(), bytes, sealed: None };
        if !outbox.letters.is_empty() {
            outbox.seal(sequence, crc, positions.clone(), outbox.letters.len());
        }
        outbox
    }

    /// Adds what a batch has led to, and leaves `out` empty.
    pub fn gather(&mut self, out: &mut Vec<Outgoing>) {
        for Outgoing { topic, at, cause, message, .. } in out.drain(..) {
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

    /// A checkpoint with that number and this checksum was cut when the outbox held so many letters.
    pub fn seal(&mut self, sequence: u64, crc: u32, positions: Positions, letters: usize) {
        self.sealed = Some(Seal { mark: mark(sequence, crc), positions, letters });
    }

    /// The checkpoint does not stand after all: its letters wait for another one.
    pub fn unseal(&mut self) {
        self.sealed = None;
    }

    /// What was sealed is published and leaves the outbox. It is returned for counting.
    pub fn settle(&mut self) -> Vec<(Time, Cause)> {
        let Some(seal) = self.sealed.take() else { return Vec::new() };
        let gone: usize = self.letters.drain(..seal.letters.min(self.letters.len())).map(|letter| size(&letter)).sum();
        self.bytes -= gone;
        let known = seal.letters.min(self.causes.len());
        self.causes.drain(..known).collect()
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
        Outgoing {
            topic: "letters".into(),
            partition: None,
            at: Time(1),
            cause: Cause::DeadLetter(RejectReason::Empty),
            message,
        }
    }

    #[test]
    fn what_is_sealed_is_restored_under_the_same_mark() {
        let mut outbox = Outbox::default();
        outbox.gather(&mut vec![outgoing(b"a"), outgoing(b"b")]);
        let positions: Positions = [(("metrics".into(), 0), 4)].into();
        outbox.seal(1, 0xabc, positions.clone(), 2);
        let restored = Outbox::restore(outbox.letters.clone(), 1, 0xabc, &positions);
        assert_eq!(restored.sealed, outbox.sealed);
        assert_eq!(outbox.settle().len(), 2);
        assert!(outbox.letters.is_empty() && outbox.sealed.is_none());
        assert!(Outbox::restore(Vec::new(), 1, 0xabc, &positions).sealed.is_none(), "nothing to ask for");
    }

    #[test]
    fn what_is_gathered_after_the_cut_waits() {
        let mut outbox = Outbox::default();
        outbox.gather(&mut vec![outgoing(b"a"), outgoing(b"b")]);
        outbox.seal(1, 0xabc, Positions::new(), 2);
        outbox.gather(&mut vec![outgoing(b"c")]);
        outbox.unseal();
        assert!(outbox.settle().is_empty() && outbox.letters.len() == 3, "nothing was published");
        outbox.seal(2, 0xabd, Positions::new(), 2);
        assert_eq!(outbox.settle().len(), 2);
        assert_eq!((outbox.letters.len(), outbox.causes.len(), outbox.bytes), (1, 1, size(&outbox.letters[0])));
        assert_eq!(outbox.letters[0].payload, b"c");
    }

    #[test]
    fn it_is_full_by_number_and_by_size() {
        let mut many = Outbox::default();
        many.gather(&mut (0..LETTERS_MAX - 1).map(|_| outgoing(b"")).collect());
        assert!(!many.is_full());
        many.gather(&mut vec![outgoing(b"")]);
        assert!(many.is_full());
        many.seal(1, 0, Positions::new(), LETTERS_MAX);
        many.settle();
        assert!(!many.is_full());
        let mut large = Outbox::default();
        large.gather(&mut vec![outgoing(&vec![0; BYTES_MAX])]);
        assert!(large.is_full());
    }
}
