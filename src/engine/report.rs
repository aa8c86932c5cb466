//! What a lane tells the desk, and what each may ask a lane: the whole vocabulary between the two halves.
//!
//! All of it is plain data that can be written down, sent and read again, with its time in it; the halves share
//! nothing else. Nothing here decides.

use super::effect::{Direction, Drift, Evidence, Heartbeat, NotWatched, Rollout, Spoken};
use super::event::Deployment;
use super::time::{Span, Time};
use super::verdict::Verdict;
use super::window::Minute;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// News from a lane, in the order in which it happened there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Report {
    /// A deployment opened no watch.
    NotWatched {
        deployment: Arc<Deployment>,
        why: NotWatched,
    },
    /// A deployment took effect, watched or not.
    TookEffect {
        deployment: Arc<Deployment>,
    },
    Opened {
        thread: Arc<str>,
        deployment: Arc<Deployment>,
        until: Time,
    },
    Looked(Box<Looked>),
    /// A context event was told; the beginning of its time was learned from already, or was not.
    SetAside {
        late: bool,
    },
    Beat(Beat),
    Drifted(Drift),
}

/// What one step of a lane has led to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    pub at: Time,
    /// A deadline led to it, or the end, and no fact.
    pub tick: bool,
    pub reports: Vec<Report>,
}

/// A look at a watch that has something to tell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Looked {
    pub thread: Arc<str>,
    pub at: Time,
    /// A regression; at the last look whatever there is.
    pub verdict: Option<Verdict>,
    /// The watch is over.
    pub last: bool,
    /// A newer deployment of the same service has taken effect.
    pub superseded: bool,
    /// While it is being rolled out: how far it has got.
    pub rollout: Option<Rollout>,
}

/// One lane's part of a heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Beat {
    pub services: u64,
    pub behind: Option<Span>,
    /// Metrics, logs, deployments, control words.
    pub inputs: [Option<Spoken>; 4],
    pub silent: u64,
    pub silent_services: Vec<(Arc<str>, Arc<str>)>,
}

/// What a lane can be asked. The answer says nothing of the asking.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Question {
    /// Of the environment's unchanged services that can tell: which moved the same way?
    Moved(Moved),
    /// Of the environment's services that were heard just before `start`: which are still heard at `upto`?
    Heard { env: Arc<str>, start: Minute, upto: Minute },
    /// Of the environment's unchanged services that write: which have written this kind of line only since then?
    Written { env: Arc<str>, template: u64, since: Time },
    /// Of each of the environment's services with traffic: how much was there in each minute, of its usual one?
    Busy { env: Arc<str>, from: Minute, upto: Minute },
    /// Are a service's signals as they were before?
    Recovered(Recovered),
}

/// A move that somebody else may have made too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moved {
    pub env: Arc<str>,
    pub signal: Arc<str>,
    pub track: u32,
    /// Users feel it: then any signal that they feel will do, if it got worse.
    pub felt: bool,
    pub direction: Direction,
    /// How far it goes, on its scale, in the last so many minutes; zero if in all since the onset together.
    pub size: f64,
    pub width: u32,
    /// Bursts that it is made of; zero where it is no such thing.
    pub bursts: u32,
    /// Peers shared it when it began; whether they still do is asked.
    pub known: bool,
    pub onset: Minute,
    pub start: Minute,
    pub upto: Minute,
}

/// What to look at, to see whether a thread's signals have recovered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recovered {
    pub env: Arc<str>,
    pub service: Arc<str>,
    pub evidence: Vec<Evidence>,
    pub since: Minute,
    pub upto: Minute,
}

/// To each question its kind of answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// So many of so many services.
    Counted { yes: u32, of: u32 },
    /// None where that can't be told.
    Recovered(Option<bool>),
    /// One list for each service, one number for each minute.
    Busy(Vec<Vec<Option<f64>>>),
}

impl Answer {
    /// What two lanes answer together.
    pub fn and(self, other: Answer) -> Answer {
        match (self, other) {
            (Answer::Counted { yes, of }, Answer::Counted { yes: more, of: others }) => {
                Answer::Counted { yes: yes + more, of: of + others }
            }
            (Answer::Recovered(one), Answer::Recovered(other)) => Answer::Recovered(match (one, other) {
                (Some(one), Some(other)) => Some(one && other),
                (one, other) => one.or(other),
            }),
            (Answer::Busy(mut one), Answer::Busy(other)) => {
                one.extend(other);
                Answer::Busy(one)
            }
            (one, _) => one,
        }
    }
}

/// Silent services that a heartbeat names.
const NAMED: usize = 10;

/// The lanes' parts of one moment as one heartbeat; none where none of them beats.
pub fn heartbeat<'a>(
    now: Time,
    watches: u64,
    threads: u64,
    beats: impl Iterator<Item = &'a Beat>,
) -> Option<Heartbeat> {
    let whole = beats.cloned().reduce(|mut whole, beat| {
        whole.services += beat.services;
        whole.behind = whole.behind.max(beat.behind);
        for (known, more) in whole.inputs.iter_mut().zip(beat.inputs) {
            *known = match (*known, more) {
                (Some(one), Some(other)) => {
                    Some(Spoken { last: one.last.max(other.last), silent: one.silent && other.silent })
                }
                (one, other) => one.or(other),
            };
        }
        whole.silent += beat.silent;
        whole.silent_services.extend(beat.silent_services);
        whole.silent_services.truncate(NAMED);
        whole
    })?;
    let Beat { services, behind, inputs, silent, silent_services } = whole;
    Some(Heartbeat { at: now, watches, threads, services, behind, inputs, silent, silent_services })
}
