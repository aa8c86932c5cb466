//! What does the daemon catch, what does it miss, how soon does it speak, and how often for nothing?
//!
//! Labelled histories, made up for it, go through the pump that the daemon and `replay` share, at the default
//! configuration: `cargo bench --bench quality`, in about a minute. `HISTORIES=60` takes so many for each of the ten
//! kinds of noise, `KIND=heavy` takes one kind, `SHOW=1` tells of each miss and false alarm what was said. Seeds are
//! fixed: two runs of one build print the same but for the time.

#[path = "quality/change.rs"]
mod change;
#[path = "quality/history.rs"]
mod history;
#[path = "made/kinds.rs"]
mod kinds;
#[path = "quality/ledger.rs"]
mod ledger;
#[path = "../tests/stories/noise.rs"]
mod noise;

use history::{Deployed, History, Message};
use kinds::KINDS;
use ledger::{Entry, Ledger};
use regressd::engine::Engine;
use regressd::engine::effect::{Action, Effect, Recommendation, VerdictKind};
use regressd::engine::event::Fact;
use regressd::engine::time::Time;
use regressd::shell::config::Config;
use regressd::shell::pump::{Cause, Pump, Taken};
use regressd::shell::topics::Topics;
use std::sync::Arc;
use std::time::Instant;

/// Histories for each kind of noise, of 18 deployments each; half of them with three pods.
const HISTORIES: u64 = 6;

fn main() {
    let histories = std::env::var("HISTORIES").ok().and_then(|text| text.parse().ok()).unwrap_or(HISTORIES);
    let only = std::env::var("KIND").unwrap_or_default();
    let mut ledger = Ledger::default();
    let (began, mut facts) = (Instant::now(), 0);
    for kind in KINDS.into_iter().filter(|kind| kind.word().contains(&only)) {
        for number in 0..histories {
            facts += play(&History::new(kind, number), &mut ledger);
        }
    }
    ledger.print();
    let seconds = began.elapsed().as_secs_f64();
    println!("\n{facts} facts in {seconds:.0} s, {:.0} a second with making them up", facts as f64 / seconds);
}

/// Plays one history and writes down what was said of each deployment; how many facts it held.
fn play(history: &History, ledger: &mut Ledger) -> usize {
    let config = Arc::new(Config::from_toml_str("").expect("a file with nothing in it is valid"));
    let topics = Arc::new(Topics::new(&config.kafka.topics));
    let mut pump = Pump::new(Engine::default(), Time::MIN, config, topics.clone());
    let (mut out, mut facts, mut offset) = (Vec::new(), 0, 0);
    history.play(|Message { topic, now, payload }| {
        let now = Time(*now);
        let kind = topics.kind(topic).expect("the default topics");
        offset += 1;
        let payload = payload.as_bytes();
        let (key, signature) = (None, None);
        let taken = Taken { topic, partition: 0, offset, kind, now, stamped: Some(now), key, payload, signature };
        facts += pump.take(&taken, &mut out).facts;
    });
    pump.tell(Fact::Drain, &mut out);
    let said: Vec<Recommendation> = out
        .into_iter()
        .filter_map(|outgoing| match outgoing.cause {
            Cause::Effect(Effect::Recommend(said)) => Some(*said),
            _ => None,
        })
        .collect();
    for deployed in &history.deployed {
        let entry = entry(history, deployed, &said);
        if std::env::var_os("SHOW").is_some() && entry.spoken.is_some() != entry.change.is_harm() {
            show(history, deployed, &said);
        }
        ledger.write(entry);
    }
    facts
}

fn show(history: &History, deployed: &Deployed, said: &[Recommendation]) {
    let change = &deployed.change;
    for said in said.iter().filter(|said| *said.deployment.id == *deployed.id) {
        let (kind, name) = (history.kind.word(), change.name());
        let reasons: Vec<_> = said.guardrails.reasons.iter().map(|reason| reason.word()).collect();
        println!("{kind} {} {name} {}: {} {}", history.number, change.size, said.summary, reasons.join(", "));
    }
}

fn entry(history: &History, deployed: &Deployed, said: &[Recommendation]) -> Entry {
    let mut about = said.iter().filter(|said| *said.deployment.id == *deployed.id);
    let last = about.clone().next_back().expect("every deployment is answered");
    let alarm = about.find(|said| said.verdict == VerdictKind::Regression && said.action != Action::None);
    let begins = Time(60_000 * (deployed.minute + deployed.change.begins().max(0)));
    let spoken = alarm.map(|alarm| (alarm.at - begins).as_minutes());
    Entry { noise: history.kind.word(), change: deployed.change, spoken, risk: last.risk }
}
