//! Bursts that come again: short ones, each of which the worst minutes' being left out may hide, but too many.
//!
//! Every service has a burst now and then, and one more is no regression. Here the windows of some minutes since the
//! change are cut into bursts, each closed by a calm, and counted: how likely is it that so many of all windows go as
//! far as the least of them (a binomial tail), given how seldom the yardstick says that a window goes so far. Only of
//! what users feel; what goes up and down without a calm is one burst. Where there is nobody to compare with, windows
//! are held against what was expected; else they are those of the new arm against the old one.

use super::after::stretch;
use super::present::Present;
use super::{Finding, Look, direction, users_feel};
use crate::engine::baseline::expect::pooled;
use crate::engine::baseline::scale::Scale;
use crate::engine::baseline::{HORIZONS, Sides};
use crate::engine::character::Character;
use crate::engine::effect::Method;
use crate::engine::stats::log10_binomial_tail;
use crate::engine::window::Minute;

/// Fewer bursts than this are no pattern.
const FEWEST: usize = 3;
/// Windows of this horizon are looked at.
pub const HORIZON: usize = 1;
/// How unlikely (log10) a window of a burst must be, and how much so it counts at most: bursts have causes in common.
pub const BURST: f64 = -2.0;
const UNLIKELIEST: f64 = -2.5;
/// As likely as this is calm, and so many such windows in a row end a burst.
const CALM: f64 = -1.0;
const CALMS: u32 = 2;

/// Minutes between two looks of this kind: it goes over the whole watch again, and bursts take their time.
const EVERY: Minute = 3;

/// A window, by where it ends and by how far outside it lies, in units of the yardstick.
#[derive(Clone, Copy)]
pub struct Window {
    pub end: usize,
    pub size: f64,
}

/// Bursts that are over, each by its farthest window.
pub struct Bursts {
    pub windows: Vec<Window>,
    /// Where the first window ended that was part of one.
    pub began: usize,
    /// How likely (log10) so many are.
    pub log10_p: f64,
}

/// Whether bursts of this kind of signal are looked for, at this look.
pub fn are_due(look: &Look, character: &Character) -> bool {
    users_feel(character.class) && (look.upto - look.start) % EVERY == 0
}

/// Counts the bursts among windows that are told in order of time, by a yardstick: the size of a chance, and the chance
/// (log10) of a size. None where they are no pattern.
pub fn count(
    look: &Look,
    windows: impl Iterator<Item = Window>,
    size_at: impl Fn(f64) -> f64,
    log10_p: impl Fn(f64) -> f64,
) -> Option<Bursts> {
    let (bursts, began) = cut(windows, size_at(CALM), size_at(BURST));
    if bursts.len() < FEWEST {
        return None;
    }
    let all = f64::from(look.upto + 1 - look.settled) / HORIZONS[HORIZON].0 as f64;
    let all = (all.ceil() as u64).max(bursts.len() as u64);
    let least = bursts.iter().map(|each| log10_p(each.size)).fold(UNLIKELIEST, f64::max);
    let log10_p = log10_binomial_tail(bursts.len() as u64, all, 10f64.powf(least));
    Some(Bursts { windows: bursts, began, log10_p })
}

/// The farthest window of each burst, from beyond the second size until below the first, and where the first began. One
/// that has not ended yet may last: then it is none of these.
fn cut(windows: impl Iterator<Item = Window>, calm: f64, far: f64) -> (Vec<Window>, usize) {
    let (mut bursts, mut open, mut calms, mut began) = (Vec::new(), None::<Window>, 0, None);
    for window in windows {
        calms = if window.size < calm.max(0.0) { calms + 1 } else { 0 };
        if window.size >= far && open.is_none_or(|burst| window.size > burst.size) {
            began = began.or(Some(window.end));
            open = Some(window);
        }
        if calms >= CALMS {
            bursts.extend(open.take());
        }
    }
    (bursts, began.unwrap_or_default())
}

/// Of the service as a whole.
pub fn bursts(look: &Look, place: usize, track: usize, character: &Character) -> Option<Finding> {
    let baseline = &look.service.signals[place].tracks[track].baseline;
    if baseline.is_sparse() || !are_due(look, character) {
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
    let (scale, levels) = (baseline.scale()?, baseline.reference?);
    let lag = ring.place_of(look.upto + 1) - ring.place_of(look.start - 1);
    // How far a signal wanders grows with time: what is held against the latest window is fair to the earlier ones.
    let (wander, unit) = (baseline.wander(HORIZON, lag, up), stretch(signal, baseline, lag));
    let (width, drop) = HORIZONS[HORIZON];
    let expected = |end: usize| Some(baseline.expect(&levels, ring.get(end - 1)?.minute, width));
    let windows = (ring.place_of(look.settled) + width..=ring.place_of(look.upto + 1)).filter_map(|end| {
        let size = baseline.deviation(ring, end, HORIZON, &expected(end)?, up)?;
        Some(Window { end, size: size / unit })
    });
    let bursts = count(look, windows, |log10_p| wander.size_at(log10_p), |size| wander.log10_p(size))?;
    let side = Side { look, signal: place, track, scale, up };
    let finding = side.finding(&bursts, wander.often() * unit, |window| {
        let expected = expected(window.end)?;
        let value = pooled(ring, window.end - width, window.end, drop, up != scale.is_mirrored())?;
        Some((scale.value(if up { expected.high } else { expected.low }), value))
    })?;
    let onset = ring.get(bursts.began - 1)?.minute;
    Some(Finding { samples_baseline: u64::from(baseline.bins), onset, ..finding })
}

/// What is looked at: one direction of one track.
pub struct Side<'a> {
    pub look: &'a Look<'a>,
    pub signal: usize,
    pub track: usize,
    pub scale: &'a Scale,
    pub up: bool,
}

impl Side<'_> {
    /// Told by what each of the windows was held against and by its level, either of which may be so far off on the
    /// scale.
    pub fn finding(
        &self,
        bursts: &Bursts,
        off: f64,
        levels: impl Fn(&Window) -> Option<(f64, f64)>,
    ) -> Option<Finding> {
        let Side { look, signal, track, scale, up } = *self;
        let count = bursts.windows.len();
        let mut sums = (0.0, 0.0);
        for window in &bursts.windows {
            let (against, level) = levels(window)?;
            sums = (sums.0 + against, sums.1 + level);
        }
        let (baseline, current) = (sums.0 / count as f64, sums.1 / count as f64);
        let minutes = (count * HORIZONS[HORIZON].0) as u64;
        Some(Finding {
            signal,
            track,
            method: Method::AfterAgainstExpected,
            direction: direction(scale.is_mirrored(), up),
            baseline,
            current,
            change: scale.relative_change(baseline, current).abs(),
            size: 0.0,
            log10_p: bursts.log10_p,
            looks: look.looks_at_all(),
            samples_baseline: minutes,
            samples_current: minutes,
            instances: Vec::new(),
            onset: look.start,
            present: Present::within(scale, current, off / (count as f64).sqrt(), minutes),
        })
    }
}
