//! The language of stories: from lines that an on-call engineer reads to moments in time.
//!
//! Everything here is about facts and policy; what the engine makes of them is none of its business. The language is
//! told in README.md beside it.

use crate::series;
use regressd::engine::effect::Automation;
use regressd::engine::event::*;
use regressd::engine::policy::{
    ApprovalRule, AutomationRule, Bar, Caution, Glob, Policy, RateLimit, RecurringWindow, SignalRule, Worse,
};
use regressd::engine::time::{Span, Time};
use regressd::shell::calendar::Recurring;

/// Monday, 2026-09-21 00:00 UTC: stories tell times from here.
pub const START: Time = Time(1_789_948_800_000);

pub struct Moment {
    pub now: Time,
    /// In force from here on.
    pub policy: Option<Box<Policy>>,
    /// `None`: only the clock goes on to here.
    pub fact: Option<Fact<'static>>,
}

impl Moment {
    pub fn of(now: Time, fact: Fact<'static>) -> Moment {
        Moment { now, policy: None, fact: Some(fact) }
    }
}

pub struct Script {
    pub policy: Policy,
    /// In the order of arrival.
    pub moments: Vec<Moment>,
}

/// Reads the facts of a story. Panics with the line on a mistake: it is a test's own.
pub fn read(facts: &str) -> Script {
    let mut policy = Policy::default();
    let mut later = policy.clone();
    let mut moments = Vec::new();
    let mut counters = series::Counters::default();
    for line in facts.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let words = words(line);
        let mut rest = Words { words: &words, line };
        let first = rest.next("a time or `config`");
        if first == "config" {
            configure(&mut policy, &mut rest);
            later = policy.clone();
        } else if let Some((from, to)) = first.split_once("..") {
            series::read(time(from, line)..time(to, line), &mut rest, &mut counters, &mut moments);
        } else {
            let at = time(first, line);
            moments.push(moment(at, &mut later, &mut rest));
        }
        assert!(rest.words.is_empty(), "too much: {:?} in: {line}", rest.words);
    }
    moments.sort_by_key(|moment| moment.now);
    Script { policy, moments }
}

/// What is left of a line.
pub struct Words<'a> {
    words: &'a [String],
    pub line: &'a str,
}

impl<'a> Words<'a> {
    pub fn next(&mut self, what: &str) -> &'a str {
        self.optional().unwrap_or_else(|| panic!("{what} is missing in: {}", self.line))
    }

    pub fn optional(&mut self) -> Option<&'a str> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }

    pub fn number(&mut self) -> f64 {
        let word = self.next("a number");
        let (text, scale) = word.strip_suffix('%').map_or((word, 1.0), |text| (text, 0.01));
        text.parse::<f64>().unwrap_or_else(|_| panic!("no number: {word} in: {}", self.line)) * scale
    }

    pub fn span(&mut self) -> Span {
        let word = self.next("a span");
        span(word).unwrap_or_else(|| panic!("no span: {word} in: {}", self.line))
    }
}

fn words(line: &str) -> Vec<String> {
    // Every second part stands in quotes.
    let parts = line.split('"').enumerate();
    parts
        .flat_map(|(i, part)| match i % 2 {
            0 => part.split_whitespace().map(String::from).collect(),
            _ => vec![part.to_string()],
        })
        .collect()
}

/// `12:30`, `12:30:15`, `3d12:30`.
pub fn time(word: &str, line: &str) -> Time {
    let (days, clock) = word.split_once('d').unwrap_or(("0", word));
    let parts: Option<Vec<i64>> = clock.split(':').chain([days]).map(|part| part.parse().ok()).collect();
    let seconds = match parts.as_deref() {
        Some([h, m, d]) => ((d * 24 + h) * 60 + m) * 60,
        Some([h, m, s, d]) => ((d * 24 + h) * 60 + m) * 60 + s,
        _ => panic!("no time: {word} in: {line}"),
    };
    START + Span::seconds(seconds)
}

