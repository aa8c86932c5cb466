//! Arms: instances that carry the change and instances that don't, compared over the same minutes.
//!
//! Whatever hits both cancels out. Where a carrier ran before the change under the same name, its own past difference is
//! taken off too (difference in differences). The yardstick is how far any one instance stood apart from the rest before.

use super::{Finding, Look, SETTLING, direction};
use crate::engine::baseline::scale::Scale;
use crate::engine::baseline::{Baseline, HORIZONS, Sides};
use crate::engine::character::{Character, Class};
use crate::engine::effect::Method;
use crate::engine::event::Deployment;
use crate::engine::service::Service;
use crate::engine::signal::{Nature, Signal};
use crate::engine::stats::log10_binomial_tail;
use crate::engine::window::Minute;

/// Who carries the change and who runs beside, by place in the service's list of instances.
#[derive(Clone, Debug, Default)]
pub struct Arms {
    pub new: Vec<u32>,
    pub old: Vec<u32>,
    /// The event named the carriers.
    pub named: bool,
}

/// Minutes of silence after which an instance no longer counts as running.
const GONE: Minute = 5;
/// Minutes of an instance's own past that its offset needs.
const PAST: usize = 15;

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
            } else if !carries
                && beside
                && each.first < start
                && running(each.last)
                && !fresh(each.changed, each.first, start)
            {
                arms.old.push(place as u32);
            }
        }
        arms
    }
}

/// It changed its version around the change, so it is no witness of the time before.
fn fresh(changed: Minute, first: Minute, start: Minute) -> bool {
    changed > first && changed >= start - 3
}

/// A minute of an arm: numerator and denominator.
type Slice = Vec<(Minute, f64, f64)>;

/// The bins of some instances over `[from, upto]`, by minute, in order.
pub fn slice(service: &Service, signal: &Signal, track: usize, arm: &[u32], from: Minute, upto: Minute) -> Slice {
    let mut minutes = Slice::new();
    for minute in from..=upto {
        let (mut num, mut den) = (0.0, 0.0);
        for &instance in arm {
            if let Some(bin) = service.bin_of(signal, track, instance, minute) {
                let weight = if signal.nature == Nature::Gauge { 1.0 / f64::from(bin.den.max(1e-9)) } else { 1.0 };
                num += f64::from(bin.num) * weight;
                den += f64::from(bin.den) * weight;
            }
        }
        if den > 0.0 {
            minutes.push((minute, num, den));
        }
    }
    minutes
}

fn ratio<'a>(bins: impl Iterator<Item = &'a (Minute, f64, f64)>) -> Option<f64> {
    let (num, den) = bins.fold((0.0, 0.0), |(num, den), bin| (num + bin.1, den + bin.2));
    (den > 0.0).then(|| num / den)
}

/// The pooled value without the `drop` worst minutes.
fn robust(bins: &[(Minute, f64, f64)], drop: usize, highest: bool) -> Option<f64> {
    let mut kept = bins.to_vec();
    if drop > 0 && kept.len() > drop {
        kept.sort_by(|a, b| (a.1 / a.2).total_cmp(&(b.1 / b.2)));
        let cut = if highest { kept.len() - drop..kept.len() } else { 0..drop };
        kept.drain(cut);
    }
    ratio(kept.iter())
}

/// The minutes that both slices have.
fn common(a: &Slice, b: &Slice) -> (Slice, Slice) {
    let both = |one: &Slice, other: &Slice| {
        one.iter().filter(|bin| other.binary_search_by_key(&bin.0, |each| each.0).is_ok()).copied().collect()
    };
    (both(a, b), both(b, a))
}

