//! A week in quarters of an hour: what a track was at each, the last time.
//!
//! Gives no level but shifts: how much the track went up or down between two times of day on each of the days before.
//! A holiday or an incident spoils one day of seven, not the expectation.

use crate::engine::stats::median;
use crate::engine::window::Minute;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

const SLOT: Minute = 15;
const DAY: Minute = 1440;
const SLOTS: usize = (7 * DAY / SLOT) as usize;

/// Where nothing is known.
const UNKNOWN: i16 = i16::MIN;
/// Levels are kept in steps of 2^-14 of the scale's unit at first, 0.006 %, and of twice that where they don't fit.
const FINEST: i8 = -14;

/// 2 bytes a slot, as many as there were since the first one, 1.3 KiB for a week.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Week {
    /// By slot of the week, beginning with that of `first`: how many steps above the first one's level.
    slots: Slots,
    base: f64,
    /// The logarithm to base two of a step.
    step: i8,
    first: Option<Minute>,
    /// The slot being filled: its number since the epoch, sum and count.
    open: Option<(i32, f64, u32)>,
}

impl Week {
    pub fn learn(&mut self, minute: Minute, y: f64) {
        let slot = minute.div_euclid(SLOT);
        match &mut self.open {
            Some((open, sum, count)) if *open == slot => {
                *sum += y;
                *count += 1;
                return;
            }
            Some((open, _, _)) if slot < *open => return,
            _ => {}
        }
        self.close(slot);
        self.open = Some((slot, y, 1));
    }

    fn close(&mut self, next: i32) {
        let Some((slot, sum, count)) = self.open.take() else { return };
        let level = sum / f64::from(count);
        if self.first.is_none() {
            (self.base, self.step, self.first) = (level, FINEST, Some(slot * SLOT));
        }
        self.keep(slot, level);
        // What was skipped is not known, whatever it was a week ago.
        for skipped in (slot + 1..next).take(SLOTS) {
            self.slots.set(self.place(skipped), UNKNOWN);
        }
    }

    /// Keeps a slot's level, in larger steps if need be, and in smaller ones once that is forgotten.
    fn keep(&mut self, slot: i32, level: f64) {
        let place = self.place(slot);
        while self.step > FINEST && self.slots.0.iter().all(|&each| each == UNKNOWN || each.abs() < i16::MAX / 2) {
            self.slots.0.iter_mut().filter(|each| **each != UNKNOWN).for_each(|each| *each *= 2);
            self.step -= 1;
        }
        let steps = |week: &Week| ((level - week.base) / f64::from(week.step).exp2()).round();
        while steps(self).abs() > f64::from(i16::MAX) && self.step < i8::MAX {
            self.slots.0.iter_mut().filter(|each| **each != UNKNOWN).for_each(|each| *each /= 2);
            self.step += 1;
        }
        self.slots.set(place, steps(self).clamp((-i16::MAX).into(), i16::MAX.into()) as i16);
    }

    fn place(&self, slot: i32) -> usize {
        (slot - self.first.unwrap_or(0).div_euclid(SLOT)).rem_euclid(SLOTS as i32) as usize
    }

    /// Whole days known, up to seven.
    pub fn days(&self) -> u32 {
        match (self.first, &self.open) {
            (Some(first), Some((open, _, _))) => ((open * SLOT - first) / DAY).clamp(0, 7) as u32,
            _ => 0,
        }
    }

    /// How much the track rises from one time to another: the median over the days before, and what it did a week ago.
    pub fn shift(&self, from: Minute, to: Minute) -> Option<(f64, Option<f64>)> {
        if self.days() == 0 {
            return None;
        }
        let on = |day: Minute| Some(self.at(to - day * DAY)? - self.at(from - day * DAY)?);
        let (mut shifts, mut known, mut weekly) = ([0.0; 7], 0, None);
        for day in 1..=7 {
            weekly = on(day);
            if let Some(shift) = weekly {
                shifts[known] = shift;
                known += 1;
            }
        }
        Some((median(&mut shifts[..known])?, weekly))
    }

