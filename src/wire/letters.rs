//! Letters: what the seats of a fleet of daemons write to each other on a topic of their own.
//!
//! They are ours alone and no contract: their form is that of the state, and one of another build is not read. A letter
//! says everything by itself and may come twice. Who writes which, and when, is not known here.

use super::rejected::{RejectReason, Rejected};
use crate::engine::report::{Answer, Question, Told};
use crate::engine::time::Time;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The header of a message that was passed on to a lane: where it came from.
pub const ORIGIN: &str = "regressd-origin";
/// The header, one for each input partition, of a message that says how far its messages were passed on.
pub const UPTO: &str = "regressd-upto";
/// The header of a message that says which time of an input is gone for good.
pub const GAP: &str = "regressd-gap";

/// Raised whenever a letter's form or that of anything in it changes.
const FORM: u32 = 1;

/// One letter. Seats are numbered: lanes from 0, and the desk after the last of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Letter {
    /// A lane has told everything up to this moment, this last.
    Told {
        lane: u32,
        upto: Time,
        told: Option<Told>,
    },
    /// A lane has come to this moment, and may not have told everything.
    Reached {
        lane: u32,
        at: Time,
    },
    /// Asks one lane or all others, as things are at this moment. The number is the asker's own, for the answers.
    Asked {
        by: u32,
        number: u64,
        to: Option<u32>,
        at: Time,
        question: Question,
    },
    Answered {
        to: u32,
        number: u64,
        lane: u32,
        answer: Answer,
    },
}

/// A place in an input topic and its moment. As text `topic/partition/offset/moment/lanes`: no topic's name
/// has a slash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    /// When the log took it, as the record says; where that is not known, nothing.
    pub at: Option<Time>,
    /// Of so many lanes: what was passed on to others is not for these.
    pub lanes: u32,
}

impl<'a> Origin<'a> {
    pub fn read(text: &'a [u8]) -> Option<Origin<'a>> {
        let mut words = str::from_utf8(text).ok()?.split('/');
        let (topic, partition, offset) = (words.next()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let at = match words.next()? {
            "" => None,
            at => Some(Time(at.parse().ok()?)),
        };
        let lanes = words.next()?.parse().ok()?;
        words.next().is_none().then_some(Origin { topic, partition, offset, at, lanes })
    }
}

impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Origin { topic, partition, offset, at, lanes } = self;
        write!(f, "{topic}/{partition}/{offset}/")?;
        at.map_or(Ok(()), |at| write!(f, "{}", at.0))?;
        write!(f, "/{lanes}")
    }
}

/// From one moment to another, as text.
pub fn stretch(from: Time, to: Time) -> String {
    format!("{}/{}", from.0, to.0)
}

pub fn read_stretch(text: &[u8]) -> Option<(Time, Time)> {
    let (from, to) = str::from_utf8(text).ok()?.split_once('/')?;
    Some((Time(from.parse().ok()?), Time(to.parse().ok()?)))
}

/// A letter as it is sent.
pub fn encode(letter: &Letter) -> Vec<u8> {
    let form = FORM.to_le_bytes().to_vec();
    postcard::to_extend(letter, form).expect("plain data serialises")
}

/// # Errors
/// It is no letter, or one of another build.
pub fn decode(payload: &[u8]) -> Result<Letter, Rejected> {
    let refused = |detail: String| Rejected::new(RejectReason::UnsupportedFormat, detail);
    let Some((form, body)) = payload.split_first_chunk() else { return Err(refused("no letter".into())) };
    let form = u32::from_le_bytes(*form);
    if form != FORM {
        return Err(refused(format!("a letter of form {form}; this build reads {FORM}")));
    }
    match postcard::take_from_bytes(body) {
        Ok((letter, [])) => Ok(letter),
        Ok((_, left)) => Err(refused(format!("{} bytes behind the letter", left.len()))),
        Err(error) => Err(refused(format!("no letter: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_comes_back_as_it_was() {
        let question = Question::Written { env: "prod".into(), template: 7, since: Time(3) };
        for letter in [
            Letter::Told { lane: 2, upto: Time(9), told: Some(Told { at: Time(9), tick: true, reports: Vec::new() }) },
            Letter::Reached { lane: 1, at: Time(4) },
            Letter::Asked { by: 3, number: 17, to: None, at: Time(5), question },
            Letter::Answered { to: 3, number: 17, lane: 0, answer: Answer::Counted { yes: 1, of: 2 } },
        ] {
            assert_eq!(decode(&encode(&letter)), Ok(letter));
        }
    }

    #[test]
    fn an_origin_comes_back_as_it_was() {
        for at in [None, Some(Time(1_790_000_000_000)), Some(Time(-1))] {
            let origin = Origin { topic: "eu.metrics-1_b", partition: 3, offset: 17, at, lanes: 6 };
            assert_eq!(Origin::read(origin.to_string().as_bytes()), Some(origin));
        }
        for wrong in ["", "metrics", "metrics/1/2", "metrics/1/2/3", "metrics/1/x/3/4", "metrics/1/2/3/4/5"] {
            assert_eq!(Origin::read(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(read_stretch(stretch(Time(4), Time(-7)).as_bytes()), Some((Time(4), Time(-7))));
    }

    #[test]
    fn what_is_no_letter_is_refused() {
        let whole = encode(&Letter::Reached { lane: 1, at: Time(4) });
        for length in 0..whole.len() {
            assert!(decode(&whole[..length]).is_err(), "{length} bytes of it");
        }
        assert!(decode(&[&whole[..], b"x"].concat()).is_err(), "and more");
        assert!(decode(br#"{"ts":1}"#).is_err());
    }
}
