//! The table: cases counted by fleet, environment, service and detector, and by how sure we were.
//!
//! Bounded whatever the fleet: the environments and services with the most cases have lines of their own. Counts and
//! divides; labels are the case's, and what follows is nobody's here.

use super::{Case, Cases};
use crate::engine::effect::{Accuracy, Bin, Method, Outcome, Row, Rung, Tally};
use crate::engine::policy::Policy;
use crate::engine::stats::quantile;
use crate::engine::time::{Span, Time};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Environments with lines of their own; the rest are one, called `other`. With the detectors, 168 lines at most.
const ENVIRONMENTS: usize = 20;
/// Services with lines of their own: with their detectors 800 lines at most, some 200 KB of JSON.
const SERVICES: usize = 100;
/// Bounds of risk. A regression is called high up, so there they are narrow.
const RISKS: [f64; 9] = [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.99, 1.0];

type Place<'a> = (Option<&'a str>, Option<&'a str>);

/// Cases of one line, and how long the right ones took.
#[derive(Default)]
struct Line {
    counts: [u64; Outcome::ALL.len()],
    /// In milliseconds.
    took: Vec<f64>,
}

pub fn report(cases: &Cases, policy: &Policy, now: Time, rungs: Vec<Rung>) -> Accuracy {
    let since = now - policy.accuracy.over;
    let counted: Vec<(&Case, Outcome)> = cases
        .all()
        .filter(|(_, case)| case.deployment.at >= since)
        .filter_map(|(_, case)| Some((case, case.outcome()?)))
        .collect();
    let environments = busiest(counted.iter().map(|(case, _)| &*case.deployment.env), ENVIRONMENTS);
    let services = counted.iter().map(|(case, _)| (&*case.deployment.env, &*case.deployment.service));
    let all = services.clone().collect::<std::collections::BTreeSet<_>>().len();
    let named = busiest(services, SERVICES);
    let mut lines: BTreeMap<(Place, Option<Method>), Line> = BTreeMap::new();
    for (case, outcome) in &counted {
        let (env, service) = (&*case.deployment.env, &*case.deployment.service);
        let shown = if environments.contains(&env) { env } else { "other" };
        let mut places: Vec<Place> = vec![(None, None), (Some(shown), None)];
        if named.contains(&(env, service)) {
            places.push((Some(env), Some(service)));
        }
        for place in places {
            lines.entry((place, None)).or_default().add(case, *outcome);
            if let Some(called) = &case.called {
                lines.entry((place, Some(called.method))).or_default().add(case, *outcome);
            }
        }
    }
    // The fleet has a line from the start, so that nothing known is told as nothing known.
    lines.entry(((None, None), None)).or_default();
    let harmful: BTreeMap<Place, u64> = lines
        .iter()
        .filter(|((_, detector), _)| detector.is_none())
        .map(|((place, _), line)| (*place, line.count(Outcome::Right) + line.count(Outcome::Missed)))
        .collect();
    let row = |((place, detector), line): ((Place, Option<Method>), Line)| Row {
        env: place.0.map(Arc::from),
        service: place.1.map(Arc::from),
        detector,
        tally: line.tally(harmful.get(&place).copied().unwrap_or_default()),
    };
    let left_out = (all - named.len()) as u64;
    let rows = lines.into_iter().map(row).collect();
    Accuracy { at: now, since, rows, left_out, calibration: bins(&counted), rungs, forgotten: cases.forgotten() }
}

impl Line {
    fn add(&mut self, case: &Case, outcome: Outcome) {
        self.counts[outcome as usize] += 1;
        if let (Outcome::Right, Some(called)) = (outcome, &case.called) {
            self.took.push((called.at - case.deployment.at).0.max(0) as f64);
        }
    }

    fn count(&self, outcome: Outcome) -> u64 {
        self.counts[outcome as usize]
    }

    fn tally(mut self, harmful: u64) -> Tally {
        let mut at = |q| quantile(&mut self.took, q).map(|ms| Span(ms.round() as i64));
        let detection = at(0.5).zip(at(0.9));
        Tally { counts: self.counts, harmful, detection }
    }
}

/// Those that come most often, at most so many; of equals the first by name.
fn busiest<T: Ord + Copy>(all: impl Iterator<Item = T>, most: usize) -> Vec<T> {
    let mut counts: BTreeMap<T, u64> = BTreeMap::new();
    all.for_each(|each| *counts.entry(each).or_default() += 1);
    let mut sorted: Vec<(T, u64)> = counts.into_iter().collect();
    sorted.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
    sorted.into_iter().take(most).map(|(name, _)| name).collect()
}

fn bins(counted: &[(&Case, Outcome)]) -> Vec<Bin> {
    let bin = |(at, from): (usize, &f64)| {
        let to = RISKS[at + 1];
        let last = at + 2 == RISKS.len();
        let within = |risk: f64| risk >= *from && (risk < to || last);
        let inside = counted.iter().filter(|(case, _)| case.risk().is_some_and(within));
        let (labelled, open): (Vec<_>, Vec<_>) =
            inside.partition(|(_, outcome)| !matches!(outcome, Outcome::Unlabelled | Outcome::Quiet));
        let harmful = labelled.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Right | Outcome::Missed));
        let risks: f64 = labelled.iter().filter_map(|(case, _)| case.risk()).sum();
        Bin {
            from: *from,
            to,
            labelled: labelled.len() as u64,
            harmful: harmful.count() as u64,
            unlabelled: open.len() as u64,
            risk: if labelled.is_empty() { 0.0 } else { risks / labelled.len() as f64 },
        }
    };
    RISKS[..RISKS.len() - 1].iter().enumerate().map(bin).collect()
}
