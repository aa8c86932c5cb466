//! The wire contract, message by message: what is taken and as what, what is refused and why, what is published.
//!
//! The files under `tests/contract/` are only ever added to: a message that was taken once is taken the same way for
//! ever, and other people's consumers read what stands in `published/`. `UPDATE=1` writes the expectations anew; read
//! the difference before you keep it.

#[path = "contract/published.rs"]
mod published;

use regressd::engine::event::{Fact, Labels, Origin, Reading};
use regressd::wire::inbound::{Kind, RejectReason, Rejected, decode};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn accepted() {
    for path in inputs("accepted") {
        let payload = fs::read(&path).unwrap();
        let mut facts = Vec::new();
        let taken = decode(kind(&path), &payload, &mut facts);
        assert_eq!(taken, Ok(()), "{}", path.display());
        let text: String = facts.iter().map(rendered).collect();
        expect(&path.with_extension("txt"), &text);
    }
}

#[test]
fn rejected() {
    let mut list = String::new();
    for path in inputs("rejected") {
        let payload = fs::read(&path).unwrap();
        let mut facts = vec![Fact::Drain];
        let taken = decode(kind(&path), &payload, &mut facts);
        let Err(Rejected { reason, detail }) = taken else { panic!("{} was taken: {facts:?}", path.display()) };
        assert_eq!(facts, [Fact::Drain], "{}: all or nothing", path.display());
        let name = path.file_name().unwrap().to_string_lossy();
        writeln!(list, "{name}\n    {}: {detail}", reason.word()).unwrap();
    }
    expect(&directory().join("rejected.txt"), &list);
}

