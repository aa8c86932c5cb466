//! What is true: the one place where evidence becomes a verdict.
//!
//! A regression is called when the strongest evidence would be seen by chance in fewer than `level` of all watches over
//! harmless deployments (the tighter of a watch's budget and its share of the fleet's), every signal, side, horizon and
//! look counted: a union bound. Whether it may be said is the gate's affair.

use super::detect::{ByHorizon, Findings};
use super::effect::{
    Considered, Coverage, Evidence, Guardrails, Lack, LogEvidence, Method, Rollout, Share, Standing, VerdictKind,
};
use super::event::Deployment;
use super::ledger::Sum;
use super::time::{Span, Time};
use serde::{Deserialize, Serialize};

/// A watch that could not have seen a signal double has seen nothing.
const BLIND: f64 = 1.0;
/// Metrics tell of a minute when it is over, lines at once.
const SLACK: Span = Span::MINUTE;
/// Pieces of evidence that a message carries.
const SHOWN: usize = 8;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    pub kind: VerdictKind,
    pub risk: f64,
    pub evidence: Vec<Evidence>,
    pub coverage: Vec<Coverage>,
    /// What each release did, where it took several.
    pub shares: Vec<Share>,
}

/// Steps of several releases that passed their budget together.
pub fn of_steps(sum: Sum) -> Verdict {
    Verdict {
        kind: VerdictKind::Regression,
        risk: risk(sum.evidence.strength),
        evidence: vec![sum.evidence],
        coverage: Vec::new(),
        shares: sum.shares,
    }
}

/// The verdict so far; `None` while there is no regression and the watch goes on.
pub fn so_far(level: f64, findings: &Findings) -> Option<Verdict> {
    let bar = -level.log10();
    let strongest = findings.evidence.first()?;
    let together = together(&findings.by_horizon);
    let strength = strongest.strength.max(together);
    // What was found earlier only counts while something still tells of it.
    let enough = strongest.strength >= bar || (together >= bar && strongest.strength >= 0.5 * bar);
    enough.then(|| {
        let mut evidence: Vec<_> =
            findings.evidence.iter().filter(|each| each.strength >= 0.5 * bar).cloned().collect();
        if let Some(cause) = probable_cause(&evidence, bar) {
            evidence[..=cause].rotate_right(1);
        }
        evidence.truncate(SHOWN);
        let risk = risk(strength);
        Verdict { kind: VerdictKind::Regression, risk, evidence, coverage: Vec::new(), shares: Vec::new() }
    })
}

/// What all tracks and horizons tell together, as a strength: the reciprocals of their chances are added up (the
/// harmonic mean p-value, Wilson 2019: at such levels as good as valid under dependence).
fn together(by_horizon: &ByHorizon) -> f64 {
    by_horizon.iter().sum::<f64>().max(1.0).log10()
}

/// The piece of evidence that explains the rest best: a new kind of error, sure enough by itself, that did not begin
/// after all of the others had. Otherwise the strongest stands first, which is where it stands already.
fn probable_cause(evidence: &[Evidence], bar: f64) -> Option<usize> {
    let latest = evidence.iter().map(|each| each.onset).max()?;
    let explains = |each: &Evidence| {
        each.method == Method::NewTemplate && each.weighty && each.strength >= bar && each.onset <= latest + SLACK
    };
    // With a kind of exception and a place in the code it says more than without.
    let says = |each: &Evidence| {
        each.log.as_ref().map_or((false, false), |log| (log.exception.is_some(), log.frame.is_some()))
    };
    let causes = evidence.iter().enumerate().filter(|(_, each)| explains(each));
    causes.max_by_key(|(place, each)| (says(each), std::cmp::Reverse(*place))).map(|(place, _)| place)
}

