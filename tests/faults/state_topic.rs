//! A daemon without a disk: what it knows and what it said are in a compacted topic, in the transactions of what it
//! says.
//!
//! Whenever it is killed, and with its folder gone, it goes on from the topic: everything is said once, and what was
//! learned is what a daemon learned that nobody disturbed.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::Offset;
use regressd::engine::cut::Extent;
use regressd::engine::logs::journal::Journal;
use regressd::engine::service::Service as Known;
use regressd::shell::checkpoint::topic::{Reader, Topic};
use regressd::shell::checkpoint::{Found, Recovered};
use regressd::shell::config::Config;
use regressd::shell::pump::Taken;
use regressd::shell::run::{Daemon as Inside, Options, RunError};

use crate::checker::check;
use crate::clock::{now_ms, wait_for};
use crate::daemon::Daemon;
use crate::exactly_once::{BAD, LIMIT, PROPERTIES, assert_said_once_though_killed, bad_lines};
use crate::input::Input;
use crate::kafka::Kafka;
use crate::scene::Scene;
use crate::topic::{self, Draft};
use crate::traffic::{MINUTE, Noise, SECOND, Service};

const KILLS: usize = 6;
/// Milliseconds from its first message to its end: time for some checkpoints, and for none.
const WITHIN: usize = 3_000;

#[test]
fn killed_and_without_a_disk_it_says_everything_once() {
    let (input, undisturbed) = Input::shared();
    let scene = Scene::stateful(Kafka::shared(), "state-killed", PROPERTIES);
    assert_said_once_though_killed(&scene, input, undisturbed, (KILLS, WITHIN), || lose_the_disk(&scene));
    let log = fs::read_to_string(scene.log()).expect("it wrote one");
    assert!(log.contains("going on from the checkpoint"), "it never found its state");
}

#[test]
fn killed_and_without_a_disk_it_learns_what_it_would_have_learned() {
    let now = now_ms();
    let service = |n: usize| Service::new(&format!("service-{n}")).every(5 * SECOND);
    let mut metrics: Vec<Draft> = (0..4).flat_map(|n| service(n).metrics(now - 105 * MINUTE, now)).collect();
    metrics.sort_by_key(|draft| draft.ts);
    let learn = |scene: &Scene, kills: usize| {
        scene.write("metrics", &metrics);
        let mut noise = Noise::new("learning");
        for _ in 0..kills {
            let mut daemon = Daemon::launch(scene);
            wait_for("it to be at work", LIMIT, || {
                daemon.assert_running();
                (daemon.messages() > 0.0).then_some(())
            });
            // No condition to wait for: any moment is to be hit, that of a half-written checkpoint too.
            std::thread::sleep(Duration::from_millis(noise.below(WITHIN) as u64));
            println!("killed after {} messages", daemon.messages());
            daemon.kill();
            lose_the_disk(scene);
        }
        let mut daemon = Daemon::start(scene);
        wait_for("all to be read", LIMIT, || {
            daemon.assert_running();
            let committed = topic::committed(scene.brokers(), scene.group(), &scene.topic("metrics"));
            committed.iter().all(|(next, end)| *next == Offset::Offset(*end)).then_some(())
        });
        daemon.stop();
        let mut recovered = recovered(scene);
        assert_eq!(recovered.remembered.positions.values().sum::<i64>(), metrics.len() as i64);
        learned(&mut recovered)
    };
    let whole = learn(&Scene::stateful(Kafka::shared(), "learning-undisturbed", ""), 0);
    let other = learn(&Scene::stateful(Kafka::shared(), "learning-killed", PROPERTIES), KILLS);
    let bins = whole.iter().flat_map(|service| &service.signals).map(|signal| signal.tracks[0].baseline.bins);
    assert!(whole.len() == 4 && bins.sum::<u32>() > 400, "hardly anything was learned: it proves nothing");
    // As bytes, since what is not known yet is not equal to itself.
    let bytes = |services: &[Known]| postcard::to_stdvec(services).expect("plain state");
    assert!(bytes(&whole) == bytes(&other), "something else was learned");
}

