//! What can be seen of the daemon from outside: its own metrics, in a registry of its own.
//!
//! Every method is something that happened or a level that was read; names, help texts and labels stand in `new`, one
//! line each. Labels come from closed lists, which stand at 0 from the start, so that a first increase is seen; only
//! topics and partitions (`places`) are open, and those are taken back when they are no longer ours. Serving is
//! `http`'s affair.

mod families;
mod measured;
mod places;
mod seats;
#[cfg(test)]
mod tests;

use crate::engine::Vitals;
use crate::engine::effect::{
    Accuracy, Action, Audit, AuditEvent, Change, Effect, Heard, Lifecycle, Reason, VerdictKind,
};
use crate::engine::event::Word;
use crate::shell::consumer::tally::Tally;
use crate::wire::inbound::{Kind, RejectReason};
use families::Families;
use measured::Measured;
use places::Places;
use prometheus::{Gauge, GaugeVec, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};
use seats::Seats;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The label of a dead letter whose reason is on no list; bounds the label, whoever calls.
const OTHER: &str = "other";

const KINDS: [(Kind, &str); 5] = [
    (Kind::Metrics, "metrics"),
    (Kind::Logs, "logs"),
    (Kind::Deployments, "deployments"),
    (Kind::Control, "control"),
    (Kind::Letters, "letters"),
];

const DELAY: &str = "From the log taking the message that gave rise to it to a publication's acknowledgement.";
const DELAYS: [f64; 14] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
const BATCH: &str = "Taking a batch of messages: decoding, stepping, publishing.";
const BATCHES: [f64; 13] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

words! {
    /// What kind of trouble with Kafka there was.
    pub enum KafkaTrouble {
        /// No broker can be reached, or a connection broke.
        Connection = "connection",
        /// TLS or SASL: waiting does not help.
        Authentication = "authentication",
        Consume = "consume",
        Produce = "produce",
        Commit = "commit",
        /// The client can't go on; the daemon ends.
        Fatal = "fatal",
        Other = "other",
    }
}

/// The daemon's metrics. Cheap to call from any thread; the hottest ones are a relaxed atomic addition.
pub struct Metrics {
    registry: Registry,
    seats: Seats,
    messages: [IntCounter; 5],
    message_bytes: [IntCounter; 5],
    facts: [IntCounter; 5],
    last_input: [Gauge; 5],
    dropped: IntCounterVec,
    /// The engine's counters when last looked at.
    seen: Mutex<Vitals>,
    dead_letters: IntCounterVec,
    places: Places,
    lag_seconds: Gauge,
    partitions_stopped: IntGauge,
    messages_lost: IntCounter,
    repeats: IntCounter,
    watches: IntGaugeVec,
    verdicts: IntCounterVec,
    recommendations: IntCounterVec,
    held: IntCounterVec,
    cooldowns: IntGauge,
    fleet_tokens: Gauge,
    windows: IntGauge,
    lifecycle: IntCounterVec,
    threads: IntGauge,
    heartbeat: Gauge,
    drifts: IntCounter,
    silent_services: IntGauge,
    input_silent: GaugeVec,
    control_words: IntCounterVec,
    automation_changes: IntCounterVec,
    measured: Measured,
    services: IntGauge,
    signals: IntGauge,
    series: IntGauge,
    log_templates: IntGauge,
    log_lines_unplaced: IntCounter,
    end_to_end_delay: Histogram,
    batch_duration: Histogram,
    publish_retries: IntCounter,
    publish_failures: IntCounter,
    kafka_errors: IntCounterVec,
    ready: IntGauge,
    reload_successful: IntGauge,
    reload_success_timestamp: Gauge,
    config_info: GaugeVec,
    checkpoint_timestamp: Gauge,
    checkpoint_bytes: IntGauge,
    checkpoint_duration: Gauge,
    checkpoint_pause: Gauge,
    checkpoint_failures: IntCounter,
}

