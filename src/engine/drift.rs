//! Drift: what gets worse over days while nothing is deployed. Nobody's release did it, but somebody should know.
//!
//! Each signal's level is taken once an hour and kept by the day; the same weekdays a week apart are compared, so that
//! neither day nor week is a trend. It accuses no deployment, recommends nothing and knows nothing of the gate: it is
//! told once, as information, and begins anew.

use super::aside::Aside;
use super::baseline::Sides;
use super::character::character;
use super::detect::steps::level;
use super::effect::{Direction, Drift, Drifted};
use super::fleet::Fleet;
use super::gate::budget::Bucket;
use super::policy::{Policy, RateLimit};
use super::signal::Signal;
use super::stats::median;
use super::time::{Span, Time};
use super::window::{Minute, minute_at};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Messages for the whole fleet; what is held back by it is told on a later day, if it goes on.
const LIMIT: RateLimit = RateLimit { burst: 10, per_hour: 1.0 };
const HOUR: Minute = 60;
const WEEK: usize = 7;
/// Days in a row that must each be worse than the same day of the week before.
const AGREE: usize = 3;
/// Hours that a day needs, to have a level.
const HOURS: u32 = 12;
/// The share of the week's gain that one day may make, beyond which it is a jump; and of its days that go along.
const ONE: f64 = 0.5;
const MOST: f64 = 0.65;
/// Signals that one message names.
const NAMED: usize = 8;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Drifts {
    hour: Option<Minute>,
    /// By service, signal and track: some 150 bytes each, 15 MB at the limit of signals.
    tracks: BTreeMap<(u32, u32, u32), Days>,
    told: Bucket,
}

/// A track's days since the last deployment, on its scale.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Days {
    today: Minute,
    sum: f64,
    hours: u32,
    /// Day and level, the latest last; without a gap.
    levels: VecDeque<(Minute, f64)>,
}

impl Drifts {
    /// What a deployment does is looked at elsewhere: a drift lies between two of them.
    pub fn deployed(&mut self, service: usize) {
        let service = service as u32;
        let places: Vec<_> =
            self.tracks.range((service, 0, 0)..=(service, u32::MAX, u32::MAX)).map(|(at, _)| *at).collect();
        places.iter().for_each(|place| _ = self.tracks.remove(place));
    }

    /// Takes the levels of the hour that ended, once, and tells which services have drifted beyond the budget.
    pub fn look(&mut self, fleet: &Fleet, aside: &Aside, policy: &Policy, now: Time) -> Vec<Drift> {
        // What may still come late belongs to the hour too.
        let hour = minute_at(now - policy.watch.lateness).div_euclid(HOUR);
        if self.hour.replace(hour).is_none_or(|last| hour <= last) {
            return Vec::new();
        }
        let (from, to) = ((hour - 1) * HOUR, hour * HOUR);
        let mut told = Vec::new();
        for (place, service) in fleet.services.iter().enumerate() {
            let disturbed = service.watched > 0 || aside.of(&service.env, &service.name, from).iter().any(|s| s.0 < to);
            if disturbed || service.latest < from {
                continue;
            }
            let mut signals = Vec::new();
            let mut drifted = Vec::new();
            for (number, signal) in service.signals.iter().enumerate() {
                if signal.is_derived() {
                    continue;
                }
                for track in 0..signal.tracks.len() {
                    let key = (place as u32, number as u32, track as u32);
                    if let Some(found) = self.enter(policy, key, signal, (from, to)) {
                        signals.push(found);
                        drifted.push(key);
                    }
                }
            }
            if signals.is_empty() || !self.told.has_one(LIMIT, now) {
                continue;
            }
            self.told.take(LIMIT, now);
            drifted.iter().for_each(|key| _ = self.tracks.remove(key));
            signals.sort_by(|a, b| b.change.abs().total_cmp(&a.change.abs()));
            signals.truncate(NAMED);
            told.push(Drift { at: now, env: service.env.clone(), service: service.name.clone(), signals });
        }
        told
    }

