//! Whatever ends the daemon, and whenever: after the restart nothing is missing and nothing is said anew.
//!
//! The yardstick is a daemon that read the same input undisturbed. Ids are derived from the input, so both must have
//! said the same ids. A message may stand on the topic twice after a `kill -9`; then both are the same bytes.

use crate::checker::check;
use crate::daemon::Daemon;
use crate::input::{Input, SLOWLY};
use crate::kafka::Kafka;
use crate::scene::Scene;

/// As shares of the input: shortly after the first deployments, between the others, and near the end.
const INTERRUPTED_AT: [f64; 3] = [0.6, 0.7, 0.8];

#[test]
fn after_sigterm_at_any_moment_the_same_is_said_once() {
    let scene = interrupted("sigterm", |daemon| daemon.stop());
    let said = Input::shared().0.said(&scene);
    assert!(said.values().all(|messages| messages.len() == 1), "something was said twice: {said:#?}");

    // Once more with nothing new to read: it has nothing to say.
    Daemon::start(&scene).stop();
    assert_eq!(Input::shared().0.said(&scene), said);
}

#[test]
fn after_kill_9_at_any_moment_the_same_is_said_with_the_same_ids() {
    interrupted("sigkill", |daemon| daemon.kill());
}

/// Ends the daemon so at each of the moments, lets another read to the end, and checks that.
fn interrupted(name: &str, end: impl Fn(Daemon)) -> Scene {
    let (input, _) = Input::shared();
    let scene = Scene::with_properties(Kafka::shared(), name, SLOWLY);
    input.write(&scene);
    let mut taken = 0.0;
    for part in INTERRUPTED_AT {
        let mut daemon = Daemon::launch(&scene);
        taken += input.wait_for_part(&mut daemon, part, taken);
        end(daemon);
    }
    let mut daemon = Daemon::start(&scene);
    input.wait_for_the_end(&mut daemon, &scene);
    assert!(daemon.messages() > 0.0, "nothing was left: the interruptions came too late to mean anything");
    check(&mut daemon, &scene);
    daemon.stop();
    scene
}