impl Metrics {
    pub fn new() -> Metrics {
        Metrics::of(None)
    }

    fn of(seat: Option<&str>) -> Metrics {
        let new = Families::new(seat);
        let messages = new.counters("messages_total", "Messages taken from the input topics.", &["kind"]);
        let bytes = new.counters("message_bytes_total", "Bytes of the messages taken, keys left out.", &["kind"]);
        let facts = new.counters("facts_total", "Samples, log lines, deployments and words decoded.", &["kind"]);
        let last = new.gauges("last_input_timestamp_seconds", "When the last message was taken.", &["kind"]);
        let metrics = Metrics {
            messages: KINDS.map(|(_, word)| messages.with_label_values(&[word])),
            message_bytes: KINDS.map(|(_, word)| bytes.with_label_values(&[word])),
            facts: KINDS.map(|(_, word)| facts.with_label_values(&[word])),
            last_input: KINDS.map(|(_, word)| last.with_label_values(&[word])),
            dropped: new.counters("dropped_total", "Facts that were decoded and not used.", &["reason"]),
            seen: Mutex::default(),
            dead_letters: new.counters("dead_letters_total", "Messages that can't be taken.", &["kind", "reason"]),
            places: Places::new(&new),
            lag_seconds: new.gauge("consumer_lag_seconds", "How far the latest message taken lies behind the clock."),
            messages_lost: new.counter("messages_lost_total", "Messages that retention took before they were read."),
            repeats: new.counter("relayed_repeats_total", "Messages passed on to a lane that had them already."),
            partitions_stopped: new.int_gauge("partitions_stopped", "Partitions stopped for their dead letters."),
            watches: new.int_gauges("watches", "Deployments under watch.", &["phase"]),
            verdicts: new.counters("verdicts_total", "Verdicts, before anything was asked of the gate.", &["verdict"]),
            recommendations: new.counters("recommendations_total", "Recommendations issued.", &["action", "verdict"]),
            lifecycle: new.counters("thread_messages_total", "Messages of recommendation threads.", &["lifecycle"]),
            threads: new.int_gauge("threads_open", "Recommendations that still ask for something."),
            drifts: new.counter("drifts_total", "Services that got worse over days while nothing was deployed."),
            heartbeat: new.gauge("heartbeat_timestamp_seconds", "The event time of the last heartbeat."),
            silent_services: new.int_gauge("silent_services", "Services that fell silent within the last day."),
            input_silent: new.gauges("input_silent", "Nothing came for five minutes: 1 or 0.", &["kind"]),
            control_words: new.counters(
                "control_words_total",
                "Control words, by what became of them.",
                &["word", "outcome"],
            ),
            automation_changes: new.counters("automation_changes_total", "What happened to levels.", &["change"]),
            measured: Measured::new(&new),
            held: new.counters("held_total", "Recommendations held back by a guardrail.", &["reason"]),
            cooldowns: new.int_gauge("cooldowns_active", "Services that are quiet after a recommendation."),
            fleet_tokens: new.gauge("fleet_tokens", "Recommendations left to the fleet at this moment."),
            windows: new.int_gauge("windows_active", "Freeze, mute and context windows that are known."),
            services: new.int_gauge("services", "Services known, by environment."),
            signals: new.int_gauge("signals", "Signals known."),
            series: new.int_gauge("series", "Series known."),
            log_templates: new.int_gauge("log_templates", "Kinds of log lines known."),
            log_lines_unplaced: new.counter("log_lines_unplaced_total", "Log lines of kinds that found no room."),
            end_to_end_delay: new.histogram("end_to_end_delay_seconds", DELAY, &DELAYS),
            batch_duration: new.histogram("batch_duration_seconds", BATCH, &BATCHES),
            publish_retries: new.counter("publish_retries_total", "Publications tried again."),
            publish_failures: new.counter("publish_failures_total", "Publications that were given up for the moment."),
            kafka_errors: new.counters("kafka_errors_total", "Errors that the Kafka client reported.", &["kind"]),
            ready: new.int_gauge("ready", "Whether the daemon does its work: 1 or 0."),
            reload_successful: new.int_gauge(
                "config_last_reload_successful",
                "Whether the last attempt to load the configuration succeeded: 1 or 0.",
            ),
            reload_success_timestamp: new.gauge(
                "config_last_reload_success_timestamp_seconds",
                "When the configuration was last loaded successfully.",
            ),
            config_info: new.gauges("config_info", "The hash of the policy in force.", &["hash"]),
            checkpoint_timestamp: new.gauge("checkpoint_last_success_timestamp_seconds", "When the last was written."),
            checkpoint_bytes: new.int_gauge("checkpoint_bytes", "Size of the last checkpoint."),
            checkpoint_duration: new.gauge("checkpoint_duration_seconds", "How long the last checkpoint took."),
            checkpoint_pause: new.gauge("checkpoint_pause_seconds", "How long the last checkpoint stopped the stream."),
            checkpoint_failures: new.counter("checkpoint_failures_total", "Checkpoints that could not be written."),
            seats: Seats::default(),
            registry: new.registry(),
        };
        metrics.start_at_zero();
        metrics
    }

