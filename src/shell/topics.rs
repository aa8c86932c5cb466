//! Which topic carries what, by configuration.
//!
//! Answers the one question that is left when a message arrives: is it a metric, a log line, a deployment or a word of
//! control? The daemon's own output topics are no input, and the configuration refuses a name that stands twice.

use super::config;
use crate::engine::Part;
use crate::wire::inbound::Kind;
use std::sync::Arc;

/// The names, ready to be asked.
pub struct Topics {
    inputs: Vec<(String, Kind)>,
    pub recommendations: Arc<str>,
    pub audit: Arc<str>,
    pub dead_letter: Arc<str>,
    /// What the seats of a fleet write to each other.
    pub letters: Arc<str>,
}

impl Topics {
    pub fn new(topics: &config::Topics) -> Topics {
        let kinds = [
            (&topics.metrics, Kind::Metrics),
            (&topics.logs, Kind::Logs),
            (&topics.deployments, Kind::Deployments),
            (&topics.control, Kind::Control),
        ];
        let named = kinds.into_iter().flat_map(|(names, kind)| names.iter().map(move |name| (name.clone(), kind)));
        Topics {
            inputs: named.collect(),
            recommendations: topics.recommendations.as_str().into(),
            audit: topics.audit.as_str().into(),
            dead_letter: topics.dead_letter.as_str().into(),
            letters: topics.fleet.as_str().into(),
        }
    }

    /// The same for a seat of a fleet: the desk reads what people say and what lanes tell, a lane everything else too.
    pub fn seated(topics: &config::Topics, part: Part) -> Topics {
        let mut seated = Topics::new(topics);
        if let Part::Desk(_) = part {
            seated.inputs.retain(|(_, kind)| *kind == Kind::Control);
            seated.inputs.push((topics.fleet.clone(), Kind::Letters));
        }
        seated
    }

    /// What the topic carries; `None` for a topic that nobody asked for.
    pub fn kind(&self, topic: &str) -> Option<Kind> {
        self.inputs.iter().find(|(name, _)| name == topic).map(|(_, kind)| *kind)
    }

    /// The topics to listen to.
    pub fn inputs(&self) -> impl Iterator<Item = &str> {
        self.inputs.iter().map(|(name, _)| name.as_str())
    }
}
