//! The stated budget of false alarms, held against simulated watches in which nothing ever happens.
//!
//! Ten kinds of noise, fixed seeds: a failure is one for good. `cargo bench --bench aa` asks the same of a hundred
//! thousand watches. It says nothing about what is caught; stories and `benches/quality.rs` do.

#[path = "../benches/made/kinds.rs"]
mod kinds;
#[path = "stories/noise.rs"]
mod noise;
#[path = "../benches/made/nothing.rs"]
mod nothing;
#[path = "../benches/made/share.rs"]
mod share;

use kinds::{KINDS, Kind};
use noise::Noise;
use nothing::{Nothing, Said, Style};
use regressd::engine::Engine;
use regressd::engine::effect::{Effect, Evidence};
use regressd::engine::event::{Deployment, Fact, Input, Origin, Reading, Sample};
use regressd::engine::policy::Policy;
use regressd::engine::time::Time;
use share::Share;

/// No kind of noise may have more than four times its share.
const WORST_KIND: f64 = 4.0;

#[test]
fn the_stated_budget_is_kept() {
    let policy = Policy::default();
    let budget = policy.detection.false_alarm_rate;
    let (mut all, mut sum) = (Share::default(), Said::default());
    for kind in KINDS {
        let (share, said) = watch(kind, 8, &policy);
        sum.add(&said);
        let (least, _) = share.interval();
        assert!(least <= WORST_KIND * budget, "{}: {} of {}", kind.word(), share.hits(), share.of());
        all.extend(&share);
    }
    let (least, _) = all.interval();
    assert!(least <= budget, "{} of {} watches cried wolf, at best {least:.4}", all.hits(), all.of());
    assert_eq!(all.of(), 2_000);
    // Being blind would be the easiest way to be silent.
    assert!(sum.clean * 10 >= sum.watches * 9, "{} of {} clean", sum.clean, sum.watches);
}

#[test]
fn a_budget_that_is_given_is_used() {
    let (share, _) = restless(f64::MAX);
    let (least, most) = share.interval();
    assert!(least > Policy::default().detection.false_alarm_rate, "{} of {}", share.hits(), share.of());
    assert!(most < 0.5, "{} of {}", share.hits(), share.of());
}

#[test]
fn the_budget_of_a_week_binds_where_it_is_the_tighter() {
    let (ample, _) = restless(f64::MAX);
    let (share, said) = restless(1.0);
    assert!(share.hits() < ample.hits(), "{} of {}, {} without it", share.hits(), share.of(), ample.hits());
    // So many weeks allow so many, and luck twice its standard deviation more.
    let most = said.weeks + 2.0 * (said.weeks * share.design_effect()).sqrt();
    assert!(share.hits() as f64 <= most, "{} in {:.1} weeks", share.hits(), said.weeks);
}

#[test]
fn intervals_hold_the_change_that_was_made() {
    let (mut held, mut told) = (0, 0);
    for number in 0..60 {
        let factor = 1.3 + 0.05 * f64::from(number % 20);
        let true_change = LEVEL * (factor - 1.0);
        for evidence in stepped(number, factor) {
            let interval = evidence.interval;
            assert!(interval.lower <= interval.upper && interval.lower > 0.0, "{evidence:?}");
            held += u32::from(interval.lower <= true_change && true_change <= interval.upper);
            told += 1;
        }
    }
    // Told in the minute in which it first surprised, from two minutes as a rule.
    assert!(told >= 60 && held * 100 >= told * 90, "{held} of {told}");
    assert!(held < told, "an interval that holds everything says nothing");
}

const LEVEL: f64 = 100.0;

/// What is told of a latency that is so many times as long from a deployment on.
fn stepped(number: u32, factor: f64) -> Vec<Evidence> {
    let policy = Policy::default();
    let mut noise = Noise::of(&format!("stepped {number}"));
    let (mut engine, mut effects) = (Engine::default(), Vec::new());
    for minute in 0..1_500 {
        let at = Time(60_000 * (1_789_948_800 / 60 + minute) + 5_000);
        if minute == 1_440 {
            let deployment = Deployment::new(at, "d1", "checkout", "prod");
            engine.step(&policy, &Input { now: at, fact: Fact::Deployment(deployment) }, &mut effects);
        }
        let level = LEVEL * (1.0 + 0.05 * noise.normal());
        let sample = Sample {
            at,
            origin: Origin { service: "checkout".into(), env: "prod".into(), version: None, instance: None },
            metric: "http.server.latency_ms".into(),
            reading: Reading::Gauge(if minute > 1_440 { level * factor } else { level }),
            unit: None,
            labels: Vec::new(),
        };
        while let Some(due) = engine.next_deadline().filter(|due| *due <= at) {
            engine.step(&policy, &Input { now: due, fact: Fact::Tick }, &mut effects);
        }
        engine.step(&policy, &Input { now: at, fact: Fact::Sample(sample) }, &mut effects);
    }
    let said = effects.into_iter().filter_map(|effect| match effect {
        Effect::Recommend(said) => said.evidence.into_iter().next(),
        _ => None,
    });
    said.collect()
}

/// The kinds of noise that cry wolf soonest, each watch by itself allowed to every second time.
fn restless(per_week: f64) -> (Share, Said) {
    let mut policy = Policy::default();
    policy.detection.false_alarm_rate = 0.5;
    policy.detection.false_alarms_per_week = per_week;
    let (mut all, mut sum) = (Share::default(), Said::default());
    for kind in [Kind::Sluggish, Kind::Drifting, Kind::Bursty] {
        let (share, said) = watch(kind, 4, &policy);
        all.extend(&share);
        sum.add(&said);
    }
    (all, sum)
}

/// 25 watches on each of so many histories.
fn watch(kind: Kind, histories: u64, policy: &Policy) -> (Share, Said) {
    let (mut share, mut sum) = (Share::default(), Said::default());
    for number in 0..histories {
        let style = if number % 2 == 0 { Style::Whole } else { Style::Canary };
        // A day and a half, so that there is a past, and some of it is another day's.
        let said = Nothing { kind, style, number, watches: 25, learned: 2_160, signals: 1 }.watch(policy);
        share.add(said.regressions, said.watches);
        sum.add(&said);
    }
    (share, sum)
}
