//! Whatever a topic carries is taken or refused, never a panic, and what is taken keeps the rules.
//!
//! Random bytes, valid messages with a few bytes changed, and documents put together at random from the topics' own
//! words, which reach deeper than noise does. A few thousand cases, or as many as `CASES` says; `fuzz/` asks the same
//! laws where a nightly toolchain can steer by coverage. The wire contract itself is pinned elsewhere.

#[path = "laws/finite.rs"]
mod finite;
#[path = "laws/stepped.rs"]
mod stepped;
#[path = "laws/taken.rs"]
mod taken;

use proptest::prelude::*;
use regressd::engine::event::{Fact, LogLine, Origin, Reading, Sample, Severity};
use regressd::engine::time::Time;
use regressd::wire::inbound::{Kind, decode};
use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use stepped::stepped;
use taken::taken_or_refused;

/// Every message that is accepted, to be damaged, and every nasty one that is kept.
fn messages() -> &'static [Vec<u8>] {
    static MESSAGES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    MESSAGES.get_or_init(|| {
        let folders = ["contract/accepted", "nasty"]
            .map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder));
        let mut paths: Vec<_> = folders
            .iter()
            .flat_map(|folder| fs::read_dir(folder).unwrap())
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
    })
}

/// `CASES=10000000` asks for so many of each property.
fn cases() -> u32 {
    std::env::var("CASES").map_or(1_500, |cases| cases.parse().expect("CASES is a number"))
}

/// Values that are right, nearly right, or rubbish.
const VALUES: &[&str] = &[
    "1790000000000",
    "1790000000",
    "0",
    "-1",
    "1e999",
    "0.5",
    "NaN",
    "null",
    "true",
    "\"\"",
    "\"prod\"",
    "\"17\"",
    "\"ERROR\"",
    "\"counter\"",
    "\"histogram\"",
    "\"freeze\"",
    "\"missed\"",
    "\"\\ud800\"",
    "\"\\u0000é\"",
    "{}",
    "[]",
    "[1,2]",
    "[2,1]",
    "[1,2,3]",
    "[\"a\",\"\"]",
    "18446744073709551616",
];

/// The topics' own field names.
const NAMES: &[&str] = &[
    "ts",
    "id",
    "service",
    "env",
    "version",
    "instance",
    "metric",
    "kind",
    "value",
    "bounds",
    "counts",
    "sum",
    "labels",
    "severity",
    "message",
    "type",
    "scope",
    "from",
    "to",
    "by",
    "verdict",
    "deployment",
    "recommendation",
    "decision",
    "instances",
    "reversible",
    "topic",
    "payload",
    "context",
    "subject",
];

/// A piece of JSON made of the topics' own field names and values that are right, nearly right, or rubbish.
fn piece() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(VALUES).prop_map(String::from);
    leaf.prop_recursive(3, 40, 8, |inner| {
        let name = prop::sample::select(NAMES);
        let fields = prop::collection::vec((name, inner.clone()), 0..12);
        prop_oneof![
            fields.prop_map(|fields| {
                let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                format!("{{{}}}", fields.join(","))
            }),
            prop::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(","))),
        ]
    })
}

fn sample_of(service: &str, metric: &str, value: f64, labels: &[(String, String)]) -> String {
    let labels: serde_json::Map<_, _> =
        labels.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
    let ts = 1_790_000_000_000i64;
    serde_json::json!({"ts": ts, "service": service, "metric": metric, "value": value, "labels": labels}).to_string()
}

#[test]
fn every_nasty_message_is_taken_or_refused() {
    assert!(messages().len() > 80, "the corpus is not there");
    messages().iter().for_each(|message| taken_or_refused(message));
}

/// A byte of a message that is another one.
fn change() -> impl Strategy<Value = Option<(prop::sample::Index, u8)>> {
    any::<Option<(prop::sample::Index, u8)>>()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(payload in prop::collection::vec(any::<u8>(), 0..200)) {
        taken_or_refused(&payload);
    }

    #[test]
    fn damaged_messages(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..6),
    ) {
        let mut payload = which.get(messages()).clone();
        for (place, byte, how) in changes {
            let place = place.index(payload.len() + 1);
            match how {
                0 => payload.truncate(place),
                1 => payload.insert(place, byte),
                _ if place == payload.len() => payload.push(byte),
                2 => payload[place] = byte,
                _ => drop(payload.remove(place)),
            }
        }
        taken_or_refused(&payload);
    }

    #[test]
    fn streams_of_anything_leave_a_finite_state(
        lines in prop::collection::vec((any::<u8>(), any::<prop::sample::Index>(), change()), 1..12),
    ) {
        let mut stream = Vec::new();
        for (head, which, change) in lines {
            let mut line = which.get(messages()).clone();
            if let Some((place, byte)) = change.filter(|_| !line.is_empty()) {
                let place = place.index(line.len());
                line[place] = byte;
            }
            line.retain(|byte| *byte != b'\n');
            stream.push(head);
            stream.extend(line);
            stream.push(b'\n');
        }
        stepped(&stream);
    }

    #[test]
    fn documents_of_our_own_words(document in piece()) {
        taken_or_refused(document.as_bytes());
    }

    #[test]
    fn a_sample_is_what_was_written(
        service in "\\PC{1,20}",
        metric in "[a-z.\"\\\\\n]{1,20}",
        value in any::<f64>().prop_filter("JSON has no other", |value| value.is_finite()),
        labels in prop::collection::btree_map("\\PC{1,8}", "\\PC{0,8}", 0..5),
    ) {
        let labels: Vec<(String, String)> = labels.into_iter().collect();
        let payload = sample_of(&service, &metric, value, &labels);
        let mut facts = Vec::new();
        prop_assert_eq!(decode(Kind::Metrics, payload.as_bytes(), &mut facts), Ok(()));
        let Fact::Sample(Sample { at, origin, metric: name, reading, labels: pairs, .. }) = &facts[0] else {
            panic!("{facts:?}")
        };
        let Reading::Gauge(gauge) = reading else { panic!("{reading:?}") };
        let expected = Origin { service: service.into(), env: "default".into(), ..Origin::default() };
        prop_assert_eq!((*at, origin, &**name), (Time(1_790_000_000_000), &expected, &*metric));
        // Reading the nearest float costs more than the few last bits are worth to a level or a count.
        prop_assert!((gauge - value).abs() <= value.abs() * 8.0 * f64::EPSILON + f64::MIN_POSITIVE, "{gauge} {value}");
        let pairs: Vec<(String, String)> = pairs.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        prop_assert_eq!(pairs, labels);
    }

    #[test]
    fn a_log_message_is_what_was_written(message in "(\\PC|\n|\t){0,200}") {
        let line = serde_json::json!({"ts": 1_790_000_000_000i64, "service": "s", "severity": 17, "message": message});
        let payload = line.to_string();
        let mut facts = Vec::new();
        prop_assert_eq!(decode(Kind::Logs, payload.as_bytes(), &mut facts), Ok(()));
        let Fact::Log(LogLine { severity, message: read, .. }) = &facts[0] else { panic!("{facts:?}") };
        prop_assert_eq!((*severity, &**read), (Severity::Error, &*message));
    }
}
