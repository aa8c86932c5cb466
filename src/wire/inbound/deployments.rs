//! The deployments topic: what was changed, where, and when it begins to take effect.
//!
//! What it gives is owned: the engine keeps a deployment for as long as it is watched.

use super::document::Element;
use super::fields::{environment, moment, optional, prose, required, unknown};
use super::{RejectReason, Rejected};
use crate::engine::event::{Deployment, DeploymentKind, Fact};
use crate::wire::text::Text;
use serde::Deserialize;

/// Instances that carry a change; 10,000 of some 60 bytes each cost 0.8 MB while the deployment is watched.
const INSTANCES_MAX: usize = 10_000;

#[derive(Deserialize)]
pub(super) struct DeploymentFields<'a> {
    ts: Option<i64>,
    #[serde(borrow)]
    id: Option<Text<'a>>,
    service: Option<Text<'a>>,
    env: Option<Text<'a>>,
    version: Option<Text<'a>>,
    previous_version: Option<Text<'a>>,
    kind: Option<Text<'a>>,
    instances: Option<Vec<Text<'a>>>,
    author: Option<Text<'a>>,
    url: Option<Text<'a>>,
    commit: Option<Text<'a>>,
    team: Option<Text<'a>>,
    reversible: Option<bool>,
}

impl<'a> Element<'a> for DeploymentFields<'a> {
    fn fact(self) -> Result<Fact<'a>, Rejected> {
        let kind = match optional("kind", self.kind)?.as_deref().unwrap_or("deploy") {
            "deploy" => DeploymentKind::Deploy,
            "rollback" => DeploymentKind::Rollback,
            "config" => DeploymentKind::Config,
            "flag" => DeploymentKind::Flag,
            "infra" => DeploymentKind::Infra,
            other => return Err(unknown("kind", other, "deploy, rollback, config, flag, infra")),
        };
        let instances = self.instances.unwrap_or_default();
        if instances.len() > INSTANCES_MAX {
            let detail = format!("instances: {} of them, at most {INSTANCES_MAX}", instances.len());
            return Err(Rejected::new(RejectReason::TooMany, detail));
        }
        let instances = instances.into_iter().map(|instance| Ok(required("instances", Some(instance))?.into()));
        Ok(Fact::Deployment(Deployment {
            at: moment("ts", self.ts)?,
            id: required("id", self.id)?.into(),
            service: required("service", self.service)?.into(),
            env: environment(self.env)?.into(),
            version: optional("version", self.version)?.map(Into::into),
            previous_version: optional("previous_version", self.previous_version)?.map(Into::into),
            kind,
            instances: instances.collect::<Result<_, Rejected>>()?,
            author: prose("author", self.author)?,
            url: prose("url", self.url)?,
            commit: optional("commit", self.commit)?.map(Into::into),
            team: optional("team", self.team)?.map(Into::into),
            reversible: self.reversible,
        }))
    }
}
