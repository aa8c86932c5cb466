//! A level of automation changed, or is offered: on the audit topic, for people and for tools that page them.
//!
//! Keyed by the scope's patterns, so that a compacted copy of the topic keeps the newest of each.

use super::cloud_event::{DecisionField, message, readable};
use super::{Message, Stamp};
use crate::engine::effect::AutomationNews;
use serde::Serialize;

pub fn automation(news: &AutomationNews, stamp: &Stamp) -> Message {
    let data = AutomationFields {
        event: "automation",
        change: news.change.word(),
        scope: ScopeFields { env: &news.env, service: &news.service },
        from: news.from.word(),
        to: news.to.word(),
        by: news.by.as_deref(),
        labelled: news.labelled,
        right: news.right,
        bar: news.bar.map(readable),
        summary: &news.summary,
        decision: DecisionField::of(stamp),
    };
    let place = (&*news.env, &*news.service);
    let identity = format!(
        "automation\0{}\0{}\0{}\0{}\0{}\0{}",
        stamp.cluster, news.env, news.service, data.change, data.to, news.at.0
    );
    message(stamp, "dev.regressd.automation.v1", place, news.at, identity.as_bytes(), data)
}

#[derive(Serialize)]
struct AutomationFields<'a> {
    event: &'static str,
    change: &'static str,
    /// As it stands in the configuration, and as a control message names it.
    scope: ScopeFields<'a>,
    from: &'static str,
    to: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a str>,
    /// Labelled calls that it rests on, and how many of them were right.
    labelled: u64,
    right: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    bar: Option<f64>,
    summary: &'a str,
    decision: DecisionField<'a>,
}

#[derive(Serialize)]
struct ScopeFields<'a> {
    env: &'a str,
    service: &'a str,
}