pub struct Compared {
    pub finding: Option<Finding>,
    pub smallest_change: Option<f64>,
    /// Both arms had enough minutes in common: nothing weaker is needed.
    pub enough: bool,
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
    let running: Vec<u32> = (0..look.service.instances.len() as u32)
        .filter(|&i| look.service.instances[i as usize].last + GONE >= look.upto)
        .collect();
    if running.len() < 3 || running.len() > 64 {
        return None;
    }
    let spread = (running.len() as f64).log10();
    running
        .iter()
        .filter_map(|&one| {
            let rest: Vec<u32> = running.iter().copied().filter(|&each| each != one).collect();
            let mut finding =
                compare(look, place, track, character, &[one], &rest, Method::InstanceAgainstPeers)?.finding?;
            finding.log10_p = (finding.log10_p + spread).min(0.0);
            Some(finding)
        })
        .max_by(|a, b| a.surprise().total_cmp(&b.surprise()))
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
    let from = look.start + SETTLING;
    let (ours, theirs) = common(
        &slice(look.service, signal, track, new, from, look.upto),
        &slice(look.service, signal, track, old, from, look.upto),
    );
    if ours.len() < HORIZONS[0].0 {
        return None;
    }
    let pair = Pair { look, name: (place, track), baseline, new, old, method, ours: &ours, theirs: &theirs };
    let mut compared = Compared { finding: None, smallest_change: None, enough: ours.len() >= HORIZONS[1].0 };
    if baseline.is_sparse() {
        compared.finding = pair.rare(signal, character);
        return Some(compared);
    }
    let scale = baseline.scale()?;
    let offset = offset(look, signal, track, scale, new, old);
    if signal.class == Class::Traffic && offset.is_none() {
        return None;
    }
    for horizon in 0..HORIZONS.len() {
        let sides = Sides::of(character.worse, Some(scale));
        for up in [true, false] {
            if (up && sides.up) || (!up && sides.down) {
                pair.at_horizon(scale, horizon, up, offset, &mut compared);
            }
        }
    }
    Some(compared)
}

/// How far the carriers stood apart before the change, where they ran before it.
fn offset(look: &Look, signal: &Signal, track: usize, scale: &Scale, new: &[u32], old: &[u32]) -> Option<f64> {
    let (from, upto) = (look.start - 62, look.start - 2);
    let (ours, theirs) = common(
        &slice(look.service, signal, track, new, from, upto),
        &slice(look.service, signal, track, old, from, upto),
    );
    if ours.len() < PAST {
        return None;
    }
    let fifth = ours.len() / 5;
    Some(scale.of(robust(&ours, fifth, true)?) - scale.of(robust(&theirs, fifth, true)?))
}

struct Pair<'a> {
    look: &'a Look<'a>,
    name: (usize, usize),
    baseline: &'a Baseline,
    new: &'a [u32],
    old: &'a [u32],
    method: Method,
    ours: &'a Slice,
    theirs: &'a Slice,
}

