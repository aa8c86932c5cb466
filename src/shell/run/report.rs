//! Once a second: lag, the engine's vitals, and whether the brokers are there.

use super::intake::Intake;
use crate::engine::time::Time;
use crate::shell::client;
use crate::shell::clock::{Clock, wall};
use crate::shell::http::{Health, NotReady};
use crate::shell::pump::Pump;
use crate::shell::telemetry::Metrics;
use std::sync::Arc;
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(1);

pub struct Report {
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
    clock: Clock,
    last: Option<Instant>,
    /// The version of the table of accuracy that is shown.
    accuracy: Option<u64>,
    unreachable: bool,
    refused: bool,
}

impl Report {
    pub fn new(metrics: Arc<Metrics>, health: Arc<Health>, clock: Clock) -> Report {
        Report { metrics, health, clock, last: None, accuracy: None, unreachable: false, refused: false }
    }

    /// Shows what there is to show, if it is time.
    pub fn turn(&mut self, intake: &Intake, pump: &mut Pump) {
        self.health.beat();
        if intake.joined {
            self.health.set(NotReady::Starting, false);
        }
        if self.last.is_some_and(|last| last.elapsed() < EVERY) {
            return;
        }
        self.last = Some(Instant::now());
        self.brokers(intake);
        let stopped = intake.stopped();
        self.health.set(NotReady::InputStopped, stopped > 0);
        self.metrics.set_partitions_stopped(stopped);
        self.lag(intake, pump.now());
        self.metrics.observe_vitals(&pump.engine().vitals());
        if let Some((version, table)) = pump.engine().accuracy(&pump.config().policy, self.accuracy) {
            self.metrics.observe_accuracy(&table);
            self.accuracy = Some(version);
        }
        if pump.was_stuck() {
            tracing::error!("a deadline did not move on when it came: please report this as a defect");
        }
    }

    fn brokers(&mut self, intake: &Intake) {
        let pulse = intake.consumer.pulse();
        let unreachable = pulse.is_known() && !pulse.reachable;
        let refused = pulse.refused && !pulse.reachable;
        self.health.set(NotReady::BrokerUnreachable, unreachable);
        self.health.set(NotReady::AuthenticationFailed, refused);
        if refused && !self.refused {
            let why = pulse.complaint.as_deref().unwrap_or_default();
            tracing::error!(why, "{}", client::REFUSED);
        }
        self.refused = refused;
        if unreachable && !self.unreachable {
            let why = pulse.complaint.unwrap_or_default();
            tracing::warn!(why, "no broker can be reached; waiting for one");
        } else if self.unreachable && !unreachable {
            tracing::info!("a broker can be reached again");
        }
        self.unreachable = unreachable;
    }

    fn lag(&self, intake: &Intake, now: Time) {
        let mut total = 0;
        for (_, partition) in intake.consumer.assigned() {
            self.metrics.observe_partition(&partition.topic, partition.number, &partition.stages(), &partition.tally);
            // Until the first fetch nobody knows.
            let Some(lag) = intake.consumer.lag(partition) else { continue };
            total += lag;
            self.metrics.set_lag(&partition.topic, partition.number, i64::try_from(lag).unwrap_or(i64::MAX));
        }
        for partition in intake.consumer.relayed() {
            self.metrics.observe_partition(&partition.topic, partition.number, &partition.stages(), &partition.tally);
        }
        let behind = self.clock == Clock::Wall && total > 0 && now > Time::MIN;
        self.metrics.set_lag_seconds(if behind { (wall() - now).as_seconds() } else { 0.0 });
    }
}