    /// The level at a time within the last week, between the middles of two slots.
    fn at(&self, minute: Minute) -> Option<f64> {
        let middle = minute - SLOT / 2;
        let slot = middle.div_euclid(SLOT);
        let newest = self.open.as_ref().map(|open| open.0)?;
        if slot + 1 >= newest || slot < newest - SLOTS as i32 || minute < self.first? {
            return None;
        }
        let part = f64::from(middle.rem_euclid(SLOT)) / f64::from(SLOT);
        let (low, high) = (self.level(slot)?, self.level(slot + 1)?);
        Some(low + (high - low) * part)
    }

    /// A slot's level, as far above the first one's as that is known.
    fn level(&self, slot: i32) -> Option<f64> {
        let steps = self.slots.0.get(self.place(slot)).copied().filter(|steps| *steps != UNKNOWN)?;
        Some(f64::from(steps) * f64::from(self.step).exp2())
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Slots(Vec<i16>);

impl Slots {
    fn set(&mut self, place: usize, steps: i16) {
        while self.0.len() <= place {
            if self.0.len() == self.0.capacity() {
                self.0.reserve_exact((DAY / SLOT) as usize);
            }
            self.0.push(UNKNOWN);
        }
        self.0[place] = steps;
    }
}

impl Serialize for Slots {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|steps| steps.to_le_bytes()).collect();
        serializer.serialize_bytes(&bytes)
    }
}

impl<'de> Deserialize<'de> for Slots {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Slots, D::Error> {
        deserializer.deserialize_bytes(Packed)
    }
}

struct Packed;

impl Visitor<'_> for Packed {
    type Value = Slots;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("two bytes a slot")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Slots, E> {
        Ok(Slots(bytes.chunks_exact(2).map(|steps| i16::from_le_bytes([steps[0], steps[1]])).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_how_the_morning_rises() {
        let mut week = Week::default();
        for minute in 0..3 * DAY {
            let hour = f64::from(minute % DAY) / 60.0;
            week.learn(minute, if hour < 8.0 { 0.0 } else { 1.0 });
        }
        assert_eq!(week.days(), 2);
        let now = 3 * DAY;
        let (shift, weekly) = week.shift(now + 6 * 60, now + 10 * 60).expect("two days known");
        assert!((shift - 1.0).abs() < 1e-6 && weekly.is_none());
        assert!(week.shift(now + 10 * 60, now + 11 * 60).expect("known").0.abs() < 1e-6);
    }

    #[test]
    fn knows_nothing_before_a_day_has_passed() {
        let mut week = Week::default();
        for minute in 0..600 {
            week.learn(minute, 1.0);
        }
        assert_eq!(week.shift(600, 660), None);
    }

    #[test]
    fn levels_are_kept_finely_whatever_else_there_was() {
        let level = |minute: Minute| 4.0 + 0.7 * (f64::from(minute % DAY) / 229.0).sin();
        // As it is, with a quarter of an hour far off, and the same with that quarter a week ago.
        for (spoiled, days, within) in [(None, 3, 1e-3), (Some(1e6), 3, 50.0), (Some(1e6), 16, 1e-3)] {
            let mut week = Week::default();
            for minute in DAY..(1 + days) * DAY {
                let off = spoiled.filter(|_| (DAY + 30..DAY + 45).contains(&minute));
                week.learn(minute, off.unwrap_or(level(minute)));
            }
            let (from, to) = ((1 + days) * DAY + 300, (1 + days) * DAY + 660);
            let (shift, _) = week.shift(from, to).expect("days are known");
            assert!((shift - (level(to) - level(from))).abs() < within, "{spoiled:?} {days}: {shift}");
            let bytes = postcard::to_allocvec(&week).expect("plain");
            assert_eq!(postcard::from_bytes::<Week>(&bytes), Ok(week));
        }
    }

    #[test]
    fn absurd_levels_stay_finite() {
        let mut week = Week::default();
        for minute in 0..9 * DAY {
            week.learn(minute, if minute / 15 % 2 == 0 { 1e300 } else { -1e300 });
        }
        assert!(week.shift(9 * DAY + 60, 9 * DAY + 90).is_some_and(|(shift, _)| shift.is_finite()));
    }
}
