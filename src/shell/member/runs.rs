//! The runs of a member: one for each seat that is its own, each a daemon of its own but for what is shared.
//!
//! A run has a group, a transactional id and a state under the seat's own name, so whoever begins one ends whoever sat
//! there before. One that was ended so while the group says that the seat is ours begins again after a pause. A message
//! that breaks a run ends the member, as it would a daemon alone. Who sits where is not decided here.

use super::office::Office;
use super::post::Correspondence;
use super::relay::Relay;
use crate::engine::Part;
use crate::shell::config::{Config, GroupProtocol};
use crate::shell::http::{Health, NotReady};
use crate::shell::pump::Taken;
use crate::shell::run::beginning::{self, Around, Place};
use crate::shell::run::{PATIENCE, RunError, STALL_AFTER, Stop};
use crate::shell::telemetry::Metrics;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A run that was ended by somebody else begins again after this: by then the group has said whose the seat is.
const PAUSE: Duration = Duration::from_secs(5);

/// Its name, for people and metrics.
const RELAY: &str = "relay";

const LOOK_EVERY: Duration = Duration::from_millis(10);

pub struct Runs {
    config: Mutex<Arc<Config>>,
    office: Arc<Office>,
    metrics: Arc<Metrics>,
    clock: crate::shell::clock::Clock,
    trap: Option<fn(&Taken)>,
    seated: Mutex<BTreeMap<u32, Run>>,
}

/// One seat's run; it has none while it waits to begin again.
struct Run {
    thread: Option<JoinHandle<Result<(), RunError>>>,
    stop: Arc<Stop>,
    asked: Arc<AtomicBool>,
    safe: Arc<AtomicBool>,
    health: Arc<Health>,
    reloads: Sender<Arc<Config>>,
    again_at: Option<Instant>,
}

impl Runs {
    pub fn new(config: Arc<Config>, office: Arc<Office>, around: &Around) -> Runs {
        let (metrics, clock, trap) = (around.metrics.clone(), around.clock, around.trap);
        Runs { config: Mutex::new(config), office, metrics, clock, trap, seated: Mutex::default() }
    }

    pub fn office(&self) -> &Arc<Office> {
        &self.office
    }

    /// Begins to run a seat.
    pub fn sit(&self, seat: u32) {
        self.seated().entry(seat).or_insert_with(|| {
            tracing::info!(seat = self.name(seat), "sitting down");
            self.begin(seat)
        });
    }

    /// Begins to pass metrics and logs on to their lanes, where that is asked for.
    pub fn begin_relay(&self) {
        let is_relayed = self.config().fleet.is_relayed();
        if is_relayed {
            self.sit(self.relay());
        }
    }

    /// Ends the runs of these seats and waits, for a bounded time, until all that they know is remembered.
    pub fn rise(&self, seats: &[u32]) {
        let mut risen: Vec<(u32, Run)> = Vec::new();
        {
            let mut seated = self.seated();
            risen.extend(seats.iter().filter_map(|seat| Some((*seat, seated.remove(seat)?))));
        }
        for (_, run) in &risen {
            run.asked.store(true, Ordering::Relaxed);
            run.stop.ask();
        }
        let begun = Instant::now();
        for (seat, run) in risen {
            let seat_name = self.name(seat);
            while run.thread.as_ref().is_some_and(|thread| !thread.is_finished()) && begun.elapsed() < PATIENCE {
                std::thread::sleep(LOOK_EVERY);
            }
            match run.thread {
                Some(thread) if thread.is_finished() => match thread.join() {
                    Ok(Ok(()) | Err(RunError::Interrupted)) => {}
                    Ok(Err(error)) => tracing::warn!(seat = seat_name, %error, "it had ended by itself"),
                    Err(_) => tracing::error!(seat = seat_name, "it broke down while it was to end"),
                },
                Some(_) if run.safe.load(Ordering::Acquire) => {
                    tracing::warn!(seat = seat_name, "the Kafka client does not close; everything is remembered");
                }
                Some(_) => tracing::error!(seat = seat_name, "did not end in time; whoever sits there next ends it"),
                None => {}
            }
            self.office.forget(seat);
            self.metrics.forget_seat(seat_name.as_str());
            tracing::info!(seat = seat_name, "risen");
        }
    }

    pub fn rise_all(&self) {
        let seats: Vec<u32> = self.seated().keys().copied().collect();
        self.rise(&seats);
        self.office.close();
    }

    /// Begins again what somebody else has ended.
    ///
    /// # Errors
    /// A message broke a run.
    pub fn look_after(&self) -> Result<(), RunError> {
        let mut seated = self.seated();
        for (seat, run) in seated.iter_mut() {
            let seat_name = self.name(*seat);
            if let Some(thread) = run.thread.take_if(|thread| thread.is_finished()) {
                match thread.join() {
                    Err(_) => return Err(RunError::Panicked),
                    Ok(Ok(())) => tracing::warn!(seat = seat_name, "ended by itself; it begins again"),
                    Ok(Err(error)) => {
                        tracing::warn!(seat = seat_name, %error, "ended; if it is still ours, it begins again")
                    }
                }
                run.again_at = Some(Instant::now() + PAUSE);
            }
            if run.again_at.is_some_and(|at| Instant::now() >= at) {
                *run = self.begin(*seat);
            }
        }
        Ok(())
    }

    /// Other settings for all seats, those to come included.
    pub fn reload(&self, config: &Arc<Config>) {
        *self.config() = config.clone();
        for (seat, run) in self.seated().iter() {
            // One that has ended begins again with them.
            let _ = run.reloads.send(Arc::new(self.config_of(*seat, config)));
        }
    }

