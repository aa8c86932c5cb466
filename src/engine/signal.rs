//! A signal: one metric with its labels in one service, over all instances, and the tracks it is judged by.
//!
//! A gauge has one track, its mean over the instances. Counters and deltas have one, the sum of the instances' rates,
//! or, for errors whose requests are known, errors per request. A histogram has a track for each chosen level (the
//! share of requests above it) and one for the average. Log severities are counted like deltas, with zeros where all
//! is quiet.

use super::adjusted::by_traffic::Line;
use super::baseline::Baseline;
use super::character::{Class, is_memory};
use super::distribution::Distribution;
use super::series::Series;
use super::window::{Minute, Ring};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Bins kept of a track over all instances: three hours and more, 2 to 12 bytes each.
pub const KEPT: usize = 200;

/// Whose series a vacant place is.
const NOBODY: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Nature {
    Gauge,
    /// Counts per minute, from a counter or from deltas.
    Rate,
    /// Counts that are only reported when there are any: no sample is a zero while the service lives.
    Events,
    Distribution,
    /// A rate adjusted for the environment's (see `adjusted`); it has no series of its own.
    Adjusted,
    /// What is used, adjusted for traffic; no series either.
    AdjustedUse,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// Its fingerprint, by which the fleet finds it; 0 where no sample does.
    pub id: u64,
    pub metric: Arc<str>,
    /// The metric with its labels, for people.
    pub name: Arc<str>,
    pub unit: Option<Arc<str>>,
    pub class: Class,
    pub nature: Nature,
    /// Asked of a name once, not of every minute's sample.
    pub is_memory: bool,
    /// The signal of the same service that these errors are counted against.
    pub partner: Option<u32>,
    pub born: Minute,
    pub tracks: Vec<Track>,
    pub series: Vec<Series>,
    /// By place of the instance: one more than the place of its series, 0 where it has none.
    by_instance: Vec<u32>,
    /// Places of series whose instance was forgotten.
    vacant: Vec<u32>,
    pub distribution: Option<Box<Distribution>>,
    /// Of what is used: how it goes with traffic.
    pub line: Option<Box<Line>>,
    /// The newest minute that a sample fell into.
    pub latest: Minute,
    /// The minute up to which distances between instances are learned.
    pub learned_apart: Minute,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Feature {
    /// The reading itself.
    Level,
    /// The average of what a histogram counted.
    Average,
    /// The share of what a histogram counted above this level.
    Above(f64),
}

/// What is judged: bins over all instances, and what is normal for them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Track {
    pub feature: Feature,
    pub total: Ring,
    /// The earliest minute whose total must be worked out (again).
    pub dirty: Minute,
    pub baseline: Baseline,
}

impl Track {
    pub fn new(feature: Feature) -> Track {
        Track { feature, total: Ring::default(), dirty: Minute::MAX, baseline: Baseline::default() }
    }
}

impl Signal {
    pub fn touch(&mut self, minute: Minute) {
        for track in &mut self.tracks {
            track.dirty = track.dirty.min(minute);
        }
    }

    /// What a person calls this track.
    pub fn title(&self, track: usize) -> String {
        match self.tracks.get(track).map(|track| track.feature) {
            Some(Feature::Above(level)) => format!("{} share above {level}", self.name),
            Some(Feature::Average) => format!("{} average", self.name),
            _ if self.partner.is_some() => format!("{} per request", self.name),
            _ => self.name.to_string(),
        }
    }

    /// The unit of a track's values.
    pub fn unit_of(&self, track: usize) -> Option<&str> {
        match self.tracks.get(track).map(|track| track.feature) {
            Some(Feature::Above(_)) => Some("1"),
            _ if self.partner.is_some() => Some("1"),
            Some(Feature::Level) if matches!(self.nature, Nature::Rate | Nature::Events | Nature::Adjusted) => {
                Some("/min")
            }
            _ => self.unit.as_deref(),
        }
    }

