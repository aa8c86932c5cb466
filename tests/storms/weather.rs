//! Random fleets: what a seed makes of a few hours of services, releases and people.
//!
//! Only the inputs; the laws they must not break stand in `storms.rs`. A seed that ever broke a law stays in its list.

use crate::noise::Noise;
use regressd::engine::effect::Automation;
use regressd::engine::event::*;
use regressd::engine::fingerprint::thread_id;
use regressd::engine::policy::{ApprovalRule, AutomationRule, Bar, Glob, Policy, RateLimit, TeamRule};
use regressd::engine::time::{Span, Time};
use std::sync::Arc;

pub const START: Time = Time(1_789_948_800_000);

pub struct Storm {
    pub policy: Policy,
    pub inputs: Vec<Input<'static>>,
    pub deployments: Vec<Deployment>,
}

pub struct Climate {
    pub services: usize,
    /// Before the first deployment.
    pub history: Span,
    pub duration: Span,
    /// Between two deployments of one service, at least.
    pub spacing: Span,
    /// The share of deployments that triple latency and errors.
    pub harm: f64,
    /// Do people and odd messages get in the way?
    pub people: bool,
}

/// Services that break all the time, and people who declare things.
pub const ROUGH: Climate = Climate {
    services: 4,
    history: Span::minutes(90),
    duration: Span::minutes(330),
    spacing: Span::minutes(12),
    harm: 0.6,
    people: true,
};

/// Deployments far apart: each watch has its whole time.
pub const ORDERLY: Climate = Climate { spacing: Span::minutes(60), people: false, ..ROUGH };

/// Two rounds of deployments, and hours between them in which people have their say.
pub const TWO_ROUNDS: Climate = Climate { services: 6, spacing: Span::minutes(150), harm: 0.9, ..ORDERLY };
/// When they have it, from the start on.
pub const SAY: Span = Span::minutes(152);

/// Nothing ever breaks.
pub const QUIET: Climate = Climate {
    services: 16,
    duration: Span::minutes(480),
    spacing: Span::minutes(60),
    harm: 0.0,
    people: false,
    ..ROUGH
};

impl Climate {
    pub fn storm(&self, seed: u64) -> Storm {
        let mut noise = Noise::of(&format!("storm {seed}"));
        let (mut inputs, mut deployments) = (Vec::new(), Vec::new());
        for service in 0..self.services {
            let planned = self.deployments(service, &mut noise);
            self.samples(service, &planned, &mut noise, &mut inputs);
            deployments.extend(planned.into_iter().map(|(deployment, _)| deployment));
        }
        for deployment in &deployments {
            let fact = Fact::Deployment(deployment.clone());
            inputs.push(Input { now: deployment.at, fact: fact.clone() });
            if self.people && noise.unit() < 0.1 {
                inputs.push(Input { now: deployment.at + Span::MINUTE, fact });
            }
        }
        if self.people {
            inputs.extend((0..8).map(|_| self.declaration(&mut noise)));
            for deployment in &deployments {
                let (env, service) = (&deployment.env, &deployment.service);
                let thread: Arc<str> = thread_id(env, service, &deployment.id).into();
                let now = deployment.at + minutes(4 + noise.below(30));
                let word = answers(0, &thread, now).swap_remove(noise.below(6) as usize);
                inputs.extend((noise.unit() < 0.5).then_some(Input { now, fact: Fact::Control(word) }));
            }
        }
        inputs.sort_by_key(|input| input.now);
        Storm { policy: self.policy(seed, &mut noise), inputs, deployments }
    }

