//! What can't be taken comes out whole, with its origin and the reason, and holds up nothing.

use std::time::Duration;

use crate::clock::{now_ms, wait_for};
use crate::daemon::Daemon;
use crate::http;
use crate::kafka::Kafka;
use crate::scene::Scene;
use crate::topic::{Draft, Record};
use crate::traffic::{MINUTE, Service};

/// Topic, payload, and the word that says what is wrong with it.
const BAD: [(&str, &[u8], &str); 8] = [
    ("metrics", b"rubbish", "not_json"),
    ("metrics", b"\xff\xfe\x00", "not_utf8"),
    ("metrics", br#"{"ts":1790000000000,"service":"checkout","metric":"m"}"#, "missing_field"),
    ("metrics", br#"{"ts":1790000000,"service":"checkout","metric":"m","value":1}"#, "bad_timestamp"),
    ("metrics", b"", "empty"),
    ("logs", br#"{"ts":1790000000000,"service":"checkout","severity":"LOUD","message":"m"}"#, "unknown_severity"),
    ("deployments", br#"{"ts":"yesterday","id":"d","service":"checkout"}"#, "wrong_type"),
    ("control", br#"{"ts":1790000000000,"type":"party","by":"ana"}"#, "unknown_word"),
];

#[test]
fn bad_messages_come_out_as_they_went_in_and_the_stream_goes_on() {
    let scene = Scene::new(Kafka::shared(), "dead-letters");
    let mut daemon = Daemon::start(&scene);
    let now = now_ms();
    for (kind, payload, _) in BAD {
        let key = Some("a key of theirs".to_owned());
        scene.write(kind, &[Draft { key, ..Draft::bytes(now, payload) }]);
    }
    scene.write("metrics", &[Draft { payload: None, ..Draft::bytes(now, "") }]);
    let bad = BAD.len() + 1;
    let letters = wait_for("the dead letters", Duration::from_secs(30), || {
        Some(scene.read("dead-letter")).filter(|letters| letters.len() >= bad)
    });
    assert_eq!(letters.len(), bad);
    for (kind, payload, reason) in BAD {
        let letter = letters
            .iter()
            .find(|letter| letter.payload.as_deref() == Some(payload) && letter.key.is_some())
            .unwrap_or_else(|| panic!("no dead letter for {}", String::from_utf8_lossy(payload)));
        check_origin(&scene, letter, kind);
        assert_eq!(letter.header("regressd-reason").as_deref(), Some(reason));
        assert!(letter.header("regressd-detail").is_some_and(|detail| !detail.is_empty()));
        assert!(daemon.metric("regressd_dead_letters_total", &[("kind", kind), ("reason", reason)]) >= 1.0);
    }

    let service = Service::new("afterwards");
    let good = service.metrics(now - 5 * MINUTE, now);
    scene.write("metrics", &good);
    daemon.wait_for_messages(bad + good.len(), Duration::from_secs(30));
    assert_eq!(scene.read("dead-letter").len(), bad, "a good message was refused");
    daemon.stop();
}

#[test]
fn a_sender_that_is_broken_altogether_is_stopped_and_not_drained() {
    const LIMIT: Duration = Duration::from_secs(30);
    let scene = Scene::new(Kafka::shared(), "circuit");
    scene.configure("[dead_letters]\nin_a_row = 50\n");
    let mut daemon = Daemon::start(&scene);
    let now = now_ms();
    // One key, so one partition; the other one's sender is well.
    let broken: Vec<Draft> = (0..120).map(|n| Draft { key: Some("a".into()), ..Draft::bytes(now + n, "{") }).collect();
    scene.write("logs", &broken);
    let not_ready = || http::get(scene.http(), "/readyz").ok().filter(|answer| answer.status == 503);
    let answer = wait_for("the partition to be stopped", LIMIT, not_ready);
    assert!(answer.body.contains("input_stopped"), "{}", answer.body);
    assert_eq!(daemon.metric("regressd_partitions_stopped", &[]), 1.0);

    // Everything else goes on, and a restart goes no further than the limit does.
    let good = Service::new("beside").metrics(now - 5 * MINUTE, now);
    scene.write("metrics", &good);
    daemon.wait_for_messages(50 + good.len(), LIMIT);
    assert_eq!(scene.read("dead-letter").len(), 50);
    daemon.stop();
    daemon = Daemon::launch(&scene);
    wait_for("the partition to be stopped again", LIMIT, || {
        (daemon.metric("regressd_partitions_stopped", &[]) == 1.0).then_some(())
    });
    assert_eq!(scene.read("dead-letter").len(), 100);

    scene.configure("[dead_letters]\nin_a_row = 0\n");
    let letters = wait_for("the rest of the dead letters", LIMIT, || {
        Some(scene.read("dead-letter")).filter(|letters| letters.len() >= broken.len())
    });
    let offsets: Vec<String> = letters.iter().filter_map(|letter| letter.header("regressd-offset")).collect();
    let expected: Vec<String> = (0..broken.len()).map(|offset| offset.to_string()).collect();
    assert_eq!(offsets, expected, "each once, in order, none skipped");
    wait_for("readiness", LIMIT, || daemon.is_ready().then_some(()));
    daemon.stop();
}

/// The headers lead to the original, and the original is what the letter holds.
pub fn check_origin(scene: &Scene, letter: &Record, kind: &str) {
    let header = |name: &str| letter.header(name).unwrap_or_else(|| panic!("no header {name} in {letter:?}"));
    assert_eq!(header("regressd-topic"), scene.topic(kind));
    let place = (header("regressd-partition"), header("regressd-offset"));
    let source = scene.read(kind);
    let original = source
        .iter()
        .find(|record| (record.partition.to_string(), record.offset.to_string()) == place)
        .unwrap_or_else(|| panic!("{place:?} of {kind} has no record"));
    assert_eq!(original.payload.as_deref().unwrap_or_default(), letter.payload.as_deref().unwrap_or_default());
    assert_eq!(original.key, letter.key);
}
