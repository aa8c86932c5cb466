//! A service in an environment: its instances, its signals, and how bins of instances add up.
//!
//! Knows who runs what (instance → version) and turns instances' bins into the service's. It judges nothing.

use super::character::Class;
use super::character::counts_against;
use super::shared::Shared;
use super::signal::{KEPT, Nature, Signal};
use super::window::{Bin, Minute};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Instances remembered of one service; past it the one that was silent for longest is forgotten.
/// About 150 bytes each, and 0.5 KiB for each of its series.
pub const INSTANCES: usize = 512;

/// Minutes of silence after which an instance is forgotten when another one comes; and when there is no room for it.
const GONE: Minute = 1_440;
const SILENT: Minute = 5;

/// For how many minutes an instance that missed a scrape counts with its last rate.
const HELD: Minute = 2;

/// How many minutes are worked out again where a change may come without a sample of the signal's own.
const AGAIN: Minute = 6;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Service {
    pub env: Arc<str>,
    pub name: Arc<str>,
    pub instances: Vec<Instance>,
    pub signals: Shared<Signal>,
    /// The newest minute any sample of the service fell into.
    pub latest: Minute,
    pub earliest: Minute,
    /// Something of it was dropped because a limit was reached.
    pub overflowed: bool,
    /// Watches open on it; nothing is learned meanwhile.
    pub watched: u32,
    /// When the last of them opened or closed.
    pub watched_until: Minute,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// Empty where samples name none; then there is one for each version.
    pub name: Arc<str>,
    pub version: Option<Arc<str>>,
    /// When the version last changed.
    pub changed: Minute,
    /// When its process last began, as far as that shows: first seen, another version, a counter from zero.
    pub started: Minute,
    /// The start before that one.
    pub started_before: Minute,
    pub first: Minute,
    pub last: Minute,
}

impl Instance {
    fn new(name: &str, version: Option<&str>, minute: Minute) -> Instance {
        Instance {
            name: name.into(),
            version: version.map(Arc::from),
            changed: minute,
            started: minute,
            started_before: Minute::MIN,
            first: minute,
            last: minute,
        }
    }

    /// Its process began anew.
    pub fn begin(&mut self, minute: Minute) {
        if minute > self.started {
            self.started_before = std::mem::replace(&mut self.started, minute);
        }
    }
}

impl Service {
    pub fn new(env: &str, name: &str, minute: Minute) -> Service {
        Service {
            env: env.into(),
            name: name.into(),
            instances: Vec::new(),
            signals: Shared::default(),
            latest: minute,
            earliest: minute,
            overflowed: false,
            watched: 0,
            watched_until: Minute::MIN,
        }
    }

    /// The place of an instance, made if need be; samples without one are told apart by version. A new one may take
    /// the place of one that fell silent, whose series' fingerprints are then added to `forgotten`.
    pub fn instance(
        &mut self,
        name: Option<&str>,
        version: Option<&str>,
        minute: Minute,
        forgotten: &mut Vec<u64>,
    ) -> Option<u32> {
        let name = name.unwrap_or("");
        let found = self
            .instances
            .iter()
            .position(|each| &*each.name == name && (!name.is_empty() || each.version.as_deref() == version));
        let place = match found {
            Some(place) => place,
            None => {
                let instance = Instance::new(name, version, minute);
                match self.vacate(minute, forgotten) {
                    Some(place) => {
                        self.instances[place] = instance;
                        place
                    }
                    None if self.instances.len() >= INSTANCES => return None,
                    None => {
                        self.instances.push(instance);
                        self.instances.len() - 1
                    }
                }
            }
        };
        self.see(place, version, minute);
        u32::try_from(place).ok()
    }

    /// Forgets the instance that was silent for longest, if that is long enough to be gone for good, or if there is no
    /// room and it is silent at all. Never while the service is under watch.
    fn vacate(&mut self, minute: Minute, forgotten: &mut Vec<u64>) -> Option<usize> {
        let (place, longest) = self.instances.iter().enumerate().min_by_key(|(_, each)| each.last)?;
        let silent = minute - longest.last;
        let full = self.instances.len() >= INSTANCES;
        if self.watched > 0 || silent < if full { SILENT } else { GONE } {
            return None;
        }
        forgotten.extend(self.signals.iter_mut().filter_map(|signal| signal.forget(place as u32)));
        Some(place)
    }

    /// Notes that an instance spoke, and which version it runs.
    pub fn see(&mut self, place: usize, version: Option<&str>, minute: Minute) {
        self.latest = self.latest.max(minute);
        self.earliest = self.earliest.min(minute);
        let Some(instance) = self.instances.get_mut(place) else { return };
        if minute >= instance.last {
            instance.last = minute;
            if version.is_some() && instance.version.as_deref() != version {
                instance.version = version.map(Arc::from);
                instance.changed = minute;
                instance.begin(minute);
            }
        }
    }

    /// Ties errors to the requests they are failures of.
    pub fn pair_up(&mut self) {
        for errors in 0..self.signals.len() {
            let signal = &self.signals[errors];
            let countable = matches!(signal.nature, Nature::Rate | Nature::Events);
            if !countable || signal.class != Class::Errors || signal.partner.is_some() {
                continue;
            }
            let partner = self.signals.iter().position(|each| {
                each.class == Class::Traffic
                    && each.nature == Nature::Rate
                    && counts_against(&signal.metric, &each.metric)
            });
            if let Some(partner) = partner.and_then(|place| u32::try_from(place).ok()) {
                let signal = &mut self.signals[errors];
                signal.partner = Some(partner);
                // What was learned of plain counts says nothing about errors per request.
                for track in &mut signal.tracks {
                    track.total = Default::default();
                    track.baseline = Default::default();
                    track.dirty = signal.born;
                }
            }
        }
    }

