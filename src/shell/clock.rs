//! What moves time on when nothing arrives, and the wall clock for those few who may ask it.
//!
//! The engine never asks; its time comes with the messages. A live daemon still has to notice that a watch has ended
//! while every topic is silent, and only for that the wall clock is let in here. With `Clock::Log` it never is. A clock
//! that somebody sets while the daemon runs takes neither its time nor the stamps of what it publishes with it.

use crate::engine::time::{Span, Time};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

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

/// The moment, by the machine's clock as far as that is believed.
pub fn wall() -> Time {
    BELIEVED.get_or_init(|| Believed::at(machine())).now(machine())
}

/// A record was taken that is stamped so; `live` if nothing waited behind it. Where the machine's clock has jumped, a
/// record tells whether it was right to.
pub fn heard(stamped: Time, live: bool) {
    BELIEVED.get_or_init(|| Believed::at(machine())).hear(machine(), stamped, live);
}

/// The machine's clock, whatever it shows.
pub fn machine() -> Time {
    // Before 1970 there is no log to read; the epoch serves for a clock that stands there.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(i64::try_from(since.as_millis()).unwrap_or(i64::MAX).saturating_add(SET_BY.load(Ordering::Relaxed)))
}

/// As if somebody had set the machine's clock, so far from where it is; a test does.
pub fn set_by(span: Span) {
    SET_BY.store(span.0, Ordering::Relaxed);
}

/// A machine has one clock, and so has the process.
static BELIEVED: OnceLock<Believed> = OnceLock::new();
static SET_BY: AtomicI64 = AtomicI64::new(0);

/// A clock that jumps by more than this is not followed by itself.
const JUMP: Span = Span::MINUTE;

/// The time that passes, on top of the moment at which the machine's clock was last believed. Small corrections are
/// followed at once; a jump is once the log agrees with it: a machine that slept, or whose clock was wrong from the
/// start.
struct Believed {
    began: Instant,
    /// What the clock would have shown then, in milliseconds.
    anchor: AtomicI64,
    jumped: AtomicBool,
}

impl Believed {
    fn at(shown: Time) -> Believed {
        Believed { began: Instant::now(), anchor: AtomicI64::new(shown.0), jumped: AtomicBool::new(false) }
    }

    fn now(&self, shown: Time) -> Time {
        let steady = self.steady();
        if far(shown, steady) <= JUMP {
            self.follow(shown);
            return shown;
        }
        if !self.jumped.swap(true, Ordering::Relaxed) {
            let by = (shown - steady).as_seconds();
            tracing::warn!(
                by,
                "this machine's clock has jumped, in seconds: not believed until the log agrees with it"
            );
        }
        steady
    }

    fn hear(&self, shown: Time, stamped: Time, live: bool) {
        let steady = self.steady();
        // Forward, what lies beyond the time that passed is word enough; back, anything old would seem to agree.
        let is_word = if shown > steady { stamped > steady } else { live };
        if far(shown, steady) > JUMP && is_word && far(stamped, shown) <= AHEAD && far(stamped, steady) > AHEAD {
            self.follow(shown);
        }
    }

    fn steady(&self) -> Time {
        Time(self.anchor.load(Ordering::Relaxed).saturating_add(self.passed()))
    }

    /// In milliseconds.
    fn passed(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    fn follow(&self, shown: Time) {
        // Set, not moved: several threads may follow at once.
        self.anchor.store(shown.0.saturating_sub(self.passed()), Ordering::Relaxed);
        if self.jumped.swap(false, Ordering::Relaxed) {
            tracing::info!("this machine's clock is believed again");
        }
    }
}

fn far(one: Time, other: Time) -> Span {
    Span((one - other).0.saturating_abs())
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

    const HOUR: Span = Span::HOUR;

    #[test]
    fn a_jump_is_followed_when_the_log_agrees() {
        let shown = Time(1_790_000_000_000);
        let clock = Believed::at(shown);
        let is_near = |moment: Time, other: Time| far(moment, other) < Span::seconds(10);
        assert_eq!(clock.now(shown + Span::seconds(30)), shown + Span::seconds(30), "a correction");
        for jump in [HOUR, Span(-HOUR.0)] {
            let set = shown + jump;
            assert!(is_near(clock.now(set), shown + Span::seconds(30)), "{jump:?}");
            // Whoever writes at the right time, long ago, or far ahead does not agree with it.
            for stamped in [shown, shown - Span::DAY, shown + Span::DAY] {
                clock.hear(set, stamped, true);
                assert!(is_near(clock.now(set), shown + Span::seconds(30)), "{jump:?} {stamped:?}");
            }
            clock.hear(set, set, true);
            assert_eq!(clock.now(set), set, "{jump:?}");
            clock.hear(shown, shown, true);
            assert_eq!(clock.now(shown), shown, "and back");
            clock.now(shown + Span::seconds(30));
        }
        // A backlog of long ago is no word for a clock that went back.
        let set = shown - HOUR;
        clock.hear(set, set, false);
        assert!(is_near(clock.now(set), shown + Span::seconds(30)));
    }
}
