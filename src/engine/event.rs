//! Everything that can happen to the engine: a closed list of inputs.
//!
//! Text is borrowed where the decoder could borrow it: a sample lives for one `step` and is never kept. What the engine
//! keeps (deployments, control messages) is owned. Nothing here knows a field name of a topic; that is the wire's.

use super::effect::Automation;
use super::time::Time;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;

/// One input: what happened, and when the log took it.
///
/// `now` runs cooldowns and deadlines; the engine makes it monotone itself. When the fact happened (`at`) stands in the
/// fact.
#[derive(Clone, Debug, PartialEq)]
pub struct Input<'a> {
    pub now: Time,
    pub fact: Fact<'a>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Fact<'a> {
    Sample(Sample<'a>),
    Log(LogLine<'a>),
    Deployment(Deployment),
    Control(Control),
    /// A deadline has come: `now` is the deadline that `next_deadline` gave, not the moment somebody woke.
    Tick,
    /// The state is new though the log may be old: deployments before `since` are learned from, not spoken of.
    ColdStart {
        since: Time,
    },
    /// Metrics or log lines of this stretch of time are gone for good: the log dropped them before they were read.
    Gap {
        from: Time,
        to: Time,
    },
    /// A new policy is in force from here on.
    PolicyChanged,
    /// The recording stops here: every open watch is closed on the data there is.
    Drain,
}

/// Whom a sample or a log line is about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Origin<'a> {
    pub service: Cow<'a, str>,
    pub env: Cow<'a, str>,
    pub version: Option<Cow<'a, str>>,
    /// A pod, host or task.
    pub instance: Option<Cow<'a, str>>,
}

/// Sorted by name, no name twice.
pub type Labels<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'a> {
    pub at: Time,
    pub origin: Origin<'a>,
    pub metric: Cow<'a, str>,
    pub reading: Reading,
    /// UCUM, as the producer wrote it.
    pub unit: Option<Cow<'a, str>>,
    pub labels: Labels<'a>,
}

/// All numbers are finite; counters, deltas and counts are not negative. The wire checks it.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    Gauge(f64),
    /// Cumulative since the process started; falls only when it restarts.
    Counter(f64),
    /// Counted since the last sample.
    Delta(f64),
    Histogram(Buckets),
}

/// A histogram's delta since the last sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Buckets {
    /// Upper bounds, ascending, finite.
    pub bounds: Vec<f64>,
    /// One more than `bounds`; the last counts what lies above the highest bound.
    pub counts: Vec<u64>,
    pub sum: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Severity {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Fatal,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LogLine<'a> {
    pub at: Time,
    pub origin: Origin<'a>,
    pub severity: Severity,
    pub message: Cow<'a, str>,
    pub labels: Labels<'a>,
}

/// A change that begins to take effect at `at`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    pub at: Time,
    pub id: Arc<str>,
    pub service: Arc<str>,
    pub env: Arc<str>,
    pub version: Option<Arc<str>>,
    pub previous_version: Option<Arc<str>>,
    pub kind: DeploymentKind,
    /// The instances that carry the change (a canary); empty where nobody said.
    pub instances: Vec<Arc<str>>,
    pub author: Option<Arc<str>>,
    pub url: Option<Arc<str>>,
    pub commit: Option<Arc<str>>,
    /// Whose it is, where the producer said; else the configuration's rules say.
    pub team: Option<Arc<str>>,
    /// `Some(false)` where going back is known to do harm (a migration).
    pub reversible: Option<bool>,
}

impl Deployment {
    /// A deployment of which nobody said more than when it began, which it is and where.
    pub fn new(at: Time, id: &str, service: &str, env: &str) -> Deployment {
        Deployment {
            at,
            id: id.into(),
            service: service.into(),
            env: env.into(),
            version: None,
            previous_version: None,
            kind: DeploymentKind::Deploy,
            instances: Vec::new(),
            author: None,
            url: None,
            commit: None,
            team: None,
            reversible: None,
        }
    }
}

