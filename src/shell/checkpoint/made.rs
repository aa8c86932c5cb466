//! A small state for the tests of the stores.

use super::Remembered;
use crate::engine::Engine;
use crate::engine::event::{Fact, Input, Origin, Reading, Sample};
use crate::engine::policy::Policy;
use crate::engine::time::Time;
use crate::shell::outbox::Sealed;

/// Some minutes of a gauge in each of so many services.
pub fn engine(services: usize) -> Engine {
    let mut engine = Engine::default();
    for minute in 0..5 {
        (0..services).for_each(|n| sample(&mut engine, n, minute));
    }
    engine
}

/// One sample of that service's gauge.
pub fn sample(engine: &mut Engine, service: usize, minute: i64) {
    let at = Time(1_790_000_000_000 + minute * 60_000);
    let name = format!("service-{service}");
    let origin =
        Origin { service: name.as_str().into(), env: "prod".into(), version: None, instance: Some("a".into()) };
    let reading = Reading::Gauge(minute as f64);
    let fact = Fact::Sample(Sample { at, origin, metric: "m".into(), unit: None, labels: Vec::new(), reading });
    engine.step(&Policy::default(), &Input { now: at, fact }, &mut Vec::new());
}

pub fn remembered() -> Remembered {
    Remembered {
        group: "us".into(),
        positions: [(("metrics".into(), 3), 17), (("logs".into(), 0), 4)].into(),
        now: Time(1_790),
        policy: "abc".into(),
        outbox: vec![Sealed {
            topic: "letters".into(),
            key: None,
            payload: b"{}".to_vec(),
            headers: vec![("regressd-reason".into(), "empty".into())],
        }],
        sequence: 5,
    }
}

/// Everything that an engine believes, as bytes.
pub fn state(engine: &mut Engine) -> Vec<u8> {
    let shares = engine.shares(crate::engine::cut::Extent::All);
    postcard::to_stdvec(&(&*engine, shares)).expect("plain state serialises")
}