    fn policy(&self, seed: u64, noise: &mut Noise) -> Policy {
        let mut policy = Policy::default();
        policy.watch.duration = Span::minutes(30);
        policy.gate.cooldown = Span::minutes(10);
        policy.gate.service_limit = RateLimit { burst: 10, per_hour: 10.0 };
        policy.gate.fleet_limit = RateLimit { burst: 20, per_hour: 40.0 };
        policy.gate.env_limit = policy.gate.fleet_limit;
        policy.gate.team_limit = policy.gate.fleet_limit;
        // One of them is tight, lest the tightest of all hides a leak in the others.
        match seed % 5 {
            0 => policy.gate.cooldown = Span::minutes(45),
            1 => policy.gate.service_limit = RateLimit { burst: 1, per_hour: 1.5 },
            2 => policy.gate.fleet_limit = RateLimit { burst: 3, per_hour: 4.0 },
            3 => policy.gate.env_limit = RateLimit { burst: 3, per_hour: 4.0 },
            _ => policy.gate.team_limit = RateLimit { burst: 2, per_hour: 2.0 },
        }
        let [service, env] = [name(0), "*".into()].map(|glob| Glob(glob.into()));
        policy.teams.push(TeamRule { service, env, team: "first".into() });
        for service in 0..self.services {
            let level = match noise.below(8) {
                0 if self.people => Automation::Shadow,
                1 if self.people => Automation::Advise,
                _ => Automation::Recommend,
            };
            let service = Glob(name(service).into());
            policy.automation.push(AutomationRule { service, env: Glob("*".into()), level, by: Vec::new() });
        }
        policy
    }

    /// With how many times the level is what it was before.
    fn deployments(&self, service: usize, noise: &mut Noise) -> Vec<(Deployment, f64)> {
        let mut planned: Vec<(Deployment, f64)> = Vec::new();
        let mut at = START + self.history + minutes(noise.below(30));
        while at + Span::MINUTE < START + self.duration {
            let number = planned.len();
            let odd = if self.people { noise.below(10) } else { 9 };
            let previous = format!("1.{number}");
            let deployment = Deployment {
                version: Some(format!("1.{}", number + 1).into()),
                previous_version: (odd != 0).then(|| previous.into()),
                kind: if odd < 3 { DeploymentKind::Rollback } else { DeploymentKind::Deploy },
                team: (service == 1).then(|| "second".into()),
                reversible: (odd == 4).then_some(false),
                ..Deployment::new(at, &format!("{}-{number}", name(service)), &name(service), "prod")
            };
            let factor = if noise.unit() < self.harm { 3.0 } else { 1.0 };
            planned.push((deployment, factor));
            at = at + self.spacing + minutes(noise.below(20));
        }
        planned
    }

    fn samples(
        &self,
        service: usize,
        planned: &[(Deployment, f64)],
        noise: &mut Noise,
        inputs: &mut Vec<Input<'static>>,
    ) {
        let level = 50.0 + noise.unit() * 200.0;
        let spread = 0.02 + noise.unit() * 0.08;
        let mut errors = 0.0;
        let mut at = START;
        while at < START + self.duration {
            let factor =
                planned.iter().rev().find(|(deployment, _)| deployment.at < at).map_or(1.0, |(_, factor)| *factor);
            for instance in ["a", "b"] {
                let latency = level * factor * (1.0 + spread * noise.normal());
                inputs.push(sample(at, service, instance, "latency_p95_ms", Reading::Gauge(latency)));
                let requests = noise.events(400.0) as f64;
                inputs.push(sample(at, service, instance, "http.server.requests", Reading::Delta(requests)));
            }
            errors += noise.events(4.0 * factor) as f64;
            inputs.push(sample(at, service, "a", "http.server.errors", Reading::Counter(errors)));
            at = at + Span::MINUTE;
        }
    }

