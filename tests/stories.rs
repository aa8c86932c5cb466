//! Stories: what happened above the line, what the daemon decided below it.
//!
//! `tests/stories/*.txt` are written for an on-call engineer; `tests/stories/README.md` tells their language. `check`
//! is the only code that knows the engine's interface. `UPDATE_STORIES=1 cargo test --test stories` writes the
//! decisions anew: read the difference before you believe it. `STORY=name` takes only the stories with that in their
//! name.

#[path = "stories/noise.rs"]
mod noise;
#[path = "stories/script.rs"]
mod script;
#[path = "stories/series.rs"]
mod series;

use regressd::engine::Engine;
use regressd::engine::effect::*;
use regressd::engine::event::{About, Control, Fact, Input, Word};
use regressd::engine::time::{Span, Time};
use script::Moment;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

const LINE: &str = "\n---\n";

#[test]
fn stories() {
    let update = std::env::var_os("UPDATE_STORIES").is_some();
    let only = std::env::var("STORY").unwrap_or_default();
    let mut wrong = Vec::new();
    let mut told = 0;
    for path in paths().into_iter().filter(|path| path.to_string_lossy().contains(&only)) {
        let text = std::fs::read_to_string(&path).expect("a story can be read");
        let (facts, expected) = text.split_once(LINE).unwrap_or_else(|| panic!("no line in {path:?}"));
        let decided = check(facts, 1);
        // However the fleet is divided, the same is decided; only how many watches each part may have is its own.
        let full = path.ends_with("watches_full.txt");
        let divided = if full { decided.clone() } else { check(facts, 3) };
        assert_eq!(decided, divided, "three lanes decide otherwise in {}", path.display());
        told += 1;
        if decided != expected && update {
            std::fs::write(&path, format!("{facts}{LINE}{decided}")).expect("a story can be written");
        } else if decided != expected {
            wrong.push(format!("{}\nexpected:\n{expected}\ndecided:\n{decided}", path.display()));
        }
    }
    assert!(told > 0, "no story");
    assert!(wrong.is_empty(), "{} of {told} stories went otherwise\n\n{}", wrong.len(), wrong.join("\n"));
}

fn paths() -> Vec<PathBuf> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stories");
    let entries = std::fs::read_dir(dir).expect("the stories are there");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    paths
}

/// Plays the facts to an engine and tells what it decided, a line for each decision.
fn check(facts: &str, lanes: u32) -> String {
    let script = script::read(facts);
    let mut engine = Engine::of_lanes(lanes);
    let mut policy = script.policy;
    let mut threads = BTreeMap::new();
    let mut decided = String::new();
    let mut effects = Vec::new();
    for Moment { now, policy: new, fact } in script.moments {
        while let Some(deadline) = engine.next_deadline().filter(|deadline| *deadline <= now) {
            engine.step(&policy, &Input { now: deadline, fact: Fact::Tick }, &mut effects);
            assert!(engine.next_deadline().is_none_or(|next| next > deadline), "a tick did nothing at its deadline");
        }
        note(&mut effects, &mut threads, &mut decided);
        policy = new.map_or(policy, |new| *new);
        if let Some(fact) = fact {
            engine.step(&policy, &Input { now, fact: named(fact, &threads) }, &mut effects);
        }
        note(&mut effects, &mut threads, &mut decided);
    }
    decided
}

fn note(effects: &mut Vec<Effect>, threads: &mut BTreeMap<String, Arc<str>>, decided: &mut String) {
    for effect in effects.drain(..) {
        if let Effect::Recommend(said) = &effect {
            threads.insert(format!("@{}", said.deployment.id), said.thread.clone());
        }
        tell(&effect, decided);
    }
}

