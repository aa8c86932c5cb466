//! Storms: seeded random fleets against laws that hold whatever the weather.
//!
//! Nothing here knows which decision is right; only what no decision may ever do. The seeds are fixed, so a failure is
//! one for good. More of them: `STORMS=500 cargo test --test storms`.

#[path = "storms/divided.rs"]
mod divided;
#[path = "storms/lanes.rs"]
mod lanes;
#[path = "stories/noise.rs"]
mod noise;
#[path = "storms/saved.rs"]
mod saved;
#[path = "storms/weather.rs"]
mod weather;

use noise::Noise;
use regressd::engine::Engine;
use regressd::engine::cut::Extent;
use regressd::engine::effect::*;
use regressd::engine::event::{DeploymentKind, Fact, Input};
use regressd::engine::policy::RateLimit;
use regressd::engine::time::{Span, Time};
use saved::{Cut, Saved};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weather::{Climate, ORDERLY, QUIET, ROUGH, SAY, START, Storm, TWO_ROUNDS, words};

#[test]
fn same_seed_same_effects() {
    each_seed(&ROUGH, |_, storm| {
        let (first, second) = (play(&storm, |_| false), play(&storm, |_| false));
        assert_same(&first, &second);
        assert!(
            first.iter().any(|effect| regression(effect).is_some()),
            "a storm in which nothing is said proves nothing"
        );
    });
}

#[test]
fn stopping_and_resuming_anywhere_changes_nothing() {
    each_seed(&ROUGH, |seed, storm| {
        let mut noise = Noise::of(&format!("stops {seed}"));
        let whole = play(&storm, |_| false);
        assert_same(&whole, &play(&storm, |_| noise.unit() < 0.002));
    });
}

#[test]
fn dying_anywhere_and_going_on_from_the_last_cut_changes_nothing() {
    each_seed(&ROUGH, |seed, storm| {
        let (mut whole, effects) = play_to_the_end(&storm, |_| false);
        let (mut other, again) = play_dying(&storm, seed);
        assert_same(&effects, &again);
        assert!(Saved::whole(&mut whole) == Saved::whole(&mut other), "something else was learned");
    });
}

#[test]
fn budgets_and_cooldowns_hold() {
    each_seed(&ROUGH, |seed, storm| {
        let mut noise = Noise::of(&format!("restarts {seed}"));
        let effects = play(&storm, |_| noise.unit() < 0.002);
        assert!(assert_within_budgets(&storm, &effects) > 1, "a team alone is no test of teams");
    });
}

#[test]
fn budgets_hold_across_restarts_reloads_and_jumps_of_the_clock() {
    let mut spoken_to = 0;
    each_seed(&ROUGH, |seed, storm| {
        let effects = play_in_trouble(&storm, seed);
        spoken_to += assert_within_budgets(&storm, &effects);
        for said in effects.iter().filter_map(asked_of_people) {
            assert!(said.deployment.kind != DeploymentKind::Rollback || said.action == Action::Escalate);
        }
    });
    assert!(spoken_to > 3, "hardly anything was said: it proves nothing");
}

/// How many teams were spoken to.
fn assert_within_budgets(storm: &Storm, effects: &[Effect]) -> usize {
    let gate = &storm.policy.gate;
    let said: Vec<_> = effects.iter().filter_map(asked_of_people).collect();
    within(gate.fleet_limit, said.iter().map(|said| said.at).collect());
    within(gate.env_limit, said.iter().map(|said| said.at).collect());
    let mut teams: BTreeMap<_, Vec<Time>> = BTreeMap::new();
    for each in &said {
        teams.entry(storm.policy.team(&each.deployment).cloned()).or_default().push(each.at);
    }
    // What belongs to no team has no team's limit.
    teams.iter().filter(|(team, _)| team.is_some()).for_each(|(_, said)| within(gate.team_limit, said.clone()));
    let mut services: BTreeMap<_, Vec<&Recommendation>> = BTreeMap::new();
    for each in &said {
        services.entry(&each.deployment.service).or_default().push(each);
    }
    for said in services.values() {
        within(gate.service_limit, said.iter().map(|said| said.at).collect());
        let mut began: BTreeMap<&str, Time> = BTreeMap::new();
        for each in said {
            let others = began.iter().filter(|(thread, _)| **thread != &*each.thread);
            let near = others.map(|(_, at)| each.at - *at).min();
            assert!(near.is_none_or(|near| near >= gate.cooldown), "within a cooldown: {}", each.summary);
            began.entry(&each.thread).or_insert(each.at);
        }
    }
    teams.len()
}

