//! How often may be spoken: cooldowns and rate limits, for each service and for the fleet.
//!
//! All of them are asked before any of them is charged: what is held back costs nothing.

use super::budget::Bucket;
use super::recent::Recent;
use crate::engine::effect::Reason;
use crate::engine::event::Deployment;
use crate::engine::policy::GatePolicy;
use crate::engine::time::Time;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Cooldowns and service buckets, each: some 250 bytes, 2.5 MB. Forgetting the oldest lets its service speak early; the
/// fleet's limit holds regardless.
const LIMIT: usize = 10_000;

/// Environment and service.
type Place = (Arc<str>, Arc<str>);

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Quiet {
    cooldowns: Recent<Place, Cooldown>,
    services: Recent<Place, Bucket>,
    fleet: Bucket,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Cooldown {
    until: Time,
    /// The thread that spoke: it is not held by its own cooldown and does not extend it.
    thread: Arc<str>,
}

impl Quiet {
    /// Why this thread may not speak now, if it may not.
    pub fn holds(&self, policy: &GatePolicy, now: Time, thread: &str, deployment: &Deployment) -> Option<Reason> {
        let place = place(deployment);
        let cooling = self.cooldowns.get(&place).is_some_and(|c| now < c.until && *c.thread != *thread);
        let service = self.services.get(&place).copied().unwrap_or_default();
        if cooling {
            Some(Reason::Cooldown)
        } else if !service.has_one(policy.service_limit, now) {
            Some(Reason::ServiceLimit)
        } else if !self.fleet.has_one(policy.fleet_limit, now) {
            Some(Reason::FleetLimit)
        } else {
            None
        }
    }

    /// The thread speaks: charges the budgets, starts the cooldown unless it runs for this thread already, and says
    /// until when it runs.
    pub fn charge(&mut self, policy: &GatePolicy, now: Time, thread: &Arc<str>, deployment: &Deployment) -> Time {
        let place = place(deployment);
        let mut bucket = self.services.get(&place).copied().unwrap_or_default();
        bucket.take(policy.service_limit, now);
        self.fleet.take(policy.fleet_limit, now);
        self.services.prune(|bucket| bucket.is_full(policy.service_limit, now));
        self.services.insert(place.clone(), bucket, LIMIT);

        self.cooldowns.prune(|cooldown| cooldown.until <= now);
        if let Some(running) = self.cooldowns.get(&place).filter(|c| now < c.until && c.thread == *thread) {
            return running.until;
        }
        let until = now + policy.cooldown;
        self.cooldowns.insert(place, Cooldown { until, thread: thread.clone() }, LIMIT);
        until
    }

    pub fn cooldowns(&self, now: Time) -> usize {
        self.cooldowns.values().filter(|cooldown| now < cooldown.until).count()
    }

    pub fn fleet_tokens(&self, policy: &GatePolicy, now: Time) -> f64 {
        self.fleet.tokens(policy.fleet_limit, now)
    }

    pub fn forgotten(&self) -> u64 {
        self.cooldowns.forgotten() + self.services.forgotten()
    }
}

fn place(deployment: &Deployment) -> Place {
    (deployment.env.clone(), deployment.service.clone())
}