/// The verdict at the end of a watch that found no regression.
pub fn at_the_end(level: f64, findings: Findings, overflowed: bool, superseded: bool) -> Verdict {
    if let Some(verdict) = so_far(level, &findings) {
        return verdict;
    }
    let mut coverage = findings.coverage;
    let saw =
        coverage.iter().any(|each| each.lack.is_none() && each.smallest_change.is_none_or(|change| change <= BLIND));
    for each in &mut coverage {
        if each.lack.is_none() && each.smallest_change.is_some_and(|change| change > BLIND) {
            each.lack = Some(if superseded { Lack::Superseded } else { Lack::TooNoisy });
        }
    }
    if coverage.is_empty() || overflowed {
        let lack = if overflowed { Lack::Overflow } else { Lack::NoSamples };
        coverage.push(Coverage { signal: "*".into(), smallest_change: None, lack: Some(lack) });
    }
    let kind = if saw && !overflowed { VerdictKind::Clean } else { VerdictKind::Inconclusive };
    let risk = findings.evidence.first().map_or(0.02, |strongest| risk(strongest.strength)).min(0.5);
    Verdict { kind, risk, evidence: Vec::new(), coverage, shares: Vec::new() }
}

/// The verdict at the end of a watch that something was never read for: what is missing may have been all that
/// mattered.
pub fn of_gap() -> Verdict {
    let coverage = vec![Coverage { signal: "*".into(), smallest_change: None, lack: Some(Lack::Gap) }];
    let (kind, risk) = (VerdictKind::Inconclusive, 0.02);
    Verdict { kind, risk, evidence: Vec::new(), coverage, shares: Vec::new() }
}

/// Surprise as a probability of harm: 0.5 where one watch in ten would show as much by chance.
pub fn risk(strength: f64) -> f64 {
    1.0 / (1.0 + (-1.6 * (strength - 1.0)).exp())
}

/// One sentence for a pager.
pub fn summary(deployment: &Deployment, verdict: &Verdict, considered: &[Considered], now: Time) -> String {
    let version = deployment.version.as_deref().unwrap_or("(no version)");
    let subject = format!("{} {version} in {} ({})", deployment.service, deployment.env, deployment.id);
    match (verdict.kind, verdict.evidence.first()) {
        (_, Some(evidence)) if !verdict.shares.is_empty() => {
            let (count, steps) = (verdict.shares.len(), each_share(&verdict.shares));
            format!("{subject}: {} over {count} releases ({steps})", in_words(evidence))
        }
        (VerdictKind::Regression, Some(evidence)) => {
            let since = match (evidence.onset - deployment.at).as_minutes().max(0.0).round() {
                0.0 => "since the deployment".to_string(),
                minutes => format!("since {minutes} min after the deployment"),
            };
            let symptom = verdict.evidence.iter().skip(1).find(|each| each.log.is_none() && each.weighty);
            let symptom = symptom.filter(|each| evidence.log.is_some() && !each.signal.starts_with("logs."));
            let symptom = symptom.map(|each| format!("; {}", in_words(each))).unwrap_or_default();
            let by = origin(deployment);
            let others = not_by(considered);
            let begun = in_words(evidence);
            format!("{subject}: {begun}, {since}{symptom}{by}{others}")
        }
        (VerdictKind::Clean, _) => {
            let best = verdict.coverage.iter().filter_map(|each| each.smallest_change).fold(f64::MAX, f64::min);
            let seen =
                if best < f64::MAX { format!(" (would have seen {:.0} %)", 100.0 * best) } else { String::new() };
            format!("{subject}: nothing found in {:.0} min{seen}", (now - deployment.at).as_minutes())
        }
        _ => {
            let lack = verdict.coverage.iter().find_map(|each| each.lack);
            format!("{subject}: can't tell, {}", lack.map_or("not enough data", |lack| lack.word()).replace('_', " "))
        }
    }
}

/// What makes going back doubtful, for the end of the sentence: the latest setting by name, others by their number.
pub fn doubts(deployment: &Deployment, guardrails: &Guardrails) -> String {
    let (own, others): (Vec<_>, Vec<_>) =
        guardrails.stacked.iter().partition(|each| each.service == deployment.service);
    let setting = own.first().map(|each| format!("; {} {} changed since", each.kind.word(), each.deployment));
    let others = match others.as_slice() {
        [] => None,
        [one] => Some(format!("; {} ({}) deployed since", one.service, one.deployment)),
        several => Some(format!("; {} others deployed since", several.len())),
    };
    let rolling =
        guardrails.rollout.map(|Rollout { carrying, of }| format!("; still rolling out, {carrying} of {of} instances"));
    [setting, others, rolling].into_iter().flatten().collect()
}

