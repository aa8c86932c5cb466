//! The closing words: the first rollback's whole message, what was deployed and said, what was held, where to go next.

use super::card::{clock, explained};
use super::picture::{Ink, Paint, indented};
use super::show::Told;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The message that a bot or a person's tooling would read.
pub fn whole_message(paint: Paint, payload: &[u8]) -> String {
    let pretty = indented(&String::from_utf8_lossy(payload));
    let title =
        paint.ink(Ink::Bold, "The first rollback as it stands in the topic, for chat bots and deployment tools:");
    format!("{title}\n{pretty}")
}

pub fn summary(paint: Paint, told: &Told) -> String {
    let mut text = paint.ink(Ink::Bold, "What was deployed, and what was said about it");
    for (at, deploy) in &told.deployed {
        let about = told.advices.iter().filter(|a| a.data.deployment.id == deploy.id);
        let mut said: Vec<String> = about
            .filter(|a| a.data.lifecycle == "issued" || a.data.lifecycle == "updated")
            .map(|a| {
                let after = (a.time - *at).as_minutes().round();
                match (a.data.action.as_str(), a.data.verdict.as_str()) {
                    ("none", verdict) => format!("{verdict} after {after} min"),
                    (action, verdict) => format!("{verdict}: {action} after {after} min"),
                }
            })
            .collect();
        said.dedup();
        let ends = told.advices.iter().rfind(|a| a.data.deployment.id == deploy.id);
        let ends = ends.map(|last| last.data.lifecycle.as_str());
        said.extend(ends.filter(|end| !matches!(*end, "issued" | "updated")).map(str::to_owned));
        let said = if said.is_empty() { "nothing".to_owned() } else { said.join(", then ") };
        let change = format!("{} {} → {}", deploy.service, deploy.from, deploy.to);
        let _ = write!(text, "\n  {} {:<9} {change:<28} {said}", clock(*at), deploy.kind);
    }
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in &told.holds {
        *reasons.entry(entry.data.reason.as_deref().unwrap_or("unknown")).or_default() += 1;
    }
    text.push('\n');
    text.push_str(&paint.ink(Ink::Bold, "What was held back, and why"));
    if reasons.is_empty() {
        text.push_str("\n  nothing");
    }
    for (reason, count) in reasons {
        let _ = write!(text, "\n  {count} × {reason}: {}", explained(reason));
    }
    text
}

pub fn next_steps(paint: Paint) -> String {
    let title = paint.ink(Ink::Bold, "Where to go next");
    format!(
        "{title}\n  README.md                    feed it your own metrics, logs and deployments\n  \
         config/regressd.toml         every setting with its default\n  \
         deploy/docker/compose.yml    Kafka, regressd, Prometheus with alerts and Grafana on this machine\n  \
         regressd demo --keep         the same, and then on in real time with /metrics open"
    )
}
