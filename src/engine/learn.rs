//! Learning: moves a signal's baselines forward as its minutes become final.
//!
//! Called when a signal's first sample of a new minute arrives. Minutes become final when nothing can be late for them
//! any more. Nothing is learned while the service is under watch; afterwards what was harmless is caught up on.
//! From the time of a declared event nothing is ever learned.

mod apart;

use super::adjusted;
use super::aside::Aside;
use super::character::{Class, character};
use super::detect::arms;
use super::elsewhere::Elsewhere;
use super::event::Scope;
use super::fleet::{Fleet, Rolled};
use super::policy::Policy;
use super::service::Service;
use super::signal::KEPT;
use super::traffic::leading;
use super::window::Minute;
pub use apart::Table;

/// By which learning goes.
pub struct Terms<'a> {
    pub policy: &'a Policy,
    pub aside: &'a Aside,
    /// Services that are not in the fleet. Where they have to be asked first, it is learned again with the answers.
    pub elsewhere: &'a Elsewhere,
}

pub fn roll(fleet: &mut Fleet, terms: &Terms, Rolled { service, signal, minute }: Rolled, table: &mut Table) {
    let owner = &mut fleet.services[service];
    owner.settle(signal, minute - 1);
    if owner.watched > 0 {
        return;
    }
    let upto = minute - lateness(terms.policy);
    // Only a rate of requests can lead: of all other signals the rest need not be looked through.
    let leads = owner.signals[signal].class == Class::Traffic && leading(owner) == Some(signal);
    if leads && adjusted::is_wanting(owner, upto - 1, terms.elsewhere) {
        return;
    }
    // Before what it is made of is learned: its baseline tells what is new.
    let known = owner.signals.len();
    let adjusted = by_traffic(owner, terms, signal, upto);
    let made = owner.signals.len() - known;
    learn(owner, terms, signal, upto, table);
    if let Some(adjusted) = adjusted {
        learn(owner, terms, adjusted, upto, table);
    }
    fleet.signals += made;
    if leads && let Some(adjusted) = adjusted::work_out(fleet, service, upto - 1, terms.elsewhere) {
        learn(&mut fleet.services[service], terms, adjusted, upto, table);
    }
}

/// Works out what is used, adjusted for traffic; of the time of an event no line learns.
fn by_traffic(owner: &mut Service, terms: &Terms, signal: usize, upto: Minute) -> Option<usize> {
    if !adjusted::by_traffic::is_used(&owner.signals[signal]) {
        return None;
    }
    let stretches = terms.aside.of(&owner.env, &owner.name, upto.saturating_sub(KEPT as Minute));
    let usual = |minute: Minute| !stretches.iter().any(|&(from, to)| from <= minute && minute < to);
    adjusted::by_traffic::work_out(owner, signal, upto - 1, usual)
}

fn learn(owner: &mut Service, terms: &Terms, signal: usize, upto: Minute, table: &mut Table) {
    let Terms { policy, aside, .. } = *terms;
    let judged = &mut owner.signals[signal];
    let character = character(policy, &judged.metric, judged.class);
    let stretches = aside.of(&owner.env, &owner.name, upto.saturating_sub(KEPT as Minute));
    for track in &mut judged.tracks {
        // Nobody learns from the time of an event: the baseline goes round it as round a regression.
        for &(from, to) in stretches.iter().filter(|(from, _)| *from < upto) {
            if to > track.baseline.learned {
                track.baseline.learn(&track.total, from, judged.class, character.worse);
                track.baseline.skip(to.min(upto));
            }
        }
        track.baseline.learn(&track.total, upto, judged.class, character.worse);
    }
    if stretches.iter().any(|&(from, to)| from < upto && upto <= to) {
        judged.learned_apart = judged.learned_apart.max(upto - 1);
    } else {
        apart::learn(owner, signal, upto - 1, character.worse, table);
    }
}

/// Whether any of the services that a scope covers has learned of a minute already.
pub fn has_learned(fleet: &Fleet, scope: &Scope, minute: Minute) -> bool {
    let covered = fleet.services.iter().filter(|service| scope.covers(&service.env, &service.name));
    covered
        .flat_map(|service| &service.signals)
        .flat_map(|signal| &signal.tracks)
        .any(|track| track.total.at(minute).is_some() && track.baseline.learned > minute)
}

/// Brings every signal of a service up to date, before a watch stops the learning.
pub fn catch_up(fleet: &mut Fleet, terms: &Terms, service: usize, minute: Minute, table: &mut Table) {
    let owner = &fleet.services[service];
    if owner.watched == 0 && adjusted::is_wanting(owner, minute - lateness(terms.policy) - 1, terms.elsewhere) {
        return;
    }
    for signal in 0..fleet.services[service].signals.len() {
        roll(fleet, terms, Rolled { service, signal, minute }, table);
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
