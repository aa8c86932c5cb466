//! How much each signal stepped at one deployment, however little: the level after it against the level before.
//!
//! One step is no evidence and is never held against anybody; the ledger adds them up. Levels are means of an hour
//! without its outer fifths, on the track's scale, so that steps can be summed.

use super::users_feel;
use crate::engine::baseline::Sides;
use crate::engine::baseline::scale::Scale;
use crate::engine::character::character;
use crate::engine::event::Deployment;
use crate::engine::fleet::Fleet;
use crate::engine::policy::Policy;
use crate::engine::stats::{mean, spread};
use crate::engine::window::{Minute, Ring, minute_of};

/// Minutes that a level is taken from, and how many of them must be there.
const HOUR: Minute = 60;
const ENOUGH: usize = 25;
/// Minutes after a change that are left out.
const SETTLING: Minute = 3;

#[derive(Clone, Debug)]
pub struct Step {
    /// As people know the track.
    pub signal: String,
    pub unit: Option<String>,
    pub scale: Scale,
    pub sides: Sides,
    pub before: f64,
    pub after: f64,
    /// The step's standard error, from the scatter within the two hours.
    pub error: f64,
    /// The relative change that matters in one step.
    pub min_change: f64,
    pub weighty: bool,
}

/// Whether by now there is as much after the change as a step is measured by.
pub fn is_measurable(deployment: &Deployment, upto: Minute) -> bool {
    upto >= minute_of(deployment.at).saturating_add(SETTLING + HOUR)
}

/// The steps of all tracks that can be measured.
pub fn steps(fleet: &Fleet, policy: &Policy, service: usize, deployment: &Deployment, upto: Minute) -> Vec<Step> {
    let change = minute_of(deployment.at);
    let mut steps = Vec::new();
    for signal in fleet.services[service].signals.iter().filter(|each| !each.is_derived()) {
        let character = character(policy, &signal.metric, signal.class);
        for (place, track) in signal.tracks.iter().enumerate() {
            let Some(scale) = track.baseline.scale().filter(|_| !track.baseline.is_sparse()) else { continue };
            let before = level(&track.total, scale, change - HOUR, change);
            let first = (upto + 1 - HOUR).max(change + SETTLING);
            let after = level(&track.total, scale, first, upto + 1);
            let (Some((before, before_error)), Some((after, after_error))) = (before, after) else { continue };
            steps.push(Step {
                signal: signal.title(place),
                unit: signal.unit_of(place).map(str::to_string),
                scale: *scale,
                sides: Sides::of(character.worse, Some(scale)),
                before,
                after,
                error: before_error.hypot(after_error),
                min_change: character.min_change,
                weighty: character.critical || users_feel(character.class),
            });
        }
    }
    steps
}

/// The mean without the outer fifths, and its standard error.
pub fn level(ring: &Ring, scale: &Scale, from: Minute, to: Minute) -> Option<(f64, f64)> {
    let mut values: Vec<f64> =
        ring.between(from, to).filter_map(|bin| bin.value()).map(|value| scale.of(value)).collect();
    if values.len() < ENOUGH {
        return None;
    }
    let spread = spread(&values)?;
    values.sort_unstable_by(f64::total_cmp);
    let cut = values.len() / 5;
    let level = mean(&values[cut..values.len() - cut])?;
    Some((level, spread / (values.len() as f64).sqrt()))
}
