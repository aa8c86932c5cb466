//! Whether a rollback may be recommended, or a person must look.
//!
//! Pure questions about one deployment: they turn a rollback down, they never silence. All that apply are told, not
//! only the first, so that a person sees at once everything that stands in the way.

use super::flagged::Flagged;
use super::windows::Windows;
use crate::engine::effect::{Action, Automation, Grounds, Reason};
use crate::engine::event::DeploymentKind;
use crate::engine::gate::Proposal;
use crate::engine::policy::Policy;
use crate::engine::time::Time;

/// A way that is open, and what closed the others.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    pub action: Action,
    pub reasons: Vec<Reason>,
}

pub fn route(
    policy: &Policy,
    windows: &Windows,
    flagged: &Flagged,
    flapping: bool,
    now: Time,
    proposal: &Proposal,
) -> Route {
    let deployment = proposal.deployment;
    let level = proposal.automation.level;
    let mut reasons = Vec::new();
    match level {
        Automation::Shadow => reasons.push(Reason::Shadow),
        Automation::Advise => reasons.push(Reason::Advise),
        Automation::Recommend => {}
    }
    if proposal.automation.grounds == Grounds::Demoted {
        reasons.push(Reason::Demoted);
    }
    if windows.frozen(policy, now, deployment) {
        reasons.push(Reason::Freeze);
    }
    if windows.explained(policy, now, deployment) {
        reasons.push(Reason::ContextEvent);
    }
    if deployment.reversible == Some(false) {
        reasons.push(Reason::Irreversible);
    }
    match &deployment.previous_version {
        None => reasons.push(Reason::NoPreviousVersion),
        Some(version) if flagged.contains(deployment, version) => reasons.push(Reason::TargetFlagged),
        Some(_) => {}
    }
    if !proposal.weighty {
        reasons.push(Reason::NotCritical);
    }
    if deployment.kind == DeploymentKind::Rollback {
        reasons.push(Reason::RollbackOfRollback);
    }
    if proposal.slow {
        reasons.push(Reason::SlowDegradation);
    }
    if flapping {
        reasons.push(Reason::Flapping);
    }
    let action = match (level, reasons.is_empty()) {
        (Automation::Shadow, _) => Action::None,
        (_, true) => Action::Rollback,
        (_, false) => Action::Escalate,
    };
    Route { action, reasons }
}
