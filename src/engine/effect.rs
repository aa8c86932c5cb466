//! Everything the engine can ask for: a closed list of effects, decided to the last detail.
//!
//! The shell publishes them in order and chooses nothing. Every enum here has a `word()`: the same word stands in the
//! JSON, in the audit, in metric labels and in the docs.

mod evidence;
mod measured;

use super::event::{Decision, Deployment, DeploymentKind, Feedback};
use super::time::{Span, Time};
pub use evidence::{Evidence, Interval, LogEvidence};
pub use measured::{
    Accuracy, AutomationNews, Bin, Change, Grounds, Outcome, Row, Rung, Share95, Source, Tally, wilson,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    Recommend(Box<Recommendation>),
    Audit(Audit),
    Heartbeat(Box<Heartbeat>),
    Accuracy(Box<Accuracy>),
    Automation(Box<AutomationNews>),
    Drift(Box<Drift>),
}

/// A service got worse over days, and nothing was deployed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    pub at: Time,
    pub env: Arc<str>,
    pub service: Arc<str>,
    /// The largest change first.
    pub signals: Vec<Drifted>,
}

/// One signal's part in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drifted {
    /// The metric and its labels as one readable name.
    pub signal: String,
    /// UCUM, where a producer said it.
    pub unit: Option<String>,
    pub direction: Direction,
    /// The level a week ago and now, in the signal's unit.
    pub baseline: f64,
    pub current: f64,
    /// Relative, as `min_change` means it.
    pub change: f64,
    pub since: Time,
}

/// Alive, and what of: told every so often, whatever happens.
#[derive(Clone, Debug, PartialEq)]
pub struct Heartbeat {
    pub at: Time,
    /// Open watches, and threads that still ask for something.
    pub watches: u64,
    pub threads: u64,
    pub services: u64,
    /// How far the newest sample lay behind the log when it came; none before the first sample.
    pub behind: Option<Span>,
    /// Metrics, logs, deployments, control words: none where nothing ever came.
    pub inputs: [Option<Spoken>; 4],
    /// Services that have fallen silent within the last day, and the environment and name of the first of them.
    pub silent: u64,
    pub silent_services: Vec<(Arc<str>, Arc<str>)>,
}

/// When an input spoke last.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spoken {
    pub last: Time,
    /// That was more than five minutes ago.
    pub silent: bool,
}

/// One message of a recommendation thread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recommendation {
    /// The thread; derived from environment, service and deployment id.
    pub thread: Arc<str>,
    /// Counts the thread's messages from 0; with `thread` it makes the message's id.
    pub sequence: u32,
    /// Event time of publication.
    pub at: Time,
    pub lifecycle: Lifecycle,
    pub action: Action,
    pub verdict: VerdictKind,
    /// How sure we are that the deployment did harm, in [0, 1].
    pub risk: f64,
    pub deployment: Arc<Deployment>,
    /// One sentence for a pager.
    pub summary: String,
    /// Strongest first.
    pub evidence: Vec<Evidence>,
    /// `clean`: what would have been seen. `inconclusive`: what was lacking.
    pub coverage: Vec<Coverage>,
    pub guardrails: Guardrails,
    /// Of a regression: other deployments of the environment that were under watch at the time.
    pub considered: Vec<Considered>,
    /// What each release did, where many add up; oldest first.
    pub shares: Vec<Share>,
    /// What somebody answered that this message follows from, and what became of it.
    pub answer: Option<Answer>,
}

/// Another deployment that could have done it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Considered {
    pub deployment: Arc<Deployment>,
    pub standing: Standing,
}

words! {
    /// How a deployment stands beside one that was found to be a regression.
    pub enum Standing {
        /// It took effect when the harm had begun already.
        Later = "later",
        /// Its own service shows nothing so far.
        NothingFound = "nothing_found",
        /// It was found to be a regression too.
        Suspected = "suspected",
    }
}

/// A change made since the suspected one took effect: going back may take away what it stands on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stacked {
    pub deployment: Arc<str>,
    pub service: Arc<str>,
    pub kind: DeploymentKind,
    pub at: Time,
}

/// How far a new version has got while more and more instances take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// Instances that run it.
    pub carrying: u32,
    /// Instances there are.
    pub of: u32,
}

/// One of many regressions at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    pub service: Arc<str>,
    pub deployment: Arc<str>,
}

/// One release's part in a change that several made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Share {
    pub deployment: Arc<str>,
    pub version: Option<Arc<str>>,
    /// Relative to the level before it, as `min_change` means it.
    pub change: f64,
}

