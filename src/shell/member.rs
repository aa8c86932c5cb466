//! A member of a fleet of daemons: joins, and looks after the seats that are its own until it is asked to stop.
//!
//! The services are divided into lanes, and one desk speaks for all of them; each is a seat. A group decides who sits
//! where (`seats`), a run sits there as a daemon does alone (`runs`), and what seats write to each other goes through
//! one office in each member (`office`, `post`). Beside the seats each member passes metrics and logs on to their lanes
//! (`relay`). This file keeps the order and does none of the work.

mod office;
mod post;
mod relay;
mod runs;
mod seats;

use super::config::Config;
use super::http::{Health, NotReady};
use super::run::beginning::Around;
use super::run::{RunError, Stop};
use office::Office;
use runs::Runs;
use seats::Seats;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// How long is waited for news of the group between two looks at everything else.
const WAIT: Duration = Duration::from_millis(200);

/// Between two looks for topics that are not there.
const PAUSE: Duration = Duration::from_secs(1);

/// What is told now and then while the topics are not as they should be.
const TELL_EVERY: Duration = Duration::from_secs(10);

pub struct Member {
    runs: Arc<Runs>,
    seats: Seats,
    reloads: Option<Receiver<Arc<Config>>>,
    health: Arc<Health>,
    stop: Arc<Stop>,
    asked: Option<Arc<AtomicBool>>,
    safe: Arc<AtomicBool>,
}

impl Member {
    /// Makes the clients; brokers and topics may come later.
    ///
    /// # Errors
    /// librdkafka refuses its settings.
    pub fn join(config: Arc<Config>, around: Around) -> Result<Member, RunError> {
        let office = Arc::new(Office::new(&config)?);
        around.metrics.divide();
        let runs = Arc::new(Runs::new(config.clone(), office, &around));
        let seats = Seats::new(&config, runs.clone())?;
        let Around { reloads, health, stop, asked, safe, .. } = around;
        Ok(Member { runs, seats, reloads, health, stop, asked, safe })
    }

    /// Until it is asked to stop, or can't go on.
    ///
    /// # Errors
    /// Somebody else has this member's name, or a message broke a seat.
    pub fn run(mut self) -> Result<(), RunError> {
        self.wait_for_topics();
        if !self.is_over() {
            self.runs.office().open()?;
            self.seats.subscribe()?;
            self.runs.begin_relay();
        }
        let mut outcome = Ok(());
        while outcome.is_ok() && !self.is_over() {
            outcome = self.seats.poll(WAIT).map_err(RunError::Kafka).and_then(|()| self.runs.look_after());
            self.reload();
            self.tell_health();
        }
        self.health.set(NotReady::Stopping, true);
        self.runs.rise_all();
        self.safe.store(true, Ordering::Release);
        // Dropping the consumer leaves the group, unless the member has a name: then its seats wait for it.
        outcome
    }

    fn is_over(&self) -> bool {
        self.stop.is_asked() || self.asked.as_ref().is_some_and(|asked| asked.load(Ordering::Relaxed))
    }

    fn wait_for_topics(&mut self) {
        let mut told: Option<Instant> = None;
        while !self.is_over() {
            self.health.beat();
            let outcome = self.seats.check();
            self.health.set(NotReady::AuthenticationFailed, self.seats.is_refused());
            let Err(why) = outcome else { return };
            if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
                told = Some(Instant::now());
                tracing::error!(why, "the fleet's topics are not as they should be yet");
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn reload(&mut self) {
        let Some(reloads) = &self.reloads else { return };
        reloads.try_iter().for_each(|config| self.runs.reload(&config));
    }

    /// A member is as well as the worst of its seats.
    fn tell_health(&self) {
        let lacks = self.runs.lacks();
        for reason in NotReady::ALL.iter().copied().filter(|reason| *reason != NotReady::Stopping) {
            let holds = lacks.contains(&reason) || reason == NotReady::Starting && !self.seats.has_joined();
            self.health.set(reason, holds);
        }
        if !self.runs.is_stalled() {
            self.health.beat();
        }
    }
}
