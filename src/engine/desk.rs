//! What may be said, and what becomes of it: the other half of the engine, one for the whole fleet.
//!
//! It hears reports of the lanes, people, and time, and answers with effects; it sees no sample and judges no evidence.
//! There is never more than one, so limits, cooldowns, threads and what was measured are exact. This file keeps the
//! order of the rooms; what people say stands in `people`.

use super::accuracy::Cases;
use super::earning::{Earning, InForce};
use super::effect::{
    Action, AuditEvent, Considered, Effect, Guardrails, Lifecycle, Reason, Recommendation, VerdictKind,
};
use super::entry::{audit, publish};
use super::event::{Deployment, Fact};
use super::gate::{Answer, Gate, Proposal};
use super::policy::Policy;
use super::register::{Entry, Register};
use super::report::{self, Looked, Question, Report};
use super::threads::Threads;
use super::time::Time;
use super::verdict::{self, Verdict};
use super::vitals::Vitals;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// All that was said, and all that decides about saying more.
#[derive(Default, Serialize, Deserialize)]
pub struct Desk {
    pub(super) now: Option<Time>,
    pub(super) register: Register,
    pub(super) gate: Gate,
    pub(super) threads: Threads,
    pub(super) cases: Cases,
    pub(super) earning: Earning,
    vitals: Vitals,
}

impl Desk {
    /// Time went on to this moment: everything that is said now is said at it, or later.
    pub fn advance(&mut self, now: Time) -> Time {
        let now = self.now.map_or(now, |known| known.max(now));
        self.now = Some(now);
        now
    }

    /// The next moment at which a tick is due, if any.
    pub fn next_deadline(&self) -> Option<Time> {
        [self.threads.next_due(), self.cases.next_due()].into_iter().flatten().min()
    }

    pub fn vitals(&self) -> &Vitals {
        &self.vitals
    }

    /// Takes reports of one moment, in the order in which they are to be heard.
    pub fn hear(&mut self, policy: &Policy, now: Time, reports: &[Report], effects: &mut Vec<Effect>) {
        for report in reports {
            match report {
                Report::NotWatched { deployment, why } => {
                    effects.push(audit(now, deployment, None, AuditEvent::NotWatched { why: *why }));
                }
                Report::TookEffect { deployment } => self.taken_effect(policy, now, deployment, effects),
                Report::Opened { thread, deployment, until } => {
                    effects.push(audit(now, deployment, Some(thread), AuditEvent::WatchOpened { until: *until }));
                    self.register.open(thread, deployment);
                    self.cases.open(policy, now, thread, deployment);
                }
                Report::Looked(looked) => self.looked(policy, now, looked, effects),
                Report::SetAside { .. } | Report::Beat(_) | Report::Drifted(_) => {}
            }
        }
    }

    /// Puts looks of one moment in the order in which their watches were opened, whichever lane they come from.
    pub fn put_in_order(&self, reports: &mut [Report]) {
        reports.sort_by_key(|report| match report {
            Report::Looked(looked) => self.register.place(&looked.thread).unwrap_or(usize::MAX),
            _ => usize::MAX,
        });
    }

    /// What the lanes are to be asked before the tick of this moment, and for which threads.
    pub fn questions(&self, now: Time) -> Vec<(Arc<str>, Question)> {
        let due = self.threads.due(now).into_iter();
        due.filter_map(|id| Some((id.clone(), Question::Recovered(self.threads.question(&id, now)?)))).collect()
    }

    /// A deadline has come, for threads and for what is told every so often.
    pub fn tick(
        &mut self,
        policy: &Policy,
        now: Time,
        answered: &[(Arc<str>, Option<bool>)],
        effects: &mut Vec<Effect>,
    ) {
        for thread in self.threads.due(now) {
            let recovered = answered.iter().find(|(id, _)| *id == thread).and_then(|(_, recovered)| *recovered);
            let message = self.threads.tick(policy, now, &thread, recovered);
            if let Some(message) = message {
                self.tell(policy, now, now, message, effects);
            }
        }
        self.measured(policy, now, effects);
    }

