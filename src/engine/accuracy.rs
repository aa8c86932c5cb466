//! How often we were right: one case for each deployment that was watched, what was called, and what people and events
//! said of it since.
//!
//! A label is kept for each source, the latest of it; the strongest source speaks. So labels may come twice and in any
//! order and lead to the same table. What nobody labelled is unlabelled, never right. It decides nothing; what follows
//! from it for automation stands in `earning`.

mod case;
mod table;

use super::effect::{Accuracy, Heard, Lifecycle, Method, Reason, Recommendation, Rung, Source, VerdictKind};
use super::event::{About, Decision, Deployment, DeploymentKind, Feedback};
use super::gate::recent::Recent;
use super::policy::Policy;
use super::time::Time;
use super::verdict::Verdict;
use case::{Called, Said};
pub use case::{Case, Label};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Some 700 bytes each with the deployment's names, 7 MB in all; a fleet with more deployments within `accuracy.over`
/// measures the latest of them, and says how many it forgot.
const LIMIT: usize = 10_000;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Cases {
    known: Recent<Arc<str>, Case>,
    /// From a deployment's id to its thread; another environment may use the same id, then the later one counts.
    deployments: Recent<Arc<str>, Arc<str>>,
    next: Option<Time>,
    /// Counts what may change the table, in this process.
    #[serde(skip)]
    version: u64,
}

/// A label that is new, and whose.
#[derive(Clone, Debug, PartialEq)]
pub struct Labelled {
    pub thread: Arc<str>,
    pub at: Time,
    /// When the label that it takes the place of was given.
    pub before: Option<Time>,
}

impl Cases {
    /// A deployment is under watch from now on.
    pub fn open(&mut self, policy: &Policy, now: Time, thread: &Arc<str>, deployment: &Arc<Deployment>) {
        self.forget(policy, now);
        self.touch();
        let mut case = Case::new(deployment.clone());
        case.back = self.is_back(deployment);
        self.known.insert(thread.clone(), case, LIMIT);
        self.deployments.insert(deployment.id.clone(), thread.clone(), LIMIT);
        self.next.get_or_insert_with(|| now.floor(policy.accuracy.every) + policy.accuracy.every);
    }

    /// It was found to be a regression, whether or not that was said. The first time counts.
    pub fn call(&mut self, now: Time, thread: &str, found: &Verdict) {
        let method = found.evidence.iter().max_by(|a, b| a.strength.total_cmp(&b.strength)).map(|each| each.method);
        if let Some(case) = self.known.get_mut(thread) {
            let method = method.unwrap_or(Method::AfterAgainstExpected);
            case.called.get_or_insert(Called { at: now, method, risk: found.risk });
            self.version += 1;
        }
    }

    /// The watch is over.
    pub fn close(&mut self, thread: &str, kind: VerdictKind, risk: Option<f64>) {
        if let Some(case) = self.known.get_mut(thread) {
            case.ended = Some(kind);
            case.risk = risk.or(case.risk);
            self.version += 1;
        }
    }

    /// Somebody says what it was, by a control message told at `at`.
    pub fn feed_back(&mut self, about: &About, at: Time, feedback: Feedback) -> (Heard, Option<Labelled>) {
        let Some((thread, case)) = self.thread(about).and_then(|id| self.known.get(&id).map(|case| (id, case))) else {
            return (Heard::Unknown, None);
        };
        let new = Said { at, what: case::What::Feedback(feedback) };
        match case.said(Source::Feedback) {
            Some(known) if known >= new => {
                let again = known.what == new.what;
                (if again { Heard::Repeated } else { Heard::AlreadyDecided }, None)
            }
            Some(known) if known.what == new.what => {
                // The later of two equal words stands, lest one between them win.
                (Heard::Repeated, self.label(&thread, Source::Feedback, new))
            }
            _ => (Heard::Taken, self.label(&thread, Source::Feedback, new)),
        }
    }

    /// What a message of its thread shows: a rejection, or that a rollback helped or did not. `at` is when whoever gave
    /// rise to it spoke.
    pub fn shown(&mut self, said: &Recommendation, at: Time) -> Option<Labelled> {
        // A second rejection changes nothing in the thread; here the later one counts, in whichever order they come.
        let rejected = said.answer.as_ref().is_some_and(|answer| {
            answer.decision == Decision::Rejected && matches!(answer.outcome, Heard::Taken | Heard::AlreadyDecided)
        });
        let not_helped = said.guardrails.reasons.contains(&Reason::RollbackDidNotHelp);
        match said.lifecycle {
            Lifecycle::Rejected if rejected => self.seen(&said.thread, Source::Rejection, at, false),
            Lifecycle::Verified if said.answer.is_none() => self.seen(&said.thread, Source::Recovery, at, true),
            Lifecycle::Updated if not_helped && said.answer.is_none() => {
                self.seen(&said.thread, Source::Recovery, at, false)
            }
            _ => None,
        }
    }

