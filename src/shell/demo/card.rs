//! What the audience reads: each message of the recommendations topic as a card or a line, each hold as a line.
//!
//! Reads the topics as any consumer would, and only the fields it shows. Decides nothing.

use super::picture::{Ink, Paint, framed, number, sparkline};
use super::record::Record;
use crate::engine::time::{Span, Time};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de::Error};

#[derive(Clone, Debug, Deserialize)]
pub struct Advice {
    #[serde(deserialize_with = "moment")]
    pub time: Time,
    pub data: AdviceFields,
}

#[derive(Clone, Debug, Deserialize)]
pub struct AdviceFields {
    pub recommendation: String,
    pub lifecycle: String,
    pub action: String,
    pub verdict: String,
    pub risk: f64,
    #[serde(default)]
    pub summary: String,
    pub deployment: DeploymentFields,
    pub evidence: Vec<EvidenceFields>,
    #[serde(default)]
    pub coverage: Vec<CoverageFields>,
    pub guardrails: GuardrailFields,
}

#[derive(Clone, Debug, Deserialize)]
pub struct DeploymentFields {
    pub id: String,
    pub service: String,
    pub env: String,
    pub version: Option<String>,
    pub previous_version: Option<String>,
    pub ts: i64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct EvidenceFields {
    pub signal: String,
    pub direction: String,
    pub baseline: f64,
    pub current: f64,
    pub ratio: Option<f64>,
    pub onset: i64,
    pub method: String,
    pub unit: Option<String>,
    #[serde(default)]
    pub instances: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct CoverageFields {
    pub smallest_change: Option<f64>,
    pub lack: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct GuardrailFields {
    #[serde(default, deserialize_with = "perhaps_moment")]
    pub cooldown_until: Option<Time>,
    pub reasons: Vec<String>,
}

/// An entry of the audit topic, as far as it speaks of a hold.
#[derive(Clone, Debug, Deserialize)]
pub struct Entry {
    #[serde(deserialize_with = "moment")]
    pub time: Time,
    pub data: EntryFields,
}

#[derive(Clone, Debug, Deserialize)]
pub struct EntryFields {
    pub event: String,
    /// Heartbeats and reports speak of no service.
    #[serde(default)]
    pub service: String,
    pub deployment: Option<String>,
    pub reason: Option<String>,
    pub would: Option<String>,
}

/// What the demo knows of a deployment beside what the recommendation says.
#[derive(Clone, Debug, Default)]
pub struct Carrier {
    /// The instances that carry it, or the beginnings of their names.
    pub instances: Vec<String>,
    pub canary: bool,
}

fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse::<Timestamp>().map(|moment| Time(moment.as_millisecond())).map_err(D::Error::custom)
}

fn perhaps_moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Time>, D::Error> {
    moment(deserializer).map(Some)
}

impl Advice {
    /// Whether somebody is asked to do something now.
    pub fn calls(&self) -> bool {
        self.data.action != "none" && self.data.lifecycle == "issued"
    }

    /// Whether it is told that nobody answered in time.
    pub fn is_unanswered(&self) -> bool {
        self.data.lifecycle == "updated" && self.data.guardrails.reasons.iter().any(|reason| reason == "no_answer")
    }

    /// What became of it: the sentence for a pager, without whom it is about.
    fn news(&self) -> &str {
        self.data.summary.split_once("): ").map_or("", |(_, news)| news)
    }

    fn what(&self) -> String {
        let deployment = &self.data.deployment;
        format!("{} {}", deployment.service, deployment.version.as_deref().unwrap_or(&deployment.id))
    }
}

/// The whole card of an advice that calls somebody.
pub fn card(paint: Paint, advice: &Advice, carrier: &Carrier, record: &Record) -> String {
    let data = &advice.data;
    let (ink, word) = match data.action.as_str() {
        "rollback" => (Ink::Red, "ROLLBACK RECOMMENDED"),
        _ => (Ink::Yellow, "A PERSON MUST LOOK"),
    };
    let deployment = &data.deployment;
    let deployed = Time(deployment.ts);
    let title = format!("{} UTC · {}/{}", clock(advice.time), deployment.env, deployment.service);
    let on = if carrier.canary { format!(" (canary on {})", carrier.instances.join(", ")) } else { String::new() };
    let mut lines = vec![format!(
        "{}{on} · deployed {}, found after {} · risk {}",
        paint.ink(Ink::Bold, &versions(deployment)),
        clock(deployed),
        minutes(advice.time - deployed),
        paint.ink(Ink::Bold, &format!("{:.2}", data.risk)),
    )];
    if let Some(first) = data.evidence.first() {
        lines.push(in_words(paint, first));
        lines.extend(curve(paint, ink, first, carrier, deployed, advice.time, record));
        let others = data.evidence.iter().skip(1).map(|e| e.signal.as_str());
        let others: Vec<&str> = others.filter(|signal| *signal != first.signal).take(3).collect();
        if !others.is_empty() {
            lines.push(paint.ink(Ink::Dim, &format!("also: {}", others.join(", "))));
        }
    }
    lines.push(paint.ink(Ink::Dim, &closing(data)));
    framed(paint, ink, &title, word, &lines)
}

fn closing(data: &AdviceFields) -> String {
    let mut parts = Vec::new();
    match data.action.as_str() {
        "rollback" => parts.push("a person decides; nothing is rolled back by itself".to_owned()),
        _ => {
            let why: Vec<&str> = data.guardrails.reasons.iter().map(|r| explained(r)).collect();
            parts.push(format!("no rollback is recommended because {}", why.join(" and ")));
        }
    }
    if let Some(until) = data.guardrails.cooldown_until {
        parts.push(format!("quiet about this service until {}", clock(until)));
    }
    parts.join(" · ")
}

/// One line for everything that informs and asks nothing.
pub fn line(paint: Paint, advice: &Advice) -> String {
    let data = &advice.data;
    let (ink, mark, text) = match (data.lifecycle.as_str(), data.verdict.as_str()) {
        ("issued" | "updated", "clean") => (Ink::Green, "✓", format!("clean{}", seen(&data.coverage))),
        ("issued" | "updated", "inconclusive") => (Ink::Dim, "?", format!("inconclusive{}", lacking(&data.coverage))),
        ("issued", verdict) => (Ink::Yellow, "·", format!("{verdict}, for information")),
        ("verified", _) => (Ink::Green, "✓", format!("verified: {}", advice.news())),
        ("approved", _) => (Ink::Green, "✓", advice.news().to_owned()),
        ("rejected", _) => (Ink::Yellow, "✗", advice.news().to_owned()),
        ("updated", _) if advice.is_unanswered() => (Ink::Yellow, "↑", format!("escalated: {}", advice.news())),
        (lifecycle, _) => (Ink::Cyan, "·", format!("{lifecycle}: {}", advice.news())),
    };
    format!("{} {}", clock(advice.time), paint.ink(ink, &format!("{mark} {}: {text}", advice.what())))
}

fn seen(coverage: &[CoverageFields]) -> String {
    let smallest = coverage.iter().filter_map(|c| c.smallest_change).fold(f64::INFINITY, f64::min);
    if smallest.is_finite() {
        format!(" (a change of {} % would have been seen on the steadiest signal)", number(100.0 * smallest))
    } else {
        String::new()
    }
}

fn lacking(coverage: &[CoverageFields]) -> String {
    let mut lacks: Vec<&str> = coverage.iter().filter_map(|c| c.lack.as_deref()).collect();
    lacks.sort_unstable();
    lacks.dedup();
    if lacks.is_empty() { String::new() } else { format!(": {}", lacks.join(", ").replace('_', " ")) }
}

/// A line for something that would have been said and was not.
pub fn hold(paint: Paint, entry: &Entry) -> String {
    let data = &entry.data;
    let reason = data.reason.as_deref().unwrap_or("no reason given");
    let text = format!(
        "‖ held: {} for {} ({}), because {}",
        data.would.as_deref().unwrap_or("advice"),
        data.service,
        data.deployment.as_deref().unwrap_or("no deployment"),
        explained(reason),
    );
    format!("{} {}", clock(entry.time), paint.ink(Ink::Cyan, &text))
}

/// A reason's word in a sentence.
pub fn explained(reason: &str) -> &str {
    match reason {
        "advise" => "this service's automation level is `advise`",
        "shadow" => "this service's automation level is `shadow`",
        "cooldown" => "a recommendation for this service is too recent (cooldown)",
        "already_said" => "the same advice stands already",
        "superseded" => "a newer deployment took its place",
        "rollback_of_rollback" => "it is itself a rollback",
        "service_limit" => "the service's rate limit is used up",
        "team_limit" => "the team's rate limit is used up",
        "env_limit" => "the environment's rate limit is used up",
        "fleet_limit" => "the fleet's rate limit is used up",
        "changed_since" => "a setting of the service was changed since",
        "deployed_since" => "other services were deployed since and may rely on it",
        "rolling_out" => "it is still being rolled out",
        "target_flagged" => "the version to go back to was itself a regression",
        "no_previous_version" => "nobody said which version to go back to",
        "demoted" => "too little of what was called there was right, so its level was lowered",
        "no_answer" => "nobody answered in time",
        "context_event" => "a declared event may explain it",
        other => other,
    }
}

fn versions(deployment: &DeploymentFields) -> String {
    match (&deployment.previous_version, &deployment.version) {
        (Some(old), Some(new)) => format!("{old} → {new}"),
        (_, Some(new)) => new.clone(),
        _ => deployment.id.clone(),
    }
}

fn in_words(paint: Paint, evidence: &EvidenceFields) -> String {
    let moved = match (evidence.direction.as_str(), evidence.ratio) {
        ("increase", Some(ratio)) if ratio >= 2.0 => format!("is {} times what it was", number(ratio)),
        ("increase", Some(ratio)) => format!("is up by {} %", number(100.0 * (ratio - 1.0))),
        ("increase", None) => "appeared where there was nothing".to_owned(),
        (_, Some(ratio)) => format!("is down by {} %", number(100.0 * (1.0 - ratio))),
        (_, None) => "went down".to_owned(),
    };
    let how = match evidence.method.as_str() {
        "new_against_old" => "new version against the old, side by side",
        "after_against_expected" => "after it, against what was to be expected",
        "instance_against_peers" => "its instances against their peers",
        "rare_events" => "events where there were none",
        "silence" => "it no longer reports",
        "new_template" => "a kind of line that was never written before",
        other => other,
    };
    let unit = evidence.unit.as_deref().filter(|unit| *unit != "1").map_or(String::new(), |unit| format!(" {unit}"));
    let levels = format!("{} → {}{unit}", number(evidence.baseline), number(evidence.current));
    let since = clock(Time(evidence.onset));
    format!("{} {moved}: {} ({how}, since {since})", evidence.signal, paint.ink(Ink::Bold, &levels))
}

/// How much of the past stands to the left of the mark.
const BEFORE: Span = Span::minutes(30);

fn curve(
    paint: Paint,
    ink: Ink,
    evidence: &EvidenceFields,
    carrier: &Carrier,
    deployed: Time,
    now: Time,
    record: &Record,
) -> Option<String> {
    let of = if evidence.instances.is_empty() { &carrier.instances } else { &evidence.instances };
    let before = record.minutes(of, &evidence.signal, deployed - BEFORE, deployed)?;
    let after = record.minutes(of, &evidence.signal, deployed, now)?;
    let (split, all) = (before.len(), [before, after].concat());
    let drawn: Vec<char> = sparkline(&all).chars().collect();
    let text = |part: &[char]| part.iter().collect::<String>();
    Some(format!(
        "{}{}{}  {}",
        paint.ink(Ink::Dim, &text(&drawn[..split])),
        paint.ink(Ink::Bold, "┃"),
        paint.ink(ink, &text(&drawn[split..])),
        paint.ink(Ink::Dim, &format!("a minute each; ┃ = deployed {}", clock(deployed))),
    ))
}

/// Hours and minutes of a moment, UTC.
pub fn clock(at: Time) -> String {
    Timestamp::from_millisecond(at.0).map_or_else(|_| "--:--".to_owned(), |t| t.strftime("%H:%M").to_string())
}

fn minutes(span: Span) -> String {
    match span.as_minutes().round() as i64 {
        1 => "1 minute".to_owned(),
        n => format!("{n} minutes"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Point;
    use super::*;

    const NOON: i64 = 1_789_992_000_000;

    fn advice(action: &str, lifecycle: &str, verdict: &str) -> Advice {
        let text = format!(
            r#"{{"specversion":"1.0","id":"x","time":"2026-09-21T12:04:00Z","data":{{"recommendation":"r",
            "lifecycle":"{lifecycle}","action":"{action}","verdict":"{verdict}","risk":0.98,
            "summary":"checkout 2 in prod (d): r2 took it back",
            "deployment":{{"id":"d","service":"checkout","env":"prod","version":"2","previous_version":"1",
            "ts":{NOON}}},
            "evidence":[{{"signal":"http.server.errors","direction":"increase","baseline":0.1,"current":2.5,
            "change":2.4,"ratio":25.0,"onset":{NOON},"strength":9.1,"samples":{{"baseline":9,"current":9}},
            "method":"new_against_old"}}],"coverage":[{{"signal":"a","smallest_change":0.12}}],
            "guardrails":{{"automation":"recommend","requires_approval":true,"cooldown_until":"2026-09-21T12:34:00Z",
            "reasons":["advise"]}},"decision":{{}}}}}}"#
        );
        serde_json::from_str(&text).expect("the shape the wire writes")
    }

