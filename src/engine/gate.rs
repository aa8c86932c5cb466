//! What may be said: guardrails between a verdict and the alerts topic.

use super::effect::{Action, Guardrails, Heard, Reason, VerdictKind};
use super::event::{Control, Deployment};
use super::policy::Policy;
use super::time::Time;
use serde::{Deserialize, Serialize};

/// What somebody wants to say.
#[derive(Clone, Debug)]
pub struct Proposal<'a> {
    pub thread: &'a str,
    pub deployment: &'a Deployment,
    pub verdict: VerdictKind,
    /// A newer deployment of the same service and environment has taken effect.
    pub superseded: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Say it, with this action; `guardrails.reasons` says what turned it down, if anything did.
    Say { action: Action, guardrails: Guardrails },
    /// Don't say it now; `would` is what would have been said. Ask again later: it may pass then.
    Hold { reason: Reason, would: Action },
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Gate {}

impl Gate {
    pub fn ask(&mut self, _policy: &Policy, _now: Time, _proposal: &Proposal) -> Answer {
        Answer::Hold { reason: Reason::Shadow, would: Action::None }
    }

    pub fn hear(&mut self, _policy: &Policy, _now: Time, _control: &Control) -> Heard {
        Heard::Unknown
    }
}
