//! Under `exactly_once` whoever reads what is committed sees everything once, however often the daemon is killed.
//!
//! The yardstick is, as for `restart`, a daemon that read the same input undisturbed. What a reader of the output
//! topics finds here is what was committed; what a killed daemon left half published is not among it.

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use crate::checker::{assert_once, assert_same};
use crate::clock::{now_ms, wait_for};
use crate::daemon::Daemon;
use crate::input::{Input, Said, sips};
use crate::kafka::Kafka;
use crate::scene::Scene;
use crate::topic::{self, Draft};
use crate::traffic::{Noise, SECOND};

pub const LIMIT: Duration = Duration::from_secs(60);

/// `KILLS=50` asks for more.
const KILLS: usize = 5;

/// Small sips, so that it can be killed in the middle, and a member that comes back under its own name, so that nobody
/// waits for the killed one's session to end.
pub const PROPERTIES: &str = sips!(250, "\"group.instance.id\" = \"only\"");

pub const BAD: usize = 40;

#[test]
fn after_kill_9_at_any_moment_everything_is_said_once() {
    let kills = std::env::var("KILLS").map_or(KILLS, |kills| kills.parse().expect("KILLS is a number"));
    // Enough to read that the last kill finds something left to do.
    let made = (kills > KILLS).then(|| Input::every(SECOND)).map(|input| {
        let undisturbed = input.undisturbed("transactions-not");
        (input, undisturbed)
    });
    let (input, undisturbed) = made.as_ref().unwrap_or_else(|| Input::shared());
    let scene = Scene::exactly_once(Kafka::shared(), "transactions", PROPERTIES);
    assert_said_once_though_killed(&scene, input, undisturbed, (kills, 2_500), || {});
}

/// The same where the brokers say who reads what. Nobody has a name there, so each waits for the session of the one
/// before it.
#[test]
fn after_kill_9_in_a_group_that_is_the_brokers_affair_everything_is_said_once() {
    let (input, undisturbed) = Input::shared();
    let scene = Scene::exactly_once(Kafka::shared(), "brokers-affair", sips!(250)).by_the_brokers();
    assert_said_once_though_killed(&scene, input, undisturbed, (2, 2_500), || {});
}

/// Among the last hour's input, so that they come at different moments.
pub fn bad_lines() -> Vec<Draft> {
    let bad = |n: usize| Draft::bytes(now_ms() - 90_000 * (BAD - n) as i64, format!("bad {n}"));
    (0..BAD).map(bad).collect()
}

/// Kills so many daemons, each within so many milliseconds, does `between` them what else goes wrong, and compares with
/// one that nobody disturbed.
pub fn assert_said_once_though_killed(
    scene: &Scene,
    input: &Input,
    undisturbed: &Said,
    (kills, within): (usize, usize),
    between: impl Fn(),
) {
    input.write(scene);
    scene.write("logs", &bad_lines());
    let mut noise = Noise::new(&format!("kills {}", now_ms()));
    let (mut stepped, mut behind) = (Vec::new(), 0);
    for _ in 0..kills {
        let mut daemon = Daemon::launch(scene);
        wait_for("it to be at work again", LIMIT, || {
            daemon.assert_running();
            (daemon.messages() > 0.0 || daemon.is_ready()).then_some(())
        });
        // No condition to wait for: any moment is to be hit, that of a half-written checkpoint too.
        std::thread::sleep(Duration::from_millis(noise.below(within) as u64));
        stepped.push(daemon.messages());
        daemon.kill();
        between();
        behind += assert_in_step(scene);
    }
    println!("killed after {stepped:?} messages each; {behind} partitions were not read to their end then");
    assert!(behind > 0, "all kills came when nothing was left to do");
    // The last of them may have read all of it, but not each.
    input.read_on(scene);
    assert_same(scene, &input.said(scene), undisturbed);
    assert_each_bad_once(scene);
    for kind in ["metrics", "logs", "deployments"] {
        for (committed, end) in topic::committed(scene.brokers(), scene.group(), &scene.topic(kind)) {
            assert!(committed == Offset::Offset(end) || end == 0, "{kind}: {committed:?} of {end}");
        }
    }
}

/// No committed position is past the end; how many partitions are not read to their end.
fn assert_in_step(scene: &Scene) -> usize {
    let committed = topic::committed(scene.brokers(), scene.group(), &scene.topic("metrics"));
    assert!(committed.iter().all(|(committed, end)| committed.to_raw().is_none_or(|next| next <= *end)));
    committed.iter().filter(|(committed, end)| *committed != Offset::Offset(*end)).count()
}