#[test]
fn limits() {
    let long = "x".repeat(1025);
    let labels = |count: usize| (0..count).map(|n| format!(r#""l{n}":"v""#)).collect::<Vec<_>>().join(",");
    let numbers = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let sample = |rest: &str| format!(r#"{{"ts":1790000000000,"metric":"m",{rest}}}"#);
    let histogram = |bounds: usize| {
        let (bounds, counts) = (numbers(bounds), numbers(bounds + 1));
        sample(&format!(r#""service":"s","kind":"histogram","bounds":[{bounds}],"counts":[{counts}]"#))
    };
    let deep = |depth: usize| format!(r#""service":"s","value":1,"x":{}{}"#, "[".repeat(depth), "]".repeat(depth));
    for (payload, expected) in [
        (sample(&format!(r#""service":"{}","value":1"#, &long[..1024])), None),
        (sample(&format!(r#""service":"{long}","value":1"#)), Some(RejectReason::TooLong)),
        (sample(&format!(r#""service":"s","value":1,"version":"{long}""#)), Some(RejectReason::TooLong)),
        (sample(&format!(r#""service":"s","value":1,"labels":{{"{long}":""}}"#)), Some(RejectReason::TooLong)),
        (sample(&format!(r#""service":"s","value":1,"labels":{{{}}}"#, labels(64))), None),
        (sample(&format!(r#""service":"s","value":1,"labels":{{{}}}"#, labels(65))), Some(RejectReason::TooMany)),
        (sample(&format!(r#""service":"{}","value":1"#, "x".repeat(1 << 20))), Some(RejectReason::TooLong)),
        (histogram(200), None),
        (histogram(201), Some(RejectReason::TooMany)),
        (sample(&deep(100_000)), None),
        ("[".repeat(100_000), Some(RejectReason::WrongType)),
    ] {
        let taken = decode(Kind::Metrics, payload.as_bytes(), &mut Vec::new());
        assert_eq!(taken.map_err(|rejected| rejected.reason).err(), expected, "{}", &payload[..payload.len().min(80)]);
    }
}

#[test]
fn a_long_log_message_is_cut_between_characters() {
    for (unit, escaped) in [("é", "é"), ("é", "\\u00e9")] {
        let payload = format!(
            r#"{{"ts":1790000000000,"service":"s","severity":"INFO","message":"a{}"}}"#,
            escaped.repeat(40_000)
        );
        let mut facts = Vec::new();
        decode(Kind::Logs, payload.as_bytes(), &mut facts).unwrap();
        let Fact::Log(line) = &facts[0] else { panic!("{facts:?}") };
        // 65,536 bytes would end in the middle of a two-byte character, as the first one has one byte.
        assert_eq!(line.message, format!("a{}", unit.repeat(32_767)));
    }
}

#[test]
fn text_without_escapes_is_borrowed() {
    for payload in [
        r#"{"ts":1790000000000,"service":"s","version":"1","metric":"m","value":1,"labels":{"a":"b"}}"#,
        r#"[{"ts":1790000000000,"service":"s","version":"1","metric":"m","value":1,"labels":{"a":"b"}}]"#,
    ] {
        let mut facts = Vec::new();
        decode(Kind::Metrics, payload.as_bytes(), &mut facts).unwrap();
        let Fact::Sample(sample) = &facts[0] else { panic!("{facts:?}") };
        let (name, value) = &sample.labels[0];
        let origin = &sample.origin;
        for text in [&origin.service, origin.version.as_ref().unwrap(), &sample.metric, name, value] {
            assert!(matches!(text, Cow::Borrowed(_)), "{text} was copied");
        }
    }
}

#[test]
fn every_reason_has_an_example() {
    let list = fs::read_to_string(directory().join("rejected.txt")).unwrap();
    // The reasons that take a large message stand in `limits`; the rest only the reader of the topic can see.
    let elsewhere = [
        RejectReason::TooLong,
        RejectReason::TooMany,
        RejectReason::TooLarge,
        RejectReason::Unsigned,
        RejectReason::UnknownSigner,
        RejectReason::BadSignature,
        RejectReason::Poison,
    ];
    for reason in RejectReason::ALL.iter().filter(|reason| !elsewhere.contains(reason)) {
        assert!(list.contains(&format!("    {}: ", reason.word())), "no rejected message for {}", reason.word());
    }
}

#[test]
fn details_never_repeat_a_value() {
    let list = fs::read_to_string(directory().join("rejected.txt")).unwrap();
    assert!(!list.contains("secret"), "a value stands in a detail");
}

pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contract")
}

/// Holds `text` against the file, or with `UPDATE=1` writes it there.
pub fn expect(path: &Path, text: &str) {
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, text).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(text, expected, "{} (UPDATE=1 writes it anew)", path.display());
}

fn inputs(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = entries.filter(|path| path.extension().is_none_or(|kind| kind != "txt")).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no messages in {folder}");
    paths
}

/// The topic's kind is the first word of the file's name.
fn kind(path: &Path) -> Kind {
    let name = path.file_name().unwrap().to_str().unwrap();
    match name.split('-').next().unwrap() {
        "metrics" => Kind::Metrics,
        "logs" => Kind::Logs,
        "deployments" => Kind::Deployments,
        "control" => Kind::Control,
        other => panic!("no topic is called {other}"),
    }
}

fn rendered(fact: &Fact) -> String {
    let mut out = String::new();
    match fact {
        Fact::Sample(sample) => {
            writeln!(out, "sample {} {}", sample.at.0, about(&sample.origin)).unwrap();
            let reading = match &sample.reading {
                Reading::Gauge(value) => format!("gauge {value:?}"),
                Reading::Counter(value) => format!("counter {value:?}"),
                Reading::Delta(value) => format!("delta {value:?}"),
                Reading::Histogram(buckets) => {
                    format!("histogram bounds {:?} counts {:?} sum {:?}", buckets.bounds, buckets.counts, buckets.sum)
                }
            };
            writeln!(out, "  {:?} {reading} unit {:?}", sample.metric, sample.unit).unwrap();
            out += &labels(&sample.labels);
        }
        Fact::Log(line) => {
            writeln!(out, "log {} {}", line.at.0, about(&line.origin)).unwrap();
            writeln!(out, "  {:?} {:?}", line.severity, line.message).unwrap();
            out += &labels(&line.labels);
        }
        // These are few and flat enough to be read as they are.
        Fact::Deployment(deployment) => writeln!(out, "{deployment:?}").unwrap(),
        Fact::Control(control) => writeln!(out, "{control:?}").unwrap(),
        other => panic!("no message says {other:?}"),
    }
    out
}

fn about(origin: &Origin) -> String {
    let Origin { service, env, version, instance } = origin;
    format!("env {env:?} service {service:?} version {version:?} instance {instance:?}")
}

fn labels(labels: &Labels) -> String {
    labels.iter().map(|(name, value)| format!("  label {name:?} = {value:?}\n")).collect()
}
