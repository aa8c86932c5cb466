//! What becomes of topics: retention that passes us, one made anew, one that grows, one that is gone, one with giants.

use std::fs;
use std::time::{Duration, Instant};

use crate::checker::{check, check_reading};
use crate::clock::{now_ms, wait_for};
use crate::daemon::Daemon;
use crate::http;
use crate::input::Input;
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

    let mut daemon = Daemon::start(&scene);
    letters(&scene, 15);
    assert_eq!(daemon.metric("regressd_messages_lost_total", &[]), 15.0);
    assert!(log(&scene).contains("retention has taken messages before they were read"));
    check_reading(&mut daemon, &scene);
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
    check_reading(&mut daemon, &scene);
    daemon.stop();
}

#[test]
fn of_what_retention_took_no_verdict_is_made() {
    let scene = Scene::new(Kafka::shared(), "gap");
    scene.configure("[watch]\nduration = \"15m\"\n");
    let now = now_ms();
    let deployed_at = now - 14 * MINUTE;
    let service = Service::new("checkout").deployed_at(deployed_at).broken();
    let mut daemon = Daemon::start(&scene);
    scene.write("metrics", &service.metrics(now - 180 * MINUTE, deployed_at));
    scene.write("deployments", &[service.deployment()]);
    wait_for("the watch to open", LIMIT, || (daemon.metric("regressd_watches", &[]) == 1.0).then_some(()));
    daemon.stop();

    // Nobody reads the first minutes of the new version. The last ones alone would be enough for a verdict.
    scene.write("metrics", &service.metrics(deployed_at, now - 10 * MINUTE));
    let last = scene.read("metrics").pop().expect("it was just written");
    Kafka::shared().delete_records(&scene.topic("metrics"), last.partition, last.offset + 1);
    daemon = Daemon::start(&scene);
    // A clock two minutes ahead, which is allowed, takes the watch to its end.
    scene.write("metrics", &service.metrics(now - 10 * MINUTE, now + 2 * MINUTE));
    let said = wait_for("the end of the watch", LIMIT, || scene.recommendations().pop());
    assert_eq!(said["data"]["verdict"], "inconclusive", "{said:#}");
    assert_eq!(said["data"]["coverage"][0]["lack"], "gap", "{said:#}");
    assert!(daemon.metric("regressd_messages_lost_total", &[]) > 0.0);
    assert!(scene.regression("deploy-checkout").is_none());
    daemon.stop();
}

#[test]
fn partitions_that_are_added_are_read_from_their_beginning() {
    let properties = "\"topic.metadata.refresh.interval.ms\" = \"2000\"\n";
    let scene = Scene::with_properties(Kafka::shared(), "grown", properties);
    let mut daemon = Daemon::start(&scene);
    scene.write("logs", &bad(10));
    letters(&scene, 10);
    Kafka::shared().grow_topic(&scene.topic("logs"), 8);
    // Before anybody has noticed: what is there already counts.
    let keyed = |n: usize| Draft { key: Some(format!("{n}")), ..Draft::bytes(now_ms(), format!("more {n}")) };
    scene.write("logs", &(0..100).map(keyed).collect::<Vec<_>>());
    let begun = Instant::now();
    letters(&scene, 110);
    println!("grown: read {:.1} s later", begun.elapsed().as_secs_f64());
    check_reading(&mut daemon, &scene);
    daemon.stop();
}

#[test]
fn an_output_topic_that_is_gone_keeps_everything_unsaid_until_it_is_back() {
    for exactly_once in [false, true] {
        let (input, _) = Input::shared();
        let scene = match exactly_once {
            true => Scene::exactly_once(Kafka::shared(), "output-once", ""),
            false => Scene::new(Kafka::shared(), "output"),
        };
        Kafka::shared().delete_topic(&scene.topic("recommendations"));
        input.write(&scene);
        let mut daemon = Daemon::launch(&scene);
        let answer = wait_for("it to be told", LIMIT, || {
            http::get(scene.http(), "/readyz").ok().filter(|answer| answer.body.contains("publish_failing"))
        });
        assert_eq!(answer.status, 503);
        assert!(daemon.messages() < input.len() as f64, "it went on taking");
        Kafka::shared().create_topics(&[(scene.topic("recommendations"), 1)]);
        input.wait_for_the_end(&mut daemon, &scene);
        check(&mut daemon, &scene);
        wait_for("readiness", LIMIT, || daemon.is_ready().then_some(()));
        daemon.stop();
    }
}

#[test]
fn messages_larger_than_a_fetch_or_a_dead_letter_hold_up_nothing() {
    let scene = Scene::new(Kafka::shared(), "giants");
    let mut daemon = Daemon::start(&scene);
    let giant = |size: usize| Draft { key: Some("a".into()), ..Draft::bytes(now_ms(), vec![b'{'; size]) };
    let sizes = [600_000, 1_500_000, 8_300_000];
    for size in sizes {
        scene.write("logs", &[giant(size)]);
        scene.write("logs", &bad(1));
    }
    letters(&scene, 6);
    let omitted: Vec<Option<String>> =
        scene.read("dead-letter").iter().map(|letter| letter.header("regressd-omitted-bytes")).collect();
    let text = |size: usize| Some(size.to_string());
    assert_eq!(omitted, [None, None, text(sizes[1]), None, text(sizes[2]), None], "whole, or size and hash");
    check_reading(&mut daemon, &scene);
    daemon.stop();
}
