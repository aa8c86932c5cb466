//! What was said, held against what was true: caught, missed, false alarms, minutes to speak, and how right a risk was.
//!
//! Knows labels and verdicts only.

use crate::change::Change;
use std::collections::BTreeMap;

/// One deployment, and what became of it.
pub struct Entry {
    pub noise: &'static str,
    pub change: Change,
    /// Minutes from the beginning of the change to the first word that it is a regression.
    pub spoken: Option<f64>,
    /// Of the last message about it.
    pub risk: f64,
}

#[derive(Default)]
pub struct Ledger {
    entries: Vec<Entry>,
}

/// Lower ends of the risk's bins.
const BINS: [f64; 8] = [0.0, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99, 0.999];

impl Ledger {
    pub fn write(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    pub fn print(&self) {
        println!(
            "\n{:<24} {:>6} {:>6} {:>6} {:>8} {:>13} {:>5}",
            "harm", "noises", "of", "caught", "missed", "min to speak", "p90"
        );
        for ((_, name, size), entries) in self.by(true, |entry| {
            let change = &entry.change;
            (change.canary, change.name(), change.size as u64)
        }) {
            caught(&format!("{name:<24} {:>6}", if size == 0 { "".into() } else { size.to_string() }), &entries);
        }
        caught(
            &format!("{:<31}", "all"),
            &self.entries.iter().filter(|entry| entry.change.is_harm()).collect::<Vec<_>>(),
        );
        println!("\n{:<24} {:>13} {:>6} {:>24}", "harmless", "of", "false", "for 1,000 deployments");
        for ((_, name), entries) in self.by(false, |entry| (entry.change.canary, entry.change.name())) {
            false_alarms(&name, &entries);
        }
        false_alarms("all", &self.entries.iter().filter(|entry| !entry.change.is_harm()).collect::<Vec<_>>());
        self.print_noises();
        self.print_reliability();
    }

    fn print_noises(&self) {
        println!(
            "\n{:<24} {:>6} {:>8} {:>10} {:>8} {:>15}",
            "noise", "harm", "caught", "harmless", "false", "for 1,000"
        );
        for (noise, entries) in self.by(true, |entry| entry.noise) {
            let harmless: Vec<_> =
                self.entries.iter().filter(|entry| entry.noise == noise && !entry.change.is_harm()).collect();
            let (caught, wrong) = (spoken(&entries).len(), spoken(&harmless).len());
            println!(
                "{noise:<24} {:>6} {:>6.0} % {:>10} {:>8} {:>15.1}",
                entries.len(),
                100.0 * ratio(caught, entries.len()),
                harmless.len(),
                wrong,
                1_000.0 * ratio(wrong, harmless.len())
            );
        }
    }

    /// How often a deployment of which such a risk was last said had done harm.
    fn print_reliability(&self) {
        println!("\n{:<24} {:>6} {:>10} {:>10}", "risk said", "of", "mean risk", "had harmed");
        for (place, low) in BINS.into_iter().enumerate() {
            let high = BINS.get(place + 1).copied().unwrap_or(1.000_1);
            let within: Vec<_> = self.entries.iter().filter(|entry| (low..high).contains(&entry.risk)).collect();
            let harmed = within.iter().filter(|entry| entry.change.is_harm()).count();
            let mean = within.iter().map(|entry| entry.risk).sum::<f64>() / within.len().max(1) as f64;
            let name = format!("{low} to {}", high.min(1.0));
            println!("{name:<24} {:>6} {mean:>10.3} {:>10.3}", within.len(), ratio(harmed, within.len()));
        }
    }

    fn by<K: Ord>(&self, harm: bool, key: impl Fn(&Entry) -> K) -> BTreeMap<K, Vec<&Entry>> {
        let mut groups: BTreeMap<K, Vec<&Entry>> = BTreeMap::new();
        for entry in self.entries.iter().filter(|entry| entry.change.is_harm() == harm) {
            groups.entry(key(entry)).or_default().push(entry);
        }
        groups
    }
}

fn caught(name: &str, entries: &[&Entry]) {
    let minutes = spoken(entries);
    println!(
        "{name} {:>6} {:>4.0} % {:>8} {:>13.1} {:>5.0}",
        entries.len(),
        100.0 * ratio(minutes.len(), entries.len()),
        entries.len() - minutes.len(),
        quantile(&minutes, 0.5),
        quantile(&minutes, 0.9)
    );
}

fn false_alarms(name: &str, entries: &[&Entry]) {
    let wrong = spoken(entries).len();
    println!("{name:<24} {:>13} {wrong:>6} {:>24.1}", entries.len(), 1_000.0 * ratio(wrong, entries.len()));
}

/// Minutes to speak, ascending, of those that were spoken of.
fn spoken(entries: &[&Entry]) -> Vec<f64> {
    let mut minutes: Vec<f64> = entries.iter().filter_map(|entry| entry.spoken).collect();
    minutes.sort_by(f64::total_cmp);
    minutes
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    sorted.get(((sorted.len().max(1) - 1) as f64 * q).round() as usize).copied().unwrap_or(f64::NAN)
}

fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}
