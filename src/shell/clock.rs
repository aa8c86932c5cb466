//! What moves time on when nothing arrives, and the wall clock for those few who may ask it.
//!
//! The engine never asks; its time comes with the messages. A live daemon still has to notice that a watch has ended
//! while every topic is silent, and only for that the wall clock is let in here. With `Clock::Log` it never is.

use crate::engine::time::{Span, Time};
use std::time::{SystemTime, UNIX_EPOCH};

/// A deadline is stepped this long after the wall clock has passed it, if no message came to do it: a message that was
/// written just before the deadline may still be on its way.
pub const GRACE: Span = Span::seconds(3);

/// How far the log may run ahead of this machine's clock and still be believed.
const AHEAD: Span = Span::minutes(5);

/// What moves time on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// The records' timestamps, and the wall clock while there are none.
    #[default]
    Wall,
    /// The records' timestamps alone: a demonstration runs through hours in minutes.
    Log,
}

impl Clock {
    /// Up to where deadlines may be stepped while the input is idle.
    pub fn idle_until(self) -> Option<Time> {
        match self {
            Clock::Wall => Some(wall() - GRACE),
            Clock::Log => None,
        }
    }

    /// A record's timestamp as far as it can be believed. A producer's clock that runs far ahead would otherwise move
    /// every cooldown and deadline with it, and there is no way back.
    pub fn believe(self, stamped: Time) -> Option<Time> {
        match self {
            Clock::Wall => Some(stamped).filter(|stamped| *stamped <= wall() + AHEAD),
            Clock::Log => Some(stamped),
        }
    }
}

/// The wall clock's moment.
pub fn wall() -> Time {
    // Before 1970 there is no log to read; the epoch serves for a clock that stands there.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_wall_doubts_a_timestamp() {
        let far = Time(i64::MAX);
        assert_eq!(Clock::Wall.believe(far), None);
        assert_eq!(Clock::Log.believe(far), Some(far));
        assert_eq!(Clock::Wall.believe(Time(0)), Some(Time(0)));
    }
}
