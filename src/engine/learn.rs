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
/// Later, a distance is learned every so many minutes.
const EVERY: usize = 4;
/// Distances learned before that is enough.
const YOUNG: u32 = 240;

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
    let instances: Vec<u32> = fleet.services[service].signals[signal].instances().collect();
    let count = instances.len();
    if count < 2 || fleet.services[service].signals[signal].learned_apart >= minute {
        return;
    }
    fleet.services[service].signals[signal].learned_apart = minute;
    let turn = minute.rem_euclid(1 << 20) as usize;
    for track in 0..fleet.services[service].signals[signal].tracks.len() {
        let young = fleet.services[service].signals[signal].tracks[track].baseline.apart_looks() < YOUNG;
        for (turn, horizon) in looks(young, turn, track, count) {
            let owner = &mut fleet.services[service];
            let one = instances[turn % count];
            if owner.instances[one as usize].last < minute {
                continue;
            }
            if let Some(away) = arms::learn_apart(owner, signal, track, one, minute, horizon) {
                owner.signals[signal].tracks[track].baseline.learn_apart(horizon, away, worse);
            }
        }
    }
}

/// Which instances (in turn) are looked at over which horizon this minute: several over the shortest and one over a
/// longer while little is known, later one every few minutes.
fn looks(young: bool, turn: usize, track: usize, count: usize) -> Vec<(usize, usize)> {
    if young {
        let short = (0..APART.min(count)).map(|step| (turn * APART + step, 0));
        return short.chain([(turn * APART, 1 + turn % 3)]).collect();
    }
    if !(turn + track).is_multiple_of(EVERY) {
        return Vec::new();
    }
    let round = turn / EVERY;
    vec![(round, if round.is_multiple_of(2) { 0 } else { 1 + round / 2 % 3 })]
}

/// Brings every signal of a service up to date, before a watch stops the learning.
pub fn catch_up(fleet: &mut Fleet, policy: &Policy, service: usize, minute: Minute) {
    for signal in 0..fleet.services[service].signals.len() {
        roll(fleet, policy, service, signal, minute);
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
