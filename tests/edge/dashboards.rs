//! What people look at: a real Prometheus scrapes the running daemon, and every query of the dashboards finds data.
//!
//! A panel that queries a metric the daemon doesn't have looks like calm. So each expression is run as Grafana would
//! run it, and the alert rules are loaded and evaluated; `promtool` tests what they say when.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::{ask_until, now_ms, wait_for};
use crate::daemon::Daemon;
use crate::http;
use crate::kafka::Kafka;
use crate::leash::Leash;
use crate::ports::free_port;
use crate::scene::Scene;
use crate::topic::Draft;
use crate::traffic::{MINUTE, Service};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn every_query_of_dashboards_and_alerts_finds_data() {
    let scene = Scene::new(Kafka::shared(), "dashboards");
    let mut daemon = Daemon::start(&scene);
    let prometheus = Prometheus::start(&scene);
    // Counters are seen at rest before they move: increase() tells nothing of a counter's first value.
    wait_for("the first scrapes", LIMIT, || {
        prometheus.has_data("count_over_time(up[1m]) >= 2 and up == 1").then_some(())
    });
    everything_happens(&scene);

    let mut missing: Vec<String> = dashboard_queries();
    assert!(missing.len() > 20, "these are all? {missing:#?}");
    // A query may have a fallback for when there is nothing; its metrics must be there all the same.
    let metrics: BTreeSet<String> = missing.iter().flat_map(|query| metrics_in(query)).collect();
    missing.extend(metrics);
    ask_until(LIMIT, || {
        missing.retain(|query| !prometheus.has_data(query));
        missing.is_empty().then_some(())
    });
    daemon.assert_running();
    assert!(missing.is_empty(), "these panels stay empty: {missing:#?}");

    for rule in prometheus.rules() {
        let query = rule["query"].as_str().expect("every rule has a query");
        assert_eq!(rule["health"], "ok", "{query} can't be evaluated: {rule:#}");
        for metric in metrics_in(query) {
            assert!(prometheus.has_data(&metric), "the alert {} is about {metric}, which is not there", rule["name"]);
        }
    }
    daemon.stop();
}

/// Something of every kind of input, and every kind of answer.
fn everything_happens(scene: &Scene) {
    let now = now_ms();
    let deployed_at = now - 10 * MINUTE;
    let broken = Service::new("checkout").deployed_at(deployed_at).broken();
    let services = [broken, Service::new("search").deployed_at(deployed_at)];
    for service in &services {
        scene.write("metrics", &service.metrics(now - 180 * MINUTE, deployed_at));
    }
    scene.write("deployments", &services.each_ref().map(Service::deployment));
    // A clock two minutes ahead, which is allowed, lets the judgement come at once.
    for service in &services {
        scene.write("metrics", &service.metrics(deployed_at, now + 2 * MINUTE));
    }
    let line = json!({"ts": now, "service": "checkout", "env": "prod", "severity": "ERROR", "message": "declined"});
    scene.write("logs", &[Draft::json(now, "prod/checkout", &line)]);
    let freeze = json!({"ts": now, "type": "freeze", "scope": {"env": "staging"}, "from": now, "to": now + 60 * MINUTE,
        "reason": "sale", "by": "ana"});
    scene.write("control", &[Draft::json(now, "freeze", &freeze)]);
    scene.write("metrics", &[Draft::bytes(now, "rubbish")]);
    let said = wait_for("the recommendation", LIMIT, || scene.regression("deploy-checkout"));
    // Without a label nothing is known of how right it is.
    let feedback = json!({"ts": now, "type": "feedback", "recommendation": said["data"]["recommendation"],
        "verdict": "correct", "by": "ana"});
    scene.write("control", &[Draft::json(now, "feedback", &feedback)]);
}

struct Prometheus {
    address: SocketAddr,
    _process: Leash,
}

