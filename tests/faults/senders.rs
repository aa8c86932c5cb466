//! What senders do wrong: the same again, too late, a clock that is wrong, nonsense, far too much of it.
//!
//! Beside each wrong message stands the whole input, and what is said of that is the same as if nothing else had come.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::checker::{check, check_reading};
use crate::clock::{now_ms, wait_for};
use crate::daemon::Daemon;
use crate::input::{Input, LIMIT};
use crate::kafka::Kafka;
use crate::scene::Scene;
use crate::topic::Draft;
use crate::traffic::{MINUTE, Noise, SECOND, Service};

const DAY: i64 = 24 * 60 * MINUTE;

/// Lets a daemon read the input with more metrics among it, in order of time, and checks it.
fn among(name: &str, settings: &str, more: Vec<Draft>, also: impl FnOnce(&Daemon, &Scene)) {
    let (input, _) = Input::shared();
    let scene = Scene::new(Kafka::shared(), name);
    scene.configure(settings);
    let mut metrics = input.metrics.clone();
    metrics.extend(more);
    metrics.sort_by_key(|draft| draft.ts);
    scene.write("metrics", &metrics);
    scene.write("deployments", &input.deployments);
    let mut daemon = Daemon::start(&scene);
    input.wait_for_the_end(&mut daemon, &scene);
    check(&mut daemon, &scene);
    also(&daemon, &scene);
    daemon.stop();
}

fn outcome(daemon: &Daemon, outcome: &str) -> usize {
    daemon.metric("regressd_partition_facts_total", &[("outcome", outcome)]) as usize
}

#[test]
fn every_message_comes_twice() {
    let (input, _) = Input::shared();
    let scene = Scene::new(Kafka::shared(), "twice");
    let twice = |drafts: &[Draft]| drafts.iter().flat_map(|draft| [draft.clone(), draft.clone()]).collect::<Vec<_>>();
    scene.write("metrics", &twice(&input.metrics));
    scene.write("deployments", &twice(&input.deployments));
    let mut daemon = Daemon::start(&scene);
    input.wait_for_the_end(&mut daemon, &scene);
    check(&mut daemon, &scene);
    assert_eq!(outcome(&daemon, "duplicate"), 3 * input.metrics.len());
    daemon.stop();
}

/// Samples of a service that does well, telling of harm: whoever used them would say so.
fn harm(at: i64, ts: i64, value: f64) -> Draft {
    let sample = json!({"ts": at, "service": "service-1", "env": "prod", "version": "1.42.0", "instance": "service-1-0",
        "metric": "http.server.error_ratio", "unit": "1", "value": value});
    Draft::json(ts, "prod/service-1", &sample)
}

#[test]
fn what_is_late_ahead_or_misdated_changes_nothing() {
    const EACH: usize = 200;
    let (input, _) = Input::shared();
    let moments = (1..=EACH as i64).map(|n| input.end - 40 * MINUTE + n * 10 * SECOND);
    let more: Vec<Draft> = moments
        .flat_map(|ts| {
            // Half an hour late; a day ahead; in seconds; in nanoseconds; of 2038; of 1970.
            [ts - 30 * MINUTE, ts + DAY, ts / 1_000, ts * 1_000_000, 2_147_483_648_000, 0].map(|at| harm(at, ts, 0.9))
        })
        .collect();
    among("misdated", "", more, |daemon, _| {
        assert_eq!(outcome(daemon, "late"), EACH);
        assert_eq!(outcome(daemon, "ahead"), 2 * EACH);
        assert_eq!(daemon.metric("regressd_dead_letters_total", &[("reason", "bad_timestamp")]), 3.0 * EACH as f64);
    });
}

#[test]
fn one_clock_ahead_moves_nobody_elses_time() {
    let scene = Scene::new(Kafka::shared(), "clocks");
    let mut daemon = Daemon::start(&scene);
    let now = now_ms();
    let sample = |ts: i64| json!({"ts": ts, "service": "skewed", "env": "prod", "metric": "m", "value": 1.0});
    // A fact that lies ahead, and a record that does; the broker takes no record that is more than an hour ahead.
    scene.write("metrics", &[Draft::json(now, "skewed", &sample(now + DAY))]);
    scene.write("metrics", &[Draft::json(now + 50 * MINUTE, "skewed", &sample(now))]);
    daemon.wait_for_messages(2, LIMIT);
    let good = Service::new("checkout").metrics(now - 4 * MINUTE, now);
    scene.write("metrics", &good);
    daemon.wait_for_messages(2 + good.len(), LIMIT);
    wait_for("the one ahead to be counted", LIMIT, || {
        (daemon.metric("regressd_dropped_total", &[("reason", "ahead")]) == 1.0).then_some(())
    });
    assert_eq!(daemon.metric("regressd_dropped_total", &[("reason", "late")]), 0.0);
    check_reading(&mut daemon, &scene);
    daemon.stop();
}

/// Every message of the kept corpus, and those that are too large to keep.
fn nasty() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nasty");
    let entries = fs::read_dir(folder).expect("the corpus is there");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let mut messages: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).expect("it can be read")).collect();
    let text = "x".repeat(400_000);
    messages.push(vec![b'['; 10_000]);
    messages.push(b"{\"a\":".repeat(10_000));
    messages.push(json!({"ts": now_ms(), "service": text, "metric": "m", "value": 1}).to_string().into_bytes());
    messages.push(
        json!({"ts": now_ms(), "service": "s", "metric": "m", "value": 1, "labels": {"a": text}})
            .to_string()
            .into_bytes(),
    );
    messages.push(vec![b' '; 8_000_000]);
    messages.push(vec![0xff; 1 << 20]);
    messages
}

