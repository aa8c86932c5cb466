//! A fleet divided among daemons, without the daemons: lanes and a desk that speak by post.
//!
//! What they tell each other is written down and read again, comes late and twice, and lanes are taken over from an old
//! state in the middle. Only the post is made up here; the parts are the engine's own.

use crate::noise::Noise;
use crate::saved::Saved;
use crate::weather::Storm;
use regressd::engine::effect::Effect;
use regressd::engine::elsewhere::Elsewhere;
use regressd::engine::event::{Fact, Input};
use regressd::engine::report::{Answer, Told};
use regressd::engine::time::{Span, Time};
use regressd::engine::{Engine, Part, lane_of};
use std::collections::VecDeque;

/// As many inputs pass before a letter arrives, at most.
const LATE: u64 = 40;

struct Post {
    lanes: Vec<Engine>,
    desk: Engine,
    letters: VecDeque<(usize, u32, Time, Option<Told>)>,
    effects: Vec<Effect>,
}

/// What a storm leads to in so many lanes whose letters come late, and, `taken_over` now and then, twice.
pub fn play(storm: &Storm, lanes: u32, taken_over: bool, noise: &mut Noise) -> Vec<Effect> {
    let mut post = Post {
        lanes: (0..lanes).map(|number| Engine::part_of(Part::Lane(number, lanes))).collect(),
        desk: Engine::part_of(Part::Desk(lanes)),
        letters: VecDeque::new(),
        effects: Vec::new(),
    };
    let mut saved: Vec<_> = post.lanes.iter_mut().map(|lane| (0, Saved::whole(lane))).collect();
    for (place, input) in storm.inputs.iter().enumerate() {
        for (lane, saved) in saved.iter_mut().enumerate() {
            if taken_over && noise.unit() < 0.0005 {
                // Taken over: what was stepped since the last checkpoint is stepped and told again.
                post.lanes[lane] = saved.1.engine();
                (saved.0..place).for_each(|again| post.step(storm, lane, again, noise));
            }
            if noise.unit() < 0.001 {
                *saved = (place, Saved::whole(&mut post.lanes[lane]));
            }
            post.step(storm, lane, place, noise);
        }
        if let Fact::Control(control) = &input.fact {
            post.desk.receive_word(input.now, control.clone());
        }
        post.deliver(storm, Some(place));
        if noise.unit() < 0.001 {
            post.desk = Saved::whole(&mut post.desk).engine();
        }
    }
    let end = storm.inputs.last().map_or(Time(0), |input| input.now);
    for lane in 0..lanes as usize {
        post.look(storm, lane, &Input { now: end, fact: Fact::Drain }, storm.inputs.len());
        post.letters.push_back((0, lane as u32, end, None));
    }
    post.deliver(storm, None);
    post.effects
}

impl Post {
    fn step(&mut self, storm: &Storm, lane: usize, place: usize, noise: &mut Noise) {
        let input = &storm.inputs[place];
        let arrives = place + noise.below(LATE) as usize;
        while let Some(now) = self.lanes[lane].next_deadline().filter(|deadline| *deadline <= input.now) {
            self.look(storm, lane, &Input { now, fact: Fact::Tick }, arrives);
        }
        let before = self.letters.len();
        self.look(storm, lane, input, arrives);
        // What one lane tells keeps its order; between lanes there is none.
        let latest = self.letters.iter().filter(|letter| letter.1 == lane as u32).map(|letter| letter.0).max();
        let arrives = arrives.max(latest.unwrap_or(0));
        self.letters.iter_mut().skip(before).for_each(|letter| letter.0 = arrives);
        self.letters.push_back((arrives, lane as u32, input.now - Span(1), None));
    }

    fn look(&mut self, storm: &Storm, lane: usize, input: &Input, arrives: usize) {
        let (policy, of) = (&storm.policy, self.lanes.len());
        let (mut elsewhere, mut told) = (Elsewhere::new(of > 1), Vec::new());
        loop {
            self.lanes[lane].look(policy, input, &elsewhere, &mut told);
            let wanted = elsewhere.take_wanted();
            if wanted.is_empty() {
                break;
            }
            for question in wanted {
                let others = self.lanes.iter_mut().enumerate().filter(|(other, _)| *other != lane);
                let answer = others.filter_map(|(_, lane)| lane.answer(policy, &question)).reduce(Answer::and);
                elsewhere.learn(question, answer);
            }
        }
        for told in told {
            let told: Told = postcard::from_bytes(&postcard::to_stdvec(&told).expect("plain")).expect("it comes back");
            let latest = self.letters.iter().filter(|letter| letter.1 == lane as u32).map(|letter| letter.0).max();
            self.letters.push_back((arrives.max(latest.unwrap_or(0)), lane as u32, told.at - Span(1), Some(told)));
        }
    }

    fn deliver(&mut self, storm: &Storm, place: Option<usize>) {
        let due = |letter: &(usize, u32, Time, Option<Told>)| place.is_none_or(|place| letter.0 <= place);
        let (now, later) = std::mem::take(&mut self.letters).into_iter().partition(due);
        self.letters = later;
        for (_, lane, upto, told) in now {
            self.desk.receive(lane, upto, told);
        }
        let mut answered = None;
        loop {
            let questions = self.desk.settle(&storm.policy, answered.take(), &mut self.effects);
            if questions.is_empty() {
                break;
            }
            answered = Some(
                questions
                    .into_iter()
                    .map(|(thread, question)| {
                        let regressd::engine::report::Question::Recovered(asked) = &question else {
                            return (thread, None);
                        };
                        let lane = lane_of(&asked.env, &asked.service, self.lanes.len() as u32) as usize;
                        match self.lanes[lane].answer(&storm.policy, &question) {
                            Some(Answer::Recovered(recovered)) => (thread, recovered),
                            _ => (thread, None),
                        }
                    })
                    .collect(),
            );
        }
    }
}
