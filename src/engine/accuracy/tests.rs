//! Labels and what is counted: which source speaks, in which order, and what stays unlabelled.

use super::*;
use crate::engine::effect::{Action, Answer, Automation, Grounds, Guardrails, Outcome, Tally};
use crate::engine::gate::tests::deployment;
use crate::engine::time::Span;

fn minutes(n: i64) -> Time {
    Time(0) + Span::minutes(n)
}

/// Cases of the service `a`, each deployed at a minute; those that are called are called five minutes later.
fn cases(of: &[(&str, i64, bool)]) -> Cases {
    let mut cases = Cases::default();
    for (id, at, called) in of {
        let deployed = Arc::new(deployment("a", id, minutes(*at)));
        cases.open(&Policy::default(), minutes(*at), &(*id).into(), &deployed);
        if *called {
            let found = Verdict {
                kind: VerdictKind::Regression,
                risk: 0.97,
                evidence: Vec::new(),
                coverage: Vec::new(),
                shares: Vec::new(),
            };
            cases.call(minutes(at + 5), id, &found);
        }
        cases.close(id, VerdictKind::Clean, Some(0.02));
    }
    cases
}

fn about(id: &str) -> About {
    About::Recommendation(id.into())
}

fn message(id: &str, lifecycle: Lifecycle, answer: Option<Answer>) -> Recommendation {
    Recommendation {
        thread: id.into(),
        sequence: 1,
        at: minutes(30),
        lifecycle,
        action: Action::Rollback,
        verdict: VerdictKind::Regression,
        risk: 1.0,
        deployment: Arc::new(deployment("a", id, minutes(0))),
        summary: String::new(),
        evidence: Vec::new(),
        coverage: Vec::new(),
        guardrails: Guardrails {
            automation: Automation::Recommend,
            grounds: Grounds::Configured,
            requires_approval: true,
            approvals: 1,
            answer_by: None,
            escalate_to: None,
            expires: None,
            cooldown_until: None,
            members: Vec::new(),
            stacked: Vec::new(),
            rollout: None,
            reasons: Vec::new(),
        },
        considered: Vec::new(),
        shares: Vec::new(),
        answer,
    }
}

fn rejected(id: &str, outcome: Heard) -> Recommendation {
    let answer = Answer { by: "ana".into(), decision: Decision::Rejected, outcome };
    message(id, Lifecycle::Rejected, Some(answer))
}

fn outcome(cases: &Cases, id: &str) -> Option<Outcome> {
    cases.get(id).and_then(Case::outcome)
}

fn all(cases: &Cases) -> Tally {
    let report = cases.report(&Policy::default(), minutes(100), Vec::new());
    report.rows.iter().find(|row| row.env.is_none() && row.detector.is_none()).expect("the fleet has a row").tally
}

#[test]
fn what_nobody_labelled_is_unlabelled() {
    let cases = cases(&[("called", 0, true), ("quiet", 10, false)]);
    assert_eq!(outcome(&cases, "called"), Some(Outcome::Unlabelled));
    assert_eq!(outcome(&cases, "quiet"), Some(Outcome::Quiet));
    let tally = all(&cases);
    assert_eq!((tally.precision(), tally.recall()), (None, None), "nothing is known, and nothing is told");
}

#[test]
fn the_strongest_source_speaks_and_of_it_the_latest() {
    let policy = Policy::default();
    let mut cases = cases(&[("d", 0, true)]);
    let mut back = deployment("a", "r", minutes(20));
    back.version = Some("d-old".into());
    assert_eq!(cases.deployed(&policy, &back, |_| false).len(), 1);
    assert_eq!(outcome(&cases, "d"), Some(Outcome::Right));
    assert!(cases.shown(&rejected("d", Heard::NotEntitled), minutes(21)).is_none());
    assert!(cases.shown(&rejected("d", Heard::Taken), minutes(21)).is_some());
    assert_eq!(outcome(&cases, "d"), Some(Outcome::FalseAlarm));
    assert!(cases.shown(&message("d", Lifecycle::Verified, None), minutes(30)).is_none(), "a person has spoken");
    assert_eq!(cases.feed_back(&about("d"), minutes(5), Feedback::Correct).0, Heard::Taken, "old, but said");
    assert_eq!(outcome(&cases, "d"), Some(Outcome::Right));
    assert_eq!(cases.feed_back(&about("d"), minutes(50), Feedback::FalseAlarm).0, Heard::Taken);
    assert_eq!(cases.feed_back(&about("d"), minutes(40), Feedback::Correct).0, Heard::AlreadyDecided);
    assert_eq!(cases.feed_back(&about("d"), minutes(50), Feedback::FalseAlarm), (Heard::Repeated, None));
    assert_eq!(outcome(&cases, "d"), Some(Outcome::FalseAlarm));
    assert_eq!(cases.feed_back(&about("nobody"), minutes(50), Feedback::Correct).0, Heard::Unknown);
    assert_eq!(cases.feed_back(&About::Deployment("nobody".into()), minutes(50), Feedback::Missed).0, Heard::Unknown);
}

