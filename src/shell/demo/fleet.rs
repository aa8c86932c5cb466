//! A small shop whose telemetry looks real: five services, three instances each, a day curve, noise, faults on order.
//!
//! Writes what any producer would write to the input topics: samples and log lines in JSON arrays, one message for each
//! service and step. Knows neither Kafka nor the daemon; what the script wants broken it breaks.

use super::dice::Dice;
use super::record::{Point, Record};
use crate::engine::time::{Span, Time};
use crate::wire::inbound::Kind;
use serde_json::{Value, json};

/// Between two samples of a series.
pub const STEP: Span = Span::MINUTE;
pub const ENV: &str = "prod";

/// A message for an input topic; its record timestamp is the event time.
pub struct Message {
    pub kind: Kind,
    pub key: String,
    pub at: Time,
    pub payload: String,
}

/// How a service behaves on a good day.
struct Profile {
    name: &'static str,
    version: &'static str,
    /// Requests a second on each instance at the height of the day.
    rate: f64,
    /// Median seconds a request takes.
    seconds: f64,
    error_ratio: f64,
    route: &'static str,
    complaint: &'static str,
}

const PROFILES: [Profile; 5] = [
    Profile {
        name: "gateway",
        version: "11.2.0",
        rate: 90.0,
        seconds: 0.012,
        error_ratio: 0.001,
        route: "/",
        complaint: "upstream reset the connection after {} ms",
    },
    Profile {
        name: "catalog",
        version: "7.3.4",
        rate: 60.0,
        seconds: 0.018,
        error_ratio: 0.001,
        route: "/items",
        complaint: "item {} not found in index",
    },
    Profile {
        name: "search",
        version: "3.8.2",
        rate: 25.0,
        seconds: 0.080,
        error_ratio: 0.002,
        route: "/search",
        complaint: "query {} timed out on one shard",
    },
    Profile {
        name: "cart",
        version: "2.9.1",
        rate: 30.0,
        seconds: 0.025,
        error_ratio: 0.001,
        route: "/cart",
        complaint: "cart {} changed meanwhile, try again",
    },
    Profile {
        name: "checkout",
        version: "1.42.0",
        rate: 14.0,
        seconds: 0.110,
        error_ratio: 0.003,
        route: "/pay",
        complaint: "payment {} declined by the bank",
    },
];

const BOUNDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// What a version does wrong; the default does nothing wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fault {
    /// Added to the share of requests that fail.
    pub errors: f64,
    /// Multiplies the time a request takes.
    pub slowness: f64,
    /// What it writes into the log for each such failure; `{}` becomes a number.
    pub complaint: &'static str,
}

impl Default for Fault {
    fn default() -> Fault {
        Fault { errors: 0.0, slowness: 1.0, complaint: "" }
    }
}

struct Instance {
    name: String,
    version: String,
    fault: Fault,
    /// Counters since the process started.
    requests: f64,
    errors: f64,
}

struct Service {
    profile: &'static Profile,
    instances: Vec<Instance>,
    /// Slow wandering of the load around the day curve.
    drift: f64,
}

pub struct Fleet {
    start: Time,
    services: Vec<Service>,
    dice: Dice,
    surge: f64,
    pub record: Record,
}

impl Fleet {
    /// A healthy fleet whose day begins at nine in the morning of its own clock, at `start`.
    pub fn new(seed: u64, start: Time) -> Fleet {
        let instance = |profile: &Profile, n: u32| Instance {
            name: format!("{}-{n}", profile.name),
            version: profile.version.to_owned(),
            fault: Fault::default(),
            requests: 0.0,
            errors: 0.0,
        };
        let services = PROFILES
            .iter()
            .map(|profile| Service { profile, instances: (1..=3).map(|n| instance(profile, n)).collect(), drift: 0.0 })
            .collect();
        Fleet { start, services, dice: Dice::new(seed), surge: 1.0, record: Record::default() }
    }

    /// Restarts instances of a service (all if `only` is empty) on a version, with what that version does wrong.
    pub fn install(&mut self, service: &str, only: &[String], version: &str, fault: Fault) {
        let services = self.services.iter_mut().filter(|s| s.profile.name == service);
        for instance in services.flat_map(|s| &mut s.instances) {
            if only.is_empty() || only.contains(&instance.name) {
                // A new process counts from zero, as a real one does.
                *instance = Instance {
                    name: instance.name.clone(),
                    version: version.to_owned(),
                    fault,
                    requests: 0.0,
                    errors: 0.0,
                };
            }
        }
    }

