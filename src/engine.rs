//! What we believe: a plain, synchronous, deterministic heart.
//!
//! Fed one input at a time, each with its time, it answers with effects. It never blocks, never fails, never logs, and
//! knows no broker, file, clock or random number: the same inputs give the same effects. This file alone knows the
//! order of its halves: the lanes, which know what is true, each of some of the services, and the desk, which knows
//! what may be said. Here all of them are in one place and never wait for each other.

#[macro_use]
mod words;

pub mod accuracy;
pub mod adjusted;
pub mod aside;
pub mod baseline;
pub mod character;
pub mod cut;
pub mod desk;
pub mod detect;
pub mod distribution;
mod divided;
pub mod drift;
pub mod earning;
pub mod effect;
pub mod elsewhere;
mod entry;
pub mod event;
pub mod fingerprint;
pub mod fleet;
pub mod gate;
pub mod index;
pub mod lane;
pub mod learn;
pub mod ledger;
pub mod logs;
pub mod muster;
pub mod pace;
mod people;
pub mod policy;
pub mod pulse;
pub mod redact;
pub mod register;
pub mod report;
pub mod rollout;
pub mod series;
pub mod service;
pub mod shared;
pub mod signal;
pub mod stats;
pub mod threads;
pub mod time;
pub mod traffic;
pub mod verdict;
pub mod vitals;
pub mod watch;
pub mod watches;
pub mod window;
pub mod yardstick;

use desk::Desk;
pub use divided::Answered;
use effect::{Accuracy, Effect};
use elsewhere::Elsewhere;
use event::{Fact, Input};
use lane::Lane;
pub use lane::lane_of;
use muster::Muster;
use policy::Policy;
use report::{Answer, Question, Report};
use serde::{Deserialize, Serialize};
use time::Time;
pub use vitals::Vitals;

/// All state; a checkpoint is this struct, serialised, together with the services of the same cut (`cut`).
#[derive(Serialize, Deserialize)]
pub struct Engine {
    now: Option<Time>,
    lanes: Vec<Lane>,
    desk: Desk,
    /// Of a desk whose lanes are elsewhere.
    muster: Option<Muster>,
}

/// Which part of an engine this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Whole,
    /// One lane of so many.
    Lane(u32, u32),
    /// The desk of so many lanes.
    Desk(u32),
}

impl Default for Engine {
    fn default() -> Engine {
        Engine::of_lanes(1)
    }
}

impl Engine {
    /// The fleet divided into so many lanes, at least one.
    pub fn of_lanes(lanes: u32) -> Engine {
        let of = lanes.max(1);
        let lanes = (0..of).map(|number| Lane::new(number, of)).collect();
        Engine { now: None, lanes, desk: Desk::default(), muster: None }
    }

    /// A part of a fleet that is divided among several daemons. Of one that is no whole, `step` is not to be used.
    pub fn part_of(part: Part) -> Engine {
        match part {
            Part::Whole => Engine::default(),
            Part::Lane(number, of) => Engine { lanes: vec![Lane::new(number, of)], ..Engine::of_lanes(1) },
            Part::Desk(lanes) => Engine { lanes: Vec::new(), muster: Some(Muster::new(lanes)), ..Engine::of_lanes(1) },
        }
    }

    pub fn part(&self) -> Part {
        match (&self.muster, self.lanes.first().map(Lane::place)) {
            (Some(muster), _) => Part::Desk(muster.lanes()),
            (None, Some((number, of))) if self.lanes.len() == 1 && of > 1 => Part::Lane(number, of),
            _ => Part::Whole,
        }
    }

