//! What may be said: guardrails between a verdict and the alerts topic.
//!
//! This file alone knows their order; the rooms below do the work. A guardrail either turns a rollback down to "a
//! person must look" or holds it back for now; neither makes a regression less true, and nothing here judges evidence.
//! Clean and inconclusive verdicts pass freely, once.

pub(in crate::engine) mod budget;
mod flagged;
mod quiet;
pub(in crate::engine) mod recent;
mod route;
mod said;
pub(in crate::engine) mod stack;
pub(in crate::engine) mod storm;
mod turns;
pub(in crate::engine) mod windows;

use super::earning::InForce;
use super::effect::{Action, Guardrails, Heard, Reason, Rollout, VerdictKind};
use super::event::{Control, Deployment, DeploymentKind, WindowKind, Word};
use super::policy::{Caution, Policy};
use super::time::Time;
use flagged::Flagged;
use quiet::Quiet;
use route::{Route, route};
use said::Said;
use serde::{Deserialize, Serialize};
use stack::Stack;
use std::sync::Arc;
use storm::{Storms, Weather};
use turns::Turns;
use windows::Windows;

/// What somebody wants to say.
#[derive(Clone, Debug)]
pub struct Proposal<'a> {
    pub thread: &'a str,
    pub deployment: &'a Deployment,
    pub verdict: VerdictKind,
    /// A newer deployment of the same service and environment has taken effect.
    pub superseded: bool,
    /// Something that users feel, or that was called critical, got worse.
    pub weighty: bool,
    /// It took several releases: the last one's version is no worse than the others'.
    pub slow: bool,
    /// While it is being rolled out: how far it has got.
    pub rollout: Option<Rollout>,
    /// How far the daemon may go there, and why.
    pub automation: InForce,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Say it, with this action; `guardrails.reasons` says what turned it down, if anything did. After `shadow` they
    /// are what would have turned it down: `shadow` alone stands for a rollback, with another for an escalation;
    /// `demoted` only tells why it is `shadow`.
    Say { action: Action, guardrails: Guardrails },
    /// Don't say it now; `would` is what would have been said. Ask again later: it may pass then.
    Hold { reason: Reason, would: Action },
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Gate {
    said: Said,
    windows: Windows,
    flagged: Flagged,
    quiet: Quiet,
    turns: Turns,
    stack: Stack,
    storms: Storms,
    /// Deployments before it are learned from, not spoken of.
    stale_before: Option<Time>,
}

impl Gate {
    pub fn ask(&mut self, policy: &Policy, now: Time, proposal: &Proposal) -> Answer {
        let deployment = proposal.deployment;
        match proposal.verdict {
            VerdictKind::Regression if proposal.slow => {}
            VerdictKind::Regression => self.flagged.flag(deployment),
            VerdictKind::Clean => {
                self.flagged.clear(deployment);
                return self.inform(proposal);
            }
            VerdictKind::Inconclusive => return self.inform(proposal),
        }
        self.windows.prune(policy, now);
        let weather = self.storms.note(policy, now, proposal);
        let flapping = self.turns.flapping(policy, deployment);
        let mut route = route(policy, &self.windows, &self.flagged, flapping, now, proposal);
        self.doubt(policy, now, proposal, &mut route);
        if weather == Weather::Leads && route.action != Action::None {
            route.action = Action::Escalate;
            route.reasons.push(Reason::Storm);
        }
        match self.hold(policy, now, proposal, &route, weather) {
            Some(reason) => Answer::Hold { reason, would: route.action },
            None => self.say(policy, now, proposal, route),
        }
    }

    /// Guardrails for a regression that is still held when its watch ends: it is told with action `none` and the reason
    /// it was held for, without touching cooldowns or budgets.
    pub fn last_word(&mut self, proposal: &Proposal, held: Reason) -> Guardrails {
        self.said.say(&proposal.thread.into(), proposal.verdict, Action::None);
        plain(proposal.automation, vec![held])
    }

    pub fn hear(&mut self, policy: &Policy, now: Time, control: &Control) -> Heard {
        match &control.word {
            Word::Freeze(window) => self.windows.declare(policy, now, WindowKind::Freeze, window),
            Word::Mute(window) => self.windows.declare(policy, now, WindowKind::Mute, window),
            Word::Context { window, .. } => self.windows.declare(policy, now, WindowKind::Context, window),
            // What was said to somebody is the threads' affair, whether it was right is measured, and so are levels.
            Word::Approval { .. } | Word::Feedback { .. } | Word::Automation { .. } => Heard::Unknown,
        }
    }

    /// Somebody said whether a deployment does harm: its version is no place to go back to, or is one after all.
    pub fn judged(&mut self, deployment: &Deployment, harmful: bool) {
        if harmful { self.flagged.flag(deployment) } else { self.flagged.clear(deployment) }
    }

    /// The state is new: regressions of deployments before `since` are held as stale.
    pub fn cold_start(&mut self, since: Time) {
        self.stale_before = Some(since);
    }

    /// A deployment took effect.
    pub fn deployed(&mut self, deployment: &Deployment) {
        self.turns.deployed(deployment);
        self.stack.deployed(deployment);
    }

    /// The thread that speaks for all in this environment's storm, if there is one.
    pub fn leader(&self, policy: &Policy, now: Time, env: &str) -> Option<Arc<str>> {
        self.storms.leader(policy, now, env).cloned()
    }

