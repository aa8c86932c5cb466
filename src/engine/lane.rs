//! What is true of some of the services: one half of the engine, for its share of the fleet.
//!
//! It takes facts and tells the desk what it sees; it never learns what was said of it. There is one lane, or as many
//! as the fleet was divided into, each with services of its own by a hash of environment and name. Deployments and
//! control messages come to every lane. This file keeps the order of the rooms and does no arithmetic.

use super::adjusted::{self, by_traffic};
use super::aside::Aside;
use super::detect::{self, Others};
use super::drift::Drifts;
use super::effect::{Heard, Method, NotWatched};
use super::elsewhere::Elsewhere;
use super::event::{Control, Deployment, Fact, Input, LogLine, Sample, WindowKind, Word};
use super::fingerprint::Fingerprint;
use super::fleet::{Fleet, Full, Rolled};
use super::gate::windows::Windows;
use super::learn::Terms;
use super::ledger::Ledger;
use super::logs::{Inquiry, Logs, Told};
use super::policy::Policy;
use super::pulse::Pulse;
use super::report::{Answer, Looked, Question, Recovered, Report};
use super::time::Time;
use super::verdict::{self, Verdict};
use super::vitals::{self, Vitals};
use super::watch::{self, Phase, Watch};
use super::watches::Watches;
use super::{learn, rollout, window};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A share of the fleet, and all that is believed of it.
#[derive(Serialize, Deserialize)]
pub struct Lane {
    number: u32,
    of: u32,
    now: Option<Time>,
    #[serde(skip)]
    pub(super) fleet: Fleet,
    aside: Aside,
    pub(super) logs: Logs,
    watches: Watches,
    ledger: Ledger,
    drifts: Drifts,
    pulse: Pulse,
    /// What the desk knows of windows, to know what it takes.
    windows: Windows,
    vitals: Vitals,
    /// Room to work in, empty of meaning between two steps.
    #[serde(skip)]
    table: learn::Table,
    /// Of a sample that was taken while the others still have to be asked.
    #[serde(skip)]
    pending: Option<Rolled>,
}

/// Which of so many lanes a service belongs to: the same in every build and on every machine.
pub fn lane_of(env: &str, service: &str, lanes: u32) -> u32 {
    if lanes < 2 {
        return 0;
    }
    let name = Fingerprint::new().with(env).with(service).finish();
    // The remainder is less than the divisor, which is 32 bits wide.
    (name % u64::from(lanes)) as u32
}

impl Lane {
    /// Which one it is, of how many.
    pub fn place(&self) -> (u32, u32) {
        (self.number, self.of)
    }

    pub fn new(number: u32, of: u32) -> Lane {
        Lane {
            number,
            of,
            now: None,
            fleet: Fleet::default(),
            aside: Aside::default(),
            logs: Logs::default(),
            watches: Watches::default(),
            ledger: Ledger::default(),
            drifts: Drifts::default(),
            pulse: Pulse::default(),
            windows: Windows::default(),
            vitals: Vitals::default(),
            table: learn::Table::default(),
            pending: None,
        }
    }

    /// Takes one input; what there is to tell is appended to `reports`, in order. Where the others have to be asked
    /// first, `elsewhere` holds the questions afterwards: the same input is then stepped again with the answers, and
    /// goes on where it stopped.
    pub fn step(&mut self, policy: &Policy, input: &Input, elsewhere: &Elsewhere, reports: &mut Vec<Report>) {
        let now = self.now.map_or(input.now, |now| now.max(input.now));
        self.now = Some(now);
        self.pulse.feel(policy, now, &input.fact);
        self.aside.recur(policy, now);
        match &input.fact {
            Fact::Sample(sample) => self.sample(policy, now, sample, elsewhere),
            Fact::Log(line) => self.log(policy, now, line, elsewhere),
            Fact::Deployment(deployment) => self.deployment(policy, now, deployment, elsewhere, reports),
            Fact::Control(control) => self.control(policy, now, control, reports),
            Fact::Tick => self.tick(policy, now, elsewhere, reports),
            Fact::Gap { from, to } => self.watches.gap(*from, *to),
            Fact::Drain => self.look_at(policy, now, self.watches.all(), true, elsewhere, reports),
            Fact::ColdStart { .. } | Fact::PolicyChanged => {}
        }
        let decides = !matches!(input.fact, Fact::Sample(_) | Fact::Log(_));
        self.note(now, decides);
    }