/// People in stories speak of a thread by its deployment: this puts in the thread's id.
fn named(mut fact: Fact<'static>, threads: &BTreeMap<String, Arc<str>>) -> Fact<'static> {
    if let Fact::Control(Control { word, .. }) = &mut fact
        && let Word::Approval { recommendation: name, .. } | Word::Feedback { about: About::Recommendation(name), .. } =
            word
        && let Some(thread) = threads.get(&**name)
    {
        *name = thread.clone();
    }
    fact
}

fn tell(effect: &Effect, decided: &mut String) {
    let told = match effect {
        Effect::Recommend(said) => tell_recommendation(said, decided),
        Effect::Audit(audit) => tell_audit(audit, decided),
        Effect::Drift(drift) => tell_drift(drift, decided),
        Effect::Accuracy(told) => tell_accuracy(told, decided),
        Effect::Automation(news) => {
            writeln!(decided, "{} automation {}: {}", clock(news.at), news.change.word(), news.summary)
        }
        Effect::Heartbeat(_) => Ok(()),
    };
    told.expect("a string takes any text");
}

fn tell_recommendation(said: &Recommendation, out: &mut String) -> std::fmt::Result {
    let Recommendation { lifecycle, verdict, action, deployment, .. } = said;
    write!(out, "{} {} {}", clock(said.at), deployment.service, deployment.id)?;
    write!(out, " {}: {}, {}", lifecycle.word(), verdict.word(), action.word())?;
    let reasons: Vec<_> = said.guardrails.reasons.iter().map(|reason| reason.word()).collect();
    writeln!(out, "{}{}", if reasons.is_empty() { "" } else { " because " }, reasons.join(", "))?;
    if said.sequence > 0 {
        return writeln!(out, "    {}", said.summary);
    }
    if said.evidence.iter().any(|each| each.log.is_some()) {
        writeln!(out, "    {}", said.summary)?;
    }
    for evidence in said.evidence.iter().take(3) {
        let Evidence { signal, direction, method, .. } = evidence;
        let (from, to) = (rough(evidence.baseline), rough(evidence.current));
        write!(out, "    {signal} {} {from} → {to} since {}", direction.word(), clock(evidence.onset))?;
        write!(out, " by {}", method.word())?;
        let on = if evidence.instances.is_empty() { "" } else { " on " };
        writeln!(out, "{on}{}", evidence.instances.join(", "))?;
        for example in evidence.log.iter().flat_map(|log| log.examples.iter().take(1)) {
            writeln!(out, "        such as {}", example.escape_debug())?;
        }
    }
    for Considered { deployment, standing } in &said.considered {
        writeln!(out, "    {} {}: {}", deployment.service, deployment.id, standing.word())?;
    }
    for Stacked { deployment, service, kind, .. } in &said.guardrails.stacked {
        writeln!(out, "    changed since: {service} {} {deployment}", kind.word())?;
    }
    if let Some(Rollout { carrying, of }) = said.guardrails.rollout {
        writeln!(out, "    rolling out: {carrying} of {of} instances")?;
    }
    for Coverage { signal, smallest_change, lack } in said.coverage.iter().take(3) {
        match (lack, smallest_change) {
            (Some(lack), _) => writeln!(out, "    {signal}: {}", lack.word())?,
            (None, Some(change)) => writeln!(out, "    {signal}: {}% would have been seen", rough(change * 100.0))?,
            (None, None) => {}
        }
    }
    Ok(())
}

fn tell_drift(drift: &Drift, out: &mut String) -> std::fmt::Result {
    writeln!(out, "{} {} drifts, no deployment", clock(drift.at), drift.service)?;
    for Drifted { signal, direction, baseline, current, since, .. } in &drift.signals {
        let (from, to) = (rough(*baseline), rough(*current));
        writeln!(out, "    {signal} {} {from} → {to} since {}", direction.word(), clock(*since))?;
    }
    Ok(())
}

/// Only what is decided; what was said stands in the recommendation already.
fn tell_audit(audit: &Audit, out: &mut String) -> std::fmt::Result {
    let about = audit.deployment.as_deref().unwrap_or("-");
    let head = format!("{} {} {about}", clock(audit.at), audit.service);
    match &audit.event {
        AuditEvent::Held { reason, would } => writeln!(out, "{head} held: {}, would {}", reason.word(), would.word()),
        AuditEvent::NotWatched { why } => writeln!(out, "{head} not watched: {}", why.word()),
        AuditEvent::Heard { word, by, outcome, .. } => {
            let by = by.as_deref().unwrap_or("nobody");
            writeln!(out, "{} {word} by {by}: {}", clock(audit.at), outcome.word())
        }
        AuditEvent::Automation { .. } => Ok(()),
        AuditEvent::WatchOpened { .. } | AuditEvent::Verdict { .. } => Ok(()),
        AuditEvent::Said { .. } | AuditEvent::WatchClosed { .. } => Ok(()),
    }
}

/// The whole fleet, then each detector; services and environments have no place in a story. Where nothing was labelled
/// and nothing called, there is nothing to tell.
fn tell_accuracy(told: &Accuracy, out: &mut String) -> std::fmt::Result {
    for row in told.rows.iter().filter(|row| row.env.is_none()) {
        let known: Vec<_> = Outcome::ALL.iter().filter(|outcome| row.tally.count(**outcome) > 0).collect();
        if known.iter().all(|outcome| **outcome == Outcome::Quiet) {
            continue;
        }
        let who = row.detector.map_or("accuracy", |detector| detector.word());
        let counts: Vec<_> = known.iter().map(|each| format!("{} {}", row.tally.count(**each), each.word())).collect();
        write!(out, "{} {who}: {}", clock(told.at), counts.join(", "))?;
        for (what, share) in [("precision", row.tally.precision()), ("recall", row.tally.recall())] {
            if let Some(Share95 { estimate, lower, upper }) = share {
                write!(out, "; {what} {} ({} to {})", rough(estimate), rough(lower), rough(upper))?;
            }
        }
        let minutes =
            row.tally.detection.map(|(median, _)| format!("; found within {} min", rough(median.as_minutes())));
        writeln!(out, "{}", minutes.unwrap_or_default())?;
    }
    Ok(())
}

/// As the stories write times.
fn clock(at: Time) -> String {
    let Span(ms) = at - script::START;
    let (minutes, rest) = (ms.div_euclid(60_000), ms.rem_euclid(60_000));
    let (days, h, m) = (minutes.div_euclid(1_440), minutes.rem_euclid(1_440) / 60, minutes.rem_euclid(60));
    let days = if days == 0 { String::new() } else { format!("{days}d") };
    let seconds = if rest == 0 { String::new() } else { format!(":{:02}", rest / 1_000) };
    format!("{days}{h:02}:{m:02}{seconds}")
}

/// To two digits: the third is noise, and stories should not change with it.
fn rough(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let digits = 10f64.powi(value.abs().log10().floor() as i32 - 1);
    let rounded = (value / digits).round() * digits;
    // The detour over text takes away what the multiplication left behind.
    format!("{rounded:.6}").trim_end_matches('0').trim_end_matches('.').to_string()
}
