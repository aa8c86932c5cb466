//! Stretches of time that nobody learns from, as somebody declared that something else went on: events, incidents.
//!
//! Kept for as long as minutes are: a service that was under watch meanwhile learns of them only later. It knows when
//! and where; how learning goes round them is `learn`'s affair.

use super::event::{Scope, WindowKind};
use super::policy::{Glob, Policy};
use super::signal::KEPT;
use super::time::Time;
use super::window::{Minute, minute_at, minute_of, start_of};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Stretches: some 150 bytes each, and all of them are asked for each signal and minute while there are any. Beyond it
/// the one that began first is forgotten, and learned from if it was not over.
const LIMIT: usize = 1_000;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Aside {
    /// In the order of their beginning.
    stretches: Vec<Stretch>,
    looked: Option<Minute>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Stretch {
    /// The first minute, and the first one after it.
    from: Minute,
    to: Minute,
    env: Arc<str>,
    service: Arc<str>,
}

impl Aside {
    /// Somebody declared an event.
    pub fn declare(&mut self, scope: &Scope, from: Time, to: Time) {
        let name = |name: &Option<Arc<str>>| name.clone().unwrap_or_else(|| "*".into());
        self.add(name(&scope.env), name(&scope.service), from, to);
    }

    /// Notes recurring events that have begun; once a minute is often enough, as a minute is learned when it is over.
    pub fn recur(&mut self, policy: &Policy, now: Time) {
        let minute = minute_at(now);
        if self.looked == Some(minute) {
            return;
        }
        self.looked = Some(minute);
        self.stretches.retain(|each| each.to.saturating_add(KEPT as Minute) > minute);
        for window in policy.windows.iter().filter(|window| window.kind == WindowKind::Context) {
            // What began while the clock stood still, or only touches the last minute, is not missed.
            let since = start_of(minute.saturating_sub(LOOK_BACK));
            if let Some((from, to)) = window.calendar.next(since).filter(|(from, _)| *from < start_of(minute + 1)) {
                self.add(window.env.0.clone(), window.service.0.clone(), from, to);
            }
        }
    }

    /// The stretches that hold for a service and end after `minute`, in the order of their beginning.
    pub fn of(&self, env: &str, service: &str, minute: Minute) -> Vec<(Minute, Minute)> {
        let fits = |each: &&Stretch| {
            each.to > minute && Glob(each.env.clone()).matches(env) && Glob(each.service.clone()).matches(service)
        };
        self.stretches.iter().filter(fits).map(|each| (each.from, each.to)).collect()
    }

    fn add(&mut self, env: Arc<str>, service: Arc<str>, from: Time, to: Time) {
        let stretch = Stretch { from: minute_at(from), to: minute_of(to).saturating_add(1), env, service };
        if self.stretches.contains(&stretch) {
            return;
        }
        let place = self.stretches.partition_point(|each| each.from <= stretch.from);
        self.stretches.insert(place, stretch);
        if self.stretches.len() > LIMIT {
            self.stretches.remove(0);
        }
    }
}

/// How far back a recurring event is looked for.
const LOOK_BACK: Minute = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::time::Span;

    fn minutes(n: i64) -> Time {
        Time(0) + Span::minutes(n)
    }

    #[test]
    fn stretches_hold_where_they_were_declared_in_whole_minutes() {
        let mut aside = Aside::default();
        let everywhere = Scope::default();
        let shop = Scope { env: Some("prod".into()), service: Some("shop".into()) };
        aside.declare(&shop, minutes(20) + Span(1), minutes(30) + Span(1));
        aside.declare(&everywhere, minutes(5), minutes(7));
        aside.declare(&everywhere, minutes(5), minutes(7));
        assert_eq!(aside.of("prod", "shop", 0), [(5, 7), (20, 31)]);
        assert_eq!(aside.of("prod", "shop", 7), [(20, 31)]);
        assert_eq!(aside.of("prod", "cart", 0), [(5, 7)]);
        aside.recur(&Policy::default(), minutes(31 + KEPT as i64));
        assert!(aside.stretches.is_empty(), "nobody has minutes of them any more");
    }
}
