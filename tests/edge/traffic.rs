//! What services send: samples with ordinary noise, deployments, and the harm a deployment does.
//!
//! Everything is derived from a seed and from one moment, so that two scenes can be given the same bytes. A record's
//! own time is a second after what it tells of, as if it had been sent then.

#![allow(dead_code, reason = "the edge and the fault tests use a part each")]

use serde_json::json;

use crate::topic::Draft;

pub const SECOND: i64 = 1000;
pub const MINUTE: i64 = 60 * SECOND;

const INSTANCES: usize = 3;
const OLD: &str = "1.41.3";
const NEW: &str = "1.42.0";

/// A service through a stretch of time.
#[derive(Clone, Debug)]
pub struct Service {
    pub name: String,
    /// Between two samples of a series, in ms.
    pub step: i64,
    /// When the new version takes over on all instances at once, if it does.
    pub deployed_at: Option<i64>,
    /// The new version fails many requests.
    pub broken: bool,
}

impl Service {
    pub fn new(name: &str) -> Service {
        Service { name: name.to_owned(), step: 15 * SECOND, deployed_at: None, broken: false }
    }

    pub fn deployed_at(self, at: i64) -> Service {
        Service { deployed_at: Some(at), ..self }
    }

    pub fn broken(self) -> Service {
        Service { broken: true, ..self }
    }

    pub fn every(self, step: i64) -> Service {
        Service { step, ..self }
    }

    pub fn deployment_id(&self) -> String {
        format!("deploy-{}", self.name)
    }

    /// The deployment's own event.
    pub fn deployment(&self) -> Draft {
        let at = self.deployed_at.expect("it is deployed");
        let event = json!({
            "ts": at, "id": self.deployment_id(), "service": self.name, "env": "prod",
            "version": NEW, "previous_version": OLD, "author": "ci", "reversible": true,
        });
        Draft::json(at + SECOND, &self.key(), &event)
    }

    /// One message per instance and step in `[from, to)`, in order of time.
    pub fn metrics(&self, from: i64, to: i64) -> Vec<Draft> {
        let mut drafts = Vec::new();
        for step in from.div_euclid(self.step)..to.div_euclid(self.step) {
            let at = step * self.step;
            for instance in 0..INSTANCES {
                drafts.push(Draft::json(at + SECOND, &self.key(), &self.samples(at, instance)));
            }
        }
        drafts
    }

    fn samples(&self, at: i64, instance: usize) -> serde_json::Value {
        let new = self.deployed_at.is_some_and(|deployed| at >= deployed);
        let mut noise = Noise::new(&format!("{} {instance} {at}", self.name));
        let errors = if new && self.broken { 0.2 } else { 0.01 };
        let sample = |metric: &str, unit: &str, value: f64| {
            json!({
                "ts": at, "service": self.name, "env": "prod", "version": if new { NEW } else { OLD },
                "instance": format!("{}-{instance}", self.name), "metric": metric, "unit": unit, "value": value,
            })
        };
        json!([
            sample("http.server.error_ratio", "1", errors * noise.about_one()),
            sample("http.server.duration_p95", "ms", 120.0 * noise.about_one()),
            sample("http.server.request_rate", "{request}/s", 80.0 * noise.about_one()),
        ])
    }

    fn key(&self) -> String {
        format!("prod/{}", self.name)
    }
}

/// Pseudo-random numbers from a seed: SplitMix64.
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: &str) -> Noise {
        Noise(
            seed.bytes()
                .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)),
        )
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// In `[0, bound)`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Between 0.8 and 1.2, more often in the middle.
    fn about_one(&mut self) -> f64 {
        let mean = (0..4).map(|_| (self.next() >> 11) as f64 / (1u64 << 53) as f64).sum::<f64>() / 4.0;
        0.8 + 0.4 * mean
    }
}
