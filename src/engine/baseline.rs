//! What is normal for a track: its scale, its day and week, its noise, and how far it wanders when nothing is deployed.
//!
//! Learned one bin at a time from bins that can no longer change, never from bins under watch. Every question is asked
//! of the past in the very form in which a watch asks it later: the mean of the last `h` bins against what was expected
//! `lag` bins before. So slow tides, bursts and correlation are in the yardstick without being modelled. Stretches that
//! were far off (incidents) are left out of it, within limits, or they would hide the next regression.

mod apart;
pub mod expect;
mod past;
pub mod scale;
pub mod wander;
pub mod week;

use super::character::Class;
use super::policy::Worse;
use super::window::{Minute, Ring};
use super::yardstick::{Tail, Yardsticks};
use expect::{Expectation, Levels, Seen};
use past::Past;
use scale::Scale;
use serde::{Deserialize, Serialize};
use wander::Wander;
use week::Week;

/// How many bins a window holds, and how many of the worst are left out of it: a natural burst lasts one to three.
/// The shortest one takes the better of two: a single bin proves nothing.
pub const HORIZONS: [(usize, usize); 4] = [(2, 1), (5, 1), (15, 3), (45, 6)];

/// (horizon, lag in bins from the window's end to the reference) for which the wandering is learned.
pub const CELLS: [(usize, usize); 8] = [(0, 5), (0, 30), (0, 90), (1, 15), (1, 90), (2, 30), (2, 90), (3, 90)];

/// A stretch that is far off is left out of the yardstick for at most so many bins in a row; then it is the new normal.
const INCIDENT_BINS: u32 = 120;
/// Deviations of incidents that are kept in mind: eight incidents' on both sides.
const SHELVED: usize = 8 * 2 * CELLS.len();
/// What happens so often in a day is no incident but how this signal is.
const FREQUENT: usize = 3;
/// A stretch of at most so many bins is a burst, not an incident.
const BURST: u32 = 5;
/// How unlikely (log10) a bin must be to count as an incident's.
const INCIDENT: f64 = -4.5;
/// The power of sizes whose tails are modelled, at the most. Instances differ by many small things, and there are many
/// looks at them; a service by itself has bursts and tides that some hours do not tell of.
const POWER: f64 = 1.3;
const POWER_APART: f64 = 2.0;
/// Bins needed before a scale is chosen.
const SCALED_AFTER: usize = 8;

/// About 0.8 KiB for each side that is watched, as much again where instances are compared, 0.5 KiB of levels, and 1.3
/// KiB of week.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    scale: Option<Scale>,
    /// Everything before this minute is learned or was left out for good.
    pub learned: Minute,
    /// Bins learned from.
    pub bins: u32,
    /// Of these, the ones in which anything happened: not zero, or any failure.
    pub eventful: u32,
    week: Week,
    /// Mean absolute difference of neighbouring bins, in the scale's unit.
    noise: f64,
    previous: Option<f64>,
    up: Yardsticks<{ CELLS.len() }>,
    down: Yardsticks<{ CELLS.len() }>,
    /// Of one instance against the rest, by horizon: as they are, and against their own past difference.
    apart_up: Yardsticks<{ 2 * HORIZONS.len() }>,
    apart_down: Yardsticks<{ 2 * HORIZONS.len() }>,
    /// By horizon, the variance of such distances beyond what the luck of counting gives them.
    apart_beyond: [f32; HORIZONS.len()],
    turn: u32,
    /// The levels before the change that is being watched, kept for as long as the watch lasts.
    pub reference: Option<Levels>,
    /// Bins in a row that looked like an incident.
    odd: u32,
    /// What would have been learned from it: learned after all if it turns out to be a short burst.
    pending: Vec<Largest>,
    /// The same of the latest incidents: learned after all if they turn out to be frequent.
    shelved: Vec<Largest>,
    /// The levels before the stretch that looks like an incident.
    sound: Option<Levels>,
    /// Minutes left out lately, oldest first.
    incidents: Vec<(Minute, Minute)>,
    flat_error: f64,
    season_error: f64,
    /// The levels before each of the latest learned bins' successors.
    past: Past,
}