/// Every bad message is a dead letter, once.
pub fn assert_each_bad_once(scene: &Scene) {
    let mut letters: Vec<Vec<u8>> = scene.read("dead-letter").into_iter().filter_map(|letter| letter.payload).collect();
    letters.sort();
    let mut expected: Vec<Vec<u8>> = (0..BAD).map(|n| format!("bad {n}").into_bytes()).collect();
    expected.sort();
    assert_eq!(letters, expected);
}

#[test]
fn a_fenced_producer_is_replaced_and_nothing_is_said_twice() {
    let scene = Scene::exactly_once(Kafka::shared(), "fenced", PROPERTIES);
    let mut daemon = Daemon::start(&scene);
    let bad = |n: usize| Draft::bytes(now_ms(), format!("bad {n}"));
    let begun = Instant::now();
    for n in 0..BAD {
        if n % 10 == 5 {
            // Whoever takes the same transactional id fences the one who had it.
            let mut config = ClientConfig::new();
            config.set("bootstrap.servers", scene.brokers()).set("transactional.id", scene.group());
            let other: BaseProducer = config.create().expect("valid settings");
            other.init_transactions(LIMIT).expect("the broker answers");
        }
        scene.write("logs", &[bad(n)]);
        if n % 10 == 9 {
            wait_for("the dead letters", LIMIT, || (scene.read("dead-letter").len() > n).then_some(()));
        }
    }
    assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
    daemon.assert_running();
    assert_once(&scene, "audit");
    assert_each_bad_once(&scene);
    assert!(daemon.metric("regressd_publish_retries_total", &[]) >= 1.0, "nobody was fenced");
    daemon.stop();
}

/// Longer than any test: whoever waited for the brokers to end it would wait in vain.
const OPEN_FOR_MS: &str = "600000";

/// As somebody who was killed in the middle leaves it: records in these partitions, positions of the group, no end.
fn leave_open(scene: &Scene, id: &str, records: &[(&str, i32)]) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", scene.brokers()).set("log_level", "0");
    let consumer: BaseConsumer = config.clone().set("group.id", id).create().expect("valid settings");
    config.set("transactional.id", id).set("transaction.timeout.ms", OPEN_FOR_MS);
    let producer: BaseProducer = config.create().expect("valid settings");
    producer.init_transactions(LIMIT).expect("the broker answers");
    producer.begin_transaction().expect("it has begun");
    for (kind, partition) in records {
        let topic = scene.topic(kind);
        let record = BaseRecord::<str, str>::to(&topic).partition(*partition).key("left").payload("left open");
        producer.send(record).map_err(|(error, _)| error).expect("there is room");
    }
    producer.flush(LIMIT).expect("the broker takes it");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&scene.topic("deployments"), 0, Offset::Offset(0)).expect("a valid offset");
    let group = consumer.group_metadata().expect("it has a group");
    producer.send_offsets_to_transaction(&list, &group, LIMIT).expect("the broker takes them");
}

/// Whoever comes in its place ends it before anything else, so nobody waits until the brokers do.
#[test]
fn what_the_killed_left_open_is_ended_by_whoever_comes_next() {
    let alone = Scene::exactly_once(Kafka::shared(), "left-open", "");
    let stateful = Scene::stateful(Kafka::shared(), "left-open-state", "");
    let fleet = Scene::fleet(Kafka::shared(), "left-open-fleet", 2, "");
    let outputs = [("recommendations", 0), ("audit", 0), ("dead-letter", 0)];
    leave_open(&alone, alone.group(), &outputs);
    leave_open(&stateful, stateful.group(), &[outputs.as_slice(), &[("state", 0)]].concat());
    for (seat, partition) in [("lane-0-of-2", 0), ("lane-1-of-2", 1), ("desk-of-2", 2)] {
        let id = format!("{}.{seat}", fleet.group());
        leave_open(&fleet, &id, &[outputs.as_slice(), &[("state", partition)]].concat());
    }
    for scene in [&alone, &stateful, &fleet] {
        scene.write("logs", &bad_lines());
        let ends = scene.read("dead-letter").len();
        assert_eq!(ends, 0, "nothing of it is committed");
        let begun = Instant::now();
        let daemon = Daemon::start(scene);
        wait_for("the dead letters, to a reader of what is committed", LIMIT / 2, || {
            (scene.read("dead-letter").len() == BAD).then_some(())
        });
        println!("left open: {} said all {:.1} s after its start", scene.group(), begun.elapsed().as_secs_f64());
        daemon.stop();
        assert_each_bad_once(scene);
    }
}
