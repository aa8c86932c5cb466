//! Metrics of a member of a fleet: by seat, but for those of the process as a whole.
//!
//! Each seat counts in a registry of its own, whose series carry its name; here they are put together for whoever
//! looks. A seat that has moved takes its series along. What is counted is not known here.

use super::Metrics;
use prometheus::proto::MetricFamily;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a process has once, whoever sits in it.
const WHOLE: [&str; 4] = ["regressd_ready", "regressd_build_info", "regressd_config_", "process_"];

#[derive(Default)]
pub struct Seats {
    divided: AtomicBool,
    seats: Mutex<BTreeMap<String, Arc<Metrics>>>,
}

impl Seats {
    pub fn divide(&self) {
        self.divided.store(true, Ordering::Relaxed);
    }

    pub fn add(&self, name: &str, metrics: Arc<Metrics>) {
        self.seats().insert(name.to_owned(), metrics);
    }

    pub fn forget(&self, name: &str) {
        self.seats().remove(name);
    }

    /// The whole's families, and those of the seats where there are any.
    pub fn gather(&self, whole: Vec<MetricFamily>) -> Vec<MetricFamily> {
        if !self.divided.load(Ordering::Relaxed) {
            return whole;
        }
        let is_whole = |family: &MetricFamily| WHOLE.iter().any(|name| family.name().starts_with(name));
        let mut families: BTreeMap<String, MetricFamily> =
            whole.into_iter().filter(is_whole).map(|family| (family.name().to_owned(), family)).collect();
        for metrics in self.seats().values() {
            for mut family in metrics.registry.gather().into_iter().filter(|family| !is_whole(family)) {
                match families.get_mut(family.name()) {
                    Some(known) => known.mut_metric().extend(family.take_metric()),
                    None => _ = families.insert(family.name().to_owned(), family),
                }
            }
        }
        families.into_values().collect()
    }

    fn seats(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Metrics>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
