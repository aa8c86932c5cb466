//! What was changed since a deployment in its environment, and what going back would pass on its way.
//!
//! Who relies on whom is not known here: order and place alone tell what may stand on what. Whether that turns a
//! rollback down is the policy's affair.

use super::recent::Recent;
use crate::engine::effect::Stacked;
use crate::engine::event::{Deployment, DeploymentKind};
use crate::engine::time::Time;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Changes: some 400 bytes each, 2 MB in all. A forgotten one is not named.
const LIMIT: usize = 5_000;
/// Changes that a message names, the latest.
pub const NAMED: usize = 10;

/// Environment, service, deployment.
type Key = (Arc<str>, Arc<str>, Arc<str>);

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Stack {
    changes: Recent<Key, Change>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Change {
    env: Arc<str>,
    stacked: Stacked,
    version: Option<Arc<str>>,
    irreversible: bool,
}

impl Stack {
    pub fn deployed(&mut self, deployment: &Deployment) {
        let change = Change {
            env: deployment.env.clone(),
            stacked: stacked(deployment),
            version: deployment.version.clone(),
            irreversible: deployment.reversible == Some(false),
        };
        let key = (deployment.env.clone(), deployment.service.clone(), deployment.id.clone());
        self.changes.insert(key, change, LIMIT);
    }

    /// What was changed since, the latest first: settings of the same service, and other services.
    pub fn since(&self, now: Time, deployment: &Deployment) -> Vec<Stacked> {
        let near = self.changes.values().filter(|change| change.env == deployment.env && change.stacked.at <= now);
        let mut since: Vec<_> =
            near.map(|change| &change.stacked).filter(|each| stands_on(each, deployment)).cloned().collect();
        since.sort_by(|a, b| (b.at, &a.service, &a.deployment).cmp(&(a.at, &b.service, &b.deployment)));
        since.truncate(NAMED);
        since
    }

    /// Whether something that can't be undone lies between here and the version to go back to.
    pub fn passes_irreversible(&self, now: Time, deployment: &Deployment) -> bool {
        let own = |change: &&Change| {
            (&change.env, &change.stacked.service) == (&deployment.env, &deployment.service) && change.stacked.at <= now
        };
        let own: Vec<&Change> = self.changes.values().filter(own).collect();
        let target = own.iter().filter(|change| {
            let before = change.stacked.at <= deployment.at && change.stacked.deployment != deployment.id;
            before && change.version.is_some() && change.version == deployment.previous_version
        });
        // Where nobody knows when the version to go back to came, only what came after the suspect counts.
        let target = target.map(|change| change.stacked.at).max().unwrap_or(deployment.at);
        own.iter().any(|change| change.irreversible && change.stacked.at > target)
    }

    pub fn forgotten(&self) -> u64 {
        self.changes.forgotten()
    }
}

pub fn stacked(deployment: &Deployment) -> Stacked {
    Stacked {
        deployment: deployment.id.clone(),
        service: deployment.service.clone(),
        kind: deployment.kind,
        at: deployment.at,
    }
}

/// Whether a change of the same environment may rely on a deployment.
pub fn stands_on(change: &Stacked, deployment: &Deployment) -> bool {
    // Whoever goes back relies on less, and what takes a deployment's place does not stand on it.
    let own = change.service == deployment.service;
    let relies = if own { change.kind.is_setting() } else { change.kind != DeploymentKind::Rollback };
    relies && change.at > deployment.at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::gate::tests::deployment;
    use crate::engine::time::Span;

    fn minutes(n: i64) -> Time {
        Time(0) + Span::minutes(n)
    }

    fn change(service: &str, id: &str, at: i64, kind: DeploymentKind) -> Deployment {
        Deployment { kind, ..deployment(service, id, minutes(at)) }
    }

    #[test]
    fn what_came_later_is_named_the_latest_first() {
        let mut stack = Stack::default();
        let suspect = change("a", "suspect", 10, DeploymentKind::Deploy);
        for other in [
            suspect.clone(),
            change("b", "before", 9, DeploymentKind::Deploy),
            change("b", "after", 11, DeploymentKind::Deploy),
            change("c", "back", 12, DeploymentKind::Rollback),
            change("a", "flag", 13, DeploymentKind::Flag),
            change("a", "next", 14, DeploymentKind::Deploy),
            change("d", "tomorrow", 99, DeploymentKind::Deploy),
            Deployment { env: "staging".into(), ..change("b", "elsewhere", 12, DeploymentKind::Deploy) },
        ] {
            stack.deployed(&other);
        }
        let named = |now| -> Vec<String> {
            stack.since(minutes(now), &suspect).iter().map(|each| each.deployment.to_string()).collect()
        };
        assert_eq!(named(20), ["flag", "after"]);
        assert_eq!(named(12), ["after"]);
    }

    #[test]
    fn no_way_back_leads_past_what_cannot_be_undone() {
        let mut stack = Stack::default();
        let mut release = |version: &str, at, reversible| {
            let known =
                Deployment { version: Some(version.into()), reversible, ..deployment("a", version, minutes(at)) };
            stack.deployed(&known);
        };
        release("1", 0, None);
        release("2", 10, Some(false));
        release("3", 20, None);
        let back_to =
            |version: &str| Deployment { previous_version: Some(version.into()), ..deployment("a", "3", minutes(20)) };
        assert!(!stack.passes_irreversible(minutes(30), &back_to("2")), "2 stays");
        assert!(stack.passes_irreversible(minutes(30), &back_to("1")));
        assert!(!stack.passes_irreversible(minutes(30), &back_to("0")), "nobody knows when it was");
        let mut migrated = stack.clone();
        let migration = change("a", "migration", 25, DeploymentKind::Infra);
        migrated.deployed(&Deployment { reversible: Some(false), ..migration });
        assert!(migrated.passes_irreversible(minutes(30), &back_to("2")), "it stands on top");
        assert!(!migrated.passes_irreversible(minutes(24), &back_to("2")), "it is yet to come");
    }
}
