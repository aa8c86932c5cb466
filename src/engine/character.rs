//! What a metric is about, told from its name and unit: which way is worse, how much matters, on which scale to
//! compare.
//!
//! A rule of the policy overrides it. The guesses are for newcomers without rules and never say that something is
//! fine: an unknown metric is watched in both directions.

use super::policy::{Policy, Worse};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Class {
    /// Requests, throughput: less is worse, errors are counted against it.
    Traffic,
    /// Failures: more is worse.
    Errors,
    /// A share of successes, near one: judged as the share of failures.
    Success,
    /// Durations: more is worse.
    Latency,
    /// CPU, memory, queues: more is worse, but users don't feel it yet.
    Saturation,
    Other,
}

/// Whether what is used is memory, which is not given back when there is less to do.
pub fn is_memory(metric: &str) -> bool {
    let name = metric.to_ascii_lowercase();
    ["memory", "heap", "rss"].iter().any(|word| name.contains(word))
}

/// How a signal is judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Character {
    pub class: Class,
    pub worse: Worse,
    /// The smallest relative change that matters.
    pub min_change: f64,
    pub critical: bool,
}

pub fn class_of(metric: &str, unit: Option<&str>) -> Class {
    let name = metric.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if has(&["success", "availab"]) {
        Class::Success
    } else if has(&["error", "fail", "exception", "5xx", "timeout", "reject", "dropped", "panic", "crash"]) {
        Class::Errors
    } else if has(&["latency", "duration", "response_time", "response.time", "_ms", "elapsed"])
        || unit.is_some_and(|unit| matches!(unit, "s" | "ms" | "us" | "ns"))
    {
        Class::Latency
    } else if has(&["request", "throughput", "rps", "qps", "traffic", "calls", "rate", "processed"]) {
        Class::Traffic
    } else if has(&["cpu", "memory", "heap", "usage", "queue", "lag", "gc", "load", "threads", "connections"]) {
        Class::Saturation
    } else {
        Class::Other
    }
}

/// The first rule that matches, on top of what the class says.
pub fn character(policy: &Policy, metric: &str, class: Class) -> Character {
    let (worse, min_change) = match class {
        Class::Traffic => (Worse::Decrease, 0.20),
        Class::Errors => (Worse::Increase, 0.30),
        Class::Success => (Worse::Decrease, 0.30),
        Class::Latency => (Worse::Increase, 0.08),
        Class::Saturation => (Worse::Increase, 0.10),
        Class::Other => (Worse::Either, 0.05),
    };
    let rule = policy.signals.iter().find(|rule| rule.metric.matches(metric));
    Character {
        class,
        worse: rule.map_or(worse, |rule| rule.worse),
        min_change: rule.and_then(|rule| rule.min_change).unwrap_or(min_change),
        critical: rule.is_some_and(|rule| rule.critical),
    }
}

/// Whether `traffic` counts what `errors` are failures of: the same name but for the words that say so.
pub fn counts_against(errors: &str, traffic: &str) -> bool {
    let stem = |name: &str| {
        let mut name = name.to_ascii_lowercase();
        for word in
            ["failures", "failed", "errors", "error", "exceptions", "requests", "request", "calls", "count", "total"]
        {
            name = name.replace(word, "");
        }
        name.trim_matches(|c: char| !c.is_alphanumeric()).to_string()
    };
    let (errors, traffic) = (stem(errors), stem(traffic));
    errors == traffic || errors.is_empty() || traffic.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_by_name_and_unit() {
        for (metric, unit, class) in [
            ("http.server.requests", None, Class::Traffic),
            ("http.server.errors", None, Class::Errors),
            ("http.server.error_ratio", Some("1"), Class::Errors),
            ("client_success_ratio", Some("1"), Class::Success),
            ("http.server.duration", Some("s"), Class::Latency),
            ("work", Some("ms"), Class::Latency),
            ("process.cpu.usage", None, Class::Saturation),
            ("kpi", None, Class::Other),
        ] {
            assert_eq!(class_of(metric, unit), class, "{metric}");
        }
    }

    #[test]
    fn errors_find_their_requests() {
        assert!(counts_against("http.server.errors", "http.server.requests"));
        assert!(counts_against("errors", "requests"));
        assert!(counts_against("errors", "http.server.requests"));
        assert!(!counts_against("db.client.errors", "http.server.requests"));
    }
}
