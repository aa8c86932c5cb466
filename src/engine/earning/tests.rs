//! Levels that move: down by themselves, up by a person, in whichever order the words arrive.

use super::*;
use crate::engine::effect::VerdictKind;
use crate::engine::event::{About, Feedback, Word};
use crate::engine::gate::tests::deployment;
use crate::engine::policy::{Bar, Glob};
use crate::engine::time::Span;
use crate::engine::verdict::Verdict;

fn minutes(n: i64) -> Time {
    Time(0) + Span::minutes(n)
}

fn policy(level: Automation) -> Policy {
    let rule = AutomationRule { service: Glob("a".into()), level, ..AutomationRule::default() };
    let mut policy = Policy { automation: vec![rule], ..Policy::default() };
    policy.earning.recommend = Bar { sample: 6, precision: 0.6 };
    policy.earning.advise = Bar { sample: 4, precision: 0.2 };
    policy
}

/// So many deployments, five minutes apart, all of them called when they were made.
fn called(count: i64) -> Cases {
    let mut cases = Cases::default();
    for n in 0..count {
        let (id, at) = (format!("d{n}"), minutes(5 * n));
        let deployed = Arc::new(deployment("a", &id, at));
        cases.open(&Policy::default(), at, &id.as_str().into(), &deployed);
        let evidence = Vec::new();
        let (coverage, shares) = (Vec::new(), Vec::new());
        cases.call(at, &id, &Verdict { kind: VerdictKind::Regression, risk: 1.0, evidence, coverage, shares });
    }
    cases
}

struct Scene {
    policy: Policy,
    cases: Cases,
    earning: Earning,
}

impl Scene {
    fn new(level: Automation, called: i64) -> Scene {
        Scene { policy: policy(level), cases: self::called(called), earning: Earning::default() }
    }

    /// Somebody says of a case whether it was right; what happens to the level.
    fn label(&mut self, number: i64, at: i64, right: bool) -> Vec<(Change, Automation)> {
        let about = About::Recommendation(format!("d{number}").into());
        let word = if right { Feedback::Correct } else { Feedback::FalseAlarm };
        let label = self.cases.feed_back(&about, minutes(at), word).1;
        let news = label.map(|label| self.earning.labelled(&self.policy, minutes(at), &self.cases, &label));
        news.unwrap_or_default().into_iter().map(|news| (news.change, news.to)).collect()
    }

    fn set(&mut self, at: i64, level: Automation) -> (Heard, Vec<(Change, Automation)>) {
        let scope = Scope { env: None, service: Some("a".into()) };
        let word = Word::Automation { scope: scope.clone(), level };
        let control = Control { at: minutes(at), by: Some("ana".into()), word };
        let (heard, news) = self.earning.hear(&self.policy, minutes(at), &self.cases, &control, (&scope, level));
        (heard, news.into_iter().map(|news| (news.change, news.to)).collect())
    }

    fn level(&self) -> (Automation, Grounds) {
        let InForce { level, grounds } = self.earning.level(&self.policy, "prod", "a");
        (level, grounds)
    }
}

use Automation::{Advise, Recommend, Shadow};

#[test]
fn falls_at_once_and_as_far_as_it_must() {
    let mut scene = Scene::new(Recommend, 20);
    assert_eq!(scene.level(), (Recommend, Grounds::Configured));
    for n in 0..4 {
        assert_eq!(scene.label(n, 100 + n, true), []);
    }
    assert_eq!(scene.label(4, 104, false), []);
    assert_eq!(scene.label(5, 105, false), [(Change::Demoted, Advise)], "4 of 6 are too few to be sure of six in ten");
    assert_eq!(scene.level(), (Advise, Grounds::Demoted));
    let mut down = Vec::new();
    for n in 6..12 {
        down.extend(scene.label(n, 100 + n, false));
    }
    assert_eq!(down, [(Change::Demoted, Shadow)]);
}

#[test]
fn few_labels_that_all_speak_against_it_are_enough() {
    let mut scene = Scene::new(Recommend, 3);
    assert_eq!((scene.label(0, 100, false), scene.label(1, 101, false)), (vec![], vec![]));
    assert_eq!(scene.label(2, 102, false), [(Change::Demoted, Advise)]);
}

#[test]
fn what_comes_after_a_demotion_does_not_lift_it() {
    let mut scene = Scene::new(Recommend, 60);
    scene.policy.earning.advise = Bar { sample: 20, precision: 0.2 };
    for n in 0..3 {
        scene.label(n, 100 + n, false);
    }
    assert_eq!(scene.level(), (Advise, Grounds::Demoted));
    let mut news = Vec::new();
    for n in 3..60 {
        news.extend(scene.label(n, 100 + n, true));
    }
    assert_eq!(news, [(Change::Offered, Recommend)], "a person may lift it, and is asked once");
    assert_eq!(scene.level(), (Advise, Grounds::Demoted));
    assert_eq!(scene.set(50, Recommend), (Heard::Taken, vec![(Change::Decided, Recommend)]));
    assert_eq!(scene.level(), (Recommend, Grounds::Decided));
}

