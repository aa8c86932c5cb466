//! What a lane knows of the others: the answers it was given, and the questions that it still has.
//!
//! A look at a watch asks here. What is not known yet is noted, and the look is done again once it was answered; where
//! there is nobody else, nothing is asked. Who is asked, and how, is not known here.

use super::report::{Answer, Question};
use std::cell::RefCell;

/// What others say, for the time of one step.
#[derive(Debug, Default)]
pub struct Elsewhere {
    /// There are other lanes.
    others: bool,
    known: Vec<(Question, Answer)>,
    wanted: RefCell<Vec<Question>>,
}

impl Elsewhere {
    pub fn new(others: bool) -> Elsewhere {
        Elsewhere { others, ..Elsewhere::default() }
    }

    /// How many of how many services elsewhere; nobody of nobody while that is not known.
    pub fn count(&self, question: Question) -> (u32, u32) {
        match self.answer(question) {
            Some(Answer::Counted { yes, of }) => (*yes, *of),
            _ => (0, 0),
        }
    }

    /// Of each service elsewhere, minute by minute; of none while that is not known.
    pub fn busy(&self, question: Question) -> &[Vec<Option<f64>>] {
        match self.answer(question) {
            Some(Answer::Busy(services)) => services,
            _ => &[],
        }
    }

    fn answer(&self, question: Question) -> Option<&Answer> {
        let known = self.known.iter().find(|(known, _)| *known == question).map(|(_, answer)| answer);
        let mut wanted = self.wanted.borrow_mut();
        if self.others && known.is_none() && !wanted.contains(&question) {
            wanted.push(question);
        }
        known
    }

    /// Whether anything was asked that is not known: what was found meanwhile does not count.
    pub fn is_wanting(&self) -> bool {
        !self.wanted.borrow().is_empty()
    }

    /// What is to be asked of the others.
    pub fn take_wanted(&mut self) -> Vec<Question> {
        self.wanted.take()
    }

    /// What the others answered together; nothing where nobody did.
    pub fn learn(&mut self, question: Question, answer: Option<Answer>) {
        self.known.push((question, answer.unwrap_or(Answer::Counted { yes: 0, of: 0 })));
    }
}
