//! What goes wrong around the daemon, one fault at a time, and what it does then; docs/faults.md has the table.
//!
//! Faults that have a test of their own (brokers that go away, kills, spoiled messages, bad configurations) are not
//! here again.

use std::fs;
use std::time::Duration;

use serde_json::json;

use crate::clock::{now_ms, wait_for};
use crate::daemon::Daemon;
use crate::http;
use crate::kafka::Kafka;
use crate::scene::Scene;
use crate::topic::Draft;
use crate::traffic::{MINUTE, Service};

const LIMIT: Duration = Duration::from_secs(60);

/// One key, so one partition.
fn bad(count: usize) -> Vec<Draft> {
    (0..count).map(|n| Draft { key: Some("a".into()), ..Draft::bytes(now_ms(), format!("bad {n}")) }).collect()
}

fn letters(scene: &Scene, count: usize) {
    wait_for("the dead letters", LIMIT, || (scene.read("dead-letter").len() >= count).then_some(()));
    assert_eq!(scene.read("dead-letter").len(), count);
}

fn log(scene: &Scene) -> String {
    fs::read_to_string(scene.log()).unwrap_or_default()
}

#[test]
fn what_retention_took_before_it_was_read_is_told_and_the_rest_is_read() {
    let scene = Scene::new(Kafka::shared(), "retention");
    let daemon = Daemon::start(&scene);
    scene.write("logs", &bad(10));
    letters(&scene, 10);
    daemon.stop();
    scene.write("logs", &bad(20));
    let partition = scene.read("logs")[0].partition;
    Kafka::shared().delete_records(&scene.topic("logs"), partition, 25);

    let daemon = Daemon::start(&scene);
    letters(&scene, 15);
    assert_eq!(daemon.metric("regressd_messages_lost_total", &[]), 15.0);
    assert!(log(&scene).contains("retention has taken messages before they were read"));
    daemon.stop();
}

#[test]
fn a_topic_that_was_made_anew_is_read_from_its_beginning() {
    let scene = Scene::new(Kafka::shared(), "anew");
    let mut daemon = Daemon::start(&scene);
    scene.write("logs", &bad(10));
    letters(&scene, 10);
    daemon.stop();
    Kafka::shared().delete_topic(&scene.topic("logs"));
    Kafka::shared().create_topics(&[(scene.topic("logs"), 2)]);
    scene.write("logs", &bad(3));

    daemon = Daemon::start(&scene);
    letters(&scene, 13);
    assert!(log(&scene).contains("it was truncated or created anew"));
    daemon.stop();
}

#[test]
fn a_state_that_cannot_be_written_keeps_everything_unsaid_and_nothing_is_lost() {
    let scene = Scene::exactly_once(Kafka::shared(), "disk", "");
    // A directory in the file's place fails the write for every user, as a full disk does.
    let obstacle = scene.folder().join("state/checkpoint.new");
    fs::create_dir_all(&obstacle).expect("the folder is writable");
    let daemon = Daemon::start(&scene);
    scene.write("logs", &bad(10));
    let answer = wait_for("the failure to show", LIMIT, || {
        http::get(scene.http(), "/readyz").ok().filter(|answer| answer.body.contains("checkpoint_failing"))
    });
    assert_eq!(answer.status, 503);
    assert!(daemon.metric("regressd_checkpoint_failures_total", &[]) >= 1.0);
    assert_eq!(scene.read("dead-letter").len(), 0, "said before it was remembered");
    fs::remove_dir(&obstacle).expect("it is empty");
    letters(&scene, 10);
    wait_for("readiness", LIMIT, || daemon.is_ready().then_some(()));
    daemon.stop();
}

#[test]
fn at_least_once_goes_on_without_a_checkpoint() {
    let scene = Scene::new(Kafka::shared(), "disk-too");
    fs::create_dir_all(scene.folder().join("state/checkpoint.new")).expect("the folder is writable");
    let daemon = Daemon::start(&scene);
    scene.write("logs", &bad(10));
    letters(&scene, 10);
    wait_for("the failure to show", LIMIT, || {
        (daemon.metric("regressd_checkpoint_failures_total", &[]) >= 1.0).then_some(())
    });
    assert!(daemon.is_ready());
    daemon.stop();
}

#[test]
fn one_clock_ahead_moves_nobody_elses_time() {
    let scene = Scene::new(Kafka::shared(), "clocks");
    let mut daemon = Daemon::start(&scene);
    let now = now_ms();
    let day = 24 * 60 * MINUTE;
    let sample = |ts: i64| json!({"ts": ts, "service": "skewed", "env": "prod", "metric": "m", "value": 1.0});
    // A fact that lies ahead, and a record that does; the broker takes no record that is more than an hour ahead.
    scene.write("metrics", &[Draft::json(now, "skewed", &sample(now + day))]);
    scene.write("metrics", &[Draft::json(now + 50 * MINUTE, "skewed", &sample(now))]);
    daemon.wait_for_messages(2, LIMIT);
    let good = Service::new("checkout").metrics(now - 4 * MINUTE, now);
    scene.write("metrics", &good);
    daemon.wait_for_messages(2 + good.len(), LIMIT);
    wait_for("the one ahead to be counted", LIMIT, || {
        (daemon.metric("regressd_dropped_total", &[("reason", "ahead")]) == 1.0).then_some(())
    });
    assert_eq!(daemon.metric("regressd_dropped_total", &[("reason", "late")]), 0.0);
    daemon.stop();
}

#[test]
fn a_flood_of_control_words_is_bounded_and_the_samples_get_through() {
    const FLOOD: usize = 100_000;
    let scene = Scene::new(Kafka::shared(), "flood");
    scene.configure("[limits]\nwindows = 100\n");
    let mut daemon = Daemon::start(&scene);
    let now = now_ms();
    let word = |n: usize| {
        let scope = json!({"env": "prod", "service": format!("service-{}", n % 1_000)});
        json!({"ts": now, "type": "mute", "scope": scope, "from": now, "to": now + 60 * MINUTE + n as i64,
            "reason": "flood", "by": "nobody"})
    };
    // A hundred words a message: the words are what costs.
    let flood: Vec<Draft> = (0..FLOOD / 100)
        .map(|n| Draft::json(now, "a", &json!((0..100).map(|m| word(n * 100 + m)).collect::<Vec<_>>())))
        .collect();
    let good = Service::new("checkout").metrics(now - 4 * MINUTE, now);
    scene.write("control", &flood);
    scene.write("metrics", &good);
    daemon.wait_for_messages(flood.len() + good.len(), LIMIT);
    wait_for("the windows to show", LIMIT, || {
        let windows = daemon.metric("regressd_windows_active", &[]);
        assert!(windows <= 100.0, "{windows} windows");
        (windows > 0.0).then_some(())
    });
    wait_for("readiness", LIMIT, || daemon.is_ready().then_some(()));
    daemon.stop();
}
