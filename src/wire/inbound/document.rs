//! A whole message: one object or an array of objects, read in one pass.
//!
//! When that fails, a second and slower pass finds out where and why; a producer that sends only rubbish costs us twice
//! as much as one that sends good messages, no more. What the fields mean is the elements' affair.

use super::{RejectReason, Rejected};
use crate::engine::event::Fact;
use crate::wire::text::clipped;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use std::fmt;
use std::marker::PhantomData;

/// The fields of one object, each as the producer gave it; `fact` holds it to the rules.
pub(super) trait Element<'a>: Deserialize<'a> {
    /// # Errors
    /// The first rule it breaks; the detail begins with the field's name.
    fn fact(self) -> Result<Fact<'a>, Rejected>;
}

pub(super) fn read<'a, E: Element<'a>>(payload: &'a [u8], facts: &mut Vec<Fact<'a>>) -> Result<(), Rejected> {
    if payload.iter().all(u8::is_ascii_whitespace) {
        return Err(Rejected::new(RejectReason::Empty, "no payload"));
    }
    let text = str::from_utf8(payload).map_err(|error| {
        binary_format(payload).unwrap_or_else(|| {
            Rejected::new(RejectReason::NotUtf8, format!("invalid UTF-8 after {} bytes", error.valid_up_to()))
        })
    })?;
    let mut refused = None;
    let mut json = serde_json::Deserializer::from_str(text);
    let document = Document::<E> { facts, refused: &mut refused, element: PhantomData };
    match json.deserialize_any(document).and_then(|()| json.end()) {
        Ok(()) => Ok(()),
        Err(error) => Err(foreign_format(text)
            .or(refused)
            .or_else(|| binary_format(payload))
            .unwrap_or_else(|| unreadable::<E>(text, &error))),
    }
}

struct Document<'f, 'a, E> {
    facts: &'f mut Vec<Fact<'a>>,
    /// A broken rule; serde's own error can't carry it.
    refused: &'f mut Option<Rejected>,
    element: PhantomData<E>,
}

impl<'a, E: Element<'a>> Visitor<'a> for Document<'_, 'a, E> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("an object or an array of objects")
    }

    fn visit_map<A: MapAccess<'a>>(self, map: A) -> Result<(), A::Error> {
        let element = E::deserialize(MapAccessDeserializer::new(map))?;
        match element.fact() {
            Ok(fact) => {
                self.facts.push(fact);
                Ok(())
            }
            Err(rejected) => {
                *self.refused = Some(rejected);
                Err(A::Error::custom("a broken rule"))
            }
        }
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut index = 0;
        while let Some(Object(element)) = seq.next_element::<Object<E>>()? {
            match element.fact() {
                Ok(fact) => self.facts.push(fact),
                Err(rejected) => {
                    *self.refused = Some(rejected.in_element(index));
                    return Err(A::Error::custom("a broken rule"));
                }
            }
            index += 1;
        }
        Ok(())
    }
}

/// Only an object; a derived struct would also take its fields from an array, by position.
pub(super) struct Object<E>(pub(super) E);

