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
    /// What is not read from its own topic, but passed on by others.
    relayed: Vec<(String, Kind)>,
    /// The one partition that is read of a topic.
    only: Option<(String, i32)>,
    pub recommendations: Arc<str>,
    pub audit: Arc<str>,
    pub dead_letter: Arc<str>,
    /// What the seats of a fleet write to each other.
    pub letters: Arc<str>,
    /// Through which metrics and logs are passed on to their lanes.
    pub lanes: Arc<str>,
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
            relayed: Vec::new(),
            only: None,
            recommendations: topics.recommendations.as_str().into(),
            audit: topics.audit.as_str().into(),
            dead_letter: topics.dead_letter.as_str().into(),
            letters: topics.fleet.as_str().into(),
            lanes: topics.lanes.as_str().into(),
        }
    }

    /// The same for a seat of a fleet: the desk reads what people say and what lanes tell, a lane everything else too.
    pub fn seated(topics: &config::Topics, part: Part, is_relayed: bool) -> Topics {
        let mut seated = Topics::new(topics);
        match part {
            Part::Desk(_) => {
                seated.inputs.retain(|(_, kind)| *kind == Kind::Control);
                seated.inputs.push((topics.fleet.clone(), Kind::Letters));
            }
            Part::Lane(lane, _) if is_relayed => {
                seated.relayed = seated.inputs.extract_if(.., |(_, kind)| is_passed_on(*kind)).collect();
                seated.inputs.push((topics.lanes.clone(), Kind::Letters));
                seated.only = i32::try_from(lane).ok().map(|lane| (topics.lanes.clone(), lane));
            }
            Part::Lane(..) | Part::Whole => {}
        }
        seated
    }

    /// Of those who pass on: metrics and logs alone.
    pub fn of_relay(topics: &config::Topics) -> Topics {
        let mut relay = Topics::new(topics);
        relay.inputs.retain(|(_, kind)| is_passed_on(*kind));
        relay
    }

    /// Whether this partition of an input topic is to be read.
    pub fn reads(&self, topic: &str, partition: i32) -> bool {
        self.only.as_ref().is_none_or(|(only, number)| only != topic || *number == partition)
    }

    /// The topics whose messages are passed on by others.
    pub fn relayed(&self) -> &[(String, Kind)] {
        &self.relayed
    }

    /// What the topic carries; `None` for a topic that nobody asked for.
    pub fn kind(&self, topic: &str) -> Option<Kind> {
        self.inputs.iter().chain(&self.relayed).find(|(name, _)| name == topic).map(|(_, kind)| *kind)
    }

    /// The topics to listen to.
    pub fn inputs(&self) -> impl Iterator<Item = &str> {
        self.inputs.iter().map(|(name, _)| name.as_str())
    }
}

fn is_passed_on(kind: Kind) -> bool {
    matches!(kind, Kind::Metrics | Kind::Logs)
}