impl Pair<'_> {
    fn at_horizon(&self, scale: &Scale, horizon: usize, up: bool, offset: Option<f64>, compared: &mut Compared) {
        let (width, drop) = HORIZONS[horizon];
        let Some(first) = self.ours.len().checked_sub(width) else { return };
        let highest = up != scale.is_mirrored();
        let (Some(new), Some(old)) = (robust(&self.ours[first..], drop, highest), ratio(self.theirs[first..].iter()))
        else {
            return;
        };
        let expected = scale.of(old) + offset.unwrap_or(0.0);
        let size = if up { scale.of(new) - expected } else { expected - scale.of(new) };
        let tail = self.baseline.apart_tail(horizon, offset.is_some(), up, self.old.len() + self.new.len());
        let looks = self.look.looks(horizon);
        let called = (self.look.policy.detection.false_alarm_rate / self.look.judged).log10() - looks.log10();
        let expected_value = scale.value(expected);
        let least = scale.value(expected + if up { 1.0 } else { -1.0 } * tail.size_at(called));
        let smallest = scale.relative_change(expected_value, least).abs();
        compared.smallest_change = Some(compared.smallest_change.map_or(smallest, |other: f64| other.min(smallest)));
        if size <= 0.0 {
            return;
        }
        let finding = Finding {
            signal: self.name.0,
            track: self.name.1,
            method: self.method,
            direction: direction(scale.is_mirrored(), up),
            baseline: expected_value,
            current: new,
            change: scale.relative_change(expected_value, new).abs(),
            log10_p: tail.log10_p(size),
            looks,
            samples_baseline: (width * self.old.len()) as u64,
            samples_current: (width * self.new.len()) as u64,
            instances: self.new.to_vec(),
            onset: self.onset(scale, expected, size, up),
        };
        if compared.finding.as_ref().is_none_or(|best| finding.surprise() > best.surprise()) {
            compared.finding = Some(finding);
        }
    }

    /// The first of the minutes, without a break up to now, in which at least half of the difference was there.
    fn onset(&self, scale: &Scale, expected: f64, size: f64, up: bool) -> Minute {
        let far = |bin: &&(Minute, f64, f64)| {
            let away = scale.of(bin.1 / bin.2) - expected;
            (if up { away } else { -away }) >= 0.5 * size
        };
        self.ours.iter().rev().take_while(far).last().map_or(self.look.upto, |bin| bin.0)
    }

    /// Minutes with events among all minutes, new against old, exactly (Fisher 1935; one-sided, conditional on the sum).
    fn rare(&self, signal: &Signal, character: &Character) -> Option<Finding> {
        let (look, track) = (self.look, self.name.1);
        let scale = self.baseline.scale().copied().unwrap_or(Scale::Ratio { offset: 0.5 });
        let sides = Sides::of(character.worse, Some(&scale));
        if !sides.up {
            return None;
        }
        let eventful = |bins: &Slice| bins.iter().filter(|bin| scale.is_eventful(bin.1 / bin.2)).count() as u64;
        // The old arm instance by instance, with its past: each instance's minute is one chance.
        let mut before = Slice::new();
        for &instance in self.old {
            before.extend(slice(look.service, signal, track, &[instance], look.start - 60, look.upto));
        }
        let (bad, all) = (eventful(self.ours), self.ours.len() as u64);
        let (bad_before, all_before) = (eventful(&before), before.len() as u64);
        let (new, old) = (ratio(self.ours.iter())?, ratio(before.iter())?);
        if bad < 3 || all_before < 10 {
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
            log10_p: log10_binomial_tail(bad, bad + bad_before, chance),
            looks: look.looks(1),
            samples_baseline: all_before,
            samples_current: all,
            instances: self.new.to_vec(),
            onset: self.ours.iter().find(|bin| scale.is_eventful(bin.1 / bin.2)).map_or(look.start, |bin| bin.0),
        })
    }
}

/// Learns how far one instance stood apart from the rest at `minute`, for one horizon, in both ways.
pub fn learn_apart(
    service: &Service,
    signal: &Signal,
    track: usize,
    one: u32,
    minute: Minute,
    horizon: usize,
) -> Option<[f64; 2]> {
    let scale = signal.tracks[track].baseline.scale()?;
    let alive = |each: &u32| service.instances[*each as usize].last + GONE >= minute;
    let rest: Vec<u32> =
        signal.series.iter().map(|series| series.instance).filter(|&each| each != one).filter(alive).collect();
    let (width, drop) = HORIZONS[horizon];
    let from = minute - width as Minute + 1;
    let (ours, theirs) = common(
        &slice(service, signal, track, &[one], from, minute),
        &slice(service, signal, track, &rest, from, minute),
    );
    if ours.len() < width.min(2) || ours.len() * 2 < width {
        return None;
    }
    let away = scale.of(robust(&ours, drop.min(ours.len() / 3), true)?) - scale.of(ratio(theirs.iter())?);
    let (past, past_theirs) = common(
        &slice(service, signal, track, &[one], from - 40, from - 1),
        &slice(service, signal, track, &rest, from - 40, from - 1),
    );
    if past.len() < PAST {
        return Some([away, f64::NAN]);
    }
    let fifth = past.len() / 5;
    let usual = scale.of(robust(&past, fifth, true)?) - scale.of(robust(&past_theirs, fifth, true)?);
    Some([away, away - usual])
}
