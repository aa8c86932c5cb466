//! The broker goes away and comes back: the daemon stays, resumes by itself, and what had to be said is said.

use std::time::{Duration, Instant};

use crate::clock::{now_ms, wait_for};
use crate::daemon::Daemon;
use crate::http;
use crate::kafka::Kafka;
use crate::scene::Scene;
use crate::traffic::{MINUTE, Service};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn it_outlives_a_stopped_a_held_and_a_killed_broker() {
    let mut kafka = Kafka::start(1);
    let scene = Scene::new(&kafka, "outage");
    let mut daemon = Daemon::start(&scene);
    let now = now_ms();
    let deployed_at = now - 8 * MINUTE;
    let service = Service::new("checkout").deployed_at(deployed_at).broken();

    let history = service.metrics(now - 180 * MINUTE, deployed_at);
    scene.write("metrics", &history);
    daemon.wait_for_messages(history.len(), LIMIT);

    kafka.node(0).stop();
    assert_unharmed(&mut daemon, &scene);
    kafka.node(0).start();
    scene.write("deployments", &[service.deployment()]);
    daemon.wait_for_messages(history.len() + 1, LIMIT);

    kafka.node(0).pause();
    assert_unharmed(&mut daemon, &scene);
    kafka.node(0).resume();

    kafka.node(0).kill();
    assert_unharmed(&mut daemon, &scene);
    kafka.node(0).start();
    // While nothing came the daemon's time went on with the clock on the wall, and what is older than the lateness is
    // not taken any more. A clock that is four minutes ahead, which is allowed, makes up for it, and lets the next look
    // at the watch come at once.
    scene.write("metrics", &service.metrics(deployed_at, now_ms() + 4 * MINUTE));
    wait_for("the recommendation", LIMIT, || scene.regression("deploy-checkout"));
    wait_for("readiness", LIMIT, || daemon.is_ready().then_some(()));
    daemon.stop();
}

/// For some seconds it neither ends nor stops answering.
fn assert_unharmed(daemon: &mut Daemon, scene: &Scene) {
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        daemon.assert_running();
        let health = http::get(scene.http(), "/healthz").expect("it answers while the broker is away");
        assert_eq!(health.status, 200);
        std::thread::sleep(Duration::from_millis(250));
    }
}
