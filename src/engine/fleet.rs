//! The fleet: every service, signal and series there is, found by fingerprint, and how a fact gets into its bin.
//!
//! Ceilings on all three; past one, what is new is dropped, counted, and its service marked, so that a verdict about it
//! can say so. Judging is elsewhere.

use super::character::{Class, class_of};
use super::distribution::above;
use super::event::{Buckets, LogLine, Origin, Reading, Sample, Severity};
use super::fingerprint::Fingerprint;
use super::index::Index;
use super::policy::Limits;
use super::series::{Series, Taken};
use super::service::Service;
use super::shared::Shared;
use super::signal::{Feature, Nature, Signal, Track, display_name};
use super::time::Time;
use super::traffic::Traffic;
use super::window::{Minute, minute_of};
use std::sync::Arc;

/// Where a series stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub service: u32,
    pub signal: u32,
    pub series: u32,
}

#[derive(Clone, Debug, Default)]
pub struct Fleet {
    pub services: Shared<Service>,
    services_by_name: Index<u32>,
    signals_by_name: Index<(u32, u32)>,
    series_by_name: Index<Place>,
    pub signals: usize,
    pub traffic: Traffic,
    /// Fingerprints of series whose instance was just forgotten.
    forgotten: Vec<u64>,
    /// Environments whose bins are worked out up to a minute since the last fact was taken, one entry each: many
    /// watches are looked at in a row.
    settled: Vec<(Arc<str>, Minute)>,
}

/// A signal's first sample of a new minute arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rolled {
    pub service: usize,
    pub signal: usize,
    pub minute: Minute,
}

