//! One thread: what was asked, what has happened since, and what that leads to.
//!
//! Every way in (evidence, deployments, people, time) gives at most one message. Nothing here is judged: that a signal
//! recovered, or that a regression grew, is told from outside.

use super::answers::Answers;
use super::{asks, is_last, replaces, settled, takes_back};
use crate::engine::effect::{Action, Answer, Evidence, Heard, Lifecycle, Reason, Recommendation, Rollout};
use crate::engine::event::{ContextKind, Decision, Deployment, Window};
use crate::engine::gate::stack::{self, stacked};
use crate::engine::gate::storm::{NAMED, member};
use crate::engine::policy::{Caution, Policy};
use crate::engine::time::{Span, Time};
use crate::engine::verdict::{self, Verdict};
use crate::engine::watch::{GRACE, Watch};
use crate::engine::window::{Minute, start_of};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Looks in a row, a minute apart, at which all signals were back: a quarter of an hour with the minutes looked at.
const CALM: u32 = 10;
/// How much longer than its time a recovery may take that has begun.
const PATIENCE: Span = Span::minutes(15);
/// How much later than an incident was declared to begin it may have begun: people round, and onsets are estimates.
const ONSET: Span = Span::minutes(2);
/// Updates of one thread at most.
const UPDATES: u32 = 12;
/// What counts as a material change of the risk.
const RISK: f64 = 0.1;
/// By how much of itself the strongest change must have grown to count as a material change.
const GROWN: f64 = 0.5;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Thread {
    /// The last message; once the thread has ended, without its evidence.
    pub said: Recommendation,
    /// When something is to be done next; only while it is open.
    pub due: Time,
    approved: bool,
    remedy: Option<Remedy>,
    /// Looks in a row at which all was as before.
    calm: u32,
    updates: u32,
    updated: Time,
    /// Members came that were not told yet.
    joined: bool,
    answers: Answers,
}

/// A deployment that takes the change back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Remedy {
    id: Arc<str>,
    since: Minute,
    /// Some signal was seen to be as bad as before.
    still_bad: bool,
    /// It was said that it did not help.
    told: bool,
}

impl Thread {
    pub fn begin(policy: &Policy, said: Recommendation) -> (Thread, Recommendation) {
        let thread = Thread {
            due: Time::MIN,
            approved: false,
            remedy: None,
            calm: 0,
            updates: 0,
            joined: false,
            updated: said.at,
            answers: Answers::default(),
            said,
        };
        thread.opened(policy)
    }

    /// Other advice about the same deployment.
    pub fn go_on(mut self, policy: &Policy, said: Recommendation) -> (Thread, Recommendation) {
        let sequence = self.said.sequence + 1;
        self.updated = said.at;
        self.said = Recommendation { sequence, lifecycle: Lifecycle::Updated, ..said };
        self.opened(policy)
    }

    pub fn is_open(&self) -> bool {
        asks(&self.said) && !is_last(self.said.lifecycle)
    }

    /// The first minute that says anything about recovery.
    pub fn recovers_since(&self) -> Minute {
        self.remedy.as_ref().map_or(settled(&self.said.deployment), |remedy| remedy.since)
    }

    pub fn may_update(&self, policy: &Policy, now: Time) -> bool {
        let room = self.remedy.is_none() && self.updates < UPDATES;
        self.is_open() && room && now >= self.updated + policy.gate.update_every
    }

    pub fn refresh(
        &mut self,
        policy: &Policy,
        now: Time,
        found: &Verdict,
        rollout: Option<Rollout>,
        may_speak: impl FnOnce(&Deployment) -> bool,
    ) -> Option<Recommendation> {
        let told = (self.said.evidence.as_slice(), self.said.risk);
        if !self.may_update(policy, now) || !is_material(told, found) || !may_speak(&self.said.deployment) {
            return None;
        }
        self.updates += 1;
        self.updated = now;
        self.said.risk = found.risk;
        self.said.guardrails.rollout = rollout;
        self.said.evidence.clone_from(&found.evidence);
        let said = &self.said;
        self.said.summary = verdict::summary(&said.deployment, found, &said.considered, now)
            + &verdict::doubts(&said.deployment, &said.guardrails);
        Some(self.message(now, Lifecycle::Updated))
    }