    fn declaration(&self, noise: &mut Noise) -> Input<'static> {
        let at = START + minutes(noise.below(self.duration.0.unsigned_abs() / 60_000));
        let from = at + minutes(noise.below(20));
        let service: Option<Arc<str>> =
            (noise.unit() < 0.8).then(|| name(noise.below(self.services as u64) as usize).into());
        let window =
            Window { scope: Scope { env: None, service }, from, to: from + minutes(noise.below(30)), reason: None };
        let word = match noise.below(4) {
            0 => Word::Freeze(window),
            1 => Word::Mute(window),
            2 => Word::Context { window, kind: ContextKind::InfraChange },
            _ => Word::Approval { recommendation: "nobody".into(), decision: Decision::Approved },
        };
        Input { now: at, fact: Fact::Control(Control { at, by: None, word }) }
    }
}

impl Storm {
    /// With people's answers to what was asked, each a minute later: approvals, rejections, opinions, windows, some of
    /// them told twice. Shuffled, the same words arrive within their minute in another order, and twice elsewhere.
    pub fn answered(&self, asked: &[(Time, Arc<str>)], noise: &mut Noise, shuffle: bool) -> Storm {
        let mut inputs = self.inputs.clone();
        for (number, (at, thread)) in asked.iter().enumerate() {
            let now = *at + Span::seconds(20);
            let mut words: Vec<_> = answers(number, thread, now).into_iter().map(Fact::Control).collect();
            if shuffle {
                words.push(words[noise.below(words.len() as u64) as usize].clone());
                (1..words.len()).rev().for_each(|last| words.swap(last, noise.below(last as u64 + 1) as usize));
            }
            inputs.extend(words.into_iter().map(|fact| Input { now, fact }));
        }
        // Stable: what came at one moment stays in its order.
        inputs.sort_by_key(|input| input.now);
        Storm { policy: self.policy.clone(), inputs, deployments: self.deployments.clone() }
    }

    /// The same, with one rule for all services, and what was asked for standing for hours.
    pub fn patient(mut self) -> Storm {
        let service = Glob("service-*".into());
        let rule = AutomationRule { service, level: Automation::Recommend, ..AutomationRule::default() };
        self.policy.automation = vec![rule];
        // Low enough bars for a few words to move levels.
        self.policy.earning.recommend = Bar { sample: 3, precision: 0.5 };
        self.policy.earning.advise = Bar { sample: 4, precision: 0.05 };
        self.policy.gate.expires = Span(4 * Span::HOUR.0);
        self.policy.approvals = vec![ApprovalRule { within: Span(4 * Span::HOUR.0), ..ApprovalRule::default() }];
        self
    }

    /// With words of people, each told at its moment. Late, they arrive up to four fifths of the allowed lateness
    /// later, each by its own delay, and some of them twice.
    pub fn told(&self, words: &[Control], late: Option<&mut Noise>) -> Storm {
        let most = self.policy.watch.lateness.0.unsigned_abs() * 4 / 5;
        let mut inputs = self.inputs.clone();
        let mut arrive = |word: &Control, delay| {
            inputs.push(Input { now: word.at + Span(delay), fact: Fact::Control(word.clone()) });
        };
        match late {
            None => words.iter().for_each(|word| arrive(word, 0)),
            Some(noise) => words.iter().for_each(|word| {
                (0..1 + noise.below(2)).for_each(|_| arrive(word, noise.below(most) as i64));
            }),
        }
        inputs.sort_by_key(|input| input.now);
        Storm { policy: self.policy.clone(), inputs, deployments: self.deployments.clone() }
    }

    /// The same with a millisecond of its own for whatever everybody hears: which of two comes first at one moment is
    /// nobody's to say.
    pub fn spread(mut self) -> Storm {
        let mut last = Time::MIN;
        for input in &mut self.inputs {
            if matches!(input.fact, Fact::Deployment(_) | Fact::Control(_)) {
                last = input.now.max(last + Span(1));
                input.now = last;
            }
        }
        self.inputs.sort_by_key(|input| input.now);
        let end = self.inputs.last().map_or(Time(0), |input| input.now) + Span(1);
        self.inputs.push(Input { now: end, fact: Fact::Tick });
        self
    }