#[test]
fn nasty_messages_on_every_topic_change_nothing() {
    let (input, _) = Input::shared();
    let scene = Scene::new(Kafka::shared(), "nasty");
    input.write(&scene);
    for kind in ["metrics", "logs", "deployments", "control"] {
        let letters = nasty().into_iter().zip(0..).map(|(payload, n)| Draft {
            key: Some(format!("{n}")),
            ..Draft::bytes(input.end - 50 * MINUTE + n * SECOND, payload)
        });
        let gone = Draft { ts: input.end - 50 * MINUTE, key: Some("gone".into()), payload: None };
        scene.write(kind, &letters.chain([gone]).collect::<Vec<_>>());
    }
    let mut daemon = Daemon::start(&scene);
    input.wait_for_the_end(&mut daemon, &scene);
    check(&mut daemon, &scene);
    println!("nasty: {} dead letters, {:.0} MB", outcome(&daemon, "dead_letter"), daemon.memory() / 1e6);
    daemon.stop();
}

#[test]
fn series_without_end_are_dropped_and_the_others_keep_their_verdicts() {
    const PER_MESSAGE: usize = 100;
    let count = if crate::is_long() { 5_000_000 } else { 100_000 };
    let (input, _) = Input::shared();
    let begin = input.end - 100 * MINUTE;
    let message = |n: usize| {
        let ts = begin + 90 * MINUTE * n as i64 / (count / PER_MESSAGE) as i64;
        let samples: Vec<Value> = (0..PER_MESSAGE)
            .map(|m| {
                json!({"ts": ts, "service": "exploding", "env": "prod", "instance": format!("pod-{n}-{m}"),
                    "metric": "m", "labels": {"id": format!("{n}-{m}")}, "value": 1.0})
            })
            .collect();
        Draft::json(ts, &format!("{n}"), &json!(samples))
    };
    let more = (0..count / PER_MESSAGE).map(message).collect();
    among("series", "[limits]\nseries = 2000\nsignals = 1000\n", more, |daemon, _| {
        let (overflow, series) = (outcome(daemon, "overflow"), daemon.metric("regressd_series", &[]));
        println!("series: {count} new ones, {overflow} dropped, {series} kept, {:.0} MB", daemon.memory() / 1e6);
        assert!(series <= 2000.0);
        assert!(overflow > count - 2000 && overflow <= count);
    });
}

#[test]
fn a_flood_of_control_words_is_bounded_and_the_samples_get_through() {
    let messages = if crate::is_long() { 100_000 } else { 20_000 };
    let (input, _) = Input::shared();
    let scene = Scene::new(Kafka::shared(), "flood");
    scene.configure("[limits]\nwindows = 100\n");
    let begin = input.end - 100 * MINUTE;
    // Another environment's: what is muted is muted, flood or not.
    let word = |n: usize| {
        let ts = begin + 90 * MINUTE * n as i64 / messages as i64;
        let scope = json!({"env": "lab", "service": format!("service-{}", n % 1_000)});
        let word = json!({"ts": ts, "type": "mute", "scope": scope, "from": ts, "to": ts + 60 * MINUTE + n as i64,
            "reason": "flood", "by": "nobody"});
        Draft::json(ts, "a", &word)
    };
    scene.write("control", &(0..messages).map(word).collect::<Vec<_>>());
    input.write(&scene);
    let mut daemon = Daemon::start(&scene);
    wait_for("the windows to show", LIMIT, || {
        let windows = daemon.metric("regressd_windows_active", &[]);
        assert!(windows <= 100.0, "{windows} windows");
        (windows > 0.0).then_some(())
    });
    input.wait_for_the_end(&mut daemon, &scene);
    check(&mut daemon, &scene);
    println!("flood: {messages} words, {:.0} MB", daemon.memory() / 1e6);
    daemon.stop();
}

#[test]
fn samples_out_of_order_within_the_lateness_lead_to_the_same_verdicts() {
    let (input, undisturbed) = Input::shared();
    let scene = Scene::new(Kafka::shared(), "shuffled");
    let mut noise = Noise::new("shuffled");
    // Each is sent up to half a minute later than it tells of.
    let mut metrics: Vec<Draft> = input.metrics.clone();
    metrics.iter_mut().for_each(|draft| draft.ts += noise.below(30) as i64 * SECOND);
    metrics.sort_by_key(|draft| draft.ts);
    scene.write("metrics", &metrics);
    scene.write("deployments", &input.deployments);
    let mut daemon = Daemon::start(&scene);
    input.wait_for_the_end(&mut daemon, &scene);
    check_reading(&mut daemon, &scene);
    let (said, expected) = (Input::accused(&input.said(&scene)), Input::accused(undisturbed));
    assert_eq!(said, expected, "order changed a verdict");
    daemon.stop();
}

/// A producer's queue of ten, and nothing may be lost by that.
#[test]
fn a_full_producer_queue_only_slows_it_down() {
    const BAD: usize = 3_000;
    let properties = "\"queue.buffering.max.messages\" = \"10\"\n\"linger.ms\" = \"0\"\n";
    let scene = Scene::with_properties(Kafka::shared(), "queue", properties);
    scene.configure("[dead_letters]\nin_a_row = 0\nshare = 1.0\n");
    let bad: Vec<Draft> = (0..BAD).map(|n| Draft::bytes(now_ms(), format!("bad {n}"))).collect();
    scene.write("logs", &bad);
    let mut daemon = Daemon::start(&scene);
    daemon.wait_for_messages(BAD, Duration::from_secs(60));
    check_reading(&mut daemon, &scene);
    assert_eq!(scene.read("dead-letter").len(), BAD);
    daemon.stop();
}
