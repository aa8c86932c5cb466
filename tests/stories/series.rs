//! One line of a story that stands for many samples or log lines.
//!
//! Each series draws its own noise, seeded from its name and place, so that changing one line of a story changes no
//! other series.

use crate::noise::Noise;
use crate::script::{Moment, START, Words};
use regressd::engine::event::*;
use regressd::engine::time::{Span, Time};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

/// Where each counter has got to: it goes on through a story's lines.
pub type Counters = BTreeMap<String, f64>;

/// Bounds that every histogram of a story has.
const BOUNDS: [f64; 11] = [5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0];

struct Line<'a> {
    times: Range<Time>,
    step: Span,
    services: Vec<&'a str>,
    metric: &'a str,
    shape: Shape<'a>,
    level: f64,
    noise: f64,
    /// Where a level that moves in a straight line arrives.
    ramp: Option<f64>,
    /// A wave on top: its height as a share of the level, and its period.
    wave: Option<(f64, Span)>,
    version: Option<&'a str>,
    instances: Vec<Option<&'a str>>,
    env: &'a str,
    labels: Vec<(&'a str, &'a str)>,
    late: Span,
    unit: Option<&'a str>,
    /// Requests that a histogram's sample holds.
    count: f64,
    /// A counter starts anew.
    reset: bool,
    /// A clock's lines: exactly so many, at exactly the step's beginning.
    steady: bool,
}

#[derive(Clone, Copy)]
enum Shape<'a> {
    Gauge,
    Counter,
    Delta,
    Histogram,
    Log(Severity, &'a str),
}

/// `every STEP SERVICE[,…] METRIC gauge|counter|delta|histogram LEVEL …` or
/// `every STEP SERVICE[,…] log SEVERITY MEAN "message with {n}" …`
pub fn read(times: Range<Time>, rest: &mut Words, counters: &mut Counters, moments: &mut Vec<Moment>) {
    let line = parse(times, rest);
    for service in &line.services {
        for instance in &line.instances {
            let name = format!("{}/{service}/{instance:?}/{}/{:?}", line.env, line.metric, line.labels);
            let mut noise = Noise::of(&format!("{name} from {}", (line.times.start - START).0));
            let counter = counters.entry(name).or_default();
            if line.reset {
                *counter = 0.0;
            }
            let mut at = line.times.start;
            while at < line.times.end {
                let level = line.level_at(at);
                let facts = line.facts(at, level, &line.origin(service, *instance), &mut noise, counter);
                moments.extend(facts.into_iter().map(|fact| Moment::of(told_at(&fact, at) + line.late, fact)));
                at = at + line.step;
            }
        }
    }
}

fn parse<'a>(times: Range<Time>, rest: &mut Words<'a>) -> Line<'a> {
    assert_eq!(rest.next("`every`"), "every", "in: {}", rest.line);
    let step = rest.span();
    let services = rest.next("a service").split(',').collect();
    let metric = rest.next("a metric or `log`");
    let message = |severity| Shape::Log(severity, "");
    let mut shape = match rest.next("a kind") {
        "gauge" => Shape::Gauge,
        "counter" => Shape::Counter,
        "delta" => Shape::Delta,
        "histogram" => Shape::Histogram,
        "WARN" => message(Severity::Warn),
        "ERROR" => message(Severity::Error),
        "FATAL" => message(Severity::Fatal),
        "INFO" => message(Severity::Info),
        other => panic!("no kind: {other} in: {}", rest.line),
    };
    let level = rest.number();
    if let Shape::Log(severity, _) = shape {
        shape = Shape::Log(severity, rest.next("a message"));
    }
    let mut line = Line {
        times,
        step,
        services,
        metric,
        shape,
        level,
        noise: 0.0,
        ramp: None,
        wave: None,
        version: None,
        instances: vec![None],
        env: "prod",
        labels: Vec::new(),
        late: Span(0),
        unit: None,
        count: 100.0,
        reset: false,
        steady: false,
    };
    while let Some(option) = rest.optional() {
        line.option(option, rest);
    }
    line
}

