//! Every reason the gate can give, and which of two comes first.
//!
//! Each test asks the gate itself; the arithmetic of the rooms below is tested where it stands.

use super::*;
use crate::engine::effect::{Automation, Grounds};
use crate::engine::event::{ContextKind, DeploymentKind, Scope, Window};
use crate::engine::policy::{AutomationRule, Glob, RateLimit};
use crate::engine::time::Span;

pub fn deployment(service: &str, id: &str, at: Time) -> Deployment {
    Deployment {
        version: Some(format!("{id}-new").into()),
        previous_version: Some(format!("{id}-old").into()),
        ..Deployment::new(at, id, service, "prod")
    }
}

fn minutes(n: i64) -> Time {
    Time(0) + Span::minutes(n)
}

fn deployed(service: &str, id: &str) -> Deployment {
    deployment(service, id, minutes(0))
}

fn policy(level: Automation) -> Policy {
    let any = || Glob("*".into());
    let rule = AutomationRule { service: any(), env: any(), level, by: Vec::new() };
    Policy { automation: vec![rule], ..Policy::default() }
}

fn propose<'a>(policy: &Policy, deployment: &'a Deployment, verdict: VerdictKind) -> Proposal<'a> {
    let level = policy.automation(&deployment.env, &deployment.service).level;
    let automation = InForce { level, grounds: Grounds::Configured };
    Proposal {
        thread: &deployment.id,
        deployment,
        verdict,
        superseded: false,
        weighty: true,
        slow: false,
        rollout: None,
        automation,
    }
}

/// The answer in short: the action or the hold, then its reasons.
fn short(answer: Answer) -> (Option<Action>, Vec<Reason>) {
    match answer {
        Answer::Say { action, guardrails } => (Some(action), guardrails.reasons),
        Answer::Hold { reason, .. } => (None, vec![reason]),
    }
}

fn ask(gate: &mut Gate, policy: &Policy, at: i64, deployment: &Deployment) -> (Option<Action>, Vec<Reason>) {
    short(gate.ask(policy, minutes(at), &propose(policy, deployment, VerdictKind::Regression)))
}

fn hear(gate: &mut Gate, policy: &Policy, at: i64, word: Word) -> Heard {
    gate.hear(policy, minutes(at), &Control { at: minutes(at), by: None, word })
}

fn window(from: i64, to: i64) -> Window {
    Window { scope: Scope::default(), from: minutes(from), to: minutes(to), reason: None }
}

fn held(reason: Reason) -> (Option<Action>, Vec<Reason>) {
    (None, vec![reason])
}

fn said(action: Action, reasons: &[Reason]) -> (Option<Action>, Vec<Reason>) {
    (Some(action), reasons.to_vec())
}

#[test]
fn a_rollback_comes_with_its_guardrails() {
    let (mut gate, policy) = (Gate::default(), policy(Automation::Recommend));
    let d = deployed("a", "d");
    let answer = gate.ask(&policy, minutes(5), &propose(&policy, &d, VerdictKind::Regression));
    let guardrails = Guardrails {
        automation: Automation::Recommend,
        grounds: Grounds::Configured,
        requires_approval: true,
        approvals: 0,
        answer_by: None,
        escalate_to: None,
        expires: Some(minutes(65)),
        cooldown_until: Some(minutes(35)),
        members: vec![],
        stacked: vec![],
        rollout: None,
        reasons: vec![],
    };
    assert_eq!(answer, Answer::Say { action: Action::Rollback, guardrails });
    assert_eq!((gate.cooldowns(minutes(34)), gate.cooldowns(minutes(35))), (1, 0));
    assert_eq!(gate.fleet_tokens(&policy, minutes(5)), 9.0);
}

