//! Families of metrics, made and registered in one go under the daemon's prefix.
//!
//! Names and labels are constants of the program, so a wrong one is a mistake of its author, found by the first test
//! that makes the metrics. What is measured is not known here.

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// The revision that was built, where the build said it.
pub const REVISION: &str = match option_env!("REGRESSD_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

const PREFIX: &str = "regressd";
const CONSTANT: &str = "names and labels are constants, each used once; a test makes them all";

pub struct Families(Registry);

impl Families {
    /// Of a seat of a fleet, with its name on each; else with what was built, and the process' own metrics
    /// (`process_*`) where the system tells them.
    pub fn new(seat: Option<&str>) -> Families {
        if let Some(seat) = seat {
            let labels = [("seat".to_owned(), seat.to_owned())].into();
            return Families(Registry::new_custom(None, Some(labels)).expect(CONSTANT));
        }
        let registry = Registry::new();
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self())).expect(CONSTANT);
        let families = Families(registry);
        let build = families.gauges("build_info", "What was built, always 1.", &["version", "revision"]);
        build.with_label_values(&[env!("CARGO_PKG_VERSION"), REVISION]).set(1.0);
        families
    }

    pub fn registry(self) -> Registry {
        self.0
    }

    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::with_opts(opts(name, help)))
    }

    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(opts(name, help), labels))
    }

    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.register(Gauge::with_opts(opts(name, help)))
    }

    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.register(GaugeVec::new(opts(name, help), labels))
    }

    pub fn int_gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::with_opts(opts(name, help)))
    }

    pub fn int_gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(opts(name, help), labels))
    }

    pub fn histogram(&self, name: &str, help: &str, bounds: &[f64]) -> Histogram {
        self.register(Histogram::with_opts(HistogramOpts::from(opts(name, help)).buckets(bounds.to_vec())))
    }

    fn register<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let collector = made.expect(CONSTANT);
        self.0.register(Box::new(collector.clone())).expect(CONSTANT);
        collector
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace(PREFIX)
}
