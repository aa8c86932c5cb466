//! How far instances of one service stand apart from each other when nothing is deployed.
//!
//! The very comparison that a watch makes (one arm against the rest, over each horizon, as it is and against the arm's
//! own past) is made for every instance in turn, in windows that overlap little, so that the yardstick of a canary is
//! made of many looks. What all instances have in a minute is summed once; the rest is that sum without the one.

use crate::engine::baseline::HORIZONS;
use crate::engine::detect::arms::{Both, GONE, robust, theirs, usual, weighed};
use crate::engine::policy::Worse;
use crate::engine::service::Service;
use crate::engine::signal::Signal;
use crate::engine::window::Minute;

/// Instances that are looked at in one round; where there are more, they take turns.
const ROUND: usize = 8;
/// A round over each horizon every so many minutes, and more often while less than `YOUNG` looks are known.
const SPACING: [Minute; HORIZONS.len()] = [2, 3, 8, 20];
const SPACING_YOUNG: [Minute; HORIZONS.len()] = [1, 2, 5, 12];
const YOUNG: u32 = 240;
/// Minutes for which a usual distance stands before it is worked out again, and from how many minutes it is.
const USUAL: Minute = 10;
/// The longest horizon that shares it.
const LATELY: usize = 1;
const USUAL_OF: Minute = 40;

/// Learns how far instances of a signal stood apart in the windows that end with `minute`.
pub fn learn(service: &mut Service, place: usize, minute: Minute, worse: Worse) {
    let signal = &mut service.signals[place];
    if signal.series.len() < 2 || signal.learned_apart >= minute {
        return;
    }
    signal.learned_apart = minute;
    for track in 0..service.signals[place].tracks.len() {
        let young = service.signals[place].tracks[track].baseline.apart_looks() < YOUNG;
        let spacing = if young { SPACING_YOUNG } else { SPACING };
        for (horizon, every) in spacing.into_iter().enumerate() {
            // Tracks and horizons take different minutes, so that no minute is dear.
            if (minute + track as Minute + horizon as Minute).rem_euclid(every) == 0 {
                round(service, place, track, minute, horizon, worse);
            }
        }
    }
}

fn round(service: &mut Service, place: usize, track: usize, minute: Minute, horizon: usize, worse: Worse) {
    let signal = &service.signals[place];
    let Some(scale) = signal.tracks[track].baseline.scale().copied() else { return };
    let alive = |each: &u32| service.instances[*each as usize].last + GONE >= minute;
    let running: Vec<u32> = signal.instances().filter(alive).collect();
    if running.len() < 2 {
        return;
    }
    let (width, drop) = HORIZONS[horizon];
    let window = Columns::of(service, signal, track, &running, minute - width as Minute + 1, minute);
    let first = if running.len() > ROUND { minute.unsigned_abs() as usize * ROUND } else { 0 };
    let mut learned = Vec::with_capacity(ROUND);
    let mut past: Option<Columns> = None;
    for turn in 0..running.len().min(ROUND) {
        let one = (first + turn) % running.len();
        if service.instances[running[one] as usize].last < minute {
            continue;
        }
        let bins = window.one_and_rest(one);
        if bins.len() < width.min(2) || bins.len() * 2 < width {
            continue;
        }
        let (Some(new), Some(old)) = (robust(&bins, drop.min(bins.len() / 3), true), theirs(&bins)) else { continue };
        let away = scale.of(new) - scale.of(old);
        let known = signal.series_of(running[one]).and_then(|series| series.usual.get(track)).copied();
        // What was usual before a short window will do for the next ones; a long window must not overlap it.
        let fresh = known.filter(|(then, _)| horizon <= LATELY && minute.saturating_sub(*then) < USUAL);
        let (then, apart) = fresh.unwrap_or_else(|| {
            let upto = minute - width as Minute;
            let past =
                past.get_or_insert_with(|| Columns::of(service, signal, track, &running, upto - USUAL_OF + 1, upto));
            (minute, usual(&past.one_and_rest(one), &scale).map_or(f32::NAN, |usual| usual as f32))
        });
        learned.push((running[one], away, (then, apart)));
    }
    let signal = &mut service.signals[place];
    let tracks = signal.tracks.len();
    for (instance, away, (then, apart)) in learned {
        let Some(series) = signal.series_of_mut(instance) else { continue };
        series.usual.resize(tracks, (Minute::MIN, f32::NAN));
        if horizon <= LATELY {
            series.usual[track] = (then, apart);
        }
        signal.tracks[track].baseline.learn_apart(horizon, [away, away - f64::from(apart)], worse);
    }
}

/// What each instance had in each minute of a stretch, and all of them together: 16 bytes for each.
struct Columns {
    from: Minute,
    minutes: usize,
    /// Numerators and denominators, instance by instance.
    cells: Vec<(f64, f64)>,
    sums: Vec<(f64, f64)>,
    counted: bool,
}

impl Columns {
    fn of(service: &Service, signal: &Signal, track: usize, instances: &[u32], from: Minute, upto: Minute) -> Columns {
        let minutes = (upto - from + 1).max(0) as usize;
        let (mut cells, mut sums) = (vec![(0.0, 0.0); minutes * instances.len()], vec![(0.0, 0.0); minutes]);
        for (column, &instance) in instances.iter().enumerate() {
            let own = &mut cells[column * minutes..(column + 1) * minutes];
            service.bins_of(signal, track, instance, from, upto, |bin| {
                let (num, den) = weighed(signal, &bin);
                if let Some(cell) = own.get_mut((bin.minute - from) as usize) {
                    *cell = (cell.0 + num, cell.1 + den);
                    let sum = &mut sums[(bin.minute - from) as usize];
                    *sum = (sum.0 + num, sum.1 + den);
                }
            });
        }
        Columns { from, minutes, cells, sums, counted: signal.is_counted() }
    }

    /// The minutes that one instance and the rest have in common, in order.
    fn one_and_rest(&self, one: usize) -> Vec<Both> {
        let own = &self.cells[one * self.minutes..(one + 1) * self.minutes];
        let both = own.iter().zip(&self.sums).enumerate().filter_map(|(at, (&ours, &sum))| {
            let theirs = (sum.0 - ours.0, sum.1 - ours.1);
            let mean = |part: (f64, f64)| if self.counted { part } else { (part.0 / part.1, 1.0) };
            // What is left of a difference of two sums is no denominator.
            let there = ours.1 > 0.0 && theirs.1 > 1e-9 * sum.1;
            there.then(|| Both { minute: self.from + at as Minute, ours: mean(ours), theirs: mean(theirs) })
        });
        both.collect()
    }
}