    /// A signal without series yet.
    pub fn new(metric: &str, name: String, unit: Option<&str>, class: Class, nature: Nature, born: Minute) -> Signal {
        let first = if nature == Nature::Distribution { Feature::Average } else { Feature::Level };
        Signal {
            id: 0,
            metric: metric.into(),
            name: name.into(),
            unit: unit.map(Into::into),
            class,
            nature,
            is_memory: is_memory(metric),
            partner: None,
            born,
            tracks: vec![Track::new(first)],
            series: Vec::new(),
            by_instance: Vec::new(),
            vacant: Vec::new(),
            distribution: None,
            line: None,
            latest: Minute::MIN,
            learned_apart: Minute::MIN,
        }
    }

    /// The same with its fingerprint.
    pub fn found_by(self, id: u64) -> Signal {
        Signal { id, ..self }
    }

    /// Whether it is worked out of other signals.
    pub fn is_derived(&self) -> bool {
        matches!(self.nature, Nature::Adjusted | Nature::AdjustedUse)
    }

    /// Whether its bins divide by what was counted: a share or an average of events.
    pub fn is_counted(&self) -> bool {
        self.partner.is_some() || self.nature == Nature::Distribution
    }

    /// Whether a track's numerator counts, too: a share of events, whose luck is known.
    pub fn is_share(&self, track: usize) -> bool {
        self.partner.is_some() || self.tracks.get(track).is_some_and(|track| matches!(track.feature, Feature::Above(_)))
    }

    /// Adds a series, in the place of one whose instance was forgotten if there is one; its place.
    pub fn add_series(&mut self, series: Series) -> usize {
        let instance = series.instance as usize;
        if self.by_instance.len() <= instance {
            self.by_instance.resize(instance + 1, 0);
        }
        let place = match self.vacant.pop() {
            Some(place) => {
                self.series[place as usize] = series;
                place as usize
            }
            None => {
                if self.series.len() == self.series.capacity() {
                    // They are most of what there is, so not as many again.
                    self.series.reserve_exact(1 + self.series.len() / 4);
                }
                self.series.push(series);
                self.series.len() - 1
            }
        };
        self.by_instance[instance] = place as u32 + 1;
        place
    }

    /// Forgets what is known of an instance; the fingerprint of its series, if it had one.
    pub fn forget(&mut self, instance: u32) -> Option<u64> {
        let place = std::mem::take(self.by_instance.get_mut(instance as usize)?).checked_sub(1)?;
        self.vacant.push(place);
        let series = self.series.get_mut(place as usize)?;
        series.forget();
        series.instance = NOBODY;
        Some(series.name)
    }

    /// Places and fingerprints of the series whose instance is known.
    pub fn names(&self) -> impl Iterator<Item = (u32, u64)> {
        let named = self.series.iter().enumerate().filter(|(_, series)| series.instance != NOBODY);
        named.map(|(place, series)| (place as u32, series.name))
    }

    /// The instances that have a series here.
    pub fn instances(&self) -> impl Iterator<Item = u32> {
        self.series.iter().map(|series| series.instance).filter(|&each| each != NOBODY)
    }

    /// The series of an instance, if it has one.
    pub fn series_of(&self, instance: u32) -> Option<&Series> {
        let place = (*self.by_instance.get(instance as usize)?).checked_sub(1)?;
        self.series.get(place as usize)
    }

    pub fn series_of_mut(&mut self, instance: u32) -> Option<&mut Series> {
        let place = (*self.by_instance.get(instance as usize)?).checked_sub(1)?;
        self.series.get_mut(place as usize)
    }
}

/// The metric's name with its labels, as in Prometheus: `name{a="b"}`.
pub fn display_name<'a>(metric: &str, labels: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let labels: Vec<String> = labels.map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    if labels.is_empty() { metric.to_string() } else { format!("{metric}{{{}}}", labels.join(",")) }
}
