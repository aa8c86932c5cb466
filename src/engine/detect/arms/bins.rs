//! What two arms had in the same minutes, and what it comes to over a window.

use super::PAST;
use crate::engine::baseline::HORIZONS;
use crate::engine::baseline::scale::Scale;
use crate::engine::service::Service;
use crate::engine::signal::{Nature, Signal};
use crate::engine::window::{Bin, Minute};

/// A minute that both arms have: numerator and denominator of each.
#[derive(Clone, Copy, Debug)]
pub struct Both {
    pub minute: Minute,
    pub ours: (f64, f64),
    pub theirs: (f64, f64),
}

impl Both {
    pub(super) fn our_value(&self) -> f64 {
        self.ours.0 / self.ours.1
    }
}

/// What an instance's bin adds to its arm: a gauge counts once a minute, however often it was read.
pub fn weighed(signal: &Signal, bin: &Bin) -> (f64, f64) {
    let weight = if signal.nature == Nature::Gauge { 1.0 / f64::from(bin.den.max(1e-9)) } else { 1.0 };
    (f64::from(bin.num) * weight, f64::from(bin.den) * weight)
}

/// The minutes over `[from, upto]` that both arms have, in order.
pub(super) fn side_by_side(
    service: &Service,
    signal: &Signal,
    track: usize,
    (new, old): (&[u32], &[u32]),
    from: Minute,
    upto: Minute,
) -> Vec<Both> {
    let length = (upto - from + 1).clamp(0, 200);
    let mut minutes: Vec<Both> =
        (from..from + length).map(|minute| Both { minute, ours: (0.0, 0.0), theirs: (0.0, 0.0) }).collect();
    for (arm, is_new) in [(new, true), (old, false)] {
        for &instance in arm {
            service.bins_of(signal, track, instance, from, upto, |bin| {
                if let Some(both) = minutes.get_mut((bin.minute - from) as usize) {
                    let sum = if is_new { &mut both.ours } else { &mut both.theirs };
                    let (num, den) = weighed(signal, &bin);
                    (sum.0, sum.1) = (sum.0 + num, sum.1 + den);
                }
            });
        }
    }
    minutes.retain(|each| each.ours.1 > 0.0 && each.theirs.1 > 0.0);
    if !signal.is_counted() {
        // A mean over instances, whatever their number: every minute weighs the same.
        for each in &mut minutes {
            each.ours = (each.ours.0 / each.ours.1, 1.0);
            each.theirs = (each.theirs.0 / each.theirs.1, 1.0);
        }
    }
    minutes
}

pub(super) fn sum(parts: impl Iterator<Item = (f64, f64)>) -> (f64, f64) {
    parts.fold((0.0, 0.0), |(num, den), part| (num + part.0, den + part.1))
}

pub(super) fn ratio(parts: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let (num, den) = sum(parts);
    (den > 0.0).then(|| num / den)
}

/// The pooled value of our arm.
pub fn ours(bins: &[Both]) -> Option<f64> {
    ratio(bins.iter().map(|bin| bin.ours))
}

/// The pooled value of the other arm.
pub fn theirs(bins: &[Both]) -> Option<f64> {
    ratio(bins.iter().map(|bin| bin.theirs))
}

/// Our pooled value without the `drop` worst minutes, of as many as a horizon has at most.
pub fn robust(bins: &[Both], drop: usize, highest: bool) -> Option<f64> {
    match bins.len() {
        0..=5 => without::<5>(bins, drop, highest),
        _ => without::<{ HORIZONS[HORIZONS.len() - 1].0 }>(bins, drop, highest),
    }
}

/// The same for the newest `N` minutes, which lie on the stack.
fn without<const N: usize>(bins: &[Both], drop: usize, highest: bool) -> Option<f64> {
    let bins = &bins[bins.len().saturating_sub(N)..];
    if drop == 0 || bins.len() <= drop {
        return ours(bins);
    }
    let mut kept = [(0.0, (0.0, 0.0)); N];
    let kept = &mut kept[..bins.len()];
    kept.iter_mut().zip(bins).for_each(|(kept, bin)| *kept = (bin.our_value(), bin.ours));
    let cut = if highest { kept.len() - drop } else { drop };
    kept.select_nth_unstable_by(cut, |a, b| a.0.total_cmp(&b.0));
    let kept = if highest { &kept[..cut] } else { &kept[cut..] };
    ratio(kept.iter().map(|each| each.1))
}

/// The variance that the luck of counting gives to the distance of two arms, on the scale, at the rate of theirs.
pub fn luck(bins: &[Both], scale: &Scale) -> f64 {
    let (_, all) = sum(bins.iter().map(|bin| bin.ours));
    let (bad_there, all_there) = sum(bins.iter().map(|bin| bin.theirs));
    // Where there was none, there might have been one.
    let rate = bad_there.max(1.0) / all_there.max(1.0);
    scale.slope(rate).powi(2) * rate * (1.0 - rate).max(0.0) * (1.0 / all + 1.0 / all_there)
}

/// How far apart two arms usually are; none where that is not known.
pub fn usual(past: &[Both], scale: &Scale) -> Option<f64> {
    if past.len() < PAST {
        return None;
    }
    let away = |bin: &Both| scale.apart(bin.our_value(), bin.theirs.0 / bin.theirs.1);
    let mut kept: Vec<(f64, &Both)> = past.iter().map(|bin| (away(bin), bin)).collect();
    let half = kept.len() / 2;
    let middle = kept.select_nth_unstable_by(half, |a, b| a.0.total_cmp(&b.0)).1.0;
    // The same minutes leave both arms: a bad hour of both, or of one, must not look like a distance between them.
    kept.iter_mut().for_each(|each| each.0 = scale.beside(each.0, middle));
    let count = past.len() - past.len() / 5;
    kept.select_nth_unstable_by(count, |a, b| a.0.total_cmp(&b.0).then(a.1.minute.cmp(&b.1.minute)));
    kept.truncate(count);
    let (ours, theirs) = (ratio(kept.iter().map(|each| each.1.ours))?, ratio(kept.iter().map(|each| each.1.theirs))?);
    Some(scale.of(ours) - scale.of(theirs))
}
