//! What happens to the fleet after its quiet day: seven scenes, and people who answer what they are asked, or don't.
//!
//! Times are minutes after the curtain. People are the only ones who roll anything back, and only after a
//! recommendation: somebody approves it two minutes later and acts in the third, or rejects it, or sleeps until it goes
//! over to somebody else.

use super::fleet::{ENV, Fault, Fleet, Message};
use crate::engine::time::{Span, Time};
use crate::wire::inbound::Kind;
use serde_json::json;

/// The quiet day before the curtain, for baselines.
pub const HISTORY: Span = Span::DAY;
/// The play, with time for the last watch to end.
pub const PLAY: Span = Span::minutes(180);

const CHECKOUT_FAULT: Fault =
    Fault { errors: 0.12, slowness: 2.5, complaint: "payment {} failed: currency table missing in PriceFormatter" };
const SECOND_FAULT: Fault =
    Fault { errors: 0.10, slowness: 1.8, complaint: "payment {} failed: price rounding mismatch in PriceFormatter" };
const GATEWAY_FAULT: Fault =
    Fault { errors: 0.0, slowness: 2.0, complaint: "request {} took long: every token is verified now" };
const CART_FAULT: Fault = Fault { errors: 0.05, slowness: 3.5, complaint: "cart {} lock wait timed out after 3000 ms" };

/// One thing that happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    Deploy(Deploy),
    /// Everybody's traffic is multiplied from here on.
    Surge(f64),
    /// Somebody answers a recommendation.
    Answer {
        recommendation: String,
        /// `approved` or `rejected`, as the topic has it.
        decision: &'static str,
        by: &'static str,
    },
}

/// What the person on call does about a recommendation to roll a deployment back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Response {
    Approves,
    /// It is slower on purpose.
    Rejects,
    /// It goes over to somebody else, who approves.
    Sleeps,
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
    pub response: Response,
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
        let slow_on_purpose = deploy("deploy-7784", "gateway", ["11.2.0", "11.3.0"], Vec::new(), GATEWAY_FAULT);
        let pending = vec![
            scene(
                5,
                "a canary that breaks payments on one instance of three",
                deploy("deploy-7781", "checkout", ["1.42.0", "1.43.0"], canary, CHECKOUT_FAULT),
            ),
            scene(
                36,
                "the hurried fix, everywhere, broken in another way, within the cooldown of the first",
                deploy("deploy-7782", "checkout", ["1.42.0", "1.43.1"], Vec::new(), SECOND_FAULT)
                    .answered(Response::Sleeps),
            ),
            scene(
                38,
                "a good deployment",
                deploy("deploy-7783", "catalog", ["7.3.4", "7.4.0"], Vec::new(), Fault::default()),
            ),
            scene(
                70,
                "every token is verified from now on: slower, and that on purpose",
                slow_on_purpose.answered(Response::Rejects),
            ),
            scene(90, "a television spot: everybody's traffic rises by three quarters", Act::Surge(1.75)),
            scene(
                94,
                "a harmless deployment on top of that peak",
                deploy("deploy-7785", "search", ["3.8.2", "3.9.0"], Vec::new(), Fault::default()),
            ),
            scene(128, "the spot is over", Act::Surge(1.0)),
            scene(
                136,
                "a deployment that slows the cart down; for this service regressd may only advise",
                deploy("deploy-7786", "cart", ["2.9.1", "2.10.0"], Vec::new(), CART_FAULT),
            ),
        ];
        Script { pending, rollbacks: 0 }
    }

    /// What is due by `at`, in order.
    pub fn due(&mut self, at: Time) -> Vec<Scene> {
        let later = self.pending.iter().position(|scene| scene.at > at).unwrap_or(self.pending.len());
        self.pending.drain(..later).collect()
    }

    /// The person on call is asked to roll `bad` back, at `now`.
    pub fn advised(&mut self, now: Time, recommendation: &str, bad: &Deploy) {
        match bad.response {
            Response::Approves => self.approve(now, recommendation, bad, ("ana", "ana, who is on call, approves")),
            Response::Rejects => {
                let no = answer(recommendation, "rejected", "ana");
                self.insert(at(now, 2, "ana rejects: it is meant to be slower", no));
            }
            Response::Sleeps => {}
        }
    }

    /// Nobody answered, and it went over to somebody who does.
    pub fn escalated(&mut self, now: Time, recommendation: &str, bad: &Deploy) {
        self.approve(now, recommendation, bad, ("ben", "ben, who leads payments, is called and approves"));
    }

    fn approve(&mut self, now: Time, recommendation: &str, bad: &Deploy, (by, title): (&'static str, &'static str)) {
        self.rollbacks += 1;
        let back = Act::Deploy(Deploy {
            id: format!("rollback-{}", self.rollbacks),
            service: bad.service.clone(),
            kind: "rollback",
            from: bad.to.clone(),
            to: bad.from.clone(),
            instances: bad.instances.clone(),
            fault: Fault::default(),
            response: Response::Approves,
        });
        self.insert(at(now, 2, title, answer(recommendation, "approved", by)));
        self.insert(at(now, 3, "and somebody rolls back", back));
    }

    fn insert(&mut self, scene: Scene) {
        let place = self.pending.partition_point(|other| other.at <= scene.at);
        self.pending.insert(place, scene);
    }
}

/// So many minutes after `now`. Scenes stand between two steps of the fleet, which are whole minutes.
fn at(now: Time, minutes: i64, title: &'static str, act: Act) -> Scene {
    Scene { at: now.floor(Span::MINUTE) + Span::minutes(minutes), title, act }
}

fn answer(recommendation: &str, decision: &'static str, by: &'static str) -> Act {
    Act::Answer { recommendation: recommendation.to_owned(), decision, by }
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
        response: Response::Approves,
    })
}

impl Act {
    /// How people will answer what is recommended about it.
    fn answered(mut self, response: Response) -> Act {
        if let Act::Deploy(deploy) = &mut self {
            deploy.response = response;
        }
        self
    }

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
            Act::Answer { recommendation, decision, by } => {
                let payload = json!({"ts": at.0, "type": "approval", "recommendation": recommendation,
                                     "decision": decision, "by": by});
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
        assert_eq!(all.len(), 8);
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
        script.advised(START, "r1", &Deploy { response: Response::Sleeps, ..bad.clone() });
        assert_eq!(script.due(START + Span::HOUR), [], "who sleeps does nothing");
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
