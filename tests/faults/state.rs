//! Where the state lies: a full disk, a directory that can't be written, a damaged checkpoint, a broken configuration.
//!
//! The daemon gets a file system of its own, in a mount namespace that ends with it.

use std::fs;
use std::time::Duration;

use crate::checker::{assert_same, check};
use crate::clock::{now_ms, wait_for};
use crate::daemon::Daemon;
use crate::http;
use crate::input::{Input, LIMIT, SLOWLY};
use crate::kafka::Kafka;
use crate::scene::Scene;
use crate::topic::{self, Draft};

/// A disk of 8 MiB with nothing left on it.
const FULL: &str = "mount -t tmpfs -o size=8m tmpfs \"$1\"
dd if=/dev/zero of=\"$1/ballast\" bs=4k count=4096 2>/dev/null || true";

/// What lies there can be read and not written.
const READ_ONLY: &str = "mount -t tmpfs -o ro tmpfs \"$1\"";

fn failures(daemon: &Daemon) -> f64 {
    daemon.metric("regressd_checkpoint_failures_total", &[])
}

#[test]
fn on_a_full_disk_at_least_once_says_all_and_remembers_it_once_there_is_room() {
    let (input, undisturbed) = Input::shared();
    let scene = Scene::new(Kafka::shared(), "full");
    input.write(&scene);
    let mut daemon = Daemon::launch_mounted(&scene, FULL);
    input.wait_for_the_end(&mut daemon, &scene);
    assert_same(&scene, &input.said(&scene), undisturbed);
    wait_for("the failure to show", LIMIT, || (failures(&daemon) >= 1.0).then_some(()));
    assert!(daemon.is_ready());
    for (committed, _) in topic::committed(scene.brokers(), scene.group(), &scene.topic("metrics")) {
        assert_eq!(committed.to_raw().filter(|next| *next > 0), None, "committed what no checkpoint holds");
    }
    fs::remove_file(daemon.state().join("ballast")).expect("it lies there");
    check(&mut daemon, &scene);
    assert!(daemon.state().join("checkpoint").exists());
    daemon.stop();
}

#[test]
fn on_a_full_disk_exactly_once_says_nothing_until_there_is_room() {
    let (input, _) = Input::shared();
    let scene = Scene::exactly_once(Kafka::shared(), "full-once", "");
    input.write(&scene);
    let mut daemon = Daemon::launch_mounted(&scene, FULL);
    let answer = wait_for("the failure to show", LIMIT, || {
        http::get(scene.http(), "/readyz").ok().filter(|answer| answer.body.contains("checkpoint_failing"))
    });
    assert_eq!(answer.status, 503);
    assert_eq!(scene.read("recommendations").len(), 0, "said before it was remembered");
    fs::remove_file(daemon.state().join("ballast")).expect("it lies there");
    input.wait_for_the_end(&mut daemon, &scene);
    check(&mut daemon, &scene);
    wait_for("readiness", LIMIT, || daemon.is_ready().then_some(()));
    daemon.stop();
}

#[test]
fn a_state_that_is_read_only_is_told_and_everything_is_said() {
    let (input, undisturbed) = Input::shared();
    let scene = Scene::new(Kafka::shared(), "read-only");
    input.write(&scene);
    let mut daemon = Daemon::launch_mounted(&scene, READ_ONLY);
    input.wait_for_the_end(&mut daemon, &scene);
    assert_same(&scene, &input.said(&scene), undisturbed);
    wait_for("the failure to show", LIMIT, || (failures(&daemon) >= 1.0).then_some(()));
    daemon.stop();

    // Nothing is remembered, so all is said again, under the same ids and in the same words.
    let mut daemon = Daemon::launch(&scene);
    daemon.wait_for_messages(input.len(), LIMIT);
    check(&mut daemon, &scene);
    daemon.stop();
}

#[test]
fn a_damaged_checkpoint_is_set_aside_and_nothing_is_invented() {
    let (input, undisturbed) = Input::shared();
    let scene = Scene::new(Kafka::shared(), "damaged");
    input.write(&scene);
    input.finish(&scene);
    let path = scene.folder().join("state/checkpoint");
    let mut bytes = fs::read(&path).expect("a checkpoint was written");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&path, bytes).expect("it is writable");
    let daemon = Daemon::start(&scene);
    scene.write("logs", &[Draft::bytes(now_ms(), "bad")]);
    // From where the group stands, without waiting for partitions that have nothing new.
    wait_for("it to go on", Duration::from_secs(20), || (scene.read("dead-letter").len() == 1).then_some(()));
    assert!(path.with_extension("bad").exists());
    assert_same(&scene, &input.said(&scene), undisturbed);
    daemon.stop();
}

/// Good, broken, cut off, empty or gone, a hundred times while it works: what is in force does not change.
#[test]
fn a_configuration_that_breaks_at_work_changes_nothing() {
    let (input, _) = Input::shared();
    let scene = Scene::with_properties(Kafka::shared(), "reloads", SLOWLY);
    input.write(&scene);
    let good = fs::read_to_string(scene.config()).expect("the scene has written it");
    let mut daemon = Daemon::start(&scene);
    input.wait_for_part(&mut daemon, 0.1, 0.0);
    for n in 0..100 {
        match n % 5 {
            0 => scene.configure("[watch]\nduration = \"soon\"\n"),
            1 => fs::write(scene.config(), &good[..good.len() / 2]).expect("it is writable"),
            2 => fs::write(scene.config(), "").expect("it is writable"),
            3 => drop(fs::remove_file(scene.config())),
            _ => scene.configure("[no_such_section]\nkey = 1\n"),
        }
        if n % 10 == 0 {
            daemon.reload();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let refused = || daemon.metric("regressd_config_last_reload_successful", &[]) == 0.0;
    wait_for("the last one to be refused", LIMIT, || refused().then_some(()));
    scene.configure("");
    wait_for("the good one to be taken", LIMIT, || (!refused()).then_some(()));
    input.wait_for_the_end(&mut daemon, &scene);
    check(&mut daemon, &scene);
    daemon.stop();
}