    /// Every label of a closed list stands from the start: an increase from nothing is no increase to Prometheus.
    fn start_at_zero(&self) {
        for reason in ["late", "ahead", "duplicate", "overflow"] {
            self.dropped.with_label_values(&[reason]);
        }
        for (_, kind) in KINDS {
            for reason in RejectReason::ALL.iter().map(|each| each.word()).chain([OTHER]) {
                self.dead_letters.with_label_values(&[kind, reason]);
            }
        }
        for phase in ["warming", "watching"] {
            self.watches.with_label_values(&[phase]);
        }
        for verdict in VerdictKind::ALL {
            self.verdicts.with_label_values(&[verdict.word()]);
            for action in Action::ALL {
                self.recommendations.with_label_values(&[action.word(), verdict.word()]);
            }
        }
        for lifecycle in Lifecycle::ALL {
            self.lifecycle.with_label_values(&[lifecycle.word()]);
        }
        for reason in Reason::ALL {
            self.held.with_label_values(&[reason.word()]);
        }
        for change in Change::ALL {
            self.automation_changes.with_label_values(&[change.word()]);
        }
        for word in Word::ALL {
            for outcome in Heard::ALL {
                self.control_words.with_label_values(&[word, outcome.word()]);
            }
        }
        for trouble in KafkaTrouble::ALL {
            self.kafka_errors.with_label_values(&[trouble.word()]);
        }
    }

    /// A message was taken from an input topic, whatever became of it.
    pub fn took(&self, kind: Kind, bytes: usize) {
        self.messages[index(kind)].inc();
        self.message_bytes[index(kind)].inc_by(bytes as u64);
        self.last_input[index(kind)].set(unix_seconds());
    }

    /// A message gave so many facts.
    pub fn decoded(&self, kind: Kind, facts: usize) {
        self.facts[index(kind)].inc_by(facts as u64);
    }

    /// A message went to the dead letters. A reason on no list is counted as `other`.
    pub fn dead_lettered(&self, kind: Kind, reason: &str) {
        let word = RejectReason::from_word(reason).map_or(OTHER, RejectReason::word);
        self.dead_letters.with_label_values(&[KINDS[index(kind)].1, word]).inc();
    }

