//! What must hold after any fault, once the daemon has read all there is.
//!
//! No verdict lost, none invented, the same words under the same id; positions in order and never ahead; everything
//! that a partition held accounted for, exactly; memory bounded. The truth is the input's own and an undisturbed run's;
//! how many facts a partition holds is counted here, from the topic, by the decoder as a plain function.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use regressd::wire::inbound::{Kind, decode};

use crate::clock::wait_for;
use crate::daemon::Daemon;
use crate::input::{Input, Said};
use crate::scene::Scene;
use crate::topic::{self, Record};

const LIMIT: Duration = Duration::from_secs(60);

/// Input topics, with what they hold.
const KINDS: [(&str, Kind); 4] =
    [("metrics", Kind::Metrics), ("logs", Kind::Logs), ("deployments", Kind::Deployments), ("control", Kind::Control)];

/// As the scene configures it: above this, nothing is decoded.
const MESSAGE_BYTES_MAX: usize = 500_000;

const STAGES: [&str; 4] = ["stepped", "acknowledged", "remembered", "committed"];

/// A daemon at the input's size takes some 100 MiB in a debug build; what grows with the fault would pass this.
const MEMORY_MAX: f64 = 400e6;

/// All of it, for a daemon that has read the shared input.
pub fn check(daemon: &mut Daemon, scene: &Scene) {
    let (input, undisturbed) = Input::shared();
    check_reading(daemon, scene);
    assert_same(scene, &input.said(scene), undisturbed);
}

/// What holds whatever was read.
pub fn check_reading(daemon: &mut Daemon, scene: &Scene) {
    daemon.assert_running();
    for (kind, what) in KINDS {
        let ends = topic::committed(scene.brokers(), scene.group(), &scene.topic(kind));
        let ends = ends.into_iter().zip(0..).filter(|((_, end), _)| *end > 0);
        let records = scene.read(kind);
        for ((_, end), partition) in ends {
            check_partition(daemon, scene, &scene.topic(kind), partition, end);
            let records: Vec<&Record> = records.iter().filter(|each| each.partition == partition).collect();
            check_account(daemon, &scene.topic(kind), partition, what, &records);
        }
    }
    assert!(daemon.memory() < MEMORY_MAX, "{} bytes are too many", daemon.memory());
    let log = fs::read_to_string(scene.log()).unwrap_or_default();
    for word in ["CONFWARN", "panicked"] {
        assert!(!log.contains(word), "{word} in {}", scene.log().display());
    }
}

/// Read to its end, acknowledged, remembered, committed, and at no moment one before the other.
fn check_partition(daemon: &Daemon, scene: &Scene, topic: &str, partition: i32, end: i64) {
    let number = partition.to_string();
    wait_for(&format!("{topic}/{partition} to be read and committed to {end}"), LIMIT, || {
        let exposition = daemon.exposition()?;
        let at = STAGES.map(|stage| position(&exposition, topic, &number, stage));
        assert!(at.is_sorted_by(|a, b| a >= b), "{topic}/{partition}: {at:?} is out of order, {STAGES:?}");
        at.iter().all(|next| *next == Some(end)).then_some(())
    });
    wait_for("the group to be as far", LIMIT, || {
        let (committed, end) = topic::committed(scene.brokers(), scene.group(), topic)[partition as usize];
        let committed = committed.to_raw()?;
        assert!(committed <= end, "{topic}/{partition}: committed {committed} of {end}");
        (committed == end).then_some(())
    });
}

fn position(exposition: &str, topic: &str, partition: &str, stage: &str) -> Option<i64> {
    let series =
        format!("regressd_partition_position{{partition=\"{partition}\",stage=\"{stage}\",topic=\"{topic}\"}} ");
    exposition.lines().find_map(|line| line.strip_prefix(&series))?.parse().ok()
}

/// consumed = applied + duplicate + late + ahead + overflow + dead letters, as the topic itself tells what there was.
/// Of a daemon that went on where another stood, only what it took itself.
fn check_account(daemon: &Daemon, topic: &str, partition: i32, kind: Kind, records: &[&Record]) {
    let number = partition.to_string();
    let place = [("topic", topic), ("partition", number.as_str())];
    let messages = daemon.metric("regressd_partition_messages_total", &place) as usize;
    let taken = &records[records.len().saturating_sub(messages)..];
    let (mut facts, mut refused) = (0, 0);
    for record in taken {
        let payload = record.payload.as_deref().unwrap_or_default();
        let mut decoded = Vec::new();
        match payload.len() <= MESSAGE_BYTES_MAX && decode(kind, payload, &mut decoded).is_ok() {
            true => facts += decoded.len(),
            false => refused += 1,
        }
    }
    let count = |outcome: &str| {
        daemon.metric("regressd_partition_facts_total", &[place[0], place[1], ("outcome", outcome)]) as usize
    };
    let used = ["applied", "duplicate", "late", "ahead", "overflow"].map(count);
    assert_eq!(used.iter().sum::<usize>(), facts, "{topic}/{partition}: of {facts} facts {used:?}");
    assert_eq!(count("dead_letter"), refused, "{topic}/{partition}: dead letters");
}

/// The same ids with the same words, or it shows what the one said and the other did not, and how that came about. What
/// is published in transactions stands there once.
pub fn assert_same(scene: &Scene, said: &Said, undisturbed: &Said) {
    let only = |these: &Said, those: &Said| -> Vec<String> {
        these.iter().filter(|(id, _)| !those.contains_key(*id)).flat_map(|(_, messages)| messages.clone()).collect()
    };
    let (more, less) = (only(said, undisturbed), only(undisturbed, said));
    let audit = || -> Vec<String> { scene.read("audit").iter().map(|entry| entry.json().to_string()).collect() };
    assert!(more.is_empty() && less.is_empty(), "too much: {more:#?}\ntoo little: {less:#?}\naudit: {:#?}", audit());
    for (id, messages) in said {
        let differ = messages.iter().find(|message| **message != undisturbed[id][0]);
        assert!(differ.is_none(), "one id, two contents: {differ:#?}\nundisturbed: {:#?}", undisturbed[id]);
    }
    if scene.is_exactly_once() {
        assert_once(scene, "recommendations");
        assert_once(scene, "audit");
    }
}

/// No two messages of the topic have the same id.
pub fn assert_once(scene: &Scene, kind: &str) {
    let mut entries: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in scene.read(kind) {
        let entry = entry.json();
        let id = entry["id"].as_str().expect("every entry has an id").to_owned();
        entries.entry(id).or_default().push(entry.to_string());
    }
    let twice: Vec<_> = entries.values().filter(|entries| entries.len() > 1).collect();
    assert!(twice.is_empty(), "in {kind} twice: {twice:#?}");
}