    /// What the lanes say of themselves at one moment, put together.
    pub fn pass_on(&self, now: Time, reports: &[Report], effects: &mut Vec<Effect>) {
        let beats = reports.iter().filter_map(|report| match report {
            Report::Beat(beat) => Some(beat),
            _ => None,
        });
        let (watches, threads) = (self.register.len() as u64, self.threads.open() as u64);
        let beat = report::heartbeat(now, watches, threads, beats);
        effects.extend(beat.map(|beat| Effect::Heartbeat(Box::new(beat))));
        effects.extend(reports.iter().filter_map(|report| match report {
            Report::Drifted(drift) => Some(Effect::Drift(Box::new(drift.clone()))),
            _ => None,
        }));
    }

    /// What no message carries: a cold start, another configuration.
    pub fn told(&mut self, policy: &Policy, now: Time, fact: &Fact, effects: &mut Vec<Effect>) {
        match fact {
            Fact::ColdStart { since } => self.gate.cold_start(*since),
            Fact::PolicyChanged => self.configured(policy, now, effects),
            _ => {}
        }
    }

    /// Keeps the vitals.
    pub fn note(&mut self, policy: &Policy, now: Time) {
        self.vitals.cooldowns = self.gate.cooldowns(now) as u64;
        self.vitals.fleet_tokens = self.gate.fleet_tokens(policy, now);
        self.vitals.threads_open = self.threads.open() as u64;
        self.vitals.windows = self.gate.windows(now) as u64;
    }

    /// What a deployment means for what was said before, watched or not.
    fn taken_effect(&mut self, policy: &Policy, now: Time, deployment: &Deployment, effects: &mut Vec<Effect>) {
        self.gate.deployed(deployment);
        self.taken_back(policy, now, deployment, effects);
        self.threads.deployed(now, policy, deployment).into_iter().for_each(|message| publish(message, effects));
    }

    /// A look at a watch: what is true stands; whether it may be said is asked here.
    fn looked(&mut self, policy: &Policy, now: Time, looked: &Looked, effects: &mut Vec<Effect>) {
        // A look that is told again was heard; a watch that is closed is.
        let Some(entry) = self.register.get(&looked.thread).cloned() else { return };
        if entry.looked >= Some(looked.at) && !looked.last {
            return;
        }
        self.register.with(&looked.thread, |entry| entry.looked = Some(looked.at));
        let found = looked.verdict.as_ref().filter(|verdict| verdict.kind == VerdictKind::Regression);
        // What was said is looked at once more, so that the record shows it was held and not forgotten.
        let is_settled = entry.said && entry.held.contains(&Reason::AlreadySaid);
        match (found, &looked.verdict) {
            (Some(found), _) if !is_settled => self.regression(policy, now, &entry, looked, found, effects),
            (Some(found), _) if !looked.last && found.shares.is_empty() => {
                self.refresh(policy, now, looked, found, effects);
            }
            (None, Some(verdict)) if looked.last && !entry.said => {
                self.register.with(&looked.thread, |entry| entry.ended = Some(verdict.kind));
                self.cases.close(&looked.thread, verdict.kind, Some(verdict.risk));
                self.say_the_end(policy, now, &entry, looked, verdict, effects);
            }
            _ => {}
        }
        if looked.last {
            self.close(now, &looked.thread, effects);
        }
    }

    /// The advice stands; a material change of its evidence is told.
    fn refresh(&mut self, policy: &Policy, now: Time, looked: &Looked, found: &Verdict, effects: &mut Vec<Effect>) {
        if !self.threads.is_old_news(policy, now, &looked.thread) {
            return;
        }
        let (gate, thread) = (&mut self.gate, &looked.thread);
        let may_speak = |deployment: &Deployment| gate.spend(policy, now, thread, deployment);
        let message = self.threads.refresh(policy, now, thread, found, looked.rollout, may_speak);
        message.into_iter().for_each(|message| publish(message, effects));
    }

