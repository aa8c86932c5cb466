//! What was said, thread by thread, and what people answered.
//!
//! It keeps anything from being said twice and ties approvals and feedback to what they speak of. It judges nothing.

use super::recent::Recent;
use crate::engine::effect::{Action, Heard, VerdictKind};
use crate::engine::event::{About, Decision, Deployment, Feedback};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Some 600 bytes each, 6 MB in all. Ten times as many as may be watched at once by default: a thread that is still
/// asked for is not forgotten. Feedback for a forgotten one is `unknown`.
const LIMIT: usize = 10_000;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Said {
    threads: Recent<Arc<str>, Thread>,
    /// From a deployment's id to the thread that spoke of it last; another environment may use the same id.
    deployments: Recent<Arc<str>, Arc<str>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Thread {
    verdict: VerdictKind,
    action: Action,
    deployment: Deployment,
    decision: Option<Decision>,
    feedback: Option<Feedback>,
}

impl Said {
    /// Is this the last that was said in the thread?
    pub fn stands(&self, thread: &str, verdict: VerdictKind, action: Action) -> bool {
        self.threads.get(thread).is_some_and(|said| (said.verdict, said.action) == (verdict, action))
    }

    pub fn say(&mut self, thread: &Arc<str>, verdict: VerdictKind, action: Action, deployment: &Deployment) {
        let (decision, feedback) = self.threads.get(thread).map_or((None, None), |t| (t.decision, t.feedback));
        let said = Thread { verdict, action, deployment: deployment.clone(), decision, feedback };
        self.threads.insert(thread.clone(), said, LIMIT);
        self.deployments.insert(deployment.id.clone(), thread.clone(), LIMIT);
    }

    pub fn approve(&mut self, thread: &str, decision: Decision) -> Heard {
        match self.threads.get_mut(thread) {
            None => Heard::Unknown,
            Some(said) if said.decision == Some(decision) => Heard::Repeated,
            Some(said) => {
                said.decision = Some(decision);
                Heard::Taken
            }
        }
    }

    /// With the deployment it was about, if it was taken.
    pub fn feed_back(&mut self, about: &About, feedback: Feedback) -> (Heard, Option<&Deployment>) {
        let thread = match about {
            About::Recommendation(thread) => Some(thread),
            About::Deployment(id) => self.deployments.get(id),
        };
        match thread.and_then(|thread| self.threads.get_mut(thread)) {
            None => (Heard::Unknown, None),
            Some(said) if said.feedback == Some(feedback) => (Heard::Repeated, None),
            Some(said) => {
                said.feedback = Some(feedback);
                (Heard::Taken, Some(&said.deployment))
            }
        }
    }

    pub fn forgotten(&self) -> u64 {
        self.threads.forgotten()
    }
}