impl Default for Baseline {
    fn default() -> Baseline {
        Baseline {
            scale: None,
            learned: Minute::MIN,
            bins: 0,
            eventful: 0,
            week: Week::default(),
            noise: 0.0,
            previous: None,
            up: Default::default(),
            down: Default::default(),
            apart_up: Default::default(),
            apart_down: Default::default(),
            apart_beyond: Default::default(),
            turn: 0,
            reference: None,
            odd: 0,
            pending: Vec::new(),
            shelved: Vec::new(),
            sound: None,
            incidents: Vec::new(),
            flat_error: 0.0,
            season_error: 0.0,
            past: Past::default(),
        }
    }
}

/// The largest deviation of an odd stretch, in one cell on one side. 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Largest {
    cell: u8,
    up: bool,
    size: f32,
}

/// Which sides of the scale are worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sides {
    pub up: bool,
    pub down: bool,
}

impl Sides {
    pub fn of(worse: Worse, scale: Option<&Scale>) -> Sides {
        let mirrored = scale.is_some_and(Scale::is_mirrored);
        match worse {
            Worse::Either => Sides { up: true, down: true },
            Worse::Increase => Sides { up: !mirrored, down: mirrored },
            Worse::Decrease => Sides { up: mirrored, down: !mirrored },
        }
    }
}

impl Baseline {
    pub fn scale(&self) -> Option<&Scale> {
        self.scale.as_ref()
    }

    /// Whether things happen so seldom that minutes with events are counted, not levels compared.
    pub fn is_sparse(&self) -> bool {
        self.scale.is_none() || f64::from(self.eventful) < 0.3 * f64::from(self.bins)
    }

    /// Whether what a day does to it is known.
    pub fn knows_a_day(&self) -> bool {
        self.week.days() > 0
    }

    /// The standard deviation of one bin, as its neighbours have it.
    pub fn noise(&self) -> f64 {
        // The mean absolute difference of two normal draws is 2/sqrt(pi) = 1.128 standard deviations.
        self.noise / 1.128
    }

    /// Learns every bin before `upto`.
    pub fn learn(&mut self, ring: &Ring, upto: Minute, class: Class, worse: Worse) {
        if self.scale.is_none() && ring.len() >= SCALED_AFTER {
            self.scale = Scale::choose(ring, class);
        }
        let Some(scale) = self.scale else {
            // All zero so far: there is no size to compare with, but that nothing happened is known.
            self.bins = ring.place_of(upto) as u32;
            return;
        };
        let first = ring.place_of(self.learned);
        let last = ring.place_of(upto);
        for place in first..last {
            let Some(bin) = ring.get(place) else { continue };
            let Some(value) = bin.value() else { continue };
            self.eventful += u32::from(scale.is_eventful(value));
            self.learn_bin(ring, place, bin.minute, scale.of(value), Sides::of(worse, Some(&scale)));
        }
        self.learned = self.learned.max(upto);
    }

    /// Leaves everything before `upto` out for good: it was not normal.
    pub fn skip(&mut self, upto: Minute) {
        self.learned = self.learned.max(upto);
        self.previous = None;
        self.past.clear();
    }

    fn learn_bin(&mut self, ring: &Ring, place: usize, minute: Minute, y: f64, sides: Sides) {
        let mut seen = Seen::new(ring, place + 1);
        let odd = self.looks_odd(&mut seen, minute, sides);
        self.learn_unless(odd, &mut seen, minute, y, sides);
        if self.past.is_single() && minute % 2 != 0 {
            self.past.repeat();
        } else {
            self.past.push(self.levels(ring, place + 1));
        }
    }

