//! Traffic adjusted for the environment: what a service's requests would be, were the environment's as usual.
//!
//! Users come and go everywhere at once, and a young baseline can't know when. So a service's first rate of requests is
//! divided, minute by minute, by how busy the others are: the median over them of their rate against their usual one.
//! The quotient is a signal like any other, with a baseline and a yardstick of its own: where services have little to
//! do with each other it wanders far and tells nothing. It has no series; whoever learns or looks works it out first.

pub mod by_traffic;

use super::baseline::scale::Scale;
use super::character::Class;
use super::elsewhere::Elsewhere;
use super::fleet::Fleet;
use super::report::Question;
use super::service::Service;
use super::signal::{KEPT, Nature, Signal};
use super::stats::median;
use super::traffic::{ASKED, leading};
use super::window::{Bin, Minute, Ring};

/// Works out the adjusted minutes up to and including `upto` that are not learned yet. The signal's place, made as soon
/// as there is anybody to compare with; none while those that are not in the fleet still have to be asked.
pub fn work_out(fleet: &mut Fleet, service: usize, upto: Minute, elsewhere: &Elsewhere) -> Option<usize> {
    let own = leading(&fleet.services[service])?;
    let (from, there) = ask(&fleet.services[service], upto, elsewhere)?;
    let others = fleet.traffic.others(&fleet.services[service].env, Some(service));
    let place = place_of(fleet, service, own, !others.is_empty() || !there.is_empty())?;
    fleet.services[service].settle(own, upto);
    others.iter().for_each(|&(other, signal)| fleet.services[other].settle(signal, upto));
    for minute in from..=upto {
        let Some(requests) = fleet.services[service].signals[own].tracks[0].total.at(minute) else { continue };
        let here = others.iter().map(|each| share(fleet, each, minute));
        let there = there.iter().map(|shares| shares.get((minute - from) as usize).copied().flatten());
        let Some(busy) = busy(here.chain(there)).filter(|busy| *busy > 0.0) else { continue };
        let track = &mut fleet.services[service].signals[place].tracks[0];
        track.total.set(Bin { num: (f64::from(requests.num) / busy) as f32, ..requests }, KEPT);
    }
    Some(place)
}

/// Whether those that are not in the fleet have to be asked before anything is worked out.
pub fn is_wanting(service: &Service, upto: Minute, elsewhere: &Elsewhere) -> bool {
    leading(service).is_some() && ask(service, upto, elsewhere).is_none()
}

/// The first minute to be worked out, and what those say that are not in the fleet; none while they were not asked.
fn ask<'a>(service: &Service, upto: Minute, elsewhere: &'a Elsewhere) -> Option<(Minute, &'a [Vec<Option<f64>>])> {
    let learned = adjusted(service).map_or(0, |place| service.signals[place].tracks[0].baseline.learned);
    let from = learned.max(upto.saturating_sub(KEPT as Minute - 1));
    let there = elsewhere.busy(Question::Busy { env: service.env.clone(), from, upto });
    (!elsewhere.is_wanting()).then_some((from, there))
}

/// For somebody who is not in the fleet: for each of the environment's services with traffic, its share of its usual
/// traffic in each minute.
pub fn shares(fleet: &mut Fleet, env: &str, from: Minute, upto: Minute) -> Vec<Vec<Option<f64>>> {
    let others = fleet.traffic.others(env, None);
    others.iter().for_each(|&(other, signal)| fleet.services[other].settle(signal, upto));
    others.iter().map(|each| (from..=upto).map(|minute| share(fleet, each, minute)).collect()).collect()
}

/// The signal that holds the adjusted minutes, once there was anything to work out.
fn adjusted(service: &Service) -> Option<usize> {
    service.signals.iter().position(|each| each.nature == Nature::Adjusted)
}

/// How busy the others are in a minute; 1 is usual, none if nobody can tell.
fn busy(shares: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let mut busy = [0.0; ASKED];
    let mut count = 0;
    for each in shares.take(ASKED).flatten() {
        busy[count] = each;
        count += 1;
    }
    median(&mut busy[..count])
}

/// A service's traffic in a minute, of its usual one.
fn share(fleet: &Fleet, &(service, signal): &(usize, usize), minute: Minute) -> Option<f64> {
    let track = &fleet.services[service].signals[signal].tracks[0];
    Some(rate(&track.total, minute)? / track.baseline.scale().and_then(Scale::usual)?)
}

fn rate(ring: &Ring, minute: Minute) -> Option<f64> {
    ring.at(minute)?.value()
}

fn place_of(fleet: &mut Fleet, service: usize, own: usize, make: bool) -> Option<usize> {
    let owner = &mut fleet.services[service];
    let found = adjusted(owner);
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
    use crate::engine::learn;
    use crate::engine::policy::Policy;
    use crate::engine::shared::Shared;
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
            let (aside, elsewhere) = (Aside::default(), Elsewhere::default());
            let terms = learn::Terms { policy: &policy, aside: &aside, elsewhere: &elsewhere };
            learn::roll(fleet, &terms, rolled.expect("a new minute"), &mut learn::Table::default());
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
        let place = work_out(&mut fleet, 0, 58, &Elsewhere::default()).expect("others have traffic");
        let ring = &fleet.services[0].signals[place].tracks[0].total;
        let at = |minute| rate(ring, minute).expect("worked out").round();
        assert_eq!((at(20), at(40), at(55)), (600.0, 600.0, 300.0));
    }

    #[test]
    fn who_is_alone_has_nothing_to_compare_with() {
        let mut fleet = Fleet::default();
        (0..20).for_each(|minute| take(&mut fleet, minute, [600.0, 90.0, 12_000.0]));
        let mut alone = fleet.services[0].clone();
        alone.signals = Shared::restored([alone.signals[0].clone()]);
        let mut fleet = Fleet::restored(vec![alone]);
        assert_eq!(work_out(&mut fleet, 0, 18, &Elsewhere::default()), None);
    }
}