    pub fn join(&mut self, deployment: &Deployment) {
        let members = &mut self.said.guardrails.members;
        if members.len() < NAMED && members.iter().all(|member| member.deployment != deployment.id) {
            members.push(member(deployment));
            self.joined = true;
        }
    }

    pub fn deployed(&mut self, policy: &Policy, now: Time, deployment: &Deployment) -> Option<Recommendation> {
        if !replaces(deployment, &self.said.deployment) {
            return self.stand_on(policy, now, deployment);
        }
        if !takes_back(deployment, &self.said.deployment) {
            return Some(self.end(now, Lifecycle::Superseded, &format!("{} took its place", deployment.id)));
        }
        let until = deployment.at + policy.watch.duration;
        let since = settled(deployment);
        self.remedy = Some(Remedy { id: deployment.id.clone(), since, still_bad: false, told: false });
        self.calm = 0;
        self.said.guardrails.answer_by = None;
        self.said.guardrails.expires = Some(until);
        self.reschedule(now);
        None
    }

    /// Something was changed on top of what would be taken back.
    fn stand_on(&mut self, policy: &Policy, now: Time, deployment: &Deployment) -> Option<Recommendation> {
        let change = stacked(deployment);
        let all = &mut self.said.guardrails.stacked;
        if self.remedy.is_some() || !stack::stands_on(&change, &self.said.deployment) || all.contains(&change) {
            return None;
        }
        all.insert(0, change);
        all.truncate(stack::NAMED);
        let own = deployment.service == self.said.deployment.service;
        let (caution, reason) = if own {
            (policy.gate.changed_since, Reason::ChangedSince)
        } else {
            (policy.gate.deployed_since, Reason::DeployedSince)
        };
        if caution == Caution::Name || self.said.action != Action::Rollback {
            return None;
        }
        let change = format!("{} {} ({}) was changed since", deployment.service, deployment.kind.word(), deployment.id);
        Some(self.doubted(now, reason, &change))
    }

    /// Somebody says what else happened. An incident or a change of infrastructure that held when it began takes the
    /// blame; anything else, since the deployment, makes it doubtful.
    pub fn explained(&mut self, now: Time, window: &Window, kind: ContextKind, by: &str) -> Option<Recommendation> {
        let since = self.said.deployment.at < window.to && window.from <= now;
        if self.remedy.is_some() || !since {
            return None;
        }
        let onset = self.said.evidence.first().map_or(self.said.deployment.at, |strongest| strongest.onset);
        let caused = matches!(kind, ContextKind::DependencyIncident | ContextKind::InfraChange)
            && window.from - ONSET <= onset
            && onset < window.to;
        let why = window.reason.as_deref().map_or(String::new(), |why| format!(": {why}"));
        let what = format!("{} told by {by}{why}", kind.word().replace('_', " "));
        if caused && !self.approved {
            self.add(Reason::ContextEvent);
            return Some(self.end(now, Lifecycle::Withdrawn, &format!("it began in the time of a {what}")));
        }
        let new = !self.said.guardrails.reasons.contains(&Reason::ContextEvent);
        (new && self.said.action == Action::Rollback).then(|| self.doubted(now, Reason::ContextEvent, &what))
    }

    pub fn answer(
        &mut self,
        policy: &Policy,
        now: Time,
        by: Option<&Arc<str>>,
        decision: Decision,
    ) -> (Heard, Option<Recommendation>) {
        let nobody: Arc<str> = "".into();
        let by = by.unwrap_or(&nobody);
        if !self.answers.is_new(by, decision) {
            return (Heard::Repeated, None);
        }
        let about = &self.said.deployment;
        let outcome = if !asks(&self.said) {
            Heard::NotAsked
        } else if !policy.approval(&about.env, &about.service).entitles(by) {
            Heard::NotEntitled
        } else if self.said.lifecycle == Lifecycle::Rejected || (self.approved && decision == Decision::Approved) {
            Heard::AlreadyDecided
        } else if !self.is_open() || self.remedy.is_some() {
            Heard::TooLate
        } else {
            Heard::Taken
        };
        let answer = Answer { by: by.clone(), decision, outcome };
        let message = match (outcome, decision) {
            (Heard::Taken, Decision::Rejected) => self.reject(now, by),
            (Heard::Taken, Decision::Approved) => self.approve(policy, now, by),
            (outcome, decision) => self.reply(now, by, decision, outcome),
        };
        (outcome, Some(Recommendation { answer: Some(answer), ..message }))
    }

