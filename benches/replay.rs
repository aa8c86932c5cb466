//! How many samples does one core take, from the recording's line to the learned minute? The budget is 2 µs each.
//!
//! A hundred services of two instances with five gauges each, told every minute in arrays of fifty, no deployment:
//! what a fleet costs while nothing happens. Each round is one more minute of a fleet that has learned for three hours;
//! throughput is given in samples. `RECORD=600 cargo bench --bench replay > FILE` writes so many minutes as a recording
//! instead, for a profiler. What a watch costs is the bench `aa`'s question.

#[expect(dead_code, reason = "gauges need no counts")]
#[path = "../tests/stories/noise.rs"]
mod noise;

use criterion::{BatchSize, Criterion, Throughput};
use noise::Noise;
use regressd::engine::Engine;
use regressd::engine::time::Time;
use regressd::shell::config::Config;
use regressd::shell::pump::{Pump, Taken};
use regressd::shell::topics::Topics;
use regressd::wire::recording;
use std::sync::Arc;

const START: i64 = 1_790_000_040_000;
const SERVICES: u64 = 100;
const INSTANCES: u64 = 2;
const LEARNED: i64 = 180;
/// Samples in a message.
const ARRAY: usize = 50;
/// Names and usual levels.
const GAUGES: [(&str, f64); 5] = [
    ("http.server.error_ratio", 0.01),
    ("http.server.latency_ms", 80.0),
    ("process.cpu.usage", 0.4),
    ("queue.length", 12.0),
    ("http.server.requests_per_second", 300.0),
];

fn main() {
    if let Some(minutes) = std::env::var("RECORD").ok().and_then(|text| text.parse().ok()) {
        (0..minutes).flat_map(minute).for_each(|line| println!("{line}"));
        return;
    }
    let mut bench = Criterion::default().configure_from_args();
    replay(&mut bench);
    bench.final_summary();
}

fn replay(bench: &mut Criterion) {
    let config = Arc::new(Config::from_toml_str("").expect("a file with nothing in it is valid"));
    let topics = Arc::new(Topics::new(&config.kafka.topics));
    let mut pump = Pump::new(Engine::default(), Time::MIN, config, topics.clone());
    let mut next = 0;
    while next < LEARNED {
        feed(&mut pump, &topics, &minute(next));
        next += 1;
    }
    let samples = SERVICES * INSTANCES * GAUGES.len() as u64;
    let mut group = bench.benchmark_group("replay");
    group.sample_size(20).throughput(Throughput::Elements(samples));
    group.bench_function("minute_of_1000_gauges", |bench| {
        let a_minute_more = || {
            next += 1;
            minute(next - 1)
        };
        bench.iter_batched(a_minute_more, |lines| feed(&mut pump, &topics, &lines), BatchSize::PerIteration);
    });
    group.finish();
}

fn feed(pump: &mut Pump, topics: &Topics, lines: &[String]) -> usize {
    let (mut out, mut facts) = (Vec::new(), 0);
    for line in lines {
        let line = recording::parse(line.as_bytes()).expect("a line of our own making");
        let taken = Taken {
            topic: &line.topic,
            partition: line.partition,
            offset: line.offset,
            kind: topics.kind(&line.topic).expect("the default topics"),
            now: line.ts,
            stamped: Some(line.ts),
            key: None,
            payload: line.payload.as_deref().unwrap_or_default().as_bytes(),
            signature: None,
        };
        facts += pump.take(&taken, &mut out).facts;
    }
    facts
}

/// The lines of one minute.
fn minute(minute: i64) -> Vec<String> {
    let mut noise = Noise::of(&format!("minute {minute}"));
    let mut samples = Vec::new();
    for service in 0..SERVICES {
        for instance in 0..INSTANCES {
            for (metric, level) in GAUGES {
                samples.push(format!(
                    concat!(
                        r#"{{"ts":{},"service":"service-{:03}","env":"prod","version":"1.4.{}","#,
                        r#""instance":"service-{:03}-{}","metric":"{}","value":{:.6}}}"#,
                    ),
                    START + 60_000 * minute + (300 * instance + service) as i64,
                    service,
                    service % 7,
                    service,
                    instance,
                    metric,
                    level * (1.0 + 0.1 * noise.normal()).max(0.0),
                ));
            }
        }
    }
    let envelope = |(number, samples): (usize, &[String])| {
        let payload = serde_json::to_string(&format!("[{}]", samples.join(","))).expect("text is JSON");
        let offset = minute as usize * samples.len() + number;
        let ts = START + 60_000 * minute + 1_000;
        format!(r#"{{"topic":"metrics","partition":0,"offset":{offset},"ts":{ts},"key":null,"payload":{payload}}}"#)
    };
    samples.chunks(ARRAY).enumerate().map(envelope).collect()
}
