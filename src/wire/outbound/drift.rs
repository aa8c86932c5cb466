//! Drift, on the audit topic: what got worse over days while nothing was deployed.
//!
//! It is no recommendation, as there is no deployment to go back on, so nothing that acts on recommendations sees it.

use super::cloud_event::{DecisionField, message, rfc3339, rounded};
use super::{Message, Stamp};
use crate::engine::effect::{Drift, Drifted};
use serde::Serialize;

pub fn drift(drift: &Drift, stamp: &Stamp) -> Message {
    let data = DriftFields {
        event: "drift",
        env: &drift.env,
        service: &drift.service,
        signals: drift.signals.iter().map(SignalFields::of).collect(),
        decision: DecisionField::of(stamp),
    };
    let identity = format!("drift\0{}\0{}\0{}", drift.env, drift.service, drift.at.0);
    message(stamp, "dev.regressd.drift.v1", (&drift.env, &drift.service), drift.at, identity.as_bytes(), data)
}

#[derive(Serialize)]
struct DriftFields<'a> {
    event: &'static str,
    env: &'a str,
    service: &'a str,
    signals: Vec<SignalFields<'a>>,
    decision: DecisionField<'a>,
}

#[derive(Serialize)]
struct SignalFields<'a> {
    signal: &'a str,
    direction: &'static str,
    #[serde(serialize_with = "rounded")]
    baseline: f64,
    #[serde(serialize_with = "rounded")]
    current: f64,
    /// Relative to the baseline.
    #[serde(serialize_with = "rounded")]
    change: f64,
    since: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'a str>,
}

impl SignalFields<'_> {
    fn of(drifted: &Drifted) -> SignalFields<'_> {
        SignalFields {
            signal: &drifted.signal,
            direction: drifted.direction.word(),
            baseline: drifted.baseline,
            current: drifted.current,
            change: drifted.change,
            since: rfc3339(drifted.since),
            unit: drifted.unit.as_deref(),
        }
    }
}
