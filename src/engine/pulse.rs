//! The heartbeat: every so often, on event time, what is watched and which inputs have fallen silent.
//!
//! So that a silence of the daemon is no riddle: a heartbeat that stops is a daemon that stopped. It judges nothing;
//! what silence means for a deployment is detection's affair.

use super::effect::Spoken;
use super::event::Fact;
use super::fleet::Fleet;
use super::policy::Policy;
use super::report::Beat;
use super::time::{Span, Time};
use super::window::{Minute, minute_at};
use serde::{Deserialize, Serialize};

/// A service that has said nothing for so long is silent; one that has for a day is gone.
const SILENT: Minute = 5;
const GONE: Minute = 1_440;
/// Silent services that are named.
const NAMED: usize = 10;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Pulse {
    next: Option<Time>,
    /// When the newest sample, log line, deployment and word of each kind came, and when it happened.
    heard: [Option<(Time, Time)>; 4],
}

impl Pulse {
    pub fn next_due(&self) -> Option<Time> {
        self.next
    }

    pub fn feel(&mut self, policy: &Policy, now: Time, fact: &Fact) {
        let (kind, at) = match fact {
            Fact::Sample(sample) => (0, sample.at),
            Fact::Log(line) => (1, line.at),
            Fact::Deployment(deployment) => (2, deployment.at),
            Fact::Control(control) => (3, control.at),
            Fact::ColdStart { .. } | Fact::Gap { .. } | Fact::PolicyChanged | Fact::Tick | Fact::Drain => return,
        };
        let newest = self.heard[kind].map_or(at, |(_, newest)| newest.max(at));
        self.heard[kind] = Some((now, newest));
        if self.next.is_none() {
            self.next = Some(next(policy, now));
        }
    }

    /// The heartbeat, if it is due.
    pub fn beat(&mut self, policy: &Policy, now: Time, fleet: &Fleet) -> Option<Beat> {
        self.next.filter(|due| *due <= now)?;
        self.next = Some(next(policy, now));
        let minute = minute_at(now);
        let silent = fleet.services.iter().filter(|service| {
            let since = minute.saturating_sub(service.latest);
            (SILENT + 1..GONE).contains(&since)
        });
        let names: Vec<_> = silent.map(|service| (service.env.clone(), service.name.clone())).collect();
        Some(Beat {
            services: fleet.services.len() as u64,
            behind: self.heard[0].map(|(came, newest)| Span((came - newest).0.max(0))),
            inputs: self.heard.map(|heard| heard.map(|(came, _)| self::spoken(came, now))),
            silent: names.len() as u64,
            silent_services: names.into_iter().take(NAMED).collect(),
        })
    }
}

fn spoken(came: Time, now: Time) -> Spoken {
    Spoken { last: came, silent: now - came > Span::minutes(i64::from(SILENT)) }
}

/// On the clock's own marks, so that daemons with one setting beat together.
fn next(policy: &Policy, now: Time) -> Time {
    now.floor(policy.heartbeat) + policy.heartbeat
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::event::{Origin, Reading, Sample};

    fn sample(minute: i64) -> Sample<'static> {
        let origin = Origin { service: "checkout".into(), env: "prod".into(), ..Origin::default() };
        let at = Time(0) + Span::minutes(minute);
        Sample { at, origin, metric: "m".into(), reading: Reading::Gauge(1.0), unit: None, labels: Vec::new() }
    }

    #[test]
    fn beats_on_the_clocks_marks_and_names_who_fell_silent() {
        let (policy, mut pulse, mut fleet) = (Policy::default(), Pulse::default(), Fleet::default());
        assert_eq!(pulse.next_due(), None, "before anything was heard nobody knows the time");
        let first = sample(7);
        fleet.take(&first, &policy.limits).expect("there is room");
        pulse.feel(&policy, first.at + Span::seconds(3), &Fact::Sample(first.clone()));
        assert_eq!(pulse.next_due(), Some(Time(0) + Span::minutes(10)));
        assert_eq!(pulse.beat(&policy, Time(0) + Span::minutes(9), &fleet), None);

        let beat = pulse.beat(&policy, Time(0) + Span::minutes(10), &fleet).expect("it is due");
        assert_eq!((beat.services, beat.silent), (1, 0));
        assert_eq!(beat.behind, Some(Span::seconds(3)));
        assert_eq!(beat.inputs[0], Some(Spoken { last: first.at + Span::seconds(3), silent: false }));
        assert_eq!(beat.inputs[1], None, "no log line ever came");

        let beat = pulse.beat(&policy, Time(0) + Span::minutes(15), &fleet).expect("it is due again");
        assert_eq!((beat.silent, beat.inputs[0].map(|input| input.silent)), (1, Some(true)));
        assert_eq!(&*beat.silent_services[0].1, "checkout");
        let beat = pulse.beat(&policy, Time(0) + Span::DAY + Span::HOUR, &fleet).expect("it is due again");
        assert_eq!(beat.silent, 0, "after a day it is gone, not silent");
    }
}
