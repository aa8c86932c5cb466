//! What one seat writes and gets: asks and waits, answers while it waits, and keeps step with the other lanes.
//!
//! A question is asked again until every lane has answered it or has been silent for so long that it is given up. A
//! lane answers of a moment once it has come to it itself: the one that is furthest behind waits for nobody, so nobody
//! waits for ever. What answers mean is not known here.

use super::office::{Mail, Office};
use crate::engine::report::{Answer, Question};
use crate::engine::time::{Span, Time};
use crate::shell::http::Health;
use crate::shell::pump::divided::{Answering, Post};
use crate::shell::run::Stop;
use crate::wire::letters::Letter;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// So far may a lane be ahead of the slowest, in the log's time: what it is asked is then hardly over.
const STEP: Span = Span::seconds(15);

/// How often, in the log's time, it says how far it has come.
const SAY_EVERY: Span = Span::seconds(5);

const WAIT: Duration = Duration::from_millis(20);

/// Whoever has not answered by then is asked again: its seat may have moved. And a lane that stands still says so: an
/// office that was opened since has not heard it, and its member would wait for it while it waits for that member.
const AGAIN: Duration = Duration::from_secs(1);

/// How long a stop waits for answers.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// Questions of moments that this lane has not come to, some 200 bytes each; more are asked again.
const WAITING_MAX: usize = 1_000;

/// A seat's post.
pub struct Correspondence {
    pub seat: u32,
    pub office: Arc<Office>,
    pub mail: Receiver<Mail>,
    pub give_up: Duration,
    pub stop: Arc<Stop>,
    pub health: Arc<Health>,
    /// Of the last question; begins at a moment, so that the answers to whoever sat here before are not taken for ours.
    pub number: u64,
    waiting: Vec<Waiting>,
    said: Option<Time>,
    spoke: Instant,
    /// The number of the first question that is open, and what was answered to each.
    open: (u64, Vec<BTreeMap<u32, Answer>>),
}

/// A question of somebody else's.
struct Waiting {
    by: u32,
    number: u64,
    at: Time,
    question: Question,
}

impl Correspondence {
    pub fn new(seat: u32, office: Arc<Office>, give_up: Duration, stop: Arc<Stop>, health: Arc<Health>) -> Self {
        let mail = office.mail(seat);
        let number = crate::shell::clock::wall().0.unsigned_abs() << 16;
        let (waiting, said, spoke, open) = (Vec::new(), None, Instant::now(), (0, Vec::new()));
        Correspondence { seat, office, mail, give_up, stop, health, number, waiting, said, spoke, open }
    }

    /// Takes what has come, waiting at most so long for the first.
    fn take(&mut self, wait: Duration) {
        let mut next = if wait.is_zero() { self.mail.try_recv().ok() } else { self.mail.recv_timeout(wait).ok() };
        while let Some(mail) = next {
            match mail {
                Mail::Asked { by, number, at, question } => {
                    let is_known = self.waiting.iter().any(|each| each.by == by && each.number == number);
                    if !is_known && self.waiting.len() < WAITING_MAX {
                        self.waiting.push(Waiting { by, number, at, question });
                    }
                }
                Mail::Answered { number, lane, answer } => {
                    let (first, answers) = &mut self.open;
                    let place = number.checked_sub(*first).and_then(|place| answers.get_mut(place as usize));
                    if let Some(answers) = place {
                        answers.insert(lane, answer);
                    }
                }
            }
            next = self.mail.try_recv().ok();
        }
    }

    fn answer_due(&mut self, at: Time, answer: &mut Answering) {
        for Waiting { by, number, question, .. } in self.waiting.extract_if(.., |each| each.at <= at) {
            if let Some(answer) = answer(&question) {
                self.office.send(&Letter::Answered { to: by, number, lane: self.seat, answer });
            }
        }
    }

    /// Says how far this lane has come, if it is some way further or somebody waits for it.
    fn say(&mut self, at: Time, again: bool) {
        if again || self.said.is_none_or(|said| at >= said + SAY_EVERY) {
            (self.said, self.spoke) = (Some(at), Instant::now());
            self.office.send(&Letter::Reached { lane: self.seat, at });
        }
    }

    fn say_again(&mut self, at: Time) {
        // Of one that has come nowhere there is nothing to say.
        if self.spoke.elapsed() >= AGAIN && at > Time::MIN {
            self.say(at, true);
        }
    }

    /// The other lanes that are not given up.
    fn others(&self) -> impl Iterator<Item = u32> {
        (0..self.office.lanes()).filter(|lane| *lane != self.seat && !self.office.is_silent(*lane, self.give_up))
    }

    fn is_answered(&self, place: usize, to: Option<u32>) -> bool {
        let answers = &self.open.1[place];
        self.others().all(|lane| to.is_some_and(|to| to != lane) || answers.contains_key(&lane))
    }
}

impl Post for Correspondence {
    fn ask(
        &mut self,
        at: Time,
        questions: &[(Question, Option<u32>)],
        answer: &mut Answering,
    ) -> Option<Vec<Option<Answer>>> {
        self.number += 1;
        self.open = (self.number, vec![BTreeMap::new(); questions.len()]);
        self.number += questions.len() as u64;
        let mut asked: Option<Instant> = None;
        loop {
            let open: Vec<usize> =
                (0..questions.len()).filter(|place| !self.is_answered(*place, questions[*place].1)).collect();
            if open.is_empty() {
                break;
            }
            if asked.is_none_or(|asked| asked.elapsed() >= AGAIN) {
                asked = Some(Instant::now());
                for place in open {
                    let (question, to) = questions[place].clone();
                    let number = self.open.0 + place as u64;
                    self.office.send(&Letter::Asked { by: self.seat, number, to, at, question });
                }
            }
            self.take(WAIT);
            self.answer_due(at, answer);
            self.health.beat();
            if self.stop.is_overdue(LEAVE_WITHIN) {
                return None;
            }
        }
        let answers = std::mem::take(&mut self.open.1).into_iter();
        Some(answers.map(|answers| answers.into_values().reduce(Answer::and)).collect())
    }