    pub fn tick(&mut self, policy: &Policy, now: Time, recovered: Option<bool>) -> Option<Recommendation> {
        match recovered {
            Some(true) => self.calm += 1,
            Some(false) => self.calm = 0,
            None => {}
        }
        if let Some(remedy) = &mut self.remedy {
            remedy.still_bad |= recovered == Some(false);
        }
        let message = self.next(policy, now);
        self.reschedule(now);
        message
    }

    /// What time brings, in this order.
    fn next(&mut self, policy: &Policy, now: Time) -> Option<Recommendation> {
        let past = |end: Option<Time>| end.is_none_or(|end| now >= end);
        // Where it looks better by the end, a little more time decides.
        let longer = if self.remedy.is_some() && self.calm > 0 { PATIENCE } else { Span(0) };
        let expired = past(self.said.guardrails.expires.map(|expires| expires + longer));
        let unanswered = self.said.guardrails.answer_by.is_some_and(|by| now >= by);
        match &self.remedy {
            Some(remedy) if self.calm >= CALM => {
                let what = format!("{} took it back, and what had got worse is as before", remedy.id);
                Some(self.end(now, Lifecycle::Verified, &what))
            }
            None if self.calm >= CALM => {
                Some(self.end(now, Lifecycle::Withdrawn, "what had got worse is as before, by itself"))
            }
            Some(remedy) if expired && remedy.still_bad && !remedy.told => Some(self.not_helped(policy, now)),
            Some(remedy) if expired => {
                let why = if remedy.told { "it did not help" } else { "too little data to tell whether it helped" };
                let what = format!("{} took it back; {why}", remedy.id);
                Some(self.end(now, Lifecycle::Expired, &what))
            }
            None if expired => {
                let what = if self.approved { "approved, and no rollback was seen" } else { "nothing came of it" };
                Some(self.end(now, Lifecycle::Expired, what))
            }
            None if unanswered => Some(self.unanswered(now)),
            None if self.joined && self.may_update(policy, now) => Some(self.grown(now)),
            _ => None,
        }
    }

    fn opened(mut self, policy: &Policy) -> (Thread, Recommendation) {
        let now = self.said.at;
        if self.said.guardrails.requires_approval {
            let about = &self.said.deployment;
            let rule = policy.approval(&about.env, &about.service);
            let guardrails = &mut self.said.guardrails;
            guardrails.approvals = rule.required;
            guardrails.requires_approval = rule.required > 0;
            guardrails.answer_by = guardrails.requires_approval.then_some(now + rule.within);
            guardrails.escalate_to = rule.escalate_to;
        }
        self.calm = 0;
        self.reschedule(now);
        let message = self.said.clone();
        (self, message)
    }

    fn approve(&mut self, policy: &Policy, now: Time, by: &Arc<str>) -> Recommendation {
        let (count, needed) = (self.answers.approve(by), self.said.guardrails.approvals.max(1));
        if count < needed {
            self.tell(&format!("approved by {}, {count} of {needed}", self.answers.approvers()));
            return self.message(now, Lifecycle::Updated);
        }
        self.approved = true;
        // Who was asked for a rollback approved a rollback, even after it went over to somebody else.
        if self.said.guardrails.approvals > 0 {
            self.said.action = Action::Rollback;
        }
        self.tell(&format!("approved by {}", self.answers.approvers()));
        self.said.guardrails.answer_by = None;
        // Whoever carries it out has as long again.
        self.said.guardrails.expires = Some(now + policy.gate.expires);
        self.reschedule(now);
        self.message(now, Lifecycle::Approved)
    }

    fn reject(&mut self, now: Time, by: &str) -> Recommendation {
        self.end(now, Lifecycle::Rejected, &format!("rejected by {by}"))
    }

