//! Load as an explanation: who serves more works more.
//!
//! A rise of what a service uses (CPU, memory, queues) is no regression where its own traffic has grown as much over
//! the same minutes, but for a difference too small to matter.

use super::{Finding, Look};
use crate::engine::character::{Character, Class};
use crate::engine::effect::Direction;
use crate::engine::signal::{Nature, Signal};
use crate::engine::traffic::leading;
use crate::engine::window::{Minute, Ring};

/// Minutes before the change that say how much traffic is usual.
const BEFORE: Minute = 60;

/// Whether traffic explains all of a rise.
pub fn explains(look: &Look, finding: &Finding, character: &Character) -> bool {
    if character.class != Class::Saturation || finding.direction != Direction::Increase {
        return false;
    }
    let traffic = look.service.signals.iter().filter(|each| each.class == Class::Traffic);
    let measured = traffic.filter(|each| each.nature != Nature::Adjusted);
    let most = measured.filter_map(|each| grown(look, finding, &each.tracks.first()?.total)).fold(0.0, f64::max);
    let most = if is_memory(&look.service.signals[finding.signal]) { MEMORY * most } else { most };
    most + character.min_change >= finding.change
}

/// Memory holds what is known, not what is done: of a growth of traffic it needs at most this share.
const MEMORY: f64 = 0.3;

pub fn is_memory(signal: &Signal) -> bool {
    signal.is_memory
}

/// Whether the service's traffic fell, not only its adjusted traffic: others may have gained what it never lost.
pub fn fell(look: &Look, finding: &Finding, character: &Character) -> bool {
    let own = leading(look.service).and_then(|place| look.service.signals[place].tracks.first());
    let grown = own.and_then(|track| grown(look, finding, &track.total));
    grown.is_some_and(|grown| -grown >= 0.5 * character.min_change)
}

/// By how much more than in the hour before the change there is in a finding's window.
fn grown(look: &Look, finding: &Finding, ring: &Ring) -> Option<f64> {
    let width = finding.width().max(1) as Minute;
    let before = mean(ring, look.start - BEFORE, look.start)?;
    let now = mean(ring, look.upto + 1 - width, look.upto + 1)?;
    (before > 0.0).then(|| now / before - 1.0)
}

fn mean(ring: &Ring, from: Minute, to: Minute) -> Option<f64> {
    let (sum, count) =
        ring.between(from, to).filter_map(|bin| bin.value()).fold((0.0, 0u32), |(sum, n), value| (sum + value, n + 1));
    (count > 0).then(|| sum / f64::from(count))
}
