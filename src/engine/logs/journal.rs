//! A service's journal: its templates, who writes them, and what was written since the deployment under watch.
//!
//! Takes a line, finds its template and counts it. Knows which instances carry the change, since a line is the only
//! moment at which its instance is known. Judging is elsewhere.

use super::mask;
use super::miner::{Miner, Placed};
use super::template::{BLOCK, Counts, EXAMPLE_MAX, EXAMPLES, Tally, Template, block_of, count_voice};
use super::trace;
use crate::engine::event::{Deployment, LogLine, Severity};
use crate::engine::policy::Privacy;
use crate::engine::redact::redacted;
use crate::engine::time::{Span, Time};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// Instances known by their lines; past it the one that was silent for longest is forgotten. About 120 bytes each.
const SPEAKERS: usize = 512;
/// A first line of its kind in so short a time after an instance's start is part of starting.
pub const STARTING: Span = Span::seconds(60);
/// Lines of an instance within so long after its start belong to what a deployment does.
const SETTLING: Span = Span::minutes(3);
/// A trace whose lines come one by one comes within so long.
const OPEN: Span = Span::seconds(5);
/// Lines nearer than this are one occasion: a retry, or the same event told twice.
const APART: Span = Span::seconds(1);
/// Looks that new kinds of errors may ask for ahead of time, over one watch and for one template.
const HASTY: u32 = 50;
const HASTY_EACH: u32 = 8;
/// Room is made at most so often; what has been silent for so long may go, or sooner if it was hardly ever seen.
const SWEEP: Span = Span::HOUR;
const FORGET: Span = Span(14 * 86_400_000);
const FORGET_RARE: Span = Span(86_400_000);

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Journal {
    pub env: Arc<str>,
    pub earliest: Option<Time>,
    pub miner: Miner,
    pub speakers: Vec<Speaker>,
    /// Lines below `WARN` of templates known before the change: how much work is done.
    pub quiet: Counts,
    pub warnings: Counts,
    pub errors: Counts,
    pub watched: Option<Watched>,
    /// Lines that found no room, and when the last one came.
    pub homeless: u64,
    pub homeless_at: Option<Time>,
    swept: Option<Time>,
}

/// An instance that writes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Speaker {
    pub key: u32,
    pub name: Arc<str>,
    pub version: Option<Arc<str>>,
    pub first: Time,
    /// When its process last began, as far as that shows.
    pub began: Time,
    pub last: Time,
    pub carries: bool,
    /// The template and the moment of its last line, to which a frame sent alone belongs.
    open: Option<(u32, Time)>,
}

/// The deployment under watch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Watched {
    pub start: Time,
    version: Option<Arc<str>>,
    instances: Vec<Arc<str>>,
    pub quiet: Tally,
    pub warnings: Tally,
    pub errors: Tally,
    hasty: u32,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Counted,
    /// A new kind of error that should be looked at without waiting.
    Urgent,
    /// There was no room for its kind.
    Homeless,
}

impl Journal {
    /// Whether its service writes and was not changed: what it shows too is nobody's fault.
    pub fn is_witness(&self) -> bool {
        self.watched.is_none() && self.earliest.is_some()
    }

    pub fn take(&mut self, line: &LogLine, room: bool, privacy: Privacy) -> Told {
        self.earliest = Some(self.earliest.map_or(line.at, |earliest| earliest.min(line.at)));
        let speaker = self.speaker(line);
        if trace::goes_on(&line.message) && self.goes_on(speaker, line) {
            return Told::Counted;
        }
        let read = trace::read(&line.message);
        let mut masked = mask::mask(read.head);
        if let Some(frame) = read.frame
            && masked.text.len() + frame.len() < mask::TEXT_MAX + 100
        {
            // The same exception from elsewhere in the code is another error.
            masked.text.push_str(" @ ");
            masked.text.push_str(frame);
        }
        let placed = match self.miner.place(&masked, line.severity, line.at, room) {
            Placed::Full => {
                self.sweep(line.at);
                self.miner.place(&masked, line.severity, line.at, room)
            }
            placed => placed,
        };
        let (Placed::Known(place) | Placed::New(place)) = placed else {
            self.homeless += 1;
            self.homeless_at = Some(self.homeless_at.map_or(line.at, |at| at.max(line.at)));
            return Told::Homeless;
        };
        let voice = &mut self.speakers[speaker];
        voice.open = Some((place, line.at));
        let Some(template) = self.miner.get_mut(place) else { return Told::Homeless };
        template.count(line.at, line.severity, voice.key);
        if template.exception.is_none() {
            template.exception = read.exception.map(Into::into);
        }
        if template.frame.is_none() {
            template.frame = read.frame.map(Into::into);
        }
        self.note(speaker, place, line, privacy)
    }

