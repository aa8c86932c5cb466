//! What was said, thread by thread, and what people answered.
//!
//! It keeps anything from being said twice and ties feedback to what it speaks of. It judges nothing; what became of a
//! recommendation, and who approved it, is the threads' affair.

use super::recent::Recent;
use crate::engine::effect::{Action, Heard, VerdictKind};
use crate::engine::event::{About, Deployment, Feedback};
use crate::engine::time::Time;
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
    /// What people thought of it, and when the one who said it last said so.
    feedback: Option<(Time, Feedback)>,
}

impl Said {
    /// Is this the last that was said in the thread?
    pub fn stands(&self, thread: &str, verdict: VerdictKind, action: Action) -> bool {
        self.threads.get(thread).is_some_and(|said| (said.verdict, said.action) == (verdict, action))
    }

    pub fn say(&mut self, thread: &Arc<str>, verdict: VerdictKind, action: Action, deployment: &Deployment) {
        let feedback = self.threads.get(thread).and_then(|thread| thread.feedback);
        let said = Thread { verdict, action, deployment: deployment.clone(), feedback };
        self.threads.insert(thread.clone(), said, LIMIT);
        self.deployments.insert(deployment.id.clone(), thread.clone(), LIMIT);
    }

    /// With the deployment it was about, if it was taken. The latest word counts, in whichever order they arrive.
    pub fn feed_back(&mut self, about: &About, at: Time, feedback: Feedback) -> (Heard, Option<&Deployment>) {
        let thread = match about {
            About::Recommendation(thread) => Some(thread),
            About::Deployment(id) => self.deployments.get(id),
        };
        match thread.and_then(|thread| self.threads.get_mut(thread)) {
            None => (Heard::Unknown, None),
            Some(said) if said.feedback.is_some_and(|(_, known)| known == feedback) => {
                // The later of two equal words stands, lest one between them win.
                said.feedback = said.feedback.max(Some((at, feedback)));
                (Heard::Repeated, None)
            }
            Some(said) if said.feedback > Some((at, feedback)) => (Heard::AlreadyDecided, None),
            Some(said) => {
                said.feedback = Some((at, feedback));
                (Heard::Taken, Some(&said.deployment))
            }
        }
    }

    pub fn forgotten(&self) -> u64 {
        self.threads.forgotten()
    }
}