#[test]
fn killed_and_without_a_disk_at_least_once_says_the_same_with_the_same_ids() {
    let (input, _) = Input::shared();
    let scene = Scene::with_properties(Kafka::shared(), "state-again", PROPERTIES).with_state_topic(Kafka::shared(), 1);
    input.write(&scene);
    let mut noise = Noise::new("at least once");
    let mut taken = Vec::new();
    for _ in 0..KILLS {
        let mut daemon = Daemon::launch(&scene);
        wait_for("it to be at work", LIMIT, || {
            daemon.assert_running();
            (daemon.messages() > 0.0 || daemon.is_ready()).then_some(())
        });
        // No condition to wait for: any moment is to be hit.
        std::thread::sleep(Duration::from_millis(noise.below(WITHIN) as u64));
        taken.push(daemon.messages());
        daemon.kill();
        lose_the_disk(&scene);
    }
    let mut daemon = Daemon::start(&scene);
    input.wait_for_the_end(&mut daemon, &scene);
    println!("at least once: killed after {taken:?} messages each, {} were left", daemon.messages());
    check(&mut daemon, &scene);
    daemon.stop();
    let log = fs::read_to_string(scene.log()).expect("it wrote one");
    assert!(log.contains("going on from the checkpoint"), "it never found its state");
}

fn not_poison(taken: &Taken) {
    assert_ne!(taken.payload, b"poison", "the test's own assertion");
}

/// In this process, where an assertion of the test's can stand in the way of a message.
#[test]
fn without_a_disk_a_message_breaks_the_daemon_once() {
    for exactly_once in [true, false] {
        let kafka = Kafka::shared();
        let scene = match exactly_once {
            true => Scene::stateful(kafka, "state-poison-once", ""),
            false => Scene::new(kafka, "state-poison").with_state_topic(kafka, 1),
        };
        let start = || {
            let config = Config::load(Some(&scene.config())).expect("the scene's settings are valid");
            let trap = Some(not_poison as fn(&Taken));
            let options = Options { trap, ..Options::default() };
            Inside::start(Arc::new(config), options).expect("it starts")
        };
        let letters = |count: usize| {
            wait_for("the dead letters", LIMIT, || (scene.read("dead-letter").len() >= count).then_some(()));
            scene.read("dead-letter")
        };
        let line = |text: &str| Draft { key: Some("a".into()), ..Draft::bytes(now_ms(), text) };
        scene.write("logs", &["before", "poison", "after"].map(line));
        let broken = start();
        wait_for("its end", LIMIT, || broken.is_finished().then_some(()));
        assert!(matches!(broken.stop(), Err(RunError::Panicked)));

        let daemon = start();
        let reasons = letters(3).into_iter().filter_map(|letter| letter.header("regressd-reason"));
        assert_eq!(reasons.filter(|reason| reason == "poison").count(), 1);
        daemon.stop().expect("a clean end");
        assert!(note(&scene).is_some_and(|note| !note.is_empty()), "nothing was noted");

        let daemon = start();
        scene.write("logs", &[line("and on")]);
        assert_eq!(letters(4).len(), 4, "exactly once: {exactly_once}");
        daemon.stop().expect("a clean end");
        assert_eq!(note(&scene), None, "it has been left behind, and is noted still");
        assert!(!scene.folder().join("state").exists(), "it was to do without");
    }
}

/// What is noted beside the state.
fn note(scene: &Scene) -> Option<Vec<u8>> {
    let key = format!("{}/poison", scene.group());
    let records = scene.read("state").into_iter();
    records.rev().find(|record| record.key.as_deref() == Some(key.as_bytes()))?.payload
}

fn lose_the_disk(scene: &Scene) {
    let state = scene.folder().join("state");
    assert!(!state.join("checkpoint").exists(), "it was to do without");
    let _ = fs::remove_dir_all(state);
}

