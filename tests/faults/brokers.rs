//! Brokers that come and go while the daemon works: one dies, hangs or hands over, or all are away.
//!
//! These tests take brokers from a cluster of their own, one test after the other; each finds it whole. The daemon
//! reads slowly, so that the fault hits it at work.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::checker::check;
use crate::clock::wait_for;
use crate::daemon::Daemon;
use crate::input::{Input, LIMIT};
use crate::kafka::Kafka;
use crate::scene::Scene;

/// Slower than slowly, so that a fault of some seconds falls within the reading.
const SLOWER: &str = r#"
"queued.min.messages" = "20"
"fetch.message.max.bytes" = "65536"
"fetch.queue.backoff.ms" = "250"
"#;

/// The cluster that is disturbed, whole again.
pub fn disturbed() -> MutexGuard<'static, Kafka> {
    static DISTURBED: OnceLock<Mutex<Kafka>> = OnceLock::new();
    let cluster = DISTURBED.get_or_init(|| Mutex::new(Kafka::start(crate::BROKERS)));
    // Whatever a failed test left of it is mended.
    let mut cluster = cluster.lock().unwrap_or_else(PoisonError::into_inner);
    cluster.mend();
    cluster
}

/// Lets a daemon read the input, does that to the cluster when it is a third through, and checks what came of it.
fn through(name: &str, exactly_once: bool, fault: impl FnOnce(&mut Kafka, &Scene)) {
    let (input, _) = Input::shared();
    let mut kafka = disturbed();
    let scene = match exactly_once {
        true => Scene::exactly_once(&kafka, name, SLOWER),
        false => Scene::with_properties(&kafka, name, SLOWER),
    };
    input.write(&scene);
    let mut daemon = Daemon::start(&scene);
    let taken = input.wait_for_part(&mut daemon, 0.3, 0.0);
    assert!(taken < 0.9 * input.len() as f64, "it was done before the fault came");
    let begun = Instant::now();
    fault(&mut kafka, &scene);
    let lasted = begun.elapsed();
    let taken = daemon.messages();
    input.wait_for_the_end(&mut daemon, &scene);
    println!(
        "{name}: {:.1} s of fault, {taken} of {} messages then, all said {:.1} s later",
        lasted.as_secs_f64(),
        input.len(),
        (begun.elapsed() - lasted).as_secs_f64()
    );
    check(&mut daemon, &scene);
    wait_for("readiness", LIMIT, || daemon.is_ready().then_some(()));
    daemon.stop();
}

#[test]
fn the_leader_is_killed_and_comes_back() {
    through("leader-killed", false, |kafka, scene| {
        let leader = kafka.leaders(&scene.topic("metrics"))[0];
        kafka.node(leader).kill();
        std::thread::sleep(Duration::from_secs(5));
        kafka.node(leader).start();
    });
}

#[test]
fn the_leader_hands_over_and_comes_back() {
    through("leader-moved", true, |kafka, scene| {
        let leader = kafka.leaders(&scene.topic("metrics"))[0];
        kafka.node(leader).stop();
        kafka.node(leader).start();
    });
}

#[test]
fn the_coordinator_is_killed() {
    through("coordinator-killed", true, |kafka, _| {
        // Both, where one broker coordinates the group and another the transactions.
        for topic in ["__consumer_offsets", "__transaction_state"] {
            let coordinator = kafka.leaders(topic)[0];
            kafka.node(coordinator).kill();
            std::thread::sleep(Duration::from_secs(4));
            kafka.node(coordinator).start();
            kafka.mend();
        }
    });
}

#[test]
fn a_broker_hangs() {
    let pause = if crate::is_long() { 30 } else { 8 };
    through("broker-hangs", false, |kafka, scene| {
        let leader = kafka.leaders(&scene.topic("metrics"))[0];
        kafka.node(leader).pause();
        std::thread::sleep(Duration::from_secs(pause));
        kafka.node(leader).resume();
    });
}

#[test]
fn all_brokers_are_away() {
    let away = if crate::is_long() { 300 } else { 5 };
    through("brokers-away", true, |kafka, _| {
        (0..kafka.nodes()).for_each(|node| kafka.node(node).kill());
        std::thread::sleep(Duration::from_secs(away));
        kafka.mend();
    });
}

#[test]
fn sigterm_while_all_brokers_are_away_ends_in_time() {
    let (input, _) = Input::shared();
    let mut kafka = disturbed();
    let scene = Scene::exactly_once(&kafka, "stop-away", SLOWER);
    input.write(&scene);
    let mut daemon = Daemon::start(&scene);
    input.wait_for_part(&mut daemon, 0.7, 0.0);
    (0..kafka.nodes()).for_each(|node| kafka.node(node).kill());
    let begun = Instant::now();
    daemon.stop();
    println!("stop-away: ended {:.1} s after SIGTERM", begun.elapsed().as_secs_f64());
    kafka.mend();
    daemon = Daemon::start(&scene);
    input.wait_for_the_end(&mut daemon, &scene);
    check(&mut daemon, &scene);
    daemon.stop();
}
