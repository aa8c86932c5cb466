//! Ten thousand messages that something went wrong with: each is taken or comes out as a dead letter, none is lost.
//!
//! The decoder, called here as a plain function, says in advance which is which. What the daemon must add to it over a
//! real broker is that the count is right, that the dead letters are whole, and that the stream goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use regressd::wire::inbound::{Kind, decode};
use serde_json::json;

use crate::clock::{now_ms, wait_for};
use crate::daemon::Daemon;
use crate::kafka::Kafka;
use crate::scene::Scene;
use crate::topic::Draft;
use crate::traffic::{MINUTE, Noise, Service};

const COUNT: usize = 10_000;
const KINDS: [(&str, Kind); 4] =
    [("metrics", Kind::Metrics), ("logs", Kind::Logs), ("deployments", Kind::Deployments), ("control", Kind::Control)];
/// As the scene configures it: above this, nothing is decoded.
const MESSAGE_BYTES_MAX: usize = 500_000;
/// No broker with the usual limits would take a dead letter that holds so much: only size and hash come out.
const TOO_LARGE_FOR_A_LETTER: usize = 950_000;

#[test]
fn every_mutated_message_is_taken_or_dead_lettered() {
    let scene = Scene::new(Kafka::shared(), "mutations");
    // Some mutants of log lines look like secrets; here every byte has to come back.
    scene.configure("[privacy]\nmask_dead_letters = false\n");
    let mut daemon = Daemon::start(&scene);
    let now = now_ms();
    let deployed_at = now - 10 * MINUTE;
    let service = Service::new("afterwards").deployed_at(deployed_at).broken();
    let history = service.metrics(now - 180 * MINUTE, deployed_at);
    scene.write("metrics", &history);
    daemon.wait_for_messages(history.len(), Duration::from_secs(60));

    for (kind, drafts) in &mutants(deployed_at) {
        scene.write(kind, drafts);
    }
    let written = history.len() + COUNT;
    daemon.wait_for_messages(written, Duration::from_secs(60));
    assert_eq!(daemon.messages(), written as f64, "more than there was");
    check_letters(&scene, &daemon);

    // It is as well as before: a regression among good messages is found.
    scene.write("deployments", &[service.deployment()]);
    scene.write("metrics", &service.metrics(deployed_at, now + 2 * MINUTE));
    wait_for("the recommendation", Duration::from_secs(150), || scene.regression("deploy-afterwards"));
    daemon.assert_running();
    daemon.stop();
}

/// The dead letters are exactly the messages that the decoder refuses, byte for byte.
fn check_letters(scene: &Scene, daemon: &Daemon) {
    let mut expected = BTreeMap::new();
    for (topic, kind) in KINDS {
        for record in scene.read(topic) {
            let payload = record.payload.unwrap_or_default();
            if payload.len() > MESSAGE_BYTES_MAX || decode(kind, &payload, &mut Vec::new()).is_err() {
                let place = (scene.topic(topic), record.partition.to_string(), record.offset.to_string());
                expected.insert(place, payload);
            }
        }
    }
    let share = expected.len() as f64 / COUNT as f64;
    assert!((0.2..0.95).contains(&share), "the mutations are too mild or too wild: {share} of them are refused");

    let letters = wait_for("all dead letters", Duration::from_secs(30), || {
        Some(scene.read("dead-letter")).filter(|letters| letters.len() >= expected.len())
    });
    assert_eq!(daemon.metric("regressd_dead_letters_total", &[]), expected.len() as f64);
    let mut seen = BTreeSet::new();
    for letter in &letters {
        let header = |name: &str| letter.header(name).unwrap_or_default();
        let place = (header("regressd-topic"), header("regressd-partition"), header("regressd-offset"));
        let original = expected.get(&place).unwrap_or_else(|| panic!("{place:?} could have been taken"));
        if original.len() == TOO_LARGE_FOR_A_LETTER {
            assert_eq!(header("regressd-omitted-bytes"), TOO_LARGE_FOR_A_LETTER.to_string());
        } else {
            assert!(letter.payload.as_deref().unwrap_or_default() == original, "{place:?} was changed");
        }
        assert!(seen.insert(place.clone()), "{place:?} came out twice");
    }
    assert_eq!(seen.len(), expected.len());
}