    fn learn_unless(&mut self, odd: bool, seen: &mut Seen, minute: Minute, y: f64, sides: Sides) {
        if odd {
            self.odd += 1;
            if self.odd == 1 {
                self.sound = self.levels_before(30);
            }
            let frequent = self.incidents_before(minute) >= FREQUENT;
            if frequent {
                // What keeps happening was no incident after all.
                self.shelved.append(&mut self.pending);
                self.learn_shelved();
            }
            if self.odd <= INCIDENT_BINS && !frequent {
                self.leave_out(minute);
                self.hold_back(seen, minute, sides);
                return;
            }
        }
        if self.odd > 0 && self.odd <= BURST {
            self.incidents.pop();
            // Bursts are part of what is normal, and the next one must not surprise.
            self.shelved.append(&mut self.pending);
            self.learn_shelved();
        }
        if !self.pending.is_empty() {
            let surplus = (self.shelved.len() + self.pending.len()).saturating_sub(SHELVED);
            self.shelved.drain(..surplus.min(self.shelved.len()));
            self.shelved.append(&mut self.pending);
        }
        self.odd = 0;
        self.sound = None;
        if let Some(previous) = self.previous.replace(y) {
            let weight = (1.0 / (f64::from(self.bins) + 1.0)).max(0.005);
            // A jump counts for at most a few times the usual: one spike is not noise.
            let step =
                if self.bins < 20 { (y - previous).abs() } else { (y - previous).abs().min(6.0 * self.noise + 1e-6) };
            self.noise += weight * (step - self.noise);
        }
        let days_before = self.week.days();
        self.week.learn(minute, y);
        if days_before == 0 && self.week.days() > 0 {
            // From here on the season is expected, so what was learned without it counts for less.
            self.up.fade();
            self.down.fade();
        }
        self.bins += 1;
        self.turn = self.turn.wrapping_add(1);
        let turn = self.turn as usize;
        // A burst is seen for two or three bins: the shortest horizon must not miss it.
        for cell in 0..3 {
            self.learn_cell(seen, minute, cell, sides);
        }
        self.learn_cell(seen, minute, 3 + turn % 2, sides);
        self.learn_cell(seen, minute, 5 + turn % (CELLS.len() - 5), sides);
    }

    fn learn_cell(&mut self, seen: &mut Seen, minute: Minute, cell: usize, sides: Sides) {
        let (horizon, lag) = CELLS[cell];
        let Some(levels) = self.levels_before(lag) else { return };
        // Neither the reference nor the window may hold bins of an incident.
        let first = seen.ring.get(seen.end.saturating_sub(HORIZONS[horizon].0)).map_or(minute, |bin| bin.minute);
        let spoiled = |&(from, to): &(Minute, Minute)| {
            (from <= levels.origin() && levels.origin() <= to) || (from <= minute && first <= to)
        };
        if self.incidents.iter().any(spoiled) {
            return;
        }
        let expected = self.expect(&levels, minute, HORIZONS[horizon].0);
        if lag == 90
            && horizon == 1
            && let Some(season) = self.season(&levels, levels.middle(minute, HORIZONS[horizon].0))
        {
            self.compare_models(seen, horizon, &expected, season);
        }
        for up in [true, false] {
            if let Some(size) = self.watched_deviation(seen, horizon, &expected, sides, up) {
                let cells = if up { &mut self.up } else { &mut self.down };
                cells.learn(cell, size);
            }
        }
    }

    /// Works out what an odd bin would teach, without learning it yet.
    fn hold_back(&mut self, seen: &mut Seen, minute: Minute, sides: Sides) {
        for (cell, (horizon, lag)) in CELLS.into_iter().enumerate() {
            // The shelves hold what was before the incident as the reference, however long it lasts.
            let Some(levels) = self.levels_before(lag).or(self.sound) else { continue };
            let expected = self.expect(&levels, minute, HORIZONS[horizon].0);
            for up in [true, false] {
                if let Some(size) = self.watched_deviation(seen, horizon, &expected, sides, up) {
                    let size = size as f32;
                    match self.pending.iter_mut().find(|each| usize::from(each.cell) == cell && each.up == up) {
                        Some(largest) => largest.size = largest.size.max(size),
                        None => self.pending.push(Largest { cell: cell as u8, up, size }),
                    }
                }
            }
        }
    }

