//! What is published, byte for byte: recommendations of every verdict, audit entries of every kind, a dead letter.

use super::{directory, expect};
use regressd::engine::effect::*;
use regressd::engine::event::{Decision, Deployment, DeploymentKind, Feedback};
use regressd::engine::time::{Span, Time};
use regressd::wire::inbound::{RejectReason, Rejected};
use regressd::wire::outbound::{
    Message, Position, Stamp, accuracy, audit, automation, dead_letter, drift, heartbeat, recommendation,
};
use std::fmt::Write as _;
use std::sync::Arc;

const BEGIN: Time = Time(1_790_000_000_000);

#[test]
fn recommendations() {
    for (name, said) in [
        ("regression", regression()),
        ("one_of_several", one_of_several()),
        ("log", from_logs()),
        ("clean", clean()),
        ("inconclusive", inconclusive()),
        ("approved", approved()),
        ("slow", slow()),
    ] {
        check(&format!("recommendation-{name}"), &recommendation(&said, &stamp()));
    }
}

#[test]
fn ids_tell_messages_of_a_thread_apart_and_repeats_not() {
    let first = recommendation(&regression(), &stamp());
    assert_eq!(first, recommendation(&regression(), &stamp()));
    let second = recommendation(&Recommendation { sequence: 1, ..regression() }, &stamp());
    assert_ne!(first.payload, second.payload);
}

