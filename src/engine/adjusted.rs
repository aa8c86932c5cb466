//! Traffic adjusted for the environment: what a service's requests would be, were the environment's as usual.
//!
//! Users come and go everywhere at once, and a young baseline can't know when. So a service's first rate of requests is
//! divided, minute by minute, by how busy the others are: the median over them of their rate against their usual one.
//! The quotient is a signal like any other, with a baseline and a yardstick of its own: where services have little to
//! do with each other it wanders far and tells nothing. It has no series; whoever learns or looks works it out first.

use super::baseline::scale::Scale;
use super::character::Class;
use super::fleet::Fleet;
use super::service::Service;
use super::signal::{KEPT, Nature, Signal};
use super::stats::median;
use super::window::{Bin, Minute, Ring};

/// Others that are asked, the first of them in order of appearance.
const ASKED: usize = 20;

/// Works out the adjusted minutes up to and including `upto` that are not learned yet. The signal's place, made as soon
/// as there is anybody to compare with.
pub fn work_out(fleet: &mut Fleet, service: usize, upto: Minute) -> Option<usize> {
    let own = traffic(&fleet.services[service])?;
    let others = others(fleet, service);
    let place = place_of(fleet, service, own, !others.is_empty())?;
    let learned = fleet.services[service].signals[place].tracks[0].baseline.learned;
    let from = learned.max(upto.saturating_sub(KEPT as Minute - 1));
    fleet.services[service].settle(own, upto);
    others.iter().for_each(|&(other, signal)| fleet.services[other].settle(signal, upto));
    for minute in from..=upto {
        let Some(requests) = fleet.services[service].signals[own].tracks[0].total.at(minute).copied() else { continue };
        let Some(busy) = busy(fleet, &others, minute).filter(|busy| *busy > 0.0) else { continue };
        let track = &mut fleet.services[service].signals[place].tracks[0];
        if let Some(bin) = track.total.bin(minute, KEPT) {
            *bin = Bin { num: (f64::from(requests.num) / busy) as f32, ..requests };
        }
    }
    Some(place)
}

/// The signal that is adjusted.
pub fn traffic(service: &Service) -> Option<usize> {
    service.signals.iter().position(|each| each.class == Class::Traffic && each.nature == Nature::Rate)
}

/// How busy the others are in a minute; 1 is usual, none if nobody can tell.
fn busy(fleet: &Fleet, others: &[(usize, usize)], minute: Minute) -> Option<f64> {
    let of = |&(other, signal): &(usize, usize)| {
        let track = &fleet.services[other].signals[signal].tracks[0];
        Some(rate(&track.total, minute)? / track.baseline.scale().and_then(Scale::usual)?)
    };
    let mut busy = [0.0; ASKED];
    let mut count = 0;
    for each in others.iter().filter_map(of) {
        busy[count] = each;
        count += 1;
    }
    median(&mut busy[..count])
}

fn rate(ring: &Ring, minute: Minute) -> Option<f64> {
    ring.at(minute)?.value()
}

/// The environment's other services with traffic, and where theirs is.
fn others(fleet: &Fleet, service: usize) -> Vec<(usize, usize)> {
    let env = &fleet.services[service].env;
    let others = fleet.services.iter().enumerate().filter(|(place, each)| *place != service && each.env == *env);
    others.filter_map(|(place, each)| Some((place, traffic(each)?))).take(ASKED).collect()
}

fn place_of(fleet: &mut Fleet, service: usize, own: usize, make: bool) -> Option<usize> {
    let owner = &mut fleet.services[service];
    let found = owner.signals.iter().position(|each| each.nature == Nature::Adjusted);
    if found.is_some() || !make {
        return found;
    }
    let base = &owner.signals[own];
    let name = format!("{} adjusted for the environment", base.name);
    let unit = base.unit.clone();
    let signal = Signal::new(&base.metric, name, unit.as_deref(), Class::Traffic, Nature::Adjusted, base.born);
    owner.signals.push(signal);
    fleet.signals += 1;
    Some(owner.signals.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::aside::Aside;
    use crate::engine::event::{Origin, Reading, Sample};
    use crate::engine::fleet::Rolled;
    use crate::engine::learn;
    use crate::engine::policy::Policy;
    use crate::engine::window::start_of;

    /// Takes and learns one minute's requests of three services.
    fn take(fleet: &mut Fleet, minute: Minute, requests: [f64; 3]) {
        for (service, requests) in ["checkout", "cart", "search"].into_iter().zip(requests) {
            let origin = Origin { service: service.into(), env: "prod".into(), version: None, instance: None };
            let metric = "http.server.requests".into();
            let (at, reading) = (start_of(minute), Reading::Delta(requests));
            let sample = Sample { at, origin, metric, reading, unit: None, labels: Vec::new() };
            let policy = Policy::default();
            let (_, rolled) = fleet.take(&sample, &policy.limits).expect("within the limits");
            let Rolled { service, signal, minute } = rolled.expect("a new minute");
            learn::roll(fleet, &policy, &Aside::default(), service, signal, minute, &mut learn::Table::default());
        }
    }

    #[test]
    fn what_all_of_them_do_cancels() {
        let mut fleet = Fleet::default();
        for minute in 0..60 {
            let tide = if minute < 30 { 1.0 } else { 0.5 };
            let own = if minute < 50 { 600.0 } else { 300.0 };
            take(&mut fleet, minute, [own * tide, 90.0 * tide, 12_000.0 * tide]);
        }
        let place = work_out(&mut fleet, 0, 58).expect("others have traffic");
        let ring = &fleet.services[0].signals[place].tracks[0].total;
        let at = |minute| rate(ring, minute).expect("worked out").round();
        assert_eq!((at(20), at(40), at(55)), (600.0, 600.0, 300.0));
    }

    #[test]
    fn who_is_alone_has_nothing_to_compare_with() {
        let mut fleet = Fleet::default();
        (0..20).for_each(|minute| take(&mut fleet, minute, [600.0, 90.0, 12_000.0]));
        fleet.services.truncate(1);
        fleet.services[0].signals.truncate(1);
        assert_eq!(work_out(&mut fleet, 0, 18), None);
    }
}
