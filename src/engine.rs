//! What we believe: a plain, synchronous, deterministic heart.
//!
//! Fed one input at a time, each with its time, it answers with effects. It never blocks, never fails, never logs, and
//! knows no broker, file, clock or random number: the same inputs give the same effects. This file alone knows the
//! order of the rooms and does no arithmetic; the rooms do the work and know no order.

#[macro_use]
mod words;

pub mod accuracy;
pub mod adjusted;
pub mod aside;
pub mod baseline;
pub mod character;
pub mod detect;
pub mod distribution;
pub mod drift;
pub mod earning;
pub mod effect;
mod entry;
pub mod event;
pub mod fingerprint;
pub mod fleet;
pub mod gate;
pub mod index;
pub mod learn;
pub mod ledger;
pub mod logs;
pub mod pace;
mod people;
pub mod policy;
pub mod pulse;
pub mod redact;
pub mod rollout;
pub mod series;
pub mod service;
pub mod signal;
pub mod stats;
pub mod threads;
pub mod time;
pub mod verdict;
pub mod vitals;
pub mod watch;
pub mod watches;
pub mod window;
pub mod yardstick;

use accuracy::Cases;
use aside::Aside;
use drift::Drifts;
use earning::{Earning, InForce};
use effect::{
    Action, AuditEvent, Considered, Effect, Guardrails, Lifecycle, Method, NotWatched, Reason, Recommendation,
    VerdictKind,
};
use entry::{audit, publish};
use event::{Deployment, Fact, Input, LogLine, Sample};
use fleet::{Fleet, Full, Rolled};
use gate::{Answer, Gate, Proposal};
use ledger::Ledger;
use logs::{Logs, Told};
use policy::Policy;
use pulse::Pulse;
use serde::{Deserialize, Serialize};
use threads::Threads;
use time::Time;
use verdict::Verdict;
pub use vitals::Vitals;
use watch::{Phase, Watch};
use watches::Watches;

/// All state; a checkpoint is this struct, serialised.
#[derive(Default, Serialize, Deserialize)]
pub struct Engine {
    now: Option<Time>,
    fleet: Fleet,
    aside: Aside,
    logs: Logs,
    watches: Watches,
    gate: Gate,
    threads: Threads,
    cases: Cases,
    earning: Earning,
    ledger: Ledger,
    drifts: Drifts,
    pulse: Pulse,
    vitals: Vitals,
    /// Room to work in, empty of meaning between two steps.
    #[serde(skip)]
    table: learn::Table,
}

impl Engine {
    /// The door. Takes one input and appends what is to be done about it, in order.
    pub fn step(&mut self, policy: &Policy, input: &Input, effects: &mut Vec<Effect>) {
        let now = self.advance(input);
        self.pulse.feel(policy, now, &input.fact);
        self.aside.recur(policy, now);
        match &input.fact {
            Fact::Sample(sample) => self.sample(policy, now, sample),
            Fact::Log(line) => self.log(policy, now, line),
            Fact::Deployment(deployment) => self.deployment(policy, now, deployment, effects),
            Fact::Control(control) => self.control(policy, now, control, effects),
            Fact::ColdStart { since } => self.gate.cold_start(*since),
            Fact::Gap { from, to } => self.watches.gap(*from, *to),
            Fact::PolicyChanged => self.configured(policy, now, effects),
            Fact::Tick => self.tick(policy, now, effects),
            Fact::Drain => self.drain(policy, now, effects),
        }
        let decides = !matches!(input.fact, Fact::Sample(_) | Fact::Log(_));
        self.note(policy, now, decides);
    }

    /// The next moment at which a tick is due, if any.
    pub fn next_deadline(&self) -> Option<Time> {
        let due = [self.watches.next_due(), self.threads.next_due(), self.pulse.next_due(), self.cases.next_due()];
        due.into_iter().flatten().min()
    }

    pub fn vitals(&self) -> &Vitals {
        &self.vitals
    }

    /// Time never goes back, and a cold start has none of its own.
    fn advance(&mut self, input: &Input) -> Time {
        if matches!(input.fact, Fact::ColdStart { .. }) {
            return self.now.unwrap_or(Time::MIN);
        }
        let now = self.now.map_or(input.now, |now| now.max(input.now));
        self.now = Some(now);
        now
    }