    /// One instance's bin of a track, errors being counted against requests.
    pub fn bin_of(&self, signal: &Signal, track: usize, instance: u32, minute: Minute) -> Option<Bin> {
        let own = signal.series_of(instance).and_then(|series| series.bin(track, minute));
        let Some(partner) = signal.partner.and_then(|place| self.signals.get(place as usize)) else {
            return match (own, signal.nature) {
                (Some(bin), Nature::Rate) => {
                    // Several scrapes within a minute are one rate; deltas within a minute add up.
                    Some(Bin { num: bin.num / bin.den.max(1e-9), den: 1.0, ..bin })
                }
                (Some(bin), _) => Some(bin),
                (None, Nature::Events) => self.alive(instance, minute).then_some(Bin { minute, num: 0.0, den: 1.0 }),
                (None, _) => None,
            };
        };
        let requests = partner.series_of(instance).and_then(|series| series.bin(0, minute))?;
        let requests = f64::from(requests.num) / f64::from(requests.den.max(1e-9));
        let errors = own.map_or(0.0, |bin| f64::from(bin.num) / f64::from(bin.den.max(1e-9)));
        (requests > 0.0).then_some(Bin { minute, num: errors as f32, den: requests as f32 })
    }

    /// One instance's bins of a track over `[from, upto]`, in order.
    pub fn bins_of(
        &self,
        signal: &Signal,
        track: usize,
        instance: u32,
        from: Minute,
        upto: Minute,
        mut each: impl FnMut(Bin),
    ) {
        let leading = signal.partner.and_then(|place| self.signals.get(place as usize));
        if signal.nature == Nature::Events && leading.is_none() {
            return (from..=upto).filter_map(|minute| self.bin_of(signal, track, instance, minute)).for_each(each);
        }
        // Where errors are counted against requests, the requests say which minutes there are.
        let (lead, lead_track) = leading.map_or((signal, track), |partner| (partner, 0));
        let Some(series) = lead.series_of(instance) else { return };
        series.bins(lead_track, from, upto.saturating_add(1), |bin| {
            if leading.is_none() && signal.nature != Nature::Rate {
                each(bin);
            } else if let Some(bin) = self.bin_of(signal, track, instance, bin.minute) {
                each(bin);
            }
        });
    }

    fn alive(&self, instance: u32, minute: Minute) -> bool {
        self.instances.get(instance as usize).is_some_and(|each| each.first <= minute && minute <= each.last)
    }

    /// Works out the service's bins of all signals, up to and including `upto`.
    pub fn settle_all(&mut self, upto: Minute) {
        (0..self.signals.len()).for_each(|signal| self.settle(signal, upto));
    }

    /// Works out the service's bins of a signal, from what changed up to and including `upto`.
    pub fn settle(&mut self, place: usize, upto: Minute) {
        let Some(signal) = self.signals.get(place) else { return };
        let oldest = upto.saturating_sub(KEPT as Minute);
        for track in 0..signal.tracks.len() {
            let from = self.unsettled(&self.signals[place], track, upto).max(oldest);
            for minute in from..=upto {
                let Some(bin) = self.total(&self.signals[place], track, minute) else { continue };
                self.signals[place].tracks[track].total.set(bin, KEPT);
            }
            let track = &mut self.signals[place].tracks[track];
            if from <= upto {
                track.dirty = upto + 1;
            }
        }
    }

    /// The first minute to be worked out. Errors change with their requests, and zeros come with no sample at all.
    fn unsettled(&self, signal: &Signal, track: usize, upto: Minute) -> Minute {
        let track = &signal.tracks[track];
        let silent_changes = signal.partner.is_some() || signal.nature == Nature::Events;
        let again = track.total.last().map_or(signal.born, |bin| bin.minute - AGAIN);
        if silent_changes { track.dirty.min(again).min(upto) } else { track.dirty }
    }

    /// The service's bin of one minute: means of gauges, sums of rates, pooled shares.
    fn total(&self, signal: &Signal, track: usize, minute: Minute) -> Option<Bin> {
        let (mut num, mut den, mut any) = (0.0_f64, 0.0_f64, false);
        let whole = signal.partner.and_then(|place| self.signals.get(place as usize)).unwrap_or(signal);
        for series in &whole.series {
            if let Some(bin) = self.bin_of(signal, track, series.instance, minute) {
                any = true;
                match signal.nature {
                    Nature::Gauge => {
                        num += f64::from(bin.num) / f64::from(bin.den.max(1e-9));
                        den += 1.0;
                    }
                    _ => {
                        num += f64::from(bin.num);
                        den += f64::from(bin.den);
                    }
                }
            } else if signal.nature == Nature::Rate && signal.partner.is_none() {
                num += self.held(series, track, minute).unwrap_or(0.0);
            }
        }
        if signal.nature == Nature::Events && signal.partner.is_none() {
            any = any || (self.earliest <= minute && minute <= self.latest);
            den = 1.0;
        } else if signal.nature == Nature::Rate && signal.partner.is_none() {
            den = 1.0;
        }
        if signal.nature == Nature::Gauge && den > 0.0 {
            (num, den) = (num / den, 1.0);
        }
        any.then_some(Bin { minute, num: num as f32, den: den as f32 })
    }

    /// The last rate of an instance that missed a scrape, if it missed only that and spoke again or may yet.
    fn held(&self, series: &super::series::Series, track: usize, minute: Minute) -> Option<f64> {
        let bin = series.bin_before(track, minute)?;
        (minute - bin.minute <= HELD).then(|| f64::from(bin.num) / f64::from(bin.den.max(1e-9)))
    }
}
