//! A week in quarters of an hour: what a track was at each, the last time.
//!
//! Gives no level but shifts: how much the track went up or down between two times of day on each of the days before.
//! A holiday or an incident spoils one day of seven, not the expectation.

use crate::engine::stats::median;
use crate::engine::window::Minute;
use serde::{Deserialize, Serialize};

const SLOT: Minute = 15;
const DAY: Minute = 1440;
const SLOTS: usize = (7 * DAY / SLOT) as usize;

/// 2.7 KiB once a first slot is full.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Week {
    /// By slot of the week; NaN where nothing is known.
    slots: Vec<f32>,
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
        if self.slots.is_empty() {
            self.slots = vec![f32::NAN; SLOTS];
            self.first = Some(slot * SLOT);
        }
        self.slots[place(slot)] = (sum / f64::from(count)) as f32;
        // What was skipped is not known, whatever it was a week ago.
        for skipped in (slot + 1..next).take(SLOTS) {
            self.slots[place(skipped)] = f32::NAN;
        }
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
        let (low, high) = (f64::from(self.slots[place(slot)]), f64::from(self.slots[place(slot + 1)]));
        let level = low + (high - low) * part;
        level.is_finite().then_some(level)
    }
}

fn place(slot: i32) -> usize {
    slot.rem_euclid(SLOTS as i32) as usize
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
}
