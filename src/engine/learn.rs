//! Learning: moves a signal's baselines forward as its minutes become final.
//!
//! Called when a signal's first sample of a new minute arrives. Minutes become final when nothing can be late for them
//! any more. Nothing is learned while the service is under watch; afterwards what was harmless is caught up on.

mod apart;

use super::character::character;
use super::detect::arms;
use super::fleet::Fleet;
use super::policy::Policy;
use super::window::Minute;
pub use apart::Table;

pub fn roll(fleet: &mut Fleet, policy: &Policy, service: usize, signal: usize, minute: Minute, table: &mut Table) {
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
    apart::learn(owner, signal, upto - 1, character.worse, table);
}

/// Brings every signal of a service up to date, before a watch stops the learning.
pub fn catch_up(fleet: &mut Fleet, policy: &Policy, service: usize, minute: Minute, table: &mut Table) {
    for signal in 0..fleet.services[service].signals.len() {
        roll(fleet, policy, service, signal, minute, table);
    }
}

/// Notes what a change that takes effect before minute `start` will be held against; kept while the watch lasts.
pub fn note_reference(fleet: &mut Fleet, service: usize, start: Minute) {
    let owner = &mut fleet.services[service];
    for signal in 0..owner.signals.len() {
        for track in &mut owner.signals[signal].tracks {
            let reference = track.total.place_of(start - 1);
            track.baseline.reference = track.baseline.levels(&track.total, reference);
        }
        arms::note_offsets(owner, signal, start);
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
