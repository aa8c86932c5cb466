//! Bursts that come again: short ones, each of which the worst minutes' being left out may hide, but too many.
//!
//! Every service has a burst now and then, and one more is no regression. Here the windows of some minutes since the
//! change are cut into bursts, each closed by a calm, and counted: how likely is it that so many of all windows go as
//! far as the least of them (a binomial tail), given how seldom the yardstick says that a window goes so far. Only
//! of what users feel, and where there is nobody to compare with; what goes up and down without a calm is one burst.

use super::after::stretch;
use super::present::Present;
use super::{Finding, Look, direction, users_feel};
use crate::engine::baseline::expect::pooled;
use crate::engine::baseline::{HORIZONS, Sides};
use crate::engine::character::Character;
use crate::engine::effect::Method;
use crate::engine::stats::log10_binomial_tail;
use crate::engine::window::Minute;

/// Fewer bursts than this are no pattern.
const FEWEST: u64 = 3;
/// Windows of this horizon are looked at.
const HORIZON: usize = 1;
/// How unlikely (log10) a window of a burst must be, and how much so it counts at most: bursts have causes in common.
const BURST: f64 = -2.0;
const UNLIKELIEST: f64 = -2.5;
/// As likely as this is calm, and so many such windows in a row end a burst.
const CALM: f64 = -1.0;
const CALMS: u32 = 2;

/// Minutes between two looks of this kind: it goes over the whole watch again, and bursts take their time.
const EVERY: Minute = 3;

/// A burst so far, by its farthest window.
#[derive(Clone, Copy)]
struct Burst {
    size: f64,
    value: f64,
    expected: f64,
    began: Minute,
}

pub fn bursts(look: &Look, place: usize, track: usize, character: &Character) -> Option<Finding> {
    let baseline = &look.service.signals[place].tracks[track].baseline;
    if !users_feel(character.class) || baseline.is_sparse() || (look.upto - look.start) % EVERY != 0 {
        return None;
    }
    let sides = Sides::of(character.worse, baseline.scale());
    let found = |up: bool| on_one_side(look, place, track, up);
    let (up, down) = (sides.up.then(|| found(true)).flatten(), sides.down.then(|| found(false)).flatten());
    [up, down].into_iter().flatten().max_by(|a, b| a.surprise().total_cmp(&b.surprise()))
}

fn on_one_side(look: &Look, place: usize, track: usize, up: bool) -> Option<Finding> {
    let signal = &look.service.signals[place];
    let (ring, baseline) = (&signal.tracks[track].total, &signal.tracks[track].baseline);
    let lag = ring.place_of(look.upto + 1) - ring.place_of(look.start - 1);
    // How far a signal wanders grows with time: what is held against the latest window is fair to the earlier ones.
    let (wander, stretch) = (baseline.wander(HORIZON, lag, up), stretch(signal, baseline, lag));
    let far = [CALM, BURST].map(|log10_p| wander.size_at(log10_p) * stretch);
    let bursts = cut(look, place, track, up, far)?;
    let count = bursts.len() as u64;
    if count < FEWEST {
        return None;
    }
    let scale = baseline.scale()?;
    let width = HORIZONS[HORIZON].0;
    let windows = (f64::from(look.upto + 1 - look.settled) / width as f64).ceil().max(count as f64);
    let least = bursts.iter().map(|each| wander.log10_p(each.size / stretch)).fold(UNLIKELIEST, f64::max);
    let mean = |part: fn(&Burst) -> f64| bursts.iter().map(part).sum::<f64>() / count as f64;
    let (expected, current) = (mean(|each| each.expected), mean(|each| each.value));
    let away = wander.often() * stretch / (count as f64).sqrt();
    Some(Finding {
        signal: place,
        track,
        method: Method::AfterAgainstExpected,
        direction: direction(scale.is_mirrored(), up),
        baseline: expected,
        current,
        change: scale.relative_change(expected, current).abs(),
        size: 0.0,
        log10_p: log10_binomial_tail(count, windows as u64, 10f64.powf(least)),
        looks: look.looks_at_all(),
        samples_baseline: u64::from(baseline.bins),
        samples_current: count * width as u64,
        instances: Vec::new(),
        onset: bursts.first()?.began,
        present: Present::within(scale, current, away, count * width as u64),
    })
}

/// The bursts since the change, in order of time: from beyond the second size until below the first.
fn cut(look: &Look, place: usize, track: usize, up: bool, [calm, far]: [f64; 2]) -> Option<Vec<Burst>> {
    let judged = &look.service.signals[place].tracks[track];
    let (ring, baseline) = (&judged.total, &judged.baseline);
    let (scale, levels) = (baseline.scale()?, baseline.reference?);
    let (width, drop) = HORIZONS[HORIZON];
    let (mut bursts, mut open, mut calms) = (Vec::new(), None::<Burst>, 0);
    for end in ring.place_of(look.settled) + width..=ring.place_of(look.upto + 1) {
        let Some(last) = ring.get(end - 1) else { continue };
        let expected = baseline.expect(&levels, last.minute, width);
        let Some(size) = baseline.deviation(ring, end, HORIZON, &expected, up) else { continue };
        calms = if size < calm.max(0.0) { calms + 1 } else { 0 };
        if size >= far && open.is_none_or(|burst| size > burst.size) {
            let value = pooled(ring, end - width, end, drop, up != scale.is_mirrored())?;
            let expected = scale.value(if up { expected.high } else { expected.low });
            let began = open.map_or(last.minute, |burst| burst.began);
            open = Some(Burst { size, value, expected, began });
        }
        if calms >= CALMS {
            bursts.extend(open.take());
        }
    }
    // One that has not ended yet may last: then it is none of these.
    Some(bursts)
}
