//! What survives a restart: the engine's state together with the input positions that it includes.
//!
//! The two are written as one, so a restart reads on exactly where the state stands, and the engine, being
//! deterministic, says the same again under the same ids. A checkpoint is a cut: what is small is serialised at the
//! moment of the cut, services are lent by the engine and serialised by whoever writes it, while the engine goes on.
//! Where it is kept, in a file or in a topic, the stores know. What can't be trusted is named and never stops the
//! daemon from starting. When to take a cut is the run loop's affair.

pub mod directory;
#[cfg(test)]
mod made;
pub mod topic;

use super::outbox::Sealed;
use crate::engine::Engine;
use crate::engine::cut::{Extent, Piece, Share};
use crate::engine::time::Time;
use directory::Directory;
use rdkafka::error::KafkaError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use topic::Topic;

/// Raised whenever the state's shape changes: an older checkpoint then means a cold start, not a misreading.
pub const FORMAT: u32 = 19;

/// What to say of a checkpoint of another format.
fn other_format(found: u32) -> String {
    format!("format {found}, this build reads {FORMAT}: another version of the daemon wrote it, and can go on from it")
}

/// Next offset to read, by topic and partition.
pub type Positions = BTreeMap<(Arc<str>, i32), i64>;

/// What is remembered besides the engine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Remembered {
    /// Whose checkpoint it is: the consumer group's name.
    pub group: String,
    pub positions: Positions,
    pub now: Time,
    /// The hash of the policy that was in force.
    pub policy: String,
    /// What was to be published under `exactly_once`; whether it is, the brokers know.
    pub outbox: Vec<Sealed>,
    /// Counts the checkpoints.
    pub sequence: u64,
}

/// A checkpoint to be written.
pub struct Cut {
    head: Vec<u8>,
    shares: Vec<Share>,
    sequence: u64,
    /// How many services the state has, lent or not.
    services: usize,
}

impl Cut {
    /// Cuts through the state between two inputs.
    ///
    /// # Errors
    /// The state can't be serialised, which no plain state does.
    pub fn of(engine: &mut Engine, extent: Extent, remembered: &Remembered) -> io::Result<Cut> {
        let head = postcard::to_stdvec(&(remembered, &*engine)).map_err(io::Error::other)?;
        let services = engine.services();
        Ok(Cut { head, shares: engine.shares(extent), sequence: remembered.sequence, services })
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    pub bytes: u64,
    /// Checksum over all of the state.
    pub crc: u32,
}

/// What was found at start.
pub enum Found {
    Nothing,
    Checkpoint(Box<Recovered>),
    /// It could not be trusted.
    Bad {
        why: String,
        /// Where it is kept for people to look at, if it is.
        moved_to: Option<String>,
    },
}

/// A checkpoint, read.
pub struct Recovered {
    pub engine: Engine,
    pub remembered: Remembered,
    pub crc: u32,
}

/// Why a checkpoint does not stand.
#[derive(Debug, thiserror::Error)]
pub enum Unwritten {
    #[error(transparent)]
    File(#[from] io::Error),
    #[error("kafka: {0}")]
    Kafka(#[from] KafkaError),
}

/// Where checkpoints are kept.
pub enum Store {
    Directory(Directory),
    Topic(Box<Topic>),
}

impl Store {
    /// Which services the next cut must hold.
    pub fn extent(&self) -> Extent {
        match self {
            Store::Directory(_) => Extent::All,
            Store::Topic(topic) => topic.extent(),
        }
    }

    /// Writes a cut. In a topic it stands once the transaction around it is committed.
    ///
    /// # Errors
    /// It does not stand; the one before does.
    pub fn write(&mut self, cut: Cut) -> Result<Written, Unwritten> {
        match self {
            Store::Directory(directory) => Ok(directory.write(cut)?),
            Store::Topic(topic) => Ok(topic.write(cut)?),
        }
    }
}

/// Puts the parts of one cut together.
fn recover(head: &[u8], pieces: Vec<Piece>, crc: u32, group: &str) -> Result<Recovered, String> {
    let ((remembered, mut engine), left): ((Remembered, Engine), &[u8]) =
        postcard::take_from_bytes(head).map_err(not_ours)?;
    if !left.is_empty() {
        return Err(format!("not the state of this build: {} bytes left over", left.len()));
    }
    if remembered.group != group {
        return Err(format!("it belongs to the group {:?}, this daemon's is {group:?}", remembered.group));
    }
    engine.resume(pieces).map_err(|misfit| format!("not one state: {misfit}"))?;
    Ok(Recovered { engine, remembered, crc })
}

fn piece(bytes: &[u8]) -> Result<Piece, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((piece, [])) => Ok(piece),
        Ok((_, left)) => Err(format!("not the state of this build: {} bytes left over", left.len())),
        Err(error) => Err(not_ours(error)),
    }
}

fn not_ours(error: postcard::Error) -> String {
    format!("not the state of this build: {error}")
}
