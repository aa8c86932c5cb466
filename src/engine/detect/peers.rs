//! Peers as a control: what hits services that nobody touched is not this deployment's fault.
//!
//! For a finding in the service's level, the same metric of unchanged services in the same environment is asked whether
//! it moved the same way since the same moment. If at least half of those that can answer did, the change is shared.

use super::{Finding, Look, users_feel};
use crate::engine::baseline::{HORIZONS, Sides};
use crate::engine::character::character;
use crate::engine::effect::Direction;
use crate::engine::fleet::Fleet;
use crate::engine::policy::Policy;
use crate::engine::report::{Moved, Question};
use crate::engine::signal::Signal;

/// How unlikely (log10, one look) a peer's move in the same track must be to count as one, and in any that users feel.
const MOVED: f64 = -2.5;
const SUFFERS: f64 = -4.0;
/// Peers asked at most; the first of them in order of appearance.
const ASKED: usize = 200;

pub fn share(look: &Look, finding: &Finding, signal: &Signal) -> bool {
    let asked = Moved {
        env: look.service.env.clone(),
        signal: signal.name.clone(),
        track: finding.track as u32,
        felt: users_feel(signal.class),
        direction: finding.direction,
        onset: finding.onset,
        start: look.start,
        upto: look.upto,
    };
    let (moved, answered) = moved(look.fleet, look.policy, &asked, Some(&look.service.name));
    let (moved_too, answered_too) = look.elsewhere.count(Question::Moved(asked));
    let (moved, answered) = (moved + moved_too, answered + answered_too);
    answered > 0 && moved * 2 >= answered
}

/// How many of the environment's unchanged services moved the same way, of those that can answer.
pub fn moved(fleet: &Fleet, policy: &Policy, asked: &Moved, except: Option<&str>) -> (u32, u32) {
    let (mut moved, mut answered) = (0, 0);
    let peers = fleet.services.iter().filter(|peer| peer.env == asked.env && except != Some(&*peer.name));
    for peer in peers.take(ASKED) {
        if peer.latest < asked.upto - 3 {
            continue;
        }
        let (mut told, mut moves_too) = (false, false);
        for theirs in &peer.signals {
            let same = theirs.name == asked.signal;
            let asked_too = asked.felt && users_feel(theirs.class);
            if !(same || asked_too) {
                continue;
            }
            for track in 0..theirs.tracks.len() {
                let bar = if same && track == asked.track as usize { MOVED } else { SUFFERS };
                if bar == MOVED || asked.felt {
                    let answer = moves(policy, asked, theirs, track, bar);
                    told |= answer.is_some();
                    moves_too |= answer == Some(true);
                }
            }
        }
        // Who was changed too is no witness of an incident: one bad library may sit in three services. Its calm is one.
        if moves_too && (peer.watched > 0 || peer.watched_until >= asked.start) {
            continue;
        }
        answered += u32::from(told);
        moved += u32::from(moves_too);
    }
    (moved, answered)
}

/// Whether a track of a peer got worse since the change; none where it can't tell.
fn moves(policy: &Policy, asked: &Moved, signal: &Signal, track: usize, bar: f64) -> Option<bool> {
    let judged = &signal.tracks[track];
    let (ring, baseline) = (&judged.total, &judged.baseline);
    let scale = baseline.scale()?;
    let same = bar == MOVED;
    let worse = character(policy, &signal.metric, signal.class).worse;
    let up = if same {
        (asked.direction == Direction::Increase) != scale.is_mirrored()
    } else {
        Sides::of(worse, Some(scale)).up
    };
    let reference = ring.place_of(asked.start - 1);
    let end = ring.place_of(asked.upto + 1);
    if baseline.is_sparse() {
        let happened = |from, to| {
            let values = ring.between(from, to).filter_map(|bin| bin.value()).filter(|value| scale.is_eventful(*value));
            values.fold((0, 0.0), |(minutes, sum), value| (minutes + 1, sum + (value - scale.uneventful()).abs()))
        };
        let (after, sum) = happened(asked.start, asked.upto + 1);
        let (before, sum_before) = happened(asked.start - (asked.upto - asked.start), asked.start);
        return Some(up && after >= 3 && (after > 2 * before || sum > 3.0 * sum_before));
    }
    let levels = baseline.levels(ring, reference)?;
    let began = ring.place_of(asked.onset.clamp(asked.start, asked.upto));
    let mut answer = None;
    for (horizon, (width, _)) in HORIZONS.into_iter().enumerate() {
        // What has begun together may have ended since: every window since the onset is asked, not the last one alone.
        let first = (began + width).min(end);
        if first < ring.place_of(asked.start) + width {
            continue;
        }
        for end in (first..=end).rev().step_by(1 + width / 5) {
            let Some(last) = ring.get(end - 1) else { continue };
            let expected = baseline.expect(&levels, last.minute, width);
            let Some(size) = baseline.deviation(ring, end, horizon, &expected, up) else { continue };
            let too = size > 0.0 && baseline.wander(horizon, end - reference, up).log10_p(size) < bar;
            answer = Some(answer.unwrap_or(false) || too);
            if too {
                return answer;
            }
        }
    }
    answer
}
