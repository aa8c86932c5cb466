//! What does it weigh, what is learned of a signal and of each of its instances?
//!
//! Signals of several kinds are told a sample a minute for eight days, on one instance, on two and on twelve, and what
//! the engine has allocated by then is counted: bytes as they were asked for, without the allocator's own. `KIND=gauge`
//! takes only that kind. Nothing is judged here.

use regressd::engine::Engine;
use regressd::engine::event::{Buckets, Fact, Input, Origin, Reading, Sample};
use regressd::engine::policy::Policy;
use regressd::engine::time::Time;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts what is allocated at this moment.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Signals whose mean is told, and instances of the two fleets that tell what one more costs.
const SIGNALS: usize = 16;
const FEW: usize = 2;
const MANY: usize = 12;
const START: i64 = 29_833_333;
const MINUTES: i64 = 8 * 1_440;

/// A reading made of a little noise.
type Made = fn(u64) -> Reading;

/// Names, metrics and readings.
const KINDS: [(&str, &str, Made); 6] = [
    ("gauge", "latency_ms", |noise| Reading::Gauge(100.0 + noise as f64 / 64.0)),
    ("gauge_watched_on_both_sides", "kpi", |noise| Reading::Gauge(100.0 + noise as f64 / 64.0)),
    ("gauge_every_other_minute", "latency_ms", |noise| Reading::Gauge(100.0 + noise as f64 / 64.0)),
    ("delta", "requests", |noise| Reading::Delta(1_000.0 + noise as f64 / 8.0)),
    ("histogram", "duration", |noise| histogram(noise, 1)),
    // Of so many requests that their counts are wide.
    ("histogram_of_many", "duration", |noise| histogram(noise, 10_000)),
];

fn main() {
    let only = std::env::var("KIND").ok();
    println!("{:<28} {:>18} {:>18} {:>18}", "bytes of", "signal, 1 instance", "one more instance", "all but instances");
    for (name, metric, reading) in KINDS.into_iter().filter(|kind| only.as_deref().is_none_or(|only| only == kind.0)) {
        let every = if name == "gauge_every_other_minute" { 2 } else { 1 };
        let [one, few, many] = [1, FEW, MANY].map(|instances| weigh(instances, metric, every, reading));
        let instance = (many - few) / (MANY - FEW);
        println!("{name:<28} {one:>18} {instance:>18} {:>18}", few.saturating_sub(FEW * instance));
    }
}

fn histogram(noise: u64, times: u64) -> Reading {
    let counts = [300 + noise % 97, 150 + noise % 61, 40 + noise % 31, 10 + noise % 7, noise % 5];
    let (counts, sum) = (counts.map(|count| count * times).into(), 80.0 * times as f64 + noise as f64 / 64.0);
    Reading::Histogram(Buckets { bounds: vec![0.1, 0.2, 0.5, 1.0], counts, sum: Some(sum) })
}

/// What a signal with so many instances costs after eight days.
fn weigh(instances: usize, metric: &str, every: i64, reading: Made) -> usize {
    let policy = Policy::default();
    let before = ALLOCATED.load(Ordering::Relaxed);
    let mut engine = Engine::default();
    for minute in (START..START + MINUTES).step_by(every as usize) {
        for place in 0..SIGNALS * instances {
            let (signal, instance) = (place / instances, place % instances);
            engine.step(&policy, &sample(metric, signal, instance, minute, reading), &mut Vec::new());
        }
    }
    assert_eq!(engine.vitals().series, (SIGNALS * instances) as u64);
    (ALLOCATED.load(Ordering::Relaxed) - before) / SIGNALS
}

fn sample(metric: &str, signal: usize, instance: usize, minute: i64, reading: Made) -> Input<'static> {
    let seed = (minute as u64).wrapping_mul(31).wrapping_add((instance * 7 + signal) as u64);
    let noise = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
    let at = Time(minute * 60_000);
    let origin = Origin {
        service: "checkout".into(),
        env: "prod".into(),
        version: Some("1".into()),
        instance: Some(format!("pod-{instance}").into()),
    };
    let labels = vec![("route".into(), format!("{signal}").into())];
    let sample = Sample { at, origin, metric: metric.to_owned().into(), unit: None, labels, reading: reading(noise) };
    Input { now: at, fact: Fact::Sample(sample) }
}
