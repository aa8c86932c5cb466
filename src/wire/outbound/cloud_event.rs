//! The envelope: CloudEvents 1.0 in structured mode, and how numbers and moments are written inside it.
//!
//! Ids are derived, never drawn. Numbers are rounded to what a person reads; they are always finite, as JSON has no
//! other.

use super::{Message, Stamp};
use crate::engine::time::Time;
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use xxhash_rust::xxh3::xxh3_128;

const CONTENT_TYPE: &str = "application/cloudevents+json; charset=UTF-8";

/// Which configuration and which engine decided.
#[derive(Serialize)]
pub(super) struct DecisionField<'a> {
    config: &'a str,
    engine: &'a str,
}

impl<'a> DecisionField<'a> {
    pub(super) fn of(stamp: &'a Stamp) -> DecisionField<'a> {
        DecisionField { config: &stamp.config_hash, engine: &stamp.engine_version }
    }
}

#[derive(Serialize)]
struct CloudEvent<'a, D> {
    specversion: &'static str,
    id: String,
    source: String,
    #[serde(rename = "type")]
    kind: &'static str,
    subject: &'a str,
    time: String,
    datacontenttype: &'static str,
    data: D,
}

/// `identity` is what makes this event this event; two events of one kind with the same identity have the same id.
pub(super) fn message<D: Serialize>(
    stamp: &Stamp,
    kind: &'static str,
    (env, service): (&str, &str),
    at: Time,
    identity: &[u8],
    data: D,
) -> Message {
    let subject = format!("{env}/{service}");
    let event = CloudEvent {
        specversion: "1.0",
        id: format!("{:032x}", xxh3_128(identity)),
        source: format!("/regressd/{}", stamp.cluster),
        kind,
        subject: &subject,
        time: rfc3339(at),
        datacontenttype: "application/json",
        data,
    };
    Message {
        payload: json(&event),
        key: Some(subject.into_bytes()),
        headers: vec![("content-type", String::from(CONTENT_TYPE))],
    }
}

pub(super) fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("our own types have text for keys and write to memory")
}

/// UTC; a moment outside the calendar is written as its first or last one.
pub(super) fn rfc3339(at: Time) -> String {
    let end = if at.0 < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(at.0).unwrap_or(end).to_string()
}

/// Six significant digits. What is not a number is written as 0, what is infinite as the largest we write.
pub(super) fn readable(number: f64) -> f64 {
    const LARGEST: f64 = 1e300;
    if number.is_nan() {
        return 0.0;
    }
    let number = number.clamp(-LARGEST, LARGEST);
    // Adding zero turns -0 into 0.
    format!("{number:.5e}").parse().unwrap_or(number) + 0.0
}

/// For `#[serde(serialize_with)]`.
pub(super) fn rounded<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(readable(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable_and_finite() {
        for (number, expected) in [
            (0.1 + 0.2, 0.3),
            (1234567.0, 1234570.0),
            (-0.0, 0.0),
            (f64::NAN, 0.0),
            (f64::INFINITY, 1e300),
            (f64::MIN_POSITIVE / 4.0, 5.56268e-309),
        ] {
            assert_eq!(readable(number), expected, "{number}");
        }
    }

    #[test]
    fn moments_are_utc() {
        assert_eq!(rfc3339(Time(1_790_000_000_000)), "2026-09-21T14:13:20Z");
        assert_eq!(rfc3339(Time(1_790_000_000_250)), "2026-09-21T14:13:20.25Z");
        assert!(rfc3339(Time(i64::MAX)).starts_with("9999-12-30"));
    }
}