    fn keep_step(&mut self, at: Time, answer: &mut Answering) -> bool {
        self.say(at, false);
        self.attend(at, answer);
        while self.others().any(|lane| self.office.reached(lane) < at - STEP) {
            if self.stop.is_overdue(LEAVE_WITHIN) {
                return false;
            }
            self.take(WAIT);
            self.answer_due(at, answer);
            self.health.beat();
            self.say_again(at);
        }
        true
    }

    fn attend(&mut self, at: Time, answer: &mut Answering) {
        self.take(Duration::ZERO);
        self.answer_due(at, answer);
        self.say_again(at);
    }

    fn is_any_silent(&self) -> bool {
        (0..self.office.lanes()).any(|lane| self.office.is_silent(lane, self.give_up))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::config::Config;
    use crate::wire::letters;

    const GIVE_UP: Duration = Duration::from_millis(200);

    /// An office of three lanes that no broker reaches; letters are put in its box by hand.
    fn office() -> Arc<Office> {
        let text = "[kafka]\nbrokers = \"127.0.0.1:9\"\n[fleet]\nlanes = 3\n[state]\ntopic = \"state\"";
        let config = Config::from_toml_str(text).expect("no mistakes");
        Arc::new(Office::new(&config).expect("a producer needs no broker to be made"))
    }

    fn seat(office: &Arc<Office>, seat: u32) -> Correspondence {
        let health = Arc::new(Health::new(Duration::from_secs(60)));
        Correspondence::new(seat, office.clone(), GIVE_UP, Arc::default(), health)
    }

    fn hear(office: &Office, letter: &Letter) {
        office.take(&letters::encode(letter));
    }

    fn question() -> Question {
        Question::Written { env: "prod".into(), template: 7, since: Time(3) }
    }

    fn counted(yes: u32) -> Answer {
        Answer::Counted { yes, of: 10 }
    }

    #[test]
    fn who_is_silent_while_others_speak_is_done_without() {
        let office = office();
        let mut asker = seat(&office, 0);
        let first = asker.number + 1;
        let begun = Instant::now();
        let speaking = office.clone();
        let others = std::thread::spawn(move || {
            // Lane 1 answers at once and goes on speaking, lane 2 is never heard.
            hear(&speaking, &Letter::Answered { to: 0, number: first, lane: 1, answer: counted(4) });
            while begun.elapsed() < GIVE_UP * 2 {
                hear(&speaking, &Letter::Reached { lane: 1, at: Time(9) });
                std::thread::yield_now();
            }
        });
        let answers = asker.ask(Time(5), &[(question(), None)], &mut |_| None);
        assert!(begun.elapsed() >= GIVE_UP, "it was waited for");
        assert_eq!(answers, Some(vec![Some(counted(4))]));
        others.join().expect("it ends");
        assert!(asker.is_any_silent());
        assert!(asker.keep_step(Time(10), &mut |_| None), "nor is it waited for on the way");
    }

    #[test]
    fn what_several_answer_is_put_together() {
        let office = office();
        let mut asker = seat(&office, 1);
        let first = asker.number + 1;
        for (lane, yes) in [(0, 1), (2, 2), (2, 2)] {
            hear(&office, &Letter::Answered { to: 1, number: first, lane, answer: counted(yes) });
        }
        hear(&office, &Letter::Answered { to: 1, number: first - 1, lane: 0, answer: counted(100) });
        let answers = asker.ask(Time(5), &[(question(), None)], &mut |_| None);
        assert_eq!(answers, Some(vec![Some(Answer::Counted { yes: 3, of: 20 })]), "what comes twice counts once");
    }

    #[test]
    fn a_lane_answers_of_a_moment_once_it_has_come_to_it() {
        let office = office();
        let mut lane = seat(&office, 2);
        let asked = |at| Letter::Asked { by: 0, number: at as u64, to: None, at: Time(at), question: question() };
        [50, 20, 20].iter().for_each(|at| hear(&office, &asked(*at)));
        let mut answered = 0;
        for (at, expected) in [(10, 0), (20, 1), (49, 1), (50, 2), (60, 2)] {
            lane.attend(Time(at), &mut |_| {
                answered += 1;
                None
            });
            assert_eq!(answered, expected, "at {at}");
        }
    }

    #[test]
    fn a_lane_that_stands_still_is_heard_by_who_came_later() {
        let office = office();
        let mut lane = seat(&office, 2);
        lane.attend(Time(50), &mut |_| None);
        let (begun, spoke) = (Instant::now(), lane.spoke);
        while lane.spoke == spoke {
            lane.attend(Time(50), &mut |_| None);
            assert!(begun.elapsed() < AGAIN * 4, "it says nothing");
            std::thread::yield_now();
        }
        assert!(spoke.elapsed() >= AGAIN, "it says it all the time");
    }

    #[test]
    fn who_is_to_stop_waits_for_nobody_for_long() {
        let office = office();
        let mut asker = seat(&office, 0);
        asker.give_up = Duration::from_secs(3_600);
        asker.stop.ask();
        assert_eq!(asker.ask(Time(5), &[(question(), None)], &mut |_| None), None);
    }
}