/// A person's answer in a thread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    pub by: Arc<str>,
    pub decision: Decision,
    pub outcome: Heard,
}

words! {
    /// What a message of a thread says about the thread.
    pub enum Lifecycle {
        Issued = "issued",
        Updated = "updated",
        Superseded = "superseded",
        Withdrawn = "withdrawn",
        Approved = "approved",
        Rejected = "rejected",
        Expired = "expired",
        Verified = "verified",
    }
}

words! {
    /// What a person or an executor is asked to do.
    pub enum Action {
        /// Roll back is recommended.
        Rollback = "rollback",
        /// A person must look: a guardrail forbids or doubts a rollback.
        Escalate = "escalate",
        /// Information only.
        None = "none",
    }
}

words! {
    /// What is true, as far as can be told.
    pub enum VerdictKind {
        Regression = "regression",
        Clean = "clean",
        Inconclusive = "inconclusive",
    }
}

words! {
    /// How far the daemon may go.
    pub enum Automation {
        Shadow = "shadow",
        Advise = "advise",
        Recommend = "recommend",
    }
}

words! {
    /// Which way a signal moved.
    pub enum Direction {
        Increase = "increase",
        Decrease = "decrease",
    }
}

words! {
    /// Why a recommendation was held back or turned down to less than a rollback.
    pub enum Reason {
        /// The scope's automation level is `shadow`.
        Shadow = "shadow",
        /// The scope's automation level is `advise`: a person is asked to look.
        Advise = "advise",
        /// The scope's level was lowered, as too little of what was called there was right.
        Demoted = "demoted",
        /// The same advice stands already.
        AlreadySaid = "already_said",
        /// A newer deployment has taken this one's place.
        Superseded = "superseded",
        /// It was deployed before the daemon had any state: learned from, not spoken of.
        Stale = "stale",
        /// A freeze window covers the scope: no change, so a person decides.
        Freeze = "freeze",
        /// A context window (traffic event, infrastructure change, …) may explain it: a person decides.
        ContextEvent = "context_event",
        /// Somebody muted the scope.
        Mute = "mute",
        /// The deployment is itself a rollback: rolling it back would go round in circles.
        RollbackOfRollback = "rollback_of_rollback",
        /// The producer said that the change can't be undone.
        Irreversible = "irreversible",
        /// Nobody said which version to go back to.
        NoPreviousVersion = "no_previous_version",
        /// The version to go back to was itself found to be a regression.
        TargetFlagged = "target_flagged",
        /// Nothing that users feel got worse, and no signal that the configuration calls critical: a person decides.
        NotCritical = "not_critical",
        /// A recommendation for this service and environment is too recent.
        Cooldown = "cooldown",
        /// The service's rate limit is used up.
        ServiceLimit = "service_limit",
        /// The team's rate limit is used up.
        TeamLimit = "team_limit",
        /// The environment's rate limit is used up.
        EnvLimit = "env_limit",
        /// The fleet's rate limit is used up.
        FleetLimit = "fleet_limit",
        /// The service went back and forth between two versions: another rollback would be the next turn.
        Flapping = "flapping",
        /// Another setting of the service was changed since: nobody has run the old version with that.
        ChangedSince = "changed_since",
        /// Other services of the environment were deployed since: they may rely on the new version.
        DeployedSince = "deployed_since",
        /// More and more instances take the new version right now: going back would meet the rollout half-way.
        RollingOut = "rolling_out",
        /// Many releases did a little each: going back by one would not undo it.
        SlowDegradation = "slow_degradation",
        /// Many services of the environment got worse at once: this one speaks for all of them.
        Storm = "storm",
        /// Another one speaks for it in a storm.
        Grouped = "grouped",
        /// Nobody who may approved or rejected the rollback in time.
        NoAnswer = "no_answer",
        /// It was rolled back, and what had got worse is as bad as before.
        RollbackDidNotHelp = "rollback_did_not_help",
    }
}

words! {
    /// How a piece of evidence was come by.
    pub enum Method {
        /// The new version against the old one at the same time.
        NewAgainstOld = "new_against_old",
        /// After the deployment against what was to be expected there.
        AfterAgainstExpected = "after_against_expected",
        /// One instance against its peers.
        InstanceAgainstPeers = "instance_against_peers",
        /// Events where there were none, counted exactly.
        RareEvents = "rare_events",
        /// Something that used to report no longer does.
        Silence = "silence",
        /// A kind of log line that was never seen before.
        NewTemplate = "new_template",
        /// Releases that were each too small to matter, added up.
        StepsAddUp = "steps_add_up",
    }
}