#[test]
fn numbers_that_json_does_not_have() {
    let mut said = regression();
    said.evidence[0].baseline = 0.0;
    said.evidence[0].current = f64::INFINITY;
    said.evidence[0].interval = Interval::between(f64::NEG_INFINITY, f64::INFINITY);
    said.evidence[0].strength = f64::NAN;
    let payload = String::from_utf8(recommendation(&said, &stamp()).payload).unwrap();
    let finite = r#""current":1e+300,"change":1e+300,"interval":{"lower":-1e+300,"upper":1e+300},"onset""#;
    assert!(payload.contains(finite), "{payload}");
    assert!(payload.contains(r#""strength":0.0"#), "{payload}");
}

#[test]
fn audits() {
    let by = Some("ana".into());
    for (name, event) in [
        ("watch_opened", AuditEvent::WatchOpened { until: BEGIN + Span::HOUR }),
        ("verdict", AuditEvent::Verdict { kind: VerdictKind::Regression, risk: 0.98 }),
        ("held", AuditEvent::Held { reason: Reason::Cooldown, would: Action::Rollback }),
        ("said", said()),
        ("watch_closed", AuditEvent::WatchClosed { kind: VerdictKind::Clean }),
        ("not_watched", AuditEvent::NotWatched { why: NotWatched::Duplicate }),
        ("heard", AuditEvent::Heard { word: "feedback", by: by.clone(), outcome: Heard::Taken, label: None }),
        ("heard_label", labelled(by.clone(), Heard::Taken, Some(false))),
        ("heard_unknown", labelled(by.clone(), Heard::Unknown, None)),
        (
            "automation",
            AuditEvent::Automation { change: Change::Decided, from: Automation::Advise, to: Automation::Recommend, by },
        ),
    ] {
        let entry = Audit {
            at: BEGIN,
            env: "prod".into(),
            service: "checkout".into(),
            deployment: Some("deploy-7781".into()),
            recommendation: (name == "said").then(|| "prod/checkout/deploy-7781".into()),
            event,
        };
        check(&format!("audit-{name}"), &audit(&entry, &stamp()));
    }
}

#[test]
fn heartbeats() {
    let last = BEGIN - Span::minutes(7);
    let beat = Heartbeat {
        at: BEGIN,
        watches: 3,
        threads: 1,
        services: 42,
        behind: Some(Span::seconds(2)),
        inputs: [Some(Spoken { last: BEGIN, silent: false }), Some(Spoken { last, silent: true }), None, None],
        silent: 1,
        silent_services: vec![("prod".into(), "checkout".into())],
    };
    check("heartbeat", &heartbeat(&beat, &stamp()));
}

#[test]
fn drifts() {
    let drifted = Drifted {
        signal: "memory_bytes".into(),
        unit: Some("By".into()),
        direction: Direction::Increase,
        baseline: 5e8,
        current: 7.5e8,
        change: 0.5,
        since: BEGIN - Span::DAY,
    };
    let told = Drift { at: BEGIN, env: "prod".into(), service: "checkout".into(), signals: vec![drifted] };
    check("drift", &drift(&told, &stamp()));
}

#[test]
fn accuracies() {
    let tally = |counts, harmful| Tally { counts, harmful, detection: Some((Span::minutes(6), Span::minutes(19))) };
    let row = |detector, tally| Row { env: Some("prod".into()), service: Some("checkout".into()), detector, tally };
    let told = Accuracy {
        at: BEGIN,
        since: BEGIN - Span(90 * Span::DAY.0),
        rows: vec![
            Row { env: None, service: None, detector: None, tally: Tally::default() },
            row(None, tally([8, 2, 1, 3, 4, 70], 9)),
            row(Some(Method::NewAgainstOld), tally([8, 2, 0, 0, 4, 0], 9)),
        ],
        left_out: 2,
        calibration: vec![
            Bin { from: 0.0, to: 0.1, labelled: 0, harmful: 0, unlabelled: 70, risk: 0.0 },
            Bin { from: 0.99, to: 1.0, labelled: 10, harmful: 8, unlabelled: 4, risk: 0.997 },
        ],
        rungs: vec![Rung {
            service: "checkout".into(),
            env: "prod*".into(),
            configured: Automation::Recommend,
            level: Automation::Advise,
            grounds: Grounds::Demoted,
            labelled: 10,
            right: 8,
            offered: None,
        }],
        forgotten: 0,
    };
    check("accuracy", &accuracy(&told, &stamp()));
}

#[test]
fn levels_that_move() {
    let news = |change, to, by: Option<&str>, bar, summary: &str| AutomationNews {
        at: BEGIN,
        service: "checkout".into(),
        env: "prod*".into(),
        change,
        from: Automation::Recommend,
        to,
        by: by.map(Into::into),
        labelled: 20,
        right: 15,
        bar,
        summary: summary.into(),
    };
    let lowered = "service checkout, environment prod*: lowered from recommend to advise: 15 of 20 calls were right";
    let demoted = news(Change::Demoted, Automation::Advise, None, Some(0.6), lowered);
    check("automation-demoted", &automation(&demoted, &stamp()));
    let decided = news(Change::Decided, Automation::Shadow, Some("ana"), None, "decided by ana");
    check("automation-decided", &automation(&decided, &stamp()));
}

fn labelled(by: Option<Arc<str>>, outcome: Heard, harmful: Option<bool>) -> AuditEvent {
    let label = Some(FeedbackLabel { said: Feedback::FalseAlarm, harmful });
    AuditEvent::Heard { word: "feedback", by, outcome, label }
}

fn said() -> AuditEvent {
    let reasons = vec![Reason::Advise, Reason::Freeze];
    AuditEvent::Said { lifecycle: Lifecycle::Issued, action: Action::Escalate, reasons }
}

#[test]
fn dead_letters() {
    let position = Position { topic: "metrics", partition: 3, offset: 17, timestamp: Some(BEGIN.0) };
    let rejected = Rejected::new(RejectReason::BadTimestamp, "ts: 5 is not a moment");
    check("dead_letter", &dead_letter(&position, Some(b"prod/checkout"), br#"{"ts":5,  "x":[1, 2]}"#, &rejected));

    let bytes = [0xff, 0x00, 0x80];
    let bare = Position { timestamp: None, ..position };
    let letter = dead_letter(&bare, None, &bytes, &Rejected::new(RejectReason::NotUtf8, "é".repeat(400)));
    assert_eq!((letter.key, letter.payload), (None, bytes.to_vec()));
    let names: Vec<&str> = letter.headers.iter().map(|(name, _)| *name).collect();
    assert!(!names.contains(&"regressd-timestamp"), "{names:?}");
    assert!(letter.headers.iter().all(|(_, value)| value.len() <= Rejected::DETAIL_BYTES_MAX));
}

fn stamp() -> Stamp {
    Stamp { cluster: "eu-1".into(), config_hash: "8c3f".into(), engine_version: "0.1.0".into() }
}

fn regression() -> Recommendation {
    Recommendation {
        thread: "prod/checkout/deploy-7781".into(),
        sequence: 0,
        at: BEGIN + Span::minutes(9),
        lifecycle: Lifecycle::Issued,
        action: Action::Rollback,
        verdict: VerdictKind::Regression,
        risk: 0.98,
        deployment: deployment().into(),
        summary: "http.server.error_ratio of checkout in prod rose from 0.002 to 0.031 with 1.42.0".into(),
        evidence: vec![
            Evidence {
                signal: "http.server.error_ratio{route=\"/pay\"}".into(),
                direction: Direction::Increase,
                baseline: 0.002,
                current: 0.031,
                interval: Interval::between(0.021, 0.04),
                onset: BEGIN + Span::MINUTE,
                strength: 41.2,
                samples_baseline: 1440,
                samples_current: 9,
                weighty: true,
                method: Method::NewAgainstOld,
                unit: Some("1".into()),
                instances: vec!["checkout-7d9f-abc".into()],
                log: None,
            },
            Evidence {
                signal: "orders".into(),
                direction: Direction::Decrease,
                baseline: 1234567.89,
                current: 0.0,
                interval: Interval::between(-1234567.89, -1234567.89),
                onset: BEGIN + Span::minutes(2),
                strength: 6.0,
                samples_baseline: 60,
                samples_current: 9,
                weighty: true,
                method: Method::AfterAgainstExpected,
                unit: None,
                instances: Vec::new(),
                log: None,
            },
        ],
        coverage: Vec::new(),
        guardrails: Guardrails {
            automation: Automation::Recommend,
            grounds: Grounds::Configured,
            requires_approval: true,
            approvals: 1,
            answer_by: Some(BEGIN + Span::minutes(30)),
            escalate_to: Some("on-call".into()),
            expires: Some(BEGIN + Span::HOUR),
            cooldown_until: Some(BEGIN + Span::minutes(30)),
            members: Vec::new(),
            stacked: vec![Stacked {
                deployment: "deploy-7790".into(),
                service: "cart".into(),
                kind: DeploymentKind::Deploy,
                at: BEGIN - Span::MINUTE,
            }],
            rollout: Some(Rollout { carrying: 3, of: 8 }),
            reasons: Vec::new(),
        },
        considered: Vec::new(),
        shares: Vec::new(),
        answer: None,
    }
}

fn slow() -> Recommendation {
    let share = |deployment: &str, version: &str, change| Share {
        deployment: deployment.into(),
        version: Some(version.into()),
        change,
    };
    let mut said = regression();
    said.evidence.truncate(1);
    said.evidence[0].method = Method::StepsAddUp;
    said.guardrails.reasons = vec![Reason::SlowDegradation, Reason::Storm];
    said.guardrails.members = vec![Member { service: "checkout".into(), deployment: "deploy-7781".into() }];
    let shares = vec![share("deploy-7780", "1.41.3", 0.0149), share("deploy-7781", "1.42.0", 0.0161)];
    Recommendation { action: Action::Escalate, shares, ..said }
}

fn approved() -> Recommendation {
    Recommendation {
        sequence: 1,
        at: BEGIN + Span::minutes(12),
        lifecycle: Lifecycle::Approved,
        summary: "checkout 1.42.0 in prod (deploy-7781): approved by ana".into(),
        answer: Some(Answer { by: "ana".into(), decision: Decision::Approved, outcome: Heard::Taken }),
        ..regression()
    }
}

fn one_of_several() -> Recommendation {
    let other = Deployment { id: "deploy-7780".into(), service: "cart".into(), ..deployment() };
    let considered = vec![Considered { deployment: other.into(), standing: Standing::NothingFound }];
    Recommendation { considered, ..regression() }
}

fn from_logs() -> Recommendation {
    let log = LogEvidence {
        template: "java.lang.NullPointerException: coupon <*> is null @ PriceService.apply".into(),
        template_id: "00f1e2d3c4b5a697".into(),
        severity: "error".into(),
        exception: Some("NullPointerException".into()),
        frame: Some("PriceService.apply".into()),
        examples: vec!["java.lang.NullPointerException: coupon 17 is null\n\tat com.shop.PriceService.apply".into()],
        before: 0,
        after: 5,
        first: Some(BEGIN + Span::MINUTE),
        share: 0.5,
        only_new: true,
    };
    let mut said = regression();
    said.evidence.truncate(1);
    said.evidence[0].method = Method::NewTemplate;
    said.evidence[0].signal = format!("logs.error \"{}\"", log.template);
    said.evidence[0].log = Some(Box::new(log));
    said.deployment = Deployment {
        author: Some("ana".into()),
        commit: Some("4f1e2d3".into()),
        url: Some("https://ci.example/7781".into()),
        ..deployment()
    }
    .into();
    said
}

fn clean() -> Recommendation {
    Recommendation {
        action: Action::None,
        verdict: VerdictKind::Clean,
        risk: 0.0,
        at: BEGIN + Span::HOUR,
        deployment: Deployment { version: None, previous_version: None, ..deployment() }.into(),
        summary: String::new(),
        evidence: Vec::new(),
        coverage: vec![Coverage { signal: "latency_ms".into(), smallest_change: Some(0.0712345678), lack: None }],
        guardrails: Guardrails {
            automation: Automation::Shadow,
            grounds: Grounds::Configured,
            requires_approval: false,
            approvals: 0,
            answer_by: None,
            escalate_to: None,
            expires: None,
            cooldown_until: None,
            members: Vec::new(),
            stacked: Vec::new(),
            rollout: None,
            reasons: vec![Reason::Shadow],
        },
        ..regression()
    }
}

fn inconclusive() -> Recommendation {
    Recommendation {
        verdict: VerdictKind::Inconclusive,
        summary: "no sample of latency_ms came from the new version".into(),
        coverage: vec![Coverage {
            signal: "latency_ms".into(),
            smallest_change: None,
            lack: Some(Lack::NoSamplesFromNewVersion),
        }],
        ..clean()
    }
}

fn deployment() -> Deployment {
    Deployment {
        version: Some("1.42.0".into()),
        previous_version: Some("1.41.3".into()),
        ..Deployment::new(BEGIN, "deploy-7781", "checkout", "prod")
    }
}

fn check(name: &str, message: &Message) {
    let key = message.key.as_deref().map(|key| str::from_utf8(key).unwrap());
    let mut text = format!("key: {}\n", key.unwrap_or("none"));
    for (name, value) in &message.headers {
        writeln!(text, "{name}: {value}").unwrap();
    }
    let payload = str::from_utf8(&message.payload).unwrap();
    // A dead letter's payload is the sender's: not a byte of it may move.
    let payload = if name == "dead_letter" { payload.to_owned() } else { on_lines(payload) };
    expect(&directory().join("published").join(format!("{name}.txt")), &format!("{text}\n{payload}\n"));
}

/// Compact JSON, broken into lines down to the fields of `data` and the items of its lists; nothing else is changed.
fn on_lines(json: &str) -> String {
    let mut out = String::new();
    let mut broken = Vec::new();
    let (mut quoted, mut escaped) = (false, false);
    let mut letters = json.chars().peekable();
    while let Some(letter) = letters.next() {
        let structure = !quoted;
        quoted ^= letter == '"' && !escaped;
        escaped = quoted && letter == '\\' && !escaped;
        match letter {
            '}' | ']' if structure && broken.pop() == Some(true) => out += &line_feed(broken.len()),
            _ => {}
        }
        out.push(letter);
        match letter {
            '{' | '[' if structure => {
                broken.push(broken.len() < 2 || letter == '[' && letters.peek() == Some(&'{'));
                if broken.last() == Some(&true) {
                    out += &line_feed(broken.len());
                }
            }
            ',' if structure && broken.last() == Some(&true) => out += &line_feed(broken.len()),
            _ => {}
        }
    }
    out
}

fn line_feed(depth: usize) -> String {
    format!("\n{}", "  ".repeat(depth))
}