    fn enter(
        &mut self,
        policy: &Policy,
        key: (u32, u32, u32),
        signal: &Signal,
        (from, to): (Minute, Minute),
    ) -> Option<Drifted> {
        let track = &signal.tracks[key.2 as usize];
        let scale = track.baseline.scale().filter(|_| !track.baseline.is_sparse())?;
        let (level, _) = level(&track.total, scale, from, to)?;
        let days = self.tracks.entry(key).or_default();
        let (gain, first) = days.enter(from.div_euclid(24 * HOUR), level)?;
        let character = character(policy, &signal.metric, signal.class);
        let sides = Sides::of(character.worse, Some(scale));
        let base = days.levels.iter().rev().nth(WEEK).map(|(_, level)| *level)?;
        let (baseline, current) = (scale.value(base), scale.value(base + gain));
        let change = scale.relative_change(baseline, current);
        let worse = if gain > 0.0 { sides.up } else { sides.down };
        (worse && change.abs() >= policy.detection.steps_budget * character.min_change).then(|| Drifted {
            signal: signal.title(key.2 as usize),
            unit: signal.unit_of(key.2 as usize).map(str::to_string),
            direction: if current > baseline { Direction::Increase } else { Direction::Decrease },
            baseline,
            current,
            change,
            since: Time(0) + Span::minutes(i64::from(first) * 1_440),
        })
    }
}

impl Days {
    /// Adds an hour; when that begins a day, what the week before it has gained, and the first day of that week.
    fn enter(&mut self, day: Minute, level: f64) -> Option<(f64, Minute)> {
        let ended =
            (self.hours > 0 && day != self.today).then(|| (self.today, self.sum / f64::from(self.hours), self.hours));
        if day != self.today {
            (self.today, self.sum, self.hours) = (day, 0.0, 0);
        }
        self.sum += level;
        self.hours += 1;
        let (yesterday, level, hours) = ended?;
        if hours < HOURS {
            return None;
        }
        // A day without a level breaks the comparison of weekdays.
        if self.levels.back().is_some_and(|(last, _)| last + 1 != yesterday) {
            self.levels.clear();
        }
        self.levels.push_back((yesterday, level));
        if self.levels.len() > WEEK + AGREE {
            self.levels.pop_front();
        }
        self.gained()
    }

    fn gained(&self) -> Option<(f64, Minute)> {
        let levels: Vec<f64> = self.levels.iter().map(|(_, level)| *level).collect();
        if levels.len() < WEEK + AGREE {
            return None;
        }
        let mut gains: Vec<f64> = (0..AGREE).map(|day| levels[day + WEEK] - levels[day]).collect();
        let sign = gains[0].signum();
        let steps = levels[AGREE - 1..].windows(2).map(|pair| (pair[1] - pair[0]) * sign);
        let (along, largest) =
            steps.fold((0, 0.0_f64), |(along, largest), step| (along + usize::from(step > 0.0), largest.max(step)));
        let all = gains.iter().all(|gain| gain * sign > 0.0);
        let size = median(&mut gains)?;
        let steady = largest <= ONE * size.abs() && along as f64 >= MOST * WEEK as f64;
        (all && steady).then_some((size, self.levels[AGREE - 1].0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The days, of fourteen, on which a drift is seen where each has one level.
    fn seen(level: impl Fn(i32) -> f64) -> Vec<i32> {
        let mut days = Days::default();
        let mut seen = Vec::new();
        for hour in 0..24 * 20 {
            if days.enter(hour / 24, level(hour / 24)).is_some() {
                seen.push(hour / 24);
            }
        }
        seen
    }

    #[test]
    fn a_trend_is_seen_when_three_weekdays_agree() {
        assert_eq!(seen(|day| f64::from(day) * 0.02).first(), Some(&10));
    }

    #[test]
    fn weeks_and_jumps_are_no_trend() {
        assert!(seen(|day| if day % 7 > 4 { 0.0 } else { f64::from(day % 7) * 0.1 }).is_empty(), "the week");
        assert!(seen(|day| if day > 8 { 0.5 } else { 0.0 }).is_empty(), "a jump");
        assert!(seen(|day| if day % 2 == 0 { 0.0 } else { 0.1 }).is_empty(), "nothing");
    }

    #[test]
    fn a_day_without_a_level_begins_anew() {
        let mut days = Days::default();
        let mut seen = Vec::new();
        for hour in (0..24 * 20).filter(|hour| hour / 24 != 8) {
            if days.enter(hour / 24, f64::from(hour / 24) * 0.02).is_some() {
                seen.push(hour / 24);
            }
        }
        assert_eq!(seen.first(), Some(&19));
    }
}
