//! How long does a checkpoint take, how large is it, and for how long does it stop the stream?
//!
//! A fleet of services with ten gauges on ten instances each, a day old, is written to a file by a thread while this
//! one goes on stepping samples, as the daemon does. The stop that is told is the longest between two samples: the cut
//! itself, or a service that was copied because it was not written yet. `SERIES=1000000` is the size that counts; it
//! takes about 2.1 GB. Nothing is judged here.

use regressd::engine::Engine;
use regressd::engine::cut::{Extent, Piece};
use regressd::engine::event::{Fact, Input, Origin, Reading, Sample};
use regressd::engine::fingerprint::Fingerprint;
use regressd::engine::logs::journal::Journal;
use regressd::engine::policy::Policy;
use regressd::engine::service::Service;
use regressd::engine::time::Time;
use regressd::shell::checkpoint::directory::Directory;
use regressd::shell::checkpoint::{Cut, Found, Remembered};
use std::time::{Duration, Instant};

const METRICS: usize = 10;
const INSTANCES: usize = 10;
const EACH: usize = METRICS * INSTANCES;
/// A day of a sample a minute.
const MINUTES: i64 = 1_440;
const START: i64 = 29_833_333;
/// Services that are learned; the others are like them.
const LEARNED: usize = 4;

fn main() {
    let series: usize = std::env::var("SERIES").map_or(20_000, |series| series.parse().expect("SERIES is a number"));
    let services = series.div_ceil(EACH);
    let mut policy = Policy::default();
    (policy.limits.services, policy.limits.signals, policy.limits.series) = (1 << 20, 1 << 30, 1 << 30);
    let begun = Instant::now();
    let mut engine = fleet(&policy, services);
    step(&policy, &mut engine, 0, START + MINUTES);
    assert_eq!(engine.vitals().series, (services * EACH) as u64, "the copies are found by their names");
    println!("{} series in {services} services, made in {:.1?}", services * EACH, begun.elapsed());

    let begun = Instant::now();
    let shares = engine.shares(Extent::All);
    let bytes: usize = shares.iter().map(|share| postcard::to_stdvec(share).map_or(0, |bytes| bytes.len())).sum();
    drop(shares);
    println!("serialised in one go, unwritten: {:.2?}, {} MB", begun.elapsed(), bytes / 1_000_000);

    let quiet = stream(&policy, &mut engine, services, START + MINUTES + 1, || false);
    println!("undisturbed: {quiet}");

    let dir = std::env::temp_dir().join(format!("regressd-bench-checkpoint-{}", std::process::id()));
    let directory = Directory::open(&dir, "bench").expect("a temporary directory");
    let remembered = Remembered { group: "bench".into(), ..Remembered::default() };
    for round in 2..4 {
        let begun = Instant::now();
        let cut = Cut::of(&mut engine, Extent::All, &remembered).expect("plain state");
        let paused = begun.elapsed();
        let (dir, thread) = (dir.clone(), Instant::now());
        let writer = std::thread::spawn(move || {
            let written = Directory::open(&dir, "bench").and_then(|directory| directory.write(cut));
            (written.expect("written"), thread.elapsed())
        });
        let beside = stream(&policy, &mut engine, services, START + MINUTES + round, || writer.is_finished());
        let (written, took) = writer.join().expect("it does not panic");
        let mb = written.bytes / 1_000_000;
        println!("checkpoint: the cut stops for {paused:.2?}, written in {took:.2?}, {mb} MB; meanwhile: {beside}");
    }
    let begun = Instant::now();
    drop(engine);
    println!("forgotten in {:.2?}", begun.elapsed());
    let begun = Instant::now();
    if let Ok(Found::Checkpoint(read)) = directory.read() {
        println!("read in {:.2?}: {} services; at most {}", begun.elapsed(), read.engine.services(), peak());
    }
    std::fs::remove_dir_all(&dir).expect("gone");
}

/// What a stretch of the stream was like.
struct Stream {
    samples: usize,
    took: Duration,
    longest: Duration,
}

impl std::fmt::Display for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rate = self.samples as f64 / self.took.as_secs_f64();
        write!(f, "{rate:.0} samples a second, at most {:.2?} between two", self.longest)
    }
}

/// Steps a minute's samples of all services, until that is done or `stop` says so.
fn stream(policy: &Policy, engine: &mut Engine, services: usize, minute: i64, stop: impl Fn() -> bool) -> Stream {
    let (begun, mut last, mut longest) = (Instant::now(), Instant::now(), Duration::ZERO);
    let mut samples = 0;
    'all: for instance in 0..INSTANCES {
        for service in 0..services {
            let name = format!("service-{service}");
            for metric in 0..METRICS {
                engine.step(policy, &sample(&name, metric, instance, minute), &mut Vec::new());
                samples += 1;
                let now = Instant::now();
                longest = longest.max(now - last);
                last = now;
            }
            if stop() {
                break 'all;
            }
        }
    }
    Stream { samples, took: begun.elapsed(), longest }
}

fn step(policy: &Policy, engine: &mut Engine, service: usize, minute: i64) {
    let name = format!("service-{service}");
    for at in 0..EACH {
        engine.step(policy, &sample(&name, at / INSTANCES, at % INSTANCES, minute), &mut Vec::new());
    }
}

fn sample(service: &str, metric: usize, instance: usize, minute: i64) -> Input<'static> {
    let seed = (minute as usize).wrapping_mul(31).wrapping_add(instance * 7 + metric).wrapping_mul(0x9e37_79b9);
    let reading = Reading::Gauge(100.0 + (seed >> 7 & 1023) as f64 / 100.0);
    let at = Time(minute * 60_000);
    let origin = Origin {
        service: service.to_owned().into(),
        env: "prod".into(),
        version: Some("1".into()),
        instance: Some(format!("pod-{instance}").into()),
    };
    let metric = format!("gauge.{metric}").into();
    Input { now: at, fact: Fact::Sample(Sample { at, origin, metric, unit: None, labels: Vec::new(), reading }) }
}

/// A few services learn for a day; all others are copies under names of their own.
fn fleet(policy: &Policy, services: usize) -> Engine {
    let mut engine = Engine::default();
    for minute in START..START + MINUTES {
        (0..LEARNED).for_each(|service| step(policy, &mut engine, service, minute));
    }
    let learned: Vec<(u32, u64, Service, Option<Journal>)> = engine
        .shares(Extent::All)
        .iter()
        .map(|share| postcard::to_stdvec(share).expect("plain state"))
        .map(|bytes| postcard::from_bytes(&bytes).expect("a share is these four"))
        .collect();
    let pieces = (0..services).map(|place| {
        let mut service = learned[place % LEARNED].2.clone();
        let name = format!("service-{place}");
        service.name = name.as_str().into();
        for signal in &mut service.signals {
            let of = |metric: &str| Fingerprint::new().with(metric).labels(&[]).with("prod").with(&name);
            signal.id = Fingerprint::new().with("prod").with(&name).with(&signal.metric).labels(&[]).finish();
            for series in &mut signal.series {
                let instance = format!("pod-{}", series.instance);
                series.name = of(&signal.metric).with("i").with(&instance).finish();
            }
        }
        let name = Fingerprint::new().with("prod").with(&name).finish();
        let bytes = postcard::to_stdvec(&(place as u32, name, service, None::<Journal>)).expect("plain state");
        postcard::from_bytes::<Piece>(&bytes).expect("a piece is these four")
    });
    let mut engine = Engine::default();
    engine.resume(pieces.collect()).expect("all of one cut");
    engine
}

/// The most memory that was ever used.
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("unknown").to_owned()
}
