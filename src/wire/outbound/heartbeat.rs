//! The heartbeat, on the audit topic: alive, watching so many, inputs heard or silent.
//!
//! Keyed by the cluster, so that a compacted copy of the topic keeps the newest of each.

use super::cloud_event::{DecisionField, message, rfc3339};
use super::{Message, Stamp};
use crate::engine::effect::{Heartbeat, Spoken};
use serde::Serialize;

pub fn heartbeat(beat: &Heartbeat, stamp: &Stamp) -> Message {
    let [metrics, logs, deployments, control] = beat.inputs.map(|input| input.map(InputFields::of));
    let data = HeartbeatFields {
        event: "heartbeat",
        watches: beat.watches,
        threads: beat.threads,
        services: beat.services,
        behind_ms: beat.behind.map(|behind| behind.0),
        inputs: Inputs { metrics, logs, deployments, control },
        silent: beat.silent,
        silent_services: beat.silent_services.iter().map(|(env, service)| format!("{env}/{service}")).collect(),
        decision: DecisionField::of(stamp),
    };
    let identity = format!("heartbeat\0{}\0{}", stamp.cluster, beat.at.0);
    message(stamp, "dev.regressd.heartbeat.v1", ("regressd", &stamp.cluster), beat.at, identity.as_bytes(), data)
}

#[derive(Serialize)]
struct HeartbeatFields<'a> {
    event: &'static str,
    watches: u64,
    threads: u64,
    services: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    behind_ms: Option<i64>,
    inputs: Inputs,
    silent: u64,
    silent_services: Vec<String>,
    decision: DecisionField<'a>,
}

/// Absent where nothing ever came.
#[derive(Serialize)]
struct Inputs {
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics: Option<InputFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logs: Option<InputFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deployments: Option<InputFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    control: Option<InputFields>,
}

#[derive(Serialize)]
struct InputFields {
    last: String,
    silent: bool,
}

impl InputFields {
    fn of(spoken: Spoken) -> InputFields {
        InputFields { last: rfc3339(spoken.last), silent: spoken.silent }
    }
}
