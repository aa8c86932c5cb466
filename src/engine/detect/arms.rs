//! Arms: instances that carry the change and instances that don't, compared over the same minutes.
//!
//! Whatever hits both cancels out. Where a carrier ran before the change under the same name, its own past difference
//! is taken off too (difference in differences). The yardstick is how far any one instance stood apart from the rest
//! before.

mod again;
mod bins;

use super::load::is_memory;
use super::present::{self, Present, filled};
use super::{ByHorizon, COUNTED, Finding, Look, bursts, direction};
use crate::engine::baseline::scale::Scale;
use crate::engine::baseline::{Baseline, HORIZONS, Sides};
use crate::engine::character::{Character, Class};
use crate::engine::effect::{Direction, Method};
use crate::engine::event::Deployment;
use crate::engine::service::Service;
use crate::engine::signal::Signal;
use crate::engine::stats::{log10_binomial_tail, log10_count_tail};
use crate::engine::window::Minute;
use crate::engine::yardstick::Tail;

pub use bins::{Both, luck, ours, robust, theirs, usual, weighed};
use bins::{ratio, side_by_side, sum};

/// Who carries the change and who runs beside, by place in the service's list of instances.
#[derive(Clone, Debug, Default)]
pub struct Arms {
    pub new: Vec<u32>,
    pub old: Vec<u32>,
    /// The event named the carriers.
    pub named: bool,
}

/// Minutes of silence after which an instance no longer counts as running.
pub const GONE: Minute = 5;
/// Minutes after which a process is as good as old.
const AGE: Minute = 60;
/// Minutes from which a usual distance is worked out before a watch.
const OFFSET_OF: f64 = 60.0;
/// Minutes of an instance's own past that its offset needs.
const PAST: usize = 15;

/// The worst minutes of an arm that are left out, by horizon. Fewer than of a service by itself: a burst mostly hits
/// both arms and cancels, and bursts of the new arm alone are what a bad change may well look like.
pub const SPARED: [usize; HORIZONS.len()] = [1, 1, 1, 2];

/// How much of its distance from its peers an instance must have gone itself.
const OWN: f64 = 0.3;

/// Services with more instances than this are not searched for the one that differs: the cost grows with the square.
const COMPARED: usize = 64;

impl Arms {
    pub fn of(service: &Service, deployment: &Deployment, start: Minute, upto: Minute) -> Arms {
        let running = |last: Minute| last + GONE >= upto.min(service.latest);
        let mut arms = Arms { named: !deployment.instances.is_empty(), ..Arms::default() };
        for (place, each) in service.instances.iter().enumerate() {
            let carries = if arms.named {
                deployment.instances.contains(&each.name)
            } else {
                deployment.version.is_some()
                    && each.version == deployment.version
                    && (each.first >= start - 3 || each.changed >= start - 3)
            };
            let beside = arms.named || (each.version.is_some() && each.version != deployment.version);
            if carries && each.last >= start {
                arms.new.push(place as u32);
            } else if !carries && beside && each.first < start && running(each.last) && each.started < start - 2 {
                arms.old.push(place as u32);
            }
        }
        arms
    }
}

/// Whether two processes are of an age: memory and caches of a fresh one say nothing about an old one's.
fn contemporary(look: &Look, one: u32, other: u32) -> bool {
    let started = |each: u32| look.service.instances[each as usize].started.max(look.start - AGE);
    (started(one) - started(other)).abs() <= AGE / 4
}

pub struct Compared {
    pub finding: Option<Finding>,
    pub by_horizon: ByHorizon,
    pub smallest_change: Option<f64>,
    /// Both arms had enough minutes in common: nothing weaker is needed.
    pub enough: bool,
}

impl Compared {
    fn take(&mut self, finding: Option<Finding>, character: &Character) {
        if let Some(finding) = finding
            && self.finding.as_ref().is_none_or(|best| finding.outweighs(best, character))
        {
            self.finding = Some(finding);
        }
    }
}

/// None where there are no two arms with this track.
pub fn new_against_old(look: &Look, place: usize, track: usize, character: &Character) -> Option<Compared> {
    let arms = &look.arms;
    if arms.new.is_empty() || arms.old.is_empty() {
        return None;
    }
    let signal = &look.service.signals[place];
    let compared = compare(look, place, track, character, &arms.new, &arms.old, Method::NewAgainstOld)?;
    // A canary may get any share of the traffic: rates can't be compared but with its own past.
    (signal.class != Class::Traffic || compared.finding.is_some()).then_some(compared)
}

