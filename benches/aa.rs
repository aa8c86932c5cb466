//! How often does the daemon cry wolf where nothing happens? At the stated budget, and at twice the budget.
//!
//! Simulated watches over ten kinds of noise, on services of one and two signals, half of them with a canary, several
//! on each learned history: `WATCHES=100000 cargo bench --bench aa` for the figures in ARCHITECTURE.md; by default
//! some thousands. `KIND=heavy` takes one kind, `RATE=0.02` another budget. The share is of watches that said
//! `regression`.

#[path = "made/kinds.rs"]
mod kinds;
#[path = "../tests/stories/noise.rs"]
mod noise;
#[path = "made/nothing.rs"]
mod nothing;
#[path = "made/share.rs"]
mod share;

use kinds::{KINDS, Kind};
use nothing::{Nothing, Said, Style};
use regressd::engine::policy::Policy;
use share::Share;
use std::time::Instant;

/// Watches on one history: enough to pay for its learning, few enough to have many histories.
const ON_ONE_HISTORY: u64 = 25;

fn main() {
    let watches = number("WATCHES").unwrap_or(5_000.0) as u64;
    let only = std::env::var("KIND").unwrap_or_default();
    let stated = Policy::default().detection.false_alarm_rate;
    let rates = number("RATE").map_or(vec![stated, 2.0 * stated], |rate| vec![rate]);
    let began = Instant::now();
    for rate in rates {
        let mut policy = Policy::default();
        policy.detection.false_alarm_rate = rate;
        policy.detection.false_alarms_per_week = f64::MAX;
        let mut all = Tally::default();
        println!("\nbudget {:.2} % of watches, from {:.0} s on", 100.0 * rate, began.elapsed().as_secs_f64());
        println!("{:<10} {:>8} {:>9} {:>9}   {:<18} {:>7}", "noise", "watches", "alarms", "share", "95 %", "clean");
        for kind in KINDS.into_iter().filter(|kind| kind.word().contains(&only)) {
            let tally = simulate(kind, watches / KINDS.len() as u64, &policy);
            tally.print(kind.word());
            all.add(&tally);
        }
        all.print("all");
        let per = |time: std::time::Duration, count: u64| time.as_secs_f64() * 1e6 / (count as f64).max(1.0);
        println!(
            "canaries {:.3} %, whole {:.3} %; {:.1} µs for a signal and minute of a watch, {:.1} µs for a sample",
            100.0 * all.canaries.value(),
            100.0 * all.whole.value(),
            per(all.said.looking, all.said.looks),
            per(all.said.sampling, all.said.samples),
        );
    }
    by_the_week(watches / 4, &only);
}

/// The fleet's budget by itself: each history is a fleet of one service that deploys a hundred times a week.
fn by_the_week(watches: u64, only: &str) {
    println!("\n{:<24} {:>8} {:>9} {:>7} {:>14}", "budget of the fleet", "watches", "alarms", "weeks", "alarms a week");
    for budget in [1.0, 2.0] {
        let mut policy = Policy::default();
        policy.detection.false_alarm_rate = 0.5;
        policy.detection.false_alarms_per_week = budget;
        let mut all = Tally::default();
        for kind in KINDS.into_iter().filter(|kind| kind.word().contains(only)) {
            all.add(&simulate(kind, watches / KINDS.len() as u64, &policy));
        }
        let Said { watches, regressions, weeks, .. } = all.said;
        let rate = regressions as f64 / weeks.max(1e-9);
        println!("{:<24} {watches:>8} {regressions:>9} {weeks:>7.0} {rate:>14.3}", format!("{budget} a week"));
    }
}

fn simulate(kind: Kind, watches: u64, policy: &Policy) -> Tally {
    let mut tally = Tally::default();
    for number in 0..watches.div_ceil(ON_ONE_HISTORY) {
        let style = if number % 2 == 0 { Style::Whole } else { Style::Canary };
        // From half a day to two days and a half.
        let learned = 720 + 2_880 * (number % 16) / 15;
        let signals = 1 + (number / 2 % 2) as usize;
        let said = Nothing { kind, style, number, watches: ON_ONE_HISTORY, learned, signals }.watch(policy);
        let share = if style == Style::Whole { &mut tally.whole } else { &mut tally.canaries };
        share.add(said.regressions, said.watches);
        tally.said.add(&said);
    }
    tally
}

#[derive(Default)]
struct Tally {
    whole: Share,
    canaries: Share,
    said: Said,
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.whole.extend(&other.whole);
        self.canaries.extend(&other.canaries);
        self.said.add(&other.said);
    }

    fn print(&self, name: &str) {
        let mut share = self.whole.clone();
        share.extend(&self.canaries);
        let (low, high) = share.interval();
        println!(
            "{name:<10} {:>8} {:>9} {:>7.3} %   {:.3} to {:.3} % {:>9.1} %",
            share.of(),
            share.hits(),
            100.0 * share.value(),
            100.0 * low,
            100.0 * high,
            100.0 * self.said.clean as f64 / self.said.watches as f64,
        );
    }
}

fn number(name: &str) -> Option<f64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}
