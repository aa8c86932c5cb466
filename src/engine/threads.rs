//! What became of what was said: one thread for each deployment, from its first message to its last.
//!
//! Keeps the threads, says which is due, and lets deployments, people and time speak to them; what each of these leads
//! to stands in `thread`. It judges no evidence and asks no guardrail. A thread that asked for something always ends:
//! superseded, withdrawn, rejected, expired or verified.

mod answers;
mod thread;

use super::effect::{Action, Heard, Lifecycle, Recommendation, Rollout};
use super::event::{ContextKind, Decision, Deployment, DeploymentKind, Window};
use super::gate::recent::Recent;
use super::policy::Policy;
use super::report::Recovered;
use super::time::Time;
use super::verdict::Verdict;
use super::watch::Watch;
use super::window::{Minute, minute_of};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use thread::Thread;

/// Some 800 bytes each, 8 MB in all; one that is open holds its evidence too, 3 KB. It would take 10,000 messages
/// within the time that a recommendation stands to push out one that is open.
const LIMIT: usize = 10_000;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Threads {
    known: Recent<Arc<str>, Thread>,
    /// Those that are open, by when something is to be done about them.
    open: BTreeSet<(Time, Arc<str>)>,
}

impl Threads {
    /// The gate let it pass: it becomes the first message of its thread, or the next one. None if the thread has ended.
    pub fn say(&mut self, policy: &Policy, said: Recommendation) -> Option<Recommendation> {
        let id = said.thread.clone();
        let (thread, message) = match self.known.get(&id) {
            None => Thread::begin(policy, said),
            Some(thread) if is_last(thread.said.lifecycle) => return None,
            Some(thread) => {
                self.open.remove(&(thread.due, id.clone()));
                thread.clone().go_on(policy, said)
            }
        };
        if thread.is_open() {
            self.open.insert((thread.due, id.clone()));
        }
        self.known.insert(id, thread, LIMIT);
        Some(message)
    }

    /// Whether so much time has gone by since an open thread spoke that its evidence should be looked at again.
    pub fn is_old_news(&self, policy: &Policy, now: Time, id: &str) -> bool {
        self.known.get(id).is_some_and(|thread| thread.is_open() && thread.may_update(policy, now))
    }

    /// The same advice stands and its evidence was looked at again; a message if it changed so much that people should
    /// know. `may_speak` is asked before one is sent, and must charge whatever it costs.
    pub fn refresh(
        &mut self,
        policy: &Policy,
        now: Time,
        id: &Arc<str>,
        found: &Verdict,
        rollout: Option<Rollout>,
        may_speak: impl FnOnce(&Deployment) -> bool,
    ) -> Option<Recommendation> {
        self.with(id, |thread| thread.refresh(policy, now, found, rollout, may_speak))
    }

    /// A deployment took effect: what it means for the open threads of its environment.
    pub fn deployed(&mut self, now: Time, policy: &Policy, deployment: &Deployment) -> Vec<Recommendation> {
        let near =
            |about: &Deployment| about.env == deployment.env && about.id != deployment.id && about.at <= deployment.at;
        let ids = self.open_about(near);
        ids.iter().filter_map(|id| self.with(id, |thread| thread.deployed(policy, now, deployment))).collect()
    }

    /// Somebody declared what may have caused it: what that means for the open threads it covers.
    pub fn explained(&mut self, now: Time, window: &Window, kind: ContextKind, by: &str) -> Vec<Recommendation> {
        let ids = self.open_about(|about| window.scope.covers(&about.env, &about.service));
        ids.iter().filter_map(|id| self.with(id, |thread| thread.explained(now, window, kind, by))).collect()
    }

    /// Somebody approves or rejects.
    pub fn answer(
        &mut self,
        policy: &Policy,
        now: Time,
        id: &Arc<str>,
        by: Option<&Arc<str>>,
        decision: Decision,
    ) -> (Heard, Option<Recommendation>) {
        let mut heard = Heard::Unknown;
        let message = self.with(id, |thread| {
            let (outcome, message) = thread.answer(policy, now, by, decision);
            heard = outcome;
            message
        });
        (heard, message)
    }

    /// Another regression belongs to the storm that this thread speaks for.
    pub fn join(&mut self, id: &str, deployment: &Deployment) {
        if let Some(thread) = self.known.get_mut(id) {
            thread.join(deployment);
        }
    }

    pub fn next_due(&self) -> Option<Time> {
        self.open.first().map(|(due, _)| *due)
    }

    pub fn due(&self, now: Time) -> Vec<Arc<str>> {
        self.open.iter().take_while(|(due, _)| *due <= now).map(|(_, id)| id.clone()).collect()
    }

    /// None where it no longer matters, or too little time has gone by to tell.
    pub fn question(&self, id: &str, now: Time) -> Option<Recovered> {
        let thread = self.known.get(id)?;
        let about = &thread.said.deployment;
        Some(Recovered {
            env: about.env.clone(),
            service: about.service.clone(),
            evidence: thread.said.evidence.clone(),
            since: thread.recovers_since(),
            upto: Watch::complete(now),
        })
    }

    /// An open thread's time has come; `recovered` is the answer to its question.
    pub fn tick(&mut self, policy: &Policy, now: Time, id: &Arc<str>, healed: Option<bool>) -> Option<Recommendation> {
        if self.known.get(id).is_none() {
            self.open.retain(|(_, open)| open != id);
        }
        self.with(id, |thread| thread.tick(policy, now, healed))
    }

    /// Whether a thread still asks for something.
    pub fn is_open(&self, id: &str) -> bool {
        self.known.get(id).is_some_and(Thread::is_open)
    }

    /// How many still ask for something.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    fn open_about(&self, fits: impl Fn(&Deployment) -> bool) -> Vec<Arc<str>> {
        let open = self.open.iter().map(|(_, id)| id);
        open.filter(|id| self.known.get(*id).is_some_and(|thread| fits(&thread.said.deployment))).cloned().collect()
    }

    fn with(
        &mut self,
        id: &Arc<str>,
        speak: impl FnOnce(&mut Thread) -> Option<Recommendation>,
    ) -> Option<Recommendation> {
        let thread = self.known.get_mut(id)?;
        self.open.remove(&(thread.due, id.clone()));
        let message = speak(thread);
        if thread.is_open() {
            self.open.insert((thread.due, id.clone()));
        }
        message
    }
}

/// Whether a deployment takes back another one.
fn takes_back(deployment: &Deployment, other: &Deployment) -> bool {
    let back = deployment.version.is_some() && deployment.version == other.previous_version;
    deployment.kind == DeploymentKind::Rollback || back
}

/// Whether a deployment takes another one's place, rather than standing on top of it: a setting leaves the version.
fn replaces(deployment: &Deployment, other: &Deployment) -> bool {
    let same = deployment.service == other.service;
    same && (takes_back(deployment, other) || !deployment.kind.is_setting() || other.kind.is_setting())
}

/// The first minute that lies wholly after a change and after what starting up excuses.
fn settled(deployment: &Deployment) -> Minute {
    minute_of(deployment.at).saturating_add(1 + super::detect::SETTLING)
}

fn asks(said: &Recommendation) -> bool {
    said.action != Action::None
}

fn is_last(lifecycle: Lifecycle) -> bool {
    use Lifecycle::{Approved, Expired, Issued, Rejected, Superseded, Updated, Verified, Withdrawn};
    match lifecycle {
        Issued | Updated | Approved => false,
        Superseded | Withdrawn | Rejected | Expired | Verified => true,
    }
}