/// A fact that could not be taken because a ceiling was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Fleet {
    /// From all services, in their places.
    pub fn restored(services: Vec<Service>) -> Fleet {
        let mut fleet = Fleet { services: Shared::restored(services), ..Fleet::default() };
        for (service, owner) in fleet.services.iter().enumerate() {
            fleet.services_by_name.set(Fleet::name(&owner.env, &owner.name), service as u32);
            fleet.traffic.note(service, owner);
            for (signal, owned) in owner.signals.iter().enumerate() {
                fleet.signals += 1;
                // What is worked out from others has no name of its own, and no series.
                if owned.id != 0 {
                    fleet.signals_by_name.set(owned.id, (service as u32, signal as u32));
                }
                for (series, name) in owned.names() {
                    let place = Place { service: service as u32, signal: signal as u32, series };
                    fleet.series_by_name.set(name, place);
                }
            }
        }
        fleet
    }

    /// Fingerprint of a service.
    pub fn name(env: &str, service: &str) -> u64 {
        Fingerprint::new().with(env).with(service).finish()
    }

    pub fn series(&self) -> usize {
        self.series_by_name.len()
    }

    pub fn find(&self, env: &str, service: &str) -> Option<usize> {
        self.services_by_name.get(Fleet::name(env, service)).map(|place| place as usize)
    }

    /// The place of a service, made if need be.
    pub fn service(&mut self, env: &str, service: &str, at: Time, limits: &Limits) -> Result<usize, Full> {
        let name = Fleet::name(env, service);
        if let Some(place) = self.services_by_name.get(name) {
            return Ok(place as usize);
        }
        if self.services.len() >= limits.services {
            return Err(Full);
        }
        self.services.push(Service::new(env, service, minute_of(at)));
        self.services_by_name.set(name, (self.services.len() - 1) as u32);
        Ok(self.services.len() - 1)
    }

    /// Puts a sample into its bin.
    pub fn take(&mut self, sample: &Sample, limits: &Limits) -> Result<(Taken, Option<Rolled>), Full> {
        self.settled.clear();
        let nature = match &sample.reading {
            Reading::Gauge(_) => Nature::Gauge,
            Reading::Counter(_) | Reading::Delta(_) => Nature::Rate,
            Reading::Histogram(_) => Nature::Distribution,
        };
        let series_name =
            series_fingerprint(&sample.origin, Fingerprint::new().with(&sample.metric).labels(&sample.labels));
        let place = match self.series_by_name.get(series_name) {
            Some(place) => place,
            None => {
                let signal = || new_signal(sample, nature);
                self.make(&sample.origin, sample.at, name_of(sample), series_name, limits, signal)?
            }
        };
        Ok(self.put(place, sample))
    }

    /// Counts a log line by severity; lines below `WARN` only show that the service lives. Says which service it was.
    pub fn take_log(&mut self, line: &LogLine, limits: &Limits) -> Result<(usize, Taken, Option<Rolled>), Full> {
        self.settled.clear();
        let minute = minute_of(line.at);
        let service = self.service(&line.origin.env, &line.origin.service, line.at, limits)?;
        let instance = self.services[service]
            .instance(line.origin.instance.as_deref(), line.origin.version.as_deref(), minute, &mut self.forgotten)
            .ok_or(Full)?;
        self.forget();
        let severity = match line.severity {
            Severity::Error | Severity::Fatal => "error",
            Severity::Warn => "warn",
            _ => return Ok((service, Taken::Applied, None)),
        };
        let series_name = series_fingerprint(&line.origin, Fingerprint::new().with("logs").with(severity));
        let place = match self.series_by_name.get(series_name) {
            Some(place) => place,
            None => {
                let owner = Fingerprint::new().with(&line.origin.env).with(&line.origin.service);
                let name = owner.with("logs").with(severity).finish();
                self.make(&line.origin, line.at, name, series_name, limits, || log_signal(severity, line.at))?
            }
        };
        debug_assert_eq!(place.service as usize, service);
        let signal = &mut self.services[service].signals[place.signal as usize];
        signal.touch(minute);
        debug_assert_eq!(signal.series[place.series as usize].instance, instance);
        let taken = signal.series[place.series as usize].count(0, line.at, 1.0);
        Ok((service, taken, self.rolled(place, minute)))
    }

    fn rolled(&mut self, place: Place, minute: Minute) -> Option<Rolled> {
        let signal = &mut self.services[place.service as usize].signals[place.signal as usize];
        roll(signal, place, minute)
    }

    /// A watch of the service opened (1) or closed (-1) in this minute.
    pub fn watch(&mut self, env: &str, service: &str, change: i32, minute: Minute) {
        if let Some(place) = self.find(env, service) {
            let service = &mut self.services[place];
            service.watched = service.watched.saturating_add_signed(change);
            service.watched_until = minute;
        }
    }

    pub fn has_overflowed(&self, env: &str, service: &str) -> bool {
        self.find(env, service).is_some_and(|place| self.services[place].overflowed)
    }

    /// Works out all bins of an environment's services up to a minute.
    pub fn settle_env(&mut self, env: &Arc<str>, upto: Minute) {
        if self.settled.iter().any(|(settled, minute)| settled == env && *minute == upto) {
            return;
        }
        for place in 0..self.services.len() {
            if self.services[place].env == *env {
                self.services[place].settle_all(upto);
            }
        }
        self.settled.retain(|(_, minute)| *minute == upto);
        self.settled.push((env.clone(), upto));
    }

    fn make(
        &mut self,
        origin: &Origin,
        at: Time,
        signal_name: u64,
        series_name: u64,
        limits: &Limits,
        new: impl Fn() -> Signal,
    ) -> Result<Place, Full> {
        let minute = minute_of(at);
        let service = self.service(&origin.env, &origin.service, at, limits)?;
        if self.series_by_name.len() >= limits.series {
            self.services[service].overflowed = true;
            return Err(Full);
        }
        let signal = match self.signals_by_name.get(signal_name) {
            Some((_, signal)) => signal as usize,
            None if self.signals >= limits.signals => {
                self.services[service].overflowed = true;
                return Err(Full);
            }
            None => {
                let services = &mut self.services[service];
                services.signals.push(new().found_by(signal_name));
                services.pair_up();
                self.traffic.note(service, services);
                self.signals += 1;
                let place = services.signals.len() - 1;
                self.signals_by_name.set(signal_name, (service as u32, place as u32));
                place
            }
        };
        let owner = &mut self.services[service];
        let named = (origin.instance.as_deref(), origin.version.as_deref());
        let Some(instance) = owner.instance(named.0, named.1, minute, &mut self.forgotten) else {
            owner.overflowed = true;
            return Err(Full);
        };
        owner.overflowed = false;
        let signal_of = &mut owner.signals[signal];
        let series = signal_of.add_series(Series::new(series_name, instance, signal_of.tracks.len())) as u32;
        let place = Place { service: service as u32, signal: signal as u32, series };
        self.forget();
        self.series_by_name.set(series_name, place);
        Ok(place)
    }

    fn forget(&mut self) {
        for name in self.forgotten.drain(..) {
            self.series_by_name.remove(name);
        }
    }

    /// Each way to a signal has its price: it may be lent to a checkpoint.
    fn put(&mut self, place: Place, sample: &Sample) -> (Taken, Option<Rolled>) {
        let minute = minute_of(sample.at);
        let service = &mut self.services[place.service as usize];
        let signal = &mut service.signals[place.signal as usize];
        let series = &mut signal.series[place.series as usize];
        let instance = series.instance as usize;
        if series.is_repeat(sample.at) {
            return (Taken::Duplicate, roll(signal, place, minute));
        }
        let taken = match &sample.reading {
            Reading::Gauge(value) => series.add(0, sample.at, *value, 1.0),
            Reading::Delta(value) => series.count(0, sample.at, *value),
            Reading::Counter(value) => match series.increase(sample.at, *value) {
                Some(rate) => series.add(0, sample.at, rate, 1.0),
                None => Taken::Applied,
            },
            Reading::Histogram(buckets) => put_histogram(signal, place.series as usize, sample.at, buckets),
        };
        let restarted = signal.series[place.series as usize].restarted == minute;
        signal.touch(minute);
        let rolled = roll(signal, place, minute);
        service.see(instance, sample.origin.version.as_deref(), minute);
        if restarted {
            service.instances[instance].begin(minute);
        }
        (taken, rolled)
    }
}

