//! After against expected: where the whole service carries the change, its past is what it is held against.
//!
//! The reference is frozen at the change; the expectation carries it along the season. Each horizon is measured by how
//! far the same mean wandered over as long a time at other moments.

use super::present::{self, Present, filled};
use super::{ByHorizon, COUNTED, Finding, Look, direction, onset};
use crate::engine::baseline::expect::{Levels, pooled};
use crate::engine::baseline::scale::Scale;
use crate::engine::baseline::{Baseline, HORIZONS, Sides};
use crate::engine::character::{Character, Class};
use crate::engine::effect::{Direction, Lack, Method};
use crate::engine::signal::{Nature, Signal};
use crate::engine::stats::log10_count_tail;
use crate::engine::window::{Minute, Ring};

#[derive(Default)]
pub struct Alone {
    pub finding: Option<Finding>,
    pub by_horizon: ByHorizon,
    /// The smallest relative change that would be called by now.
    pub smallest_change: Option<f64>,
    pub lack: Option<Lack>,
}

pub fn after_against_expected(look: &Look, place: usize, track: usize, character: &Character) -> Alone {
    let lacking = |lack| Alone { lack: Some(lack), ..Alone::default() };
    let judged = &look.service.signals[place].tracks[track];
    let reference = judged.total.place_of(look.start - 1);
    let end = judged.total.place_of(look.upto + 1);
    if end <= judged.total.place_of(look.start) {
        return lacking(Lack::NoSamples);
    }
    let first = judged.total.first().map_or(look.start, |bin| bin.minute);
    if (look.start - first) < (look.policy.detection.min_history.0 / 60_000) as i32 {
        return lacking(Lack::TooYoung);
    }
    if judged.baseline.is_sparse() && judged.baseline.eventful < SIZED {
        return Alone { lack: judged.baseline.scale().map_or(Some(Lack::NoTraffic), |_| None), ..Alone::default() };
    }
    let mut alone = Alone::default();
    let Some(levels) = judged.baseline.reference else { return lacking(Lack::TooYoung) };
    let Some(scale) = judged.baseline.scale() else { return alone };
    let sides = Sides::of(character.worse, Some(scale));
    // Of what seldom happens only the size is judged here, and one minute of it proves nothing.
    let sides = Sides { down: sides.down && !judged.baseline.is_sparse(), ..sides };
    let mut found = Vec::new();
    // Nor does one minute in which somebody's samples were lost.
    let derived = look.service.signals[place].is_derived();
    for horizon in usize::from(judged.baseline.is_sparse() || derived)..HORIZONS.len() {
        for up in [true, false] {
            if (up && sides.up) || (!up && sides.down) {
                let finding = at_horizon(look, (place, track), (reference, end), &levels, horizon, up, &mut alone);
                found.extend(finding.map(|finding| (horizon, up, finding)));
            }
        }
    }
    began_with_the_change(look, &judged.total, scale, &mut found);
    found.iter().for_each(|(horizon, _, finding)| alone.by_horizon[*horizon] += finding.weight(character));
    let strongest = found.into_iter().reduce(|a, b| if b.2.outweighs(&a.2, character) { b } else { a });
    alone.finding = strongest.map(|(horizon, up, finding)| {
        let onset = onset::onset(&judged.total, scale, look.start, look.upto, up);
        let present = since(look, (place, track), onset, (horizon, up)).unwrap_or(finding.present);
        Finding { onset, present, ..finding }
    });
    alone
}

/// The level since a moment, in not more minutes than a horizon has; the worst of them are part of it.
fn since(look: &Look, name: (usize, usize), onset: Minute, (horizon, up): (usize, bool)) -> Option<Present> {
    let signal = &look.service.signals[name.0];
    let (ring, baseline) = (&signal.tracks[name.1].total, &signal.tracks[name.1].baseline);
    let scale = baseline.scale()?;
    let (end, width) = (ring.place_of(look.upto + 1), HORIZONS[horizon].0);
    let minutes = end.checked_sub(ring.place_of(onset))?.clamp(present::FEWEST, width);
    let value = pooled(ring, end - minutes, end, 0, !scale.is_mirrored())?;
    let lag = end - ring.place_of(look.start - 1);
    let away = baseline.wander(filled(minutes), lag, up).often() * stretch(signal, baseline, lag);
    let expected = baseline.expect(&baseline.reference?, look.upto, minutes);
    Some(Present::within(scale, value, away, minutes as u64).against(scale, &expected, up))
}

/// Leaves findings of those sides that began to move with the change. When a move began takes the longest to work out:
/// it is asked once for a side, and not at all where nothing could be told.
fn began_with_the_change(look: &Look, ring: &Ring, scale: &Scale, found: &mut Vec<(usize, bool, Finding)>) {
    if !found.iter().any(|(_, _, finding)| look.strength(finding) > 0.0) {
        return found.clear();
    }
    let mut early = [None; 2];
    let mut began_before = |up: bool| {
        *early[usize::from(up)].get_or_insert_with(|| onset::began_before(ring, scale, look.start, look.upto, up))
    };
    found.retain(|(_, up, _)| !began_before(*up));
}