#[test]
fn one_thread_for_each_deployment() {
    each_seed(&ROUGH, |_, storm| {
        let mut threads: BTreeMap<Arc<str>, Arc<str>> = BTreeMap::new();
        let mut sequences: BTreeMap<Arc<str>, u32> = BTreeMap::new();
        for said in play(&storm, |_| false).iter().filter_map(recommendation) {
            let thread = threads.entry(said.deployment.id.clone()).or_insert(said.thread.clone());
            assert_eq!(*thread, said.thread, "two threads for {}", said.deployment.id);
            let next = sequences.entry(said.thread.clone()).or_default();
            assert_eq!(said.sequence, *next, "a gap in the thread of {}", said.deployment.id);
            *next += 1;
        }
        assert_eq!(threads.len(), sequences.len(), "two deployments in one thread");
    });
}

#[test]
fn every_deployment_is_answered_and_everything_said_is_written_down() {
    each_seed(&ROUGH, |_, storm| {
        let effects = play(&storm, |_| false);
        let told = effects.iter().filter_map(recommendation).map(|said| said.deployment.id.clone());
        let refused = effects.iter().filter_map(audit).filter(|a| matches!(a.event, AuditEvent::NotWatched { .. }));
        let answered: BTreeSet<_> = told.chain(refused.filter_map(|audit| audit.deployment.clone())).collect();
        for deployment in &storm.deployments {
            assert!(answered.contains(&deployment.id), "nothing was said of {}", deployment.id);
        }
        let written = effects.iter().filter_map(audit).filter_map(|audit| match &audit.event {
            AuditEvent::Said { action, .. } => Some((audit.at, audit.recommendation.clone()?, *action)),
            _ => None,
        });
        let written: BTreeSet<_> = written.collect();
        for said in effects.iter().filter_map(regression) {
            let entry = (said.at, said.thread.clone(), said.action);
            assert!(written.contains(&entry), "not written down: {} {:?}", said.thread, said.action);
        }
    });
}

#[test]
fn what_is_held_is_written_down_once_for_each_reason() {
    each_seed(&ROUGH, |_, storm| {
        let mut held = BTreeSet::new();
        for audit in play(&storm, |_| false).iter().filter_map(audit) {
            if let AuditEvent::Held { reason, .. } = audit.event {
                assert!(held.insert((audit.deployment.clone(), reason)), "{:?} twice for {reason:?}", audit.deployment);
            }
        }
        assert!(!held.is_empty(), "nothing was held: it proves nothing");
    });
}

#[test]
fn what_was_asked_for_ends() {
    each_seed(&ROUGH, |_, storm| {
        let mut lasts: BTreeMap<Arc<str>, &Recommendation> = BTreeMap::new();
        let mut asked = BTreeSet::new();
        let effects = play_out(&storm, |_| false);
        for said in effects.iter().filter_map(recommendation) {
            if said.action != Action::None {
                asked.insert(said.thread.clone());
            }
            if let Some(before) = lasts.insert(said.thread.clone(), said).filter(|before| is_last(before.lifecycle)) {
                assert_eq!(before.lifecycle, said.lifecycle, "said after its end: {}", said.summary);
            }
        }
        assert!(!asked.is_empty(), "nothing was asked for: it proves nothing");
        for thread in asked {
            assert!(is_last(lasts[&thread].lifecycle), "it never ended: {}", lasts[&thread].summary);
        }
    });
}

#[test]
fn the_order_of_answers_changes_no_end() {
    each_seed(&ORDERLY, |seed, storm| {
        let plain = play(&storm, |_| false);
        let asked = plain.iter().filter_map(asked_of_people);
        let asked: Vec<_> = asked.map(|said| (said.at, said.thread.clone())).collect();
        let mut noise = Noise::of(&format!("answers {seed}"));
        let inorder = storm.answered(&asked, &mut noise, false);
        let ends = ends(&play_out(&inorder, |_| false));
        for _ in 0..3 {
            assert_eq!(ends, self::ends(&play_out(&storm.answered(&asked, &mut noise, true), |_| false)));
        }
        assert!(ends.values().any(|end| *end == Lifecycle::Rejected), "nobody answered: it proves nothing");
    });
}

