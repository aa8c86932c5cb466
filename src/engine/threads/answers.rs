//! What people answered in a thread: who approved, and whether anybody rejected.
//!
//! Approvals are a set and a rejection is final, so that the order in which they arrive makes no difference to where
//! they lead. Who may answer is the policy's affair.

use crate::engine::event::Decision;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Different answers that are told in one thread; later ones stand in the audit only.
const TOLD: usize = 20;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answers {
    approved: BTreeSet<Arc<str>>,
    heard: BTreeSet<(Arc<str>, Decision)>,
}

impl Answers {
    /// False if this person said the same before.
    pub fn is_new(&mut self, by: &Arc<str>, decision: Decision) -> bool {
        self.heard.len() < TOLD && self.heard.insert((by.clone(), decision))
    }

    /// How many have approved, this one too.
    pub fn approve(&mut self, by: &Arc<str>) -> u32 {
        if self.approved.len() < TOLD {
            self.approved.insert(by.clone());
        }
        self.approved.len() as u32
    }

    /// Who approved, as one reads it.
    pub fn approvers(&self) -> String {
        self.approved.iter().map(|by| &**by).collect::<Vec<_>>().join(", ")
    }
}