    /// A deployment took effect: which one it takes back, within its watch or while `is_open` says so of its thread.
    pub fn deployed(
        &mut self,
        policy: &Policy,
        deployment: &Deployment,
        is_open: impl Fn(&str) -> bool,
    ) -> Vec<Labelled> {
        let undone = self.undone(policy, deployment, is_open);
        // Whoever goes back over several releases says nothing of those that nobody called.
        let alone = undone.len() == 1;
        let blamed = undone.into_iter().filter(|id| alone || self.get(id).is_some_and(|case| case.called.is_some()));
        let blamed: Vec<_> = blamed.collect();
        blamed.iter().filter_map(|id| self.seen(id, Source::RolledBack, deployment.at, true)).collect()
    }

    /// The thread that is meant, known or not.
    pub fn thread(&self, about: &About) -> Option<Arc<str>> {
        match about {
            About::Recommendation(thread) => Some(thread.clone()),
            About::Deployment(id) => self.deployments.get(id).cloned(),
        }
    }

    /// Something changed that stands in the table.
    pub fn touch(&mut self) {
        self.version += 1;
    }

    /// Greater after each change of the table.
    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn get(&self, thread: &str) -> Option<&Case> {
        self.known.get(thread)
    }

    /// Every case, with its thread.
    pub fn all(&self) -> impl Iterator<Item = (&Arc<str>, &Case)> {
        self.known.iter()
    }

    pub fn next_due(&self) -> Option<Time> {
        self.next
    }

    /// Whether the periodic report is due; if so, the next one is set.
    pub fn is_due(&mut self, policy: &Policy, now: Time) -> bool {
        let due = self.next.is_some_and(|next| next <= now);
        if due {
            self.next = Some(now.floor(policy.accuracy.every) + policy.accuracy.every);
            self.forget(policy, now);
        }
        due
    }

    pub fn report(&self, policy: &Policy, now: Time, rungs: Vec<Rung>) -> Accuracy {
        table::report(self, policy, now, rungs)
    }

    /// Pushed out by the limit before their time.
    pub fn forgotten(&self) -> u64 {
        self.known.forgotten()
    }

    /// The deployments of the service that this one takes back.
    fn undone(&self, policy: &Policy, deployment: &Deployment, is_open: impl Fn(&str) -> bool) -> Vec<Arc<str>> {
        let mut earlier: Vec<(&Arc<str>, &Case)> = self
            .known
            .iter()
            .filter(|(thread, case)| {
                let about = &case.deployment;
                let watched = deployment.at <= about.at + policy.watch.duration;
                (&about.env, &about.service) == (&deployment.env, &deployment.service)
                    && about.id != deployment.id
                    && about.at <= deployment.at
                    // Who rolls forward again after a rollback does not say that the rollback did harm.
                    && !case.back
                    && (watched || is_open(thread))
            })
            .collect();
        earlier.sort_by_key(|(_, case)| case.deployment.at);
        let first = match &deployment.version {
            Some(version) => {
                let from = |case: &Case| case.deployment.previous_version.as_ref() == Some(version);
                earlier.iter().rposition(|(_, case)| from(case))
            }
            None => None,
        };
        // A rollback to a version that none of them left takes back the last one at least.
        let last = earlier.len().checked_sub(1).filter(|_| deployment.kind == DeploymentKind::Rollback);
        let first = first.or(last);
        earlier.split_off(first.unwrap_or(earlier.len())).into_iter().map(|(thread, _)| thread.clone()).collect()
    }

    /// Whether a deployment is itself a way back.
    fn is_back(&self, deployment: &Deployment) -> bool {
        let undoes = |about: &Deployment| {
            (&about.env, &about.service) == (&deployment.env, &deployment.service)
                && about.id != deployment.id
                && about.previous_version.is_some()
                && (&about.previous_version, &about.version) == (&deployment.version, &deployment.previous_version)
        };
        deployment.kind == DeploymentKind::Rollback || self.known.values().any(|case| undoes(&case.deployment))
    }

    fn seen(&mut self, thread: &str, source: Source, at: Time, harmful: bool) -> Option<Labelled> {
        let thread: Arc<str> = thread.into();
        self.label(&thread, source, Said { at, what: case::What::Seen { harmful } })
    }

    /// Notes what a source said, if it is the latest of it; a label where the case's changed.
    fn label(&mut self, thread: &Arc<str>, source: Source, said: Said) -> Option<Labelled> {
        let case = self.known.get_mut(thread)?;
        let before = case.label();
        case.hear(source, said);
        self.version += 1;
        let after = case.label()?;
        let changed = before != Some(after);
        changed.then(|| Labelled { thread: thread.clone(), at: after.at, before: before.map(|label| label.at) })
    }

    fn forget(&mut self, policy: &Policy, now: Time) {
        self.known.prune(|case| case.deployment.at + policy.accuracy.over < now);
    }
}

#[cfg(test)]
mod tests;
