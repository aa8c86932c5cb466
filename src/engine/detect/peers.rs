//! Peers as a control: what hits services that nobody touched is not this deployment's fault.
//!
//! For a finding in the service's level, the same metric of unchanged services in the same environment is asked whether
//! it moved the same way since the same moment. If at least half of those that can answer did, the change is shared.

use super::{Finding, Look, users_feel};
use crate::engine::baseline::{HORIZONS, Sides};
use crate::engine::character::character;
use crate::engine::effect::Direction;
use crate::engine::signal::{Nature, Signal};
use crate::engine::window::Minute;
use serde::{Deserialize, Serialize};

/// How unlikely (log10, one look) a peer's move in the same track must be to count as one, and in any that users feel.
const MOVED: f64 = -2.5;
const SUFFERS: f64 = -4.0;
/// Peers asked at most; the first of them in order of appearance.
const ASKED: usize = 200;

/// Minutes by which the onset of one and the same move may be placed otherwise at the next look.
const SAME: Minute = 3;

/// A move that peers shared. What has begun together stays shared: peers go on learning while this service is watched,
/// and what has become usual for them is no answer any more. 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shared {
    pub signal: u32,
    pub track: u32,
    pub increase: bool,
    pub onset: Minute,
}

impl Shared {
    pub fn new(finding: &Finding) -> Shared {
        Shared {
            signal: finding.signal as u32,
            track: finding.track as u32,
            increase: finding.direction == Direction::Increase,
            onset: finding.onset,
        }
    }

    /// Whether it is the same move.
    pub fn is_same(&self, other: &Shared) -> bool {
        Shared { onset: other.onset, ..*self } == *other && (self.onset - other.onset).abs() <= SAME
    }
}

/// Whether peers share a finding, or did when it began.
pub fn share(look: &Look, finding: &Finding, signal: &Signal) -> bool {
    let found = Shared::new(finding);
    look.shared.iter().any(|before| before.is_same(&found)) || moved_too(look, finding, signal)
}

fn moved_too(look: &Look, finding: &Finding, signal: &Signal) -> bool {
    let (mut moved, mut answered) = (0, 0);
    let felt = users_feel(signal.class);
    let peers =
        look.fleet.services.iter().filter(|peer| peer.env == look.service.env && peer.name != look.service.name);
    for peer in peers.take(ASKED) {
        if peer.latest < look.upto - 3 {
            continue;
        }
        let (mut asked, mut moves_too) = (false, false);
        for theirs in peer.signals.iter().filter(|theirs| theirs.nature != Nature::Adjusted) {
            let same = theirs.name == signal.name;
            let asked_too = felt && users_feel(theirs.class);
            if !(same || asked_too) {
                continue;
            }
            for track in 0..theirs.tracks.len() {
                let bar = if same && track == finding.track { MOVED } else { SUFFERS };
                if bar == MOVED || felt {
                    let answer = moves(look, finding, theirs, track, bar);
                    asked |= answer.is_some();
                    moves_too |= answer == Some(true);
                }
            }
        }
        // Who was changed too is no witness of an incident: one bad library may sit in three services. Its calm is one.
        if moves_too && (peer.watched > 0 || peer.watched_until >= look.start) {
            continue;
        }
        answered += usize::from(asked);
        moved += usize::from(moves_too);
    }
    answered > 0 && moved * 2 >= answered
}

/// Whether a track of a peer got worse since the change; none where it can't tell.
fn moves(look: &Look, finding: &Finding, signal: &Signal, track: usize, bar: f64) -> Option<bool> {
    let judged = &signal.tracks[track];
    let (ring, baseline) = (&judged.total, &judged.baseline);
    let scale = baseline.scale()?;
    let same = bar == MOVED;
    let worse = character(look.policy, &signal.metric, signal.class).worse;
    let up = if same {
        (finding.direction == Direction::Increase) != scale.is_mirrored()
    } else {
        Sides::of(worse, Some(scale)).up
    };
    let reference = ring.place_of(look.start - 1);
    let end = ring.place_of(look.upto + 1);
    if baseline.is_sparse() {
        let happened = |from, to| {
            let values = ring.between(from, to).filter_map(|bin| bin.value()).filter(|value| scale.is_eventful(*value));
            values.fold((0, 0.0), |(minutes, sum), value| (minutes + 1, sum + (value - scale.uneventful()).abs()))
        };
        let (after, sum) = happened(look.start, look.upto + 1);
        let (before, sum_before) = happened(look.start - (look.upto - look.start), look.start);
        return Some(up && after >= 3 && (after > 2 * before || sum > 3.0 * sum_before));
    }
    let levels = baseline.levels(ring, reference)?;
    let began = ring.place_of(finding.onset.clamp(look.start, look.upto));
    let mut answer = None;
    for (horizon, (width, _)) in HORIZONS.into_iter().enumerate() {
        // What has begun together may have ended since: every window since the onset is asked, not the last one alone.
        let first = (began + width).min(end);
        if first < ring.place_of(look.start) + width {
            continue;
        }
        // Counted from the onset, so that a window which has answered once is asked again in the minutes to come.
        for end in (first..=end).step_by(1 + width / 5) {
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