#[test]
fn levels() {
    let d = deployed("a", "d");
    let mut gate = Gate::default();
    assert_eq!(ask(&mut gate, &policy(Automation::Shadow), 1, &d), said(Action::None, &[Reason::Shadow]));
    assert_eq!(gate.fleet_tokens(&Policy::default(), minutes(1)), 10.0, "shadow costs nothing");
    assert_eq!(gate.cooldowns(minutes(1)), 0);
    assert_eq!(ask(&mut gate, &policy(Automation::Shadow), 2, &d), held(Reason::AlreadySaid));
    assert_eq!(ask(&mut gate, &Policy::default(), 3, &d), said(Action::Escalate, &[Reason::Advise]), "the default");
    assert_eq!(ask(&mut gate, &policy(Automation::Recommend), 4, &d), said(Action::Rollback, &[]));
}

#[test]
fn shadow_tells_what_it_would_have_done() {
    let mut d = deployed("a", "d");
    d.reversible = Some(false);
    let answer = ask(&mut Gate::default(), &policy(Automation::Shadow), 1, &d);
    assert_eq!(answer, said(Action::None, &[Reason::Shadow, Reason::Irreversible]));
}

#[test]
fn what_turns_a_rollback_down() {
    let policy = policy(Automation::Recommend);
    let mut d = deployed("a", "d");
    d.reversible = Some(true);
    assert_eq!(ask(&mut Gate::default(), &policy, 1, &d), said(Action::Rollback, &[]));
    d.reversible = Some(false);
    assert_eq!(ask(&mut Gate::default(), &policy, 1, &d), said(Action::Escalate, &[Reason::Irreversible]));
    d.previous_version = None;
    d.kind = DeploymentKind::Rollback;
    let all = [Reason::Irreversible, Reason::NoPreviousVersion, Reason::RollbackOfRollback];
    assert_eq!(ask(&mut Gate::default(), &policy, 1, &d), said(Action::Escalate, &all));
    d.reversible = None;
    d.kind = DeploymentKind::Flag;
    assert_eq!(ask(&mut Gate::default(), &policy, 1, &d), said(Action::Escalate, &[Reason::NoPreviousVersion]));
    d.previous_version = Some("before".into());
    assert_eq!(ask(&mut Gate::default(), &policy, 1, &d), said(Action::Rollback, &[]));
}

#[test]
fn nobody_is_sent_back_to_a_regression() {
    let policy = policy(Automation::Recommend);
    let mut gate = Gate::default();
    let first = deployed("a", "first");
    assert_eq!(ask(&mut gate, &policy, 1, &first), said(Action::Rollback, &[]));
    let mut second = deployment("a", "second", minutes(60));
    second.previous_version.clone_from(&first.version);
    assert_eq!(ask(&mut gate.clone(), &policy, 61, &second), said(Action::Escalate, &[Reason::TargetFlagged]));
    let elsewhere = Deployment { service: "b".into(), ..second.clone() };
    assert_eq!(ask(&mut gate.clone(), &policy, 61, &elsewhere), said(Action::Rollback, &[]));

    let mut cleared = gate.clone();
    cleared.ask(&policy, minutes(60), &propose(&policy, &first, VerdictKind::Clean));
    assert_eq!(ask(&mut cleared, &policy, 61, &second), said(Action::Rollback, &[]));

    gate.judged(&first, false);
    assert_eq!(ask(&mut gate, &policy, 61, &second), said(Action::Rollback, &[]));
}

#[test]
fn a_setting_does_not_flag_the_version_it_was_made_on() {
    let policy = policy(Automation::Recommend);
    let mut gate = Gate::default();
    let mut setting = deployed("a", "setting");
    setting.kind = DeploymentKind::Config;
    setting.previous_version.clone_from(&setting.version);
    assert_eq!(ask(&mut gate, &policy, 1, &setting), said(Action::Rollback, &[]));
    let mut next = deployment("a", "next", minutes(60));
    next.previous_version.clone_from(&setting.version);
    assert_eq!(ask(&mut gate, &policy, 61, &next), said(Action::Rollback, &[]));
}

