//! Facts that were decoded before their message is taken, on another core, as places in it.
//!
//! A fact borrows its text from the message, so the two could not go from one thread to another together. What was
//! borrowed is kept as the place where it stands, and borrowed there again. Samples and log lines alone, as there are
//! many of them; all else, and what breaks a rule, is left to whoever takes the message.

use super::{Kind, decode};
use crate::engine::event::{Fact, Labels, LogLine, Origin, Reading, Sample, Severity};
use crate::engine::time::Time;
use std::borrow::Cow;

/// The facts of one message: some 200 bytes each.
#[derive(Debug, Default)]
pub struct Decoded {
    facts: Vec<Placed>,
    /// What does not stand in the message as it is, for its escapes or because nobody wrote it.
    texts: Vec<String>,
}

/// Where a text begins in the message and how long it is; or, with `APART` for a length, which of the texts it is.
#[derive(Clone, Copy, Debug)]
struct Place {
    from: u32,
    length: u32,
}

const APART: u32 = u32::MAX;

#[derive(Debug)]
struct PlacedOrigin {
    service: Place,
    env: Place,
    version: Option<Place>,
    instance: Option<Place>,
}

#[derive(Debug)]
struct Placed {
    at: Time,
    origin: PlacedOrigin,
    labels: Vec<(Place, Place)>,
    what: What,
}

#[derive(Debug)]
enum What {
    Sample { metric: Place, reading: Reading, unit: Option<Place> },
    Log { severity: Severity, message: Place },
}

impl Decoded {
    /// What a message of this kind holds; none where that is left to whoever takes it.
    pub fn of(kind: Kind, payload: &str) -> Option<Decoded> {
        if !matches!(kind, Kind::Metrics | Kind::Logs) || u32::try_from(payload.len()).is_err() {
            return None;
        }
        let mut facts = Vec::new();
        decode(kind, payload.as_bytes(), &mut facts).ok()?;
        let (mut placed, mut texts) = (Vec::with_capacity(facts.len()), Vec::new());
        for fact in facts {
            placed.push(Places { payload, texts: &mut texts }.of_fact(fact)?);
        }
        Some(Decoded { facts: placed, texts })
    }

    /// Appends the facts, which borrow from the message that they were decoded from.
    pub fn lend<'a>(&'a mut self, payload: &'a str, facts: &mut Vec<Fact<'a>>) {
        let Decoded { facts: placed, texts } = self;
        let texts = &*texts;
        let text = |Place { from, length }: Place| -> Cow<'a, str> {
            let from = from as usize;
            let text = if length == APART {
                texts.get(from).map(String::as_str)
            } else {
                payload.get(from..from + length as usize)
            };
            Cow::Borrowed(text.expect("a place in the message that it was found in"))
        };
        facts.extend(placed.drain(..).map(|Placed { at, origin, labels, what }| {
            let origin = Origin {
                service: text(origin.service),
                env: text(origin.env),
                version: origin.version.map(text),
                instance: origin.instance.map(text),
            };
            let labels: Labels = labels.into_iter().map(|(name, value)| (text(name), text(value))).collect();
            match what {
                What::Sample { metric, reading, unit } => {
                    Fact::Sample(Sample { at, origin, metric: text(metric), reading, unit: unit.map(text), labels })
                }
                What::Log { severity, message } => {
                    Fact::Log(LogLine { at, origin, severity, message: text(message), labels })
                }
            }
        }));
    }
}

/// Finds where texts stand, and keeps those that stand nowhere.
struct Places<'a> {
    payload: &'a str,
    texts: &'a mut Vec<String>,
}

impl Places<'_> {
    fn of_fact(mut self, fact: Fact) -> Option<Placed> {
        let (at, origin, labels, what) = match fact {
            Fact::Sample(Sample { at, origin, metric, reading, unit, labels }) => {
                let (metric, unit) = (self.of(metric), unit.map(|unit| self.of(unit)));
                (at, origin, labels, What::Sample { metric, reading, unit })
            }
            Fact::Log(LogLine { at, origin, severity, message, labels }) => {
                (at, origin, labels, What::Log { severity, message: self.of(message) })
            }
            _ => return None,
        };
        let origin = PlacedOrigin {
            service: self.of(origin.service),
            env: self.of(origin.env),
            version: origin.version.map(|version| self.of(version)),
            instance: origin.instance.map(|instance| self.of(instance)),
        };
        let labels = labels.into_iter().map(|(name, value)| (self.of(name), self.of(value))).collect();
        Some(Placed { at, origin, labels, what })
    }

    fn of(&mut self, text: Cow<str>) -> Place {
        let from = text.as_ptr().addr().wrapping_sub(self.payload.as_ptr().addr());
        if matches!(text, Cow::Borrowed(_)) && from.saturating_add(text.len()) <= self.payload.len() {
            return Place { from: from as u32, length: text.len() as u32 };
        }
        self.texts.push(text.into_owned());
        Place { from: (self.texts.len() - 1) as u32, length: APART }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lent_is_what_was_decoded() {
        for (kind, payload) in [
            (
                Kind::Metrics,
                r#"[{"ts":1790000000000,"service":"a","metric":"m","value":1,"unit":"s","labels":{"b\"":"1","a":""}},
                {"ts":1790000000001,"service":"caf\u00e9","env":"prod","version":"1","instance":"a-1","metric":"m",
                "kind":"histogram","bounds":[1,2],"counts":[3,4,5],"sum":7.5}]"#,
            ),
            (
                Kind::Logs,
                r#"{"ts":1790000000000,"service":"ü","instance":"","severity":"ERROR","message":"a \"b\"\nc 🙂"}"#,
            ),
            (Kind::Metrics, "[]"),
        ] {
            let mut plain = Vec::new();
            decode(kind, payload.as_bytes(), &mut plain).expect("a valid message");
            let (mut decoded, mut lent) = (Decoded::of(kind, payload).expect("a valid message"), Vec::new());
            // As it stands in another place of memory.
            let moved = payload.to_owned();
            decoded.lend(&moved, &mut lent);
            assert_eq!(lent, plain);
        }
    }

    #[test]
    fn the_rest_is_left_to_others() {
        for (kind, payload) in [
            (Kind::Metrics, "not JSON"),
            (Kind::Metrics, r#"[{"ts":1790000000000,"service":"a","metric":"m","value":1},{}]"#),
            (Kind::Deployments, r#"{"ts":1790000000000,"service":"a","id":"d"}"#),
            (Kind::Letters, ""),
        ] {
            assert!(Decoded::of(kind, payload).is_none(), "{payload}");
        }
    }
}
