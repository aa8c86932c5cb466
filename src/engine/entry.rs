//! How what was decided is written down: each message with its entry in the audit.
//!
//! It decides nothing; it is here so that no message can go out without its entry.

use super::effect::{Audit, AuditEvent, Effect, Recommendation};
use super::event::Deployment;
use super::time::Time;
use std::sync::Arc;

pub fn publish(said: Recommendation, effects: &mut Vec<Effect>) {
    let event =
        AuditEvent::Said { lifecycle: said.lifecycle, action: said.action, reasons: said.guardrails.reasons.clone() };
    let entry = Audit {
        at: said.at,
        env: said.deployment.env.clone(),
        service: said.deployment.service.clone(),
        deployment: Some(said.deployment.id.clone()),
        recommendation: Some(said.thread.clone()),
        event,
    };
    effects.push(Effect::Recommend(Box::new(said)));
    effects.push(Effect::Audit(entry));
}

pub fn audit(now: Time, deployment: &Deployment, thread: Option<&Arc<str>>, event: AuditEvent) -> Effect {
    Effect::Audit(Audit {
        at: now,
        env: deployment.env.clone(),
        service: deployment.service.clone(),
        deployment: Some(deployment.id.clone()),
        recommendation: thread.cloned(),
        event,
    })
}