/// Each instance against all others, where the whole service changed: one bad pod among many.
pub fn one_against_peers(look: &Look, place: usize, track: usize, character: &Character) -> Option<Finding> {
    // Where it is known who carries the change, nobody else can be evidence against it.
    let suspects = |each: &&u32| look.arms.new.is_empty() || look.arms.new.contains(each);
    let running: Vec<u32> = (0..look.service.instances.len() as u32)
        .filter(|&i| look.service.instances[i as usize].last + GONE >= look.upto)
        .collect();
    if running.len() < 3 || running.len() > COMPARED {
        return None;
    }
    let spread = (running.len() as f64).log10();
    // Asked once: there are as many pairs as the square of the instances.
    let ages = character.class == Class::Saturation && is_memory(&look.service.signals[place]);
    running
        .iter()
        .filter(suspects)
        .filter_map(|&one| {
            let rest: Vec<u32> = running
                .iter()
                .copied()
                .filter(|&each| each != one && (!ages || contemporary(look, one, each)))
                .collect();
            let mut finding =
                compare(look, place, track, character, &[one], &rest, Method::InstanceAgainstPeers)?.finding?;
            if !worse_than_itself(look, &finding, one, character) {
                return None;
            }
            finding.log10_p = (finding.log10_p + spread).min(0.0);
            Some(finding)
        })
        .max_by(|a, b| a.surprise().total_cmp(&b.surprise()))
}

/// Whether an instance moved against its own past too, and far enough: it must not stand out because the others moved.
fn worse_than_itself(look: &Look, finding: &Finding, one: u32, character: &Character) -> bool {
    let signal = &look.service.signals[finding.signal];
    let Some(scale) = signal.tracks[finding.track].baseline.scale() else { return true };
    let strand = signal.series_of(one).and_then(|series| series.strand(finding.track));
    let Some(before) = strand.and_then(|strand| strand.before).map(f64::from) else { return true };
    let up = (finding.direction == Direction::Increase) != scale.is_mirrored();
    let way = |away: f64| if up { away } else { -away };
    way(scale.relative_change(before, finding.current)) >= character.min_change
        && way(scale.of(finding.current) - scale.of(before)) >= OWN * finding.size
}

fn compare(
    look: &Look,
    place: usize,
    track: usize,
    character: &Character,
    new: &[u32],
    old: &[u32],
    method: Method,
) -> Option<Compared> {
    let signal = &look.service.signals[place];
    let baseline = &signal.tracks[track].baseline;
    let from = look.settled;
    let mut bins = side_by_side(look.service, signal, track, (new, old), from, look.upto);
    if bins.len() < HORIZONS[0].0 {
        return None;
    }
    let mut enough = bins.len() >= HORIZONS[1].0;
    let mut offset = offset(signal, track, new);
    if signal.class == Class::Traffic && offset.is_none() {
        // The share that a new one was given is its past. What it lacked from the start, only the whole service shows.
        let given = bins.drain(..PAST.min(bins.len())).collect::<Vec<_>>();
        (offset, enough) = (Some(usual(&given, baseline.scale()?)?), false);
    }
    let pair = Pair { look, name: (place, track), baseline, new, old, method, bins };
    let mut compared = Compared { finding: None, by_horizon: ByHorizon::default(), smallest_change: None, enough };
    if baseline.is_sparse() {
        compared.finding = pair.rare(signal, character);
        return Some(compared);
    }
    let scale = baseline.scale()?;
    let sides = Sides::of(character.worse, Some(scale));
    for up in [true, false].into_iter().filter(|&up| if up { sides.up } else { sides.down }) {
        for horizon in 0..HORIZONS.len() {
            pair.at_horizon(scale, horizon, up, offset, character, &mut compared);
        }
        if method == Method::NewAgainstOld && bursts::are_due(look, character) {
            compared.take(pair.bursts(scale, up, offset), character);
        }
    }
    Some(compared)
}

/// How far the carriers stood apart before the change; none if any of them is new.
fn offset(signal: &Signal, track: usize, new: &[u32]) -> Option<f64> {
    let mut sum = 0.0;
    for &instance in new {
        sum += f64::from(signal.series_of(instance)?.strand(track)?.apart?);
    }
    Some(sum / new.len() as f64)
}