#[test]
fn a_state_that_cannot_be_trusted_is_a_cold_start_and_no_crash_loop() {
    let scene = Scene::stateful(Kafka::shared(), "state-bad", "");
    let mut daemon = Daemon::start(&scene);
    scene.write("logs", &bad_lines());
    wait_for("the dead letters", LIMIT, || (scene.read("dead-letter").len() == BAD).then_some(()));
    daemon.stop();
    let cut = format!("{}/cut", scene.group());
    assert!(scene.read("state").iter().any(|record| record.key.as_deref() == Some(cut.as_bytes())));

    scene.write("state", &[Draft { key: Some(cut), ..Draft::bytes(now_ms(), "rubbish") }]);
    daemon = Daemon::start(&scene);
    let log = fs::read_to_string(scene.log()).expect("it wrote one");
    assert!(log.contains("can't be used: starting with nothing learned"), "{log}");
    scene.write("logs", &[Draft::bytes(now_ms(), "one more")]);
    wait_for("one more dead letter", LIMIT, || (scene.read("dead-letter").len() == BAD + 1).then_some(()));
    daemon.stop();
    assert_eq!(recovered(&scene).remembered.group, scene.group());
}

#[test]
fn who_is_taken_over_ends_and_says_nothing_more() {
    let scene = Scene::stateful(Kafka::shared(), "state-taken", "");
    let mut first = Daemon::start(&scene);
    scene.write("logs", &bad_lines());
    wait_for("the dead letters", LIMIT, || (scene.read("dead-letter").len() == BAD).then_some(()));
    let mut second = Daemon::launch_with(&scene, &[("REGRESSD__HTTP__LISTEN", "127.0.0.1:0")]);
    wait_for("the first one to end", LIMIT, || {
        second.assert_running();
        scene.write("logs", &[Draft::bytes(now_ms(), "{}")]);
        std::thread::sleep(Duration::from_millis(500));
        first.has_ended().then_some(())
    });
    wait_for("the other one to go on", LIMIT, || {
        second.assert_running();
        (scene.read("dead-letter").len() == scene.read("logs").len()).then_some(())
    });
    second.stop();
    let log = fs::read_to_string(scene.log()).expect("it wrote one");
    assert!(log.contains("another daemon may have taken over"), "{log}");
    assert_eq!(scene.read("dead-letter").len(), scene.read("logs").len(), "each once");
}

#[test]
fn a_state_from_a_directory_moves_to_the_topic() {
    let scene = Scene::exactly_once(Kafka::shared(), "state-moves", "");
    let daemon = Daemon::start(&scene);
    scene.write("logs", &bad_lines());
    wait_for("the dead letters", LIMIT, || (scene.read("dead-letter").len() == BAD).then_some(()));
    daemon.stop();
    let scene = scene.with_state_topic(Kafka::shared(), 1);
    let daemon = Daemon::start(&scene);
    scene.write("logs", &[Draft::bytes(now_ms(), "one more")]);
    wait_for("one more dead letter", LIMIT, || (scene.read("dead-letter").len() > BAD).then_some(()));
    daemon.stop();
    assert_eq!(scene.read("dead-letter").len(), BAD + 1, "nothing is said again");
    let read = recovered(&scene).remembered.positions.values().sum::<i64>();
    assert_eq!(read, BAD as i64 + 1);
}

/// What the topic holds.
fn recovered(scene: &Scene) -> Recovered {
    let config = Config::load(Some(&scene.config())).expect("the scene's settings are valid");
    let mut reader = Reader::new(&config.kafka, Topic::new(&scene.topic("state"), 0, scene.group())).expect("valid");
    wait_for("the state to be read", LIMIT, || reader.read().is_ok_and(|done| done).then_some(()));
    let (_, found, _) = reader.finish();
    match found {
        Found::Checkpoint(recovered) => *recovered,
        Found::Nothing => panic!("no state"),
        Found::Bad { why, .. } => panic!("{why}"),
    }
}

/// All services, by name.
fn learned(recovered: &mut Recovered) -> Vec<Known> {
    let shares = recovered.engine.shares(Extent::All);
    let services = shares.iter().map(|share| {
        let bytes = postcard::to_stdvec(share).expect("plain state");
        let share: (u32, u64, Known, Option<Journal>) = postcard::from_bytes(&bytes).expect("a share is these four");
        share.2
    });
    let mut services: Vec<Known> = services.collect();
    services.sort_by(|a, b| a.name.cmp(&b.name));
    services
}
