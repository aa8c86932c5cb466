//! Ten kinds of noise that services make while nothing happens, and what harm looks like in each.
//!
//! Made up from the textbook, not fitted to any data that the daemon was tuned on. A source gives one reading a minute;
//! `worse` says by how many of its own noises it has moved in the direction that hurts. Which of it is anybody's fault
//! is for the history around it to say.

use crate::noise::Noise;
use regressd::engine::event::{Buckets, Reading};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Independent and symmetric, told in whole steps.
    Plain,
    /// A counter of independent events.
    Counted,
    /// Failures by requests, both counted: a handful of values.
    Ratio,
    /// A histogram with a heavy tail.
    Latency,
    /// Twice as high by day as by night, with weather of its own.
    Seasonal,
    /// Each minute nine tenths of the last one: AR(1).
    Sluggish,
    /// Wanders for hours, and comes back.
    Drifting,
    /// Student's t with three degrees of freedom.
    Heavy,
    /// Calm, but for a burst of some minutes every few hours.
    Bursty,
    /// Mostly zero.
    Sparse,
}

pub const KINDS: [Kind; 10] = [
    Kind::Plain,
    Kind::Counted,
    Kind::Ratio,
    Kind::Latency,
    Kind::Seasonal,
    Kind::Sluggish,
    Kind::Drifting,
    Kind::Heavy,
    Kind::Bursty,
    Kind::Sparse,
];

/// Bounds of every histogram, in milliseconds.
const BOUNDS: [f64; 12] = [10.0, 20.0, 40.0, 60.0, 80.0, 120.0, 160.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0];

impl Kind {
    pub fn word(self) -> &'static str {
        self.metric_and_word().1
    }

    pub fn metric(self) -> &'static str {
        self.metric_and_word().0
    }

    fn metric_and_word(self) -> (&'static str, &'static str) {
        match self {
            Kind::Plain => ("cpu.usage", "plain"),
            Kind::Counted => ("http.server.requests", "counted"),
            Kind::Ratio => ("http.server.error_ratio", "ratio"),
            Kind::Latency => ("http.server.duration", "latency"),
            Kind::Seasonal => ("http.server.latency_p95", "seasonal"),
            Kind::Sluggish => ("db.pool.usage", "sluggish"),
            Kind::Drifting => ("memory.usage", "drifting"),
            Kind::Heavy => ("http.client.latency_p99", "heavy"),
            Kind::Bursty => ("worker.queue.length", "bursty"),
            Kind::Sparse => ("exceptions", "sparse"),
        }
    }
}

/// One series of one kind of noise.
pub struct Source {
    kind: Kind,
    noise: Noise,
    level: f64,
    /// A minute's noise as a share of the level.
    spread: f64,
    /// Requests a minute, where readings are counted from them.
    requests: f64,
    /// Where in the day the highest point lies, in [0, 1).
    phase: f64,
    slow: f64,
    burst: f64,
    minutes_between_bursts: f64,
    /// What a counter has counted; zero again when its process starts anew.
    pub total: f64,
}

impl Source {
    /// `signal` seeds what all instances have in common, `instance` what each does by itself.
    pub fn new(kind: Kind, signal: &str, instance: &str) -> Source {
        let mut common = Noise::of(signal);
        let mut noise = Noise::of(&format!("{signal} on {instance}"));
        let mut between = |low: f64, high: f64| low + (high - low) * common.unit();
        let requests = match kind {
            Kind::Latency => between(40.0, 200.0),
            _ => between(300.0, 3_000.0),
        };
        let level = match kind {
            Kind::Plain => between(25.0, 60.0),
            Kind::Counted => between(100.0, 1_000.0),
            Kind::Ratio => between(0.005, 0.02),
            Kind::Latency => between(60.0, 200.0),
            Kind::Sparse => between(0.02, 0.3),
            _ => between(20.0, 400.0),
        };
        let spread = match kind {
            Kind::Counted | Kind::Sparse => 1.0 / level.sqrt(),
            Kind::Ratio => 1.0 / (requests * level).sqrt(),
            // The coefficient of variation of the distribution that `histogram` draws from.
            Kind::Latency => 0.63 / requests.sqrt(),
            _ => between(0.05, 0.15),
        };
        let phase = between(0.0, 1.0);
        let minutes_between_bursts = between(60.0, 300.0);
        let slow = noise.normal();
        let total = 1e4 * noise.unit();
        Source {
            kind,
            noise,
            level,
            spread,
            requests,
            phase,
            slow,
            burst: 0.0,
            minutes_between_bursts,
            total: total.round(),
        }
    }

