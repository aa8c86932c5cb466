//! A labelled history: three services of one environment on one kind of noise, a day to learn, then deployments.
//!
//! Every third deployment does harm; the label stands beside it. The history comes as messages in the order in which a
//! log would take them: a restart costs each carrier a sample, one sample in a hundred is lost, one is told twice, and
//! five come a minute late.

use crate::change::{Change, HARM_TO_ALL, HARM_TO_PODS, HARMLESS, What};
use crate::kinds::{Kind, Source};
use crate::noise::Noise;
use regressd::engine::event::Reading;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Monday, 2026-09-21 00:00 UTC.
const START: i64 = 1_789_948_800_000 / 60_000;
/// Minutes before the first deployment.
const LEARNED: i64 = 1_440;
const SERVICES: usize = 3;
/// Deployments of a history, over all its services.
const DEPLOYMENTS: usize = 18;
/// Minutes between two of them, at least: the last watch is long over.
const BETWEEN: i64 = 180;
/// The pod that carries what only one carries.
const CARRIER: usize = 1;

pub struct Deployed {
    pub id: String,
    pub service: usize,
    pub minute: i64,
    pub change: Change,
}

pub struct History {
    pub kind: Kind,
    pub number: u64,
    pods: usize,
    /// Which pods carry a change is told by the samples' versions and not by the deployment.
    by_version: bool,
    pub deployed: Vec<Deployed>,
    seed: String,
}

/// A message as the log takes it.
pub struct Message {
    pub topic: &'static str,
    pub now: i64,
    pub payload: String,
}

/// A service's signals, each with a source for every pod.
struct Service {
    name: String,
    signals: Vec<(Kind, Vec<Source>)>,
    /// What comes with the next message.
    late: Vec<Value>,
}

impl History {
    pub fn new(kind: Kind, number: u64) -> History {
        let pods = if number.is_multiple_of(2) { 1 } else { 3 };
        let seed = format!("{} history {number}", kind.word());
        let mut noise = Noise::of(&seed);
        let mut minute = START + LEARNED;
        let (mut harmless, mut harm) = (5 * number as usize, 6 * (number as usize / 2));
        let mut deployed = Vec::new();
        for place in 0..DEPLOYMENTS {
            // Each service in its turn, each harmed in its turn: hours lie between two deployments of one.
            let service = place % SERVICES;
            let change = if (place + place / SERVICES) % 3 == 2 {
                harm += 1;
                if pods == 1 { HARM_TO_ALL[harm % HARM_TO_ALL.len()] } else { HARM_TO_PODS[harm % HARM_TO_PODS.len()] }
            } else {
                harmless += 1;
                let change = HARMLESS[harmless % HARMLESS.len()];
                Change { canary: change.canary && pods > 1, ..change }
            };
            deployed.push(Deployed { id: format!("d{place}"), service, minute, change });
            minute += BETWEEN + noise.below(60) as i64;
        }
        History { kind, number, pods, by_version: number % 4 == 3, deployed, seed }
    }

    /// Tells every message, in order.
    pub fn play(&self, mut take: impl FnMut(&Message)) {
        let mut noise = Noise::of(&format!("{} messages", self.seed));
        let mut services: Vec<Service> = (0..SERVICES).map(|place| self.service(place)).collect();
        let mut deployed = self.deployed.iter().peekable();
        let end = self.deployed.last().map_or(START, |last| last.minute + 70);
        for minute in START..end {
            if let Some(now) = deployed.next_if(|next| next.minute == minute) {
                take(&self.deployment(now));
            }
            for (place, service) in services.iter_mut().enumerate() {
                let at = minute * 60_000 + 5_000 + 15_000 * place as i64 + noise.below(1_000) as i64;
                let mut elements = std::mem::take(&mut service.late);
                self.samples(place, service, minute, at, &mut noise, &mut elements);
                if !elements.is_empty() {
                    take(&Message { topic: "metrics", now: at + 400, payload: Value::from(elements).to_string() });
                }
            }
        }
    }

    fn service(&self, place: usize) -> Service {
        let second = if self.kind == Kind::Counted { Kind::Plain } else { Kind::Counted };
        let sources = |kind: Kind| {
            let signal = format!("{} {place} {}", self.seed, kind.word());
            (kind, (0..self.pods).map(|pod| Source::new(kind, &signal, &pod.to_string())).collect())
        };
        Service { name: format!("s{place}"), signals: vec![sources(self.kind), sources(second)], late: Vec::new() }
    }

