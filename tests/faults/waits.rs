//! Time as a fault: a long silence and then a message, and hours of backlog.

use std::sync::Arc;
use std::time::{Duration, Instant};

use regressd::engine::time::Span;
use regressd::shell::clock::set_by;
use regressd::shell::config::Config;
use regressd::shell::run::{Daemon as Inside, Options};

use crate::checker::check_reading;
use crate::clock::{now_ms, wait_for};
use crate::daemon::{Daemon, sum_of};
use crate::http;
use crate::input::LIMIT;
use crate::kafka::Kafka;
use crate::scene::Scene;
use crate::topic::Draft;
use crate::traffic::{MINUTE, Service};

#[test]
fn after_a_silence_the_first_message_is_taken_at_once() {
    let silence = Duration::from_secs(if crate::is_long() { 600 } else { 20 });
    let scene = Scene::new(Kafka::shared(), "silence");
    let mut daemon = Daemon::start(&scene);
    scene.write("logs", &[Draft::bytes(now_ms(), "bad")]);
    daemon.wait_for_messages(1, LIMIT);
    std::thread::sleep(silence);
    let begun = Instant::now();
    scene.write("logs", &[Draft::bytes(now_ms(), "bad")]);
    let written = begun.elapsed();
    daemon.wait_for_messages(2, LIMIT);
    let taken = begun.elapsed();
    println!("silence: {silence:?}, then written in {written:?} and taken after {taken:?}");
    assert!(taken < written + Duration::from_millis(1_500), "taken only after {taken:?}");
    // And the burst that follows.
    let burst: Vec<Draft> = (0..2_000).map(|n| Draft::bytes(now_ms(), format!("bad {n}"))).collect();
    scene.configure("[dead_letters]\nin_a_row = 0\nshare = 1.0\n");
    scene.write("logs", &burst);
    daemon.wait_for_messages(2 + burst.len(), LIMIT);
    check_reading(&mut daemon, &scene);
    daemon.stop();
}

#[test]
fn hours_of_backlog_lead_to_the_verdicts_of_those_hours() {
    let hours = if crate::is_long() { 48 } else { 8 };
    let scene = Scene::new(Kafka::shared(), "backlog");
    let now = now_ms();
    let services: Vec<Service> = (0..10)
        .map(|n| {
            let service = Service::new(&format!("old-{n}")).every(MINUTE).deployed_at(now - 90 * MINUTE);
            if n == 3 { service.broken() } else { service }
        })
        .collect();
    let from = now - hours * 60 * MINUTE;
    let mut metrics: Vec<Draft> = services.iter().flat_map(|service| service.metrics(from, now)).collect();
    metrics.sort_by_key(|draft| draft.ts);
    scene.write("metrics", &metrics);
    scene.write("deployments", &services.iter().map(Service::deployment).collect::<Vec<_>>());
    let begun = Instant::now();
    let mut daemon = Daemon::launch(&scene);
    daemon.wait_for_messages(metrics.len() + services.len(), Duration::from_secs(300));
    println!(
        "backlog: {hours} h, {} messages in {:.1} s, {:.0} MB",
        metrics.len(),
        begun.elapsed().as_secs_f64(),
        daemon.memory() / 1e6
    );
    wait_for("the recommendation", LIMIT, || scene.regression("deploy-old-3"));
    check_reading(&mut daemon, &scene);
    let said = scene.recommendations();
    let accused = said.iter().filter(|said| said["data"]["verdict"] == "regression");
    assert!(accused.clone().all(|said| said["data"]["deployment"]["id"] == "deploy-old-3"), "{said:#?}");
    let at: jiff::Timestamp = accused
        .clone()
        .next()
        .and_then(|said| said["time"].as_str())
        .and_then(|time| time.parse().ok())
        .expect("a time");
    assert!(at.as_millisecond() < now - 75 * MINUTE, "found late by the log's own time: {at}");
    daemon.stop();
}

/// In this process, where a test can set the clock; what the Kafka client waits by stays as it is.
#[test]
fn our_own_clock_jumps_and_neither_time_nor_words_go_with_it() {
    let scene = Scene::new(Kafka::shared(), "jumps");
    let config = Config::load(Some(&scene.config())).expect("the scene's settings are valid");
    let daemon = Inside::start(Arc::new(config), Options::default()).expect("it starts");
    let metric = |name: &str, labels: &[(&str, &str)]| {
        let answer = http::get(scene.http(), "/metrics").expect("it answers");
        sum_of(&answer.body, name, labels)
    };
    let taken = |count: f64| {
        wait_for("messages", LIMIT, || (metric("regressd_messages_total", &[]) >= count).then_some(()));
    };
    let now = now_ms();
    let service = Service::new("checkout").deployed_at(now - MINUTE);
    let history = service.metrics(now - 4 * MINUTE, now);
    scene.write("metrics", &history);
    scene.write("deployments", &[service.deployment()]);
    let mut count = history.len() as f64 + 1.0;
    taken(count);
    wait_for("a watch", LIMIT, || (metric("regressd_watches", &[]) == 1.0).then_some(()));

    for (step, jump) in [Span::HOUR, Span(-Span::HOUR.0), Span::DAY].into_iter().enumerate() {
        set_by(jump);
        // A silence in which the wall would take the watch past its end.
        std::thread::sleep(Duration::from_secs(6));
        assert_eq!(metric("regressd_watches", &[]), 1.0, "{jump:?} ended the watch");
        // A broker refuses what is stamped an hour ahead.
        scene.write("logs", &[Draft::bytes(now_ms(), "bad")]);
        wait_for("the dead letter", LIMIT, || (scene.read("dead-letter").len() == step + 1).then_some(()));
        let letter = scene.read("dead-letter").pop().expect("it is there");
        assert!((now_ms() - letter.ts).abs() < MINUTE, "{jump:?}: stamped {}", letter.ts);
        let at = now_ms();
        let live = Service::new("checkout").every(1_000).metrics(at - 3_000, at);
        scene.write("metrics", &live);
        count += live.len() as f64 + 1.0;
        taken(count);
    }
    set_by(Span(0));
    for reason in ["late", "ahead"] {
        assert_eq!(metric("regressd_dropped_total", &[("reason", reason)]), 0.0, "{reason}");
    }
    daemon.stop().expect("a clean end");
}