/// Notes, before a watch, how far each instance of a signal usually stands apart from the rest, and its own level: an
/// instance's minutes are forgotten sooner than the watch ends.
pub fn note_past(service: &mut Service, signal: usize, start: Minute) {
    let judged = &service.signals[signal];
    let instances: Vec<u32> = judged.instances().collect();
    let (from, upto) = (start - 62, start - 2);
    let running = |each: &u32| service.instances[*each as usize].last + GONE >= upto;
    let mut noted = Vec::with_capacity(instances.len());
    for &one in &instances {
        let rest: Vec<u32> = instances.iter().copied().filter(|&each| each != one).filter(running).collect();
        let apart_of = |track: usize| {
            let scale = judged.tracks[track].baseline.scale()?;
            let past = side_by_side(service, judged, track, (&[one], &rest), from, upto);
            usual(&past, scale).map(|usual| usual as f32)
        };
        let worth = instances.len() <= COMPARED && !rest.is_empty();
        for track in 0..judged.tracks.len() {
            let apart = worth.then(|| apart_of(track)).flatten();
            noted.push((one, track, apart, level(service, judged, (track, one), (from, upto))));
        }
    }
    for (one, track, apart, before) in noted {
        let series = service.signals[signal].series_of_mut(one);
        if let Some(strand) = series.and_then(|series| series.strand_mut(track)) {
            (strand.apart, strand.before) = (apart, before);
        }
    }
}

/// An instance's own level over a stretch of time; none where there is too little of it.
fn level(
    service: &Service,
    signal: &Signal,
    (track, instance): (usize, u32),
    (from, upto): (Minute, Minute),
) -> Option<f32> {
    let (mut count, mut sum) = (0, (0.0, 0.0));
    service.bins_of(signal, track, instance, from, upto, |bin| {
        let (num, den) = weighed(signal, &bin);
        (count, sum) = (count + 1, (sum.0 + num, sum.1 + den));
    });
    ratio([sum].into_iter()).filter(|_| count >= PAST).map(|level| level as f32)
}

/// How far apart two arms are: the new one's level, and on the scale what it is held against and how far it went.
struct Distance {
    new: f64,
    expected: f64,
    size: f64,
}

struct Pair<'a> {
    look: &'a Look<'a>,
    name: (usize, usize),
    baseline: &'a Baseline,
    new: &'a [u32],
    old: &'a [u32],
    method: Method,
    bins: Vec<Both>,
}