words! {
    /// What was changed.
    pub enum DeploymentKind {
        Deploy = "deploy",
        Rollback = "rollback",
        Config = "config",
        Flag = "flag",
        Infra = "infra",
    }
}

impl DeploymentKind {
    /// A change of settings leaves the version in place that it was made on.
    pub fn is_setting(self) -> bool {
        matches!(self, DeploymentKind::Config | DeploymentKind::Flag | DeploymentKind::Infra)
    }
}

/// People and other systems speaking to the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Control {
    pub at: Time,
    pub by: Option<Arc<str>>,
    pub word: Word,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Word {
    Feedback {
        about: About,
        verdict: Feedback,
        comment: Option<Arc<str>>,
    },
    Approval {
        recommendation: Arc<str>,
        decision: Decision,
    },
    Freeze(Window),
    Mute(Window),
    Context {
        window: Window,
        kind: ContextKind,
    },
    /// A scope of automation, with its patterns as the configuration has them, is to have this level.
    Automation {
        scope: Scope,
        level: Automation,
    },
}

impl Word {
    /// Every public word, in the order of the list above.
    pub const ALL: &'static [&'static str] = &["feedback", "approval", "freeze", "mute", "context", "automation"];

    /// The public word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Word::Feedback { .. } => "feedback",
            Word::Approval { .. } => "approval",
            Word::Freeze(_) => "freeze",
            Word::Mute(_) => "mute",
            Word::Context { .. } => "context",
            Word::Automation { .. } => "automation",
        }
    }

    /// The environment and service it speaks of; `*` where it means all.
    pub fn scope(&self) -> (Arc<str>, Arc<str>) {
        let all = || Arc::from("*");
        let scope = match self {
            Word::Feedback { .. } | Word::Approval { .. } => Scope::default(),
            Word::Freeze(window) | Word::Mute(window) | Word::Context { window, .. } => window.scope.clone(),
            Word::Automation { scope, .. } => scope.clone(),
        };
        (scope.env.unwrap_or_else(all), scope.service.unwrap_or_else(all))
    }

    /// The recommendation it speaks of, if it names one.
    pub fn recommendation(&self) -> Option<Arc<str>> {
        match self {
            Word::Approval { recommendation, .. } => Some(recommendation.clone()),
            Word::Feedback { about: About::Recommendation(id), .. } => Some(id.clone()),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum About {
    Recommendation(Arc<str>),
    Deployment(Arc<str>),
}

words! {
    /// What somebody thinks of a verdict. Of two at the same moment the later in this list counts.
    pub enum Feedback {
        Correct = "correct",
        FalseAlarm = "false_alarm",
        Missed = "missed",
    }
}

words! {
    /// What somebody decided about a recommendation.
    pub enum Decision {
        Approved = "approved",
        Rejected = "rejected",
    }
}

words! {
    /// What a window does.
    pub enum WindowKind {
        /// No change: a person decides.
        Freeze = "freeze",
        /// No word.
        Mute = "mute",
        /// Something else goes on that may explain a change.
        Context = "context",
    }
}

/// A stretch of time `[from, to)` declared for a scope.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    pub scope: Scope,
    pub from: Time,
    pub to: Time,
    pub reason: Option<Arc<str>>,
}

/// Where a declaration holds; `None` means everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    pub env: Option<Arc<str>>,
    pub service: Option<Arc<str>>,
}

impl Scope {
    pub fn covers(&self, env: &str, service: &str) -> bool {
        self.env.as_deref().is_none_or(|e| e == env) && self.service.as_deref().is_none_or(|s| s == service)
    }
}

words! {
    /// What happened that may explain a change.
    pub enum ContextKind {
        TrafficEvent = "traffic_event",
        InfraChange = "infra_change",
        DependencyIncident = "dependency_incident",
        BusinessEvent = "business_event",
    }
}