    /// Whether a thread that spoke may speak once more now; if so, it costs what speaking costs.
    pub fn spend(&mut self, policy: &Policy, now: Time, thread: &Arc<str>, deployment: &Deployment) -> bool {
        let free = self.quiet.holds(policy, now, thread, deployment).is_none();
        if free {
            self.quiet.charge(policy, now, thread, deployment);
        }
        free
    }

    /// Services and environments that are cooling down.
    pub fn cooldowns(&self, now: Time) -> usize {
        self.quiet.cooldowns(now)
    }

    /// Tokens left in the fleet's bucket.
    pub fn fleet_tokens(&self, policy: &Policy, now: Time) -> f64 {
        self.quiet.fleet_tokens(policy, now)
    }

    /// Windows that hold now or later.
    pub fn windows(&self, now: Time) -> usize {
        self.windows.count(now)
    }

    /// What was pushed out of memory by its limits: threads, cooldowns, buckets and flagged versions.
    pub fn forgotten(&self) -> u64 {
        let (said, flagged, stack) = (self.said.forgotten(), self.flagged.forgotten(), self.stack.forgotten());
        said + flagged + stack + self.quiet.forgotten() + self.turns.forgotten()
    }

    /// What makes going back doubtful: it may turn a rollback down, as the policy has it, and is told in any case.
    fn doubt(&self, policy: &Policy, now: Time, proposal: &Proposal, route: &mut Route) {
        let deployment = proposal.deployment;
        let stacked = self.stack.since(now, deployment);
        let same = |own: bool| stacked.iter().any(|each| (each.service == deployment.service) == own);
        let nowhere = deployment.kind == DeploymentKind::Deploy
            && deployment.version.is_some()
            && deployment.version == deployment.previous_version;
        let gate = &policy.gate;
        for (holds, caution, reason) in [
            (nowhere, Caution::Escalate, Reason::NoPreviousVersion),
            (self.stack.passes_irreversible(now, deployment), Caution::Escalate, Reason::Irreversible),
            (same(true), gate.changed_since, Reason::ChangedSince),
            (same(false), gate.deployed_since, Reason::DeployedSince),
            (proposal.rollout.is_some(), gate.rolling_out, Reason::RollingOut),
        ] {
            if holds && caution == Caution::Escalate && !route.reasons.contains(&reason) {
                route.reasons.push(reason);
                if route.action == Action::Rollback {
                    route.action = Action::Escalate;
                }
            }
        }
    }

    /// The order of what holds a regression back.
    fn hold(&self, policy: &Policy, now: Time, proposal: &Proposal, route: &Route, weather: Weather) -> Option<Reason> {
        let deployment = proposal.deployment;
        if self.said.stands(proposal.thread, proposal.verdict, route.action) {
            Some(Reason::AlreadySaid)
        } else if proposal.superseded {
            Some(Reason::Superseded)
        } else if self.stale_before.is_some_and(|since| deployment.at < since) {
            Some(Reason::Stale)
        } else if self.windows.muted(policy, now, deployment) {
            Some(Reason::Mute)
        } else if route.action == Action::None {
            // In shadow nobody is asked for anything: it costs nothing and quiets nobody.
            None
        } else if weather == Weather::Joins {
            Some(Reason::Grouped)
        } else {
            self.quiet.holds(policy, now, proposal.thread, deployment)
        }
    }

    fn say(&mut self, policy: &Policy, now: Time, proposal: &Proposal, route: Route) -> Answer {
        let Route { action, reasons } = route;
        let thread: Arc<str> = proposal.thread.into();
        self.said.say(&thread, proposal.verdict, action);
        let leads = reasons.contains(&Reason::Storm);
        let mut guardrails = plain(proposal.automation, reasons);
        if leads {
            guardrails.members = self.storms.lead(policy, now, &thread, &proposal.deployment.env);
        }
        guardrails.stacked = self.stack.since(now, proposal.deployment);
        guardrails.rollout = proposal.rollout;
        if action != Action::None {
            guardrails.requires_approval = action == Action::Rollback;
            guardrails.expires = Some(now + policy.gate.expires);
            guardrails.cooldown_until = Some(self.quiet.charge(policy, now, &thread, proposal.deployment));
        }
        Answer::Say { action, guardrails }
    }

    /// A verdict that asks nothing of anybody.
    fn inform(&mut self, proposal: &Proposal) -> Answer {
        let action = Action::None;
        if self.said.stands(proposal.thread, proposal.verdict, action) {
            return Answer::Hold { reason: Reason::AlreadySaid, would: action };
        }
        self.said.say(&proposal.thread.into(), proposal.verdict, action);
        Answer::Say { action, guardrails: plain(proposal.automation, Vec::new()) }
    }
}

fn plain(automation: InForce, reasons: Vec<Reason>) -> Guardrails {
    Guardrails {
        automation: automation.level,
        grounds: automation.grounds,
        requires_approval: false,
        approvals: 0,
        answer_by: None,
        escalate_to: None,
        expires: None,
        cooldown_until: None,
        members: Vec::new(),
        stacked: Vec::new(),
        rollout: None,
        reasons,
    }
}

#[cfg(test)]
pub(in crate::engine) mod tests;
