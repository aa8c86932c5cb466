//! What people declared: freezes, mutes and events that may explain a change.
//!
//! Windows come from control messages and are forgotten once they can no longer matter; those that come again and again
//! stand in the policy. What a window does to a recommendation is the gate's affair.

use crate::engine::effect::Heard;
use crate::engine::event::{Deployment, Window, WindowKind as Kind};
use crate::engine::policy::Policy;
use crate::engine::time::{Span, Time};
use serde::{Deserialize, Serialize};

/// At most `policy.limits.windows`: about 200 bytes each, and every question looks at all of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Windows {
    declared: Vec<(Kind, Window)>,
}

impl Windows {
    pub fn declare(&mut self, policy: &Policy, now: Time, kind: Kind, window: &Window) -> Heard {
        self.prune(policy, now);
        if window.to <= window.from || over(policy, now, kind, window) {
            return Heard::Ended;
        }
        // A reason told differently changes nothing: what counts is what holds where and when.
        let same =
            |(k, w): &(Kind, Window)| (*k, &w.scope, w.from, w.to) == (kind, &window.scope, window.from, window.to);
        if self.declared.iter().any(same) {
            return Heard::Repeated;
        }
        if self.declared.len() >= policy.limits.windows {
            return Heard::Overflow;
        }
        self.declared.push((kind, window.clone()));
        Heard::Taken
    }

    pub fn prune(&mut self, policy: &Policy, now: Time) {
        self.declared.retain(|(kind, window)| !over(policy, now, *kind, window));
    }

    /// Is speaking of this deployment muted now?
    pub fn muted(&self, policy: &Policy, now: Time, deployment: &Deployment) -> bool {
        self.any(Kind::Mute, deployment, |window| holds(window, now))
            || recurs(policy, Kind::Mute, deployment, now, now)
    }

    /// Are changes to this deployment's service frozen now?
    pub fn frozen(&self, policy: &Policy, now: Time, deployment: &Deployment) -> bool {
        let declared = self.any(Kind::Freeze, deployment, |window| holds(window, now));
        declared || recurs(policy, Kind::Freeze, deployment, now, now)
    }

    /// Did anything happen since the deployment that may explain what was seen? All evidence since then is in doubt, so
    /// an event that is over by now still counts.
    pub fn explained(&self, policy: &Policy, now: Time, deployment: &Deployment) -> bool {
        let declared = self.any(Kind::Context, deployment, |window| window.from <= now && deployment.at < window.to);
        declared || recurs(policy, Kind::Context, deployment, deployment.at, now)
    }

    /// Windows that hold now or later.
    pub fn count(&self, now: Time) -> usize {
        self.declared.iter().filter(|(_, window)| now < window.to).count()
    }

    fn any(&self, kind: Kind, deployment: &Deployment, matters: impl Fn(&Window) -> bool) -> bool {
        self.declared.iter().any(|(k, window)| {
            *k == kind && window.scope.covers(&deployment.env, &deployment.service) && matters(window)
        })
    }
}

fn recurs(policy: &Policy, kind: Kind, deployment: &Deployment, since: Time, now: Time) -> bool {
    policy.windows.iter().any(|window| window.holds(kind, deployment, since, now))
}

fn holds(window: &Window, now: Time) -> bool {
    window.from <= now && now < window.to
}

/// An event matters to every deployment that may still be watched; the other windows only while they hold.
fn over(policy: &Policy, now: Time, kind: Kind, window: &Window) -> bool {
    let after = match kind {
        Kind::Context => Span(policy.watch.duration.0.saturating_add(policy.watch.lateness.0)),
        Kind::Freeze | Kind::Mute => Span(0),
    };
    window.to + after <= now
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::event::Scope;

    fn window(service: Option<&str>, from: i64, to: i64) -> Window {
        let scope = Scope { env: None, service: service.map(Into::into) };
        Window { scope, from: minutes(from), to: minutes(to), reason: None }
    }

    fn minutes(n: i64) -> Time {
        Time(0) + Span::minutes(n)
    }

    #[test]
    fn every_outcome() {
        let mut policy = Policy::default();
        policy.limits.windows = 2;
        let mut windows = Windows::default();
        let mut declare = |now, kind, w: &Window| windows.declare(&policy, minutes(now), kind, w);
        assert_eq!(declare(10, Kind::Mute, &window(None, 0, 10)), Heard::Ended);
        assert_eq!(declare(10, Kind::Mute, &window(None, 30, 20)), Heard::Ended, "it never holds");
        assert_eq!(declare(10, Kind::Mute, &window(None, 0, 20)), Heard::Taken);
        assert_eq!(
            declare(11, Kind::Mute, &Window { reason: Some("x".into()), ..window(None, 0, 20) }),
            Heard::Repeated
        );
        assert_eq!(declare(11, Kind::Freeze, &window(None, 0, 20)), Heard::Taken);
        assert_eq!(declare(11, Kind::Mute, &window(Some("a"), 0, 20)), Heard::Overflow);
        assert_eq!(declare(20, Kind::Mute, &window(Some("a"), 0, 30)), Heard::Taken, "the ended ones made room");
    }

    #[test]
    fn an_event_that_is_over_still_counts_for_whom_it_hit() {
        let policy = Policy::default();
        let mut windows = Windows::default();
        assert_eq!(windows.declare(&policy, minutes(0), Kind::Context, &window(Some("a"), 10, 20)), Heard::Taken);
        let deployed = |at, service: &str| crate::engine::gate::tests::deployment(service, "d", minutes(at));
        assert!(!windows.explained(&policy, minutes(9), &deployed(0, "a")));
        assert!(windows.explained(&policy, minutes(10), &deployed(0, "a")));
        assert!(windows.explained(&policy, minutes(50), &deployed(19, "a")));
        assert!(!windows.explained(&policy, minutes(50), &deployed(20, "a")));
        assert!(!windows.explained(&policy, minutes(15), &deployed(0, "b")));
        assert_eq!((windows.count(minutes(19)), windows.count(minutes(20))), (1, 0));
        windows.prune(&policy, minutes(84));
        assert!(windows.explained(&policy, minutes(84), &deployed(19, "a")));
        windows.prune(&policy, minutes(85));
        assert!(windows.declared.is_empty());
    }
}
