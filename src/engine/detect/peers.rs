//! Peers as a control: what hits services that nobody touched is not this deployment's fault.
//!
//! For a finding in the service's level, the same metric of unchanged services in the same environment is asked whether
//! it moved the same way since the same moment. If at least half of those that can answer did, the change is shared.

use super::{Finding, Look};
use crate::engine::baseline::HORIZONS;
use crate::engine::effect::Direction;
use crate::engine::service::Service;
use crate::engine::signal::Signal;

/// How unlikely (log10, one look) a peer's move must be to count as one.
const MOVED: f64 = -2.5;
/// Peers asked at most; the first of them in order of appearance.
const ASKED: usize = 200;

pub fn share(look: &Look, finding: &Finding, signal: &Signal) -> bool {
    let (mut moved, mut answered) = (0, 0);
    let peers =
        look.fleet.services.iter().filter(|peer| peer.env == look.service.env && peer.name != look.service.name);
    for peer in peers.take(ASKED) {
        for theirs in peer.signals.iter().filter(|each| each.metric == signal.metric && each.name == signal.name) {
            if let Some(move_too) = moves(look, finding, peer, theirs) {
                answered += 1;
                moved += usize::from(move_too);
            }
        }
    }
    answered > 0 && moved * 2 >= answered
}

/// None where the peer can't tell.
fn moves(look: &Look, finding: &Finding, peer: &Service, signal: &Signal) -> Option<bool> {
    let track = signal.tracks.get(finding.track)?;
    let (ring, baseline) = (&track.total, &track.baseline);
    let scale = baseline.scale()?;
    if peer.latest < look.upto - 3 {
        return None;
    }
    let up = (finding.direction == Direction::Increase) != scale.is_mirrored();
    let reference = ring.place_of(look.start - 1);
    let end = ring.place_of(look.upto + 1);
    if baseline.is_sparse() {
        let after = ring.between(look.start, look.upto + 1);
        let eventful = after.filter(|bin| bin.value().is_some_and(|value| scale.is_eventful(value))).count();
        return Some(up && eventful >= 3);
    }
    let levels = baseline.levels(ring, reference)?;
    let mut answer = None;
    for horizon in 0..HORIZONS.len() - 1 {
        if end < ring.place_of(look.start) + HORIZONS[horizon].0 {
            continue;
        }
        let expected = baseline.expect(&levels, look.upto, HORIZONS[horizon].0);
        let size = baseline.deviation(ring, end, horizon, &expected, up)?;
        let tail = baseline.tail(horizon, end - reference, up);
        let too = size > 0.0 && tail.log10_p(size) < MOVED;
        answer = Some(answer.unwrap_or(false) || too);
    }
    answer
}