    #[test]
    fn a_card_says_all_that_a_person_needs() {
        let mut record = Record::default();
        for minute in -30..=4 {
            record.push(Point {
                at: Time(NOON + minute * 60_000),
                instance: "checkout-1".into(),
                requests: 9.0,
                errors: if minute > 0 { 2.0 } else { 0.0 },
                latency: 0.1,
                cpu: 0.5,
            });
        }
        let carrier = Carrier { instances: vec!["checkout-1".into()], canary: true };
        let text = card(Paint::plain(), &advice("rollback", "issued", "regression"), &carrier, &record);
        for part in [
            "12:04 UTC · prod/checkout",
            "ROLLBACK RECOMMENDED",
            "1 → 2 (canary on checkout-1) · deployed 12:00, found after 4 minutes · risk 0.98",
            "http.server.errors is 25.0 times what it was: 0.1 → 2.50 (new version against the old",
            "▁▁▁┃████",
            "quiet about this service until 12:34",
        ] {
            assert!(text.contains(part), "{part:?} is missing from\n{text}");
        }
    }

    #[test]
    fn escalations_say_why() {
        let text =
            card(Paint::plain(), &advice("escalate", "issued", "regression"), &Carrier::default(), &Record::default());
        assert!(
            text.contains("no rollback is recommended because this service's automation level is `advise`"),
            "{text}"
        );
    }

    #[test]
    fn information_takes_one_line() {
        let clean = line(Paint::plain(), &advice("none", "issued", "clean"));
        assert_eq!(
            clean,
            "12:04 ✓ checkout 2: clean (a change of 12.0 % would have been seen on the steadiest signal)"
        );
        assert_eq!(
            line(Paint::plain(), &advice("none", "verified", "regression")),
            "12:04 ✓ checkout 2: verified: r2 took it back"
        );
        assert!(!advice("rollback", "approved", "regression").calls());
    }
}
