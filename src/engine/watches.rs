//! All open watches, and the deployments that were seen lately.
//!
//! Answers which are due, which a newer deployment overtakes, and why a deployment opens none. Judges nothing.

use super::effect::NotWatched;
use super::event::Deployment;
use super::fingerprint::{Fingerprint, thread_id};
use super::pace::Pace;
use super::policy::Policy;
use super::time::Time;
use super::watch::{Phase, Watch};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Stretches of time of which something was never read: 16 bytes each, then the two oldest become one.
const GAPS: usize = 32;

/// Deployment ids remembered, so that a repeated event opens no second watch: 8 bytes each.
const SEEN: usize = 20_000;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Watches {
    open: Vec<Watch>,
    closed: Vec<usize>,
    seen: VecDeque<u64>,
    pace: Pace,
    gaps: VecDeque<(Time, Time)>,
}

impl Watches {
    /// Why a deployment is not watched; `None` if it is to be.
    pub fn refuse(&self, policy: &Policy, now: Time, deployment: &Deployment) -> Option<NotWatched> {
        if self.seen.contains(&name_of(deployment)) {
            Some(NotWatched::Duplicate)
        } else if deployment.at > now + policy.watch.ahead {
            Some(NotWatched::FarFuture)
        } else if deployment.at + policy.watch.duration <= now - policy.watch.lateness {
            Some(NotWatched::TooOld)
        } else if self.open.len() >= policy.limits.watches {
            Some(NotWatched::Overflow)
        } else {
            None
        }
    }

    pub fn open(&mut self, policy: &Policy, now: Time, deployment: &Deployment) -> &Watch {
        let thread = thread_id(&deployment.env, &deployment.service, &deployment.id);
        let weekly = self.count(now, deployment);
        let place = self.open.len();
        let mut watch = Watch::open(deployment.clone(), thread, policy.watch.duration, weekly, now);
        watch.gap = self.gaps.iter().any(|(from, to)| watch.judges_by(*from, *to));
        self.open.push(watch);
        &self.open[place]
    }

    /// A deployment that another lane watches: it counts among the fleet's.
    pub fn pass_by(&mut self, now: Time, deployment: &Deployment) {
        self.count(now, deployment);
    }

    /// Something of this stretch of time was never read: whoever judges by it can't tell, now or later.
    pub fn gap(&mut self, from: Time, to: Time) {
        self.open.iter_mut().filter(|watch| watch.judges_by(from, to)).for_each(|watch| watch.gap = true);
        self.gaps.push_back((from, to));
        if self.gaps.len() > GAPS
            && let (Some(first), Some(second)) = (self.gaps.pop_front(), self.gaps.pop_front())
        {
            self.gaps.push_front((first.0.min(second.0), first.1.max(second.1)));
        }
    }

    /// Watches of the same service and environment whose deployment is older; they are marked as superseded.
    pub fn overtaken_by(&mut self, deployment: &Deployment) -> Vec<usize> {
        let mut overtaken = Vec::new();
        for (place, watch) in self.open.iter_mut().enumerate() {
            let same = watch.deployment.env == deployment.env && watch.deployment.service == deployment.service;
            if same && watch.deployment.at <= deployment.at && !self.closed.contains(&place) {
                watch.superseded = true;
                overtaken.push(place);
            }
        }
        overtaken
    }

    pub fn next_due(&self) -> Option<Time> {
        self.open.iter().map(|watch| watch.due).min()
    }

    /// Something was seen that should be looked at without waiting for the minute's end.
    pub fn hasten(&mut self, env: &str, service: &str, now: Time) {
        let theirs = |watch: &&mut Watch| &*watch.deployment.env == env && &*watch.deployment.service == service;
        for watch in self.open.iter_mut().filter(theirs).filter(|watch| !watch.found) {
            watch.due = watch.due.min(now);
        }
    }

    pub fn due(&self, now: Time) -> Vec<usize> {
        self.all().into_iter().filter(|&place| self.open[place].due <= now).collect()
    }

    pub fn all(&self) -> Vec<usize> {
        (0..self.open.len()).filter(|place| !self.closed.contains(place)).collect()
    }

    pub fn get(&self, place: usize) -> &Watch {
        &self.open[place]
    }

    pub fn get_mut(&mut self, place: usize) -> &mut Watch {
        &mut self.open[place]
    }

    /// Marks it closed; places stay as they are until `sweep`.
    pub fn close(&mut self, place: usize) -> Watch {
        self.closed.push(place);
        self.open[place].clone()
    }

    pub fn sweep(&mut self) {
        self.closed.sort_unstable();
        for place in self.closed.drain(..).rev() {
            self.open.remove(place);
        }
    }

    pub fn in_phase(&self, now: Time, phase: Phase) -> u64 {
        self.open.iter().filter(|watch| watch.phase(now) == phase).count() as u64
    }

    /// Notes that it was seen; how many are to be expected in a week.
    fn count(&mut self, now: Time, deployment: &Deployment) -> f64 {
        if self.seen.len() >= SEEN {
            self.seen.pop_front();
        }
        self.seen.push_back(name_of(deployment));
        self.pace.count(now)
    }
}

fn name_of(deployment: &Deployment) -> u64 {
    Fingerprint::new().with(&deployment.env).with(&deployment.service).with(&deployment.id).finish()
}
