//! The forms a setting can be written in: durations, counts, ratios, topics, globs, and lists of them.
//!
//! A form reads strictly: `1.9` is no count and `true` is no number, however much a library would like to help. Only
//! the environment, which knows nothing but text, may write a number as text. A form says what it would have allowed;
//! where the setting stands, and how the mistake is told, is the section's affair.

use super::mask;
use crate::engine::policy::{Glob, Worse};
use crate::engine::time::Span;
use crate::shell::signature::read_hex;
use config::{Value, ValueKind};
use ed25519_dalek::VerifyingKey;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// What was wrong: where inside the setting (an index, or nothing), what is allowed, what was found.
pub struct Wrong {
    pub within: String,
    pub expected: String,
    pub found: String,
}

pub type Outcome<T> = Result<T, Vec<Wrong>>;

/// One value as it was written, and by whom.
pub struct Leaf {
    value: Value,
    secret: bool,
}

impl Leaf {
    pub fn new(path: &str, value: Value) -> Leaf {
        Leaf { value, secret: mask::is_secret(path) }
    }

    fn is_from_environment(&self) -> bool {
        self.value.origin() == Some(super::layers::ENVIRONMENT)
    }

    pub fn text(&self) -> Option<&str> {
        match &self.value.kind {
            ValueKind::String(text) => Some(text),
            _ => None,
        }
    }

    fn integer(&self) -> Option<i64> {
        match &self.value.kind {
            ValueKind::I64(n) => Some(*n),
            ValueKind::String(text) if self.is_from_environment() => text.parse().ok(),
            _ => None,
        }
    }

    fn number(&self) -> Option<f64> {
        let number = match &self.value.kind {
            ValueKind::Float(x) => *x,
            ValueKind::I64(n) => *n as f64,
            ValueKind::String(text) if self.is_from_environment() => text.parse().ok()?,
            _ => return None,
        };
        number.is_finite().then_some(number)
    }

    /// A list, or one text that stands for a list of one; the environment separates by commas.
    fn items(&self) -> Option<Vec<Leaf>> {
        let leaf = |value: Value| Leaf { value, secret: self.secret };
        match &self.value.kind {
            ValueKind::Array(values) => Some(values.iter().cloned().map(leaf).collect()),
            ValueKind::String(text) if self.is_from_environment() => {
                let origin = self.value.origin().map(str::to_owned);
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Some(items.map(|item| leaf(Value::new(origin.as_ref(), item))).collect())
            }
            ValueKind::String(_) => Some(vec![leaf(self.value.clone())]),
            _ => None,
        }
    }

    /// The value as a mistake shows it: never a secret, never a page.
    pub fn found(&self) -> String {
        match &self.value.kind {
            _ if self.secret => mask::MASK.to_owned(),
            ValueKind::String(text) if text.chars().count() > 80 => {
                format!("{:?}…", text.chars().take(80).collect::<String>())
            }
            ValueKind::String(text) => format!("{text:?}"),
            ValueKind::Float(x) => format!("{x:?}"),
            ValueKind::Table(_) => "a table".to_owned(),
            ValueKind::Array(_) => "a list".to_owned(),
            other => other.to_string(),
        }
    }

    fn wrong<T>(&self, expected: impl Into<String>) -> Outcome<T> {
        Err(vec![Wrong { within: String::new(), expected: expected.into(), found: self.found() }])
    }
}

/// `true` or `false`.
pub fn flag(leaf: &Leaf) -> Outcome<bool> {
    match (&leaf.value.kind, leaf.text()) {
        (ValueKind::Boolean(flag), _) => Ok(*flag),
        (_, Some("true")) if leaf.is_from_environment() => Ok(true),
        (_, Some("false")) if leaf.is_from_environment() => Ok(false),
        _ => leaf.wrong("true or false"),
    }
}

/// A whole number within a range.
pub fn count(range: RangeInclusive<u64>) -> impl Fn(&Leaf) -> Outcome<u64> {
    move |leaf| match leaf.integer().and_then(|n| u64::try_from(n).ok()).filter(|n| range.contains(n)) {
        Some(n) => Ok(n),
        None => leaf.wrong(format!("a whole number from {} to {}", range.start(), range.end())),
    }
}

/// A number above 0, up to `most`.
pub fn positive(most: f64) -> impl Fn(&Leaf) -> Outcome<f64> {
    move |leaf| match leaf.number().filter(|&x| x > 0.0 && x <= most) {
        Some(x) => Ok(x),
        None => leaf.wrong(format!("a number above 0, at most {most}")),
    }
}