impl Prometheus {
    fn start(scene: &Scene) -> Prometheus {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let config = scene.folder().join("prometheus.yml");
        fs::write(&config, settings(scene.http())).expect("the scene's folder is writable");
        let mut command = Command::new(program());
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", scene.folder().join("prometheus").display()));
        command.arg(format!("--web.listen-address={address}"));
        let log = scene.folder().join("prometheus.log");
        let mut process = Leash::start(&mut command, &log);
        let ready = ask_until(LIMIT, || {
            let ended = process.ended().is_some();
            let ready = http::get(address, "/-/ready").is_ok_and(|answer| answer.status == 200);
            (ended || ready).then_some(ready)
        });
        assert!(ready == Some(true), "Prometheus did not start: {}", fs::read_to_string(log).unwrap_or_default());
        Prometheus { address, _process: process }
    }

    /// Whether an instant query gives a number, now.
    fn has_data(&self, query: &str) -> bool {
        let answer = http::post_form(self.address, "/api/v1/query", "query", query).expect("Prometheus answers");
        assert_eq!(answer.status, 200, "{query}: {}", answer.body);
        let answer: Value = serde_json::from_str(&answer.body).expect("it answers in JSON");
        let series = answer["data"]["result"].as_array().expect("an instant query gives a vector");
        series.iter().any(|series| series["value"][1].as_str().is_some_and(|value| value != "NaN"))
    }

    /// The alert rules, once each was evaluated.
    fn rules(&self) -> Vec<Value> {
        wait_for("the rules to be evaluated", LIMIT, || {
            let answer = http::get(self.address, "/api/v1/rules").ok()?;
            let answer: Value = serde_json::from_str(&answer.body).ok()?;
            let groups = answer["data"]["groups"].as_array()?;
            let rules: Vec<Value> =
                groups.iter().filter_map(|group| group["rules"].as_array()).flatten().cloned().collect();
            (!rules.is_empty() && rules.iter().all(|rule| rule["health"] != "unknown")).then_some(rules)
        })
    }
}

fn settings(daemon: SocketAddr) -> String {
    let rules = deploy().join("prometheus/rules/*.yml");
    format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ['{rules}']
scrape_configs: [{{job_name: regressd, static_configs: [{{targets: ['{daemon}']}}]}}]
",
        rules = rules.display()
    )
}

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

/// On the path, or where `./dev setup` unpacks it.
fn program() -> PathBuf {
    let unpacked = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("prometheus/usr/bin/prometheus");
    if unpacked.exists() { unpacked } else { PathBuf::from("prometheus") }
}

/// Every expression of every dashboard, as Grafana sends it with all variables set to everything.
fn dashboard_queries() -> Vec<String> {
    let mut queries = Vec::new();
    for entry in fs::read_dir(deploy().join("grafana/dashboards")).expect("there are dashboards") {
        let text = fs::read_to_string(entry.expect("a readable folder").path()).expect("a readable file");
        collect_queries(&serde_json::from_str(&text).expect("a dashboard is JSON"), &mut queries);
    }
    queries.iter().map(|query| with_variables(query)).collect()
}

fn collect_queries(value: &Value, queries: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == "expr" => queries.push(text.clone()),
                    Value::String(text) if name == "query" => queries.extend(label_values(text)),
                    _ => collect_queries(value, queries),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect_queries(value, queries)),
        _ => {}
    }
}

/// Grafana's own `label_values(series, label)` in PromQL.
fn label_values(text: &str) -> Option<String> {
    let (series, label) = text.strip_prefix("label_values(")?.strip_suffix(')')?.rsplit_once(',')?;
    Some(format!("count by ({}) ({series})", label.trim()))
}

fn with_variables(query: &str) -> String {
    let mut query = query.to_owned();
    for (variable, value) in [("$__rate_interval", "1m"), ("$__interval", "15s"), ("$__range", "1h")] {
        query = query.replace(variable, value);
    }
    // What is left are the dashboard's own variables, all of them used as patterns.
    let mut plain = String::new();
    let mut rest = query.as_str();
    while let Some((before, after)) = rest.split_once('$') {
        plain.push_str(before);
        plain.push_str(".*");
        rest = after.trim_start_matches('{').trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
        rest = rest.strip_prefix('}').filter(|_| after.starts_with('{')).unwrap_or(rest);
    }
    plain + rest
}

/// The names of the daemon's metrics in an expression.
fn metrics_in(query: &str) -> Vec<String> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("regressd_") || word.starts_with("process_")).map(str::to_owned).collect()
}
