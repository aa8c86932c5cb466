//! The recommendations topic: what is advised, about which deployment, on what evidence.
//!
//! Field names and their order are fixed here and pinned by published examples; nothing here decides anything.

use super::cloud_event::{DecisionField, message, readable, rfc3339, rounded};
use super::{Message, Stamp};
use crate::engine::effect::{
    Answer, Considered, Coverage, Evidence, Grounds, Guardrails, LogEvidence, Recommendation, Rollout, Share, Stacked,
};
use crate::engine::event::Deployment;
use serde::Serialize;

pub fn recommendation(said: &Recommendation, stamp: &Stamp) -> Message {
    let data = RecommendationFields {
        recommendation: &said.thread,
        sequence: said.sequence,
        lifecycle: said.lifecycle.word(),
        action: said.action.word(),
        verdict: said.verdict.word(),
        risk: said.risk,
        summary: &said.summary,
        deployment: DeploymentFields::of(&said.deployment),
        evidence: said.evidence.iter().map(EvidenceFields::of).collect(),
        coverage: said.coverage.iter().map(CoverageFields::of).collect(),
        considered: said.considered.iter().map(ConsideredFields::of).collect(),
        shares: said.shares.iter().map(ShareFields::of).collect(),
        guardrails: GuardrailFields::of(&said.guardrails),
        answer: said.answer.as_ref().map(AnswerFields::of),
        decision: DecisionField::of(stamp),
    };
    let about = (&*said.deployment.env, &*said.deployment.service);
    let identity = format!("{}\0{}", said.thread, said.sequence);
    message(stamp, "dev.regressd.recommendation.v1", about, said.at, identity.as_bytes(), data)
}

#[derive(Serialize)]
struct RecommendationFields<'a> {
    recommendation: &'a str,
    /// Counts the thread's messages from 0.
    sequence: u32,
    lifecycle: &'static str,
    action: &'static str,
    verdict: &'static str,
    #[serde(serialize_with = "rounded")]
    risk: f64,
    #[serde(skip_serializing_if = "str::is_empty")]
    summary: &'a str,
    deployment: DeploymentFields<'a>,
    evidence: Vec<EvidenceFields<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    coverage: Vec<CoverageFields<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    considered: Vec<ConsideredFields<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shares: Vec<ShareFields<'a>>,
    guardrails: GuardrailFields<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<AnswerFields<'a>>,
    decision: DecisionField<'a>,
}

/// What one release did, where many add up.
#[derive(Serialize)]
struct ShareFields<'a> {
    deployment: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(serialize_with = "rounded")]
    change: f64,
}

impl ShareFields<'_> {
    fn of(share: &Share) -> ShareFields<'_> {
        ShareFields { deployment: &share.deployment, version: share.version.as_deref(), change: share.change }
    }
}

/// Whose answer the message follows from, and what became of it.
#[derive(Serialize)]
struct AnswerFields<'a> {
    by: &'a str,
    decision: &'static str,
    outcome: &'static str,
}

impl AnswerFields<'_> {
    fn of(answer: &Answer) -> AnswerFields<'_> {
        AnswerFields { by: &answer.by, decision: answer.decision.word(), outcome: answer.outcome.word() }
    }
}

#[derive(Serialize)]
struct DeploymentFields<'a> {
    id: &'a str,
    service: &'a str,
    env: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_version: Option<&'a str>,
    ts: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    author: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    team: Option<&'a str>,
}

impl DeploymentFields<'_> {
    fn of(deployment: &Deployment) -> DeploymentFields<'_> {
        DeploymentFields {
            id: &deployment.id,
            service: &deployment.service,
            env: &deployment.env,
            version: deployment.version.as_deref(),
            previous_version: deployment.previous_version.as_deref(),
            ts: deployment.at.0,
            author: deployment.author.as_deref(),
            commit: deployment.commit.as_deref(),
            url: deployment.url.as_deref(),
            team: deployment.team.as_deref(),
        }
    }
}

#[derive(Serialize)]
struct EvidenceFields<'a> {
    signal: &'a str,
    direction: &'static str,
    #[serde(serialize_with = "rounded")]
    baseline: f64,
    #[serde(serialize_with = "rounded")]
    current: f64,
    #[serde(serialize_with = "rounded")]
    change: f64,
    /// Where the change may lie at 95 %.
    interval: IntervalFields,
    /// Absent where the baseline is zero, or so near to it that the ratio says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
    onset: i64,
    #[serde(serialize_with = "rounded")]
    strength: f64,
    samples: SampleCounts,
    method: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    instances: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<LogFields<'a>>,
}

#[derive(Serialize)]
struct LogFields<'a> {
    template: &'a str,
    template_id: &'a str,
    severity: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    exception: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frame: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    examples: &'a [String],
    lines: SampleCounts,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_seen: Option<i64>,
    /// Of the instances that carry the change, how many write it.
    #[serde(serialize_with = "rounded")]
    share: f64,
    only_new: bool,
}