impl Pair<'_> {
    fn at_horizon(
        &self,
        scale: &Scale,
        horizon: usize,
        up: bool,
        offset: Option<f64>,
        character: &Character,
        compared: &mut Compared,
    ) {
        let (width, drop) = (HORIZONS[horizon].0, SPARED[horizon]);
        let Some(first) = self.bins.len().checked_sub(width) else { return };
        let bins = &self.bins[first..];
        let Some(distance) = self.distance(scale, bins, drop, up, offset.unwrap_or(0.0)) else { return };
        let Distance { new, expected, size } = distance;
        let (tail, unit) = self.yardstick(scale, horizon, bins, up, offset.is_some());
        let looks = self.look.looks(horizon);
        let called = (self.look.level / self.look.judged).log10() - looks.log10();
        let expected_value = scale.value(expected);
        let least = scale.value(expected + if up { 1.0 } else { -1.0 } * tail.size_at(called) * unit);
        let smallest = scale.relative_change(expected_value, least).abs();
        compared.smallest_change = Some(compared.smallest_change.map_or(smallest, |other: f64| other.min(smallest)));
        if size <= 0.0 {
            return;
        }
        let far = |bin: &&Both| (if up { 1.0 } else { -1.0 }) * (scale.of(bin.our_value()) - expected) >= 0.5 * size;
        // The first of the minutes without a break up to now; of what comes and goes the first in the window.
        let lasting = self.bins.iter().rev().take_while(far).last();
        let onset = lasting.or_else(|| bins.iter().find(far)).map_or(self.look.upto, |bin| bin.minute);
        let away = tail.often() * unit;
        let whole = || Present::within(scale, new, away, (width * self.new.len()) as u64);
        let present = lasting.and_then(|_| self.since(scale, onset, width, up, offset.is_some())).unwrap_or_else(whole);
        let finding = Finding {
            signal: self.name.0,
            track: self.name.1,
            method: self.method,
            direction: direction(scale.is_mirrored(), up),
            baseline: expected_value,
            current: new,
            change: scale.relative_change(expected_value, new).abs(),
            size,
            bursts: 0,
            log10_p: tail.log10_p(size / unit).max(if up {
                self.by_counting(bins, offset.unwrap_or(0.0))
            } else {
                f64::MIN
            }),
            looks,
            samples_baseline: (width * self.old.len()) as u64,
            samples_current: (width * self.new.len()) as u64,
            instances: self.new.to_vec(),
            onset,
            present,
        };
        compared.by_horizon[horizon] += finding.weight(character);
        compared.take(Some(finding), character);
    }

    /// How far the new arm stands apart over some minutes; none where either has nothing.
    fn distance(&self, scale: &Scale, bins: &[Both], drop: usize, up: bool, away: f64) -> Option<Distance> {
        let new = robust(bins, drop, up != scale.is_mirrored())?;
        let expected = scale.of(theirs(bins)?) + away;
        let size = if up { scale.of(new) - expected } else { expected - scale.of(new) };
        Some(Distance { new, expected, size })
    }

    /// Our level since a moment, in not more minutes than a horizon has.
    fn since(&self, scale: &Scale, onset: Minute, most: usize, up: bool, own_past: bool) -> Option<Present> {
        let minutes =
            (self.bins.len() - self.bins.partition_point(|bin| bin.minute < onset)).clamp(present::FEWEST, most);
        let first = self.bins.len().checked_sub(minutes)?;
        let (tail, unit) = self.yardstick(scale, filled(minutes), &self.bins[first..], up, own_past);
        let samples = (minutes * self.new.len()) as u64;
        Some(Present::within(scale, ours(&self.bins[first..])?, tail.often() * unit, samples))
    }

    /// How surprising a distance is, and its unit: what is counted is measured by luck, which differs by night and day.
    fn yardstick(&self, scale: &Scale, horizon: usize, bins: &[Both], up: bool, own_past: bool) -> (Tail, f64) {
        if !self.is_share() {
            let instances = self.old.len() + self.new.len();
            return (self.baseline.apart_tail(horizon, own_past, up, instances), 1.0);
        }
        (self.baseline.apart_tail_of_shares(horizon, own_past, up), self.unit_of_shares(scale, horizon, bins, own_past))
    }

    fn unit_of_shares(&self, scale: &Scale, horizon: usize, bins: &[Both], own_past: bool) -> f64 {
        let past = if own_past { 1.0 + HORIZONS[horizon].0 as f64 / OFFSET_OF } else { 1.0 };
        self.baseline.apart_unit(horizon, past * luck(bins, scale))
    }

    fn is_share(&self) -> bool {
        self.look.service.signals[self.name.0].is_share(self.name.1)
    }

    /// Where events are counted, their number must surprise as well (the conditional test of two rates).
    fn by_counting(&self, bins: &[Both], offset: f64) -> f64 {
        let (bad, all) = sum(bins.iter().map(|bin| bin.ours));
        let (bad_old, all_old) = sum(bins.iter().map(|bin| bin.theirs));
        if !self.is_share() || all / bins.len() as f64 <= COUNTED {
            return f64::MIN;
        }
        let all = all * offset.exp();
        log10_count_tail(bad, bad + bad_old, all / (all + all_old))
    }

    /// Minutes with events among all minutes, new against old, exactly (Fisher 1935; one-sided, given their sum).
    fn rare(&self, signal: &Signal, character: &Character) -> Option<Finding> {
        let (look, track) = (self.look, self.name.1);
        let scale = self.baseline.scale().copied().unwrap_or(Scale::Ratio { offset: 0.5 });
        let sides = Sides::of(character.worse, Some(&scale));
        if !sides.up {
            return None;
        }
        // The old arm instance by instance, with its past: each instance's minute is one chance.
        let (mut bad_before, mut all_before, mut sum) = (0, 0, (0.0, 0.0));
        let (mut bad_beside, mut all_beside) = (0, 0);
        for &instance in self.old {
            look.service.bins_of(signal, track, instance, look.start - 60, look.upto, |bin| {
                let eventful = u64::from(bin.value().is_some_and(|value| scale.is_eventful(value)));
                (bad_before, all_before) = (bad_before + eventful, all_before + 1);
                if bin.minute >= look.start {
                    (bad_beside, all_beside) = (bad_beside + eventful, all_beside + 1);
                }
                sum = (sum.0 + f64::from(bin.num), sum.1 + f64::from(bin.den));
            });
        }
        let first =
            self.bins.iter().find(|bin| scale.is_eventful(bin.our_value())).map_or(look.start, |bin| bin.minute);
        let bad = self.bins.iter().filter(|bin| scale.is_eventful(bin.our_value())).count() as u64;
        let all = self.bins.len() as u64;
        let (new, old) = (ours(&self.bins)?, ratio([sum].into_iter())?);
        // What has begun on the old arm as well is not the new one's.
        if bad < 3 || all_before < 10 || 2 * bad_beside * all > bad * all_beside {
            return None;
        }
        let chance = all as f64 / (all + all_before) as f64;
        Some(Finding {
            signal: self.name.0,
            track,
            method: self.method,
            direction: direction(scale.is_mirrored(), true),
            baseline: old,
            current: new,
            change: scale.relative_change(old, new),
            size: 0.0,
            bursts: 0,
            log10_p: log10_binomial_tail(bad, bad + bad_before, chance),
            looks: look.looks_at_all(),
            samples_baseline: all_before,
            samples_current: all,
            instances: self.new.to_vec(),
            onset: first,
            present: Present::counted(new, bad as f64, all),
        })
    }
}
