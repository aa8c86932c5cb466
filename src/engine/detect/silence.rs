//! Silence as evidence: what used to report steadily no longer does, while others go on.
//!
//! Two questions: has the whole service fallen silent although the rest of the environment is heard; has an instance
//! that carries the change fallen silent, or never spoken, although its siblings are heard. Where nobody else is heard,
//! the pipeline may be what failed: that is missing data, not silence. The end of a recording stops everybody's samples
//! at once and is therefore never silence.

use super::present::Present;
use super::{Finding, Look};
use crate::engine::effect::{Direction, Interval, Method};
use crate::engine::fleet::Fleet;
use crate::engine::report::Question;
use crate::engine::service::Service;
use crate::engine::window::Minute;

/// Minutes of silence that are evidence, for something that spoke every minute.
const LONG: Minute = 5;
/// Minutes of history a steady voice needs.
const STEADY: Minute = 30;

pub fn silence(look: &Look) -> Option<Finding> {
    whole_service(look).or_else(|| canary(look))
}

fn whole_service(look: &Look) -> Option<Finding> {
    let service = look.service;
    let place = steadiest(service, look.start)?;
    let silent_for = look.upto - service.latest;
    if silent_for < LONG || look.upto - look.start < LONG {
        return None;
    }
    let (heard, others) = heard(look.fleet, &service.env, look.start, look.upto, Some(&service.name));
    let asked = Question::Heard { env: service.env.clone(), start: look.start, upto: look.upto };
    let (heard_too, others_too) = look.others.elsewhere.count(asked);
    let (heard, others) = (heard + heard_too, others + others_too);
    if heard == 0 || heard * 2 < others {
        return None;
    }
    let since = service.latest.max(look.start);
    Some(finding(look, place, since, silent_for, Vec::new()))
}

/// How many of the environment's services that were heard just before `start` are still heard.
pub fn heard(fleet: &Fleet, env: &str, start: Minute, upto: Minute, except: Option<&str>) -> (u32, u32) {
    let (mut heard, mut others) = (0, 0);
    for peer in fleet.services.iter().filter(|peer| &*peer.env == env && except != Some(&*peer.name)) {
        if peer.latest >= start - 2 {
            others += 1;
            heard += u32::from(peer.latest >= upto - 2);
        }
    }
    (heard, others)
}

fn canary(look: &Look) -> Option<Finding> {
    let service = look.service;
    if look.upto - look.start < LONG {
        return None;
    }
    let siblings = look.arms.old.iter().filter(|&&old| service.instances[old as usize].last >= look.upto - 2).count();
    if siblings == 0 {
        return None;
    }
    let place = steadiest(service, look.start)?;
    // A carrier that spoke after the change and stopped while its siblings go on.
    let stopped = look.arms.new.iter().find_map(|&new| {
        let each = &service.instances[new as usize];
        let silent_for = look.upto - each.last;
        (silent_for >= LONG && each.last - each.first.max(look.start) >= 2).then_some((new, each.last, silent_for))
    });
    if let Some((instance, last, silent_for)) = stopped {
        return Some(finding(look, place, last, silent_for, vec![instance]));
    }
    // The event named its carriers and none of them was ever heard.
    if look.arms.named && look.arms.new.is_empty() {
        return Some(finding(look, place, look.start, look.upto - look.start, Vec::new()));
    }
    None
}

fn finding(look: &Look, place: usize, since: Minute, silent_for: Minute, instances: Vec<u32>) -> Finding {
    let ring = &look.service.signals[place].tracks[0].total;
    let level = ring.places(ring.len().saturating_sub(30), ring.len()).filter_map(|bin| bin.value());
    let (sum, count) = level.fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
    Finding {
        signal: place,
        track: 0,
        method: Method::Silence,
        direction: Direction::Decrease,
        baseline: sum / f64::from(count.max(1)),
        current: 0.0,
        change: 1.0,
        size: 0.0,
        bursts: 0,
        // Each silent minute of a steady voice is worth about as much as the one before; half an order each.
        log10_p: -(1.5 + 0.25 * f64::from(silent_for.min(20))),
        looks: 1.0,
        samples_baseline: count.into(),
        samples_current: 0,
        instances,
        onset: since + 1,
        present: Present { value: 0.0, samples: 0, range: Interval::between(0.0, 0.0) },
    }
}

/// The signal that spoke most steadily before the change; none if none did.
fn steadiest(service: &Service, start: Minute) -> Option<usize> {
    let mut best = None;
    for (place, signal) in service.signals.iter().enumerate() {
        let Some(track) = signal.tracks.first() else { continue };
        let spoken = track.total.between(start - STEADY, start).count();
        if spoken as f64 >= 0.4 * f64::from(STEADY) && best.is_none_or(|(most, _)| spoken > most) {
            best = Some((spoken, place));
        }
    }
    best.map(|(_, place)| place)
}