/// Notes a signal's newest minute; says so when it is a new one.
fn roll(signal: &mut Signal, place: Place, minute: Minute) -> Option<Rolled> {
    if minute <= signal.latest {
        return None;
    }
    signal.latest = minute;
    Some(Rolled { service: place.service as usize, signal: place.signal as usize, minute })
}

fn put_histogram(signal: &mut Signal, series: usize, at: Time, buckets: &Buckets) -> Taken {
    let distribution = signal.distribution.get_or_insert_with(Box::default);
    if distribution.learn(buckets) {
        for &level in distribution.levels() {
            signal.tracks.push(Track::new(Feature::Above(level)));
        }
        let tracks = signal.tracks.len();
        signal.series.iter_mut().for_each(|series| series.extend_to(tracks));
    }
    let count: u64 = buckets.counts.iter().sum();
    let sum = buckets.sum.unwrap_or_else(|| count as f64 * super::distribution::quantile(buckets, 0.5).unwrap_or(0.0));
    let shares = distribution.levels().iter().map(|&level| above(buckets, level));
    signal.series[series].add_to_all(at, std::iter::once(sum).chain(shares), count as f64)
}

/// Version tells series apart only where no instance does.
fn series_fingerprint(origin: &Origin, name: Fingerprint) -> u64 {
    let name = name.with(&origin.env).with(&origin.service);
    match (&origin.instance, &origin.version) {
        (Some(instance), _) if !instance.is_empty() => name.with("i").with(instance).finish(),
        (_, Some(version)) => name.with("v").with(version).finish(),
        _ => name.with("").finish(),
    }
}

fn name_of(sample: &Sample) -> u64 {
    Fingerprint::new()
        .with(&sample.origin.env)
        .with(&sample.origin.service)
        .with(&sample.metric)
        .labels(&sample.labels)
        .finish()
}

fn new_signal(sample: &Sample, nature: Nature) -> Signal {
    let class = class_of(&sample.metric, sample.unit.as_deref());
    // Failures that are counted when there are any: no sample is a zero.
    let eventlike = class == Class::Errors && matches!(sample.reading, Reading::Delta(_));
    let nature = if eventlike { Nature::Events } else { nature };
    let labels = sample.labels.iter().map(|(name, value)| (name.as_ref(), value.as_ref()));
    let name = display_name(&sample.metric, labels);
    Signal::new(&sample.metric, name, sample.unit.as_deref(), class, nature, minute_of(sample.at))
}

fn log_signal(severity: &str, at: Time) -> Signal {
    let metric = format!("logs.{severity}");
    Signal::new(&metric, metric.clone(), None, Class::Errors, Nature::Events, minute_of(at))
}
