//! The ledger: what each release did to each signal, so that many small steps are seen when they add up.
//!
//! A sum counts when the level at the same time of day has gained more than the budget, and the steps of many releases,
//! far beyond what they scatter by, account for that: seasons and drift between releases come out even there.
//! It measures nothing itself and asks no guardrail.

use super::detect::present::Present;
use super::detect::steps::Step;
use super::effect::{Direction, Evidence, Method, Share};
use super::event::Deployment;
use super::gate::recent::Recent;
use super::policy::Policy;
use super::stats::{Z95, mean};
use super::time::{Span, Time};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Tracks of services that are deployed: 1.3 KB each, 26 MB in all. A forgotten one's releases are summed anew.
const LIMIT: usize = 20_000;
/// Releases remembered of each.
const RELEASES: usize = 16;
/// The fewest releases that are many.
const MANY: usize = 4;
/// How many times its scatter a mean step must be, the more the fewer there are to know the scatter by.
const CLEAR: f64 = 4.0;
const CLEARER: f64 = 8.0;
/// The share of the sum that one release may have: beyond it, it is that release's regression.
const ONE: f64 = 0.5;
/// The share of steps that go the sum's way, and of the sum that the level must have gained.
const MOST: f64 = 0.65;
/// Times of day that are alike.
const ALIKE: Span = Span::minutes(120);

/// Environment, service and track.
type Key = (Arc<str>, Arc<str>, Arc<str>);

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ledger {
    tracks: Recent<Key, Vec<Entry>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    at: Time,
    deployment: Arc<str>,
    version: Option<Arc<str>>,
    before: f64,
    step: f64,
    error: f64,
}

/// Steps that add up to a regression.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sum {
    pub evidence: Evidence,
    pub shares: Vec<Share>,
}

impl Ledger {
    /// Enters a release's steps; the strongest sum that has passed its budget, if any. What was told is not told again:
    /// its track begins anew.
    pub fn note(&mut self, policy: &Policy, deployment: &Deployment, steps: &[Step]) -> Option<Sum> {
        let sums = steps.iter().filter_map(|step| self.enter(policy, deployment, step));
        sums.max_by(|a, b| a.evidence.strength.total_cmp(&b.evidence.strength))
    }

    pub fn forgotten(&self) -> u64 {
        self.tracks.forgotten()
    }

    fn enter(&mut self, policy: &Policy, deployment: &Deployment, step: &Step) -> Option<Sum> {
        let key = (deployment.env.clone(), deployment.service.clone(), Arc::from(step.signal.as_str()));
        let mut entries = self.tracks.get(&key).cloned().unwrap_or_default();
        entries.push(Entry {
            at: deployment.at,
            deployment: deployment.id.clone(),
            version: deployment.version.clone(),
            before: step.before,
            step: step.after - step.before,
            error: step.error,
        });
        let surplus = entries.len().saturating_sub(RELEASES);
        entries.drain(..surplus);
        let sum = (0..entries.len()).find_map(|from| sum(policy, &entries[from..], step));
        if sum.is_some() {
            entries.clear();
        }
        self.tracks.insert(key, entries, LIMIT);
        sum
    }
}

fn sum(policy: &Policy, entries: &[Entry], step: &Step) -> Option<Sum> {
    let (first, last) = (entries.first()?, entries.last()?);
    let count = entries.len() as f64;
    if entries.len() < MANY || !alike(first.at, last.at) {
        return None;
    }
    let steps: Vec<f64> = entries.iter().map(|entry| entry.step).collect();
    let sum: f64 = steps.iter().sum();
    let (up, size) = (sum > 0.0, sum.abs());
    let gained = (last.before + last.step - first.before) * sum.signum();
    // Two levels are known far better than a sum of as many differences as there were releases: the sum says whose it
    // is, the levels how much it is.
    let (from, to) = (step.scale.value(first.before), step.scale.value(last.before + last.step));
    let change = step.scale.relative_change(from, to).abs();
    let one = steps.iter().map(|each| each * sum.signum()).fold(0.0, f64::max);
    let along = steps.iter().filter(|each| **each * sum > 0.0).count() as f64;
    let scatter = deviation(&steps)?.max(mean(&entries.iter().map(|entry| entry.error).collect::<Vec<_>>())?);
    let clear = size / count.sqrt() / scatter.max(1e-9);
    let holds = (if up { step.sides.up } else { step.sides.down })
        && change >= policy.detection.steps_budget * step.min_change
        && clear >= CLEAR + CLEARER / count
        && one <= ONE * size
        && along >= MOST * count
        && gained >= MOST * size
        && size >= MOST * gained;
    holds.then(|| Sum { evidence: evidence(step, entries, (from, to), size, clear), shares: shares(step, entries) })
}

