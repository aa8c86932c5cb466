//! How often the daemon was right, on the audit topic: a table, how right its risks were, and where automation stands.
//!
//! Keyed by the cluster, so that a compacted copy of the topic keeps the newest of each. What nobody labelled is told
//! as that and stands in no share.

use super::cloud_event::{DecisionField, message, readable, rfc3339};
use super::{Message, Stamp};
use crate::engine::effect::{Accuracy, Bin, Outcome, Row, Rung, Share95, wilson};
use crate::engine::time::Span;
use serde::Serialize;

pub fn accuracy(told: &Accuracy, stamp: &Stamp) -> Message {
    let data = AccuracyFields {
        event: "accuracy",
        since: rfc3339(told.since),
        until: rfc3339(told.at),
        rows: told.rows.iter().map(RowFields::of).collect(),
        left_out: told.left_out,
        forgotten: told.forgotten,
        calibration: told.calibration.iter().map(BinFields::of).collect(),
        automation: told.rungs.iter().map(RungFields::of).collect(),
        decision: DecisionField::of(stamp),
    };
    let identity = format!("accuracy\0{}\0{}", stamp.cluster, told.at.0);
    message(stamp, "dev.regressd.accuracy.v1", ("regressd", &stamp.cluster), told.at, identity.as_bytes(), data)
}

#[derive(Serialize)]
struct AccuracyFields<'a> {
    event: &'static str,
    since: String,
    until: String,
    rows: Vec<RowFields<'a>>,
    /// Services that have no rows of their own.
    left_out: u64,
    forgotten: u64,
    calibration: Vec<BinFields>,
    automation: Vec<RungFields<'a>>,
    decision: DecisionField<'a>,
}

#[derive(Serialize)]
struct RowFields<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    env: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detector: Option<&'static str>,
    right: u64,
    false_alarm: u64,
    missed: u64,
    cleared: u64,
    unlabelled: u64,
    quiet: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    precision: Option<ShareFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recall: Option<ShareFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_to_detect_ms: Option<TimeFields>,
}

/// A share and its Wilson score interval at 95 %.
#[derive(Serialize)]
struct ShareFields {
    estimate: f64,
    lower: f64,
    upper: f64,
}

#[derive(Serialize)]
struct TimeFields {
    median: i64,
    p90: i64,
}

/// Watches whose risk lay from `from` to below `to` (the last bin: to `to`).
#[derive(Serialize)]
struct BinFields {
    from: f64,
    to: f64,
    labelled: u64,
    harmful: u64,
    unlabelled: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    mean_risk: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<ShareFields>,
}

#[derive(Serialize)]
struct RungFields<'a> {
    env: &'a str,
    service: &'a str,
    configured: &'static str,
    level: &'static str,
    grounds: &'static str,
    labelled: u64,
    right: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    precision: Option<ShareFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offered: Option<&'static str>,
}

impl ShareFields {
    fn of(share: Share95) -> ShareFields {
        let Share95 { estimate, lower, upper } = share;
        ShareFields { estimate: readable(estimate), lower: readable(lower), upper: readable(upper) }
    }
}

impl RowFields<'_> {
    fn of(row: &Row) -> RowFields<'_> {
        let tally = &row.tally;
        RowFields {
            env: row.env.as_deref(),
            service: row.service.as_deref(),
            detector: row.detector.map(|detector| detector.word()),
            right: tally.count(Outcome::Right),
            false_alarm: tally.count(Outcome::FalseAlarm),
            missed: tally.count(Outcome::Missed),
            cleared: tally.count(Outcome::Cleared),
            unlabelled: tally.count(Outcome::Unlabelled),
            quiet: tally.count(Outcome::Quiet),
            precision: tally.precision().map(ShareFields::of),
            recall: tally.recall().map(ShareFields::of),
            time_to_detect_ms: tally.detection.map(|(Span(median), Span(p90))| TimeFields { median, p90 }),
        }
    }
}

impl BinFields {
    fn of(bin: &Bin) -> BinFields {
        BinFields {
            from: bin.from,
            to: bin.to,
            labelled: bin.labelled,
            harmful: bin.harmful,
            unlabelled: bin.unlabelled,
            mean_risk: (bin.labelled > 0).then(|| readable(bin.risk)),
            share: wilson(bin.harmful, bin.labelled).map(ShareFields::of),
        }
    }
}

impl RungFields<'_> {
    fn of(rung: &Rung) -> RungFields<'_> {
        RungFields {
            env: &rung.env,
            service: &rung.service,
            configured: rung.configured.word(),
            level: rung.level.word(),
            grounds: rung.grounds.word(),
            labelled: rung.labelled,
            right: rung.right,
            precision: wilson(rung.right, rung.labelled).map(ShareFields::of),
            offered: rung.offered.map(|level| level.word()),
        }
    }
}