    /// A regression is true; asks the gate whether it may be said, and says or writes down why not.
    fn regression(
        &mut self,
        policy: &Policy,
        now: Time,
        entry: &Entry,
        looked: &Looked,
        found: &Verdict,
        effects: &mut Vec<Effect>,
    ) {
        let Entry { thread, deployment, .. } = entry;
        if !entry.found {
            self.register.with(thread, |entry| entry.found = true);
            let event = AuditEvent::Verdict { kind: found.kind, risk: found.risk };
            effects.push(audit(now, deployment, Some(thread), event));
            self.cases.call(now, thread, found);
        }
        let onset = found.evidence.first().map_or(deployment.at, |strongest| strongest.onset);
        let beside = self.register.beside(thread, onset);
        let wanted = self.proposal(policy, entry, looked, found);
        match self.gate.ask(policy, now, &wanted) {
            Answer::Say { action, guardrails } => {
                self.register.with(thread, |entry| entry.said = true);
                self.say(policy, now, entry, found, (action, guardrails), beside, effects);
            }
            Answer::Hold { reason, would } => {
                if self.register.hold(thread, reason) {
                    if reason == Reason::Grouped
                        && let Some(leader) = self.gate.leader(policy, now, &deployment.env)
                    {
                        self.threads.join(&leader, deployment);
                    }
                    effects.push(audit(now, deployment, Some(thread), AuditEvent::Held { reason, would }));
                }
                if looked.last && !entry.said {
                    let guardrails = self.gate.last_word(&wanted, reason);
                    self.register.with(thread, |entry| entry.said = true);
                    self.say(policy, now, entry, found, (Action::None, guardrails), beside, effects);
                }
            }
        }
    }

    fn say_the_end(
        &mut self,
        policy: &Policy,
        now: Time,
        entry: &Entry,
        looked: &Looked,
        verdict: &Verdict,
        effects: &mut Vec<Effect>,
    ) {
        let Entry { thread, deployment, .. } = entry;
        let event = AuditEvent::Verdict { kind: verdict.kind, risk: verdict.risk };
        effects.push(audit(now, deployment, Some(thread), event));
        let wanted = self.proposal(policy, entry, looked, verdict);
        match self.gate.ask(policy, now, &wanted) {
            Answer::Say { action, guardrails } => {
                self.say(policy, now, entry, verdict, (action, guardrails), Vec::new(), effects);
            }
            Answer::Hold { reason, would } => {
                effects.push(audit(now, deployment, Some(thread), AuditEvent::Held { reason, would }));
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "a message has this many parts")]
    fn say(
        &mut self,
        policy: &Policy,
        now: Time,
        entry: &Entry,
        verdict: &Verdict,
        (action, guardrails): (Action, Guardrails),
        considered: Vec<Considered>,
        effects: &mut Vec<Effect>,
    ) {
        let Entry { thread, deployment, .. } = entry;
        let said = Recommendation {
            thread: thread.clone(),
            sequence: 0,
            at: now,
            lifecycle: Lifecycle::Issued,
            action,
            verdict: verdict.kind,
            risk: verdict.risk,
            deployment: deployment.clone(),
            summary: verdict::summary(deployment, verdict, &considered, now)
                + &verdict::doubts(deployment, &guardrails),
            evidence: verdict.evidence.clone(),
            coverage: verdict.coverage.clone(),
            guardrails,
            considered,
            shares: verdict.shares.clone(),
            answer: None,
        };
        match self.threads.say(policy, said) {
            Some(message) => publish(message, effects),
            // Its thread has ended: people decided, and that stands.
            None => {
                let event = AuditEvent::Held { reason: Reason::AlreadySaid, would: action };
                effects.push(audit(now, deployment, Some(thread), event));
            }
        }
    }

    fn proposal<'a>(&self, policy: &Policy, entry: &'a Entry, looked: &Looked, verdict: &Verdict) -> Proposal<'a> {
        Proposal {
            thread: &entry.thread,
            deployment: &entry.deployment,
            verdict: verdict.kind,
            superseded: looked.superseded,
            weighty: verdict.evidence.iter().any(|each| each.weighty),
            slow: !verdict.shares.is_empty(),
            automation: self.in_force(policy, &entry.deployment),
            rollout: looked.rollout,
        }
    }

    fn in_force(&self, policy: &Policy, deployment: &Deployment) -> InForce {
        self.earning.level(policy, &deployment.env, &deployment.service)
    }

    fn close(&mut self, now: Time, thread: &Arc<str>, effects: &mut Vec<Effect>) {
        let Some(entry) = self.register.close(thread) else { return };
        let kind = entry.ended.unwrap_or(VerdictKind::Regression);
        self.cases.close(thread, kind, None);
        effects.push(audit(now, &entry.deployment, Some(thread), AuditEvent::WatchClosed { kind }));
    }
}