    /// The next moment at which a tick is due, if any.
    pub fn next_deadline(&self) -> Option<Time> {
        [self.watches.next_due(), self.pulse.next_due()].into_iter().flatten().min()
    }

    pub fn vitals(&self) -> &Vitals {
        &self.vitals
    }

    /// What can be said here to a question from outside.
    pub fn answer(&mut self, policy: &Policy, question: &Question) -> Answer {
        let (yes, of) = match question {
            Question::Moved(asked) => {
                self.fleet.settle_env(&asked.env, asked.upto);
                detect::peers::moved(&self.fleet, policy, asked, None)
            }
            Question::Heard { env, start, upto } => detect::silence::heard(&self.fleet, env, *start, *upto, None),
            Question::Written { env, template, since } => self.logs.written(env, *template, *since),
            Question::Recovered(asked) => return Answer::Recovered(self.recovered(asked)),
            Question::Busy { env, from, upto } => {
                return Answer::Busy(adjusted::shares(&mut self.fleet, env, *from, *upto));
            }
        };
        Answer::Counted { yes, of }
    }

    fn sample(&mut self, policy: &Policy, now: Time, sample: &Sample, elsewhere: &Elsewhere) {
        if let Some(rolled) = self.pending.take() {
            return self.roll(policy, rolled, elsewhere);
        }
        if let Some(dropped) = vitals::out_of_time(policy, now, sample.at) {
            return self.vitals.count(dropped);
        }
        let taken = self.fleet.take(sample, &policy.limits);
        if let Ok((_, Some(rolled))) = taken {
            self.roll(policy, rolled, elsewhere);
        }
        self.vitals.count(taken.map(|(taken, _)| taken).into());
    }

    fn roll(&mut self, policy: &Policy, rolled: Rolled, elsewhere: &Elsewhere) {
        let terms = Terms { policy, aside: &self.aside, elsewhere };
        learn::roll(&mut self.fleet, &terms, rolled, &mut self.table);
        self.pending = elsewhere.is_wanting().then_some(rolled);
    }

