//! How long does the wire take for a message? The budget is 400 ns for a sample in an array.
//!
//! The messages have the size and the fields of real ones: names of some 20 bytes, two labels, six significant digits.
//! Throughput is given in facts, so that one element costs the inverse.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use regressd::wire::inbound::{Kind, decode};
use regressd::wire::recording;
use std::hint::black_box;

fn sample(n: usize) -> String {
    format!(
        concat!(
            r#"{{"ts":{},"service":"checkout","env":"prod","version":"1.42.0","instance":"checkout-7d9f-{:03}","#,
            r#""metric":"http.server.error_ratio","value":{},"unit":"1","labels":{{"route":"/pay","method":"POST"}}}}"#,
        ),
        1_790_000_000_000u64 + n as u64,
        n % 7,
        0.013_245 + n as f64 / 1000.0,
    )
}

fn array(n: usize) -> String {
    format!("[{}]", (0..n).map(sample).collect::<Vec<_>>().join(","))
}

/// The bounds of OpenTelemetry's `http.server.request.duration`.
fn histogram() -> String {
    String::from(concat!(
        r#"{"ts":1790000000000,"service":"checkout","env":"prod","version":"1.42.0","instance":"checkout-7d9f-abc","#,
        r#""metric":"http.server.request.duration","kind":"histogram","unit":"s","#,
        r#""bounds":[0.005,0.01,0.025,0.05,0.075,0.1,0.25,0.5,0.75,1,2.5,5,7.5,10],"#,
        r#""counts":[3,12,155,871,430,120,66,12,3,1,0,0,1,0,0],"sum":93.4512,"labels":{"route":"/pay"}}"#,
    ))
}

fn log_line() -> String {
    String::from(concat!(
        r#"{"ts":1790000000000,"service":"checkout","env":"prod","version":"1.42.0","instance":"checkout-7d9f-abc","#,
        r#""severity":"ERROR","message":"payment 8813 declined: upstream \"bank\" timeout after 3000 ms","labels":{}}"#,
    ))
}

fn messages(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("decode");
    for (name, kind, facts, payload) in [
        ("one_sample", Kind::Metrics, 1, sample(0)),
        ("array_of_50_samples", Kind::Metrics, 50, array(50)),
        ("histogram", Kind::Metrics, 1, histogram()),
        ("log_line", Kind::Logs, 1, log_line()),
        ("rejected_sample", Kind::Metrics, 1, sample(0).replace(":0.013245", r#":"0.013245""#)),
    ] {
        group.throughput(Throughput::Elements(facts));
        group.bench_function(name, |bench| {
            bench.iter(|| {
                let mut taken = Vec::with_capacity(64);
                let answer = decode(kind, black_box(payload.as_bytes()), &mut taken);
                black_box((answer, taken))
            });
        });
    }
    group.finish();
}

fn envelopes(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("envelope");
    for (name, facts) in [("of_one_sample", 1), ("of_50_samples", 50)] {
        let payload = serde_json::to_string(&array(facts)).expect("text is JSON");
        let line = format!(
            r#"{{"topic":"metrics","partition":0,"offset":17,"ts":1790000000000,"key":null,"payload":{payload}}}"#
        );
        group.throughput(Throughput::Elements(facts as u64));
        group.bench_function(name, |bench| bench.iter(|| recording::parse(black_box(line.as_bytes())).is_ok()));
    }
    group.finish();
}

criterion_group!(benches, messages, envelopes);
criterion_main!(benches);
