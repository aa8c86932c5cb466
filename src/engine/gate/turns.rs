//! Versions that take turns: A, B, A, B within a while is flapping, whoever does it.
//!
//! Remembers the last few versions of each service and environment. What flapping leads to is the route's affair.

use super::recent::Recent;
use crate::engine::event::Deployment;
use crate::engine::policy::Policy;
use crate::engine::time::Time;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Services: some 300 bytes each, 3 MB in all. A forgotten one's turns are counted anew.
const LIMIT: usize = 10_000;
/// Versions remembered of each: two of one and two of the other.
const TURNS: usize = 4;

/// When and to which version, in order of time.
type Turn = (Time, Arc<str>);

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Turns {
    places: Recent<(Arc<str>, Arc<str>), Vec<Turn>>,
}

impl Turns {
    pub fn deployed(&mut self, deployment: &Deployment) {
        let Some(version) = &deployment.version else { return };
        let place = (deployment.env.clone(), deployment.service.clone());
        let mut turns = self.places.get(&place).cloned().unwrap_or_default();
        turns.push((deployment.at, version.clone()));
        turns.sort();
        // A version that is rolled out in steps is deployed once.
        turns.dedup_by(|later, earlier| later.1 == earlier.1);
        let surplus = turns.len().saturating_sub(TURNS);
        turns.drain(..surplus);
        self.places.insert(place, turns, LIMIT);
    }

    pub fn flapping(&self, policy: &Policy, deployment: &Deployment) -> bool {
        match self.places.get(&(deployment.env.clone(), deployment.service.clone())).map(Vec::as_slice) {
            Some([(from, a), (_, b), (_, again), (to, back)]) => {
                a == again && b == back && *to - *from <= policy.gate.flapping
            }
            _ => false,
        }
    }

    pub fn forgotten(&self) -> u64 {
        self.places.forgotten()
    }
}
