//! How long does a log line take, from bytes to evidence? The budget is a million lines a minute for one core: 60 µs.
//!
//! Lines are those of a busy shop: forty kinds, a dozen variables, five instances, one in twenty an error, one in a
//! hundred a stack trace. The service is under watch, so every line is counted for the evidence too, and each round
//! ends with a look. Decoding is that of arrays of fifty lines. Throughput is given in lines.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use regressd::engine::Engine;
use regressd::engine::effect::Effect;
use regressd::engine::event::{Deployment, Fact, Input};
use regressd::engine::logs::mask::mask;
use regressd::engine::policy::Policy;
use regressd::engine::time::{Span, Time};
use regressd::wire::inbound::{Kind, decode};
use std::hint::black_box;

const START: i64 = 1_790_000_000_000;
const LINES: usize = 5_000;

fn message(n: usize) -> (&'static str, String) {
    let id = n.wrapping_mul(2_654_435_761) % 1_000_000;
    match n % 100 {
        0 => (
            "ERROR",
            format!("java.io.IOException: no route to 10.0.0.{}\\n\\tat com.shop.Store.read(Store.java:{id})", n % 250),
        ),
        each if each % 20 == 7 => ("ERROR", format!("payment {id} declined: upstream timeout after {} ms", id % 4_000)),
        each if each % 10 == 3 => ("WARN", format!("slow query took {} ms on 10.0.7.{}", id % 900, n % 9)),
        each => (
            "INFO",
            format!(
                "step {} of order 7f1f2c3a-0d3a-4c1e-9d4b-{id:012x} done in {} ms, path /api/v1/items/{id}, part {}",
                ["reserve", "price", "pack", "ship"][each % 4],
                id % 700,
                ["north", "south", "east"][each % 3],
            ),
        ),
    }
}

fn payloads(from: i64, version: &str) -> Vec<String> {
    let line = |n: usize| {
        let (severity, message) = message(n);
        format!(
            concat!(
                r#"{{"ts":{},"service":"checkout","env":"prod","version":"{}","instance":"checkout-{}","#,
                r#""severity":"{}","message":"{}"}}"#,
            ),
            from + n as i64 * 12,
            version,
            n % 5,
            severity,
            message,
        )
    };
    (0..LINES / 50)
        .map(|part| format!("[{}]", (0..50).map(|n| line(part * 50 + n)).collect::<Vec<_>>().join(",")))
        .collect()
}

fn feed(engine: &mut Engine, policy: &Policy, payloads: &[String], effects: &mut Vec<Effect>) {
    let mut facts = Vec::with_capacity(64);
    for payload in payloads {
        decode(Kind::Logs, payload.as_bytes(), &mut facts).expect("lines of our own making");
        for fact in facts.drain(..) {
            let Fact::Log(line) = &fact else { continue };
            engine.step(policy, &Input { now: line.at, fact }, effects);
        }
    }
}

fn lines(bench: &mut Criterion) {
    let (mut policy, mut engine, mut effects) = (Policy::default(), Engine::default(), Vec::new());
    // Each round ends with a look, a minute after the one before, while its lines stay those of one minute.
    policy.watch.duration = Span(7 * Span::DAY.0);
    policy.watch.lateness = Span(7 * Span::DAY.0);
    let minutes = 60;
    for minute in 0..minutes {
        feed(&mut engine, &policy, &payloads(START + minute * 60_000, "1.41.3"), &mut effects);
    }
    let at = Time(START + minutes * 60_000);
    let deployment = Deployment {
        version: Some("1.42.0".into()),
        previous_version: Some("1.41.3".into()),
        ..Deployment::new(at, "d1", "checkout", "prod")
    };
    engine.step(&policy, &Input { now: at, fact: Fact::Deployment(deployment) }, &mut effects);
    let batch = payloads(at.0, "1.42.0");
    let mut group = bench.benchmark_group("logs");
    group.sample_size(20).throughput(Throughput::Elements(LINES as u64));
    let mut now = at + Span::MINUTE;
    group.bench_function("decode_template_evidence", |bench| {
        bench.iter(|| {
            feed(&mut engine, &policy, black_box(&batch), &mut effects);
            now = now + Span::MINUTE;
            engine.step(&policy, &Input { now, fact: Fact::Tick }, &mut effects);
            effects.clear();
        });
    });
    let texts: Vec<String> = (0..LINES).map(|n| message(n).1).collect();
    group.bench_function("mask", |bench| bench.iter(|| texts.iter().map(|text| mask(text).text.len()).sum::<usize>()));
    group.finish();
}

criterion_group!(benches, lines);
criterion_main!(benches);