impl<'a> Line<'a> {
    fn option(&mut self, option: &str, rest: &mut Words<'a>) {
        match option {
            "noise" => self.noise = rest.number(),
            "ramp" => self.ramp = Some(rest.number()),
            "wave" => self.wave = Some((rest.number(), rest.span())),
            "version" => self.version = Some(rest.next("a version")),
            "instances" => self.instances = rest.next("instances").split(',').map(Some).collect(),
            "env" => self.env = rest.next("an environment"),
            "label" => {
                self.labels.push(rest.next("a label").split_once('=').unwrap_or_else(|| panic!("{}", rest.line)));
                self.labels.sort_unstable();
            }
            "late" => self.late = rest.span(),
            "unit" => self.unit = Some(rest.next("a unit")),
            "count" => self.count = rest.number(),
            "reset" => self.reset = true,
            "steady" => self.steady = true,
            other => panic!("nothing about a series: {other} in: {}", rest.line),
        }
    }

    fn level_at(&self, at: Time) -> f64 {
        let done = (at - self.times.start).0 as f64 / (self.times.end - self.times.start).0 as f64;
        let level = self.ramp.map_or(self.level, |end| self.level + (end - self.level) * done);
        let turn = |period: Span| ((at - START).0 as f64 / period.0 as f64) * std::f64::consts::TAU;
        level * self.wave.map_or(1.0, |(height, period)| 1.0 + height * turn(period).sin())
    }

    fn facts(
        &self,
        at: Time,
        level: f64,
        origin: &Origin<'static>,
        noise: &mut Noise,
        counter: &mut f64,
    ) -> Vec<Fact<'static>> {
        let wobble = 1.0 + self.noise * noise.normal();
        let reading = match self.shape {
            Shape::Gauge => Reading::Gauge(level * wobble),
            Shape::Delta => Reading::Delta(noise.events(level * wobble.max(0.0)) as f64),
            Shape::Counter => {
                *counter += noise.events(level * wobble.max(0.0)) as f64;
                Reading::Counter(*counter)
            }
            Shape::Histogram => Reading::Histogram(buckets(level * wobble, self.count, noise)),
            Shape::Log(severity, message) => {
                let lines = if self.steady { level as u64 } else { noise.events(level * wobble.max(0.0)) };
                return (0..lines).map(|_| self.log(at, severity, message, origin, noise)).collect();
            }
        };
        vec![Fact::Sample(Sample {
            at,
            origin: origin.clone(),
            metric: owned(self.metric),
            reading,
            unit: self.unit.map(owned),
            labels: self.labels(),
        })]
    }

    fn log(
        &self,
        at: Time,
        severity: Severity,
        message: &str,
        origin: &Origin<'static>,
        noise: &mut Noise,
    ) -> Fact<'static> {
        let message = message.replace("{n}", &noise.below(100_000).to_string());
        let message = message.replace("\\n", "\n").replace("\\t", "\t");
        let at = if self.steady { at } else { at + Span(noise.below(self.step.0.unsigned_abs()) as i64) };
        Fact::Log(LogLine { at, origin: origin.clone(), severity, message: message.into(), labels: self.labels() })
    }

    fn labels(&self) -> Labels<'static> {
        self.labels.iter().map(|(name, value)| (owned(name), owned(value))).collect()
    }

    fn origin(&self, service: &str, instance: Option<&str>) -> Origin<'static> {
        Origin {
            service: owned(service),
            env: owned(self.env),
            version: self.version.map(owned),
            instance: instance.map(owned),
        }
    }
}

/// Log lines lie scattered over their step; samples at its start.
fn told_at(fact: &Fact, step: Time) -> Time {
    match fact {
        Fact::Log(line) => line.at,
        _ => step,
    }
}

fn owned(text: &str) -> Cow<'static, str> {
    text.to_string().into()
}

/// Durations around `level`, skewed to the right as durations are.
fn buckets(level: f64, mean_count: f64, noise: &mut Noise) -> Buckets {
    let mut counts = vec![0; BOUNDS.len() + 1];
    let mut sum = 0.0;
    for _ in 0..noise.events(mean_count) {
        let value = level * (0.5 + 2.0 * noise.unit() * noise.unit());
        counts[BOUNDS.partition_point(|&bound| bound < value)] += 1;
        sum += value;
    }
    Buckets { bounds: BOUNDS.to_vec(), counts, sum: Some(sum) }
}