#[test]
fn windows_reroute_and_mutes_hold() {
    let policy = policy(Automation::Recommend);
    let mut gate = Gate::default();
    let d = deployed("a", "d");
    assert_eq!(hear(&mut gate, &policy, 0, Word::Mute(window(0, 10))), Heard::Taken);
    assert_eq!(hear(&mut gate, &policy, 0, Word::Freeze(window(5, 20))), Heard::Taken);
    let kind = ContextKind::TrafficEvent;
    assert_eq!(hear(&mut gate, &policy, 0, Word::Context { window: window(5, 15), kind }), Heard::Taken);
    assert_eq!(hear(&mut gate, &policy, 0, Word::Mute(window(0, 10))), Heard::Repeated);
    assert_eq!(gate.windows(minutes(0)), 3);
    assert_eq!(ask(&mut gate, &policy, 9, &d), held(Reason::Mute));
    assert_eq!(gate.fleet_tokens(&policy, minutes(9)), 10.0, "what is held costs nothing");
    let both = [Reason::Freeze, Reason::ContextEvent];
    assert_eq!(ask(&mut gate.clone(), &policy, 10, &d), said(Action::Escalate, &both));
    assert_eq!(ask(&mut gate, &policy, 20, &d), said(Action::Escalate, &[Reason::ContextEvent]));
    assert_eq!(hear(&mut gate, &policy, 30, Word::Freeze(window(5, 20))), Heard::Ended);
}

#[test]
fn cooldown_is_for_one_service_and_ends() {
    let policy = policy(Automation::Recommend);
    let mut gate = Gate::default();
    assert_eq!(ask(&mut gate, &policy, 1, &deployed("a", "first")), said(Action::Rollback, &[]));
    let second = deployed("a", "second");
    assert_eq!(ask(&mut gate, &policy, 2, &second), held(Reason::Cooldown));
    assert_eq!(ask(&mut gate, &policy, 2, &deployed("b", "third")), said(Action::Rollback, &[]));
    assert_eq!(ask(&mut gate, &policy, 30, &second), held(Reason::Cooldown));
    assert_eq!(ask(&mut gate, &policy, 31, &second), said(Action::Rollback, &[]));
    assert_eq!(ask(&mut gate, &policy, 32, &second), held(Reason::AlreadySaid));
}

#[test]
fn a_thread_neither_waits_for_its_own_cooldown_nor_extends_it() {
    let policy = policy(Automation::Recommend);
    let mut gate = Gate::default();
    hear(&mut gate, &policy, 0, Word::Freeze(window(0, 20)));
    let d = deployed("a", "d");
    assert_eq!(ask(&mut gate, &policy, 1, &d), said(Action::Escalate, &[Reason::Freeze]));
    let answer = gate.ask(&policy, minutes(20), &propose(&policy, &d, VerdictKind::Regression));
    let Answer::Say { action, guardrails } = answer else { panic!("{answer:?}") };
    assert_eq!((action, guardrails.cooldown_until), (Action::Rollback, Some(minutes(31))));
}

#[test]
fn limits_of_service_and_fleet() {
    let mut policy = policy(Automation::Recommend);
    policy.gate.cooldown = Span(0);
    policy.gate.fleet_limit = RateLimit { burst: 3, per_hour: 3.0 };
    let mut gate = Gate::default();
    for id in ["1", "2"] {
        assert_eq!(ask(&mut gate, &policy, 0, &deployed("a", id)), said(Action::Rollback, &[]));
    }
    assert_eq!(ask(&mut gate, &policy, 0, &deployed("a", "3")), held(Reason::ServiceLimit));
    assert_eq!(ask(&mut gate, &policy, 0, &deployed("b", "4")), said(Action::Rollback, &[]));
    assert_eq!(ask(&mut gate, &policy, 0, &deployed("c", "5")), held(Reason::FleetLimit));
    assert_eq!(ask(&mut gate, &policy, 20, &deployed("c", "5")), said(Action::Rollback, &[]));
    assert_eq!(ask(&mut gate, &policy, 60, &deployed("a", "3")), said(Action::Rollback, &[]));
}