    /// What any of them lacks.
    pub fn lacks(&self) -> Vec<NotReady> {
        self.seated().values().flat_map(|run| run.health.not_ready()).collect()
    }

    pub fn is_stalled(&self) -> bool {
        self.seated().values().any(|run| run.thread.is_some() && run.health.stalled().is_some())
    }

    /// No partition is this one: each member has it.
    fn relay(&self) -> u32 {
        self.office.lanes() + 1
    }

    fn name(&self, seat: u32) -> String {
        if seat == self.relay() { RELAY.into() } else { name(part(seat, self.office.lanes())) }
    }

    fn config_of(&self, seat: u32, config: &Config) -> Config {
        if seat == self.relay() { config.relaying() } else { config.seated(part(seat, self.office.lanes())) }
    }

    fn begin(&self, seat: u32) -> Run {
        let running = self.config().clone();
        let config = Arc::new(self.config_of(seat, &running));
        let (stop, safe, asked) = (Arc::new(Stop::default()), Arc::default(), Arc::new(AtomicBool::new(false)));
        let health = Arc::new(Health::new(STALL_AFTER));
        let (reloads, receiver) = channel();
        let around = Around {
            clock: self.clock,
            reloads: Some(receiver),
            trap: self.trap,
            metrics: self.metrics.seat(&self.name(seat)),
            health: health.clone(),
            stop: stop.clone(),
            asked: Some(asked.clone()),
            safe: Arc::clone(&safe),
        };
        let (office, part) = (self.office.clone(), part(seat, self.office.lanes()));
        let thread = std::thread::Builder::new().name(self.name(seat));
        let thread = match seat == self.relay() {
            true => thread.spawn(move || Relay::begin(config, office, around)?.run()),
            false => {
                let give_up = Duration::from_millis(config.fleet.give_up.0.unsigned_abs());
                let post = Correspondence::new(seat, office, give_up, stop.clone(), health.clone());
                let place = Place { part, post: Some(Box::new(post)) };
                thread.spawn(move || beginning::begin(&config, place, around)?.run())
            }
        };
        let thread = thread.expect("a thread can be had: librdkafka has just had several");
        Run { thread: Some(thread), stop, asked, safe, health, reloads, again_at: None }
    }

    fn config(&self) -> MutexGuard<'_, Arc<Config>> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seated(&self) -> MutexGuard<'_, BTreeMap<u32, Run>> {
        self.seated.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What sits on a seat: the desk's is the one after the lanes'.
pub fn part(seat: u32, lanes: u32) -> Part {
    if seat < lanes { Part::Lane(seat, lanes) } else { Part::Desk(lanes) }
}

/// The number of a seat, from 0.
fn seat(part: Part) -> i32 {
    let seat = match part {
        Part::Lane(lane, _) => lane,
        Part::Desk(lanes) => lanes,
        Part::Whole => 0,
    };
    i32::try_from(seat).unwrap_or(i32::MAX)
}

/// A seat's name, for people and metrics.
pub fn name(part: Part) -> String {
    match part {
        Part::Lane(lane, _) => format!("lane-{lane}"),
        Part::Desk(_) => "desk".into(),
        Part::Whole => "whole".into(),
    }
}

impl Config {
    /// The same under a seat's own names, which say of how many lanes it is one: with another number everything
    /// begins anew.
    fn seated(&self, part: Part) -> Config {
        let mut config = self.clone();
        let name = format!("{}-of-{}", name(part), self.fleet.lanes);
        config.kafka.group = format!("{}.{name}", self.kafka.group);
        // Whoever sits down takes the place of the one before at once, and need not wait for a session to end.
        config.kafka.properties.insert("group.instance.id".into(), "seat".into());
        config.kafka.group_protocol = GroupProtocol::Classic;
        config.state.dir = self.state.dir.join(name);
        config.state.partition = seat(part);
        config
    }

    /// The same for what passes on. With another number of lanes it begins anew, too.
    fn relaying(&self) -> Config {
        let mut config = self.clone();
        config.kafka.group = format!("{}.{RELAY}-of-{}", self.kafka.group, self.fleet.lanes);
        let properties = &mut config.kafka.properties;
        properties.remove("group.instance.id");
        properties.extend(self.fleet.member.iter().map(|member| ("group.instance.id".to_owned(), member.clone())));
        properties.insert("partition.assignment.strategy".into(), "cooperative-sticky".into());
        config.state.dir = self.state.dir.join(RELAY);
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seat_has_names_of_its_own() {
        let text = "[kafka]\ngroup = \"us\"\n[fleet]\nlanes = 3\n[state]\ntopic = \"state\"\ndir = \"/state\"";
        let config = Config::from_toml_str(text).expect("no mistakes");
        let groups: Vec<_> = (0..4).map(|seat| config.seated(part(seat, 3)).kafka.group).collect();
        assert_eq!(groups, ["us.lane-0-of-3", "us.lane-1-of-3", "us.lane-2-of-3", "us.desk-of-3"]);
        let desk = config.seated(Part::Desk(3));
        assert_eq!(desk.state.dir, std::path::Path::new("/state/desk-of-3"));
        assert_eq!((desk.state.partition, config.seated(part(1, 3)).state.partition), (3, 1));
        assert_eq!(config.relaying().kafka.group, "us.relay-of-3");
        assert_eq!(desk.policy, config.policy);
    }
}
