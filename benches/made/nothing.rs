//! Watches in which nothing happens: one service on one kind of noise, deployed again and again, to no effect.
//!
//! The engine is stepped as the pump steps it, without the bytes in between. What a watch says is taken from the audit,
//! before the gate: a false alarm that a cooldown keeps back is one all the same.

use crate::kinds::{Kind, Source};
use crate::noise::Noise;
use regressd::engine::Engine;
use regressd::engine::effect::{AuditEvent, Effect, VerdictKind};
use regressd::engine::event::{Deployment, Fact, Input, Origin, Sample};
use regressd::engine::policy::Policy;
use regressd::engine::time::{Span, Time};
use std::time::{Duration, Instant};

/// Monday, 2026-09-21 00:00 UTC.
const START: i64 = 1_789_948_800_000 / 60_000;

/// How one service is deployed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// No instances are told: all of it carries the change.
    Whole,
    /// Three instances, of which one carries the change.
    Canary,
}

pub struct Nothing {
    pub kind: Kind,
    pub style: Style,
    /// Seeds everything.
    pub number: u64,
    /// Watches, one after the other.
    pub watches: u64,
    /// Minutes before the first.
    pub learned: u64,
    /// Signals of this kind that the service has, two at most.
    pub signals: usize,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Said {
    pub watches: u64,
    pub regressions: u64,
    pub clean: u64,
    /// Weeks in which deployments were watched.
    pub weeks: f64,
    /// Signals looked at, each minute anew, and the time that it took.
    pub looks: u64,
    pub looking: Duration,
    pub samples: u64,
    pub sampling: Duration,
}

impl Said {
    pub fn add(&mut self, other: &Said) {
        self.watches += other.watches;
        self.regressions += other.regressions;
        self.clean += other.clean;
        self.weeks += other.weeks;
        self.looks += other.looks;
        self.looking += other.looking;
        self.samples += other.samples;
        self.sampling += other.sampling;
    }
}

/// What the service tells apart: each a signal of its own.
const ROUTES: [&str; 2] = ["/pay", "/cart"];

impl Nothing {
    pub fn watch(&self, policy: &Policy) -> Said {
        let seed = format!("{} {:?} {}", self.kind.word(), self.style, self.number);
        let mut noise = Noise::of(&seed);
        let instances: &[&str] = if self.style == Style::Whole { &[""] } else { &["a", "b", "c"] };
        let of_route = |route: &&str| -> Vec<Source> {
            instances.iter().map(|each| Source::new(self.kind, &format!("{seed}{route}"), each)).collect()
        };
        let mut sources: Vec<_> = ROUTES.iter().take(self.signals).map(of_route).collect();
        let phase = noise.below(50_000) as i64;
        let mut watching = Watching { policy, engine: Engine::default(), effects: Vec::new(), said: Said::default() };
        let (mut opened, mut minute) = (0, START + noise.below(1_440) as i64);
        let length = policy.watch.duration.0 / 60_000;
        let first = minute + self.learned as i64;
        let mut next = first;
        while opened < self.watches || minute < next - 15 {
            if minute == next && opened < self.watches {
                watching.deploy(Time(60_000 * minute), opened, instances);
                opened += 1;
                next = minute + length + 15 + noise.below(30) as i64;
            }
            let at = Time(60_000 * minute + phase + noise.below(2_000) as i64);
            for (route, sources) in ROUTES.iter().zip(&mut sources) {
                for (instance, source) in instances.iter().zip(sources) {
                    watching.sample(at, self.sample(at, route, instance, source.next(minute, 0.0)));
                }
            }
            minute += 1;
        }
        watching.said.weeks = (minute - first) as f64 / 10_080.0;
        watching.said
    }

    fn sample<'a>(
        &self,
        at: Time,
        route: &'a str,
        instance: &'a str,
        reading: regressd::engine::event::Reading,
    ) -> Sample<'a> {
        let instance = (!instance.is_empty()).then_some(instance.into());
        Sample {
            at,
            origin: Origin { service: "checkout".into(), env: "prod".into(), version: None, instance },
            metric: self.kind.metric().into(),
            reading,
            unit: None,
            labels: vec![("route".into(), route.into())],
        }
    }
}

struct Watching<'a> {
    policy: &'a Policy,
    engine: Engine,
    effects: Vec<Effect>,
    said: Said,
}

impl Watching<'_> {
    fn deploy(&mut self, at: Time, number: u64, instances: &[&str]) {
        let carriers =
            if instances.len() > 1 { vec![instances[number as usize % instances.len()].into()] } else { vec![] };
        let deployment = Deployment {
            version: Some(format!("1.{}.0", number + 1).into()),
            previous_version: Some(format!("1.{number}.0").into()),
            instances: carriers,
            ..Deployment::new(at, &format!("d{number}"), "checkout", "prod")
        };
        self.tick_until(at);
        self.engine.step(self.policy, &Input { now: at, fact: Fact::Deployment(deployment) }, &mut self.effects);
        self.said.watches += 1;
    }

    fn sample(&mut self, at: Time, sample: Sample) {
        let now = at + Span(500);
        self.tick_until(now);
        let began = Instant::now();
        self.engine.step(self.policy, &Input { now, fact: Fact::Sample(sample) }, &mut self.effects);
        self.said.sampling += began.elapsed();
        self.said.samples += 1;
    }

    fn tick_until(&mut self, now: Time) {
        while let Some(due) = self.engine.next_deadline().filter(|due| *due <= now) {
            let began = Instant::now();
            self.engine.step(self.policy, &Input { now: due, fact: Fact::Tick }, &mut self.effects);
            self.said.looking += began.elapsed();
            self.said.looks += self.engine.vitals().signals;
        }
        for effect in self.effects.drain(..) {
            if let Effect::Audit(audit) = effect
                && let AuditEvent::Verdict { kind, .. } = audit.event
            {
                self.said.regressions += u64::from(kind == VerdictKind::Regression);
                self.said.clean += u64::from(kind == VerdictKind::Clean);
            }
        }
    }
}