    /// Multiplies everybody's traffic from now on.
    pub fn surge(&mut self, factor: f64) {
        self.surge = factor;
    }

    /// Everything that was measured and logged in the step that ends at `at`.
    pub fn step(&mut self, at: Time) -> Vec<Message> {
        let mut messages = Vec::with_capacity(2 * self.services.len());
        let day = day_curve(at - self.start) * self.surge;
        for service in &mut self.services {
            service.drift = 0.9 * service.drift + 0.015 * self.dice.normal();
            let load = day * (1.0 + service.drift);
            let (mut samples, mut lines) = (Vec::with_capacity(12), Vec::with_capacity(8));
            for instance in &mut service.instances {
                let measured = measure(&mut self.dice, service.profile, instance, load);
                self.record.push(measured.point(at, &instance.name));
                measured.samples(at, service.profile, instance, &mut samples);
                log_lines(&mut self.dice, at, service.profile, instance, &measured, &mut lines);
            }
            let key = format!("{ENV}/{}", service.profile.name);
            let message =
                |kind, values| Message { kind, key: key.clone(), at, payload: Value::Array(values).to_string() };
            messages.push(message(Kind::Metrics, samples));
            if !lines.is_empty() {
                messages.push(message(Kind::Logs, lines));
            }
        }
        messages
    }
}

/// The share of the day's highest load; the fleet's clock shows nine at `since_start` 0.
fn day_curve(since_start: Span) -> f64 {
    let hour = 9.0 + since_start.as_minutes() / 60.0;
    0.65 - 0.35 * (std::f64::consts::TAU * (hour - 4.0) / 24.0).cos()
}

/// What one instance did in one step.
struct Measured {
    counts: Vec<u64>,
    seconds: f64,
    errors: u64,
    faulty: u64,
    cpu: f64,
}

fn measure(dice: &mut Dice, profile: &Profile, instance: &mut Instance, load: f64) -> Measured {
    let expected = profile.rate * load * STEP.as_seconds() * (1.0 + 0.02 * dice.normal());
    // Busy machines answer a little later; nothing here comes near saturation.
    let median = profile.seconds * instance.fault.slowness * (1.0 + 0.04 * load) * (1.0 + 0.02 * dice.normal());
    let counts = histogram(dice, expected.max(0.0), median.max(1e-4));
    let requests = counts.iter().sum::<u64>() as f64;
    let faulty = dice.poisson(requests * instance.fault.errors);
    let errors = faulty + dice.poisson(requests * profile.error_ratio);
    let cpu = 0.06 + 0.38 * load * (0.6 + 0.4 * instance.fault.slowness) + 0.008 * dice.normal();
    instance.requests += requests;
    instance.errors += errors as f64;
    Measured {
        seconds: requests * median * (SIGMA * SIGMA / 2.0).exp(),
        counts,
        errors,
        faulty,
        cpu: cpu.clamp(0.0, 1.0),
    }
}

/// The width of the log-normal distribution of latencies.
const SIGMA: f64 = 0.55;

fn histogram(dice: &mut Dice, requests: f64, median: f64) -> Vec<u64> {
    let below = |bound: f64| {
        let z = (bound / median).ln() / SIGMA;
        0.5 * (1.0 + (0.797_884_560_8 * (z + 0.044_715 * z.powi(3))).tanh())
    };
    let shares = BOUNDS.iter().map(|&bound| below(bound)).chain([1.0]);
    let mut last = 0.0;
    shares.map(|share| dice.poisson(requests * (share - std::mem::replace(&mut last, share)).max(0.0))).collect()
}

impl Measured {
    fn point(&self, at: Time, instance: &str) -> Point {
        let requests = self.counts.iter().sum::<u64>() as f64;
        let seconds = STEP.as_seconds();
        Point {
            at,
            instance: instance.to_owned(),
            requests: requests / seconds,
            errors: self.errors as f64 / seconds,
            latency: self.seconds / requests.max(1.0),
            cpu: self.cpu,
        }
    }

    fn samples(&self, at: Time, profile: &Profile, instance: &Instance, samples: &mut Vec<Value>) {
        let labels = json!({"route": profile.route});
        let mut add = |metric: &str, rest: Value| {
            let mut sample = origin(at, profile, instance);
            sample["metric"] = metric.into();
            merge(&mut sample, rest);
            samples.push(sample);
        };
        add("http.server.requests", json!({"kind": "counter", "value": instance.requests, "labels": labels}));
        add("http.server.errors", json!({"kind": "counter", "value": instance.errors, "labels": labels}));
        add(
            "http.server.duration",
            json!({"kind": "histogram", "unit": "s", "bounds": BOUNDS, "counts": self.counts, "sum": self.seconds,
                   "labels": labels}),
        );
        add("process.cpu.utilization", json!({"kind": "gauge", "unit": "1", "value": self.cpu}));
    }
}