    fn learn_shelved(&mut self) {
        for Largest { cell, up, size } in std::mem::take(&mut self.shelved) {
            let cells = if up { &mut self.up } else { &mut self.down };
            // The peak, and looks a little beside it.
            for part in [1.0, 0.8, 0.6] {
                cells.learn(usize::from(cell), part * f64::from(size));
            }
        }
    }

    /// The size of a deviation on a side that is watched, zero if there is none.
    fn watched_deviation(
        &self,
        seen: &mut Seen,
        horizon: usize,
        expected: &Expectation,
        sides: Sides,
        up: bool,
    ) -> Option<f64> {
        let watched = if up { sides.up } else { sides.down };
        watched.then(|| seen.over(self, horizon, up).map(|seen| expected.deviation(seen, up).max(0.0))).flatten()
    }

    /// Keeps account of whether the season predicts better than no season.
    fn compare_models(&mut self, seen: &mut Seen, horizon: usize, expected: &Expectation, season: f64) {
        // Without the highest readings, whichever side of the scale they are on.
        let up = self.scale.is_some_and(|scale| !scale.is_mirrored());
        let Some(seen) = seen.over(self, horizon, up) else { return };
        self.flat_error += 0.02 * ((seen - expected.flat).abs() - self.flat_error);
        self.season_error += 0.02 * ((seen - expected.flat - season).abs() - self.season_error);
    }

    /// Whether the season is worth expecting: it has been, so far.
    fn season_helps(&self) -> bool {
        self.week.days() > 0 && self.season_error <= 0.95 * self.flat_error
    }

    fn looks_odd(&self, seen: &mut Seen, minute: Minute, sides: Sides) -> bool {
        if self.bins < 60 {
            return false;
        }
        // Inside a long incident the bins of half an hour ago are its own: what was before it stays the reference.
        let Some(levels) = self.sound.or_else(|| self.levels_before(30)) else { return false };
        let expected = self.expect(&levels, minute, HORIZONS[0].0);
        [(sides.up, true), (sides.down, false)].into_iter().any(|(watched, up)| {
            watched
                && seen
                    .over(self, 0, up)
                    .map(|seen| expected.deviation(seen, up))
                    .is_some_and(|size| size > 2.0 * self.noise() && self.wander(0, 30, up).log10_p(size) < INCIDENT)
        })
    }

    fn leave_out(&mut self, minute: Minute) {
        match self.incidents.last_mut() {
            Some(last) if minute - last.1 <= 3 => last.1 = minute,
            _ => self.incidents.push((minute, minute)),
        }
        if self.incidents.len() > 8 {
            self.incidents.remove(0);
        }
    }

    /// Incidents of the last day, the one that may be running left aside.
    fn incidents_before(&self, minute: Minute) -> usize {
        self.incidents.iter().filter(|&&(_, to)| minute - to <= 1_440 && minute - to > 3).count()
    }

    /// The levels that stood `lag` bins before the end of a window that ends with the bin that is being learned.
    fn levels_before(&self, lag: usize) -> Option<Levels> {
        // The newest ones stand before the bin being learned, one bin before the window's end.
        self.past.before(lag.checked_sub(2)?)
    }

    /// How surprising it is to wander so far over a horizon, the reference lying `lag` bins before the window's end.
    pub fn wander(&self, horizon: usize, lag: usize, up: bool) -> Wander {
        let learned = || CELLS.iter().enumerate().filter(|(_, cell)| cell.0 == horizon);
        let tail = |(place, cell): (usize, &(usize, usize))| (self.tail(place, up), cell.1);
        let (near, far) = (learned().rfind(|(_, cell)| cell.1 <= lag), learned().find(|(_, cell)| cell.1 >= lag));
        match (near, far) {
            (Some(near), Some(far)) if near.0 != far.0 => Wander::between(tail(near), tail(far), lag),
            (near, far) => Wander::of(tail(near.or(far).unwrap_or((0, &CELLS[0]))).0),
        }
    }