impl<'de, E: Deserialize<'de>> Deserialize<'de> for Object<E> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object<E>, D::Error> {
        struct ObjectVisitor<E>(PhantomData<E>);

        impl<'de, E: Deserialize<'de>> Visitor<'de> for ObjectVisitor<E> {
            type Value = Object<E>;

            fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<E>, A::Error> {
                E::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// Reads the message again, this time keeping track of where it is.
fn unreadable<'a, E: Element<'a>>(text: &'a str, error: &serde_json::Error) -> Rejected {
    let mut track = serde_path_to_error::Track::new();
    let mut json = serde_json::Deserializer::from_str(text);
    let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    let document = Document::<E> { facts: &mut Vec::new(), refused: &mut None, element: PhantomData };
    let place = match tracked.deserialize_any(document) {
        Ok(()) => String::from("after the document"),
        Err(_) => track.path().to_string(),
    };
    // What the path of a broken key or of the whole document looks like.
    let place = if matches!(&*place, "." | "?") { "the document" } else { clipped(&place, 200) };

    let message = error.to_string();
    let (line, column) = (error.line(), error.column());
    let rejected = |reason, what: &str| Rejected::new(reason, format!("{place}: {what}, line {line} column {column}"));
    if message.starts_with("number out of range") {
        return rejected(RejectReason::NotFinite, "a number too large");
    }
    if error.classify() != Category::Data {
        if at_a_float_literal(text, line, column) {
            return rejected(RejectReason::NotFinite, "NaN or an infinity");
        }
        let what = message.split(" at line ").next().unwrap_or_default();
        return rejected(RejectReason::NotJson, what);
    }
    if message.starts_with("invalid value: integer `-") {
        return rejected(RejectReason::Negative, "an integer below zero");
    }
    match message.strip_prefix("duplicate field `").and_then(|rest| rest.split('`').next()) {
        Some(field) => rejected(RejectReason::DuplicateField, &format!("`{field}` stands there twice")),
        None => rejected(RejectReason::WrongType, &types(&message)),
    }
}

/// What was found and what was expected, without the value that serde puts in its message.
fn types(message: &str) -> String {
    let found = message.trim_start_matches("invalid type: ").trim_start_matches("invalid value: ");
    let found = match found.split([' ', '`', '"', ',']).next().unwrap_or_default() {
        "floating" => "float",
        "sequence" => "array",
        "map" => "object",
        other => other,
    };
    // The value stands before the last ", expected", whatever it holds itself.
    let expected = message.rsplit_once(", expected ").map_or("", |(_, rest)| rest);
    let expected = match expected.split(" at line ").next().unwrap_or_default() {
        "i64" => "an integer",
        "u64" => "an integer not below zero",
        "f64" => "a number",
        "a sequence" => "an array",
        other => other,
    };
    format!("found {found}, expected {expected}")
}

/// Whether JSON ended at one of the literals that Python and JavaScript write for what JSON can't hold.
fn at_a_float_literal(text: &str, line: usize, column: usize) -> bool {
    let line = text.split('\n').nth(line.saturating_sub(1)).unwrap_or_default().as_bytes();
    let from = column.saturating_sub(2).min(line.len());
    let near = &line[from..line.len().min(from + 12)];
    ["NaN", "nan", "Infinity", "inf"]
        .iter()
        .any(|literal| near.windows(literal.len()).take(3).any(|window| window == literal.as_bytes()))
}

/// A JSON document that is not ours, by the fields that give it away.
fn foreign_format(text: &str) -> Option<Rejected> {
    #[derive(Deserialize)]
    struct Marks {
        specversion: Option<IgnoredAny>,
        context: Option<IgnoredAny>,
        subject: Option<IgnoredAny>,
        #[serde(rename = "resourceMetrics", alias = "resource_metrics")]
        resource_metrics: Option<IgnoredAny>,
        #[serde(rename = "resourceLogs", alias = "resource_logs")]
        resource_logs: Option<IgnoredAny>,
        #[serde(rename = "resourceSpans", alias = "resource_spans")]
        resource_spans: Option<IgnoredAny>,
    }
    if !text.trim_ascii_start().starts_with('{') {
        return None;
    }
    let marks: Marks = serde_json::from_str(text).ok()?;
    let what = if marks.resource_metrics.or(marks.resource_logs).or(marks.resource_spans).is_some() {
        "this is an OTLP document"
    } else if marks.context.and(marks.subject).is_some() {
        "this is a CDEvent"
    } else {
        marks.specversion.map(|_| "this is a CloudEvent")?
    };
    Some(Rejected::new(RejectReason::UnsupportedFormat, format!("{what}; this topic is read as native JSON")))
}

/// A binary document, by its first bytes.
fn binary_format(payload: &[u8]) -> Option<Rejected> {
    // A protobuf message whose first field is a message begins with 0x0a, which JSON takes for a line feed: only a
    // control character soon after it tells them apart.
    let control = |byte: &u8| *byte < 0x20 && !byte.is_ascii_whitespace();
    let what = match payload {
        [0, ..] => "it begins with a zero byte, as messages of a schema registry do",
        [0x0a, rest @ ..] if rest.iter().take(16).any(control) => "it looks like protobuf, perhaps OTLP",
        _ => return None,
    };
    Some(Rejected::new(RejectReason::UnsupportedFormat, format!("{what}; this topic is read as native JSON")))
}
