//! How far instances of one service stand apart from each other when nothing is deployed.
//!
//! The very comparison that a watch makes (one arm against the rest, over each horizon, as it is and against the arm's
//! own past) is made for every instance in turn, in windows that overlap little, so that the yardstick of a canary is
//! made of many looks. What all instances have in a minute is summed once; the rest is that sum without the one.

use crate::engine::baseline::HORIZONS;
use crate::engine::detect::arms::{Both, GONE, SPARED, luck, robust, theirs, usual, weighed};
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
pub fn learn(service: &mut Service, place: usize, minute: Minute, worse: Worse, table: &mut Table) {
    let signal = &mut service.signals[place];
    if signal.series.len() < 2 || signal.learned_apart >= minute {
        return;
    }
    signal.learned_apart = minute;
    for track in 0..service.signals[place].tracks.len() {
        let young = service.signals[place].tracks[track].baseline.apart_looks() < YOUNG;
        let spacing = if young { SPACING_YOUNG } else { SPACING };
        // Tracks and horizons take different minutes, so that no minute is dear.
        let is_due = |horizon: usize| (minute + (track + horizon) as Minute).rem_euclid(spacing[horizon]) == 0;
        let due: [bool; HORIZONS.len()] = std::array::from_fn(is_due);
        if due.contains(&true) {
            rounds(service, place, track, minute, due, worse, table);
        }
    }
}

/// A round over each horizon that is due, all of them from one table.
fn rounds(
    service: &mut Service,
    place: usize,
    track: usize,
    minute: Minute,
    due: [bool; HORIZONS.len()],
    worse: Worse,
    table: &mut Table,
) {
    let signal = &service.signals[place];
    let Some(scale) = signal.tracks[track].baseline.scale().copied() else { return };
    let alive = |each: &u32| service.instances[*each as usize].last + GONE >= minute;
    table.running.clear();
    table.running.extend(signal.instances().filter(alive));
    let running = table.running.len();
    let share = signal.is_share(track);
    if running < 2 {
        return;
    }
    let first = if running > ROUND { minute.unsigned_abs() as usize * ROUND } else { 0 };
    let turns = (0..running.min(ROUND)).map(|turn| (first + turn) % running);
    // What was usual before a short window will do for the next ones; a long window must not overlap it.
    let is_fresh = |then: Minute| minute.saturating_sub(then) < USUAL;
    let usual_of = |instance: u32| signal.series_of(instance).and_then(|series| series.strand(track)?.usual);
    let stale = turns.clone().any(|one| usual_of(table.running[one]).is_none_or(|(then, _)| !is_fresh(then)));
    let reach = |horizon: usize| HORIZONS[horizon].0 as Minute + if horizon > LATELY || stale { USUAL_OF } else { 0 };
    let farthest = (0..HORIZONS.len()).filter(|&horizon| due[horizon]).map(reach).max().unwrap_or(0);
    table.fill(service, signal, track, minute - farthest + 1, minute);
    for one in turns {
        let instance = table.running[one];
        if service.instances[instance as usize].last < minute {
            continue;
        }
        let both = table.one_and_rest(one);
        for (horizon, (width, _)) in HORIZONS.into_iter().enumerate().filter(|&(horizon, _)| due[horizon]) {
            let upto = minute - width as Minute;
            let (past, bins) = both.split_at(both.partition_point(|bin| bin.minute <= upto));
            if bins.len() < width.min(2) || bins.len() * 2 < width {
                continue;
            }
            let (new, old) = (robust(bins, SPARED[horizon].min(bins.len() / 3), true), theirs(bins));
            let (Some(new), Some(old)) = (new, old) else { continue };
            let away = scale.of(new) - scale.of(old);
            let luck = share.then(|| luck(bins, &scale));
            let signal = &mut service.signals[place];
            let Some(strand) = signal.series_of_mut(instance).and_then(|series| series.strand_mut(track)) else {
                continue;
            };
            let (then, apart) = match strand.usual {
                Some(known) if horizon <= LATELY && is_fresh(known.0) => known,
                _ => {
                    let past = &past[past.partition_point(|bin| bin.minute <= upto - USUAL_OF)..];
                    (minute, usual(past, &scale).map(|usual| usual as f32))
                }
            };
            if horizon <= LATELY {
                strand.usual = Some((then, apart));
            }
            let lucks = luck.map(|luck| [luck, luck * (1.0 + width as f64 / f64::from(USUAL_OF))]);
            let baseline = &mut signal.tracks[track].baseline;
            let apart = apart.map_or(f64::NAN, f64::from);
            baseline.learn_apart(horizon, [away, away - apart], lucks, worse);
        }
    }
}

/// What each instance had in each minute of a stretch, and all of them together: 16 bytes for each. Kept from one look
/// to the next for its allocations only.
#[derive(Clone, Debug, Default)]
pub struct Table {
    running: Vec<u32>,
    from: Minute,
    minutes: usize,
    /// Numerators and denominators, instance by instance.
    cells: Vec<(f64, f64)>,
    sums: Vec<(f64, f64)>,
    both: Vec<Both>,
    counted: bool,
}

impl Table {
    fn fill(&mut self, service: &Service, signal: &Signal, track: usize, from: Minute, upto: Minute) {
        self.from = from;
        self.minutes = (upto - from + 1).max(0) as usize;
        self.counted = signal.is_counted();
        for (part, length) in [(&mut self.cells, self.minutes * self.running.len()), (&mut self.sums, self.minutes)] {
            part.clear();
            part.resize(length, (0.0, 0.0));
        }
        for (column, &instance) in self.running.iter().enumerate() {
            let own = &mut self.cells[column * self.minutes..(column + 1) * self.minutes];
            service.bins_of(signal, track, instance, from, upto, |bin| {
                let at = (bin.minute - from) as usize;
                let (num, den) = weighed(signal, &bin);
                if let (Some(cell), Some(sum)) = (own.get_mut(at), self.sums.get_mut(at)) {
                    *cell = (num, den);
                    *sum = (sum.0 + num, sum.1 + den);
                }
            });
        }
    }

    /// The minutes that one instance and the rest have in common, in order.
    fn one_and_rest(&mut self, one: usize) -> &[Both] {
        let own = &self.cells[one * self.minutes..(one + 1) * self.minutes];
        let mean = |part: (f64, f64)| if self.counted { part } else { (part.0 / part.1, 1.0) };
        self.both.clear();
        for ((minute, &ours), &sum) in (self.from..).zip(own).zip(&self.sums) {
            let theirs = (sum.0 - ours.0, sum.1 - ours.1);
            // What is left of a difference of two sums is no denominator.
            if ours.1 > 0.0 && theirs.1 > 1e-9 * sum.1 {
                self.both.push(Both { minute, ours: mean(ours), theirs: mean(theirs) });
            }
        }
        &self.both
    }
}