    fn sample(&mut self, policy: &Policy, now: Time, sample: &Sample) {
        if let Some(dropped) = vitals::out_of_time(policy, now, sample.at) {
            return self.vitals.count(dropped);
        }
        let taken = self.fleet.take(sample, &policy.limits);
        if let Ok((_, Some(rolled))) = taken {
            self.roll(policy, rolled);
        }
        self.vitals.count(taken.map(|(taken, _)| taken).into());
    }

    fn roll(&mut self, policy: &Policy, Rolled { service, signal, minute }: Rolled) {
        learn::roll(&mut self.fleet, policy, &self.aside, service, signal, minute, &mut self.table);
    }

    fn log(&mut self, policy: &Policy, now: Time, line: &LogLine) {
        if let Some(dropped) = vitals::out_of_time(policy, now, line.at) {
            return self.vitals.count(dropped);
        }
        let Ok((service, taken, rolled)) = self.fleet.take_log(line, &policy.limits) else {
            return self.vitals.count(Err(Full).into());
        };
        if self.logs.take(policy, service, line) == Told::Urgent {
            self.watches.hasten(&line.origin.env, &line.origin.service, now);
        }
        if let Some(rolled) = rolled {
            self.roll(policy, rolled);
        }
        self.vitals.count(Ok(taken).into());
    }

    fn deployment(&mut self, policy: &Policy, now: Time, deployment: &Deployment, effects: &mut Vec<Effect>) {
        let not_watched = self.watches.refuse(policy, now, deployment);
        if let Some(why) = not_watched {
            if why == NotWatched::Overflow {
                self.taken_effect(policy, now, deployment, effects);
            }
            effects.push(audit(now, deployment, None, AuditEvent::NotWatched { why }));
            return;
        }
        for older in self.watches.overtaken_by(deployment) {
            self.look(policy, now, older, true, effects);
        }
        self.taken_effect(policy, now, deployment, effects);
        let Ok(service) = self.fleet.service(&deployment.env, &deployment.service, deployment.at, &policy.limits)
        else {
            effects.push(audit(now, deployment, None, AuditEvent::NotWatched { why: NotWatched::Overflow }));
            return;
        };
        let minute = window::minute_of(now.min(deployment.at));
        learn::catch_up(&mut self.fleet, policy, &self.aside, service, minute, &mut self.table);
        self.logs.open(service, deployment);
        self.drifts.deployed(service);
        let watch = self.watches.open(policy, now, deployment);
        let event = AuditEvent::WatchOpened { until: watch.until };
        effects.push(audit(now, deployment, Some(watch), event));
        self.cases.open(policy, now, &watch.thread, &watch.deployment);
        self.fleet.watch(&deployment.env, &deployment.service, 1, window::minute_of(now));
    }

    /// What a deployment means for what was said before, watched or not.
    fn taken_effect(&mut self, policy: &Policy, now: Time, deployment: &Deployment, effects: &mut Vec<Effect>) {
        self.gate.deployed(deployment);
        self.taken_back(policy, now, deployment, effects);
        self.threads.deployed(now, policy, deployment).into_iter().for_each(|message| publish(message, effects));
    }

    fn tick(&mut self, policy: &Policy, now: Time, effects: &mut Vec<Effect>) {
        for place in self.watches.due(now) {
            let over = self.watches.get(place).is_over(now);
            self.look(policy, now, place, over, effects);
        }
        self.watches.sweep();
        for thread in self.threads.due(now) {
            let recovered = self.recovered(&thread, now);
            let message = self.threads.tick(policy, now, &thread, recovered);
            if let Some(message) = message {
                self.tell(policy, now, now, message, effects);
            }
        }
        self.measured(policy, now, effects);
        let (watches, threads) = (self.watches.all().len() as u64, self.threads.open() as u64);
        let beat = self.pulse.beat(policy, now, &self.fleet, watches, threads);
        if let Some(beat) = beat {
            effects.push(Effect::Heartbeat(Box::new(beat)));
            let drifts = self.drifts.look(&self.fleet, &self.aside, policy, now);
            effects.extend(drifts.into_iter().map(|drift| Effect::Drift(Box::new(drift))));
        }
    }

