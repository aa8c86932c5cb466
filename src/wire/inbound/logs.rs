//! The logs topic: log lines.
//!
//! Maps the severity spellings that loggers really use onto six levels. A line is never refused for its length: what
//! stands after the first 64 KiB of a message is a dump, and no fingerprint looks that far.

use super::document::Element;
use super::fields::{LabelFields, missing, moment, origin};
use super::{RejectReason, Rejected};
use crate::engine::event::{Fact, LogLine, Severity};
use crate::wire::text::{Text, clipped};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use std::borrow::Cow;
use std::fmt;

const MESSAGE_BYTES_MAX: usize = 64 * 1024;

#[derive(Deserialize)]
pub(super) struct LogFields<'a> {
    ts: Option<i64>,
    #[serde(borrow)]
    service: Option<Text<'a>>,
    env: Option<Text<'a>>,
    version: Option<Text<'a>>,
    instance: Option<Text<'a>>,
    severity: Option<SeverityField<'a>>,
    message: Option<Text<'a>>,
    labels: Option<LabelFields<'a>>,
}

impl<'a> Element<'a> for LogFields<'a> {
    fn fact(self) -> Result<Fact<'a>, Rejected> {
        let at = moment("ts", self.ts)?;
        let origin = origin(self.service, self.env, self.version, self.instance)?;
        let severity = match self.severity.ok_or_else(|| missing("severity"))? {
            SeverityField::Number(number) => numbered(number).ok_or_else(|| unheard_of(&number.to_string()))?,
            SeverityField::Word(word) => spelt(&word).ok_or_else(|| unheard_of(&word))?,
        };
        let Text(message) = self.message.ok_or_else(|| missing("message"))?;
        let message = body(message);
        let message = match message {
            Cow::Borrowed(text) => Cow::Borrowed(clipped(text, MESSAGE_BYTES_MAX)),
            Cow::Owned(mut text) => {
                text.truncate(clipped(&text, MESSAGE_BYTES_MAX).len());
                Cow::Owned(text)
            }
        };
        let labels = self.labels.unwrap_or_default().checked()?;
        Ok(Fact::Log(LogLine { at, origin, severity, message, labels }))
    }
}

/// A level's name, or OpenTelemetry's number for it.
enum SeverityField<'a> {
    Word(Cow<'a, str>),
    Number(u64),
}

impl<'de: 'a, 'a> Deserialize<'de> for SeverityField<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SeverityField<'a>, D::Error> {
        struct SeverityVisitor;

        impl<'a> Visitor<'a> for SeverityVisitor {
            type Value = SeverityField<'a>;

            fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
                out.write_str("a severity's name or number")
            }

            fn visit_borrowed_str<E: Error>(self, word: &'a str) -> Result<SeverityField<'a>, E> {
                Ok(SeverityField::Word(Cow::Borrowed(word)))
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<SeverityField<'a>, E> {
                Ok(SeverityField::Word(Cow::Owned(word.to_owned())))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<SeverityField<'a>, E> {
                Ok(SeverityField::Number(number))
            }
        }

        deserializer.deserialize_any(SeverityVisitor)
    }
}

/// A body that is itself a JSON object, as structured loggers write: the message in it, with its stack trace if it has
/// one. Anything else stays as it is.
fn body(text: Cow<str>) -> Cow<str> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow, alias = "msg", alias = "log", alias = "event", alias = "body")]
        message: Option<Text<'a>>,
        #[serde(alias = "stacktrace", alias = "stack", alias = "exception", alias = "error.stack_trace")]
        stack_trace: Option<Text<'a>>,
    }
    if !(text.starts_with('{') && text.ends_with('}')) {
        return text;
    }
    let Ok(Body { message: Some(Text(message)), stack_trace }) = serde_json::from_str::<Body>(&text) else {
        return text;
    };
    match stack_trace {
        Some(Text(trace)) => Cow::Owned(format!("{message}\n{trace}")),
        None => Cow::Owned(message.into_owned()),
    }
}

fn unheard_of(word: &str) -> Rejected {
    let word = clipped(word, 40).escape_debug();
    Rejected::new(RejectReason::UnknownSeverity, format!("severity: \"{word}\" is no level and no number in 1..=24"))
}

/// OpenTelemetry's severity numbers: four to a level.
fn numbered(number: u64) -> Option<Severity> {
    match number {
        1..=4 => Some(Severity::Trace),
        5..=8 => Some(Severity::Debug),
        9..=12 => Some(Severity::Info),
        13..=16 => Some(Severity::Warn),
        17..=20 => Some(Severity::Error),
        21..=24 => Some(Severity::Fatal),
        _ => None,
    }
}

fn spelt(word: &str) -> Option<Severity> {
    const SPELLINGS: [(Severity, &[&str]); 6] = [
        (Severity::Info, &["INFO", "INFORMATION", "INFORMATIONAL", "NOTICE", "I"]),
        (Severity::Error, &["ERROR", "ERR", "SEVERE", "E"]),
        (Severity::Warn, &["WARN", "WARNING", "W"]),
        (Severity::Debug, &["DEBUG", "DBG", "FINE", "D"]),
        (Severity::Trace, &["TRACE", "VERBOSE", "FINER", "FINEST", "T"]),
        (Severity::Fatal, &["FATAL", "CRITICAL", "CRIT", "ALERT", "EMERGENCY", "EMERG", "PANIC", "F"]),
    ];
    let word = word.trim();
    if let Ok(number) = word.parse() {
        return numbered(number);
    }
    // OpenTelemetry's short names count within a level: ERROR2 is an ERROR.
    let name = word.strip_suffix(['2', '3', '4']).unwrap_or(word);
    let known = SPELLINGS.iter().find(|(_, names)| names.iter().any(|known| known.eq_ignore_ascii_case(name)));
    known.map(|(severity, _)| *severity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_a_structured_body() {
        for (text, expected) in [
            (r#"{"level":"error","msg":"order 7 lost","user":{"id":1}}"#, "order 7 lost"),
            (
                r#"{"message":"failed","stack_trace":"a.BException\n\tat a.C.d(C.java:1)"}"#,
                "failed\na.BException\n\tat a.C.d(C.java:1)",
            ),
            (r#"{"no":"message"}"#, r#"{"no":"message"}"#),
            ("{not JSON}", "{not JSON}"),
            ("plain", "plain"),
        ] {
            assert_eq!(body(text.into()), expected);
        }
    }

    #[test]
    fn severities_as_loggers_spell_them() {
        for (word, expected) in [
            ("ERROR", Some(Severity::Error)),
            ("error", Some(Severity::Error)),
            ("Error3", Some(Severity::Error)),
            ("17", Some(Severity::Error)),
            ("24", Some(Severity::Fatal)),
            (" warning ", Some(Severity::Warn)),
            ("CRITICAL", Some(Severity::Fatal)),
            ("notice", Some(Severity::Info)),
            ("Verbose", Some(Severity::Trace)),
            ("0", None),
            ("25", None),
            ("", None),
            ("5xx", None),
        ] {
            assert_eq!(spelt(word), expected, "{word}");
        }
    }
}
