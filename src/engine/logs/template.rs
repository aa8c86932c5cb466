//! A template: one kind of line that a service writes, how often, where, and what came of it under watch.
//!
//! Its id is the hash of its text, and its text never changes: what an id means today it means for ever. Templates that
//! turn out to be one are merged into a third with an id of its own. Counts are kept in blocks of five minutes.

use crate::engine::event::Severity;
use crate::engine::time::{Span, Time};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;

/// The width of a block.
pub const BLOCK: Span = Span::minutes(5);
/// Blocks kept: four hours, 8 bytes each.
pub const BLOCKS: usize = 48;
/// Instances that a template is known from, the loudest: 8 bytes each.
pub const VOICES: usize = 16;
/// Example lines kept while a watch is open, of at most so many bytes each.
pub const EXAMPLES: usize = 3;
pub const EXAMPLE_MAX: usize = 240;

/// A block's number since the epoch.
pub type Block = i32;

pub fn block_of(at: Time) -> Block {
    i32::try_from(at.0.div_euclid(BLOCK.0)).unwrap_or(if at.0 < 0 { i32::MIN } else { i32::MAX })
}

pub fn start_of(block: Block) -> Time {
    Time(i64::from(block) * BLOCK.0)
}

/// At most 2 KB: 400 bytes of text, 400 of blocks, 150 of voices, 720 of examples, and the fixed part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Template {
    pub id: u64,
    pub text: Arc<str>,
    /// The worst it was written with.
    pub severity: Severity,
    pub exception: Option<Arc<str>>,
    pub frame: Option<Arc<str>>,
    pub born: Time,
    pub last: Time,
    pub count: u64,
    pub blocks: Counts,
    /// The instances that wrote it most, and how often.
    pub voices: Vec<(u32, u32)>,
    /// Earlier deployments around which it was seen, and the most lines that one starting instance wrote.
    pub deployments: u32,
    pub start_up: u32,
    /// First seen under a watch that found a regression: it is not part of what is normal.
    pub unlearned: bool,
    pub tally: Option<Box<Tally>>,
}

/// Counts by block, the newest `BLOCKS`, in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts(VecDeque<(Block, u32)>);

/// What was seen since the deployment under watch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// First and last line from an instance that carries the change.
    pub first: Time,
    pub last: Time,
    /// Lines of instances that carry the change, and of the others.
    pub new: u32,
    pub old: u32,
    /// Lines of carriers apart from each other, without those that starting up excuses.
    pub episodes: u32,
    pub last_episode: Time,
    /// The most lines that a carrier wrote while it started, and what carriers wrote when they no longer did.
    pub starting: u32,
    pub settled: u32,
    pub blocks: Vec<(Block, u32, u32)>,
    /// Carriers that wrote it, and how often.
    pub voices: Vec<(u32, u32)>,
    pub examples: Vec<Arc<str>>,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally {
            first: Time(i64::MAX),
            last: Time::MIN,
            new: 0,
            old: 0,
            episodes: 0,
            last_episode: Time::MIN,
            starting: 0,
            settled: 0,
            blocks: Vec::new(),
            voices: Vec::new(),
            examples: Vec::new(),
        }
    }
}

impl Counts {
    pub fn add(&mut self, block: Block, count: u32) {
        let place = match self.0.back() {
            Some(last) if last.0 == block => self.0.len() - 1,
            Some(last) if last.0 > block => match self.0.binary_search_by_key(&block, |each| each.0) {
                Ok(place) => place,
                Err(0) if self.0.len() >= BLOCKS => return,
                Err(place) => {
                    self.0.insert(place, (block, 0));
                    place
                }
            },
            _ => {
                self.0.push_back((block, 0));
                self.0.len() - 1
            }
        };
        self.0[place].1 = self.0[place].1.saturating_add(count);
        if self.0.len() > BLOCKS {
            self.0.pop_front();
        }
    }

    /// Over blocks in `[from, to)`.
    pub fn sum(&self, from: Block, to: Block) -> u64 {
        self.0.iter().filter(|each| from <= each.0 && each.0 < to).map(|each| u64::from(each.1)).sum()
    }

    pub fn at(&self, block: Block) -> u32 {
        self.0.binary_search_by_key(&block, |each| each.0).map_or(0, |place| self.0[place].1)
    }

    fn join(&mut self, other: &Counts) {
        other.0.iter().for_each(|&(block, count)| self.add(block, count));
    }
}

/// Counts one for `key` among the loudest: past the limit, the quietest gives up its place.
pub fn count_voice(voices: &mut Vec<(u32, u32)>, key: u32, count: u32) {
    if let Some(voice) = voices.iter_mut().find(|voice| voice.0 == key) {
        voice.1 = voice.1.saturating_add(count);
    } else if voices.len() < VOICES {
        voices.push((key, count));
    } else if let Some(quietest) = voices.iter_mut().min_by_key(|voice| (voice.1, voice.0)) {
        *quietest = (key, quietest.1.saturating_add(count));
    }
}