    /// An answer that changes nothing is answered: the thread stands where it stood.
    fn reply(&mut self, now: Time, by: &str, decision: Decision, outcome: Heard) -> Recommendation {
        let why = match outcome {
            Heard::NotEntitled => "who may not decide this",
            Heard::NotAsked => "though nothing was asked for",
            Heard::AlreadyDecided => "after it was decided",
            _ => "too late",
        };
        let stands = match self.said.lifecycle {
            Lifecycle::Issued => Lifecycle::Updated,
            other => other,
        };
        self.tell(&format!("{} by {by}, {why}; it stands as {}", decision.word(), self.said.lifecycle.word()));
        self.message(now, stands)
    }

    fn unanswered(&mut self, now: Time) -> Recommendation {
        self.said.guardrails.answer_by = None;
        self.said.guardrails.requires_approval = true;
        self.said.action = Action::Escalate;
        self.add(Reason::NoAnswer);
        let to = self.said.guardrails.escalate_to.clone();
        self.tell(&format!("nobody answered in time{}", to.map_or(String::new(), |to| format!("; over to {to}"))));
        self.message(now, Lifecycle::Updated)
    }

    /// A rollback that was recommended has become doubtful. Who approved it is told, not overruled.
    fn doubted(&mut self, now: Time, reason: Reason, what: &str) -> Recommendation {
        self.add(reason);
        self.updated = now;
        if self.approved {
            self.tell(&format!("{what}; it stands as approved by {}", self.answers.approvers()));
            return self.message(now, self.said.lifecycle);
        }
        self.said.action = Action::Escalate;
        self.tell(&format!("{what}; a person decides whether to go back"));
        self.message(now, Lifecycle::Updated)
    }

    fn grown(&mut self, now: Time) -> Recommendation {
        self.joined = false;
        self.updates += 1;
        self.updated = now;
        let count = self.said.guardrails.members.len();
        self.tell(&format!("{count} services of the environment got worse at once"));
        self.message(now, Lifecycle::Updated)
    }

    fn not_helped(&mut self, policy: &Policy, now: Time) -> Recommendation {
        let remedy = self.remedy.as_mut().map(|remedy| {
            remedy.told = true;
            remedy.id.clone()
        });
        let id = remedy.unwrap_or_default();
        self.said.action = Action::Escalate;
        self.said.guardrails.expires = Some(now + policy.gate.expires);
        self.add(Reason::RollbackDidNotHelp);
        self.tell(&format!("{id} took it back, and it is as bad as before"));
        self.message(now, Lifecycle::Updated)
    }

    fn end(&mut self, now: Time, lifecycle: Lifecycle, what: &str) -> Recommendation {
        self.tell(what);
        let message = self.message(now, lifecycle);
        // An ended thread is kept for those who still speak to it; they need no evidence.
        self.said.evidence = Vec::new();
        self.said.coverage = Vec::new();
        message
    }

    /// The next message of the thread.
    fn message(&mut self, now: Time, lifecycle: Lifecycle) -> Recommendation {
        self.said.sequence += 1;
        self.said.at = now;
        self.said.lifecycle = lifecycle;
        self.said.answer = None;
        self.said.clone()
    }

    fn add(&mut self, reason: Reason) {
        if !self.said.guardrails.reasons.contains(&reason) {
            self.said.guardrails.reasons.push(reason);
        }
    }

    fn tell(&mut self, what: &str) {
        let about = &self.said.deployment;
        let version = about.version.as_deref().unwrap_or("(no version)");
        self.said.summary = format!("{} {version} in {} ({}): {what}", about.service, about.env, about.id);
    }

    /// Every minute, and when an answer or the end is due.
    fn reschedule(&mut self, now: Time) {
        let next = start_of(Watch::complete(now) + 2) + GRACE;
        let ends = [self.said.guardrails.answer_by, self.said.guardrails.expires];
        let due = ends.into_iter().flatten().chain([next]).min().unwrap_or(next);
        self.due = due.max(now + Span(1));
    }
}

fn is_material((told, risk): (&[Evidence], f64), found: &Verdict) -> bool {
    let (Some(before), Some(after)) = (told.first(), found.evidence.first()) else { return false };
    let new = found.evidence.iter().any(|each| each.weighty && told.iter().all(|other| other.signal != each.signal));
    let size = |each: &Evidence| (each.current - each.baseline).abs();
    let same = found.evidence.iter().find(|each| each.signal == before.signal).unwrap_or(after);
    let grown = size(same) - size(before) > GROWN * size(before);
    new || grown || (found.risk - risk).abs() >= RISK
}