    /// The same facts; samples arrive up to four fifths of the allowed lateness later, each by its own delay.
    pub fn shuffled(&self, seed: u64) -> Storm {
        let mut noise = Noise::of(&format!("delays {seed}"));
        let most = self.policy.watch.lateness.0.unsigned_abs() * 4 / 5;
        let mut inputs = self.inputs.clone();
        for input in inputs.iter_mut().filter(|input| matches!(input.fact, Fact::Sample(_))) {
            input.now = input.now + Span(noise.below(most) as i64);
        }
        inputs.sort_by_key(|input| input.now);
        Storm { policy: self.policy.clone(), inputs, deployments: self.deployments.clone() }
    }
}

/// What people have to say between two rounds: of every thread, of the next hours, of how far the daemon may go.
pub fn words(threads: &[Arc<str>], noise: &mut Noise) -> Vec<Control> {
    let mut words = Vec::new();
    let mut say = |noise: &mut Noise, by: &str, word| {
        let at = START + SAY + Span(noise.below(180_000) as i64);
        words.push(Control { at, by: Some(by.into()), word });
    };
    for thread in threads {
        let about = || About::Recommendation(thread.clone());
        for by in ["ana", "ben"] {
            let verdict = if noise.unit() < 0.85 { Feedback::FalseAlarm } else { Feedback::Correct };
            if noise.unit() < 0.6 {
                say(noise, by, Word::Feedback { about: about(), verdict, comment: None });
            }
            let decision = if noise.unit() < 0.75 { Decision::Rejected } else { Decision::Approved };
            if noise.unit() < 0.6 {
                say(noise, by, Word::Approval { recommendation: thread.clone(), decision });
            }
        }
    }
    for service in 0..3 {
        let scope = Scope { env: None, service: Some(name(service).into()) };
        let window = Window { scope, from: START + SAY, to: START + SAY + Span(6 * Span::HOUR.0), reason: None };
        say(noise, "cleo", if service == 0 { Word::Mute(window) } else { Word::Freeze(window) });
    }
    for level in [Automation::Recommend, Automation::Advise] {
        let scope = Scope { env: None, service: Some("service-*".into()) };
        if noise.unit() < 0.3 {
            say(noise, "cleo", Word::Automation { scope, level });
        }
    }
    words
}

/// What three people have to say about a thread.
fn answers(number: usize, thread: &Arc<str>, now: Time) -> Vec<Control> {
    let recommendation = thread.clone();
    let approval = |by: &str, decision| {
        let word = Word::Approval { recommendation: recommendation.clone(), decision };
        Control { at: now, by: Some(by.into()), word }
    };
    let feedback = |at, verdict| {
        let about = About::Recommendation(recommendation.clone());
        Control { at, by: Some("ana".into()), word: Word::Feedback { about, verdict, comment: None } }
    };
    let window = Window { scope: Scope::default(), from: now, to: now + Span::minutes(9), reason: None };
    let mut words = vec![
        approval("ana", Decision::Approved),
        approval("ben", Decision::Approved),
        feedback(now, Feedback::Correct),
        feedback(now - Span::seconds(5), Feedback::FalseAlarm),
        Control { at: now, by: Some("cleo".into()), word: Word::Freeze(window) },
    ];
    if number.is_multiple_of(2) {
        words.push(approval("ana", Decision::Rejected));
    }
    words
}

fn sample(at: Time, service: usize, instance: &'static str, metric: &'static str, reading: Reading) -> Input<'static> {
    let origin =
        Origin { service: name(service).into(), env: "prod".into(), version: None, instance: Some(instance.into()) };
    let sample = Sample { at, origin, metric: metric.into(), reading, unit: None, labels: Vec::new() };
    Input { now: at, fact: Fact::Sample(sample) }
}

fn name(service: usize) -> String {
    format!("service-{service}")
}

fn minutes(n: u64) -> Span {
    Span::minutes(n as i64)
}