/// The others that could have done it and did not, by name: three of them, and how many more.
fn not_by(considered: &[Considered]) -> String {
    let cleared = considered.iter().filter(|each| each.standing != Standing::Suspected);
    let names: Vec<String> =
        cleared.map(|each| format!("{} ({})", each.deployment.service, each.deployment.id)).collect();
    match names.len() {
        0 => String::new(),
        1..=3 => format!("; not by {}", names.join(", ")),
        many => format!("; not by {} and {} more", names[..3].join(", "), many - 3),
    }
}

/// Who made the change, and from what.
fn origin(deployment: &Deployment) -> String {
    match (deployment.author.as_deref(), deployment.commit.as_deref()) {
        (Some(author), Some(commit)) => format!(" (by {author}, commit {commit})"),
        (Some(author), None) => format!(" (by {author})"),
        (None, Some(commit)) => format!(" (commit {commit})"),
        (None, None) => String::new(),
    }
}

/// A new kind of error: the exception and where it came from, or the line itself.
fn new_in_words(log: &LogEvidence) -> String {
    match (&log.exception, &log.frame) {
        (Some(exception), Some(frame)) => format!("new {exception} in {frame}"),
        (Some(exception), None) => format!("new {exception}: \"{}\"", log.template),
        (None, _) => format!("new {} \"{}\"", log.severity, log.template),
    }
}

fn each_share(shares: &[Share]) -> String {
    let share = |share: &Share| {
        format!("{} {:+.1} %", share.version.as_deref().unwrap_or(&share.deployment), 100.0 * share.change)
    };
    shares.iter().map(share).collect::<Vec<_>>().join(", ")
}

fn in_words(evidence: &Evidence) -> String {
    let unit = evidence.unit.as_deref().filter(|unit| *unit != "1").map(|unit| format!(" {unit}")).unwrap_or_default();
    let place = match evidence.instances.as_slice() {
        [] => String::new(),
        [one] => format!(" on {one}"),
        several => format!(" on {} instances", several.len()),
    };
    match evidence.method {
        Method::NewTemplate if evidence.log.is_some() => {
            let log = evidence.log.as_deref();
            let only = if log.is_some_and(|log| log.only_new) { ", only with the new version" } else { "" };
            let (what, count) = log.map(|log| (new_in_words(log), log.after)).unwrap_or_default();
            format!("{what}, {count} times{place}{only}")
        }
        Method::Silence => format!("{} fell silent{place}", evidence.signal),
        _ => format!(
            "{} {} from {} to {}{unit}{place}",
            evidence.signal,
            evidence.direction.word(),
            short(evidence.baseline),
            short(evidence.current)
        ),
    }
}

/// Three significant digits.
fn short(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return "0".into();
    }
    let digits = (2 - value.abs().log10().floor() as i32).clamp(0, 9) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn horizons_that_agree_tell_more_than_one() {
        assert_eq!(together(&[0.0; 4]), 0.0);
        assert!((together(&[100.0, 0.0, 0.0, 0.0]) - 2.0).abs() < 1e-9);
        assert!((together(&[100.0, 100.0, 0.0, 0.0]) - 2.301).abs() < 1e-3);
        assert!(together(&[1.3, 1.3, 160.0, 0.0]) < 2.22);
    }

    #[test]
    fn numbers_for_people() {
        for (value, text) in [(0.0, "0"), (0.031_23, "0.0312"), (15.5, "15.5"), (1234.5, "1234"), (2.0, "2")] {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn risk_grows_with_strength() {
        assert!(risk(0.0) < 0.2 && risk(1.0) == 0.5 && risk(2.3) > 0.85 && risk(10.0) > 0.999);
    }
}
