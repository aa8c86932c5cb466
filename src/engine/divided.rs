//! The engine's parts, each in a daemon of its own: a lane that tells, and a desk that is told.
//!
//! In `engine` they are in one place and speak within a step; here what they say goes through whoever holds them, and
//! may come late, twice and out of order. The same inputs lead to the same decisions. How anything gets from one to the
//! other is not known here.

use super::effect::Effect;
use super::elsewhere::Elsewhere;
use super::event::{Control, Fact, Input};
use super::policy::Policy;
use super::report::{Answer, Question, Told};
use super::time::Time;
use super::{Engine, lane_of};
use std::sync::Arc;

/// What the lanes said of open threads, by thread.
pub type Answered = Vec<(Arc<str>, Option<bool>)>;

impl Engine {
    /// A lane takes an input; what it has to tell, if anything. While `elsewhere` is wanting afterwards nothing has
    /// happened yet: the same input is stepped again with the answers. Facts of other lanes' services are left out.
    pub fn look(&mut self, policy: &Policy, input: &Input, elsewhere: &Elsewhere, told: &mut Vec<Told>) {
        let Some(lane) = self.lanes.first_mut() else { return };
        let (number, of) = lane.place();
        let origin = match &input.fact {
            Fact::Sample(sample) => Some(&sample.origin),
            Fact::Log(line) => Some(&line.origin),
            _ => None,
        };
        if origin.is_some_and(|origin| lane_of(&origin.env, &origin.service, of) != number) {
            return;
        }
        let now = self.now.map_or(input.now, |now| now.max(input.now));
        self.now = Some(now);
        let mut reports = Vec::new();
        lane.step(policy, input, elsewhere, &mut reports);
        if !reports.is_empty() {
            told.push(Told { at: now, tick: matches!(input.fact, Fact::Tick | Fact::Drain), reports });
        }
    }

    /// What a lane says to a question of the desk or of another lane.
    pub fn answer(&mut self, policy: &Policy, question: &Question) -> Option<Answer> {
        self.lanes.first_mut().map(|lane| lane.answer(policy, question))
    }

    /// The desk is told something by a lane, which has told everything up to `upto`.
    pub fn receive(&mut self, lane: u32, upto: Time, told: Option<Told>) {
        if let Some(muster) = &mut self.muster {
            muster.tell(lane, upto, told);
        }
    }

    /// Somebody speaks to the desk.
    pub fn receive_word(&mut self, now: Time, control: Control) {
        if let Some(muster) = &mut self.muster {
            muster.say(now, control);
        }
    }

    /// Hears, in order of time, all that the lanes have come to. Stops where they must be asked about threads: then it
    /// is called again with what they answered.
    pub fn settle(
        &mut self,
        policy: &Policy,
        mut answered: Option<Answered>,
        effects: &mut Vec<Effect>,
    ) -> Vec<(Arc<str>, Question)> {
        let Some(muster) = &mut self.muster else { return Vec::new() };
        while let Some(at) = muster.next(self.desk.next_deadline()) {
            let now = self.desk.advance(at);
            self.now = Some(now);
            let mut ticks = muster.take_ticks(at);
            if !ticks.is_empty() {
                self.desk.put_in_order(&mut ticks);
                self.desk.hear(policy, now, &ticks, effects);
                self.desk.pass_on(now, &ticks, effects);
            } else if self.desk.next_deadline().is_some_and(|deadline| deadline <= now) {
                let questions = if answered.is_none() { self.desk.questions(now) } else { Vec::new() };
                if !questions.is_empty() {
                    return questions;
                }
                self.desk.tick(policy, now, &answered.take().unwrap_or_default(), effects);
            } else if let Some(control) = muster.take_word(at) {
                let late = muster.is_late(at);
                self.desk.control(policy, now, &control, late, effects);
            } else {
                let facts = muster.take_facts(at);
                self.desk.hear(policy, now, &facts, effects);
            }
            self.desk.note(policy, now);
        }
        Vec::new()
    }

    /// What no message carries, for the desk.
    pub fn tell_desk(&mut self, policy: &Policy, fact: &Fact, effects: &mut Vec<Effect>) {
        self.desk.told(policy, self.now.unwrap_or(Time::MIN), fact, effects);
    }

    /// The lanes that hold up the desk are not waited for any longer; which they are.
    pub fn give_up(&mut self) -> Vec<u32> {
        self.muster.as_mut().map(|muster| muster.give_up()).unwrap_or_default()
    }

    /// Whether something waits that a lane holds up.
    pub fn is_held_up(&self) -> bool {
        let Some(muster) = &self.muster else { return false };
        muster.next(self.desk.next_deadline()).is_none() && muster.is_waiting()
    }

    /// How far the desk has heard of every lane.
    pub fn heard_upto(&self) -> Option<Time> {
        self.muster.as_ref().and_then(|muster| muster.upto())
    }
}
