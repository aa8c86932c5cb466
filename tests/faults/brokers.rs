//! Brokers that come and go while the daemon works: one dies, hangs or hands over, or all are away.
//!
//! All of it happens to a cluster, one act after the other, so they are one test; each act finds the cluster whole.
//! There are two of these, which run side by side, as they mostly wait. The daemon reads slowly, so that the fault hits
//! it at work.

use std::time::{Duration, Instant};

use rdkafka::Offset;

use crate::checker::{assert_same, check};
use crate::clock::wait_for;
use crate::daemon::Daemon;
use crate::input::{Input, LIMIT, sips};
use crate::kafka::Kafka;
use crate::scene::Scene;
use crate::topic;
use crate::traffic::{SECOND, Service};

/// Slower than slowly, so that a fault of some seconds falls within the reading.
const SLOWER: &str = sips!(250);

#[test]
fn a_broker_of_three_comes_and_goes() {
    play(&[
        the_leader_is_killed_and_comes_back,
        the_leader_hands_over_and_comes_back,
        the_coordinator_is_killed,
        a_broker_hangs,
    ]);
}

#[test]
fn all_of_three_come_and_go() {
    play(&[
        all_brokers_are_away,
        sigterm_while_all_brokers_are_away_ends_in_time,
        a_log_that_lost_its_end_is_read_on_and_nothing_is_said_again,
    ]);
}

fn play(acts: &[fn(&mut Kafka)]) {
    let mut kafka = Kafka::start(crate::BROKERS);
    for act in acts {
        kafka.mend();
        act(&mut kafka);
    }
}

/// Lets a daemon read the input, does that to the cluster when it is a third through, and checks what came of it.
fn through(kafka: &mut Kafka, name: &str, exactly_once: bool, fault: impl FnOnce(&mut Kafka, &Scene)) {
    let (input, _) = Input::shared();
    let scene = match exactly_once {
        true => Scene::exactly_once(kafka, name, SLOWER),
        false => Scene::with_properties(kafka, name, SLOWER),
    };
    input.write(&scene);
    let mut daemon = Daemon::start(&scene);
    let taken = input.wait_for_part(&mut daemon, 0.3, 0.0);
    assert!(taken < 0.9 * input.len() as f64, "it was done before the fault came");
    let begun = Instant::now();
    fault(kafka, &scene);
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

fn the_leader_is_killed_and_comes_back(kafka: &mut Kafka) {
    through(kafka, "leader-killed", false, |kafka, scene| {
        let leader = kafka.leaders(&scene.topic("metrics"))[0];
        kafka.node(leader).kill();
        std::thread::sleep(Duration::from_secs(5));
        kafka.node(leader).start();
    });
}

fn the_leader_hands_over_and_comes_back(kafka: &mut Kafka) {
    through(kafka, "leader-moved", true, |kafka, scene| {
        let leader = kafka.leaders(&scene.topic("metrics"))[0];
        kafka.node(leader).stop();
        kafka.node(leader).start();
    });
}

fn the_coordinator_is_killed(kafka: &mut Kafka) {
    through(kafka, "coordinator-killed", true, |kafka, _| {
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

fn a_broker_hangs(kafka: &mut Kafka) {
    let pause = if crate::is_long() { 30 } else { 8 };
    through(kafka, "broker-hangs", false, |kafka, scene| {
        let leader = kafka.leaders(&scene.topic("metrics"))[0];
        kafka.node(leader).pause();
        std::thread::sleep(Duration::from_secs(pause));
        kafka.node(leader).resume();
    });
}

fn all_brokers_are_away(kafka: &mut Kafka) {
    let away = if crate::is_long() { 300 } else { 5 };
    through(kafka, "brokers-away", true, |kafka, _| {
        (0..kafka.nodes()).for_each(|node| kafka.node(node).kill());
        std::thread::sleep(Duration::from_secs(away));
        kafka.mend();
    });
}

fn sigterm_while_all_brokers_are_away_ends_in_time(kafka: &mut Kafka) {
    let (input, _) = Input::shared();
    let scene = Scene::exactly_once(kafka, "stop-away", SLOWER);
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

/// A broker that lacks the last records leads after the one that had them: the log ends before what was read, and is
/// written on past it.
fn a_log_that_lost_its_end_is_read_on_and_nothing_is_said_again(kafka: &mut Kafka) {
    let (input, undisturbed) = Input::shared();
    let scene = Scene::exactly_once(kafka, "truncated", "");
    let metrics = scene.topic("metrics");
    kafka.delete_topic(&metrics);
    kafka.create_unclean(&metrics, &[0, 1]);
    input.write(&scene);
    // It stays in its group throughout: the client asks for no leader of a position that it is given anew.
    let session = ("REGRESSD__KAFKA__PROPERTIES__SESSION__TIMEOUT__MS", "60000");
    let mut daemon = Daemon::launch_with(&scene, &[session]);
    input.wait_for_the_end(&mut daemon, &scene);
    daemon.wait_for_messages(input.len(), LIMIT);

    kafka.node(1).kill();
    let lost = Service::new("lost").every(SECOND).metrics(input.end, input.end + 10 * SECOND);
    scene.write("metrics", &lost);
    daemon.wait_for_messages(input.len() + lost.len(), LIMIT);
    kafka.node(0).kill();
    kafka.node(1).start();
    wait_for("the one with less to lead", LIMIT, || (kafka.leaders(&metrics) == [1]).then_some(()));
    kafka.mend();
    let instead = Service::new("instead").every(SECOND).metrics(input.end, input.end + 20 * SECOND);
    scene.write("metrics", &instead);
    // From where it was cut off, or from its beginning: then all of it comes again.
    daemon.wait_for_messages(input.len() + lost.len() + instead.len(), LIMIT);
    wait_for("all to be read", LIMIT, || {
        let (next, end) = topic::committed(scene.brokers(), scene.group(), &metrics)[0];
        (next == Offset::Offset(end)).then_some(())
    });
    let log = std::fs::read_to_string(scene.log()).expect("it wrote one");
    assert!(log.contains("it was truncated or created anew"), "it was not told: {log}");
    println!("truncated: {} messages for {}", daemon.messages(), input.len() + lost.len() + instead.len());
    assert_same(&scene, &input.said(&scene), undisturbed);
    wait_for("readiness", LIMIT, || daemon.is_ready().then_some(()));
    daemon.stop();
}