fn origin(at: Time, profile: &Profile, instance: &Instance) -> Value {
    json!({"ts": at.0, "service": profile.name, "env": ENV, "version": instance.version, "instance": instance.name})
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

/// At most this many lines of one complaint an instance and step: loggers rate-limit themselves too.
const LINES_MAX: u64 = 5;

fn log_lines(
    dice: &mut Dice,
    at: Time,
    profile: &Profile,
    instance: &Instance,
    measured: &Measured,
    lines: &mut Vec<Value>,
) {
    let mut write = |severity: &str, message: String| {
        let mut line = origin(at, profile, instance);
        merge(&mut line, json!({"severity": severity, "message": message}));
        lines.push(line);
    };
    if at.0 % 300_000 == 0 {
        write("INFO", format!("served {} requests since start", instance.requests));
    }
    if dice.unit() < 0.03 {
        write("WARN", format!("garbage collection took {} ms", 40 + dice.below(60)));
    }
    for _ in 0..measured.faulty.min(LINES_MAX) {
        write("ERROR", instance.fault.complaint.replace("{}", &dice.below(90_000).to_string()));
    }
    for _ in 0..(measured.errors - measured.faulty).min(LINES_MAX) {
        write("ERROR", profile.complaint.replace("{}", &dice.below(90_000).to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time(1_790_000_000_000);

    fn values(messages: &[Message], metric: &str, instance: &str) -> Vec<Value> {
        let all = messages.iter().flat_map(|m| serde_json::from_str::<Vec<Value>>(&m.payload).expect("an array"));
        all.filter(|s| s["metric"] == metric && s["instance"] == instance).collect()
    }

    #[test]
    fn every_message_is_one_the_daemon_can_read() {
        let mut fleet = Fleet::new(1, START);
        for message in fleet.step(START + STEP) {
            let mut facts = Vec::new();
            crate::wire::inbound::decode(message.kind, message.payload.as_bytes(), &mut facts).expect("readable");
        }
    }

    #[test]
    fn same_seed_same_bytes() {
        let day = |seed| {
            let mut fleet = Fleet::new(seed, START);
            (1..50).flat_map(|n| fleet.step(START + Span(n * STEP.0))).map(|m| m.payload).collect::<Vec<_>>()
        };
        assert_eq!(day(5), day(5));
        assert_ne!(day(5), day(6));
    }

    #[test]
    fn a_new_version_counts_from_zero_and_only_where_it_is() {
        let mut fleet = Fleet::new(1, START);
        (1..20).for_each(|n| drop(fleet.step(START + Span(n * STEP.0))));
        fleet.install("checkout", &["checkout-1".to_owned()], "1.43.0", Fault { errors: 0.5, ..Fault::default() });
        let messages = fleet.step(START + Span(20 * STEP.0));
        let (one, two) = ("checkout-1", "checkout-2");
        assert_eq!(values(&messages, "http.server.errors", one)[0]["version"], "1.43.0");
        assert_eq!(values(&messages, "http.server.errors", two)[0]["version"], "1.42.0");
        let count = |instance| values(&messages, "http.server.requests", instance)[0]["value"].as_f64();
        assert!(count(one) < count(two));
        let requests = count(one).unwrap_or_default();
        let errors = values(&messages, "http.server.errors", one)[0]["value"].as_f64().unwrap_or_default();
        assert!(errors > 0.3 * requests, "{errors} of {requests}");
    }

    #[test]
    fn latencies_lie_around_their_median() {
        let mut dice = Dice::new(2);
        let counts = histogram(&mut dice, 100_000.0, 0.1);
        let half: u64 = counts[..5].iter().sum();
        let all: u64 = counts.iter().sum();
        assert!((half as f64 / all as f64 - 0.5).abs() < 0.01);
    }

    #[test]
    fn the_day_has_a_night() {
        let at = |hours: i64| day_curve(Span(hours * Span::HOUR.0));
        assert!(at(7) > 2.5 * at(19), "afternoon {} and night {}", at(7), at(19));
        assert!((at(0) - at(24)).abs() < 1e-9);
    }
}
