//! The consumer group: a member that stands still, others that come and go, and a second daemon in a second group.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::checker::check;
use crate::clock::wait_for;
use crate::daemon::Daemon;
use crate::input::{Input, LIMIT, sips};
use crate::kafka::Kafka;
use crate::scene::Scene;

/// As slow as it takes to be hit at work, and a session that is soon over.
const SHORT_SESSION: &str = sips!(250, "\"max.poll.interval.ms\" = \"6000\"");

/// A sip each half second: the members come and go while it reads.
const SLOWEST: &str = sips!(500);

#[test]
fn it_stands_still_longer_than_its_session() {
    let (input, _) = Input::shared();
    let scene = Scene::with_properties(Kafka::shared(), "still", SHORT_SESSION);
    input.write(&scene);
    let mut daemon = Daemon::start(&scene);
    input.wait_for_part(&mut daemon, 0.3, 0.0);
    // The session and the time between two polls are 6 s each.
    daemon.pause();
    std::thread::sleep(Duration::from_secs(if crate::is_long() { 60 } else { 10 }));
    daemon.resume();
    let begun = Instant::now();
    let before = daemon.messages();
    wait_for("it to be at work again", LIMIT, || (daemon.messages() > before).then_some(()));
    println!("still: at work again {:.1} s after it was let go", begun.elapsed().as_secs_f64());
    input.wait_for_the_end(&mut daemon, &scene);
    check(&mut daemon, &scene);
    daemon.stop();
}

#[test]
fn members_join_and_leave_in_a_loop() {
    let rebalances = if crate::is_long() { 100 } else { 8 };
    let (input, _) = Input::shared();
    let scene = Scene::with_properties(Kafka::shared(), "members", SLOWEST);
    input.write(&scene);
    let mut daemon = Daemon::start(&scene);
    let mut amid = 0;
    for _ in 0..rebalances {
        // It wants another topic, so every partition of ours comes back; but all are taken away first, each time.
        let other = member(&scene, "audit");
        wait_for("it to be let in", LIMIT, || {
            other.poll(Duration::from_millis(50));
            (other.assignment().ok()?.count() > 0).then_some(())
        });
        drop(other);
        amid += usize::from(daemon.messages() < input.len() as f64);
    }
    println!("members: {rebalances} came and went, {amid} of them while it read");
    assert!(amid >= 3, "it had read everything after {amid} members");
    input.wait_for_the_end(&mut daemon, &scene);
    check(&mut daemon, &scene);
    daemon.stop();
}

fn member(scene: &Scene, kind: &str) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", scene.brokers()).set("group.id", scene.group()).set("log_level", "0");
    config.set("session.timeout.ms", "6000").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().expect("valid settings");
    consumer.subscribe(&[&scene.topic(kind)]).expect("a valid name");
    consumer
}

#[test]
fn two_daemons_in_two_groups_say_the_same() {
    let (input, _) = Input::shared();
    let scene = Scene::new(Kafka::shared(), "two");
    let beside = scene.beside("two-beside");
    input.write(&scene);
    let (mut one, mut other) = (Daemon::start(&scene), Daemon::start(&beside));
    for daemon in [&mut one, &mut other] {
        input.wait_for_the_end(daemon, &scene);
        daemon.wait_for_messages(input.len(), LIMIT);
    }
    wait_for("both to have said all", LIMIT, || {
        input.said(&scene).values().all(|messages| messages.len() == 2).then_some(())
    });
    check(&mut one, &scene);
    check(&mut other, &beside);
    one.stop();
    other.stop();
}
