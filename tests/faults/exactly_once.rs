//! Under `exactly_once` whoever reads what is committed sees everything once, however often the daemon is killed.
//!
//! The yardstick is, as for `restart`, a daemon that read the same input undisturbed. What a reader of the output
//! topics finds here is what was committed; what a killed daemon left half published is not among it.

use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer};

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
