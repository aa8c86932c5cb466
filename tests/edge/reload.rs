//! A new configuration while it runs: taken at once, or refused whole; the watches go on either way.

use std::time::Duration;

use crate::clock::{now_ms, wait_for};
use crate::daemon::Daemon;
use crate::kafka::Kafka;
use crate::scene::Scene;
use crate::traffic::{MINUTE, Service};

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn a_good_file_is_taken_a_bad_one_refused_and_the_watch_goes_on() {
    let scene = Scene::new(Kafka::shared(), "reload");
    let mut daemon = Daemon::start(&scene);
    let now = now_ms();
    let deployed_at = now - 10 * MINUTE;
    let service = Service::new("checkout").deployed_at(deployed_at).broken();
    let before = service.metrics(now - 180 * MINUTE, deployed_at);
    scene.write("metrics", &before);
    scene.write("deployments", &[service.deployment()]);
    daemon.wait_for_messages(before.len() + 1, Duration::from_secs(60));
    let watching = |daemon: &Daemon| daemon.metric("regressd_watches", &[]) >= 1.0;
    wait_for("the watch to open", LIMIT, || watching(&daemon).then_some(()));

    let first = hash(&daemon);
    scene.configure("[watch]\nduration = \"2h\"");
    let second = wait_for("the changed file to be taken", LIMIT, || Some(hash(&daemon)).filter(|hash| *hash != first));
    assert!(watching(&daemon) && succeeded(&daemon));

    // Nothing changed: only the signal can have made it read the file again.
    let read_at = daemon.metric("regressd_config_last_reload_success_timestamp_seconds", &[]);
    wait_for("SIGHUP to be heard", LIMIT, || {
        daemon.reload();
        (daemon.metric("regressd_config_last_reload_success_timestamp_seconds", &[]) > read_at).then_some(())
    });

    scene.configure("[watch]\nduration = \"soon\"");
    daemon.reload();
    wait_for("the bad file to be refused", LIMIT, || (!succeeded(&daemon)).then_some(()));
    daemon.assert_running();
    assert_eq!(hash(&daemon), second, "a refused file changed something");
    assert!(watching(&daemon));

    scene.configure("[watch]\nduration = \"90m\"");
    wait_for("the mended file to be taken", LIMIT, || succeeded(&daemon).then_some(()));
    assert_ne!(hash(&daemon), second);

    // While it was idle its time followed the wall clock. Samples from a clock two minutes ahead, which is allowed,
    // move it over the next minute's judgement at once.
    scene.write("metrics", &service.metrics(deployed_at, now + 2 * MINUTE));
    let said = wait_for("the recommendation", Duration::from_secs(30), || scene.regression("deploy-checkout"));
    assert_eq!(said["data"]["decision"]["config"], hash(&daemon), "it names the configuration in force");
    daemon.stop();
}

fn succeeded(daemon: &Daemon) -> bool {
    daemon.metric("regressd_config_last_reload_successful", &[]) > 0.5
}

/// Of the configuration in force.
fn hash(daemon: &Daemon) -> String {
    wait_for("the configuration's hash", LIMIT, || {
        let exposition = daemon.exposition()?;
        let series =
            exposition.lines().find(|line| line.starts_with("regressd_config_info{") && line.ends_with(" 1"))?;
        Some(series.split_once("hash=\"")?.1.split_once('"')?.0.to_owned())
    })
}
