//! Tests of the metrics: what stands from the start, what is counted, what is taken back.
//!
//! They read the text that Prometheus reads.

use super::families::REVISION;
use super::*;
use crate::engine::effect::{Bin, Method, Row, Tally};
use crate::engine::time::{Span, Time};

/// The value of a series as it is served, by its name and labels.
fn value(metrics: &Metrics, series: &str) -> Option<f64> {
    let text = metrics.render();
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

fn audit(event: AuditEvent) -> Effect {
    let (env, service) = ("prod".into(), "checkout".into());
    Effect::Audit(Audit { at: Time(0), env, service, deployment: None, recommendation: None, event })
}

#[test]
fn closed_lists_stand_at_zero_from_the_start() {
    let metrics = Metrics::new();
    for series in [
        "regressd_messages_total{kind=\"control\"}",
        "regressd_message_bytes_total{kind=\"metrics\"}",
        "regressd_facts_total{kind=\"deployments\"}",
        "regressd_dropped_total{reason=\"overflow\"}",
        "regressd_dead_letters_total{kind=\"logs\",reason=\"not_json\"}",
        "regressd_dead_letters_total{kind=\"logs\",reason=\"other\"}",
        "regressd_watches{phase=\"warming\"}",
        "regressd_verdicts_total{verdict=\"inconclusive\"}",
        "regressd_recommendations_total{action=\"escalate\",verdict=\"regression\"}",
        "regressd_held_total{reason=\"fleet_limit\"}",
        "regressd_control_words_total{outcome=\"unknown\",word=\"feedback\"}",
        "regressd_automation_changes_total{change=\"demoted\"}",
        "regressd_automation_demoted",
        "regressd_kafka_errors_total{kind=\"authentication\"}",
        "regressd_last_input_timestamp_seconds{kind=\"metrics\"}",
        "regressd_checkpoint_last_success_timestamp_seconds",
        "regressd_end_to_end_delay_seconds_bucket{le=\"300\"}",
        "regressd_ready",
    ] {
        assert_eq!(value(&metrics, series), Some(0.0), "{series}");
    }
    let build = format!("regressd_build_info{{revision=\"{REVISION}\",version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(value(&metrics, &build), Some(1.0));
    #[cfg(target_os = "linux")]
    assert!(value(&metrics, "process_resident_memory_bytes").is_some_and(|bytes| bytes > 0.0));
}

#[test]
fn names_keep_to_the_conventions() {
    let text = Metrics::new().render();
    let mut families = 0;
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        families += 1;
        assert!(name.starts_with("regressd_") || name.starts_with("process_"), "{name}");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        assert!(!name.contains("_ms") && !name.contains("milli"), "{name}");
    }
    assert!(families > 30, "{families}");
}

#[test]
fn messages_facts_and_dead_letters_are_counted_by_kind() {
    let metrics = Metrics::new();
    metrics.took(Kind::Logs, 100);
    metrics.took(Kind::Logs, 20);
    metrics.decoded(Kind::Logs, 3);
    metrics.dead_lettered(Kind::Logs, "not_json");
    metrics.dead_lettered(Kind::Logs, "a word on no list");
    assert_eq!(value(&metrics, "regressd_messages_total{kind=\"logs\"}"), Some(2.0));
    assert_eq!(value(&metrics, "regressd_message_bytes_total{kind=\"logs\"}"), Some(120.0));
    assert_eq!(value(&metrics, "regressd_facts_total{kind=\"logs\"}"), Some(3.0));
    assert_eq!(value(&metrics, "regressd_messages_total{kind=\"metrics\"}"), Some(0.0));
    assert_eq!(value(&metrics, "regressd_dead_letters_total{kind=\"logs\",reason=\"not_json\"}"), Some(1.0));
    assert_eq!(value(&metrics, "regressd_dead_letters_total{kind=\"logs\",reason=\"other\"}"), Some(1.0));
    assert!(value(&metrics, "regressd_last_input_timestamp_seconds{kind=\"logs\"}").unwrap() > 1e9);
}

#[test]
fn effects_are_counted_by_their_words() {
    let metrics = Metrics::new();
    metrics.observe_effect(&audit(AuditEvent::Verdict { kind: VerdictKind::Regression, risk: 0.9 }));
    metrics.observe_effect(&audit(AuditEvent::Held { reason: Reason::Cooldown, would: Action::Rollback }));
    metrics.observe_effect(&audit(AuditEvent::WatchClosed { kind: VerdictKind::Regression }));
    assert_eq!(value(&metrics, "regressd_verdicts_total{verdict=\"regression\"}"), Some(1.0));
    assert_eq!(value(&metrics, "regressd_held_total{reason=\"cooldown\"}"), Some(1.0));
}

#[test]
fn the_engine_counts_on_where_an_earlier_process_left_off() {
    let metrics = Metrics::new();
    let mut vitals = Vitals { dropped_late: 500, series: 7, fleet_tokens: 9.5, ..Vitals::default() };
    metrics.restored(&vitals);
    assert_eq!(value(&metrics, "regressd_dropped_total{reason=\"late\"}"), Some(0.0));
    vitals.dropped_late += 3;
    vitals.watches_open = 2;
    metrics.observe_vitals(&vitals);
    metrics.observe_vitals(&vitals);
    assert_eq!(value(&metrics, "regressd_dropped_total{reason=\"late\"}"), Some(3.0));
    assert_eq!(value(&metrics, "regressd_series"), Some(7.0));
    assert_eq!(value(&metrics, "regressd_watches{phase=\"watching\"}"), Some(2.0));
    assert_eq!(value(&metrics, "regressd_fleet_tokens"), Some(9.5));
}

#[test]
fn accuracy_is_shown_as_the_table_has_it_and_taken_back() {
    let metrics = Metrics::new();
    let tally = |counts| Tally { counts, harmful: 4, detection: Some((Span::minutes(6), Span::minutes(9))) };
    let row =
        |env: &str, detector, counts| Row { env: Some(env.into()), service: None, detector, tally: tally(counts) };
    let bin = Bin { from: 0.9, to: 0.95, labelled: 4, harmful: 3, unlabelled: 2, risk: 0.93 };
    let table = |env: &str| Accuracy {
        at: Time(0),
        since: Time(0),
        rows: vec![
            row(env, None, [3, 1, 1, 0, 2, 7]),
            row(env, Some(Method::NewAgainstOld), [3, 1, 0, 0, 2, 0]),
            Row { service: Some("checkout".into()), ..row(env, None, [1, 0, 0, 0, 0, 0]) },
        ],
        left_out: 0,
        calibration: vec![bin.clone()],
        rungs: Vec::new(),
        forgotten: 0,
    };
    let show = |env| metrics.observe_accuracy(&table(env));
    show("prod");
    let cases = |detector: &str, outcome: &str| {
        let labels = format!("{{detector=\"{detector}\",env=\"prod\",outcome=\"{outcome}\"}}");
        value(&metrics, &format!("regressd_accuracy_cases{labels}"))
    };
    assert_eq!((cases("new_against_old", "right"), cases("none", "missed")), (Some(3.0), Some(1.0)));
    assert_eq!((cases("new_against_old", "unlabelled"), cases("none", "quiet")), (Some(2.0), Some(7.0)));
    assert_eq!(cases("none", "right"), None, "each case stands once");
    let share = "regressd_accuracy_precision{bound=\"estimate\",detector=\"any\",env=\"prod\"}";
    assert_eq!(value(&metrics, share), Some(0.75));
    let median = "regressd_accuracy_detection_seconds{detector=\"any\",env=\"prod\",quantile=\"0.5\"}";
    assert_eq!(value(&metrics, median), Some(360.0));
    let calibrated = "regressd_accuracy_calibration_cases{label=\"harmless\",risk=\"0.9-0.95\"}";
    assert_eq!(value(&metrics, calibrated), Some(1.0));
    assert!(!metrics.render().contains("service=\"checkout\""), "services stand in the report alone");
    show("staging");
    assert_eq!((cases("none", "missed"), value(&metrics, share)), (None, None), "what is gone is taken back");
}

#[test]
fn partitions_and_hashes_of_the_past_are_taken_back() {
    let metrics = Metrics::new();
    let lag = "regressd_consumer_lag_messages{partition=\"3\",topic=\"metrics\"}";
    metrics.set_lag("metrics", 3, 17);
    assert_eq!(value(&metrics, lag), Some(17.0));
    metrics.forget_partition("metrics", 3);
    metrics.forget_partition("metrics", 3);
    assert_eq!(value(&metrics, lag), None);
    metrics.config_loaded("aaaa");
    metrics.config_refused();
    assert_eq!(value(&metrics, "regressd_config_last_reload_successful"), Some(0.0));
    assert_eq!(value(&metrics, "regressd_config_info{hash=\"aaaa\"}"), Some(1.0));
    metrics.config_loaded("bbbb");
    assert_eq!(value(&metrics, "regressd_config_last_reload_successful"), Some(1.0));
    assert_eq!(value(&metrics, "regressd_config_info{hash=\"aaaa\"}"), None);
    assert_eq!(value(&metrics, "regressd_config_info{hash=\"bbbb\"}"), Some(1.0));
}

#[test]
fn delays_and_checkpoints_are_seen() {
    let metrics = Metrics::new();
    metrics.published(0.2);
    metrics.published(-1.0);
    metrics.batch_taken(Duration::from_millis(3));
    metrics.publish_retried();
    metrics.publish_failed();
    metrics.kafka_failed(KafkaTrouble::Connection);
    metrics.checkpointed(4_096, Duration::from_millis(250));
    metrics.checkpoint_failed();
    metrics.set_lag_seconds(12.5);
    for (series, expected) in [
        ("regressd_end_to_end_delay_seconds_bucket{le=\"0.01\"}", 1.0),
        ("regressd_end_to_end_delay_seconds_bucket{le=\"0.25\"}", 2.0),
        ("regressd_batch_duration_seconds_bucket{le=\"0.005\"}", 1.0),
        ("regressd_publish_retries_total", 1.0),
        ("regressd_publish_failures_total", 1.0),
        ("regressd_kafka_errors_total{kind=\"connection\"}", 1.0),
        ("regressd_checkpoint_bytes", 4_096.0),
        ("regressd_checkpoint_duration_seconds", 0.25),
        ("regressd_checkpoint_failures_total", 1.0),
        ("regressd_consumer_lag_seconds", 12.5),
    ] {
        assert_eq!(value(&metrics, series), Some(expected), "{series}");
    }
    assert!(value(&metrics, "regressd_checkpoint_last_success_timestamp_seconds").unwrap() > 1e9);
}