    /// A deployment of the service is under watch from here on.
    pub fn open(&mut self, deployment: &Deployment) {
        self.miner.templates_mut().for_each(|template| template.tally = None);
        let watched = Watched {
            start: deployment.at,
            version: deployment.version.clone(),
            instances: deployment.instances.clone(),
            quiet: Tally::default(),
            warnings: Tally::default(),
            errors: Tally::default(),
            hasty: 0,
        };
        for speaker in &mut self.speakers {
            speaker.carries = watched.is_carried_by(&speaker.name, speaker.version.as_deref());
        }
        self.watched = Some(watched);
    }

    /// The watch is over: what the deployment did is what deployments do, unless it was a regression.
    pub fn close(&mut self, regression: bool) {
        let Some(watched) = self.watched.take() else { return };
        for template in self.miner.templates_mut() {
            let Some(tally) = template.tally.take() else { continue };
            // What ended by itself with the start is what starting does, whatever else was wrong.
            let started = tally.starting > 0 && tally.settled == 0;
            if regression && !started {
                template.unlearned |= template.born >= watched.start && template.severity >= Severity::Warn;
                continue;
            }
            template.unlearned = false;
            if tally.starting > 0 {
                template.deployments += 1;
                template.start_up = template.start_up.max(tally.starting);
            }
        }
    }

    fn note(&mut self, speaker: usize, place: u32, line: &LogLine, privacy: Privacy) -> Told {
        let quiet = line.severity < Severity::Warn;
        let block = block_of(line.at);
        match line.severity {
            Severity::Warn => self.warnings.add(block, 1),
            Severity::Error | Severity::Fatal => self.errors.add(block, 1),
            _ => self.quiet.add(block, 1),
        }
        let Some(watched) = self.watched.as_mut().filter(|watched| line.at >= watched.start) else {
            return Told::Counted;
        };
        let speaker = &self.speakers[speaker];
        let Some(template) = self.miner.get_mut(place) else { return Told::Counted };
        match line.severity {
            Severity::Warn => watched.warnings.count(line.at, speaker.carries),
            Severity::Error | Severity::Fatal => watched.errors.count(line.at, speaker.carries),
            _ if template.born < watched.start => watched.quiet.count(line.at, speaker.carries),
            _ => {}
        }
        let is_new = template.is_new(watched.start);
        let tally = template.tally.get_or_insert_default();
        tally.count(line.at, speaker.carries);
        if !speaker.carries {
            return Told::Counted;
        }
        tally.hear(speaker, watched.start, line.at);
        if tally.examples.len() < EXAMPLES && (is_new || !quiet) {
            let message = clipped(&line.message, EXAMPLE_MAX);
            tally.examples.push(redacted(message, EXAMPLE_MAX, privacy.mask_addresses).into());
        }
        let repeats = tally.new >= 3 && (2..2 + HASTY_EACH).contains(&tally.episodes);
        if is_new && line.severity >= Severity::Error && repeats && watched.hasty < HASTY {
            watched.hasty += 1;
            return Told::Urgent;
        }
        Told::Counted
    }