/// `30s`, `5m`, `1h`, `2d`.
fn span(word: &str) -> Option<Span> {
    let (number, unit) = word.split_at_checked(word.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    Some(Span::seconds(number.parse::<i64>().ok()? * unit))
}

fn moment(at: Time, policy: &mut Policy, rest: &mut Words) -> Moment {
    let word = match rest.next("what happened") {
        "config" => {
            configure(policy, rest);
            policy.hash = format!("{}+", policy.hash).into();
            return Moment { policy: Some(Box::new(policy.clone())), ..Moment::of(at, Fact::PolicyChanged) };
        }
        "deploy" => return Moment::of(at, Fact::Deployment(deployment(at, rest))),
        "cold_start" => return Moment::of(at, Fact::ColdStart { since: time(rest.next("a time"), rest.line) }),
        "gap" => {
            let (from, to) = rest.next("a stretch of time").split_once("..").expect("FROM..TO");
            return Moment::of(at, Fact::Gap { from: time(from, rest.line), to: time(to, rest.line) });
        }
        "drain" => return Moment::of(at, Fact::Drain),
        "end" => return Moment { now: at, policy: None, fact: None },
        "freeze" => Word::Freeze(window(rest)),
        "mute" => Word::Mute(window(rest)),
        "context" => {
            let kind = match rest.next("a kind") {
                "traffic_event" => ContextKind::TrafficEvent,
                "infra_change" => ContextKind::InfraChange,
                "dependency_incident" => ContextKind::DependencyIncident,
                "business_event" => ContextKind::BusinessEvent,
                other => panic!("no kind of event: {other} in: {}", rest.line),
            };
            Word::Context { kind, window: window(rest) }
        }
        "automation" => {
            let level = rest.next("a level");
            let level = Automation::from_word(level).unwrap_or_else(|| panic!("no level: {level}"));
            Word::Automation { level, scope: scope(rest) }
        }
        "approved" => Word::Approval { recommendation: name(rest), decision: Decision::Approved },
        "rejected" => Word::Approval { recommendation: name(rest), decision: Decision::Rejected },
        "correct" => feedback(Feedback::Correct, About::Recommendation(name(rest))),
        "false_alarm" => feedback(Feedback::FalseAlarm, About::Recommendation(name(rest))),
        "missed" => feedback(Feedback::Missed, About::Deployment(rest.next("a deployment").into())),
        other => panic!("nothing that happens: {other} in: {}", rest.line),
    };
    let mut control = Control { at, by: None, word };
    let mut now = at;
    while let Some(option) = rest.optional() {
        match option {
            "by" => control.by = Some(rest.next("a person").into()),
            "late" => now = at + rest.span(),
            other => panic!("nothing about a word: {other} in: {}", rest.line),
        }
    }
    Moment::of(now, Fact::Control(control))
}

/// A deployment's name stands for its thread; the harness puts in the id.
fn name(rest: &mut Words) -> std::sync::Arc<str> {
    format!("@{}", rest.next("a deployment")).into()
}

fn feedback(verdict: Feedback, about: About) -> Word {
    Word::Feedback { about, verdict, comment: None }
}

/// `SERVICE VERSION [from VERSION] id ID [env E] [kind K] [instances a,b] [irreversible] [effective TIME]`
fn deployment(at: Time, rest: &mut Words) -> Deployment {
    let mut deployment = Deployment::new(at, "", rest.next("a service"), "prod");
    deployment.version = Some(rest.next("a version").into());
    while let Some(option) = rest.optional() {
        match option {
            "from" => deployment.previous_version = Some(rest.next("a version").into()),
            "id" => deployment.id = rest.next("an id").into(),
            "env" => deployment.env = rest.next("an environment").into(),
            "instances" => deployment.instances = rest.next("instances").split(',').map(Into::into).collect(),
            "team" => deployment.team = Some(rest.next("a team").into()),
            "irreversible" => deployment.reversible = Some(false),
            "effective" => deployment.at = time(rest.next("a time"), rest.line),
            "kind" => {
                deployment.kind = match rest.next("a kind") {
                    "rollback" => DeploymentKind::Rollback,
                    "config" => DeploymentKind::Config,
                    "flag" => DeploymentKind::Flag,
                    "infra" => DeploymentKind::Infra,
                    other => panic!("no kind of deployment: {other} in: {}", rest.line),
                }
            }
            other => panic!("nothing about a deployment: {other} in: {}", rest.line),
        }
    }
    assert!(!deployment.id.is_empty(), "an id is missing in: {}", rest.line);
    deployment
}

/// `ENV/SERVICE FROM..TO`, `*` for any.
fn window(rest: &mut Words) -> Window {
    let scope = scope(rest);
    let (from, to) = rest.next("a window").split_once("..").unwrap_or_else(|| panic!("no window: {}", rest.line));
    Window { scope, from: time(from, rest.line), to: time(to, rest.line), reason: None }
}

/// `ENV/SERVICE`, `*` for any.
fn scope(rest: &mut Words) -> Scope {
    let place = rest.next("a scope");
    let (env, service) = place.split_once('/').unwrap_or_else(|| panic!("no env/service: {place}"));
    let some = |word: &str| (word != "*").then(|| word.into());
    Scope { env: some(env), service: some(service) }
}

/// `KEY = VALUE`, after `config`.
fn configure(policy: &mut Policy, rest: &mut Words) {
    let key = rest.next("a key");
    assert_eq!(rest.next("="), "=", "in: {}", rest.line);
    match key {
        "automation" => {
            let level = rest.next("a level");
            let level = Automation::from_word(level).unwrap_or_else(|| panic!("no level: {level}"));
            let service = Glob(rest.optional().unwrap_or("*").into());
            // The last line wins, so that a story can change its mind.
            let mut rule = AutomationRule { service, level, ..AutomationRule::default() };
            if rest.optional() == Some("of") {
                rule.by = rest.next("who").split(',').map(|who| Glob(who.into())).collect();
            }
            policy.automation.insert(0, rule);
        }
        "accuracy.every" => policy.accuracy.every = rest.span(),
        "accuracy.over" => policy.accuracy.over = rest.span(),
        "earning.advise" => policy.earning.advise = bar(rest),
        "earning.recommend" => policy.earning.recommend = bar(rest),
        "watch.duration" => policy.watch.duration = rest.span(),
        "watch.lateness" => policy.watch.lateness = rest.span(),
        "detection.min_history" => policy.detection.min_history = rest.span(),
        "detection.false_alarm_rate" => policy.detection.false_alarm_rate = rest.number(),
        "detection.false_alarms_per_week" => policy.detection.false_alarms_per_week = rest.number(),
        "gate.cooldown" => policy.gate.cooldown = rest.span(),
        "window" => policy.windows.push(recurring(rest)),
        "approvals" => policy.approvals.push(approvals(rest)),
        "gate.update_every" => policy.gate.update_every = rest.span(),
        "gate.storm_size" => policy.gate.storm_size = rest.number() as usize,
        "gate.storm_window" => policy.gate.storm_window = rest.span(),
        "gate.flapping" => policy.gate.flapping = rest.span(),
        "gate.expires" => policy.gate.expires = rest.span(),
        "gate.service_limit" => policy.gate.service_limit = rate(rest),
        "gate.fleet_limit" => policy.gate.fleet_limit = rate(rest),
        "gate.env_limit" => policy.gate.env_limit = rate(rest),
        "gate.team_limit" => policy.gate.team_limit = rate(rest),
        "gate.deployed_since" => policy.gate.deployed_since = caution(rest),
        "gate.changed_since" => policy.gate.changed_since = caution(rest),
        "gate.rolling_out" => policy.gate.rolling_out = caution(rest),
        "limits.windows" => policy.limits.windows = rest.number() as usize,
        "limits.watches" => policy.limits.watches = rest.number() as usize,
        "limits.services" => policy.limits.services = rest.number() as usize,
        "signal" => policy.signals.push(signal(rest)),
        other => panic!("no key: {other} in: {}", rest.line),
    }
}

/// `SAMPLE PRECISION`
fn bar(rest: &mut Words) -> Bar {
    Bar { sample: rest.number() as u64, precision: rest.number() }
}

/// `REQUIRED SPAN [of a,b] [then WHO]`
fn approvals(rest: &mut Words) -> ApprovalRule {
    let mut rule = ApprovalRule { required: rest.number() as u32, within: rest.span(), ..ApprovalRule::default() };
    while let Some(option) = rest.optional() {
        match option {
            "of" => rule.by = rest.next("who").split(',').map(|who| Glob(who.into())).collect(),
            "then" => rule.escalate_to = Some(rest.next("who").into()),
            other => panic!("nothing about approvals: {other} in: {}", rest.line),
        }
    }
    rule
}

/// `KIND "CRON" ZONE SPAN [SERVICE]`
fn recurring(rest: &mut Words) -> RecurringWindow {
    let kind = rest.next("a kind");
    let kind = WindowKind::from_word(kind).unwrap_or_else(|| panic!("no kind of window: {kind}"));
    let calendar = Recurring::new(rest.next("a cron expression"), rest.next("a zone"), rest.span());
    let calendar = calendar.unwrap_or_else(|error| panic!("{error} in: {}", rest.line));
    let service = Glob(rest.optional().unwrap_or("*").into());
    RecurringWindow { kind, service, env: Glob("*".into()), calendar: std::sync::Arc::new(calendar) }
}

fn caution(rest: &mut Words) -> Caution {
    match rest.next("name or escalate") {
        "name" => Caution::Name,
        "escalate" => Caution::Escalate,
        other => panic!("neither name nor escalate: {other} in: {}", rest.line),
    }
}

/// `BURST PER_HOUR`
fn rate(rest: &mut Words) -> RateLimit {
    RateLimit { burst: rest.number() as u32, per_hour: rest.number() }
}

/// `METRIC increase|decrease|either [min_change 5%] [critical]`
fn signal(rest: &mut Words) -> SignalRule {
    let metric = Glob(rest.next("a metric").into());
    let worse = match rest.next("a direction") {
        "increase" => Worse::Increase,
        "decrease" => Worse::Decrease,
        "either" => Worse::Either,
        other => panic!("no direction: {other} in: {}", rest.line),
    };
    let mut rule = SignalRule { metric, worse, min_change: None, critical: false };
    while let Some(option) = rest.optional() {
        match option {
            "min_change" => rule.min_change = Some(rest.number()),
            "critical" => rule.critical = true,
            other => panic!("nothing about a signal: {other} in: {}", rest.line),
        }
    }
    rule
}