#[test]
fn who_takes_their_words_back_lifts_what_these_led_to() {
    let mut scene = Scene::new(Recommend, 3);
    for n in 0..3 {
        scene.label(n, 100 + n, false);
    }
    assert_eq!(scene.level(), (Advise, Grounds::Demoted));
    assert_eq!(scene.label(1, 110, true), [(Change::Reinstated, Recommend)]);
    assert_eq!(scene.level(), (Recommend, Grounds::Configured));
}

#[test]
fn a_decision_counts_from_when_it_was_made() {
    let mut scene = Scene::new(Recommend, 9);
    assert_eq!(scene.set(22, Recommend).0, Heard::Taken);
    assert_eq!(scene.set(22, Recommend).0, Heard::Repeated);
    assert_eq!(scene.set(22, Shadow).0, Heard::Taken, "of two at one moment the one that may do less");
    assert_eq!(scene.set(22, Recommend).0, Heard::AlreadyDecided);
    assert_eq!(scene.set(23, Recommend).0, Heard::Taken);
    assert_eq!(scene.set(21, Shadow).0, Heard::AlreadyDecided);
    // Called at minutes 0 to 20: before the decision.
    for n in 0..5 {
        assert_eq!(scene.label(n, 100 + n, false), []);
    }
    assert_eq!(scene.level(), (Recommend, Grounds::Decided));
    for n in 5..8 {
        scene.label(n, 100 + n, false);
    }
    assert_eq!(scene.level(), (Advise, Grounds::Demoted));
}

#[test]
fn only_who_may_and_only_scopes_there_are() {
    let mut scene = Scene::new(Advise, 0);
    let hear = |scene: &mut Scene, service: Option<&str>, by: &str| {
        let scope = Scope { env: None, service: service.map(Into::into) };
        let word = Word::Automation { scope: scope.clone(), level: Shadow };
        let control = Control { at: minutes(1), by: Some(by.into()), word };
        scene.earning.hear(&scene.policy, minutes(1), &scene.cases, &control, (&scope, Shadow)).0
    };
    assert_eq!(hear(&mut scene, Some("b"), "ana"), Heard::Unknown, "no rule has these patterns");
    assert_eq!(hear(&mut scene, None, "ana"), Heard::Taken, "everybody without a rule");
    scene.policy.automation[0].by = vec![Glob("sre-*".into())];
    assert_eq!(hear(&mut scene, Some("a"), "ana"), Heard::NotEntitled);
    assert_eq!(hear(&mut scene, Some("a"), "sre-ben"), Heard::Taken);
    assert_eq!(scene.earning.level(&scene.policy, "prod", "b").level, Shadow);
}

#[test]
fn another_configuration_begins_anew() {
    let mut scene = Scene::new(Recommend, 6);
    for n in 0..3 {
        scene.label(n, 100 + n, false);
    }
    let Scene { policy, cases, earning } = &mut scene;
    assert!(earning.configured(policy, minutes(110), cases).is_empty());
    assert_eq!(earning.level(policy, "prod", "a").level, Advise, "the same level stands as it stood");
    policy.automation[0].level = Advise;
    earning.configured(policy, minutes(120), cases);
    policy.automation[0].level = Recommend;
    earning.configured(policy, minutes(130), cases);
    let begun = InForce { level: Recommend, grounds: Grounds::Configured };
    assert_eq!(earning.level(policy, "prod", "a"), begun);
    assert_eq!(scene.label(3, 140, false), [], "what was called before the change counts no more");

    let mut off = Scene::new(Recommend, 3);
    off.policy.earning.enabled = false;
    for n in 0..3 {
        assert_eq!(off.label(n, 100 + n, false), []);
    }
    assert_eq!(off.level(), (Recommend, Grounds::Configured));
}

#[test]
fn the_order_of_words_makes_no_difference() {
    let mut levels = Vec::new();
    for turn in 0..7 {
        let mut scene = Scene::new(Recommend, 6);
        for step in 0..14 {
            match (step + turn) % 7 {
                0 => drop(scene.label(0, 100, false)),
                1 => drop(scene.label(1, 101, false)),
                2 => drop(scene.label(2, 102, false)),
                3 => drop(scene.label(3, 103, false)),
                4 => drop(scene.label(1, 104, true)),
                5 => drop(scene.set(3, Recommend)),
                _ => drop(scene.label(4, 99, true)),
            }
        }
        levels.push(scene.level());
    }
    assert_eq!(levels, vec![levels[0]; 7]);
    assert_eq!(levels[0], (Recommend, Grounds::Decided), "2 wrong of 4 that count are not enough to be sure");
}

#[test]
fn intervals_ask_for_more_than_shares() {
    let bar = Bar { sample: 10, precision: 0.6 };
    assert!(!bars::is_earned(bar, Score { labelled: 9, right: 9 }), "too few");
    assert!(!bars::is_earned(bar, Score { labelled: 10, right: 8 }), "8 of 10 may be luck");
    assert!(bars::is_earned(bar, Score { labelled: 100, right: 75 }));
}