#[test]
fn the_order_of_words_changes_no_state() {
    let mut grounds = BTreeSet::new();
    each_seed(&TWO_ROUNDS, |seed, storm| {
        let storm = storm.patient();
        let plain = play(&storm, |_| false);
        let first: Vec<_> = plain.iter().filter_map(asked_of_people).filter(|said| said.at < START + SAY).collect();
        let threads: BTreeSet<_> = first.iter().map(|said| said.thread.clone()).collect();
        let mut noise = Noise::of(&format!("words {seed}"));
        let words = words(&threads.into_iter().collect::<Vec<_>>(), &mut noise);
        let state = final_state(&play_out(&storm.told(&words, None), |_| false));
        for _ in 0..4 {
            let other = play_out(&storm.told(&words, Some(&mut noise)), |_| false);
            assert_eq!(state, final_state(&other));
        }
        assert!(state.ends.values().any(|end| *end == Lifecycle::Rejected), "nobody rejected: it proves nothing");
        assert!(!state.later.is_empty() && !state.rungs.is_empty(), "nothing followed: it proves nothing");
        grounds.extend(state.rungs.iter().map(|(_, _, grounds, ..)| *grounds));
    });
    assert!(grounds.contains(&Grounds::Demoted), "no level was ever lowered: it proves nothing");
}

#[test]
fn a_rollback_is_never_rolled_back() {
    each_seed(&ROUGH, |_, storm| {
        for said in play(&storm, |_| false).iter().filter_map(asked_of_people) {
            let (action, change) = (said.action, &said.deployment);
            if change.kind == DeploymentKind::Rollback || change.reversible == Some(false) {
                assert_eq!(action, Action::Escalate, "of {}", change.id);
            }
            assert!(action == Action::Escalate || change.previous_version.is_some(), "back to where? {}", change.id);
        }
    });
}

#[test]
fn time_never_goes_back() {
    each_seed(&ROUGH, |_, storm| {
        let mut latest = Time::MIN;
        for effect in play(&storm, |_| false) {
            let at = match &effect {
                Effect::Recommend(said) => said.at,
                Effect::Audit(audit) => audit.at,
                Effect::Heartbeat(beat) => beat.at,
                Effect::Drift(drift) => drift.at,
                Effect::Accuracy(told) => told.at,
                Effect::Automation(news) => news.at,
            };
            assert!(at >= latest, "{effect:?} after {latest:?}");
            latest = at;
        }
    });
}

#[test]
fn arrival_order_within_the_lateness_changes_no_verdict() {
    each_seed(&ORDERLY, |seed, storm| {
        // A watch that the end of the recording cuts short ends with another message in another order.
        let end = storm.inputs.last().map_or(Time(0), |input| input.now) - storm.policy.watch.lateness;
        let whole = storm.deployments.iter().filter(|each| each.at + storm.policy.watch.duration <= end);
        let whole: BTreeSet<Arc<str>> = whole.map(|each| each.id.clone()).collect();
        let of_whole_watches = |effects: Vec<Effect>| -> BTreeMap<_, _> {
            verdicts(&effects).into_iter().filter(|(id, _)| whole.contains(id)).collect()
        };
        let inorder = of_whole_watches(play(&storm, |_| false));
        let shuffled = of_whole_watches(play(&storm.shuffled(seed), |_| false));
        assert_eq!(inorder, shuffled);
        assert!(
            inorder.values().any(|verdict| *verdict == VerdictKind::Regression),
            "nothing broke: it proves nothing"
        );
    });
}

#[test]
fn a_quiet_fleet_stays_quiet() {
    let storm = QUIET.storm(0);
    let verdicts = verdicts(&play(&storm, |_| false));
    assert!(verdicts.len() >= 80, "{} watches", verdicts.len());
    // The default bound is one false alarm in 200 watches: in these fewer than 200 not one is to be expected.
    let alarms: Vec<_> = verdicts.iter().filter(|(_, verdict)| **verdict == VerdictKind::Regression).collect();
    assert!(alarms.is_empty(), "{alarms:?} of {}", verdicts.len());
    let clean = verdicts.values().filter(|verdict| **verdict == VerdictKind::Clean).count();
    assert!(clean * 2 > verdicts.len(), "only {clean} of {} are clean: silence is no skill", verdicts.len());
}

