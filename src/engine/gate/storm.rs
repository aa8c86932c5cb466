//! Many regressions at once in one environment: one of them speaks for all, the others are held and named in its
//! thread.
//!
//! A bad library in forty services is one thing to look at, not forty pages. Who belongs together is told by time and
//! environment alone; why, people must find out.

use super::Proposal;
use super::recent::Recent;
use crate::engine::effect::Member;
use crate::engine::event::Deployment;
use crate::engine::policy::Policy;
use crate::engine::time::Time;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Regressions found lately: some 200 bytes each, 400 KB. In a storm of more, the first are not named.
const LIMIT: usize = 2_000;
/// Environments in a storm.
const ENVIRONMENTS: usize = 1_000;
/// Members that are named in one message.
pub const NAMED: usize = 50;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Storms {
    found: Recent<Arc<str>, Found>,
    /// By environment: the thread that speaks for all, and when the storm's latest regression was found.
    leaders: Recent<Arc<str>, (Arc<str>, Time)>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Found {
    at: Time,
    deployment: Deployment,
    /// Another one speaks for it.
    joined: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    Calm,
    /// It speaks for all from now on.
    Leads,
    /// Another one speaks for it.
    Joins,
}

impl Storms {
    /// A regression was found, again or for the first time: whether it speaks for itself. Who has joined stays so.
    pub fn note(&mut self, policy: &Policy, now: Time, proposal: &Proposal) -> Weather {
        let (thread, env) = (proposal.thread, &proposal.deployment.env);
        let leads = self.leaders.get(env).is_some_and(|(leader, _)| **leader == *thread);
        let stormy = self.leader(policy, now, env).is_some();
        if self.found.get(thread).is_none() {
            let kept = policy.gate.storm_window + policy.watch.duration;
            self.found.prune(|found| now - found.at > kept);
            let found = Found { at: now, deployment: proposal.deployment.clone(), joined: false };
            self.found.insert(thread.into(), found, LIMIT);
            if let Some((_, latest)) = self.leaders.get_mut(env).filter(|_| stormy) {
                *latest = now;
            }
        }
        let many = self.recent(policy, now, env).count() >= policy.gate.storm_size;
        let Some(found) = self.found.get_mut(thread) else { return Weather::Calm };
        found.joined |= stormy && !leads;
        match (leads, found.joined) {
            (true, _) => Weather::Leads,
            (false, true) => Weather::Joins,
            (false, false) if many => Weather::Leads,
            (false, false) => Weather::Calm,
        }
    }

    /// The thread speaks for all from now on; who they are so far.
    pub fn lead(&mut self, policy: &Policy, now: Time, thread: &Arc<str>, env: &Arc<str>) -> Vec<Member> {
        self.leaders.insert(env.clone(), (thread.clone(), now), ENVIRONMENTS);
        let members = self.recent(policy, now, env);
        members.take(NAMED).map(member).collect()
    }

    /// The thread that speaks for an environment in a storm.
    pub fn leader(&self, policy: &Policy, now: Time, env: &str) -> Option<&Arc<str>> {
        let (leader, latest) = self.leaders.get(env)?;
        (now - *latest <= policy.gate.storm_window).then_some(leader)
    }

    fn recent(&self, policy: &Policy, now: Time, env: &str) -> impl Iterator<Item = &Deployment> {
        let window = policy.gate.storm_window;
        let near = self.found.values().filter(move |found| now - found.at <= window).map(|found| &found.deployment);
        near.filter(move |deployment| *deployment.env == *env)
    }
}

pub fn member(deployment: &Deployment) -> Member {
    Member { service: deployment.service.clone(), deployment: deployment.id.clone() }
}
