//! The envelope of recordings: one JSON object a line, as `kcat -J` prints it.
//!
//! Read for `replay`, written for what a replay would have published. Binary payloads are not carried: what is not
//! UTF-8 is written with replacement characters. Brokers, timestamp types and other fields of kcat's are ignored.

use super::inbound::SIGNATURE;
use super::outbound::Message;
use super::text::{Text, unescaped};
use crate::engine::time::Time;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// One recorded message.
#[derive(Clone, Debug, PartialEq)]
pub struct Line<'a> {
    pub topic: Cow<'a, str>,
    pub partition: i32,
    pub offset: i64,
    /// When the log took it.
    pub ts: Time,
    pub key: Option<Cow<'a, str>>,
    /// `None` is a tombstone.
    pub payload: Option<Cow<'a, str>>,
    /// Of a control message, where the recording has its headers.
    pub signature: Option<Cow<'a, str>>,
}

impl Line<'_> {
    /// The same, borrowed from nobody.
    pub fn into_owned(self) -> Line<'static> {
        let owned = |text: Cow<str>| Cow::Owned(text.into_owned());
        Line {
            topic: owned(self.topic),
            partition: self.partition,
            offset: self.offset,
            ts: self.ts,
            key: self.key.map(owned),
            payload: self.payload.map(owned),
            signature: self.signature.map(owned),
        }
    }
}

#[derive(Deserialize)]
struct LineFields<'a> {
    #[serde(borrow)]
    topic: Text<'a>,
    #[serde(default)]
    partition: i32,
    #[serde(default)]
    offset: i64,
    ts: i64,
    key: Option<Text<'a>>,
    /// JSON within a string has an escape every few bytes, so it is read by itself.
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    /// Names and values by turns, as kcat has them.
    #[serde(default)]
    headers: Vec<Option<Text<'a>>>,
}

/// Reads one line, with or without its line feed.
///
/// # Errors
/// What is wrong with it, for a person: a recording is the operator's own file, so a bad line is no dead letter.
pub fn parse(line: &[u8]) -> Result<Line<'_>, String> {
    let text = str::from_utf8(line).map_err(|error| error.to_string())?;
    if !text.trim_ascii_start().starts_with('{') {
        return Err(String::from("not a JSON object"));
    }
    let fields: LineFields = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut headers = fields.headers.into_iter();
    let mut signature = None;
    while let (Some(name), Some(value)) = (headers.next(), headers.next()) {
        if name.is_some_and(|name| name.0 == SIGNATURE) {
            signature = value.map(|value| value.0);
        }
    }
    let payload = fields.payload.map(unescaped).transpose();
    let payload = payload.map_err(|error| format!("payload: {error}"))?;
    Ok(Line {
        topic: fields.topic.0,
        partition: fields.partition,
        offset: fields.offset,
        ts: Time(fields.ts),
        key: fields.key.map(|key| key.0),
        payload,
        signature,
    })
}

/// Writes messages as a recording; counts each topic's offsets from 0.
#[derive(Debug, Default)]
pub struct Recorder {
    /// One entry for each output topic: three in all.
    offsets: BTreeMap<String, i64>,
}

#[derive(Serialize)]
struct WrittenLine<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    ts: i64,
    /// Names and values by turns, as kcat has them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<&'a str>,
    key: Option<Cow<'a, str>>,
    payload: Cow<'a, str>,
}

impl Recorder {
    /// Appends one line and its line feed to `out`; `at` is the event time of publication.
    pub fn write(&mut self, topic: &str, at: Time, message: &Message, out: &mut Vec<u8>) {
        let offset = match self.offsets.get_mut(topic) {
            Some(offset) => {
                *offset += 1;
                *offset
            }
            None => *self.offsets.entry(topic.to_owned()).or_default(),
        };
        let line = WrittenLine {
            topic,
            partition: 0,
            offset,
            ts: at.0,
            headers: message.headers.iter().flat_map(|(name, value)| [*name, value.as_str()]).collect(),
            key: message.key.as_deref().map(String::from_utf8_lossy),
            payload: String::from_utf8_lossy(&message.payload),
        };
        serde_json::to_writer(&mut *out, &line).expect("our own type has text for keys and writes to memory");
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_kcat_prints() {
        let line = br#"{"topic":"metrics","partition":3,"offset":17,"tstype":"create","ts":1790000000000,"broker":1,
            "headers":["a","b"],"key":null,"payload":"{\"ts\":1,\"service\":\"caf\u00e9\"}"}"#;
        let line = parse(line).unwrap();
        assert_eq!((&*line.topic, line.partition, line.offset, line.ts), ("metrics", 3, 17, Time(1_790_000_000_000)));
        assert_eq!(line.key, None);
        assert_eq!(line.payload.as_deref(), Some(r#"{"ts":1,"service":"café"}"#));
        assert!(matches!(line.topic, Cow::Borrowed(_)));
    }

    #[test]
    fn says_what_is_wrong_with_a_line() {
        for (line, wrong) in [
            (&b"[1]"[..], "not a JSON object"),
            (b"{\"topic\":\"metrics\",\"payload\":\"\"}", "missing field `ts`"),
            (b"{\"topic\":\"metrics\",\"ts\":1,\"payload\":{}}", "expected a string"),
            (b"{\"topic\":\"metrics\",\"ts\":1", "EOF"),
            (b"\xff", "invalid utf-8"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(wrong), "{error:?} should speak of {wrong:?}");
        }
    }

    #[test]
    fn reads_what_it_wrote() {
        let mut recorder = Recorder::default();
        let mut out = Vec::new();
        let message = Message {
            key: Some(b"prod/checkout".to_vec()),
            payload: br#"{"a":"b\n"}"#.to_vec(),
            headers: vec![("content-type", String::from("application/json"))],
        };
        for topic in ["audit", "audit", "dead-letter"] {
            recorder.write(topic, Time(5), &message, &mut out);
        }
        let lines: Vec<Line> =
            out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(|line| parse(line).unwrap()).collect();
        let places: Vec<(&str, i64)> = lines.iter().map(|line| (&*line.topic, line.offset)).collect();
        assert_eq!(places, [("audit", 0), ("audit", 1), ("dead-letter", 0)]);
        assert_eq!(lines[0].payload.as_deref(), Some(r#"{"a":"b\n"}"#));
        assert_eq!(lines[0].key.as_deref(), Some("prod/checkout"));
    }
}