    /// The reading of `minute`, `worse` noises worse than it would have been.
    pub fn next(&mut self, minute: i64, worse: f64) -> Reading {
        let moved = 1.0 + worse * self.spread;
        match self.kind {
            Kind::Counted => {
                let left = (1.0 - worse * self.spread).max(0.02);
                self.total += self.noise.events(self.level * left) as f64;
                Reading::Counter(self.total)
            }
            Kind::Ratio => {
                let requests = self.noise.events(self.requests).max(1) as f64;
                let failed = self.noise.events(requests * (self.level * moved).min(1.0)) as f64;
                Reading::Gauge(failed.min(requests) / requests)
            }
            Kind::Latency => Reading::Histogram(self.histogram(self.level * moved)),
            Kind::Sparse => Reading::Delta(self.noise.events(self.level * moved) as f64),
            Kind::Plain => Reading::Gauge((self.level * (moved + self.shape(minute))).round().max(0.0)),
            _ => Reading::Gauge((self.level * (moved + self.shape(minute)).max(0.01) * 1e4).round() / 1e4),
        }
    }

    /// What is added to a level of one: independent of what harm is done.
    fn shape(&mut self, minute: i64) -> f64 {
        let (spread, fresh) = (self.spread, self.noise.normal());
        match self.kind {
            Kind::Seasonal => {
                let day = (std::f64::consts::TAU * (minute as f64 / 1_440.0 + self.phase)).sin();
                self.slow = 0.8 * self.slow + 0.6 * self.noise.normal();
                0.33 * day + spread * (0.8 * self.slow + 0.6 * fresh)
            }
            Kind::Sluggish => {
                self.slow = 0.9 * self.slow + (1.0f64 - 0.81).sqrt() * fresh;
                spread * self.slow
            }
            Kind::Drifting => {
                self.slow = 0.995 * self.slow + (1.0f64 - 0.995 * 0.995).sqrt() * self.noise.normal();
                spread * (1.5 * self.slow + 0.5 * fresh)
            }
            Kind::Heavy => {
                let squares: f64 = (0..3).map(|_| self.noise.normal().powi(2)).sum();
                // Scaled to a standard deviation of one: the variance of t(3) is 3.
                spread * fresh / squares.max(1e-9).sqrt()
            }
            Kind::Bursty => {
                if self.noise.unit() * self.minutes_between_bursts < 1.0 {
                    self.burst = spread * (4.0 + 16.0 * self.noise.unit());
                }
                self.burst *= 0.6;
                self.burst + spread * fresh
            }
            _ => spread * fresh,
        }
    }

    /// Log-logistic with shape 3.5, each bucket a Poisson count of its own.
    fn histogram(&mut self, scale: f64) -> Buckets {
        let below = |bound: f64| 1.0 / (1.0 + (bound / scale).powf(-3.5));
        let (mut counts, mut sum, mut last, mut share) = (Vec::with_capacity(BOUNDS.len() + 1), 0.0, 0.0, 0.0);
        for bound in BOUNDS.into_iter().chain([2.0 * BOUNDS[BOUNDS.len() - 1]]) {
            let upto = if counts.len() < BOUNDS.len() { below(bound) } else { 1.0 };
            let count = self.noise.events(self.requests * (upto - share));
            sum += count as f64 * 0.5 * (last + bound);
            counts.push(count);
            (last, share) = (bound, upto);
        }
        Buckets { bounds: BOUNDS.to_vec(), counts, sum: Some(sum) }
    }
}
