//! The metrics topic: samples.
//!
//! Checks what makes a reading usable: its kind, its sign, the shape of its histogram. JSON itself can't carry a number
//! that is not finite, and the reader refuses those that would overflow.

use super::document::Element;
use super::fields::{LabelFields, missing, moment, optional, origin, required, unknown};
use super::{RejectReason, Rejected};
use crate::engine::event::{Buckets, Fact, Reading, Sample};
use crate::wire::text::Text;
use serde::Deserialize;

/// Bounds of one histogram: OpenTelemetry's default has 15, its largest exponential one 160. Costs 16 bytes each.
const BOUNDS_MAX: usize = 200;
/// Observations in one histogram, in all; above it a total is no longer exact in a float.
const OBSERVATIONS_MAX: u64 = 1 << 53;

#[derive(Deserialize)]
pub(super) struct SampleFields<'a> {
    ts: Option<i64>,
    #[serde(borrow)]
    service: Option<Text<'a>>,
    env: Option<Text<'a>>,
    version: Option<Text<'a>>,
    instance: Option<Text<'a>>,
    metric: Option<Text<'a>>,
    kind: Option<Text<'a>>,
    value: Option<f64>,
    bounds: Option<Vec<f64>>,
    counts: Option<Vec<u64>>,
    sum: Option<f64>,
    unit: Option<Text<'a>>,
    labels: Option<LabelFields<'a>>,
}

impl<'a> Element<'a> for SampleFields<'a> {
    fn fact(self) -> Result<Fact<'a>, Rejected> {
        let at = moment("ts", self.ts)?;
        let origin = origin(self.service, self.env, self.version, self.instance)?;
        let metric = required("metric", self.metric)?;
        let reading = match optional("kind", self.kind)?.as_deref().unwrap_or("gauge") {
            "gauge" => Reading::Gauge(number(self.value)?),
            "counter" => Reading::Counter(total(self.value)?),
            "delta" => Reading::Delta(total(self.value)?),
            "histogram" => Reading::Histogram(buckets(self.bounds, self.counts, self.sum)?),
            other => return Err(unknown("kind", other, "gauge, counter, delta, histogram")),
        };
        let unit = optional("unit", self.unit)?;
        let labels = self.labels.unwrap_or_default().checked()?;
        Ok(Fact::Sample(Sample { at, origin, metric, reading, unit, labels }))
    }
}

/// Adding zero turns -0 into 0, so that equal readings have equal bits.
fn number(value: Option<f64>) -> Result<f64, Rejected> {
    value.map(|value| value + 0.0).ok_or_else(|| missing("value"))
}

fn total(value: Option<f64>) -> Result<f64, Rejected> {
    let value = number(value)?;
    if value < 0.0 {
        return Err(Rejected::new(RejectReason::Negative, "value: a count can't be below zero"));
    }
    Ok(value)
}

fn buckets(bounds: Option<Vec<f64>>, counts: Option<Vec<u64>>, sum: Option<f64>) -> Result<Buckets, Rejected> {
    let bounds = bounds.ok_or_else(|| missing("bounds"))?;
    let counts = counts.ok_or_else(|| missing("counts"))?;
    if bounds.len() > BOUNDS_MAX {
        let detail = format!("bounds: {} of them, at most {BOUNDS_MAX}", bounds.len());
        return Err(Rejected::new(RejectReason::TooMany, detail));
    }
    let bad = |detail: String| Err(Rejected::new(RejectReason::BadHistogram, detail));
    if counts.len() != bounds.len() + 1 {
        return bad(format!("counts: {} for {} bounds, expected one more than bounds", counts.len(), bounds.len()));
    }
    if let Some(position) = bounds.windows(2).position(|pair| pair[0] >= pair[1]) {
        return bad(format!("bounds[{}] is not above the bound before it", position + 1));
    }
    let observations = counts.iter().try_fold(0u64, |all, count| all.checked_add(*count));
    if observations.is_none_or(|all| all > OBSERVATIONS_MAX) {
        return bad(format!("counts: above {OBSERVATIONS_MAX} in all"));
    }
    Ok(Buckets { bounds, counts, sum })
}