#[test]
fn words_in_any_order_make_one_label() {
    let words = [(10, Feedback::Correct), (20, Feedback::FalseAlarm), (20, Feedback::Correct), (15, Feedback::Missed)];
    for turn in 0..words.len() {
        let mut cases = cases(&[("d", 0, true)]);
        for (at, word) in words.iter().cycle().skip(turn).take(2 * words.len()) {
            cases.feed_back(&about("d"), minutes(*at), *word);
        }
        let label = cases.get("d").and_then(Case::label).expect("it is labelled");
        assert_eq!((label.at, label.harmful), (minutes(20), false), "from the {turn}th on");
    }
}

#[test]
fn a_rollback_of_what_was_not_called_is_a_miss() {
    let policy = Policy::default();
    let mut back = deployment("a", "r", minutes(40));
    back.version = Some("d-old".into());
    let mut one = cases(&[("d", 0, false)]);
    assert_eq!(one.deployed(&policy, &back, |_| false).len(), 1);
    assert_eq!(outcome(&one, "d"), Some(Outcome::Missed));
    assert_eq!(all(&one).recall().map(|share| share.estimate), Some(0.0));

    let mut late = cases(&[("d", 0, true)]);
    let afterwards = Deployment { at: minutes(200), ..back.clone() };
    assert!(late.deployed(&policy, &afterwards, |_| false).is_empty(), "its watch is long over");
    assert_eq!(late.deployed(&policy, &afterwards, |thread| thread == "d").len(), 1, "but its thread is open");

    let onward = deployment("a", "next", minutes(40));
    assert!(cases(&[("d", 0, true)]).deployed(&policy, &onward, |_| true).is_empty(), "the next is no way back");
}

#[test]
fn over_several_releases_only_what_was_called_is_meant() {
    let policy = Policy::default();
    let mut cases = cases(&[("d1", 0, false), ("d2", 10, true), ("d3", 20, false)]);
    let mut back = deployment("a", "r", minutes(40));
    back.version = Some("d1-old".into());
    let labels: Vec<_> = cases.deployed(&policy, &back, |_| false).into_iter().map(|label| label.thread).collect();
    assert_eq!(labels, ["d2".into()]);
    assert_eq!(outcome(&cases, "d1"), Some(Outcome::Quiet), "nobody knows which of them it was");
}

#[test]
fn going_forward_again_blames_no_rollback() {
    let policy = Policy::default();
    let mut cases = cases(&[("d", 0, true)]);
    let mut back = deployment("a", "r", minutes(20));
    (back.version, back.previous_version) = (Some("d-old".into()), Some("d-new".into()));
    cases.deployed(&policy, &back, |_| false);
    cases.open(&policy, minutes(20), &"r".into(), &Arc::new(back.clone()));
    let mut again = deployment("a", "d2", minutes(30));
    (again.version, again.previous_version) = (Some("d-new".into()), Some("d-old".into()));
    assert!(cases.deployed(&policy, &again, |_| false).is_empty());
    assert!(cases.get("r").is_some_and(|case| case.label().is_none()));
}

#[test]
fn correct_means_what_the_verdict_was() {
    let mut cases = cases(&[("called", 0, true), ("quiet", 10, false)]);
    for id in ["called", "quiet"] {
        cases.feed_back(&about(id), minutes(90), Feedback::Correct);
    }
    assert_eq!((outcome(&cases, "called"), outcome(&cases, "quiet")), (Some(Outcome::Right), Some(Outcome::Cleared)));
    let tally = all(&cases);
    assert_eq!(tally.detection, Some((Span::minutes(5), Span::minutes(5))));
    assert_eq!(tally.recall().map(|share| share.estimate), Some(1.0));
}

#[test]
fn risks_are_held_against_what_they_came_to() {
    let mut cases = cases(&[("a", 0, true), ("b", 1, true), ("c", 2, true), ("quiet", 3, false)]);
    cases.feed_back(&about("a"), minutes(90), Feedback::Correct);
    cases.feed_back(&about("b"), minutes(90), Feedback::FalseAlarm);
    let bins = cases.report(&Policy::default(), minutes(100), Vec::new()).calibration;
    let bin = bins.iter().find(|bin| bin.from <= 0.97 && 0.97 < bin.to).expect("it lies in one");
    assert_eq!((bin.labelled, bin.harmful, bin.unlabelled), (2, 1, 1));
    assert!((bin.risk - 0.97).abs() < 1e-9);
    assert_eq!(bins[0].unlabelled, 1, "what was not called counts where its risk was");
}

#[test]
fn what_is_long_ago_counts_no_more() {
    let mut policy = Policy::default();
    policy.accuracy.over = Span::DAY;
    let mut cases = cases(&[("d", 0, true)]);
    cases.feed_back(&about("d"), minutes(10), Feedback::Correct);
    let day = Span::DAY + Span::HOUR;
    assert!(cases.is_due(&policy, Time(0) + day), "a day is over");
    assert!(!cases.is_due(&policy, Time(0) + day), "once");
    assert_eq!(cases.feed_back(&about("d"), minutes(11), Feedback::FalseAlarm).0, Heard::Unknown);
    assert_eq!(cases.forgotten(), 0, "that is no want of room");
}
