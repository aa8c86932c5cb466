//! Learning: moves a signal's baselines forward as its minutes become final.
//!
//! Called when a signal's first sample of a new minute arrives. Minutes become final when nothing can be late for them
//! any more. Nothing is learned while the service is under watch; afterwards what was harmless is caught up on.

use super::character::character;
use super::detect::arms;
use super::fleet::Fleet;
use super::policy::Policy;
use super::window::Minute;

/// Instances whose distance from the rest is learned each minute, in turn.
const APART: usize = 4;

pub fn roll(fleet: &mut Fleet, policy: &Policy, service: usize, signal: usize, minute: Minute) {
    let owner = &mut fleet.services[service];
    owner.settle(signal, minute - 1);
    if owner.watched > 0 {
        return;
    }
    let upto = minute - lateness(policy);
    let judged = &mut owner.signals[signal];
    let character = character(policy, &judged.metric, judged.class);
    for track in &mut judged.tracks {
        track.baseline.learn(&track.total, upto, judged.class, character.worse);
    }
    learn_apart(fleet, service, signal, upto - 1, character.worse);
}

fn learn_apart(fleet: &mut Fleet, service: usize, signal: usize, minute: Minute, worse: super::policy::Worse) {
    let count = fleet.services[service].signals[signal].series.len();
    if count < 2 || fleet.services[service].signals[signal].learned_apart >= minute {
        return;
    }
    fleet.services[service].signals[signal].learned_apart = minute;
    let turn = minute.rem_euclid(1 << 20) as usize;
    for track in 0..fleet.services[service].signals[signal].tracks.len() {
        for step in 0..=APART.min(count) {
            // The shortest horizon of several instances, and a longer one of one instance.
            let horizon = if step < APART.min(count) { 0 } else { 1 + turn % 3 };
            let owner = &fleet.services[service];
            let series = &owner.signals[signal].series[(turn * APART + step) % count];
            if owner.instances[series.instance as usize].last < minute {
                continue;
            }
            let one = series.instance;
            if let Some(away) = arms::learn_apart(owner, &owner.signals[signal], track, one, minute, horizon) {
                fleet.services[service].signals[signal].tracks[track].baseline.learn_apart(horizon, away, worse);
            }
        }
    }
}

/// Brings every signal of a service up to date, before a watch stops the learning.
pub fn catch_up(fleet: &mut Fleet, policy: &Policy, service: usize, minute: Minute) {
    for signal in 0..fleet.services[service].signals.len() {
        roll(fleet, policy, service, signal, minute);
    }
}

/// What happened before `upto` on this service was not normal: it is never learned.
pub fn skip(fleet: &mut Fleet, service: usize, upto: Minute) {
    for signal in &mut fleet.services[service].signals {
        signal.learned_apart = signal.learned_apart.max(upto);
        signal.tracks.iter_mut().for_each(|track| track.baseline.skip(upto));
    }
}

pub fn lateness(policy: &Policy) -> Minute {
    (policy.watch.lateness.0 / 60_000).clamp(1, 60) as Minute
}