    fn samples(
        &self,
        place: usize,
        service: &mut Service,
        minute: i64,
        at: i64,
        noise: &mut Noise,
        out: &mut Vec<Value>,
    ) {
        for (order, (kind, sources)) in service.signals.iter_mut().enumerate() {
            for (pod, source) in sources.iter_mut().enumerate() {
                let hit = self.hit(place, pod, minute);
                if hit.restarts {
                    source.total = 0.0;
                }
                // The second signal is there to be innocent.
                let reading = source.next(minute, if order == 0 { hit.worse } else { 0.0 });
                if hit.silent || hit.restarts || noise.unit() < 0.01 {
                    continue;
                }
                let sample = self.sample(&service.name, *kind, pod, at, &hit.version, &reading);
                let luck = noise.unit();
                if luck < 0.05 {
                    service.late.push(sample);
                } else {
                    out.extend((luck > 0.99).then(|| sample.clone()));
                    out.push(sample);
                }
            }
        }
    }

    /// What becomes of one pod of a service in one minute.
    fn hit(&self, service: usize, pod: usize, minute: i64) -> Hit {
        let mut hit = Hit { worse: 0.0, silent: false, restarts: false, version: 0 };
        for (place, each) in self.deployed.iter().enumerate() {
            let (change, since) = (&each.change, minute - each.minute);
            let alone = pod == CARRIER || self.pods == 1;
            let mine = each.service == service;
            if (mine && (alone || !change.is_of_one())) || change.what == What::Shared {
                hit.worse += change.worse(since);
                hit.silent |= change.is_silent(since);
            }
            if mine && (alone || !change.canary) {
                hit.restarts |= since == 0;
            }
            // A canary that did no harm is promoted when its watch is over.
            let promoted = since > 62 && !change.is_harm();
            if mine && since >= 0 && (alone || !change.canary || promoted) {
                hit.version = place + 1;
            }
        }
        hit
    }

    fn sample(&self, service: &str, kind: Kind, pod: usize, at: i64, version: &usize, reading: &Reading) -> Value {
        let mut sample = json!({"ts": at, "service": service, "env": "prod", "metric": kind.metric()});
        match reading {
            Reading::Gauge(value) => sample["value"] = json!(value),
            Reading::Counter(value) => {
                sample["value"] = json!(value);
                sample["kind"] = json!("counter");
            }
            Reading::Delta(value) => {
                sample["value"] = json!(value);
                sample["kind"] = json!("delta");
            }
            Reading::Histogram(buckets) => {
                sample["kind"] = json!("histogram");
                sample["bounds"] = json!(buckets.bounds);
                sample["counts"] = json!(buckets.counts);
                sample["sum"] = json!(buckets.sum);
            }
        }
        if self.pods > 1 {
            sample["instance"] = json!(format!("{service}-{pod}"));
        }
        if self.by_version {
            sample["version"] = json!(format!("1.{version}.0"));
        }
        sample
    }

    fn deployment(&self, deployed: &Deployed) -> Message {
        let mut versions = BTreeMap::new();
        for (place, each) in self.deployed.iter().enumerate().take_while(|(_, each)| each.minute <= deployed.minute) {
            versions.entry(each.service).or_insert_with(Vec::new).push(place + 1);
        }
        let mine = &versions[&deployed.service];
        let previous = mine.iter().rev().nth(1).copied().unwrap_or(0);
        let at = deployed.minute * 60_000;
        let service = format!("s{}", deployed.service);
        let mut event = json!({
            "ts": at, "id": deployed.id, "service": service, "env": "prod", "kind": "deploy",
            "version": format!("1.{}.0", mine[mine.len() - 1]), "previous_version": format!("1.{previous}.0"),
        });
        if deployed.change.canary && self.pods > 1 && !self.by_version {
            event["instances"] = json!([format!("{service}-{CARRIER}")]);
        }
        Message { topic: "deployments", now: at, payload: event.to_string() }
    }
}

struct Hit {
    worse: f64,
    silent: bool,
    restarts: bool,
    /// The place of the deployment that it runs, from 1.
    version: usize,
}
