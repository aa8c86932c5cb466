//! Load as an explanation: who serves more works more.
//!
//! A rise of what a service uses (CPU, memory, queues) is no regression where its own traffic has grown as much over
//! the same minutes, but for a difference too small to matter.

use super::{Finding, Look};
use crate::engine::baseline::HORIZONS;
use crate::engine::character::{Character, Class};
use crate::engine::effect::Direction;
use crate::engine::window::{Minute, Ring};

/// Minutes before the change that say how much traffic is usual.
const BEFORE: Minute = 60;

/// Whether traffic explains all of a rise.
pub fn explains(look: &Look, finding: &Finding, character: &Character) -> bool {
    if character.class != Class::Saturation || finding.direction != Direction::Increase {
        return false;
    }
    let width = (finding.samples_current.min(HORIZONS[HORIZONS.len() - 1].0 as u64)).max(1) as Minute;
    let grown = |ring: &Ring| {
        let before = mean(ring, look.start - BEFORE, look.start)?;
        let now = mean(ring, look.upto + 1 - width, look.upto + 1)?;
        (before > 0.0).then(|| now / before - 1.0)
    };
    let traffic = look.service.signals.iter().filter(|each| each.class == Class::Traffic);
    let most = traffic.filter_map(|each| grown(&each.tracks.first()?.total)).fold(0.0, f64::max);
    most + character.min_change >= finding.change
}

fn mean(ring: &Ring, from: Minute, to: Minute) -> Option<f64> {
    let (sum, count) =
        ring.between(from, to).filter_map(|bin| bin.value()).fold((0.0, 0u32), |(sum, n), value| (sum + value, n + 1));
    (count > 0).then(|| sum / f64::from(count))
}
