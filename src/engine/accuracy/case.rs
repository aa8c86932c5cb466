//! One case: a deployment that was watched, what was called, and who said what of it.
//!
//! Counts nothing; that is the table's.

use crate::engine::effect::{Method, Outcome, Source, VerdictKind};
use crate::engine::event::{Deployment, Feedback};
use crate::engine::time::Time;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    pub deployment: Arc<Deployment>,
    /// It is itself a way back.
    pub back: bool,
    pub called: Option<Called>,
    /// The watch is over, with this verdict.
    pub ended: Option<VerdictKind>,
    /// Of a watch that called nothing, at its end.
    pub risk: Option<f64>,
    /// The latest word of each source, in the order of `Source::ALL`.
    said: [Option<Said>; Source::ALL.len()],
}

/// The first time that a regression was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Called {
    pub at: Time,
    pub method: Method,
    pub risk: f64,
}

/// Of two words of one source the greater counts: the later one, and of two at the same moment the later in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Said {
    pub at: Time,
    pub what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum What {
    Seen { harmful: bool },
    Feedback(Feedback),
}

/// What a case is taken for, by whom, and since when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Label {
    pub harmful: bool,
    pub source: Source,
    pub at: Time,
}

impl Case {
    pub fn new(deployment: Arc<Deployment>) -> Case {
        Case { deployment, back: false, called: None, ended: None, risk: None, said: Default::default() }
    }

    pub fn said(&self, source: Source) -> Option<Said> {
        self.said[source as usize]
    }

    pub fn hear(&mut self, source: Source, said: Said) {
        let known = &mut self.said[source as usize];
        *known = (*known).max(Some(said));
    }

    /// The latest word of the strongest source that spoke.
    pub fn label(&self) -> Option<Label> {
        let strongest = Source::ALL.iter().rev().find_map(|source| Some((*source, self.said(*source)?)));
        strongest.map(|(source, said)| {
            let harmful = match said.what {
                What::Seen { harmful } => harmful,
                What::Feedback(Feedback::Missed) => true,
                What::Feedback(Feedback::FalseAlarm) => false,
                // What is said to be correct is what was called, or that nothing was.
                What::Feedback(Feedback::Correct) => self.called.is_some(),
            };
            Label { harmful, source, at: said.at }
        })
    }

    /// None while it is watched and nothing was called: what becomes of it is open.
    pub fn outcome(&self) -> Option<Outcome> {
        let harmful = self.label().map(|label| label.harmful);
        match (&self.called, self.ended, harmful) {
            (Some(_), _, Some(true)) => Some(Outcome::Right),
            (Some(_), _, Some(false)) => Some(Outcome::FalseAlarm),
            (Some(_), _, None) => Some(Outcome::Unlabelled),
            (None, None, _) => None,
            (None, Some(_), Some(true)) => Some(Outcome::Missed),
            (None, Some(_), Some(false)) => Some(Outcome::Cleared),
            (None, Some(_), None) => Some(Outcome::Quiet),
        }
    }

    /// How sure we were of harm: when it was called, or at the end.
    pub fn risk(&self) -> Option<f64> {
        self.called.as_ref().map(|called| called.risk).or(self.risk)
    }
}