#[test]
fn what_comes_before_what() {
    let mut policy = policy(Automation::Recommend);
    let mut gate = Gate::default();
    let first = deployed("a", "first");
    assert_eq!(ask(&mut gate, &policy, 1, &first), said(Action::Rollback, &[]));
    let second = deployed("a", "second");
    policy.gate.service_limit.burst = 0;
    policy.gate.fleet_limit.burst = 0;
    // From the last to the first: each new obstacle is told before those that stand already.
    assert_eq!(ask(&mut gate, &policy, 40, &second), held(Reason::ServiceLimit));
    assert_eq!(ask(&mut gate, &policy, 2, &second), held(Reason::Cooldown));
    hear(&mut gate, &policy, 2, Word::Mute(window(0, 50)));
    assert_eq!(ask(&mut gate, &policy, 2, &second), held(Reason::Mute));
    gate.cold_start(minutes(1));
    assert_eq!(ask(&mut gate, &policy, 2, &second), held(Reason::Stale));
    let newer = |deployment| Proposal { superseded: true, ..propose(&policy, deployment, VerdictKind::Regression) };
    assert_eq!(short(gate.ask(&policy, minutes(2), &newer(&second))), held(Reason::Superseded));
    assert_eq!(short(gate.ask(&policy, minutes(2), &newer(&first))), held(Reason::AlreadySaid));
    let fresh = deployment("b", "fresh", minutes(1));
    assert_eq!(ask(&mut gate, &policy, 2, &fresh), held(Reason::Mute), "not stale");
}

#[test]
fn good_news_passes_freely_and_once() {
    let (mut gate, policy) = (Gate::default(), policy(Automation::Recommend));
    hear(&mut gate, &policy, 0, Word::Mute(window(0, 90)));
    gate.cold_start(minutes(50));
    for verdict in [VerdictKind::Clean, VerdictKind::Inconclusive] {
        let d = deployed("a", verdict.word());
        let proposal = Proposal { superseded: true, ..propose(&policy, &d, verdict) };
        assert_eq!(short(gate.ask(&policy, minutes(60), &proposal)), said(Action::None, &[]));
        assert_eq!(short(gate.ask(&policy, minutes(61), &proposal)), held(Reason::AlreadySaid));
    }
    assert_eq!((gate.cooldowns(minutes(60)), gate.fleet_tokens(&policy, minutes(60))), (0, 10.0));
}

#[test]
fn the_last_word_of_a_held_regression() {
    let (mut gate, policy) = (Gate::default(), policy(Automation::Recommend));
    let d = deployed("a", "d");
    let proposal = propose(&policy, &d, VerdictKind::Regression);
    let guardrails = gate.last_word(&proposal, Reason::Mute);
    assert_eq!(guardrails, plain(proposal.automation, vec![Reason::Mute]));
    assert_eq!(gate.fleet_tokens(&policy, minutes(61)), 10.0);
}

#[test]
fn a_lowered_level_says_why() {
    let policy = policy(Automation::Recommend);
    let d = deployed("a", "d");
    let lowered = |level| {
        let automation = InForce { level, grounds: Grounds::Demoted };
        let proposal = Proposal { automation, ..propose(&policy, &d, VerdictKind::Regression) };
        short(Gate::default().ask(&policy, minutes(1), &proposal))
    };
    assert_eq!(lowered(Automation::Advise), said(Action::Escalate, &[Reason::Advise, Reason::Demoted]));
    assert_eq!(lowered(Automation::Shadow), said(Action::None, &[Reason::Shadow, Reason::Demoted]));
}

#[test]
fn memory_survives_a_checkpoint() {
    let (mut gate, policy) = (Gate::default(), policy(Automation::Recommend));
    hear(&mut gate, &policy, 0, Word::Mute(window(50, 90)));
    ask(&mut gate, &policy, 1, &deployed("a", "d"));
    gate.cold_start(minutes(0));
    let bytes = postcard::to_stdvec(&gate).expect("plain state serialises");
    let mut again: Gate = postcard::from_bytes(&bytes).expect("and comes back");
    assert_eq!(postcard::to_stdvec(&again).expect("plain state serialises"), bytes);
    assert_eq!(ask(&mut again, &policy, 2, &deployed("a", "d")), held(Reason::AlreadySaid));
    assert_eq!(ask(&mut again, &policy, 2, &deployed("a", "e")), held(Reason::Cooldown));
    assert_eq!(ask(&mut again, &policy, 60, &deployed("a", "e")), held(Reason::Mute));
}