fn mutants(now: i64) -> BTreeMap<&'static str, Vec<Draft>> {
    let mut noise = Noise::new("mutations");
    let mut mutants: BTreeMap<&str, Vec<Draft>> = BTreeMap::new();
    for n in 0..COUNT {
        let (kind, _) = KINDS[n % KINDS.len()];
        let payload = match n {
            // Of each kind one above the limit, one far above it, one far deeper than any parser should follow.
            0..4 => Some(vec![b' '; MESSAGE_BYTES_MAX + 1]),
            4..8 => Some(vec![b' '; TOO_LARGE_FOR_A_LETTER]),
            8..12 => Some(vec![b'['; 100_000]),
            _ if noise.below(200) == 0 => None,
            _ => Some(mutated(good(kind, now, n), &mut noise)),
        };
        mutants.entry(kind).or_default().push(Draft { ts: now, key: Some(format!("{}", n % 50)), payload });
    }
    mutants
}

fn good(kind: &str, now: i64, n: usize) -> Vec<u8> {
    let long_ago = now - 100 * 24 * 60 * MINUTE;
    let value = match kind {
        "metrics" => json!([
            {"ts": now, "service": "mutant", "env": "lab", "version": "1", "instance": "a", "metric": "m", "value": 0.5,
             "labels": {"route": "/pay"}},
            {"ts": now, "service": "mutant", "env": "lab", "metric": "h", "kind": "histogram", "unit": "ms",
             "bounds": [1.0, 2.5, 10.0], "counts": [3, 2, 1, 0], "sum": 9.75},
        ]),
        "logs" => {
            json!({"ts": now, "service": "mutant", "env": "lab", "severity": "ERROR", "message": "declined",
            "labels": {}})
        }
        "deployments" => {
            json!({"ts": now, "id": format!("deploy-{n}"), "service": "mutant", "env": "lab", "version": "2",
            "previous_version": "1", "instances": ["a", "b"], "reversible": true})
        }
        _ => json!({"ts": long_ago, "type": "freeze", "scope": {"env": "lab", "service": "mutant"}, "from": long_ago,
            "to": long_ago + MINUTE, "reason": "sale", "by": "ana"}),
    };
    value.to_string().into_bytes()
}

/// One to three things go wrong.
fn mutated(mut bytes: Vec<u8>, noise: &mut Noise) -> Vec<u8> {
    const INSERTS: [&[u8]; 14] = [
        b"NaN",
        b"1e999",
        b"-1",
        b"null",
        b"\"\"",
        b"{}",
        b"[]",
        b"\\ud800",
        b"\xf0\x9f\x92\xa9",
        b"\xc3\x28",
        b"\0",
        b"18446744073709551616",
        b",",
        b"\"ts\":0,",
    ];
    for _ in 0..=noise.below(3) {
        if bytes.is_empty() {
            break;
        }
        let at = noise.below(bytes.len());
        let end = (at + 1 + noise.below(12)).min(bytes.len());
        match noise.below(8) {
            0 => bytes[at] ^= 1 << noise.below(8),
            1 => bytes[at] = noise.below(256) as u8,
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            5 => drop(bytes.splice(at..end, INSERTS[noise.below(INSERTS.len())].iter().copied())),
            // Digits become other digits: the message stays readable and says something else.
            6 => {
                if let Some(digit) = bytes[at..].iter_mut().find(|byte| byte.is_ascii_digit()) {
                    *digit = b'0' + noise.below(10) as u8;
                }
            }
            _ => bytes.extend_from_slice(INSERTS[noise.below(INSERTS.len())]),
        }
    }
    bytes
}
