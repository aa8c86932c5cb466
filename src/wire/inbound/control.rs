//! The control topic: people and other systems speaking to the daemon.
//!
//! Everybody who speaks says who they are (`by`): a silence nobody can be asked about is worse than none. A scope must
//! be given too, so that "everywhere" (`*`) is said and not forgotten.

use super::document::{Element, Object};
use super::fields::{missing, moment, prose, required, unknown};
use super::{RejectReason, Rejected};
use crate::engine::effect::Automation;
use crate::engine::event::{About, ContextKind, Control, Decision, Fact, Feedback, Scope, Window, Word};
use crate::wire::text::Text;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

#[derive(serde::Deserialize)]
pub(super) struct ControlFields<'a> {
    ts: Option<i64>,
    #[serde(rename = "type", borrow)]
    word: Option<Text<'a>>,
    recommendation: Option<Text<'a>>,
    deployment: Option<Text<'a>>,
    verdict: Option<Text<'a>>,
    decision: Option<Text<'a>>,
    scope: Option<Object<ScopeFields<'a>>>,
    from: Option<i64>,
    to: Option<i64>,
    kind: Option<Text<'a>>,
    level: Option<Text<'a>>,
    reason: Option<Text<'a>>,
    by: Option<Text<'a>>,
    comment: Option<Text<'a>>,
}

#[derive(Default)]
struct ScopeFields<'a> {
    env: Option<Text<'a>>,
    service: Option<Text<'a>>,
    /// The first key that is neither.
    stray: Option<Cow<'a, str>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for ScopeFields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ScopeFields<'a>, D::Error> {
        struct ScopeVisitor;

        impl<'a> Visitor<'a> for ScopeVisitor {
            type Value = ScopeFields<'a>;

            fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<ScopeFields<'a>, A::Error> {
                let mut scope = ScopeFields::default();
                while let Some(Text(key)) = map.next_key()? {
                    let (field, name) = match &*key {
                        "env" => (&mut scope.env, "env"),
                        "service" => (&mut scope.service, "service"),
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            scope.stray.get_or_insert(key);
                            continue;
                        }
                    };
                    if field.is_some() {
                        return Err(A::Error::duplicate_field(name));
                    }
                    *field = map.next_value()?;
                }
                Ok(scope)
            }
        }

        deserializer.deserialize_map(ScopeVisitor)
    }
}

impl ScopeFields<'_> {
    /// What a scope does not name it covers, so a key that is none of its own is not ignored like another field's: it
    /// may be the other one misspelt, and would silently make the window wider.
    fn checked(self) -> Result<Scope, Rejected> {
        let is_whole = self.env.is_some() && self.service.is_some();
        if let Some(stray) = self.stray.filter(|_| !is_whole) {
            return Err(unknown("scope", &stray, "env, service"));
        }
        if self.env.is_none() && self.service.is_none() {
            let detail = "scope: neither env nor service; everywhere is \"*\"";
            return Err(Rejected::new(RejectReason::MissingField, detail));
        }
        Ok(Scope { env: place("scope.env", self.env)?, service: place("scope.service", self.service)? })
    }
}

impl<'a> Element<'a> for ControlFields<'a> {
    fn fact(mut self) -> Result<Fact<'a>, Rejected> {
        let at = moment("ts", self.ts)?;
        let by = Some(required("by", self.by.take())?.into());
        let word = match &*required("type", self.word.take())? {
            "feedback" => self.feedback()?,
            "approval" => self.approval()?,
            "freeze" => Word::Freeze(self.window()?),
            "mute" => Word::Mute(self.window()?),
            "context" => self.context()?,
            "automation" => self.automation()?,
            other => return Err(unknown("type", other, "feedback, approval, freeze, context, mute, automation")),
        };
        Ok(Fact::Control(Control { at, by, word }))
    }
}

impl ControlFields<'_> {
    fn feedback(self) -> Result<Word, Rejected> {
        let verdict = match &*required("verdict", self.verdict)? {
            "correct" => Feedback::Correct,
            "false_alarm" => Feedback::FalseAlarm,
            "missed" => Feedback::Missed,
            other => return Err(unknown("verdict", other, "correct, false_alarm, missed")),
        };
        // What was missed has no recommendation to name.
        let about = match verdict {
            Feedback::Missed => About::Deployment(required("deployment", self.deployment)?.into()),
            _ => About::Recommendation(required("recommendation", self.recommendation)?.into()),
        };
        Ok(Word::Feedback { about, verdict, comment: prose("comment", self.comment)? })
    }

    fn approval(self) -> Result<Word, Rejected> {
        let decision = match &*required("decision", self.decision)? {
            "approved" => Decision::Approved,
            "rejected" => Decision::Rejected,
            other => return Err(unknown("decision", other, "approved, rejected")),
        };
        Ok(Word::Approval { recommendation: required("recommendation", self.recommendation)?.into(), decision })
    }

    fn context(mut self) -> Result<Word, Rejected> {
        let kind = match &*required("kind", self.kind.take())? {
            "traffic_event" => ContextKind::TrafficEvent,
            "infra_change" => ContextKind::InfraChange,
            "dependency_incident" => ContextKind::DependencyIncident,
            "business_event" => ContextKind::BusinessEvent,
            other => {
                let known = "traffic_event, infra_change, dependency_incident, business_event";
                return Err(unknown("kind", other, known));
            }
        };
        Ok(Word::Context { window: self.window()?, kind })
    }

    fn automation(self) -> Result<Word, Rejected> {
        let word = required("level", self.level)?;
        let level = Automation::from_word(&word).ok_or_else(|| unknown("level", &word, "shadow, advise, recommend"))?;
        Ok(Word::Automation { scope: scope(self.scope)?, level })
    }

    fn window(self) -> Result<Window, Rejected> {
        let scope = scope(self.scope)?;
        let (from, to) = (moment("from", self.from)?, moment("to", self.to)?);
        if to <= from {
            return Err(Rejected::new(RejectReason::BadWindow, "to: not after from"));
        }
        Ok(Window { scope, from, to, reason: prose("reason", self.reason)? })
    }
}

fn scope(scope: Option<Object<ScopeFields>>) -> Result<Scope, Rejected> {
    let Object(scope) = scope.ok_or_else(|| missing("scope"))?;
    scope.checked()
}

/// Absent or `*` means everywhere. Empty is refused: a variable that was not set must not silence the whole fleet.
fn place(field: &str, name: Option<Text>) -> Result<Option<Arc<str>>, Rejected> {
    let name = name.map(|name| required(field, Some(name))).transpose()?;
    Ok(name.filter(|name| name != "*").map(Into::into))
}
