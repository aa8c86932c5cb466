//! What is true: the one place where evidence becomes a verdict.
//!
//! A regression is called when the strongest evidence would be seen by chance in fewer than `false_alarm_rate` of all
//! watches over harmless deployments, every signal, side, horizon and look counted (a union bound). Whether it may be
//! said is the gate's affair.

use super::detect::Findings;
use super::effect::{Coverage, Evidence, Lack, Method, Share, VerdictKind};
use super::event::Deployment;
use super::ledger::Sum;
use super::policy::Policy;
use super::time::Time;

/// A watch that could not have seen a signal double has seen nothing.
const BLIND: f64 = 1.0;
/// Pieces of evidence that a message carries.
const SHOWN: usize = 8;

#[derive(Clone, Debug, PartialEq)]
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
pub fn so_far(policy: &Policy, findings: &Findings) -> Option<Verdict> {
    let bar = -policy.detection.false_alarm_rate.log10();
    let strongest = findings.evidence.first()?;
    (strongest.strength >= bar).then(|| Verdict {
        kind: VerdictKind::Regression,
        risk: risk(strongest.strength),
        evidence: findings.evidence.iter().filter(|each| each.strength >= 0.5 * bar).take(SHOWN).cloned().collect(),
        coverage: Vec::new(),
        shares: Vec::new(),
    })
}

/// The verdict at the end of a watch that found no regression.
pub fn at_the_end(policy: &Policy, findings: Findings, overflowed: bool, superseded: bool) -> Verdict {
    if let Some(verdict) = so_far(policy, &findings) {
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

/// Surprise as a probability of harm: 0.5 where one watch in ten would show as much by chance.
pub fn risk(strength: f64) -> f64 {
    1.0 / (1.0 + (-1.6 * (strength - 1.0)).exp())
}

/// One sentence for a pager.
pub fn summary(deployment: &Deployment, verdict: &Verdict, now: Time) -> String {
    let version = deployment.version.as_deref().unwrap_or("(no version)");
    let subject = format!("{} {version} in {} ({})", deployment.service, deployment.env, deployment.id);
    match (verdict.kind, verdict.evidence.first()) {
        (_, Some(evidence)) if !verdict.shares.is_empty() => {
            let (count, steps) = (verdict.shares.len(), each_share(&verdict.shares));
            format!("{subject}: {} over {count} releases ({steps})", in_words(evidence))
        }
        (VerdictKind::Regression, Some(evidence)) => {
            let minutes = (evidence.onset - deployment.at).as_minutes().max(0.0).round();
            format!("{subject}: {}, since {minutes} min after the deployment", in_words(evidence))
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
