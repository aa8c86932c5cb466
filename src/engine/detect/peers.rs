//! Peers as a control: what hits services that nobody touched is not this deployment's fault.
//!
//! For a finding in the service's level, the same metric of unchanged services in the same environment is asked whether
//! it moved the same way since the same moment. If at least half of those that can answer did, the change is shared.

use super::present::filled;
use super::{Finding, Look, bursts, users_feel};
use crate::engine::baseline::{HORIZONS, Sides};
use crate::engine::character::character;
use crate::engine::effect::Direction;
use crate::engine::fleet::Fleet;
use crate::engine::policy::Policy;
use crate::engine::report::{Moved, Question};
use crate::engine::signal::Signal;
use crate::engine::window::Minute;
use serde::{Deserialize, Serialize};

/// How unlikely (log10, one look) a peer's move in the same track must be to count as one, and in any that users feel.
const MOVED: f64 = -2.5;
const SUFFERS: f64 = -4.0;
/// Peers asked at most; the first of them in order of appearance.
const ASKED: usize = 200;

/// A peer must have gone so far over the same minutes: the same way is not enough.
const SHARE: f64 = 0.3;
/// Minutes by which it may be earlier.
const LAG: usize = 2;

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
    let known = look.others.shared.iter().any(|before| before.is_same(&found));
    let asked = Moved {
        env: look.service.env.clone(),
        signal: signal.name.clone(),
        track: finding.track as u32,
        felt: users_feel(signal.class),
        direction: finding.direction,
        size: finding.size,
        width: finding.width(),
        bursts: finding.bursts,
        known,
        onset: finding.onset,
        start: look.start,
        upto: look.upto,
    };
    let (moved, answered) = moved(look.fleet, look.policy, &asked, Some(&look.service.name));
    let (moved_there, answered_there) = look.others.elsewhere.count(Question::Moved(asked));
    let (moved, answered) = (moved + moved_there, answered + answered_there);
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
        for theirs in peer.signals.iter().filter(|theirs| !theirs.is_derived()) {
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
    let character = character(policy, &signal.metric, signal.class);
    let up = if same {
        (asked.direction == Direction::Increase) != scale.is_mirrored()
    } else {
        Sides::of(character.worse, Some(scale)).up
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
    let size_of = |end: usize, horizon: usize| {
        let last = ring.get(end.checked_sub(1)?)?;
        baseline.deviation(ring, end, horizon, &baseline.expect(&levels, last.minute, HORIZONS[horizon].0), up)
    };
    let began = ring.place_of(asked.onset.clamp(asked.start, asked.upto));
    if asked.bursts > 0 {
        // Every service has a burst now and then: one of theirs excuses none that come again.
        let (horizon, wander) = (bursts::HORIZON, baseline.wander(bursts::HORIZON, end - reference, up));
        let sizes = (began + HORIZONS[horizon].0..=end).filter_map(|end| size_of(end, horizon));
        let far: Vec<bool> = sizes.map(|size| size > 0.0 && wander.log10_p(size) < bar).collect();
        let as_often = || 2 * bursts::rises(&far) >= asked.bursts as usize;
        // What lasts there may come and go here.
        let as_long = || 2 * far.iter().filter(|far| **far).count() >= asked.width as usize;
        return (!far.is_empty()).then(|| as_often() || as_long());
    }
    let (mut told, mut moved, mut largest) = (false, asked.known, 0.0f64);
    for (horizon, (width, _)) in HORIZONS.into_iter().enumerate() {
        // What has begun together may have ended since: every window since the onset is asked, not the last one alone.
        let first = (began + width).min(end);
        if first < ring.place_of(asked.start) + width {
            continue;
        }
        // Counted from the onset, so that a window which has answered once is asked again in the minutes to come.
        for end in (first..=end).step_by(1 + width / 5) {
            let Some(size) = size_of(end, horizon) else { continue };
            (told, largest) = (true, largest.max(size));
            moved = moved || (size > 0.0 && baseline.wander(horizon, end - reference, up).log10_p(size) < bar);
        }
    }
    if !(told && moved) {
        return told.then_some(false);
    }
    // A burst that is over explains nothing that goes on, and a small move no large one.
    let horizon = filled(asked.width as usize);
    let windows = (0..=LAG).filter_map(|lag| size_of(end.checked_sub(lag)?, horizon));
    let at_present = if asked.size > 0.0 { windows.fold(0.0, f64::max) } else { largest };
    let as_far = if same { SHARE * asked.size } else { SHARE * largest };
    // What peers have learned meanwhile surprises nobody any more; in another signal it must at least matter.
    let matters = same || !asked.known || at_present.exp_m1() >= character.min_change;
    Some(at_present > 0.0 && at_present >= as_far && matters)
}
