//! Metrics of each partition of the input topics: how far it is read, and what became of what was read.
//!
//! Levels are taken back when a partition is no longer ours; counters stay, as it may come back. Per partition there
//! are a dozen series.

use super::families::Families;
use crate::shell::consumer::tally::Tally;
use prometheus::{IntCounterVec, IntGaugeVec};

const PLACE: [&str; 2] = ["topic", "partition"];

pub struct Places {
    lag: IntGaugeVec,
    position: IntGaugeVec,
    messages: IntCounterVec,
    facts: IntCounterVec,
}

impl Places {
    pub fn new(new: &Families) -> Places {
        let (with_stage, with_outcome) = (["topic", "partition", "stage"], ["topic", "partition", "outcome"]);
        let became = "What became of facts and of messages that can't be taken, by partition.";
        Places {
            lag: new.int_gauges("consumer_lag_messages", "Messages not taken yet.", &PLACE),
            position: new.int_gauges("partition_position", "The next offset, by how far things are.", &with_stage),
            messages: new.counters("partition_messages_total", "Messages taken, by partition.", &PLACE),
            facts: new.counters("partition_facts_total", became, &with_outcome),
        }
    }

    pub fn set_lag(&self, topic: &str, partition: i32, messages: i64) {
        self.lag.with_label_values(&[topic, &partition.to_string()]).set(messages.max(0));
    }

    /// A stage whose offset is not known yet is not shown.
    pub fn show(&self, topic: &str, partition: i32, stages: &[(&str, i64)], tally: &Tally) {
        let number = partition.to_string();
        for (stage, next) in stages.iter().filter(|(_, next)| *next >= 0) {
            self.position.with_label_values(&[topic, &number, stage]).set(*next);
        }
        let messages = self.messages.with_label_values(&[topic, &number]);
        messages.inc_by(tally.messages().saturating_sub(messages.get()));
        for (outcome, count) in tally.fates() {
            let facts = self.facts.with_label_values(&[topic, &number, outcome]);
            facts.inc_by(count.saturating_sub(facts.get()));
        }
    }

    pub fn forget(&self, topic: &str, partition: i32) {
        let number = partition.to_string();
        // That there was no such series is as good.
        let _ = self.lag.remove_label_values(&[topic, &number]);
        for stage in ["stepped", "acknowledged", "remembered", "committed"] {
            let _ = self.position.remove_label_values(&[topic, &number, stage]);
        }
    }
}
