//! The pump of one seat of a fleet: a lane that tells what it sees, or the desk that is told.
//!
//! The engine's parts speak in terms; here these become letters and come back. A step of a lane that has a question
//! waits for the others and answers theirs meanwhile, or two lanes would wait for each other for ever. How letters
//! travel is not known here (`Post`).

use super::{Cause, Outgoing, Pump, Taken};
use crate::engine::elsewhere::Elsewhere;
use crate::engine::event::{Fact, Input};
use crate::engine::report::{Answer, Question};
use crate::engine::time::{Span, Time};
use crate::engine::{Part, lane_of};
use crate::wire::inbound::{Kind, Rejected};
use crate::wire::letters::{self, Letter};
use crate::wire::outbound::Message;

/// How often it is told how far a lane is, in its own time.
const BEAT: Span = Span(100);

/// Says what this seat can say to a question; nothing where it is no lane.
pub type Answering<'a> = dyn FnMut(&Question) -> Option<Answer> + 'a;

/// How a seat of a fleet reaches the others.
pub trait Post: Send {
    /// Asks one lane or all others, and waits for them while it answers them; in place of a lane that has been given
    /// up there is no answer. `None` if it was time to stop: then nothing is known.
    fn ask(
        &mut self,
        at: Time,
        questions: &[(Question, Option<u32>)],
        answer: &mut Answering,
    ) -> Option<Vec<Option<Answer>>>;

    /// Waits until no other lane is far behind this moment, and answers meanwhile. False if it was time to stop.
    fn keep_step(&mut self, at: Time, answer: &mut Answering) -> bool;

    /// Answers what is asked of moments that this lane has passed.
    fn attend(&mut self, at: Time, answer: &mut Answering);

    /// Whether some lane has been silent for so long that it is to be given up.
    fn is_any_silent(&self) -> bool;
}

/// What a pump has that is not the whole engine's.
pub struct Seat {
    post: Box<dyn Post>,
    /// Up to where it was told that everything was told.
    upto: Option<Time>,
    /// It was time to stop in the middle of a step, which therefore has not happened.
    abandoned: bool,
}

impl Seat {
    pub fn new(post: Box<dyn Post>) -> Seat {
        Seat { post, upto: None, abandoned: false }
    }
}

impl Pump {
    /// The pump of a seat, whose engine is a part.
    pub fn seated(self, post: Box<dyn Post>) -> Pump {
        Pump { seat: Some(Seat::new(post)), ..self }
    }

    /// Whether this is a seat's pump.
    pub fn is_seated(&self) -> bool {
        self.seat.is_some()
    }

    /// Whether a step was left undone because it was time to stop: what is remembered must not hold it.
    pub fn is_abandoned(&self) -> bool {
        self.seat.as_ref().is_some_and(|seat| seat.abandoned)
    }

    /// Answers others, hears what has come together, and tells how far this seat has come: to be called every turn.
    /// `silent_until` is the moment up to which nothing more comes, where that is known.
    pub fn attend(&mut self, silent_until: Option<Time>, out: &mut Vec<Outgoing>) -> u64 {
        let mut ticks = 0;
        if let Some(until) = silent_until {
            ticks = self.tick_until(until, out);
        }
        let (part, Some(seat)) = (self.engine.part(), &mut self.seat) else { return ticks };
        let Part::Lane(lane, _) = part else {
            self.settle(out);
            return ticks;
        };
        if seat.abandoned {
            return ticks;
        }
        // In silence time goes on: what comes later is taken at this moment or later.
        self.now = self.now.max(silent_until.unwrap_or(Time::MIN));
        let (engine, policy) = (&mut self.engine, &self.config.policy);
        seat.post.attend(self.now, &mut |question| engine.answer(policy, question));
        // Of its own moment a lane may have more to tell.
        let upto = Some(self.now).filter(|now| *now > Time::MIN).map(|now| now - Span(1));
        if let Some(upto) = upto.filter(|upto| seat.upto.is_none_or(|told| *upto >= told + BEAT)) {
            seat.upto = Some(upto);
            self.post(&Letter::Told { lane, upto, told: None }, out);
        }
        ticks
    }

    /// Whether this fact is for this engine to take; facts of other lanes' services are not.
    pub(super) fn is_ours(&self, fact: &Fact) -> bool {
        let Part::Lane(lane, of) = self.engine.part() else { return true };
        let origin = match fact {
            Fact::Sample(sample) => &sample.origin,
            Fact::Log(line) => &line.origin,
            _ => return true,
        };
        lane_of(&origin.env, &origin.service, of) == lane
    }