/// A duration within a range.
pub fn duration(range: RangeInclusive<Span>) -> impl Fn(&Leaf) -> Outcome<Span> {
    move |leaf| match leaf.text().map(parse_span) {
        Some(Some(span)) if range.contains(&span) => Ok(span),
        Some(Some(_)) => {
            leaf.wrong(format!("a duration from {} to {}", render_span(*range.start()), render_span(*range.end())))
        }
        _ => leaf.wrong("a duration such as \"90s\", \"5m\", \"1h30m\" or \"500ms\""),
    }
}

/// One word of a closed list.
pub fn one_of<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&Leaf) -> Outcome<T> {
    move |leaf| match words.iter().find(|(word, _)| Some(*word) == leaf.text()) {
        Some((_, value)) => Ok(*value),
        None => leaf.wrong(format!("one of {}", words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", "))),
    }
}

pub const DIRECTIONS: &[(&str, Worse)] =
    &[("increase", Worse::Increase), ("decrease", Worse::Decrease), ("either", Worse::Either)];

/// A pattern over names; not empty.
pub fn glob(leaf: &Leaf) -> Outcome<Glob> {
    match leaf.text().filter(|text| !text.is_empty() && text.len() <= 256) {
        Some(text) => Ok(Glob(text.into())),
        None => leaf.wrong("a pattern of 1 to 256 bytes such as \"http.server.*\" (* any run, ? one character)"),
    }
}

/// Up to 64 patterns.
pub fn globs(leaf: &Leaf) -> Outcome<Vec<Glob>> {
    match leaf.items() {
        Some(items) if items.len() <= 64 => each(&items, glob),
        _ => leaf.wrong("a pattern or a list of at most 64"),
    }
}

/// A name that may stand in a URI path and in a consumer group: letters, digits, `.`, `_`, `-`.
pub fn name(leaf: &Leaf) -> Outcome<String> {
    match leaf.text().filter(|text| is_name(text)) {
        Some(text) => Ok(text.to_owned()),
        None => leaf.wrong("1 to 249 letters, digits, \".\", \"_\" or \"-\""),
    }
}

/// Whoever speaks on the control topic; not empty.
pub fn person(leaf: &Leaf) -> Outcome<String> {
    match leaf.text().filter(|text| !text.is_empty() && text.len() <= 256) {
        Some(text) => Ok(text.to_owned()),
        None => leaf.wrong("a name of 1 to 256 bytes"),
    }
}

/// An Ed25519 public key in hexadecimal digits.
pub fn public_key(leaf: &Leaf) -> Outcome<VerifyingKey> {
    let bytes = leaf.text().and_then(|text| read_hex(text.as_bytes()));
    match bytes.and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok()).filter(|key| !key.is_weak()) {
        Some(key) => Ok(key),
        None => leaf.wrong("an Ed25519 public key, 64 hexadecimal digits"),
    }
}

/// A Kafka topic's name.
pub fn topic(leaf: &Leaf) -> Outcome<String> {
    match leaf.text().filter(|text| is_name(text) && *text != "." && *text != "..") {
        Some(text) => Ok(text.to_owned()),
        None => leaf.wrong("a topic's name: 1 to 249 letters, digits, \".\", \"_\" or \"-\""),
    }
}

/// Up to 64 topics: each costs a fetch per partition, and nobody has more by intention.
pub fn topics(leaf: &Leaf) -> Outcome<Vec<String>> {
    match leaf.items() {
        Some(items) if items.len() <= 64 => each(&items, topic),
        _ => leaf.wrong("a topic's name or a list of at most 64"),
    }
}

/// `host:port`, several separated by commas or as a list; the port may be left out.
pub fn brokers(leaf: &Leaf) -> Outcome<String> {
    let items = match &leaf.value.kind {
        ValueKind::Array(_) => leaf.items().unwrap_or_default(),
        ValueKind::String(text) => {
            text.split(',').map(|item| Leaf { value: Value::new(None, item.trim()), secret: false }).collect()
        }
        _ => Vec::new(),
    };
    if items.is_empty() || !items.iter().all(|item| item.text().is_some_and(is_broker)) {
        return leaf.wrong("one or more brokers as host:port, separated by commas");
    }
    Ok(items.iter().filter_map(Leaf::text).collect::<Vec<_>>().join(","))
}

/// A text that something else has to understand; what it says of one it does not is told too.
pub fn text_that(leaf: &Leaf, expected: &str, read: impl Fn(&str) -> Result<(), String>) -> Outcome<String> {
    match leaf.text().map(|text| (text, read(text))) {
        Some((text, Ok(()))) => Ok(text.to_owned()),
        Some((_, Err(why))) => leaf.wrong(format!("{expected}, but {why}")),
        None => leaf.wrong(expected),
    }
}

/// A path; not empty.
pub fn path(leaf: &Leaf) -> Outcome<PathBuf> {
    match leaf.text().filter(|text| !text.is_empty() && !text.contains('\0')) {
        Some(text) => Ok(PathBuf::from(text)),
        None => leaf.wrong("a path"),
    }
}