    /// Whether the signals that a thread named are as they were before; none where that can't be told.
    fn recovered(&mut self, thread: &str, now: Time) -> Option<bool> {
        let asked = self.threads.question(thread, now)?;
        let service = self.fleet.find(&asked.env, &asked.service)?;
        let (evidence, since, upto) = (&asked.evidence, asked.since, asked.upto);
        let metrics = detect::recovery::recovered(&mut self.fleet, service, evidence, since, upto);
        let new = evidence.iter().filter(|each| each.method == Method::NewTemplate);
        let lines = new.filter_map(|each| self.logs.is_gone(service, each.log.as_deref()?, since, upto));
        lines.chain(metrics).reduce(|all, each| all && each)
    }

    fn drain(&mut self, policy: &Policy, now: Time, effects: &mut Vec<Effect>) {
        for place in self.watches.all() {
            self.look(policy, now, place, true, effects);
        }
        self.watches.sweep();
    }

    /// Looks at one watch: evidence, verdict, gate, and what follows; `last` closes it.
    fn look(&mut self, policy: &Policy, now: Time, place: usize, last: bool, effects: &mut Vec<Effect>) {
        self.add_up(policy, now, place, last);
        let watch = self.watches.get(place).clone();
        let level = watch.level(policy);
        // What was said is looked at once more, so that the record shows it was held and not forgotten.
        if watch.gap && !watch.found {
            if last && !watch.said {
                self.end(policy, now, place, verdict::of_gap(), effects);
            }
        } else if !watch.said || !watch.held.contains(&Reason::AlreadySaid) {
            let findings = self.findings(policy, now, place);
            let overflowed = self.has_overflowed(&watch);
            let found = verdict::so_far(level, &findings);
            match found.or_else(|| watch.sum.clone().map(verdict::of_steps)) {
                Some(found) => self.regression(policy, now, place, found, last, effects),
                None if last && !watch.said => {
                    let verdict = verdict::at_the_end(level, findings, overflowed, watch.superseded);
                    self.end(policy, now, place, verdict, effects);
                }
                None => {}
            }
        } else if !last && !watch.gap && self.threads.is_old_news(policy, now, &watch.thread) {
            self.refresh(policy, now, place, effects);
        }
        if last {
            self.close(now, place, effects);
        } else {
            self.watches.get_mut(place).reschedule(now);
        }
    }

    /// Enters what the deployment did in the ledger, once, as soon as there is enough to measure it by.
    fn add_up(&mut self, policy: &Policy, now: Time, place: usize, last: bool) {
        let watch = self.watches.get(place);
        let deployment = watch.deployment.clone();
        let upto = Watch::complete(now.min(watch.until + watch::GRACE));
        if watch.entered || watch.gap || !(last || detect::steps::is_measurable(&deployment, upto)) {
            return;
        }
        let Some(service) = self.fleet.find(&deployment.env, &deployment.service) else { return };
        self.fleet.settle_env(service, upto);
        let steps = detect::steps::steps(&self.fleet, policy, service, &deployment, upto);
        let stretches = self.aside.of(&deployment.env, &deployment.service, window::minute_of(deployment.at) - 60);
        let watch = self.watches.get_mut(place);
        watch.entered = true;
        // What an event does to an hour is no release's step.
        if stretches.iter().all(|(from, _)| *from > upto) {
            watch.sum = self.ledger.note(policy, &deployment, &steps);
        }
    }

    /// The advice stands; a material change of its evidence is told.
    fn refresh(&mut self, policy: &Policy, now: Time, place: usize, effects: &mut Vec<Effect>) {
        let findings = self.findings(policy, now, place);
        let level = self.watches.get(place).level(policy);
        let Some(found) = verdict::so_far(level, &findings) else { return };
        let watch = self.watches.get(place);
        let (thread, rollout) = (&watch.thread, rollout::rollout_of(&self.fleet, now, &watch.deployment));
        let gate = &mut self.gate;
        let may_speak = |deployment: &Deployment| gate.spend(policy, now, thread, deployment);
        let message = self.threads.refresh(policy, now, thread, &found, rollout, may_speak);
        message.into_iter().for_each(|message| publish(message, effects));
    }