    fn log(&mut self, policy: &Policy, now: Time, line: &LogLine, elsewhere: &Elsewhere) {
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
            self.roll(policy, rolled, elsewhere);
        }
        self.vitals.count(Ok(taken).into());
    }

    fn deployment(
        &mut self,
        policy: &Policy,
        now: Time,
        deployment: &Deployment,
        elsewhere: &Elsewhere,
        reports: &mut Vec<Report>,
    ) {
        let not_watched = self.watches.refuse(policy, now, deployment);
        if lane_of(&deployment.env, &deployment.service, self.of) != self.number {
            return if not_watched.is_none() {
                self.watches.pass_by(now, deployment)
            };
        }
        let told = Arc::new(deployment.clone());
        if let Some(why) = not_watched {
            reports.extend((why == NotWatched::Overflow).then(|| Report::TookEffect { deployment: told.clone() }));
            return reports.push(Report::NotWatched { deployment: told, why });
        }
        let older = self.watches.overtaken_by(deployment);
        self.look_at(policy, now, older, true, elsewhere, reports);
        if elsewhere.is_wanting() {
            return;
        }
        let Ok(service) = self.fleet.service(&deployment.env, &deployment.service, deployment.at, &policy.limits)
        else {
            reports.push(Report::TookEffect { deployment: told.clone() });
            return reports.push(Report::NotWatched { deployment: told, why: NotWatched::Overflow });
        };
        let minute = window::minute_of(now.min(deployment.at));
        let terms = Terms { policy, aside: &self.aside, elsewhere };
        learn::catch_up(&mut self.fleet, &terms, service, minute, &mut self.table);
        if elsewhere.is_wanting() {
            return;
        }
        reports.push(Report::TookEffect { deployment: told });
        self.logs.open(service, deployment);
        self.drifts.deployed(service);
        let watch = self.watches.open(policy, now, deployment);
        let (thread, until) = (watch.thread.clone(), watch.until);
        reports.push(Report::Opened { thread, deployment: watch.deployment.clone(), until });
        self.fleet.watch(&deployment.env, &deployment.service, 1, window::minute_at(now));
    }

    /// Of what people say, only events matter here: their time is not learned from.
    fn control(&mut self, policy: &Policy, now: Time, control: &Control, reports: &mut Vec<Report>) {
        let (window, kind) = match &control.word {
            Word::Freeze(window) => (window, WindowKind::Freeze),
            Word::Mute(window) => (window, WindowKind::Mute),
            Word::Context { window, .. } => (window, WindowKind::Context),
            Word::Feedback { .. } | Word::Approval { .. } | Word::Automation { .. } => return,
        };
        let outcome = self.windows.declare(policy, now, kind, window);
        if outcome == Heard::Taken && kind == WindowKind::Context {
            self.aside.declare(&window.scope, window.from, window.to);
            let late = learn::has_learned(&self.fleet, &window.scope, window::minute_at(window.from));
            reports.push(Report::SetAside { late });
        }
    }

    fn tick(&mut self, policy: &Policy, now: Time, elsewhere: &Elsewhere, reports: &mut Vec<Report>) {
        for place in self.watches.due(now) {
            let over = self.watches.get(place).is_over(now);
            self.look_at(policy, now, vec![place], over, elsewhere, reports);
            if elsewhere.is_wanting() {
                return;
            }
        }
        self.watches.sweep();
        if let Some(beat) = self.pulse.beat(policy, now, &self.fleet) {
            reports.push(Report::Beat(beat));
            let drifts = self.drifts.look(&self.fleet, &self.aside, policy, now);
            reports.extend(drifts.into_iter().map(Report::Drifted));
        }
    }

    /// Looks at watches; `last` closes them. Stops at the first that the others have to be asked about.
    fn look_at(
        &mut self,
        policy: &Policy,
        now: Time,
        places: Vec<usize>,
        last: bool,
        elsewhere: &Elsewhere,
        reports: &mut Vec<Report>,
    ) {
        for place in places {
            self.add_up(policy, now, place, last);
            let Some(looked) = self.look(policy, now, place, last, elsewhere) else { return };
            reports.extend((looked.last || looked.verdict.is_some()).then(|| Report::Looked(Box::new(looked))));
            if last {
                self.close(now, place);
            } else {
                self.watches.get_mut(place).reschedule(now);
            }
        }
    }

    /// One look at one watch: evidence and verdict. None if the others have to be asked first.
    fn look(&mut self, policy: &Policy, now: Time, place: usize, last: bool, elsewhere: &Elsewhere) -> Option<Looked> {
        let blind = self.watches.get(place).is_blind();
        let verdict = match blind {
            true => last.then(verdict::of_gap),
            false => self.judge(policy, now, place, last, elsewhere)?,
        };
        let watch = self.watches.get(place);
        let rollout = rollout::rollout_of(&self.fleet, now, &watch.deployment);
        Some(Looked { thread: watch.thread.clone(), at: now, verdict, last, superseded: watch.superseded, rollout })
    }

    /// The verdict by now, if there is one. None at all if the others have to be asked first.
    fn judge(
        &mut self,
        policy: &Policy,
        now: Time,
        place: usize,
        last: bool,
        elsewhere: &Elsewhere,
    ) -> Option<Option<Verdict>> {
        let findings = self.findings(policy, now, place, elsewhere)?;
        let watch = self.watches.get_mut(place);
        let level = watch.level(policy);
        let found = verdict::so_far(level, &findings).or_else(|| watch.sum.clone().map(verdict::of_steps));
        watch.found |= found.is_some();
        let watch = self.watches.get(place);
        Some(match found {
            None if last => Some(verdict::at_the_end(level, findings, self.has_overflowed(watch), watch.superseded)),
            found => found,
        })
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
        self.fleet.settle_env(&deployment.env, upto);
        let steps = detect::steps::steps(&self.fleet, policy, service, &deployment, upto);
        let stretches = self.aside.of(&deployment.env, &deployment.service, window::minute_of(deployment.at) - 60);
        let watch = self.watches.get_mut(place);
        watch.entered = true;
        // What an event does to an hour is no release's step.
        if stretches.iter().all(|(from, _)| *from > upto) {
            watch.sum = self.ledger.note(policy, &deployment, &steps);
        }
    }

    fn findings(
        &mut self,
        policy: &Policy,
        now: Time,
        place: usize,
        elsewhere: &Elsewhere,
    ) -> Option<detect::Findings> {
        let watch = self.watches.get_mut(place);
        let level = watch.level(policy);
        let upto = Watch::complete(now.min(watch.until + watch::GRACE));
        let Some(service) = self.fleet.find(&watch.deployment.env, &watch.deployment.service) else {
            return Some(detect::Findings::default());
        };
        self.fleet.settle_env(&watch.deployment.env, upto);
        adjusted::work_out(&mut self.fleet, service, upto, elsewhere);
        let owner = &mut self.fleet.services[service];
        for used in by_traffic::used(owner) {
            by_traffic::work_out(owner, used, upto, |_| false);
        }
        if elsewhere.is_wanting() {
            return None;
        }
        if watch.begin() {
            learn::note_reference(&mut self.fleet, service, watch.start());
        }
        let others = Others { elsewhere, shared: &watch.shared };
        let mut findings = detect::look(&self.fleet, policy, service, &watch.deployment, level, upto, others);
        let (owner, now) = (&self.fleet.services[service], now.min(watch.until));
        let deployment = &*watch.deployment;
        let inquiry = Inquiry { policy, elsewhere, place: service, service: owner, deployment, now };
        findings.evidence.retain(|each| self.logs.confirms(&inquiry, each));
        findings.add(self.logs.evidence(&inquiry));
        if elsewhere.is_wanting() {
            return None;
        }
        watch.join(&mut findings.by_horizon);
        watch.note_shared(std::mem::take(&mut findings.shared));
        Some(findings)
    }

    /// Whether a limit kept anything of the service under watch from being seen.
    fn has_overflowed(&self, watch: &Watch) -> bool {
        let Deployment { env, service, at, .. } = &*watch.deployment;
        let homeless = self.fleet.find(env, service).is_some_and(|place| self.logs.has_overflowed(place, *at));
        homeless || self.fleet.has_overflowed(env, service)
    }

    fn recovered(&mut self, asked: &Recovered) -> Option<bool> {
        let service = self.fleet.find(&asked.env, &asked.service)?;
        let (evidence, since, upto) = (&asked.evidence, asked.since, asked.upto);
        let metrics = detect::recovery::recovered(&mut self.fleet, service, evidence, since, upto);
        let new = evidence.iter().filter(|each| each.method == Method::NewTemplate);
        let lines = new.filter_map(|each| self.logs.is_gone(service, each.log.as_deref()?, since, upto));
        lines.chain(metrics).reduce(|all, each| all && each)
    }

    fn close(&mut self, now: Time, place: usize) {
        let watch = self.watches.close(place);
        self.fleet.watch(&watch.deployment.env, &watch.deployment.service, -1, window::minute_at(now));
        let Some(service) = self.fleet.find(&watch.deployment.env, &watch.deployment.service) else { return };
        self.logs.close(service, watch.found);
        // Small steps are learned, each of them: what added up is how the service is by now.
        if watch.found && watch.sum.is_none() {
            learn::skip(&mut self.fleet, service, Watch::complete(now));
        }
    }

    /// Keeps the vitals; what only decisions change is counted after these, not after each of a million samples.
    fn note(&mut self, now: Time, decides: bool) {
        let vitals = &mut self.vitals;
        vitals.now = now;
        vitals.services = self.fleet.services.len() as u64;
        vitals.signals = self.fleet.signals as u64;
        vitals.series = self.fleet.series() as u64;
        vitals.templates = self.logs.len() as u64;
        vitals.lines_homeless = self.logs.homeless();
        if decides {
            vitals.watches_warming = self.watches.in_phase(now, Phase::Warming);
            vitals.watches_open = self.watches.in_phase(now, Phase::Watching);
        }
    }
}
