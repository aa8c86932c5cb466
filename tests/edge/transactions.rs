//! Inputs that are written in transactions: their markers lie in the log and are nobody's message.

use std::time::Duration;

use rdkafka::Offset;

use crate::clock::{now_ms, wait_for};
use crate::daemon::Daemon;
use crate::kafka::Kafka;
use crate::scene::Scene;
use crate::topic::{self, Draft, Ending};
use crate::traffic::{MINUTE, SECOND, Service};

const LIMIT: Duration = Duration::from_secs(90);

const INPUTS: [&str; 4] = ["metrics", "logs", "deployments", "control"];

#[test]
fn what_is_written_in_transactions_is_read_to_its_end_and_time_goes_on_behind_it() {
    let scene = Scene::new(Kafka::shared(), "transactions");
    scene.configure("[watch]\nduration = \"10m\"\n");
    let now = now_ms();
    // Its watch ends when nothing has been written for a while, so only a clock that goes on by itself ends it.
    let service = Service::new("checkout").deployed_at(now - 10 * MINUTE + 15 * SECOND);
    let metrics = service.metrics(now - 60 * MINUTE, now);
    let (first, last) = metrics.split_at(metrics.len() / 2);
    let write = |kind: &str, drafts: &[Draft], ending: Ending| {
        topic::write_in_transaction(scene.brokers(), &scene.topic(kind), drafts, ending);
    };
    let undone = [Draft::bytes(now, "never said"), Draft::bytes(now, "nor this")];
    write("metrics", first, Ending::Committed);
    write("metrics", last, Ending::Committed);
    write("deployments", &[service.deployment()], Ending::Committed);
    write("deployments", &undone, Ending::Aborted);
    // A partition that holds nothing but what was taken back.
    write("control", &undone, Ending::Aborted);

    let mut daemon = Daemon::start(&scene);
    daemon.wait_for_messages(metrics.len() + 1, LIMIT);
    let verdict =
        || scene.recommendations().into_iter().find(|said| said["data"]["deployment"]["id"] == "deploy-checkout");
    wait_for("the watch to end while all is silent", LIMIT, verdict);
    let lag = || daemon.metric("regressd_consumer_lag_messages", &[]);
    wait_for("nothing to be left unread", LIMIT, || (lag() == 0.0).then_some(()));
    wait_for("the group to stand at the end", LIMIT, || {
        INPUTS.iter().all(|kind| is_at_end(&scene, kind)).then_some(())
    });
    assert!(scene.read("dead-letter").is_empty(), "what was taken back was read");
    daemon.stop();

    // What comes next is read on from behind the markers, and nothing is taken for lost.
    let mut daemon = Daemon::start(&scene);
    wait_for("nothing to be left unread after a restart", LIMIT, || {
        (daemon.metric("regressd_consumer_lag_messages", &[]) == 0.0).then_some(())
    });
    let more = service.metrics(now, now + MINUTE);
    write("metrics", &more, Ending::Committed);
    daemon.wait_for_messages(more.len(), LIMIT);
    assert_eq!(daemon.messages(), more.len() as f64, "taken once");
    assert_eq!(daemon.metric("regressd_messages_lost_total", &[]), 0.0);
    daemon.stop();
}

/// Whether every partition that holds anything was committed to its end.
fn is_at_end(scene: &Scene, kind: &str) -> bool {
    let committed = topic::committed(scene.brokers(), scene.group(), &scene.topic(kind));
    committed.iter().all(|(next, end)| *end == 0 || *next == Offset::Offset(*end))
}
