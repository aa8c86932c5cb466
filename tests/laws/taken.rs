//! The decoder's law: a payload is taken whole or refused with a reason, and what is taken keeps the rules.

use regressd::engine::event::{Fact, Reading};
use regressd::wire::inbound::{Kind, Rejected, decode};
use regressd::wire::recording;

const KINDS: [Kind; 4] = [Kind::Metrics, Kind::Logs, Kind::Deployments, Kind::Control];

/// As a payload of every kind of topic, and as a line of a recording.
pub fn taken_or_refused(payload: &[u8]) {
    for kind in KINDS {
        let mut facts = vec![Fact::Drain];
        match decode(kind, payload, &mut facts) {
            Ok(()) => facts[1..].iter().for_each(keeps_the_rules),
            Err(rejected) => {
                assert_eq!(facts, [Fact::Drain], "all or nothing");
                assert!(!rejected.detail.is_empty() && rejected.detail.len() <= Rejected::DETAIL_BYTES_MAX);
            }
        }
    }
    // Its answer does not matter here, only that there is one.
    let _ = recording::parse(payload);
}

fn keeps_the_rules(fact: &Fact) {
    let (at, origin, labels) = match fact {
        Fact::Sample(sample) => {
            match &sample.reading {
                Reading::Gauge(value) => assert!(value.is_finite()),
                Reading::Counter(value) | Reading::Delta(value) => assert!(value.is_finite() && *value >= 0.0),
                Reading::Histogram(buckets) => {
                    assert_eq!(buckets.counts.len(), buckets.bounds.len() + 1);
                    assert!(buckets.bounds.is_sorted_by(|a, b| a < b));
                    assert!(buckets.bounds.iter().chain(&buckets.sum).all(|number| number.is_finite()));
                }
            }
            assert!(!sample.metric.is_empty());
            (sample.at, &sample.origin, &sample.labels)
        }
        Fact::Log(line) => (line.at, &line.origin, &line.labels),
        _ => return,
    };
    assert!((946_684_800_000..4_102_444_800_000).contains(&at.0));
    assert!(!origin.service.is_empty() && !origin.env.is_empty());
    assert!(labels.is_sorted_by(|(a, _), (b, _)| a < b));
}
