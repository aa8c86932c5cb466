//! What happens to the fleet after its quiet day: six scenes, and a person on call who does as advised.
//!
//! Times are minutes after the curtain. The person is the only one who rolls anything back, and only after a
//! recommendation: approves it two minutes later, acts in the third.

use super::fleet::{ENV, Fault, Fleet, Message};
use crate::engine::time::{Span, Time};
use crate::wire::inbound::Kind;
use serde_json::json;

/// The quiet day before the curtain, for baselines.
pub const HISTORY: Span = Span::DAY;
/// The play, with time for the last watch to end.
pub const PLAY: Span = Span::minutes(160);

const CHECKOUT_FAULT: Fault =
    Fault { errors: 0.12, slowness: 2.5, complaint: "payment {} failed: currency table missing in PriceFormatter" };
const SECOND_FAULT: Fault =
    Fault { errors: 0.10, slowness: 1.8, complaint: "payment {} failed: price rounding mismatch in PriceFormatter" };
const CART_FAULT: Fault = Fault { errors: 0.05, slowness: 3.5, complaint: "cart {} lock wait timed out after 3000 ms" };

/// One thing that happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    Deploy(Deploy),
    /// Everybody's traffic is multiplied from here on.
    Surge(f64),
    /// The person on call approves.
    Approve {
        recommendation: String,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Deploy {
    pub id: String,
    pub service: String,
    /// `deploy` or `rollback`, as the topic has it.
    pub kind: &'static str,
    pub from: String,
    pub to: String,
    /// The canary's instances; empty means all.
    pub instances: Vec<String>,
    pub fault: Fault,
}

/// A scene as the audience is told of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    pub at: Time,
    pub title: &'static str,
    pub act: Act,
}

pub struct Script {
    /// In order of time.
    pending: Vec<Scene>,
    rollbacks: u32,
}

impl Script {
    pub fn new(curtain: Time) -> Script {
        let scene = |minute, title, act| Scene { at: curtain + Span::minutes(minute), title, act };
        let canary = vec!["checkout-1".to_owned()];
        let pending = vec![
            scene(
                5,
                "a canary that breaks payments on one instance of three",
                deploy("deploy-7781", "checkout", ["1.42.0", "1.43.0"], canary, CHECKOUT_FAULT),
            ),
            scene(
                24,
                "the hurried fix, everywhere, broken in another way, within the cooldown of the first",
                deploy("deploy-7782", "checkout", ["1.42.0", "1.43.1"], Vec::new(), SECOND_FAULT),
            ),
            scene(
                30,
                "a good deployment",
                deploy("deploy-7783", "catalog", ["7.3.4", "7.4.0"], Vec::new(), Fault::default()),
            ),
            scene(74, "a television spot: everybody's traffic rises by three quarters", Act::Surge(1.75)),
            scene(
                78,
                "a harmless deployment on top of that peak",
                deploy("deploy-7784", "search", ["3.8.2", "3.9.0"], Vec::new(), Fault::default()),
            ),
            scene(112, "the spot is over", Act::Surge(1.0)),
            scene(
                120,
                "a deployment that slows the cart down; for this service regressd may only advise",
                deploy("deploy-7785", "cart", ["2.9.1", "2.10.0"], Vec::new(), CART_FAULT),
            ),
        ];
        Script { pending, rollbacks: 0 }
    }

    /// What is due by `at`, in order.
    pub fn due(&mut self, at: Time) -> Vec<Scene> {
        let later = self.pending.iter().position(|scene| scene.at > at).unwrap_or(self.pending.len());
        self.pending.drain(..later).collect()
    }

    /// The person on call has read a recommendation to roll `bad` back, at `now`.
    pub fn advised(&mut self, now: Time, recommendation: &str, bad: &Deploy) {
        self.rollbacks += 1;
        // Scenes stand between two steps of the fleet, which are whole minutes.
        let now = now.floor(Span::MINUTE);
        let approve = Act::Approve { recommendation: recommendation.to_owned() };
        let back = Act::Deploy(Deploy {
            id: format!("rollback-{}", self.rollbacks),
            service: bad.service.clone(),
            kind: "rollback",
            from: bad.to.clone(),
            to: bad.from.clone(),
            instances: bad.instances.clone(),
            fault: Fault::default(),
        });
        self.insert(Scene { at: now + Span::minutes(2), title: "the person on call approves", act: approve });
        self.insert(Scene { at: now + Span::minutes(3), title: "the person on call rolls back", act: back });
    }