impl Template {
    pub fn new(id: u64, text: &str, severity: Severity, at: Time) -> Template {
        Template {
            id,
            text: text.into(),
            severity,
            exception: None,
            frame: None,
            born: at,
            last: at,
            count: 0,
            blocks: Counts::default(),
            voices: Vec::new(),
            deployments: 0,
            start_up: 0,
            unlearned: false,
            tally: None,
        }
    }

    pub fn count(&mut self, at: Time, severity: Severity, voice: u32) {
        self.count += 1;
        self.severity = self.severity.max(severity);
        self.born = self.born.min(at);
        self.last = self.last.max(at);
        self.blocks.add(block_of(at), 1);
        count_voice(&mut self.voices, voice, 1);
    }

    /// Takes in another that turned out to be the same.
    pub fn join(&mut self, other: Template) {
        self.severity = self.severity.max(other.severity);
        self.exception = self.exception.take().or(other.exception);
        self.frame = self.frame.take().or(other.frame);
        self.unlearned = if self.count == 0 { other.unlearned } else { self.unlearned && other.unlearned };
        self.count += other.count;
        self.born = self.born.min(other.born);
        self.last = self.last.max(other.last);
        self.blocks.join(&other.blocks);
        other.voices.iter().for_each(|&(key, count)| count_voice(&mut self.voices, key, count));
        self.deployments = self.deployments.max(other.deployments);
        self.start_up = self.start_up.max(other.start_up);
        if let Some(tally) = other.tally {
            self.tally.get_or_insert_default().join(*tally);
        }
    }
}

impl Tally {
    pub fn count(&mut self, at: Time, carries: bool) {
        let block = block_of(at);
        let place = match self.blocks.iter().position(|each| each.0 == block) {
            Some(place) => place,
            None => {
                // A watch of a day: what lies furthest back is one.
                if self.blocks.len() >= BLOCKS {
                    let (_, new, old) = self.blocks.remove(1);
                    self.blocks[0].1 += new;
                    self.blocks[0].2 += old;
                }
                self.blocks.push((block, 0, 0));
                self.blocks.len() - 1
            }
        };
        if carries {
            self.new += 1;
            self.blocks[place].1 += 1;
            self.first = self.first.min(at);
            self.last = self.last.max(at);
        } else {
            self.old += 1;
            self.blocks[place].2 += 1;
        }
    }

    /// Lines of carriers and of others in blocks from `from` on.
    pub fn since(&self, from: Block) -> (u64, u64) {
        let blocks = self.blocks.iter().filter(|each| each.0 >= from);
        blocks.fold((0, 0), |sum, each| (sum.0 + u64::from(each.1), sum.1 + u64::from(each.2)))
    }

    fn join(&mut self, other: Tally) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.new += other.new;
        self.old += other.old;
        self.episodes += other.episodes;
        self.last_episode = self.last_episode.max(other.last_episode);
        self.starting += other.starting;
        self.settled += other.settled;
        for (block, new, old) in other.blocks {
            match self.blocks.iter_mut().find(|each| each.0 == block) {
                Some(each) => *each = (block, each.1 + new, each.2 + old),
                None => self.blocks.push((block, new, old)),
            }
        }
        self.blocks.sort_unstable();
        self.blocks.truncate(BLOCKS);
        other.voices.iter().for_each(|&(key, count)| count_voice(&mut self.voices, key, count));
        let room = EXAMPLES - self.examples.len().min(EXAMPLES);
        self.examples.extend(other.examples.into_iter().take(room));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_keep_the_newest_blocks_in_order() {
        let mut counts = Counts::default();
        for block in [10, 12, 11, 12] {
            counts.add(block, 1);
        }
        assert_eq!((counts.sum(10, 12), counts.at(12), counts.at(13)), (2, 2, 0));
        (100..200).for_each(|block| counts.add(block, 1));
        assert_eq!((counts.sum(0, 1_000), counts.at(99)), (BLOCKS as u64, 0));
    }

    #[test]
    fn joining_adds_up() {
        let mut one = Template::new(1, "a", Severity::Info, Time(2_000));
        let mut other = Template::new(2, "b", Severity::Error, Time(1_000));
        one.count(Time(2_000), Severity::Info, 7);
        other.count(Time(1_000), Severity::Error, 7);
        other.tally.get_or_insert_default().count(Time(1_000), true);
        one.join(other);
        assert_eq!((one.count, one.severity, one.born, one.voices), (2, Severity::Error, Time(1_000), vec![(7, 2)]));
        assert_eq!(one.tally.map(|tally| tally.new), Some(1));
    }

    #[test]
    fn a_template_is_small() {
        let mut full = Template::new(1, &"x".repeat(400), Severity::Error, Time(0));
        for block in 0..200 {
            full.count(start_of(block), Severity::Error, block as u32);
        }
        let parts = full.text.len() + full.blocks.0.capacity() * 8 + full.voices.capacity() * 8;
        assert!(size_of::<Template>() + parts + EXAMPLES * EXAMPLE_MAX <= 2_048, "{parts}");
    }
}
