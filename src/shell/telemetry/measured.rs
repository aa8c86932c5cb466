//! How often the daemon was right, as metrics: by environment and detector, as the engine's table has it.
//!
//! Environments are the only open label: the table has at most 21 of them, with eight detectors each, some 2,000 series
//! at the worst; services stand in the report on the audit topic alone. What is no longer in the table is taken back.

use super::families::Families;
use crate::engine::effect::{Accuracy, Grounds, Method, Outcome, Row, Share95};
use prometheus::{GaugeVec, IntCounter, IntGauge};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Where a row is not about one detector.
const ANY: &str = "any";
/// Of what no detector called.
const NONE: &str = "none";

pub struct Measured {
    cases: GaugeVec,
    precision: GaugeVec,
    recall: GaugeVec,
    detection: GaugeVec,
    calibration: GaugeVec,
    forgotten: IntCounter,
    demoted: IntGauge,
    offered: IntGauge,
    shown: Mutex<Shown>,
}

/// What the table that is shown had forgotten, and the series that stand for it.
#[derive(Default)]
struct Shown {
    forgotten: Option<u64>,
    series: BTreeSet<Series>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    Cases,
    Precision,
    Recall,
    Detection,
}

type Series = (Family, [String; 3]);

impl Measured {
    pub fn new(new: &Families) -> Measured {
        let by_detector = ["env", "detector", "outcome"];
        Measured {
            cases: new.gauges("accuracy_cases", "Deployments watched, by what became of them.", &by_detector),
            precision: new.gauges(
                "accuracy_precision",
                "Of the calls that are labelled, the share that was right, with its 95 % interval.",
                &["env", "detector", "bound"],
            ),
            recall: new.gauges(
                "accuracy_recall",
                "Of the harm that is known, the share that this detector called, with its 95 % interval.",
                &["env", "detector", "bound"],
            ),
            detection: new.gauges(
                "accuracy_detection_seconds",
                "From the deployment to the call, of those that were right.",
                &["env", "detector", "quantile"],
            ),
            calibration: new.gauges(
                "accuracy_calibration_cases",
                "Deployments by how sure we were of harm, and whether it was.",
                &["risk", "label"],
            ),
            forgotten: new.counter("accuracy_forgotten_total", "Cases forgotten before their time, for want of room."),
            demoted: new.int_gauge("automation_demoted", "Scopes whose level was lowered for what was measured."),
            offered: new.int_gauge("automation_offered", "Scopes that have earned a level and wait for a person."),
            shown: Mutex::default(),
        }
    }

    /// Shows a table.
    pub fn show(&self, table: &Accuracy) {
        // Names alone: whoever panicked while holding it left nothing half done that matters.
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let mut series = BTreeSet::new();
        for row in table.rows.iter().filter(|row| row.service.is_none()) {
            for (family, labels, value) in values(row) {
                self.family(family).with_label_values(&labels).set(value);
                series.insert((family, labels.map(str::to_owned)));
            }
        }
        for (family, labels) in shown.series.difference(&series) {
            let labels = labels.each_ref().map(String::as_str);
            // That there was no such series is as good.
            let _ = self.family(*family).remove_label_values(&labels);
        }
        self.calibrate(table);
        // What an earlier process forgot is not counted again in this one.
        let forgotten = shown.forgotten.unwrap_or(table.forgotten);
        self.forgotten.inc_by(table.forgotten.saturating_sub(forgotten));
        self.demoted.set(table.rungs.iter().filter(|rung| rung.grounds == Grounds::Demoted).count() as i64);
        self.offered.set(table.rungs.iter().filter(|rung| rung.offered.is_some()).count() as i64);
        *shown = Shown { forgotten: Some(table.forgotten), series };
    }

    fn family(&self, family: Family) -> &GaugeVec {
        match family {
            Family::Cases => &self.cases,
            Family::Precision => &self.precision,
            Family::Recall => &self.recall,
            Family::Detection => &self.detection,
        }
    }

    fn calibrate(&self, table: &Accuracy) {
        for bin in &table.calibration {
            let risk = format!("{}-{}", bin.from, bin.to);
            let harmless = bin.labelled - bin.harmful;
            for (label, count) in [("harmful", bin.harmful), ("harmless", harmless), ("unlabelled", bin.unlabelled)] {
                self.calibration.with_label_values(&[risk.as_str(), label]).set(count as f64);
            }
        }
    }
}

/// All that a row tells, as labels and values. A share of nothing is not told.
fn values(row: &Row) -> Vec<(Family, [&str; 3], f64)> {
    // The fleet's own row is the sum of the others.
    let Some(env) = row.env.as_deref() else { return Vec::new() };
    let detector = row.detector.map(Method::word);
    let mut values = Vec::new();
    for outcome in Outcome::ALL {
        let called = matches!(outcome, Outcome::Right | Outcome::FalseAlarm | Outcome::Unlabelled);
        // Each case stands once: what was called with its detector, the rest with none.
        if called == detector.is_some() {
            let labels = [env, detector.unwrap_or(NONE), outcome.word()];
            values.push((Family::Cases, labels, row.tally.count(*outcome) as f64));
        }
    }
    let detector = detector.unwrap_or(ANY);
    for (family, share) in [(Family::Precision, row.tally.precision()), (Family::Recall, row.tally.recall())] {
        let bounds = |share: Share95| [("estimate", share.estimate), ("lower", share.lower), ("upper", share.upper)];
        let bounds = share.map(bounds).into_iter().flatten();
        values.extend(bounds.map(|(bound, value)| (family, [env, detector, bound], value)));
    }
    if let Some((median, p90)) = row.tally.detection {
        let quantiles = [("0.5", median), ("0.9", p90)];
        values.extend(quantiles.map(|(q, span)| (Family::Detection, [env, detector, q], span.as_seconds())));
    }
    values
}
