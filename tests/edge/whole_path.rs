//! From produced samples to a consumed recommendation.

use std::time::Duration;

use crate::clock::{now_ms, wait_for};
use crate::daemon::Daemon;
use crate::kafka::Kafka;
use crate::scene::Scene;
use crate::topic::Draft;
use crate::traffic::{MINUTE, Service};

/// Three hours of history, a deployment ten minutes ago, and what followed; in the order of the records' times.
fn history_and_after(services: &[Service], now: i64) -> Vec<Draft> {
    let mut drafts: Vec<Draft> = services.iter().flat_map(|service| service.metrics(now - 180 * MINUTE, now)).collect();
    drafts.sort_by_key(|draft| draft.ts);
    drafts
}

#[test]
fn of_two_deployments_the_harmful_one_is_recommended_for_rollback() {
    let scene = Scene::new(Kafka::shared(), "whole-path");
    let now = now_ms();
    let deployed_at = now - 10 * MINUTE;
    let services =
        [Service::new("checkout").deployed_at(deployed_at).broken(), Service::new("search").deployed_at(deployed_at)];
    let metrics = history_and_after(&services, now);
    scene.write("metrics", &metrics);
    scene.write("deployments", &services.each_ref().map(Service::deployment));

    let mut daemon = Daemon::start(&scene);
    daemon.wait_for_messages(metrics.len() + services.len(), Duration::from_secs(60));
    let said = wait_for("the recommendation", Duration::from_secs(30), || scene.regression("deploy-checkout"));
    check_envelope(&said);
    check_advice(&said["data"], deployed_at, now);
    assert!(scene.regression("deploy-search").is_none(), "a harmless deployment was accused");
    assert!(scene.read("dead-letter").is_empty());
    assert!(!scene.read("audit").is_empty());

    let records = scene.read("recommendations");
    let record = records.iter().find(|record| record.json() == said).expect("it was just read");
    assert_eq!(record.key.as_deref(), Some(b"prod/checkout".as_slice()));
    daemon.stop();
}

fn check_envelope(said: &serde_json::Value) {
    assert_eq!(said["specversion"], "1.0", "{said}");
    assert_eq!(said["type"], "dev.regressd.recommendation.v1", "{said}");
    assert_eq!(said["source"], "/regressd/edge", "{said}");
    assert_eq!(said["subject"], "prod/checkout", "{said}");
    assert_eq!(said["datacontenttype"], "application/json", "{said}");
    assert!(said["id"].as_str().is_some_and(|id| !id.is_empty()), "{said}");
    assert!(said["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{said}");
}

fn check_advice(data: &serde_json::Value, deployed_at: i64, now: i64) {
    assert_eq!(data["lifecycle"], "issued", "{data:#}");
    assert_eq!(data["action"], "rollback", "{data:#}");
    assert_eq!(data["deployment"]["version"], "1.42.0", "{data:#}");
    assert_eq!(data["deployment"]["previous_version"], "1.41.3", "{data:#}");
    assert_eq!(data["deployment"]["ts"], deployed_at, "{data:#}");
    assert_eq!(data["guardrails"]["automation"], "recommend", "{data:#}");
    assert!(data["risk"].as_f64().is_some_and(|risk| risk > 0.9), "{data:#}");
    assert!(data["recommendation"].as_str().is_some_and(|thread| !thread.is_empty()), "{data:#}");

    let strongest = &data["evidence"][0];
    assert!(strongest["signal"].as_str().is_some_and(|signal| signal.contains("error_ratio")), "{data:#}");
    assert_eq!(strongest["direction"], "increase", "{data:#}");
    assert!(strongest["baseline"].as_f64().is_some_and(|level| (0.005..0.02).contains(&level)), "{data:#}");
    assert!(strongest["current"].as_f64().is_some_and(|level| (0.1..0.3).contains(&level)), "{data:#}");
    let onset = strongest["onset"].as_i64().expect("a moment");
    assert!((deployed_at - 2 * MINUTE..now).contains(&onset), "onset {onset}, deployed at {deployed_at}");
}