    /// Takes a further line of the event before it; false where there was none.
    fn goes_on(&mut self, speaker: usize, line: &LogLine) -> bool {
        let frame = trace::frame(&line.message, false);
        let Some((place, at)) = self.speakers[speaker].open.filter(|(_, at)| (line.at - *at).0.abs() <= OPEN.0) else {
            return frame.is_some();
        };
        self.speakers[speaker].open = Some((place, at.max(line.at)));
        if let Some(template) = self.miner.get_mut(place) {
            if template.frame.is_none() {
                template.frame = frame.map(Into::into);
            }
            if template.exception.is_none() {
                template.exception = trace::exception(&line.message).map(Into::into);
            }
        }
        true
    }

    /// The place of the line's instance; where none is named, there is one for each version.
    fn speaker(&mut self, line: &LogLine) -> usize {
        let version = line.origin.version.as_deref();
        let name = line.origin.instance.as_deref().or(version).unwrap_or("");
        let key = xxh3_64(name.as_bytes()) as u32;
        let watched = self.watched.as_ref();
        let carries = |version: Option<&str>| watched.is_some_and(|watched| watched.is_carried_by(name, version));
        if let Some(place) = self.speakers.iter().position(|each| each.key == key && &*each.name == name) {
            let speaker = &mut self.speakers[place];
            speaker.first = speaker.first.min(line.at);
            if line.at >= speaker.last && version.is_some() && speaker.version.as_deref() != version {
                speaker.version = version.map(Into::into);
                speaker.began = line.at;
                speaker.open = None;
                speaker.carries = carries(version);
            }
            speaker.last = speaker.last.max(line.at);
            return place;
        }
        let speaker = Speaker {
            key,
            name: name.into(),
            version: version.map(Into::into),
            first: line.at,
            began: line.at,
            last: line.at,
            carries: carries(version),
            open: None,
        };
        if self.speakers.len() < SPEAKERS {
            self.speakers.push(speaker);
            return self.speakers.len() - 1;
        }
        let silent = self.speakers.iter().enumerate().min_by_key(|(_, each)| each.last).map_or(0, |(place, _)| place);
        self.speakers[silent] = speaker;
        silent
    }

    /// Makes room: what was hardly ever seen and is silent goes first.
    fn sweep(&mut self, at: Time) {
        if self.swept.is_some_and(|swept| at < swept + SWEEP) {
            return;
        }
        self.swept = Some(at);
        self.miner.forget(|template: &Template| {
            let silent = at - template.last;
            silent > FORGET || (silent > FORGET_RARE && template.count < 3 && template.severity < Severity::Warn)
        });
        self.speakers.iter_mut().for_each(|speaker| speaker.open = None);
    }
}

impl Watched {
    /// Where neither names nor versions tell, all of the service carries the change.
    fn is_carried_by(&self, name: &str, version: Option<&str>) -> bool {
        if !self.instances.is_empty() {
            return self.instances.iter().any(|each| &**each == name);
        }
        match (self.version.as_deref(), version) {
            (Some(deployed), Some(running)) => deployed == running,
            _ => true,
        }
    }
}

impl Template {
    /// Whether it is new with a change at `start`: never seen before, or only in what was found to be a regression.
    pub fn is_new(&self, start: Time) -> bool {
        let before = block_of(start);
        self.born >= start || (self.unlearned && self.blocks.sum(before - 2, before) == 0)
    }
}

impl Tally {
    /// Counts a line of an instance that carries the change.
    fn hear(&mut self, speaker: &Speaker, start: Time, at: Time) {
        let first = !self.voices.iter().any(|voice| voice.0 == speaker.key);
        count_voice(&mut self.voices, speaker.key, 1);
        let restarted = speaker.began + BLOCK >= start;
        let age = at - speaker.began;
        if restarted && age <= SETTLING {
            let said = self.voices.iter().find(|voice| voice.0 == speaker.key).map_or(1, |voice| voice.1);
            self.starting = self.starting.max(said);
        } else {
            self.settled += 1;
        }
        if restarted && first && age <= STARTING {
            return;
        }
        if (at - self.last_episode).0.abs() >= APART.0 {
            self.episodes += 1;
            self.last_episode = self.last_episode.max(at);
        }
    }
}

fn clipped(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}