    fn findings(&mut self, policy: &Policy, now: Time, place: usize) -> detect::Findings {
        let watch = self.watches.get_mut(place);
        let level = watch.level(policy);
        let upto = Watch::complete(now.min(watch.until + watch::GRACE));
        match self.fleet.find(&watch.deployment.env, &watch.deployment.service) {
            Some(service) => {
                self.fleet.settle_env(service, upto);
                adjusted::work_out(&mut self.fleet, service, upto);
                if watch.begin() {
                    learn::note_reference(&mut self.fleet, service, watch.start());
                }
                let (fleet, shared) = (&self.fleet, &watch.shared);
                let mut findings = detect::look(fleet, policy, service, &watch.deployment, level, upto, shared);
                watch.note_shared(std::mem::take(&mut findings.shared));
                let (owner, now) = (&self.fleet.services[service], now.min(watch.until));
                let deployment = &*watch.deployment;
                findings.evidence.retain(|each| self.logs.confirms(policy, service, owner, deployment, now, each));
                findings.add(self.logs.evidence(policy, service, owner, deployment, now));
                watch.join(&mut findings.by_horizon);
                findings
            }
            None => detect::Findings::default(),
        }
    }

    /// Whether a limit kept anything of the service under watch from being seen.
    fn has_overflowed(&self, watch: &Watch) -> bool {
        let Deployment { env, service, at, .. } = &*watch.deployment;
        let homeless = self.fleet.find(env, service).is_some_and(|place| self.logs.has_overflowed(place, *at));
        homeless || self.fleet.has_overflowed(env, service)
    }

    /// A regression is true; asks the gate whether it may be said, and says or writes down why not.
    fn regression(
        &mut self,
        policy: &Policy,
        now: Time,
        place: usize,
        found: Verdict,
        last: bool,
        effects: &mut Vec<Effect>,
    ) {
        let watch = self.watches.get_mut(place);
        if !watch.found {
            watch.found = true;
            let event = AuditEvent::Verdict { kind: found.kind, risk: found.risk };
            effects.push(audit(now, &watch.deployment, Some(watch), event));
            self.cases.call(now, &watch.thread, &found);
        }
        let watch = watch.clone();
        let onset = found.evidence.first().map_or(watch.deployment.at, |strongest| strongest.onset);
        let beside = self.watches.beside(place, onset);
        let automation = self.in_force(policy, &watch);
        let wanted = self.proposal(now, &watch, &found, automation);
        match self.gate.ask(policy, now, &wanted) {
            Answer::Say { action, guardrails } => {
                self.watches.get_mut(place).said = true;
                self.say(policy, now, &watch, found, action, guardrails, beside, effects);
            }
            Answer::Hold { reason, would } => {
                if self.watches.get_mut(place).hold(reason) {
                    if reason == Reason::Grouped
                        && let Some(leader) = self.gate.leader(policy, now, &watch.deployment.env)
                    {
                        self.threads.join(&leader, &watch.deployment);
                    }
                    effects.push(audit(now, &watch.deployment, Some(&watch), AuditEvent::Held { reason, would }));
                }
                if last && !watch.said {
                    let guardrails = self.gate.last_word(&wanted, reason);
                    self.watches.get_mut(place).said = true;
                    self.say(policy, now, &watch, found, Action::None, guardrails, beside, effects);
                }
            }
        }
    }

    /// Its time is over and it found no regression.
    fn end(&mut self, policy: &Policy, now: Time, place: usize, verdict: Verdict, effects: &mut Vec<Effect>) {
        let watch = self.watches.get_mut(place);
        watch.ended = Some(verdict.kind);
        let watch = &watch.clone();
        self.cases.close(&watch.thread, verdict.kind, Some(verdict.risk));
        let event = AuditEvent::Verdict { kind: verdict.kind, risk: verdict.risk };
        effects.push(audit(now, &watch.deployment, Some(watch), event));
        let automation = self.in_force(policy, watch);
        let wanted = self.proposal(now, watch, &verdict, automation);
        match self.gate.ask(policy, now, &wanted) {
            Answer::Say { action, guardrails } => {
                self.say(policy, now, watch, verdict, action, guardrails, Vec::new(), effects)
            }
            Answer::Hold { reason, would } => {
                effects.push(audit(now, &watch.deployment, Some(watch), AuditEvent::Held { reason, would }));
            }
        }
    }