/// The standard deviation; the median's would know too little from a handful of steps.
fn deviation(steps: &[f64]) -> Option<f64> {
    let centre = mean(steps)?;
    let squares: f64 = steps.iter().map(|step| (step - centre).powi(2)).sum();
    (steps.len() > 1).then(|| (squares / (steps.len() - 1) as f64).sqrt())
}

/// At about the same time of day, and not on the same day.
fn alike(one: Time, other: Time) -> bool {
    let apart = (other - one).0;
    let off = apart.rem_euclid(Span::DAY.0);
    apart > Span::DAY.0 / 2 && off.min(Span::DAY.0 - off) <= ALIKE.0
}

fn evidence(step: &Step, entries: &[Entry], (from, to): (f64, f64), size: f64, clear: f64) -> Evidence {
    // The sum's standard error is its size over how clear it is.
    let away = Z95 * size / clear.max(1e-9);
    Evidence {
        signal: step.signal.clone(),
        direction: if to > from { Direction::Increase } else { Direction::Decrease },
        baseline: from,
        current: to,
        interval: Present::within(&step.scale, to, away, 0).range.less(from),
        onset: entries.first().map_or(Time::MIN, |first| first.at),
        // The normal tail's exponent, as a power of ten.
        strength: clear * clear / 2.0 / std::f64::consts::LN_10,
        samples_baseline: entries.len() as u64,
        samples_current: entries.len() as u64,
        method: Method::StepsAddUp,
        weighty: step.weighty,
        unit: step.unit.clone(),
        instances: Vec::new(),
        log: None,
    }
}

fn shares(step: &Step, entries: &[Entry]) -> Vec<Share> {
    let share = |entry: &Entry| {
        let (from, to) = (step.scale.value(entry.before), step.scale.value(entry.before + entry.step));
        Share {
            deployment: entry.deployment.clone(),
            version: entry.version.clone(),
            change: step.scale.relative_change(from, to),
        }
    };
    entries.iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::baseline::Sides;
    use crate::engine::baseline::scale::Scale;
    use crate::engine::gate::tests::deployment;

    /// One release every so many hours; each gives the logarithm of the level before it and after it.
    fn play(hours: i64, levels: &[(f64, f64)]) -> Vec<Option<usize>> {
        let (policy, mut ledger) = (Policy::default(), Ledger::default());
        let told = levels.iter().enumerate().map(|(number, &(before, after))| {
            let release = deployment("a", &format!("d{number}"), Time(0) + Span::minutes(60 * hours * number as i64));
            let step = Step {
                signal: "latency_ms".into(),
                unit: None,
                scale: Scale::Ratio { offset: 0.0 },
                sides: Sides { up: true, down: false },
                before,
                after,
                error: 0.004,
                min_change: 0.08,
                weighty: true,
            };
            ledger.note(&policy, &release, &[step]).map(|sum| sum.shares.len())
        });
        told.collect()
    }

    #[test]
    fn twelve_small_steps_are_told_once_with_all_that_took_part() {
        let levels: Vec<_> = (0..12).map(|n| (f64::from(n) * 0.015, f64::from(n + 1) * 0.015)).collect();
        let told = play(6, &levels);
        let expected = (0..12).map(|n| (n == 8).then_some(9));
        assert_eq!(told, expected.collect::<Vec<_>>(), "at the first budget's worth between alike times of day");
    }

    #[test]
    fn levels_say_how_much_it_is_where_steps_are_measured_badly() {
        // Every step is measured a third too large: the fifth release would pass the budget by that alone.
        let large: Vec<_> = (0..12).map(|n| (f64::from(n) * 0.015, f64::from(n) * 0.015 + 0.024)).collect();
        assert_eq!(play(6, &large).iter().position(Option::is_some), Some(8));
        // And a fifth too small: by the levels it is as much as it is.
        let small: Vec<_> = (0..12).map(|n| (f64::from(n) * 0.015, f64::from(n) * 0.015 + 0.012)).collect();
        assert_eq!(play(6, &small).iter().position(Option::is_some), Some(8));
    }

    #[test]
    fn what_each_morning_does_is_no_release() {
        let morning: Vec<_> = (0..14).map(|_| (0.0, 0.05)).collect();
        assert_eq!(play(24, &morning), vec![None; 14], "the level falls back each night");
    }

    #[test]
    fn what_drifts_between_releases_is_not_theirs() {
        let drift: Vec<_> = (0..14).map(|n| (f64::from(n) * 0.05, f64::from(n) * 0.05 + 0.005)).collect();
        assert_eq!(play(24, &drift), vec![None; 14]);
    }

    #[test]
    fn one_large_step_is_its_releases_own() {
        let levels: Vec<_> = (0..8).map(|n| (if n > 3 { 0.2 } else { 0.0 }, if n > 2 { 0.2 } else { 0.0 })).collect();
        assert_eq!(play(24, &levels), vec![None; 8]);
    }
}
