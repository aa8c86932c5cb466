//! A watch: one deployment, looked at once a minute until its time is over.
//!
//! Knows its life cycle and when it is due; sees and judges nothing itself. Warming is the time in which starting up
//! excuses much; then it watches; a newer deployment of the same service ends it early.

use super::detect::peers::Shared;
use super::detect::{ByHorizon, SETTLING};
use super::event::Deployment;
use super::ledger::Sum;
use super::policy::Policy;
use super::time::{Span, Time};
use super::window::{Minute, minute_at, minute_of, start_of};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How long after a minute's end it is looked at, so that stragglers of that minute are in.
pub const GRACE: Span = Span::seconds(2);

/// Moves shared with peers that a watch keeps in mind, 16 bytes each.
const SHARED: usize = 32;

/// About 500 bytes, and what the deployment's names take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    pub deployment: Arc<Deployment>,
    pub thread: Arc<str>,
    /// Place of the service in the fleet, once any sample made it known.
    pub service: Option<u32>,
    pub until: Time,
    /// When it is to be looked at next.
    pub due: Time,
    /// A regression was found, whatever is said of it.
    pub found: bool,
    pub superseded: bool,
    /// What it is held against was noted.
    pub begun: bool,
    /// The most that each horizon has told so far.
    pub by_horizon: ByHorizon,
    /// Moves that peers shared when they began; at most `SHARED`.
    pub shared: Vec<Shared>,
    /// Watches a week over the whole fleet, as known when it was opened.
    pub weekly: f64,
    /// Its steps were entered in the ledger.
    pub entered: bool,
    /// Something that it would have judged by was never read.
    pub gap: bool,
    /// With the releases before it, it passed a budget that it did not pass alone.
    pub sum: Option<Sum>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Warming,
    Watching,
}

impl Watch {
    pub fn open(deployment: Deployment, thread: String, duration: Span, weekly: f64, now: Time) -> Watch {
        let until = deployment.at + duration;
        let mut watch = Watch {
            deployment: Arc::new(deployment),
            thread: thread.into(),
            service: None,
            until,
            due: Time::MIN,
            found: false,
            superseded: false,
            begun: false,
            by_horizon: ByHorizon::default(),
            shared: Vec::new(),
            weekly,
            entered: false,
            gap: false,
            sum: None,
        };
        watch.reschedule(now);
        watch
    }

    /// Joins what a look has found with what was found before; both sides then hold the larger of each.
    pub fn join(&mut self, found: &mut ByHorizon) {
        for (before, now) in self.by_horizon.iter_mut().zip(found) {
            *before = before.max(*now);
            *now = *before;
        }
    }

    /// Notes what peers were found to share; of more than there is room for the newest.
    pub fn note_shared(&mut self, found: Vec<Shared>) {
        for new in found {
            if !self.shared.iter().any(|known| known.is_same(&new)) {
                self.shared.drain(..(self.shared.len() + 1).saturating_sub(SHARED));
                self.shared.push(new);
            }
        }
    }

    /// The chance of a false alarm that it may run.
    pub fn level(&self, policy: &Policy) -> f64 {
        policy.detection.level(self.weekly)
    }

    /// True the first time.
    pub fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.begun, true)
    }

    /// The first minute that lies wholly after the change.
    pub fn start(&self) -> Minute {
        minute_of(self.deployment.at) + 1
    }

    pub fn phase(&self, now: Time) -> Phase {
        let settled = start_of(minute_of(self.deployment.at) + 1 + SETTLING);
        if now < settled { Phase::Warming } else { Phase::Watching }
    }

    /// Due again after the minute that `now` lies in, or at the end, whichever comes first.
    pub fn reschedule(&mut self, now: Time) {
        let next = start_of(minute_at(now.max(self.deployment.at) - GRACE).saturating_add(1)) + GRACE;
        let end = self.until + GRACE;
        self.due = if next < end { next } else { end.max(now + Span(1)) };
    }

    pub fn is_over(&self, now: Time) -> bool {
        now >= self.until + GRACE
    }

    /// Whether it judges by anything from this stretch of time, the hour before the change included.
    pub fn judges_by(&self, from: Time, to: Time) -> bool {
        from <= self.until && to >= self.deployment.at - Span::HOUR
    }

    /// Whether what is missing keeps it from finding anything that it has not found yet.
    pub fn is_blind(&self) -> bool {
        self.gap && !self.found
    }

    /// The last complete minute at `now`.
    pub fn complete(now: Time) -> Minute {
        minute_at(now - GRACE).saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(at: i64) -> Watch {
        let deployment = Deployment::new(Time(at), "d1", "checkout", "prod");
        Watch::open(deployment, "t".into(), Span::HOUR, 1.0, Time(at))
    }

    #[test]
    fn looks_after_each_minute_and_at_the_end() {
        let mut watch = watch(30_000);
        assert_eq!(watch.due, Time(62_000));
        watch.reschedule(Time(62_000));
        assert_eq!(watch.due, Time(122_000));
        assert_eq!(Watch::complete(Time(122_000)), 1);
        watch.reschedule(watch.until);
        assert!(watch.is_over(watch.due));
    }

    #[test]
    fn what_peers_shared_is_noted_once_and_within_limits() {
        let mut watch = watch(30_000);
        let at = |onset| Shared { signal: 0, track: 0, increase: true, onset };
        watch.note_shared(vec![at(10), at(12), at(20)]);
        assert_eq!(watch.shared, [at(10), at(20)]);
        watch.note_shared((3..100).map(|each| at(10 * each)).collect());
        assert_eq!((watch.shared.len(), watch.shared.last()), (SHARED, Some(&at(990))));
    }

    #[test]
    fn warms_before_it_watches() {
        let watch = watch(30_000);
        assert_eq!(watch.phase(Time(60_000)), Phase::Warming);
        assert_eq!(watch.phase(Time(200_000)), Phase::Watching);
    }
}