fn each_seed(climate: &Climate, mut law: impl FnMut(u64, Storm)) {
    let seeds = std::env::var("STORMS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(5);
    for seed in 0..seeds {
        println!("seed {seed}");
        law(seed, climate.storm(seed));
    }
}

/// Steps a storm through an engine, ticks in between; where `stops` says so, through a checkpoint and a new engine.
fn play(storm: &Storm, stops: impl FnMut(usize) -> bool) -> Vec<Effect> {
    play_to_the_end(storm, stops).1
}

fn play_to_the_end(storm: &Storm, stops: impl FnMut(usize) -> bool) -> (Engine, Vec<Effect>) {
    play_in(Engine::default(), storm, stops)
}

fn play_in(mut engine: Engine, storm: &Storm, mut stops: impl FnMut(usize) -> bool) -> (Engine, Vec<Effect>) {
    let mut effects = Vec::new();
    for number in 0..storm.inputs.len() {
        step_with_ticks(&mut engine, storm, number, &mut effects);
        if stops(number) {
            let saved = Saved::whole(&mut engine);
            engine = saved.engine();
            assert!(Saved::whole(&mut engine) == saved, "it came back otherwise");
        }
    }
    let now = storm.inputs.last().map_or(Time(0), |input| input.now);
    engine.step(&storm.policy, &Input { now, fact: Fact::Drain }, &mut effects);
    (engine, effects)
}

fn step_with_ticks(engine: &mut Engine, storm: &Storm, number: usize, effects: &mut Vec<Effect>) {
    let input = &storm.inputs[number];
    while let Some(now) = engine.next_deadline().filter(|deadline| *deadline <= input.now) {
        engine.step(&storm.policy, &Input { now, fact: Fact::Tick }, effects);
        assert!(engine.next_deadline().is_none_or(|next| next > now), "a tick did nothing at its deadline");
    }
    engine.step(&storm.policy, input, effects);
}

/// The same with cuts, of what was changed since the last one, whose services are saved only some inputs later; now and
/// then it dies, also in the middle of a cut, and goes on from the last whole one.
fn play_dying(storm: &Storm, seed: u64) -> (Engine, Vec<Effect>) {
    let mut noise = Noise::of(&format!("deaths {seed}"));
    let (mut engine, mut effects) = (Engine::default(), Vec::new());
    let mut saved = (0, 0, Saved::whole(&mut engine));
    let mut saving: Option<(usize, usize, Cut)> = None;
    let (mut number, mut deaths) = (0, [0; 2]);
    while number < storm.inputs.len() {
        step_with_ticks(&mut engine, storm, number, &mut effects);
        number += 1;
        if noise.unit() < 0.01 && saving.is_none() {
            saving = Some((number, effects.len(), Cut::of(&mut engine, Extent::Changed)));
        } else if noise.unit() < 0.02
            && let Some((number, said, cut)) = saving.take()
        {
            saved.2.save(cut);
            (saved.0, saved.1) = (number, said);
        }
        if noise.unit() < 0.002 {
            deaths[usize::from(saving.take().is_some())] += 1;
            (number, engine) = (saved.0, saved.2.engine());
            effects.truncate(saved.1);
        }
    }
    assert!(deaths[0] > 0 && deaths[1] > 0, "died {deaths:?} times outside and within a cut: it proves nothing");
    let now = storm.inputs.last().map_or(Time(0), |input| input.now);
    engine.step(&storm.policy, &Input { now, fact: Fact::Drain }, &mut effects);
    (engine, effects)
}

/// The same while somebody edits the settings, though not the limits, the process restarts and clocks jump: for
/// stretches of the input the time of taking lies most of an hour ahead, or behind.
fn play_in_trouble(storm: &Storm, seed: u64) -> Vec<Effect> {
    let mut noise = Noise::of(&format!("trouble {seed}"));
    let mut edited = storm.policy.clone();
    edited.detection.false_alarm_rate *= 4.0;
    edited.gate.expires = Span::minutes(25);
    edited.gate.storm_size = 3;
    let (mut engine, mut effects, mut policy, mut jump) = (Engine::default(), Vec::new(), &storm.policy, Span(0));
    for input in &storm.inputs {
        if noise.unit() < 0.001 {
            policy = if noise.unit() < 0.5 { &edited } else { &storm.policy };
            engine.step(policy, &Input { now: input.now + jump, fact: Fact::PolicyChanged }, &mut effects);
        }
        if noise.unit() < 0.001 {
            jump = [Span(0), Span::minutes(50), Span(-Span::minutes(50).0)][noise.below(3) as usize];
        }
        let now = input.now + jump;
        while let Some(now) = engine.next_deadline().filter(|deadline| *deadline <= now) {
            engine.step(policy, &Input { now, fact: Fact::Tick }, &mut effects);
        }
        engine.step(policy, &Input { now, fact: input.fact.clone() }, &mut effects);
        if noise.unit() < 0.002 {
            engine = Saved::whole(&mut engine).engine();
        }
    }
    effects
}

/// Goes on for a day: longer than anything that was asked for may stand.
fn play_out(storm: &Storm, stops: impl FnMut(usize) -> bool) -> Vec<Effect> {
    let (mut engine, mut effects) = play_to_the_end(storm, stops);
    let end = storm.inputs.last().map_or(Time(0), |input| input.now) + Span::DAY;
    while let Some(now) = engine.next_deadline().filter(|due| *due <= end) {
        engine.step(&storm.policy, &Input { now, fact: Fact::Tick }, &mut effects);
    }
    effects
}

fn ends(effects: &[Effect]) -> BTreeMap<Arc<str>, Lifecycle> {
    effects.iter().filter_map(recommendation).map(|said| (said.deployment.id.clone(), said.lifecycle)).collect()
}

/// Where words have led to: threads, what is said of the next deployments, the table of accuracy, levels of automation.
#[derive(Debug, PartialEq)]
struct FinalState {
    ends: BTreeMap<Arc<str>, Lifecycle>,
    later: Vec<Later>,
    rows: Vec<Row>,
    rungs: Vec<Level>,
}

/// Of a deployment: what was said, at which level of automation, and for which reasons.
type Later = (Arc<str>, VerdictKind, Action, Automation, Vec<Reason>);
/// Of a scope: its level and why, the calls that are labelled, and how many of them were right.
type Level = (Arc<str>, Automation, Grounds, u64, u64);

fn final_state(effects: &[Effect]) -> FinalState {
    let after = START + SAY + Span::minutes(10);
    let issued = effects.iter().filter_map(recommendation).filter(|said| said.at > after && said.sequence == 0);
    let told = effects.iter().rev().find_map(|effect| match effect {
        Effect::Accuracy(told) => Some(told),
        _ => None,
    });
    let told = told.expect("a day went by");
    let rungs = told.rungs.iter();
    FinalState {
        ends: ends(effects),
        later: issued
            .map(|said| {
                let Guardrails { automation, reasons, .. } = &said.guardrails;
                (said.deployment.id.clone(), said.verdict, said.action, *automation, reasons.clone())
            })
            .collect(),
        rows: told.rows.clone(),
        rungs: rungs.map(|r| (r.service.clone(), r.level, r.grounds, r.labelled, r.right)).collect(),
    }
}

fn is_last(lifecycle: Lifecycle) -> bool {
    !matches!(lifecycle, Lifecycle::Issued | Lifecycle::Updated | Lifecycle::Approved)
}

fn assert_same(one: &[Effect], other: &[Effect]) {
    for (number, (one, other)) in one.iter().zip(other).enumerate() {
        assert_eq!(one, other, "effect {number}");
    }
    assert_eq!(one.len(), other.len());
}

/// In no stretch of time more than the burst and what was refilled in it.
fn within(limit: RateLimit, mut said: Vec<Time>) {
    said.sort_unstable();
    for (i, from) in said.iter().enumerate() {
        for (j, to) in said.iter().enumerate().skip(i) {
            let allowed = f64::from(limit.burst) + (*to - *from).as_minutes() / 60.0 * limit.per_hour;
            assert!(
                (j - i + 1) as f64 <= allowed + 1e-6,
                "{} from {from:?} to {to:?} under {limit:?}: {said:?}",
                j - i + 1
            );
        }
    }
}

/// The last that was said about each deployment.
fn verdicts(effects: &[Effect]) -> BTreeMap<Arc<str>, VerdictKind> {
    effects.iter().filter_map(recommendation).map(|said| (said.deployment.id.clone(), said.verdict)).collect()
}

fn recommendation(effect: &Effect) -> Option<&Recommendation> {
    match effect {
        Effect::Recommend(said) => Some(said),
        _ => None,
    }
}

fn audit(effect: &Effect) -> Option<&Audit> {
    match effect {
        Effect::Audit(audit) => Some(audit),
        _ => None,
    }
}

fn regression(effect: &Effect) -> Option<&Recommendation> {
    recommendation(effect).filter(|said| said.verdict == VerdictKind::Regression)
}

/// Messages that want something done, as against those that tell what became of it.
fn asked_of_people(effect: &Effect) -> Option<&Recommendation> {
    let follows = [Reason::NoAnswer, Reason::RollbackDidNotHelp];
    // These may turn down what was said already, or stand in a first message.
    let doubts = [Reason::ChangedSince, Reason::DeployedSince, Reason::ContextEvent];
    let new = |said: &&Recommendation| {
        let reasons = &said.guardrails.reasons;
        let turned = said.sequence > 0 && reasons.iter().any(|reason| doubts.contains(reason));
        let follows = turned || said.answer.is_some() || reasons.iter().any(|reason| follows.contains(reason));
        matches!(said.lifecycle, Lifecycle::Issued | Lifecycle::Updated) && !follows
    };
    regression(effect).filter(|said| said.action != Action::None).filter(new)
}
