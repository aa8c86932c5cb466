//! Windows that come again and again: a cron expression in a time zone, and how long each lasts.
//!
//! Everything is read on the clock on the wall there, the length too: a freeze from Friday 18:00 for 62 hours ends on
//! Monday at 08:00, also over a weekend on which the clocks change. A moment that the clocks leave out comes an hour
//! later, one that they have twice comes the first time. The rules of all zones are compiled in, so that the same build
//! gives the same answers on every machine.

use crate::engine::policy::Calendar;
use crate::engine::time::{Span, Time};
use cronexpr::{Crontab, FallbackTimezoneOption, MakeTimestamp, ParseOptions, parse_crontab_with};
use jiff::civil::DateTime;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};

/// No zone's clocks were ever set by more.
const SHIFT: SignedDuration = SignedDuration::from_hours(26);
/// Occurrences looked at for one answer: one a minute over the longest shift, and some.
const LOOKS: usize = 2_000;

#[derive(Debug)]
pub struct Recurring {
    cron: Crontab,
    zone: TimeZone,
    duration: SignedDuration,
    text: String,
}

impl Recurring {
    /// # Errors
    /// What is wrong with the expression, or that it never comes.
    pub fn new(cron: &str, zone: &str, duration: Span) -> Result<Recurring, String> {
        let recurring = Recurring {
            cron: read_cron(cron)?,
            zone: read_zone(zone)?,
            duration: SignedDuration::from_millis(duration.0),
            text: format!("{cron} {zone} {}", duration.0),
        };
        // Five years hold every day there is.
        let year_2000 = Time(946_684_800_000);
        recurring.next(year_2000).map(|_| recurring).ok_or_else(|| "it never comes".to_owned())
    }

    fn instant(&self, civil: DateTime) -> Option<Timestamp> {
        self.zone.to_timestamp(civil).ok()
    }
}

impl Calendar for Recurring {
    fn next(&self, at: Time) -> Option<(Time, Time)> {
        let at = Timestamp::from_millisecond(at.0).ok()?;
        // The expression is matched against the clock on the wall, taken as if it were UTC's.
        let wall = self.zone.to_datetime(at);
        let mut from = wall.checked_sub(self.duration).ok()?.checked_sub(SHIFT).ok()?;
        for _ in 0..LOOKS {
            let shown =
                MakeTimestamp::from_millisecond(TimeZone::UTC.to_timestamp(from).ok()?.as_millisecond()).ok()?;
            from = self.cron.find_next(shown).ok()?.datetime();
            let begins = self.instant(from)?;
            let to = self.instant(self.zone.to_datetime(begins).checked_add(self.duration).ok()?)?;
            if to > at {
                return Some((Time(begins.as_millisecond()), Time(to.as_millisecond())));
            }
        }
        None
    }

    fn text(&self) -> &str {
        &self.text
    }
}

/// # Errors
/// What is wrong with it.
pub fn read_cron(text: &str) -> Result<Crontab, String> {
    if text.split_whitespace().count() != 5 {
        return Err("it has not five fields".to_owned());
    }
    let mut options = ParseOptions::default();
    options.fallback_timezone_option = FallbackTimezoneOption::UTC;
    // The parser draws an arrow under what it tells of; what it tells comes last.
    let told = |error: cronexpr::Error| error.to_string().rsplit('^').next().unwrap_or_default().trim().to_owned();
    parse_crontab_with(text, options).map_err(told)
}

/// # Errors
/// That there is no such zone.
pub fn read_zone(name: &str) -> Result<TimeZone, String> {
    TimeZoneDatabase::bundled().get(name).map_err(|_| "there is no such zone".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Time {
        Time(text.parse::<Timestamp>().expect("a moment").as_millisecond())
    }

    fn weekend() -> Recurring {
        Recurring::new("0 18 * * 5", "Europe/Berlin", Span(62 * Span::HOUR.0)).expect("it is well formed")
    }

    fn holds(recurring: &Recurring, at: &str) -> bool {
        recurring.next(time(at)).is_some_and(|(from, _)| from <= time(at))
    }

    #[test]
    fn a_weekend_begins_and_ends_on_the_clock_on_the_wall() {
        let next = |at| weekend().next(time(at)).expect("it comes every week");
        // An ordinary one, at two hours before UTC's clock.
        assert_eq!(next("2026-09-24T00:00:00Z"), (time("2026-09-25T16:00:00Z"), time("2026-09-28T06:00:00Z")));
        // On the Sunday within it the clocks go forward: an hour shorter.
        assert_eq!(next("2026-03-26T00:00:00Z"), (time("2026-03-27T17:00:00Z"), time("2026-03-30T06:00:00Z")));
        // And back: an hour longer.
        assert_eq!(next("2026-10-22T00:00:00Z"), (time("2026-10-23T16:00:00Z"), time("2026-10-26T07:00:00Z")));
    }

    #[test]
    fn it_holds_from_its_first_moment_to_its_last() {
        for (at, expected) in [
            ("2026-10-23T15:59:59.999Z", false),
            ("2026-10-23T16:00:00Z", true),
            ("2026-10-25T00:30:00Z", true),
            ("2026-10-25T01:30:00Z", true),
            ("2026-10-26T06:59:59.999Z", true),
            ("2026-10-26T07:00:00Z", false),
        ] {
            assert_eq!(holds(&weekend(), at), expected, "{at}");
        }
    }

    #[test]
    fn nights_on_which_the_clocks_change() {
        let night = Recurring::new("30 2 * * *", "Europe/Berlin", Span::HOUR).expect("it is well formed");
        let next = |at| night.next(time(at)).expect("it comes every night");
        // Half past two is left out: it comes at half past three, and lasts as long as ever.
        assert_eq!(next("2026-03-29T00:50:00Z"), (time("2026-03-29T01:30:00Z"), time("2026-03-29T02:30:00Z")));
        // Half past two is there twice: the first one counts, and half past three is two hours later.
        assert_eq!(next("2026-10-24T22:00:00Z"), (time("2026-10-25T00:30:00Z"), time("2026-10-25T02:30:00Z")));
        assert!(holds(&night, "2026-10-25T01:10:00Z"), "ten past two, the second time");
    }

    #[test]
    fn often_and_seldom() {
        let always = Recurring::new("* * * * *", "UTC", Span::MINUTE).expect("it is well formed");
        assert!(holds(&always, "2026-01-01T00:00:30Z"));
        let leap = Recurring::new("0 0 29 2 *", "UTC", Span::DAY).expect("it is well formed");
        assert_eq!(leap.next(time("2026-01-01T00:00:00Z")).map(|(from, _)| from), Some(time("2028-02-29T00:00:00Z")));
        assert_eq!(always.next(Time(i64::MAX)), None);
    }

    #[test]
    fn mistakes() {
        for (cron, zone) in [
            ("0 18 * * 8", "UTC"),
            ("0 18 * *", "UTC"),
            ("0 18 * * 5 Europe/Berlin", "UTC"),
            ("0 0 30 2 *", "UTC"),
            ("0 18 * * 5", "Europe/Berlim"),
            ("", "UTC"),
        ] {
            assert!(Recurring::new(cron, zone, Span::HOUR).is_err(), "{cron} {zone}");
        }
    }
}
