//! The engine's law: whatever comes in whichever order, a step never panics, and every number in it stays finite.
//!
//! A stream of bytes is read as lines; a line's first byte says of which topic it is and how much time has passed, the
//! rest is the message. So a fuzzer that knows nothing can learn to write one.

use crate::finite::assert_finite;
use regressd::engine::Engine;
use regressd::engine::cut::Extent;
use regressd::engine::event::{Fact, Input};
use regressd::engine::policy::Policy;
use regressd::engine::time::{Span, Time};
use regressd::wire::inbound::{Kind, decode};

/// When the accepted messages of the contract happen, about.
const START: Time = Time(1_790_000_000_000);

/// Ticks between two lines; beyond it time jumps.
const TICKS: usize = 50;

pub fn stepped(stream: &[u8]) {
    let (mut engine, policy, mut effects) = (Engine::default(), Policy::default(), Vec::new());
    let mut now = START;
    for line in stream.split(|byte| *byte == b'\n') {
        let Some((head, payload)) = line.split_first() else { continue };
        let kind = [Kind::Metrics, Kind::Logs, Kind::Deployments, Kind::Control][usize::from(head & 3)];
        now = now + Span::seconds(i64::from(head >> 2).pow(2));
        for _ in 0..TICKS {
            let Some(deadline) = engine.next_deadline().filter(|deadline| *deadline <= now) else { break };
            engine.step(&policy, &Input { now: deadline, fact: Fact::Tick }, &mut effects);
        }
        let mut facts = Vec::new();
        if decode(kind, payload, &mut facts).is_ok() {
            for fact in facts {
                engine.step(&policy, &Input { now, fact }, &mut effects);
            }
        }
    }
    engine.step(&policy, &Input { now, fact: Fact::Gap { from: START, to: now } }, &mut effects);
    engine.step(&policy, &Input { now, fact: Fact::Drain }, &mut effects);
    let told = format!("{effects:?}");
    assert!(!told.contains("NaN") && !told.contains("inf,"), "{told}");
    assert_finite(&engine);
    // What is learned of services is lent, not part of the engine as it is serialised.
    engine.shares(Extent::All).iter().for_each(assert_finite);
}
