//! How far a new version has got, while more and more instances take it.
//!
//! Told by the versions that instances name in their samples. A canary that the producer listed is where it was meant
//! to get; beyond that list, and without one, a share that grew within the last minutes is a rollout that goes on.

use super::effect::Rollout;
use super::event::Deployment;
use super::fleet::Fleet;
use super::service::{Instance, Service};
use super::time::Time;
use super::window::{Minute, minute_at};

/// Whoever spoke within so many minutes is there.
const THERE: Minute = 2;
/// A rollout that brought nobody the new version for so long has come to rest.
const RESTS: Minute = 10;

/// Of a deployment's service; none where nobody knows it.
pub fn rollout_of(fleet: &Fleet, now: Time, deployment: &Deployment) -> Option<Rollout> {
    let place = fleet.find(&deployment.env, &deployment.service)?;
    rollout(&fleet.services[place], deployment, minute_at(now))
}

/// None where it rests, or where nobody can tell.
pub fn rollout(service: &Service, deployment: &Deployment, minute: Minute) -> Option<Rollout> {
    let version = deployment.version.as_deref()?;
    let there = service.instances.iter().filter(|each| each.last + THERE >= minute && !each.name.is_empty());
    let there: Vec<&Instance> = there.collect();
    let carries = |each: &&&Instance| each.version.as_deref() == Some(version);
    let carrying = there.iter().filter(carries).count();
    let latest = there.iter().filter(carries).map(|each| each.changed).max()?;
    let partly = carrying < there.len() && carrying > deployment.instances.len();
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    (partly && latest + RESTS > minute).then(|| Rollout { carrying: count(carrying), of: count(there.len()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::gate::tests::deployment;

    #[test]
    fn a_share_that_grows_and_is_not_whole() {
        let mut service = Service::new("prod", "a", 0);
        let suspect = deployment("a", "d", Time(0));
        for (minute, name, version) in [(0, "w", "d-old"), (0, "x", "d-old"), (0, "y", "d-old"), (20, "z", "d-new")] {
            service.instance(Some(name), Some(version), minute, &mut Vec::new());
        }
        let mut at = |minute, new: &[&str]| {
            for name in ["w", "x", "y", "z"] {
                let version = if new.contains(&name) { "d-new" } else { "d-old" };
                service.instance(Some(name), Some(version), minute, &mut Vec::new());
            }
            rollout(&service, &suspect, minute)
        };
        assert_eq!(at(21, &["z"]), Some(Rollout { carrying: 1, of: 4 }));
        assert_eq!(at(24, &["y", "z"]), Some(Rollout { carrying: 2, of: 4 }));
        assert_eq!(at(34, &["y", "z"]), None, "it rests");
        assert_eq!(at(35, &["w", "x", "y", "z"]), None, "it is through");
        let canary = Deployment { instances: vec!["z".into()], ..suspect.clone() };
        let mut service = Service::new("prod", "a", 0);
        service.instance(Some("w"), Some("d-old"), 20, &mut Vec::new());
        service.instance(Some("z"), Some("d-new"), 20, &mut Vec::new());
        assert_eq!(rollout(&service, &canary, 20), None, "as far as it was meant to get");
        assert!(rollout(&service, &suspect, 20).is_some());
        let silent = Deployment { version: None, ..suspect };
        assert_eq!(rollout(&service, &silent, 20), None);
    }
}
