//! The audit topic: every decision, flat and readable, one CloudEvent each.
//!
//! One struct holds the fields of all kinds of entry, so that a table made of the topic has one column for each.

use super::cloud_event::{DecisionField, json, message, readable, rfc3339};
use super::{Message, Stamp};
use crate::engine::effect::{Audit, AuditEvent, Heard};
use serde::Serialize;

pub fn audit(entry: &Audit, stamp: &Stamp) -> Message {
    let data = AuditFields::of(entry, stamp);
    // Two entries that agree in every field and in their moment are one entry.
    let identity = json(&(entry.at.0, &data));
    message(stamp, "dev.regressd.audit.v1", (&entry.env, &entry.service), entry.at, &identity, data)
}

#[derive(Serialize)]
struct AuditFields<'a> {
    event: &'static str,
    env: &'a str,
    service: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    deployment: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recommendation: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    risk: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lifecycle: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'static str>,
    /// What would have been said, had it not been held.
    #[serde(skip_serializing_if = "Option::is_none")]
    would: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasons: Option<Vec<&'static str>>,
    /// Of a control message: its word, who sent it, what became of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    word: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    /// Of feedback: what it says, and what the deployment is taken for now.
    #[serde(skip_serializing_if = "Option::is_none")]
    feedback: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'static str>,
    /// Why a word changed nothing, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'static str>,
    /// Of a level of automation: what happened to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'static str>,
    decision: DecisionField<'a>,
}

impl<'a> AuditFields<'a> {
    fn of(entry: &'a Audit, stamp: &'a Stamp) -> AuditFields<'a> {
        let bare = AuditFields {
            event: word(&entry.event),
            env: &entry.env,
            service: &entry.service,
            deployment: entry.deployment.as_deref(),
            recommendation: entry.recommendation.as_deref(),
            until: None,
            verdict: None,
            risk: None,
            lifecycle: None,
            action: None,
            would: None,
            reason: None,
            reasons: None,
            word: None,
            by: None,
            outcome: None,
            feedback: None,
            label: None,
            detail: None,
            change: None,
            from: None,
            to: None,
            decision: DecisionField::of(stamp),
        };
        match &entry.event {
            AuditEvent::WatchOpened { until } => AuditFields { until: Some(rfc3339(*until)), ..bare },
            AuditEvent::Verdict { kind, risk } => {
                AuditFields { verdict: Some(kind.word()), risk: Some(readable(*risk)), ..bare }
            }
            AuditEvent::Held { reason, would } => {
                AuditFields { reason: Some(reason.word()), would: Some(would.word()), ..bare }
            }
            AuditEvent::Said { lifecycle, action, reasons } => {
                let reasons = reasons.iter().map(|reason| reason.word()).collect();
                AuditFields {
                    lifecycle: Some(lifecycle.word()),
                    action: Some(action.word()),
                    reasons: Some(reasons),
                    ..bare
                }
            }
            AuditEvent::WatchClosed { kind } => AuditFields { verdict: Some(kind.word()), ..bare },
            AuditEvent::NotWatched { why } => AuditFields { reason: Some(why.word()), ..bare },
            AuditEvent::Heard { word, by, outcome, label } => AuditFields {
                word: Some(word),
                by: by.as_deref(),
                outcome: Some(outcome.word()),
                feedback: label.map(|label| label.said.word()),
                label: label
                    .and_then(|label| label.harmful)
                    .map(|harmful| if harmful { "harmful" } else { "harmless" }),
                detail: label.and_then(|_| detail(*outcome)),
                ..bare
            },
            AuditEvent::Automation { change, from, to, by } => AuditFields {
                change: Some(change.word()),
                from: Some(from.word()),
                to: Some(to.word()),
                by: by.as_deref(),
                ..bare
            },
        }
    }
}

/// What whoever sent feedback should know where it was not taken.
fn detail(outcome: Heard) -> Option<&'static str> {
    match outcome {
        Heard::Unknown => Some("nothing is known of it: not watched here, longer ago than accuracy.over, or misspelt"),
        Heard::AlreadyDecided => Some("somebody has said otherwise since; the later word stands"),
        _ => None,
    }
}

/// The public word for a kind of entry.
fn word(event: &AuditEvent) -> &'static str {
    match event {
        AuditEvent::WatchOpened { .. } => "watch_opened",
        AuditEvent::Verdict { .. } => "verdict",
        AuditEvent::Held { .. } => "held",
        AuditEvent::Said { .. } => "said",
        AuditEvent::WatchClosed { .. } => "watch_closed",
        AuditEvent::NotWatched { .. } => "not_watched",
        AuditEvent::Heard { .. } => "heard",
        AuditEvent::Automation { .. } => "automation",
    }
}