    fn insert(&mut self, scene: Scene) {
        let place = self.pending.partition_point(|other| other.at <= scene.at);
        self.pending.insert(place, scene);
    }
}

fn deploy(id: &str, service: &str, [from, to]: [&str; 2], instances: Vec<String>, fault: Fault) -> Act {
    let own = str::to_owned;
    Act::Deploy(Deploy {
        id: own(id),
        service: own(service),
        kind: "deploy",
        from: own(from),
        to: own(to),
        instances,
        fault,
    })
}

impl Act {
    /// Lets it happen to the fleet, and returns what somebody writes to Kafka about it.
    pub fn perform(&self, at: Time, fleet: &mut Fleet) -> Option<Message> {
        match self {
            Act::Surge(factor) => {
                fleet.surge(*factor);
                None
            }
            Act::Deploy(deploy) => {
                fleet.install(&deploy.service, &deploy.instances, &deploy.to, deploy.fault);
                Some(deploy.message(at))
            }
            Act::Approve { recommendation } => {
                let payload = json!({"ts": at.0, "type": "approval", "recommendation": recommendation,
                                     "decision": "approved", "by": "ana"});
                Some(Message { kind: Kind::Control, key: String::new(), at, payload: payload.to_string() })
            }
        }
    }
}

impl Deploy {
    fn message(&self, at: Time) -> Message {
        let mut payload = json!({"ts": at.0, "id": self.id, "service": self.service, "env": ENV, "version": self.to,
                                 "previous_version": self.from, "kind": self.kind, "author": "ci", "reversible": true});
        if !self.instances.is_empty() {
            payload["instances"] = json!(self.instances);
        }
        let key = format!("{ENV}/{}", self.service);
        Message { kind: Kind::Deployments, key, at, payload: payload.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time(1_790_000_000_000);

    #[test]
    fn scenes_come_in_order_and_once() {
        let mut script = Script::new(START);
        assert_eq!(script.due(START), []);
        let all = script.due(START + PLAY);
        assert!(all.is_sorted_by_key(|scene| scene.at));
        assert_eq!(all.len(), 7);
        assert_eq!(script.due(START + PLAY), []);
    }

    #[test]
    fn advice_is_approved_then_followed() {
        let mut script = Script::new(START);
        script.due(START + PLAY);
        let Act::Deploy(bad) = deploy("d", "checkout", ["1.42.0", "1.43.0"], vec!["checkout-1".into()], CHECKOUT_FAULT)
        else {
            unreachable!("it is a deployment")
        };
        let mut fleet = Fleet::new(1, START);
        fleet.install("checkout", &bad.instances, "1.43.0", CHECKOUT_FAULT);
        script.advised(START, "r1", &bad);
        let due = script.due(START + Span::minutes(3));
        let topics: Vec<Kind> =
            due.iter().filter_map(|scene| scene.act.perform(scene.at, &mut fleet)).map(|m| m.kind).collect();
        assert_eq!(topics, [Kind::Control, Kind::Deployments]);
        let metrics = fleet.step(START + Span::minutes(4));
        assert!(metrics.iter().all(|message| !message.payload.contains("1.43.0")), "the bad version is gone");
    }

    #[test]
    fn every_message_is_one_the_daemon_can_read() {
        let mut fleet = Fleet::new(1, START);
        for scene in Script::new(START).due(START + PLAY) {
            let Some(message) = scene.act.perform(scene.at, &mut fleet) else { continue };
            let mut facts = Vec::new();
            crate::wire::inbound::decode(message.kind, message.payload.as_bytes(), &mut facts).expect("readable");
        }
    }
}