/// An address to listen on.
pub fn address(leaf: &Leaf) -> Outcome<SocketAddr> {
    match leaf.text().and_then(|text| text.parse().ok()) {
        Some(address) => Ok(address),
        None => leaf.wrong("an IP address and port such as \"127.0.0.1:9464\" or \"[::]:9464\""),
    }
}

/// A `tracing` filter. A bare word must be a level: the filter's own parser takes `inof` for a module's name and then
/// shows nothing at all.
pub fn log_filter(leaf: &Leaf) -> Outcome<String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_filter = |text: &str| {
        let bare_words_are_levels = text.split(',').all(|part| {
            part.contains(['=', '[']) || LEVELS.iter().any(|level| level.eq_ignore_ascii_case(part.trim()))
        });
        bare_words_are_levels && tracing_subscriber::EnvFilter::builder().parse(text).is_ok()
    };
    match leaf.text().filter(|text| is_filter(text)) {
        Some(text) => Ok(text.to_owned()),
        None => leaf.wrong("a log filter such as \"info\" or \"warn,regressd=debug\""),
    }
}

/// A value that is handed on as text: a string, a number or a boolean.
pub fn any_text(leaf: &Leaf) -> Outcome<String> {
    match &leaf.value.kind {
        ValueKind::Table(_) | ValueKind::Array(_) | ValueKind::Nil => leaf.wrong("a string, a number or a boolean"),
        ValueKind::Float(x) => Ok(x.to_string()),
        other => Ok(other.to_string()),
    }
}

fn each<T>(items: &[Leaf], form: impl Fn(&Leaf) -> Outcome<T>) -> Outcome<Vec<T>> {
    let (mut values, mut wrongs) = (Vec::new(), Vec::new());
    for (index, item) in items.iter().enumerate() {
        match form(item) {
            Ok(value) => values.push(value),
            Err(inner) => wrongs.extend(inner.into_iter().map(|w| Wrong { within: format!("[{index}]"), ..w })),
        }
    }
    if wrongs.is_empty() { Ok(values) } else { Err(wrongs) }
}

fn is_name(text: &str) -> bool {
    (1..=249).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn is_broker(text: &str) -> bool {
    let host_and_port = text.rsplit_once("://").map_or(text, |(_, rest)| rest);
    let (host, port) = match host_and_port.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (host_and_port, None),
    };
    let is_host = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '/');
    is_host && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

const UNITS: [(&str, i64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// `1h30m`: whole numbers, each with a unit, larger units first, each unit once.
fn parse_span(text: &str) -> Option<Span> {
    let (mut rest, mut units, mut total) = (text, UNITS.iter(), 0_i64);
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let letters = rest[digits..].find(|c: char| !c.is_ascii_lowercase()).unwrap_or(rest.len() - digits);
        let (number, unit) = (&rest[..digits], &rest[digits..digits + letters]);
        let (_, width) = units.find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<i64>().ok()?.checked_mul(*width)?)?;
        rest = &rest[digits + letters..];
    }
    (!text.is_empty()).then_some(Span(total))
}

/// The one way a duration is written back: `5400000` ms is `1h30m`.
pub fn render_span(span: Span) -> String {
    let (mut rest, mut text) = (span.0, String::new());
    for (name, width) in UNITS {
        if rest >= width {
            text += &format!("{}{name}", rest / width);
            rest %= width;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_back() {
        for (text, written) in [
            ("90s", Some("1m30s")),
            ("5m", Some("5m")),
            ("1h30m", Some("1h30m")),
            ("500ms", Some("500ms")),
            ("24h", Some("1d")),
            ("0s", Some("0s")),
            ("1d1ms", Some("1d1ms")),
            ("", None),
            ("5", None),
            ("m", None),
            ("5 m", None),
            ("-5m", None),
            ("1.5h", None),
            ("30m1h", None),
            ("1m1m", None),
            ("5M", None),
            ("5µs", None),
            ("9223372036854775807d", None),
        ] {
            assert_eq!(parse_span(text).map(render_span).as_deref(), written, "{text:?}");
        }
    }

    #[test]
    fn brokers_have_a_host_and_perhaps_a_port() {
        for (text, is_one) in [
            ("localhost:9092", true),
            ("kafka", true),
            ("SASL_SSL://kafka:9093", true),
            ("[::1]:9092", true),
            ("[::1]", true),
            ("", false),
            (":9092", false),
            ("kafka:", false),
            ("kafka:0", false),
            ("kafka:99999", false),
            ("kaf ka:1", false),
        ] {
            assert_eq!(is_broker(text), is_one, "{text:?}");
        }
    }
}
