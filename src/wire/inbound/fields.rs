//! The rules that fields of several messages share: required, not empty, not too long, a moment we can believe.
//!
//! Each check takes the field's name for the detail of the refusal. The limits keep one message from filling memory or
//! the screen of the person who reads the recommendation.

use super::{RejectReason, Rejected};
use crate::engine::event::{Labels, Origin};
use crate::engine::time::Time;
use crate::wire::text::{Text, clipped};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// Names, versions, label values, ids. Kubernetes' longest name has 253 bytes.
pub(super) const NAME_BYTES_MAX: usize = 1024;
/// Reasons, comments, addresses: kept with a window or a deployment, so 1,000 of them cost 4 MB at most.
pub(super) const PROSE_BYTES_MAX: usize = 4096;
/// Labels of one sample or log line; the engine hashes each one for every sample.
pub(super) const LABELS_MAX: usize = 64;

const YEAR_2000: i64 = 946_684_800_000;
const YEAR_2100: i64 = 4_102_444_800_000;

pub(super) fn missing(field: &str) -> Rejected {
    Rejected::new(RejectReason::MissingField, format!("{field} is required"))
}

pub(super) fn unknown(field: &str, word: &str, known: &str) -> Rejected {
    let word = clipped(word, 40).escape_debug();
    Rejected::new(RejectReason::UnknownWord, format!("{field}: \"{word}\" is none of {known}"))
}

/// # Errors
/// `missing_field`, `empty_field`, `too_long`.
pub(super) fn required<'a>(field: &str, text: Option<Text<'a>>) -> Result<Cow<'a, str>, Rejected> {
    let Some(Text(text)) = text else { return Err(missing(field)) };
    if text.is_empty() {
        return Err(Rejected::new(RejectReason::EmptyField, format!("{field} is empty")));
    }
    within(field, text, NAME_BYTES_MAX)
}

/// An empty text is an absent one: it is what a template leaves where a variable was not set.
///
/// # Errors
/// `too_long`.
pub(super) fn optional<'a>(field: &str, text: Option<Text<'a>>) -> Result<Option<Cow<'a, str>>, Rejected> {
    match text {
        Some(Text(text)) if !text.is_empty() => within(field, text, NAME_BYTES_MAX).map(Some),
        _ => Ok(None),
    }
}

/// Like `optional`, for sentences and addresses.
///
/// # Errors
/// `too_long`.
pub(super) fn prose(field: &str, text: Option<Text>) -> Result<Option<Arc<str>>, Rejected> {
    match text {
        Some(Text(text)) if !text.is_empty() => Ok(Some(within(field, text, PROSE_BYTES_MAX)?.into())),
        _ => Ok(None),
    }
}

/// # Errors
/// `missing_field`, `bad_timestamp`.
pub(super) fn moment(field: &str, ts: Option<i64>) -> Result<Time, Rejected> {
    let Some(ts) = ts else { return Err(missing(field)) };
    if (YEAR_2000..YEAR_2100).contains(&ts) {
        return Ok(Time(ts));
    }
    let believable = |ts: Option<i64>| ts.is_some_and(|ts| (YEAR_2000..YEAR_2100).contains(&ts));
    let hint = if believable(ts.checked_mul(1_000)) {
        "; it looks like seconds"
    } else if believable(Some(ts / 1_000)) {
        "; it looks like microseconds"
    } else if believable(Some(ts / 1_000_000)) {
        "; it looks like nanoseconds"
    } else {
        ""
    };
    let detail = format!("{field}: {ts} is not a moment between 2000 and 2100 in milliseconds{hint}");
    Err(Rejected::new(RejectReason::BadTimestamp, detail))
}

/// # Errors
/// Those of `required` for the service and of `optional` for the rest.
pub(super) fn origin<'a>(
    service: Option<Text<'a>>,
    env: Option<Text<'a>>,
    version: Option<Text<'a>>,
    instance: Option<Text<'a>>,
) -> Result<Origin<'a>, Rejected> {
    Ok(Origin {
        service: required("service", service)?,
        env: environment(env)?,
        version: optional("version", version)?,
        instance: optional("instance", instance)?,
    })
}

/// # Errors
/// `too_long`.
pub(super) fn environment(env: Option<Text>) -> Result<Cow<str>, Rejected> {
    Ok(optional("env", env)?.unwrap_or(Cow::Borrowed("default")))
}

/// Labels in the producer's order, perhaps with a name twice.
#[derive(Default)]
pub(super) struct LabelFields<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> LabelFields<'a> {
    /// Sorted by name.
    ///
    /// # Errors
    /// `too_many`, `too_long`, `empty_field` for a label without a name, `duplicate_field`.
    pub(super) fn checked(self) -> Result<Labels<'a>, Rejected> {
        let LabelFields(mut labels) = self;
        if labels.len() > LABELS_MAX {
            let detail = format!("labels: {} of them, at most {LABELS_MAX}", labels.len());
            return Err(Rejected::new(RejectReason::TooMany, detail));
        }
        labels.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        for (position, (name, value)) in labels.iter().enumerate() {
            if name.is_empty() {
                return Err(Rejected::new(RejectReason::EmptyField, "labels: a name is empty"));
            }
            if name.len().max(value.len()) > NAME_BYTES_MAX {
                let detail = format!("labels.{}: above {NAME_BYTES_MAX} bytes", clipped(name, 100));
                return Err(Rejected::new(RejectReason::TooLong, detail));
            }
            if position > 0 && labels[position - 1].0 == *name {
                let detail = format!("labels.{} stands there twice", clipped(name, 100));
                return Err(Rejected::new(RejectReason::DuplicateField, detail));
            }
        }
        Ok(labels)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for LabelFields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<LabelFields<'a>, D::Error> {
        struct LabelVisitor;

        impl<'a> Visitor<'a> for LabelVisitor {
            type Value = LabelFields<'a>;

            fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
                out.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<LabelFields<'a>, A::Error> {
                let mut labels = Vec::new();
                while let Some((Text(name), Text(value))) = map.next_entry()? {
                    labels.push((name, value));
                }
                Ok(LabelFields(labels))
            }
        }

        deserializer.deserialize_map(LabelVisitor)
    }
}

fn within<'a>(field: &str, text: Cow<'a, str>, bytes_max: usize) -> Result<Cow<'a, str>, Rejected> {
    if text.len() <= bytes_max {
        return Ok(text);
    }
    Err(Rejected::new(RejectReason::TooLong, format!("{field}: {} bytes, at most {bytes_max}", text.len())))
}
