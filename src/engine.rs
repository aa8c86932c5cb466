//! What we believe: a plain, synchronous, deterministic heart.
//!
//! Fed one input at a time, each with its time, it answers with effects. It never blocks, never fails, never logs, and
//! knows no broker, file, clock or random number: the same inputs give the same effects. This file alone knows the
//! order of the rooms and does no arithmetic; the rooms do the work and know no order.

#[macro_use]
mod words;

pub mod effect;
pub mod event;
pub mod gate;
pub mod policy;
pub mod time;

use effect::Effect;
use event::Input;
use policy::Policy;
use serde::{Deserialize, Serialize};
use time::Time;

/// All state; a checkpoint is this struct, serialised.
#[derive(Default, Serialize, Deserialize)]
pub struct Engine {
    vitals: Vitals,
}

/// What can be seen of the engine from outside, for metrics. Counters count since the state was created.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Vitals {
    pub services: u64,
    pub signals: u64,
    pub series: u64,
    pub watches_warming: u64,
    pub watches_open: u64,
    pub cooldowns: u64,
    /// Tokens left in the fleet's bucket.
    pub fleet_tokens: f64,
    pub windows: u64,
    /// Facts taken into a window, by nobody's name; the rest is dropped for a reason below.
    pub applied: u64,
    pub dropped_late: u64,
    pub dropped_ahead: u64,
    pub dropped_duplicate: u64,
    pub dropped_overflow: u64,
    /// The latest moment that the log has told of.
    pub now: Time,
}

impl Engine {
    /// The door. Takes one input and appends what is to be done about it, in order.
    pub fn step(&mut self, _policy: &Policy, _input: &Input, _effects: &mut Vec<Effect>) {}

    /// The next moment at which a tick is due, if any.
    pub fn next_deadline(&self) -> Option<Time> {
        None
    }

    pub fn vitals(&self) -> &Vitals {
        &self.vitals
    }
}