    fn in_force(&self, policy: &Policy, watch: &Watch) -> InForce {
        self.earning.level(policy, &watch.deployment.env, &watch.deployment.service)
    }

    #[expect(clippy::too_many_arguments, reason = "a message has this many parts")]
    fn say(
        &mut self,
        policy: &Policy,
        now: Time,
        watch: &Watch,
        verdict: Verdict,
        action: Action,
        guardrails: Guardrails,
        considered: Vec<Considered>,
        effects: &mut Vec<Effect>,
    ) {
        let said = Recommendation {
            thread: watch.thread.clone(),
            sequence: 0,
            at: now,
            lifecycle: Lifecycle::Issued,
            action,
            verdict: verdict.kind,
            risk: verdict.risk,
            deployment: watch.deployment.clone(),
            summary: verdict::summary(&watch.deployment, &verdict, &considered, now)
                + &verdict::doubts(&watch.deployment, &guardrails),
            evidence: verdict.evidence,
            coverage: verdict.coverage,
            guardrails,
            considered,
            shares: verdict.shares,
            answer: None,
        };
        match self.threads.say(policy, said) {
            Some(message) => publish(message, effects),
            // Its thread has ended: people decided, and that stands.
            None => {
                let event = AuditEvent::Held { reason: Reason::AlreadySaid, would: action };
                effects.push(audit(now, &watch.deployment, Some(watch), event));
            }
        }
    }

    fn proposal<'a>(&self, now: Time, watch: &'a Watch, verdict: &Verdict, automation: InForce) -> Proposal<'a> {
        Proposal {
            thread: &watch.thread,
            deployment: &watch.deployment,
            verdict: verdict.kind,
            superseded: watch.superseded,
            weighty: verdict.evidence.iter().any(|each| each.weighty),
            slow: !verdict.shares.is_empty(),
            automation,
            rollout: rollout::rollout_of(&self.fleet, now, &watch.deployment),
        }
    }

    fn close(&mut self, now: Time, place: usize, effects: &mut Vec<Effect>) {
        let watch = self.watches.close(place);
        let kind = watch.ended.unwrap_or(VerdictKind::Regression);
        self.cases.close(&watch.thread, kind, None);
        effects.push(audit(now, &watch.deployment, Some(&watch), AuditEvent::WatchClosed { kind }));
        self.fleet.watch(&watch.deployment.env, &watch.deployment.service, -1, window::minute_of(now));
        let Some(service) = self.fleet.find(&watch.deployment.env, &watch.deployment.service) else { return };
        self.logs.close(service, watch.found);
        // Small steps are learned, each of them: what added up is how the service is by now.
        if watch.found && watch.sum.is_none() {
            learn::skip(&mut self.fleet, service, Watch::complete(now));
        }
    }

    /// Keeps the vitals; what only decisions change is counted after these, not after each of a million samples.
    fn note(&mut self, policy: &Policy, now: Time, decides: bool) {
        let vitals = &mut self.vitals;
        vitals.now = now;
        vitals.services = self.fleet.services.len() as u64;
        vitals.signals = self.fleet.signals as u64;
        vitals.series = self.fleet.series() as u64;
        vitals.templates = self.logs.len() as u64;
        vitals.lines_homeless = self.logs.homeless();
        if !decides && vitals.fleet_tokens > 0.0 {
            return;
        }
        vitals.watches_warming = self.watches.count(now, Phase::Warming);
        vitals.watches_open = self.watches.count(now, Phase::Watching);
        vitals.cooldowns = self.gate.cooldowns(now) as u64;
        vitals.fleet_tokens = self.gate.fleet_tokens(policy, now);
        vitals.threads_open = self.threads.open() as u64;
        vitals.windows = self.gate.windows(now) as u64;
    }
}