    /// Every lane reads what can't be read, and one of them says so.
    pub(super) fn is_ours_to_refuse(&self, taken: &Taken) -> bool {
        match (self.engine.part(), taken.kind) {
            (Part::Whole, _) => true,
            (Part::Desk(_), _) => true,
            (Part::Lane(..), Kind::Control) => false,
            (Part::Lane(lane, of), _) => taken.partition.unsigned_abs() % of == lane,
        }
    }

    /// The letter of the desk's own topic.
    pub(super) fn take_letter(&mut self, payload: &[u8]) -> Result<usize, Rejected> {
        if let Letter::Told { lane, upto, told } = letters::decode(payload)? {
            self.engine.receive(lane, upto, told);
        }
        Ok(1)
    }

    /// A lane takes an input, once the others are near.
    pub(super) fn look(&mut self, input: &Input, out: &mut Vec<Outgoing>) {
        let (Part::Lane(lane, of), Some(seat)) = (self.engine.part(), &mut self.seat) else { return };
        if seat.abandoned {
            return;
        }
        let (mut elsewhere, mut told) = (Elsewhere::new(of > 1), Vec::new());
        loop {
            let (engine, policy) = (&mut self.engine, &self.config.policy);
            engine.look(policy, input, &elsewhere, &mut told);
            let wanted: Vec<_> = elsewhere.take_wanted().into_iter().map(|question| (question, None)).collect();
            if wanted.is_empty() {
                break;
            }
            let answers = seat.post.ask(input.now, &wanted, &mut |question| engine.answer(policy, question));
            let Some(answers) = answers else {
                // What was told before the question is told again, which does no harm.
                seat.abandoned = true;
                return;
            };
            wanted.into_iter().zip(answers).for_each(|((question, _), answer)| elsewhere.learn(question, answer));
        }
        for told in told {
            let upto = told.at - Span(1);
            self.post(&Letter::Told { lane, upto, told: Some(told) }, out);
        }
    }

    /// Waits for the others before a lane goes on to this moment. False if it was time to stop.
    pub(super) fn keep_step(&mut self, at: Time) -> bool {
        let (Part::Lane(..), Some(seat)) = (self.engine.part(), &mut self.seat) else { return true };
        let (engine, policy) = (&mut self.engine, &self.config.policy);
        seat.abandoned = seat.abandoned || !seat.post.keep_step(at, &mut |question| engine.answer(policy, question));
        !seat.abandoned
    }

    /// The desk hears what all lanes have come to.
    pub(super) fn settle(&mut self, out: &mut Vec<Outgoing>) {
        let (Part::Desk(lanes), Some(seat)) = (self.engine.part(), &mut self.seat) else { return };
        if seat.abandoned {
            return;
        }
        let (engine, policy) = (&mut self.engine, &self.config.policy);
        if engine.is_held_up() && seat.post.is_any_silent() {
            for lane in engine.give_up() {
                tracing::error!(lane, "nobody looks after this lane: the others go on without it until it is back");
            }
        }
        let mut answered = None;
        loop {
            let asked = engine.settle(policy, answered.take(), &mut self.effects);
            if asked.is_empty() {
                break;
            }
            let (threads, questions): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
            let questions: Vec<_> = questions.into_iter().map(|question| addressed(question, lanes)).collect();
            let at = engine.heard_upto().unwrap_or(Time::MIN);
            let Some(answers) = seat.post.ask(at, &questions, &mut |_| None) else {
                seat.abandoned = true;
                break;
            };
            let recovered = |answer: Option<Answer>| match answer {
                Some(Answer::Recovered(recovered)) => recovered,
                _ => None,
            };
            answered = Some(threads.into_iter().zip(answers.into_iter().map(recovered)).collect());
        }
        self.encode(out);
    }

    fn post(&mut self, letter: &Letter, out: &mut Vec<Outgoing>) {
        let message = Message { key: None, payload: letters::encode(letter), headers: Vec::new() };
        let (topic, cause) = (self.topics.letters.clone(), Cause::Letter);
        out.push(Outgoing { topic, partition: Some(0), at: self.now, cause, message });
    }
}

/// Of a service's own lane alone, where it is about one service.
fn addressed(question: Question, lanes: u32) -> (Question, Option<u32>) {
    let lane = match &question {
        Question::Recovered(asked) => Some(lane_of(&asked.env, &asked.service, lanes)),
        _ => None,
    };
    (question, lane)
}