    /// Counts what the engine asked for: verdicts, recommendations and what was held back. Call it once per effect,
    /// and not for those of a recovery, which were counted before.
    pub fn observe_effect(&self, effect: &Effect) {
        match effect {
            Effect::Recommend(said) => {
                self.lifecycle.with_label_values(&[said.lifecycle.word()]).inc();
                // What becomes of it later is no further recommendation.
                if said.lifecycle == Lifecycle::Issued && said.answer.is_none() {
                    self.recommendations.with_label_values(&[said.action.word(), said.verdict.word()]).inc();
                }
            }
            Effect::Audit(Audit { event: AuditEvent::Verdict { kind, .. }, .. }) => {
                self.verdicts.with_label_values(&[kind.word()]).inc();
            }
            Effect::Audit(Audit { event: AuditEvent::Held { reason, .. }, .. }) => {
                self.held.with_label_values(&[reason.word()]).inc();
            }
            Effect::Heartbeat(beat) => {
                self.heartbeat.set(beat.at.as_seconds());
                self.silent_services.set(beat.silent as i64);
                for (input, (_, kind)) in beat.inputs.iter().zip(KINDS) {
                    let silent = input.is_some_and(|input| input.silent);
                    self.input_silent.with_label_values(&[kind]).set(f64::from(u8::from(silent)));
                }
            }
            Effect::Drift(_) => self.drifts.inc(),
            Effect::Audit(Audit { event: AuditEvent::Heard { word, outcome, .. }, .. }) => {
                self.control_words.with_label_values(&[word, outcome.word()]).inc();
            }
            Effect::Automation(news) => self.automation_changes.with_label_values(&[news.change.word()]).inc(),
            Effect::Audit(_) | Effect::Accuracy(_) => {}
        }
    }

    /// The engine's state was loaded: what it counted in an earlier process is not counted again in this one. Without
    /// it, the first `observe_vitals` counts from 0.
    pub fn restored(&self, vitals: &Vitals) {
        *self.seen() = vitals.clone();
        self.observe_vitals(vitals);
    }

    /// Shows the engine's levels and counts on with its counters.
    pub fn observe_vitals(&self, vitals: &Vitals) {
        let mut seen = self.seen();
        for (reason, before, after) in [
            ("late", seen.dropped_late, vitals.dropped_late),
            ("ahead", seen.dropped_ahead, vitals.dropped_ahead),
            ("duplicate", seen.dropped_duplicate, vitals.dropped_duplicate),
            ("overflow", seen.dropped_overflow, vitals.dropped_overflow),
        ] {
            self.dropped.with_label_values(&[reason]).inc_by(after.saturating_sub(before));
        }
        for (gauge, level) in [
            (&self.watches.with_label_values(&["warming"]), vitals.watches_warming),
            (&self.watches.with_label_values(&["watching"]), vitals.watches_open),
            (&self.cooldowns, vitals.cooldowns),
            (&self.windows, vitals.windows),
            (&self.threads, vitals.threads_open),
            (&self.services, vitals.services),
            (&self.signals, vitals.signals),
            (&self.series, vitals.series),
            (&self.log_templates, vitals.templates),
        ] {
            gauge.set(level as i64);
        }
        self.log_lines_unplaced.inc_by(vitals.lines_homeless.saturating_sub(seen.lines_homeless));
        self.fleet_tokens.set(vitals.fleet_tokens);
        *seen = vitals.clone();
    }

    /// Shows how often the daemon was right, as far as anybody knows.
    pub fn observe_accuracy(&self, table: &Accuracy) {
        self.measured.show(table);
    }

    /// A publication was acknowledged, so many seconds after the log took the message that gave rise to it.
    pub fn published(&self, delay_seconds: f64) {
        self.end_to_end_delay.observe(delay_seconds.max(0.0));
    }

    /// A publication is tried again.
    pub fn publish_retried(&self) {
        self.publish_retries.inc();
    }

    /// A publication was given up for the moment; taking stops until one succeeds.
    pub fn publish_failed(&self) {
        self.publish_failures.inc();
    }

    /// The Kafka client reported an error.
    pub fn kafka_failed(&self, trouble: KafkaTrouble) {
        self.kafka_errors.with_label_values(&[trouble.word()]).inc();
    }