fn at_horizon(
    look: &Look,
    name: (usize, usize),
    (reference, end): (usize, usize),
    levels: &Levels,
    horizon: usize,
    up: bool,
    alone: &mut Alone,
) -> Option<Finding> {
    let track = &look.service.signals[name.0].tracks[name.1];
    let (width, drop) = HORIZONS[horizon];
    let settled = track.total.place_of(look.settled);
    if end < settled + width {
        return None;
    }
    let (ring, baseline) = (&track.total, &track.baseline);
    let (scale, last) = (baseline.scale()?, ring.get(end - 1)?);
    let failures = matches!(look.service.signals[name.0].class, Class::Errors | Class::Success);
    let expected = baseline.expect(levels, last.minute, width);
    let size = baseline.deviation(ring, end, horizon, &expected, up)?;
    let lag = end - reference;
    let stretch = stretch(&look.service.signals[name.0], baseline, lag);
    let tail = baseline.wander(horizon, lag, up);
    if baseline.is_sparse() && size < tail.largest() + UNHEARD {
        return None;
    }
    let looks = look.looks(horizon);
    let edge = if up { expected.high } else { expected.low };
    let called = (look.level / look.judged).log10() - looks.log10();
    let least = edge + if up { 1.0 } else { -1.0 } * tail.size_at(called) * stretch;
    let smallest = scale.relative_change(scale.value(edge), scale.value(least)).abs();
    if !baseline.is_sparse() {
        alone.smallest_change = Some(alone.smallest_change.map_or(smallest, |other: f64| other.min(smallest)));
    }
    if size <= 0.0 {
        return None;
    }
    let current = pooled(ring, end - width, end, drop, up != scale.is_mirrored())?;
    let expected_value = scale.value(edge);
    let is_share = look.service.signals[name.0].is_share(name.1);
    let log10_p = tail.log10_p(size / stretch).max(if up && is_share {
        by_counting(ring, end - width, end, expected_value)
    } else {
        f64::MIN
    });
    let finding = Finding {
        signal: name.0,
        track: name.1,
        method: Method::AfterAgainstExpected,
        direction: direction(scale.is_mirrored(), up),
        baseline: expected_value,
        current,
        change: scale.relative_change(expected_value, current).abs(),
        size,
        log10_p,
        looks,
        samples_baseline: u64::from(baseline.bins),
        samples_current: width as u64,
        instances: Vec::new(),
        onset: look.start,
        present: Present::within(scale, current, tail.often() * stretch, width as u64).against(scale, &expected, up),
    };
    let short = failures && up && horizon <= 1 && !is_jump(&finding, scale.is_mirrored());
    let lasts = || {
        let lasting = pooled(ring, end - width, end, BURST.min(width - 1), !scale.is_mirrored());
        lasting.is_some_and(|lasting| expected.deviation(scale.of(lasting), up) >= LASTING * size)
    };
    (!short || (horizon == 1 && lasts())).then_some(finding)
}

/// How many times farther a signal may have wandered than its yardstick knows.
pub fn stretch(signal: &Signal, baseline: &Baseline, lag: usize) -> f64 {
    // Beyond the longest lag that was learned, it goes on as a random walk does.
    let walk = (lag as f64 / 90.0).max(1.0).sqrt();
    // Demand follows the day: before a whole one is known, some hours do not tell how fast it falls in others.
    let unknown_day = signal.class == Class::Traffic && signal.nature != Nature::Adjusted && !baseline.knows_a_day();
    if unknown_day { walk * (1.0 + lag as f64 / DAYTIME) } else { walk }
}

/// Minutes in which the time of day may double what a young baseline knows of demand.
const DAYTIME: f64 = 60.0;

/// Minutes with events that tell how large those of a sparse signal are.
const SIZED: u32 = 10;
/// How far, on a logarithmic scale, a sparse signal must go beyond all that was seen: twofold.
const UNHEARD: f64 = std::f64::consts::LN_2;

/// Everywhere errors come in bursts of a few minutes, more seldom than a young baseline can know: short of this size
/// they have to last longer than the shortest horizon.
const JUMP: f64 = 8.0;
/// Minutes that such a burst takes, and how much of a rise must be there without them.
const BURST: usize = 3;
const LASTING: f64 = 0.7;

fn is_jump(finding: &Finding, mirrored: bool) -> bool {
    let up = (finding.direction == Direction::Increase) != mirrored;
    if up { finding.change >= JUMP - 1.0 } else { finding.change >= 1.0 - 1.0 / JUMP }
}

/// Where events are counted, their number must surprise as well: no history knows all the luck of small numbers.
fn by_counting(ring: &Ring, from: usize, to: usize, expected: f64) -> f64 {
    let (num, den) =
        ring.places(from, to).fold((0.0, 0.0), |(num, den), bin| (num + f64::from(bin.num), den + f64::from(bin.den)));
    if den / (to - from) as f64 > COUNTED { log10_count_tail(num, den, expected) } else { f64::MIN }
}
