//! Versions found to be regressions: nobody is sent back to one of them.
//!
//! What is flagged is what the verdict said, whether or not it was published. A clean verdict or a person's "false
//! alarm" takes the flag away.

use super::recent::Recent;
use crate::engine::event::{Deployment, DeploymentKind};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Some 300 bytes each, 3 MB in all. A forgotten one can be recommended as a target again.
const LIMIT: usize = 10_000;

/// Environment, service, version.
type Key = (Arc<str>, Arc<str>, Arc<str>);

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Flagged {
    versions: Recent<Key, ()>,
}

impl Flagged {
    pub fn contains(&self, deployment: &Deployment, version: &Arc<str>) -> bool {
        self.versions.get(&key(deployment, version)).is_some()
    }

    pub fn flag(&mut self, deployment: &Deployment) {
        if let Some(version) = changed_version(deployment) {
            self.versions.insert(key(deployment, version), (), LIMIT);
        }
    }

    pub fn clear(&mut self, deployment: &Deployment) {
        if let Some(version) = changed_version(deployment) {
            self.versions.remove(&key(deployment, version));
        }
    }

    pub fn forgotten(&self) -> u64 {
        self.versions.forgotten()
    }
}

/// A changed setting says nothing about the version it was made on.
fn changed_version(deployment: &Deployment) -> Option<&Arc<str>> {
    match deployment.kind {
        DeploymentKind::Deploy | DeploymentKind::Rollback => deployment.version.as_ref(),
        DeploymentKind::Config | DeploymentKind::Flag | DeploymentKind::Infra => None,
    }
}

fn key(deployment: &Deployment, version: &Arc<str>) -> Key {
    (deployment.env.clone(), deployment.service.clone(), version.clone())
}