    /// A batch was taken.
    pub fn batch_taken(&self, duration: Duration) {
        self.batch_duration.observe(duration.as_secs_f64());
    }

    /// So many messages of a partition were not taken yet.
    pub fn set_lag(&self, topic: &str, partition: i32, messages: i64) {
        self.places.set_lag(topic, partition, messages);
    }

    /// How far a partition is read, by stage, and what became of what was read.
    pub fn observe_partition(&self, topic: &str, partition: i32, stages: &[(&str, i64)], tally: &Tally) {
        self.places.show(topic, partition, stages, tally);
    }

    /// The partition is no longer ours.
    pub fn forget_partition(&self, topic: &str, partition: i32) {
        self.places.forget(topic, partition);
    }

    /// How far the latest message taken lies behind the clock.
    pub fn set_lag_seconds(&self, seconds: f64) {
        self.lag_seconds.set(seconds.max(0.0));
    }

    /// Retention took so many messages of a partition before they were read.
    pub fn lost(&self, messages: u64) {
        self.messages_lost.inc_by(messages);
    }

    /// So many partitions are stopped because too many of their messages can't be taken.
    pub fn set_partitions_stopped(&self, partitions: usize) {
        self.partitions_stopped.set(i64::try_from(partitions).unwrap_or(i64::MAX));
    }

    /// A message was passed on to a lane that had it already.
    pub fn repeated(&self) {
        self.repeats.inc();
    }

    pub fn set_ready(&self, is_ready: bool) {
        self.ready.set(i64::from(is_ready));
    }

    /// A configuration was loaded; the policy of this hash is in force.
    pub fn config_loaded(&self, hash: &str) {
        self.config_info.reset();
        self.config_info.with_label_values(&[hash]).set(1.0);
        self.reload_successful.set(1);
        self.reload_success_timestamp.set(unix_seconds());
    }

    /// A configuration was refused; the old one stays in force.
    pub fn config_refused(&self) {
        self.reload_successful.set(0);
    }

    /// A checkpoint of so many bytes was written.
    pub fn checkpointed(&self, bytes: u64, duration: Duration) {
        self.checkpoint_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.checkpoint_duration.set(duration.as_secs_f64());
        self.checkpoint_timestamp.set(unix_seconds());
    }

    /// The stream stood still for so long while a checkpoint was cut.
    pub fn checkpoint_paused(&self, duration: Duration) {
        self.checkpoint_pause.set(duration.as_secs_f64());
    }

    /// A checkpoint could not be written.
    pub fn checkpoint_failed(&self) {
        self.checkpoint_failures.inc();
    }

    /// What a daemon counts is counted by seat from here on.
    pub fn divide(&self) {
        self.seats.divide();
    }

    /// The metrics of a seat, shown beside these.
    pub fn seat(&self, name: &str) -> Arc<Metrics> {
        let metrics = Arc::new(Metrics::of(Some(name)));
        self.seats.add(name, metrics.clone());
        metrics
    }

    /// This member sits there no longer.
    pub fn forget_seat(&self, name: &str) {
        self.seats.forget(name);
    }

    /// Everything in Prometheus' text format 0.0.4.
    pub fn render(&self) -> String {
        let mut text = String::new();
        match prometheus::TextEncoder::new().encode_utf8(&self.seats.gather(self.registry.gather()), &mut text) {
            Ok(()) => text,
            Err(error) => format!("# metrics can't be shown: {error}\n"),
        }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Vitals> {
        // Numbers alone: whoever panicked while holding it left nothing half done that matters.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

/// The place of a kind in `KINDS`.
fn index(kind: Kind) -> usize {
    match kind {
        Kind::Metrics => 0,
        Kind::Logs => 1,
        Kind::Deployments => 2,
        Kind::Control => 3,
        Kind::Letters => 4,
    }
}

fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