impl LogFields<'_> {
    fn of(log: &LogEvidence) -> LogFields<'_> {
        LogFields {
            template: &log.template,
            template_id: &log.template_id,
            severity: &log.severity,
            exception: log.exception.as_deref(),
            frame: log.frame.as_deref(),
            examples: &log.examples,
            lines: SampleCounts { baseline: log.before, current: log.after },
            first_seen: log.first.map(|first| first.0),
            share: log.share,
            only_new: log.only_new,
        }
    }
}

#[derive(Serialize)]
struct IntervalFields {
    #[serde(serialize_with = "rounded")]
    lower: f64,
    #[serde(serialize_with = "rounded")]
    upper: f64,
}

#[derive(Serialize)]
struct SampleCounts {
    baseline: u64,
    current: u64,
}

impl EvidenceFields<'_> {
    fn of(evidence: &Evidence) -> EvidenceFields<'_> {
        let ratio = evidence.current / evidence.baseline;
        EvidenceFields {
            signal: &evidence.signal,
            direction: evidence.direction.word(),
            baseline: evidence.baseline,
            current: evidence.current,
            change: evidence.current - evidence.baseline,
            interval: IntervalFields { lower: evidence.interval.lower, upper: evidence.interval.upper },
            ratio: (evidence.baseline != 0.0 && ratio.is_finite()).then(|| readable(ratio)),
            onset: evidence.onset.0,
            strength: evidence.strength,
            samples: SampleCounts { baseline: evidence.samples_baseline, current: evidence.samples_current },
            method: evidence.method.word(),
            unit: evidence.unit.as_deref(),
            instances: &evidence.instances,
            log: evidence.log.as_deref().map(LogFields::of),
        }
    }
}

#[derive(Serialize)]
struct CoverageFields<'a> {
    signal: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    smallest_change: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lack: Option<&'static str>,
}

impl CoverageFields<'_> {
    fn of(coverage: &Coverage) -> CoverageFields<'_> {
        CoverageFields {
            signal: &coverage.signal,
            smallest_change: coverage.smallest_change.map(readable),
            lack: coverage.lack.map(|lack| lack.word()),
        }
    }
}

/// Another deployment that was under watch, and how it stands.
#[derive(Serialize)]
struct ConsideredFields<'a> {
    deployment: DeploymentFields<'a>,
    standing: &'static str,
}

impl ConsideredFields<'_> {
    fn of(considered: &Considered) -> ConsideredFields<'_> {
        ConsideredFields {
            deployment: DeploymentFields::of(&considered.deployment),
            standing: considered.standing.word(),
        }
    }
}

#[derive(Serialize)]
struct GuardrailFields<'a> {
    automation: &'static str,
    /// Why it is not the configured level; absent where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    automation_grounds: Option<&'static str>,
    requires_approval: bool,
    #[serde(skip_serializing_if = "is_zero")]
    approvals: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    escalate_to: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cooldown_until: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    members: Vec<MemberFields<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stacked: Vec<StackedFields<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollout: Option<RolloutFields>,
    reasons: Vec<&'static str>,
}

/// A change made since the suspected one.
#[derive(Serialize)]
struct StackedFields<'a> {
    deployment: &'a str,
    service: &'a str,
    kind: &'static str,
    ts: i64,
}

impl StackedFields<'_> {
    fn of(stacked: &Stacked) -> StackedFields<'_> {
        let Stacked { deployment, service, kind, at } = stacked;
        StackedFields { deployment, service, kind: kind.word(), ts: at.0 }
    }
}

/// How many instances run the new version, while that grows.
#[derive(Serialize)]
struct RolloutFields {
    carrying: u32,
    of: u32,
}

/// One of many regressions at once.
#[derive(Serialize)]
struct MemberFields<'a> {
    service: &'a str,
    deployment: &'a str,
}

impl GuardrailFields<'_> {
    fn of(guardrails: &Guardrails) -> GuardrailFields<'_> {
        GuardrailFields {
            automation: guardrails.automation.word(),
            automation_grounds: Some(guardrails.grounds).filter(|g| *g != Grounds::Configured).map(Grounds::word),
            requires_approval: guardrails.requires_approval,
            approvals: guardrails.approvals,
            answer_by: guardrails.answer_by.map(rfc3339),
            escalate_to: guardrails.escalate_to.as_deref(),
            expires: guardrails.expires.map(rfc3339),
            cooldown_until: guardrails.cooldown_until.map(rfc3339),
            members: guardrails
                .members
                .iter()
                .map(|member| MemberFields { service: &member.service, deployment: &member.deployment })
                .collect(),
            stacked: guardrails.stacked.iter().map(StackedFields::of).collect(),
            rollout: guardrails.rollout.map(|Rollout { carrying, of }| RolloutFields { carrying, of }),
            reasons: guardrails.reasons.iter().map(|reason| reason.word()).collect(),
        }
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}
