//! How often may be spoken: cooldowns, and rate limits for each service, team and environment and for the fleet.
//!
//! All of them are asked before any of them is charged: what is held back costs nothing.

use super::budget::Bucket;
use super::recent::Recent;
use crate::engine::effect::Reason;
use crate::engine::event::Deployment;
use crate::engine::policy::{Policy, RateLimit};
use crate::engine::time::Time;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Cooldowns and buckets of each kind, each: some 250 bytes, 2.5 MB a kind. Forgetting the oldest lets its service,
/// team or environment speak early; the fleet's limit holds regardless.
const LIMIT: usize = 10_000;

/// Environment and service.
type Place = (Arc<str>, Arc<str>);

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Quiet {
    cooldowns: Recent<Place, Cooldown>,
    services: Recent<Place, Bucket>,
    teams: Recent<Arc<str>, Bucket>,
    envs: Recent<Arc<str>, Bucket>,
    fleet: Bucket,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Cooldown {
    until: Time,
    /// The thread that spoke: it is not held by its own cooldown and does not extend it.
    thread: Arc<str>,
}

impl Quiet {
    /// Why this thread may not speak now, if it may not: the narrowest reason.
    pub fn holds(&self, policy: &Policy, now: Time, thread: &str, deployment: &Deployment) -> Option<Reason> {
        let (place, gate) = (place(deployment), &policy.gate);
        let cooling = self.cooldowns.get(&place).is_some_and(|c| now < c.until && *c.thread != *thread);
        let empty = |bucket: Option<&Bucket>, limit| !bucket.copied().unwrap_or_default().has_one(limit, now);
        if cooling {
            Some(Reason::Cooldown)
        } else if empty(self.services.get(&place), gate.service_limit) {
            Some(Reason::ServiceLimit)
        } else if policy.team(deployment).is_some_and(|team| empty(self.teams.get(team), gate.team_limit)) {
            Some(Reason::TeamLimit)
        } else if empty(self.envs.get(&deployment.env), gate.env_limit) {
            Some(Reason::EnvLimit)
        } else if empty(Some(&self.fleet), gate.fleet_limit) {
            Some(Reason::FleetLimit)
        } else {
            None
        }
    }

    /// The thread speaks: charges the budgets, starts the cooldown unless it runs for this thread already, and says
    /// until when it runs.
    pub fn charge(&mut self, policy: &Policy, now: Time, thread: &Arc<str>, deployment: &Deployment) -> Time {
        let (place, gate) = (place(deployment), &policy.gate);
        take(&mut self.services, place.clone(), gate.service_limit, now);
        if let Some(team) = policy.team(deployment) {
            take(&mut self.teams, team.clone(), gate.team_limit, now);
        }
        take(&mut self.envs, deployment.env.clone(), gate.env_limit, now);
        self.fleet.take(gate.fleet_limit, now);

        self.cooldowns.prune(|cooldown| cooldown.until <= now);
        if let Some(running) = self.cooldowns.get(&place).filter(|c| now < c.until && c.thread == *thread) {
            return running.until;
        }
        let until = now + gate.cooldown;
        self.cooldowns.insert(place, Cooldown { until, thread: thread.clone() }, LIMIT);
        until
    }

    pub fn cooldowns(&self, now: Time) -> usize {
        self.cooldowns.values().filter(|cooldown| now < cooldown.until).count()
    }

    pub fn fleet_tokens(&self, policy: &Policy, now: Time) -> f64 {
        self.fleet.tokens(policy.gate.fleet_limit, now)
    }

    pub fn forgotten(&self) -> u64 {
        self.cooldowns.forgotten() + self.services.forgotten() + self.teams.forgotten() + self.envs.forgotten()
    }
}

fn take<K: Ord + Clone>(buckets: &mut Recent<K, Bucket>, key: K, limit: RateLimit, now: Time) {
    let mut bucket = buckets.get(&key).copied().unwrap_or_default();
    bucket.take(limit, now);
    buckets.prune(|bucket| bucket.is_full(limit, now));
    buckets.insert(key, bucket, LIMIT);
}

fn place(deployment: &Deployment) -> Place {
    (deployment.env.clone(), deployment.service.clone())
}
