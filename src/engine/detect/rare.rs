//! Rare events: something that hardly ever happened before happens now.
//!
//! Levels say nothing where most minutes are zero. Minutes in which anything happened are counted instead, so a burst
//! counts once, and compared with all minutes there were before, exactly: given that so many of all minutes had events,
//! how likely is it that so many of them fell after the change (the conditional test of two Poisson rates, Przyborowski
//! and Wilenski 1940). One stray event proves nothing, however quiet it was before.

use super::present::Present;
use super::{COUNTED, Finding, Look, direction, onset};
use crate::engine::baseline::Sides;
use crate::engine::baseline::scale::Scale;
use crate::engine::character::{Character, Class};
use crate::engine::effect::Method;
use crate::engine::stats::log10_binomial_tail;
use crate::engine::window::{Bin, Minute, Ring};

/// Fewer eventful minutes than this are no pattern.
const FEWEST: u64 = 3;
/// Minutes before the change that are looked at one by one.
const RECENT: Minute = 200;

pub fn rare_events(look: &Look, place: usize, track: usize, character: &Character) -> Option<Finding> {
    let signal = &look.service.signals[place];
    let judged = &signal.tracks[track];
    let newborn = signal.born >= look.start - 1;
    if !(judged.baseline.is_sparse() || newborn) {
        return None;
    }
    // A signal that was born with the change has the service's whole life as a silent past, if it counts errors.
    if newborn && signal.class != Class::Errors {
        return None;
    }
    let counted = judged.total.last().map_or(1.0, |bin| f64::from(bin.den));
    // Without a past there is no scale: one event is its unit, as a share of what is counted against.
    let one = Scale::Ratio { offset: if counted > COUNTED { 1.0 / counted } else { 0.5 } };
    let scale = judged.baseline.scale().copied().unwrap_or(one);
    if !Sides::of(character.worse, Some(&scale)).up {
        return None;
    }
    let from = look.settled;
    let after: Vec<(i32, f64)> =
        judged.total.between(from, look.upto + 1).filter_map(|bin| Some((bin.minute, bin.value()?))).collect();
    let eventful: Vec<i32> = after.iter().filter(|(_, value)| scale.is_eventful(*value)).map(|each| each.0).collect();
    let minutes = if newborn { i64::from(look.upto - from + 1) } else { after.len() as i64 }.max(1) as u64;
    let past = if newborn {
        i64::from((look.start - look.service.earliest).clamp(0, 7 * 1440)) as u64
    } else {
        // Minutes that were too new to be learned are as good a past as others.
        u64::from(judged.baseline.bins).max(before_change(look, &judged.total).count() as u64)
    };
    let recent = before_change(look, &judged.total)
        .filter(|bin| bin.value().is_some_and(|value| scale.is_eventful(value)))
        .count() as u64;
    let clustered = busiest(&judged.total, look, &scale, minutes as i32) * past / minutes;
    let before = u64::from(judged.baseline.eventful).max(recent).max(clustered);
    let count = eventful.len() as u64;
    if count < FEWEST || past < look.policy.detection.min_history.as_minutes() as u64 {
        return None;
    }
    let chances = minutes as f64 * busier(&judged.total, look, from);
    let chance = chances / (chances + past as f64);
    let mean = |values: &mut dyn Iterator<Item = f64>, n: u64| values.sum::<f64>() / n.max(1) as f64;
    let current = mean(&mut after.iter().map(|each| each.1), minutes);
    let baseline = scale.uneventful();
    let finding = Finding {
        signal: place,
        track,
        method: Method::RareEvents,
        direction: direction(scale.is_mirrored(), true),
        baseline,
        current,
        change: scale.relative_change(baseline, current),
        size: 0.0,
        bursts: 0,
        log10_p: log10_binomial_tail(count, count + before, chance),
        looks: look.looks_at_all(),
        samples_baseline: past,
        samples_current: minutes,
        instances: Vec::new(),
        onset: eventful[0],
        present: Present::counted(current, count as f64, minutes),
    };
    // What went on before the change goes on for longer after it, which is many events and not its fault.
    let early = || onset::began_before(&judged.total, &scale, look.start, look.upto, true);
    (look.strength(&finding) > 0.0 && !early()).then_some(finding)
}

/// The minutes before the change that are looked at one by one.
fn before_change(look: &Look, total: &Ring) -> impl Iterator<Item = Bin> {
    total.between(look.start - RECENT, look.start - 1)
}

/// Minutes with events in the busiest stretch of so many minutes before the change: events come in clusters.
fn busiest(total: &Ring, look: &Look, scale: &Scale, length: Minute) -> u64 {
    let eventful = |bin: &Bin| bin.value().is_some_and(|value| scale.is_eventful(value));
    let minutes: Vec<Minute> = before_change(look, total).filter(eventful).map(|bin| bin.minute).collect();
    let within = |&end: &Minute| minutes.iter().filter(|&&each| end - length < each && each <= end).count() as u64;
    minutes.iter().map(within).max().unwrap_or(0)
}

/// How many times more is counted in a minute than before the change: so many more chances it has for an event.
fn busier(total: &Ring, look: &Look, from: Minute) -> f64 {
    let counted = |from: Minute, to: Minute| {
        let (sum, bins) = total.between(from, to).fold((0.0, 0.0), |(sum, n), bin| (sum + f64::from(bin.den), n + 1.0));
        sum / f64::max(bins, 1.0)
    };
    (counted(from, look.upto + 1) / counted(look.start - RECENT, look.start - 1).max(1e-9)).clamp(1.0, 10.0)
}