    /// The door. Takes one input and appends what is to be done about it, in order.
    pub fn step(&mut self, policy: &Policy, input: &Input, effects: &mut Vec<Effect>) {
        let now = self.advance(input);
        let mut reports = Vec::new();
        match &input.fact {
            Fact::Sample(sample) => self.pass(policy, input, (&sample.origin.env, &sample.origin.service)),
            Fact::Log(line) => self.pass(policy, input, (&line.origin.env, &line.origin.service)),
            Fact::Deployment(_) => {
                self.ask_all(policy, input, &mut reports);
                self.desk.hear(policy, now, &reports, effects);
            }
            Fact::Control(control) => {
                self.ask_all(policy, input, &mut reports);
                let late = reports.contains(&Report::SetAside { late: true });
                self.desk.control(policy, now, control, late, effects);
            }
            Fact::Tick | Fact::Drain => {
                self.ask_all(policy, input, &mut reports);
                self.desk.put_in_order(&mut reports);
                self.desk.hear(policy, now, &reports, effects);
            }
            Fact::Gap { .. } => self.ask_all(policy, input, &mut reports),
            Fact::ColdStart { .. } | Fact::PolicyChanged => self.desk.told(policy, now, &input.fact, effects),
        }
        if matches!(input.fact, Fact::Tick) {
            let questions = self.desk.questions(now);
            let answered = questions.into_iter().map(|(thread, question)| (thread, self.ask(policy, &question)));
            let answered: Answered = answered.collect();
            self.desk.tick(policy, now, &answered, effects);
            self.desk.pass_on(now, &reports, effects);
        }
        let decides = !matches!(input.fact, Fact::Sample(_) | Fact::Log(_));
        if decides || self.desk.vitals().fleet_tokens <= 0.0 {
            self.desk.note(policy, now);
        }
    }

    /// The next moment at which a tick is due, if any.
    pub fn next_deadline(&self) -> Option<Time> {
        let due = self.lanes.iter().filter_map(Lane::next_deadline);
        due.chain(self.desk.next_deadline()).min()
    }

    pub fn vitals(&self) -> Vitals {
        self.lanes.iter().fold(self.desk.vitals().clone(), |sum, lane| sum.and(lane.vitals()))
    }

    /// How often we were right by now, and which version of that table this is; none if it is the known one. It is made
    /// when it is asked for: some ten milliseconds with as many cases as there may be.
    pub fn accuracy(&self, policy: &Policy, known: Option<u64>) -> Option<(u64, Accuracy)> {
        self.desk.accuracy(policy, known)
    }

    /// Time never goes back, and a cold start has none of its own.
    fn advance(&mut self, input: &Input) -> Time {
        if matches!(input.fact, Fact::ColdStart { .. }) {
            return self.now.unwrap_or(Time::MIN);
        }
        let now = self.now.map_or(input.now, |now| now.max(input.now));
        self.now = Some(now);
        self.desk.advance(now)
    }

    /// A fact about one service, for its lane alone.
    fn pass(&mut self, policy: &Policy, input: &Input, (env, service): (&str, &str)) {
        let lane = lane_of(env, service, self.lanes.len() as u32) as usize;
        self.step_lane(policy, input, lane, &mut Vec::new());
    }

    /// A fact for every lane, in their order.
    fn ask_all(&mut self, policy: &Policy, input: &Input, reports: &mut Vec<Report>) {
        (0..self.lanes.len()).for_each(|lane| self.step_lane(policy, input, lane, reports));
    }

    /// What a lane has to know of the others it is told at once.
    fn step_lane(&mut self, policy: &Policy, input: &Input, lane: usize, reports: &mut Vec<Report>) {
        let mut elsewhere = Elsewhere::new(self.lanes.len() > 1);
        self.lanes[lane].step(policy, input, &elsewhere, reports);
        while elsewhere.is_wanting() {
            for question in elsewhere.take_wanted() {
                let others = self.lanes.iter_mut().enumerate().filter(|(each, _)| *each != lane);
                let answer = others.map(|(_, lane)| lane.answer(policy, &question)).reduce(Answer::and);
                elsewhere.learn(question, answer);
            }
            self.lanes[lane].step(policy, input, &elsewhere, reports);
        }
    }

    /// Whether what a thread named is as it was before, as the service's own lane sees it.
    fn ask(&mut self, policy: &Policy, question: &Question) -> Option<bool> {
        let Question::Recovered(asked) = question else { return None };
        let lane = lane_of(&asked.env, &asked.service, self.lanes.len() as u32) as usize;
        match self.lanes[lane].answer(policy, question) {
            Answer::Recovered(recovered) => recovered,
            Answer::Counted { .. } | Answer::Busy(_) => None,
        }
    }
}