    fn tail(&self, cell: usize, up: bool) -> Tail {
        let cells = if up { &self.up } else { &self.down };
        let (width, _) = HORIZONS[CELLS[cell].0];
        let looks = cells.looks(cell);
        let spacing = match cell {
            0..=2 => 1.0,
            3 | 4 => 2.0,
            _ => (CELLS.len() - 5) as f64,
        };
        cells.get(cell).tail(self.floor(width, looks), self.usual(width), (width as f64 / spacing).max(1.0), POWER)
    }

    /// What noise alone does to a mean of so many bins, as a standard deviation.
    fn usual(&self, width: usize) -> f64 {
        self.noise() * (1.0 / width as f64 + 0.1).sqrt()
    }

    /// The least scale of surprise: what noise alone does to a short mean, more while there is little history.
    pub fn floor(&self, width: usize, looks: u32) -> f64 {
        (self.usual(width) * young(looks)).max(1e-4)
    }
}

/// How much of the noise that there must be is believed to be missing from a yardstick of so many looks.
fn young(looks: u32) -> f64 {
    0.35 + 0.65 / (1.0 + f64::from(looks) / 60.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::window::Bin;

    fn ring_of(values: impl Iterator<Item = f64>) -> Ring {
        let mut ring = Ring::default();
        for (minute, value) in values.enumerate() {
            ring.set(Bin { minute: minute as Minute, num: value as f32, den: 1.0 }, 10_000);
        }
        ring
    }

    /// A small generator of noise in [-1, 1].
    fn noise(seed: u64) -> f64 {
        let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x1234_5678);
        x ^= x >> 31;
        x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x ^= x >> 29;
        (x >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    fn learned(values: impl Iterator<Item = f64>) -> (Ring, Baseline) {
        let ring = ring_of(values);
        let mut baseline = Baseline::default();
        for minute in 0..ring.len() as Minute {
            baseline.learn(&ring, minute, Class::Other, Worse::Either);
        }
        (ring, baseline)
    }

    #[test]
    fn a_jump_surprises_and_noise_does_not() {
        let (_, baseline) = learned((0..700).map(|i| 100.0 + 5.0 * noise(i)));
        let tail = baseline.wander(1, 15, true);
        assert!(tail.log10_p(0.5) < -8.0, "{:?}", tail);
        assert!(tail.log10_p(0.03) > -2.0, "{:?}", tail);
    }

    #[test]
    fn levels_move_on_whichever_minutes_there_are() {
        for (first, step) in [(0, 1), (1, 1), (0, 2), (1, 2), (1, 3), (1, 4)] {
            let (mut ring, mut baseline) = (Ring::default(), Baseline::default());
            let minutes: Vec<Minute> = (0..150).map(|place| first + place * step).collect();
            for &minute in &minutes {
                ring.set(Bin { minute, num: 100.0 + 5.0 * noise(minute as u64) as f32, den: 1.0 }, 10_000);
                baseline.learn(&ring, minute, Class::Other, Worse::Either);
            }
            for lag in [5, 30, 90] {
                // The last one is not learned yet, and levels stand for two bins.
                let origin = baseline.levels_before(lag).expect("so many are learned").origin();
                let bin = minutes.iter().position(|&minute| minute == origin).expect("a bin's");
                assert!((bin + lag..bin + lag + 2).contains(&150), "{first} {step} {lag}: {bin}");
            }
        }
    }

    #[test]
    fn an_incident_does_not_become_the_yardstick() {
        let quiet = learned((0..700).map(|i| 100.0 + 5.0 * noise(i))).1;
        let spoiled = learned((0..700).map(|i| if (500..540).contains(&i) { 300.0 } else { 100.0 + 5.0 * noise(i) })).1;
        let (a, b) = (quiet.wander(1, 15, true).log10_p(0.4), spoiled.wander(1, 15, true).log10_p(0.4));
        assert!(b < 0.6 * a, "{a} {b}");
        assert_eq!(spoiled.incidents.len(), 1);
    }
}
