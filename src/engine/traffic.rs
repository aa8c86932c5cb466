//! Who tells how busy an environment is: the first of its services that have traffic, in order of appearance.
//!
//! Kept beside the services and made anew from them, so that nobody walks through ten thousand of them each minute.
//! What they tell is worked out elsewhere.

use super::character::Class;
use super::service::Service;
use super::signal::Nature;
use std::collections::BTreeMap;
use std::sync::Arc;

/// So many are asked.
pub const ASKED: usize = 20;

/// By environment, places of services and of the signal that leads there: whoever asks, and those who are asked. 200
/// bytes an environment.
#[derive(Clone, Debug, Default)]
pub struct Traffic(BTreeMap<Arc<str>, Vec<(u32, u32)>>);

impl Traffic {
    /// Notes a service, if it has traffic; to be called when it has another signal.
    pub fn note(&mut self, place: usize, service: &Service) {
        let Some(signal) = leading(service) else { return };
        let known = self.0.entry(service.env.clone()).or_default();
        if let Err(at) = known.binary_search_by_key(&(place as u32), |(place, _)| *place) {
            known.insert(at, (place as u32, signal as u32));
            known.truncate(ASKED + 1);
        }
    }

    /// The environment's services with traffic but for one, and where theirs is.
    pub fn others(&self, env: &str, except: Option<usize>) -> Vec<(usize, usize)> {
        let known = self.0.get(env).into_iter().flatten();
        let places = known.map(|(place, signal)| (*place as usize, *signal as usize));
        places.filter(|(place, _)| Some(*place) != except).take(ASKED).collect()
    }
}

/// The signal that tells a service's traffic.
pub fn leading(service: &Service) -> Option<usize> {
    service.signals.iter().position(|each| each.class == Class::Traffic && each.nature == Nature::Rate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::signal::Signal;

    fn service(env: &str, classes: &[Class]) -> Service {
        let mut service = Service::new(env, "s", 0);
        let signals = classes.iter().map(|class| Signal::new("m", "m".into(), None, *class, Nature::Rate, 0));
        signals.for_each(|signal| service.signals.push(signal));
        service
    }

    #[test]
    fn the_first_that_appeared_are_asked_whenever_their_traffic_came() {
        let mut traffic = Traffic::default();
        let busy = service("prod", &[Class::Errors, Class::Traffic, Class::Traffic]);
        traffic.note(7, &service("prod", &[Class::Errors]));
        for place in (1..60).rev().filter(|place| *place != 7) {
            traffic.note(place, &busy);
            traffic.note(place, &busy);
        }
        traffic.note(3, &service("test", &[Class::Traffic]));
        let places = |except| traffic.others("prod", except).iter().map(|(place, _)| *place).collect::<Vec<_>>();
        assert_eq!(places(None), (1..22).filter(|place| *place != 7).collect::<Vec<_>>());
        assert_eq!(places(Some(5)), (1..23).filter(|place| ![5, 7].contains(place)).collect::<Vec<_>>());
        assert_eq!(traffic.others("prod", None)[0], (1, 1));
        assert_eq!(traffic.others("test", None), [(3, 0)]);
        assert!(traffic.others("lab", None).is_empty());
    }
}
