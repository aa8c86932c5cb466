//! Use adjusted for traffic: what a service would use, were its traffic as usual.
//!
//! Who serves more uses more, and a young baseline can't know when that is. A line is fitted through what an instance
//! uses and the requests that it serves (least squares, one minute at a time; a day and older counts less and less).
//! What was used, over what the line says for those requests, times what is usual, is a signal like any other, with a
//! baseline and a yardstick of its own. It is made where traffic explains enough of the use, and has no series.

use crate::engine::character::Class;
use crate::engine::detect::load::is_memory;
use crate::engine::service::Service;
use crate::engine::signal::{KEPT, Nature, Signal};
use crate::engine::traffic::leading;
use crate::engine::window::{Bin, Minute};
use serde::{Deserialize, Serialize};

/// Minutes that a line is drawn through at least, and by how many it is known later on: a day.
const ENOUGH: u32 = 120;
const DAY: f64 = 1_440.0;
/// The share of the use's variance that traffic must explain.
const TELLING: f64 = 0.25;
/// A use that is so many times what the line says, or so small a part of it, is not what it is drawn through.
const FAR: f64 = 3.0;

/// The line through use and traffic, by their moments. 56 bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Line {
    minutes: u32,
    /// The signal that holds the adjusted minutes.
    adjusted: Option<u32>,
    traffic: f64,
    used: f64,
    traffic_squared: f64,
    used_squared: f64,
    product: f64,
}

impl Line {
    fn fit(&mut self, traffic: f64, used: f64) {
        let odd = self.of(traffic).is_some_and(|usual| used > FAR * usual || FAR * used < usual);
        let mut next = self.clone();
        next.minutes = self.minutes.saturating_add(1);
        let weight = (1.0 / f64::from(next.minutes)).max(1.0 / DAY);
        let (more, used_more) = (traffic - self.traffic, used - self.used);
        next.traffic += weight * more;
        next.used += weight * used_more;
        let (rest, used_rest) = (traffic - next.traffic, used - next.used);
        next.traffic_squared += weight * (more * rest - self.traffic_squared);
        next.used_squared += weight * (used_more * used_rest - self.used_squared);
        next.product += weight * (more * used_rest - self.product);
        if !odd && (next.traffic_squared * next.used_squared).is_finite() && next.product.is_finite() {
            *self = next;
        }
    }

    /// The use that goes with so much traffic; none while that is not known. Never less with more.
    fn of(&self, traffic: f64) -> Option<f64> {
        if self.minutes < ENOUGH || self.traffic <= 0.0 || self.used <= 0.0 || self.traffic_squared <= 0.0 {
            return None;
        }
        // Nobody uses less than nothing where nothing is to be done.
        let slope = (self.product / self.traffic_squared).clamp(0.0, self.used / self.traffic);
        Some(self.used + slope * (traffic - self.traffic)).filter(|usual| *usual > 0.0)
    }

    fn explains(&self) -> bool {
        self.product > 0.0 && self.product * self.product >= TELLING * self.traffic_squared * self.used_squared
    }
}

/// Whether it is something that is used, and may be adjusted.
pub fn is_used(signal: &Signal) -> bool {
    signal.class == Class::Saturation && signal.nature == Nature::Gauge && !is_memory(signal)
}

/// The signal that an adjusted one is made of.
pub fn base_of(owner: &Service, adjusted: usize) -> Option<&Signal> {
    let leads_there = |line: &Line| line.adjusted == u32::try_from(adjusted).ok();
    owner.signals.iter().find(|signal| signal.line.as_deref().is_some_and(leads_there))
}

/// The signals of a service that are used.
pub fn used(owner: &Service) -> Vec<usize> {
    (0..owner.signals.len()).filter(|&place| is_used(&owner.signals[place])).collect()
}

/// Works out the adjusted minutes of a signal that its own baseline has not learned yet, up to and including `upto`;
/// `fits` says which of them the line learns from. The place of the adjusted signal, once there is one.
pub fn work_out(owner: &mut Service, base: usize, upto: Minute, fits: impl Fn(Minute) -> bool) -> Option<usize> {
    let leading = leading(owner)?;
    owner.settle(leading, upto);
    owner.settle(base, upto);
    let mut line = owner.signals[base].line.take().unwrap_or_default();
    let from = owner.signals[base].tracks[0].baseline.learned.max(upto.saturating_sub(KEPT as Minute - 1));
    let mut minutes = Vec::new();
    for minute in from..=upto {
        let Some((traffic, used)) = pair(owner, leading, base, minute) else { continue };
        if let Some(usual) = line.of(traffic) {
            minutes.push((minute, used / usual * line.used));
        }
        if fits(minute) {
            line.fit(traffic, used);
        }
    }
    // Under watch there is nothing that it could be held against.
    if line.adjusted.is_none() && owner.watched == 0 && line.explains() && !minutes.is_empty() {
        line.adjusted = make(owner, base);
    }
    let place = line.adjusted;
    if line.minutes > 0 {
        owner.signals[base].line = Some(line);
    }
    let place = place? as usize;
    let ring = &mut owner.signals[place].tracks[0].total;
    for (minute, used) in minutes {
        ring.set(Bin { minute, num: used as f32, den: 1.0 }, KEPT);
    }
    Some(place)
}

/// What an instance served and used in a minute, on average.
fn pair(owner: &Service, leading: usize, base: usize, minute: Minute) -> Option<(f64, f64)> {
    let value = |signal: usize| owner.signals[signal].tracks[0].total.at(minute)?.value();
    let (traffic, used) = (value(leading)?, value(base)?);
    let heard = owner.signals[base].series.iter().filter(|series| series.bin(0, minute).is_some()).count();
    Some((traffic / heard.max(1) as f64, used)).filter(|(traffic, used)| *traffic >= 0.0 && *used > 0.0)
}

fn make(owner: &mut Service, base: usize) -> Option<u32> {
    let base = &owner.signals[base];
    let name = format!("{} adjusted for traffic", base.name);
    let unit = base.unit.clone();
    let signal = Signal::new(&base.metric, name, unit.as_deref(), base.class, Nature::AdjustedUse, base.born);
    owner.signals.push(signal);
    u32::try_from(owner.signals.len() - 1).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_traffic_explains_is_taken_off() {
        let mut line = Line::default();
        for minute in 0..600 {
            let traffic = 1_000.0 + 800.0 * (f64::from(minute) / 95.0).sin();
            line.fit(traffic, 0.1 + 0.000_3 * traffic);
        }
        assert!(line.explains());
        for traffic in [200.0, 1_000.0, 3_000.0] {
            let said = line.of(traffic).expect("known");
            assert!((said / (0.1 + 0.000_3 * traffic) - 1.0).abs() < 0.02, "{said}");
        }
    }

    #[test]
    fn where_traffic_explains_nothing_none_is_made() {
        let mut line = Line::default();
        (0..600).for_each(|minute| line.fit(f64::from(minute * 7 % 13), 0.5 + 0.01 * f64::from(minute * 5 % 11)));
        assert!(!line.explains());
    }

    #[test]
    fn a_line_stays_finite_and_goes_by_no_outlier() {
        let mut line = Line::default();
        (0..200).for_each(|minute| line.fit(100.0 + f64::from(minute % 10), 0.5));
        let before = line.clone();
        line.fit(1e308, 1e308);
        line.fit(105.0, 5.0);
        assert_eq!(line, before);
    }
}