words! {
    /// What a signal lacked when a watch ended without an answer.
    pub enum Lack {
        NoSamples = "no_samples",
        NoSamplesFromNewVersion = "no_samples_from_new_version",
        TooYoung = "too_young",
        NoTraffic = "no_traffic",
        Gap = "gap",
        TooNoisy = "too_noisy",
        Overflow = "overflow",
        Superseded = "superseded",
    }
}

/// What a watch that found nothing could have found, or why it could not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    pub signal: String,
    /// The smallest relative change that would have been called, where known.
    pub smallest_change: Option<f64>,
    pub lack: Option<Lack>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Guardrails {
    pub automation: Automation,
    /// Why it is that level.
    pub grounds: Grounds,
    pub requires_approval: bool,
    /// How many must approve; 0 where nobody need.
    pub approvals: u32,
    /// Until when they are to answer; then it escalates.
    pub answer_by: Option<Time>,
    /// Whom to turn to if they don't, where the configuration names somebody.
    pub escalate_to: Option<Arc<str>>,
    pub expires: Option<Time>,
    pub cooldown_until: Option<Time>,
    /// In a storm: for whom it speaks, itself included.
    pub members: Vec<Member>,
    /// The latest changes since the deployment in its environment; at most 10.
    pub stacked: Vec<Stacked>,
    /// While it is being rolled out.
    pub rollout: Option<Rollout>,
    pub reasons: Vec<Reason>,
}

/// One decision, written down: nothing is held, dropped or said without it.
#[derive(Clone, Debug, PartialEq)]
pub struct Audit {
    pub at: Time,
    pub env: Arc<str>,
    pub service: Arc<str>,
    pub deployment: Option<Arc<str>>,
    pub recommendation: Option<Arc<str>>,
    pub event: AuditEvent,
}

#[derive(Clone, Debug, PartialEq)]
pub enum AuditEvent {
    WatchOpened {
        until: Time,
    },
    /// The verdict as the evidence has it, before anything was asked of the gate.
    Verdict {
        kind: VerdictKind,
        risk: f64,
    },
    /// Would have been said, and was not.
    Held {
        reason: Reason,
        would: Action,
    },
    Said {
        lifecycle: Lifecycle,
        action: Action,
        reasons: Vec<Reason>,
    },
    WatchClosed {
        kind: VerdictKind,
    },
    /// A deployment that opened no watch, and why.
    NotWatched {
        why: NotWatched,
    },
    /// A control message, and what became of it.
    Heard {
        word: &'static str,
        by: Option<Arc<str>>,
        outcome: Heard,
        /// Of feedback: what it says, and the label that is in force now.
        label: Option<FeedbackLabel>,
    },
    /// A scope's level changed, or is offered; service and environment are its patterns.
    Automation {
        change: Change,
        from: Automation,
        to: Automation,
        by: Option<Arc<str>>,
    },
}

/// What feedback says of a deployment, and what the deployment is taken for now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FeedbackLabel {
    pub said: Feedback,
    /// None where nothing is known of what it speaks of.
    pub harmful: Option<bool>,
}

words! {
    /// Why a deployment opened no watch.
    pub enum NotWatched {
        /// The same deployment id was seen before for this service and environment.
        Duplicate = "duplicate",
        /// It took effect longer ago than a watch lasts.
        TooOld = "too_old",
        /// It lies further ahead than clocks may differ.
        FarFuture = "far_future",
        /// There are as many services or watches as the limits allow.
        Overflow = "overflow",
    }
}

words! {
    /// What became of a control message.
    pub enum Heard {
        Taken = "taken",
        /// Taken; but the beginning of its time was learned from before it was told.
        TakenLate = "taken_late",
        /// Said before; nothing changed.
        Repeated = "repeated",
        /// It speaks of a recommendation, deployment or scope nobody knows.
        Unknown = "unknown",
        /// Its window has ended already.
        Ended = "ended",
        /// There are as many windows as the limits allow.
        Overflow = "overflow",
        /// Whoever said it may not decide this.
        NotEntitled = "not_entitled",
        /// Nobody was asked anything in this thread.
        NotAsked = "not_asked",
        /// It was decided before; the decision stands.
        AlreadyDecided = "already_decided",
        /// The thread has ended: expired, superseded, withdrawn, verified, or the rollback is under way.
        TooLate = "too_late",
    }
}
