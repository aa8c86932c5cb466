//! What lines say about a change: kinds of errors that are new, that multiplied, and steady lines that stopped.
//!
//! All of it is counting: how likely is it that so many of all lines of a kind fell after the change, given how much
//! there was to write about (the conditional test of two Poisson rates), the counts being thinned where the kind was
//! always written in bursts. An instance that runs beside without the change must not show the same. What deployments
//! of this service always bring is expected; a stray line and a new harmless line are nothing.

use super::Inquiry;
use super::exposure::{Before, Exposure, exposure};
use super::journal::{Journal, Speaker, Watched};
use super::template::{Block, Tally, Template, block_of};
use crate::engine::effect::{Direction, Evidence, Interval, LogEvidence, Method};
use crate::engine::elsewhere::Elsewhere;
use crate::engine::event::{Deployment, Severity};
use crate::engine::policy::Policy;
use crate::engine::report::Question;
use crate::engine::service::Service;
use crate::engine::stats::{log10_binomial_tail, poisson_interval};
use crate::engine::time::{Span, Time};

/// Lines of a new kind of error, and occasions that starting up does not explain: fewer are stray.
const NEW: u32 = 3;
const EPISODES: u32 = 2;
/// A new warning must come this often, for this long, and outweigh all warnings there were.
const STORM: u32 = 10;
const STORM_LASTS: Span = Span::minutes(3);
/// A known kind must multiply by this, and by so many lines.
const FACTOR: [f64; 2] = [1.5, 2.0];
const MORE: f64 = 5.0;
/// Blocks of five minutes that a rise is looked for in, counted back from now; the first is everything.
const HORIZONS: [Block; 3] = [Block::MAX, 6, 3];
/// Looks at a growing count that are as good as independent: one a doubling.
const LOOKS: f64 = 7.0;
/// A clock's lines that were due and did not come; likewise of a line that goes with the work.
const MISSED: f64 = 10.0;
const MISSED_WORK: f64 = 60.0;
/// A line goes with the work if at least this share of all lines is of its kind.
const MUCH: f64 = 0.05;
const SILENT: Span = Span::minutes(5);
/// Blocks over which a line must have been steady.
const STEADY: Block = 12;
/// Peers that show the same new error make it everybody's; one will do where there are few.
const SHARED: usize = 2;
const FEW: usize = 3;
const TITLE: usize = 120;

pub struct Look<'a> {
    policy: &'a Policy,
    elsewhere: &'a Elsewhere,
    journal: &'a Journal,
    watched: &'a Watched,
    peers: Vec<&'a Journal>,
    service: &'a Service,
    deployment: &'a Deployment,
    now: Time,
    before: Before,
    whole: Exposure,
    /// Kinds of lines that are judged.
    judged: f64,
}

/// One kind of line that says something.
struct Found<'a> {
    template: &'a Template,
    tally: Option<&'a Tally>,
    method: Method,
    direction: Direction,
    /// Lines expected and lines counted, over so many minutes.
    expected: f64,
    counted: f64,
    minutes: f64,
    before: u64,
    onset: Time,
    strength: f64,
}

impl<'a> Look<'a> {
    /// None where there is too little history, or nobody carries the change yet.
    pub fn new(inquiry: &'a Inquiry, journal: &'a Journal, peers: Vec<&'a Journal>) -> Option<Look<'a>> {
        let Inquiry { policy, elsewhere, service, deployment, now, .. } = *inquiry;
        let watched = journal.watched.as_ref().filter(|watched| watched.start == deployment.at)?;
        let before = Before::of(journal, watched.start, now, policy.detection.min_history)?;
        let whole = exposure(journal, service, &before, watched.start, Block::MIN, now)?;
        let judged = journal.miner.templates().filter(|each| each.severity >= Severity::Warn && each.tally.is_some());
        let judged = judged.count().max(1) as f64;
        Some(Look { policy, elsewhere, journal, watched, peers, service, deployment, now, before, whole, judged })
    }

    pub fn evidence(&self) -> Vec<Evidence> {
        let mut evidence = Vec::new();
        for template in self.journal.miner.templates() {
            let found = match &template.tally {
                Some(tally) if template.is_new(self.watched.start) => self.novel(template, tally),
                Some(tally) => self.multiplied(template, tally).or_else(|| self.stopped(template)),
                None => self.stopped(template),
            };
            evidence.extend(found.filter(|found| found.strength > 0.0).map(|found| self.put_into_words(found)));
        }
        evidence.sort_by(|a, b| b.strength.total_cmp(&a.strength).then_with(|| a.signal.cmp(&b.signal)));
        evidence
    }

    /// Whether there are more warnings or errors in all than there is more to write about.
    pub fn is_louder(&self, errors: bool) -> bool {
        let (counts, tally) = match errors {
            true => (&self.journal.errors, &self.watched.errors),
            false => (&self.journal.warnings, &self.watched.warnings),
        };
        let before = counts.sum(self.before.from, self.before.to) as f64;
        HORIZONS.iter().any(|&horizon| {
            let from = block_of(self.now).saturating_sub(horizon).max(block_of(self.watched.start));
            let Some(exposed) = self.exposure(from) else { return true };
            let (new, _) = tally.since(from);
            let new = new.saturating_sub(self.shared_since(from));
            new > 0 && new as f64 >= FACTOR[usize::from(!errors)] * before * exposed.most
        })
    }

    /// A kind of line that was never seen before.
    fn novel(&self, template: &'a Template, tally: &'a Tally) -> Option<Found<'a>> {
        let severe = template.severity >= Severity::Error;
        if template.severity < Severity::Warn || tally.new < NEW || tally.episodes < EPISODES {
            return None;
        }
        let minutes = self.whole.minutes.max(1.0);
        if !severe {
            let (from, to) = (self.before.from, self.before.to);
            let loud = (self.journal.warnings.sum(from, to) + self.journal.errors.sum(from, to)) as f64;
            let loud = loud * self.whole.most;
            if tally.new < STORM || tally.last - tally.first < STORM_LASTS || f64::from(tally.new) < loud {
                return None;
            }
        }
        // The past that it was not in is the whole life of the service, not only the hours that are kept.
        let past = (self.watched.start - self.journal.earliest?).as_minutes().min(7.0 * 1_440.0);
        let count = u64::from(tally.episodes);
        let mut log10_p = log10_binomial_tail(count, count, minutes / (minutes + past));
        log10_p = log10_p.max(self.beside(u64::from(tally.new), u64::from(tally.old), 1.0, &self.whole));
        log10_p = log10_p.max(self.novelty(template, tally));
        if self.is_shared(template) {
            return None;
        }
        Some(Found {
            template,
            tally: Some(tally),
            method: Method::NewTemplate,
            direction: Direction::Increase,
            expected: 0.0,
            counted: f64::from(tally.new),
            minutes,
            before: 0,
            onset: tally.first,
            strength: -log10_p - LOOKS.log10(),
        })
    }

    /// A known kind of warning or error that is written more than there is more to write about.
    fn multiplied(&self, template: &'a Template, tally: &'a Tally) -> Option<Found<'a>> {
        if template.severity < Severity::Warn {
            return None;
        }
        let before = template.blocks.sum(self.before.from, self.before.to);
        let bursts = self.bursts(template);
        let severe = template.severity >= Severity::Error;
        let factor = FACTOR[usize::from(!severe)];
        let carriers = self.carriers().count() as f64;
        let mut best: Option<Found> = None;
        for horizon in HORIZONS {
            let from = block_of(self.now).saturating_sub(horizon).max(block_of(self.watched.start));
            let whole = from == block_of(self.watched.start);
            if !whole && block_of(self.now) - block_of(self.watched.start) <= horizon {
                continue;
            }
            let Some(exposed) = self.exposure(from) else { continue };
            let (new, old) = tally.since(from);
            // What starting instances of this service always write is no increase.
            let usual = if whole { 1.5 * f64::from(template.start_up) * carriers } else { 0.0 };
            let counted = (new as f64 - usual).max(0.0);
            let expected = self.expected(template, before, &exposed);
            if counted < factor * expected || counted < expected + MORE {
                continue;
            }
            let (k, b) = ((counted / bursts) as u64, (before as f64 / bursts) as u64);
            let ratio = if before > 0 { expected / before as f64 } else { exposed.most };
            let mut log10_p = log10_binomial_tail(k, k + b, ratio / (1.0 + ratio));
            log10_p = log10_p.max(self.beside(counted as u64, old, bursts, &exposed));
            let strength = -log10_p - (LOOKS * HORIZONS.len() as f64).log10() - self.judged.log10();
            if best.as_ref().is_none_or(|best| strength > best.strength) {
                best = Some(Found {
                    template,
                    tally: Some(tally),
                    method: if exposed.beside > 0.0 { Method::NewAgainstOld } else { Method::AfterAgainstExpected },
                    direction: Direction::Increase,
                    expected,
                    counted,
                    minutes: exposed.minutes,
                    before,
                    onset: if whole { tally.first } else { super::template::start_of(from) },
                    strength,
                });
            }
        }
        best
    }

    /// A steady line that stopped: a clock's, or one that goes with the work.
    fn stopped(&self, template: &'a Template) -> Option<Found<'a>> {
        let last = template.tally.as_ref().filter(|tally| tally.new > 0).map(|tally| tally.last);
        let since = last.map_or(self.watched.start, |last| last.max(self.watched.start));
        let from = block_of(since) + 1;
        let before = template.blocks.sum(self.before.from, self.before.to);
        let steady = (self.before.to - STEADY..self.before.to).all(|block| template.blocks.at(block) > 0);
        if template.born > self.watched.start || !steady || template.deployments > 0 && before == 0 {
            return None;
        }
        let exposed = self.exposure(from).filter(|exposed| exposed.minutes >= SILENT.as_minutes())?;
        let expected = before as f64 * exposed.least;
        let (busy, _) = self.watched.quiet.since(from);
        let by_clock = self.bursts_within(template) < 0.5;
        let much = before as f64 > MUCH * self.journal.quiet.sum(self.before.from, self.before.to) as f64;
        let enough = if by_clock { MISSED } else { MISSED_WORK };
        if expected < enough || !(by_clock || much) || busy == 0 {
            return None;
        }
        // Where nobody carries on with it, an instance beside has stopped too; and another wording is no silence.
        let (_, old) = template.tally.as_ref().map_or((0, 0), |tally| tally.since(from));
        if (exposed.beside > 0.0 && old == 0) || self.is_reworded(template, expected, &exposed, by_clock) {
            return None;
        }
        let log10_p = -expected / self.bursts(template) / std::f64::consts::LN_10;
        Some(Found {
            template,
            tally: template.tally.as_deref(),
            method: Method::Silence,
            direction: Direction::Decrease,
            expected,
            counted: 0.0,
            minutes: exposed.minutes,
            before,
            onset: since,
            strength: -log10_p - LOOKS.log10() - self.judged.log10(),
        })
    }

    fn exposure(&self, from: Block) -> Option<Exposure> {
        exposure(self.journal, self.service, &self.before, self.watched.start, from, self.now)
    }

    /// Lines of a kind that were to be expected: by the kindest exposure, the level just before the change where that
    /// was higher already, and what these instances wrote more than others before.
    fn expected(&self, template: &Template, before: u64, exposed: &Exposure) -> f64 {
        let mut expected = before as f64 * exposed.most;
        let recent = template.blocks.sum(self.before.to - 2, self.before.to);
        let share = 10.0 / self.before.minutes.max(10.0);
        if recent >= 5 && log10_binomial_tail(recent, before.max(recent), share) < -2.0 {
            expected = expected.max(recent as f64 / share * exposed.most);
        }
        let all: u64 = template.voices.iter().map(|voice| u64::from(voice.1)).sum();
        let known = self.carriers().filter(|each| each.first < self.watched.start);
        let keys: Vec<u32> = known.map(|each| each.key).collect();
        let since = template.tally.as_ref();
        let theirs = template.voices.iter().filter(|voice| keys.contains(&voice.0)).map(|voice| {
            let after = since.and_then(|tally| tally.voices.iter().find(|each| each.0 == voice.0));
            u64::from(voice.1).saturating_sub(after.map_or(0, |each| u64::from(each.1)))
        });
        let theirs: u64 = theirs.sum();
        if theirs >= 5 && all > 0 {
            let own = before as f64 * theirs as f64 / all as f64 * exposed.minutes / self.before.minutes;
            expected = expected.max(own);
        }
        expected
    }

    /// The chance that carriers wrote so many of what carriers and others wrote together.
    fn beside(&self, new: u64, old: u64, bursts: f64, exposed: &Exposure) -> f64 {
        if exposed.beside <= 0.0 || old == 0 {
            return f64::NEG_INFINITY;
        }
        let (new, old) = ((new as f64 / bursts) as u64, (old as f64 / bursts) as u64);
        log10_binomial_tail(new, new + old, exposed.beside / (1.0 + exposed.beside))
    }

    /// How much more a kind's counts vary than those of independent events would: at least 1.
    fn bursts(&self, template: &Template) -> f64 {
        self.variance(template, 3).max(1.0)
    }

    fn bursts_within(&self, template: &Template) -> f64 {
        self.variance(template, 1)
    }

    /// Variance over mean of counts in so many blocks together.
    fn variance(&self, template: &Template, width: Block) -> f64 {
        let groups = (self.before.to - self.before.from) / width;
        let first = self.before.to - groups * width;
        let counts: Vec<f64> = (0..groups)
            .map(|group| template.blocks.sum(first + group * width, first + (group + 1) * width) as f64)
            .collect();
        let mean = counts.iter().sum::<f64>() / counts.len().max(1) as f64;
        if counts.len() < 4 || mean <= 0.0 {
            return 1.0;
        }
        counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / (counts.len() - 1) as f64 / mean
    }

    /// The chance that a service which often writes new errors does so again: log10.
    fn novelty(&self, template: &Template, tally: &Tally) -> f64 {
        let Some(earliest) = self.journal.earliest else { return 0.0 };
        let start = self.watched.start;
        let from = (earliest + Span::HOUR).max(start - Span::DAY);
        let strong = f64::from(tally.new) / self.whole.minutes.max(1.0) / 2.0;
        let before = self.journal.miner.templates().filter(|each| {
            let lived = (start - each.born).as_minutes().max(1.0);
            let known = from <= each.born && each.born < start && each.deployments == 0 && !each.unlearned;
            let before = each.blocks.sum(Block::MIN, self.before.to);
            known && each.severity >= template.severity && before >= NEW.into() && before as f64 / lived >= strong
        });
        let count = before.count();
        if count < 2 {
            return f64::NEG_INFINITY;
        }
        let chance = count as f64 * self.whole.minutes / (start - from).as_minutes().max(1.0);
        (1.0 - (-chance).exp()).log10()
    }

    /// Lines of new errors that unchanged services have too.
    fn shared_since(&self, from: Block) -> u64 {
        let new = self.journal.miner.templates().filter(|each| each.is_new(self.watched.start));
        let new = new.filter(|each| each.severity >= Severity::Warn && self.is_shared(each));
        new.filter_map(|each| each.tally.as_ref()).map(|tally| tally.since(from).0).sum()
    }

    /// Whether unchanged services have the same new error.
    fn is_shared(&self, template: &Template) -> bool {
        let since = self.watched.start - Span::minutes(30);
        let asked = Question::Written { env: self.journal.env.clone(), template: template.id, since };
        let (elsewhere, others) = self.elsewhere.count(asked);
        let enough = if self.peers.len() + others as usize <= FEW { 1 } else { SHARED };
        let here = self.peers.iter().filter(|peer| shows(peer, template.id, since)).take(enough).count();
        here + elsewhere as usize >= enough
    }

    /// Whether the new version says the same in other words: a new line as often, with some of the words.
    fn is_reworded(&self, template: &Template, expected: f64, exposed: &Exposure, by_clock: bool) -> bool {
        let words: Vec<&str> = words(&template.text).collect();
        self.journal.miner.templates().filter(|each| each.is_new(self.watched.start)).any(|each| {
            let Some(tally) = &each.tally else { return false };
            let ratio = f64::from(tally.new) / self.whole.minutes.max(1.0) * exposed.minutes / expected;
            let common = self::words(&each.text).filter(|word| words.contains(word)).count();
            let alike = 3 * common >= words.len();
            each.severity <= template.severity
                && if by_clock { (0.5..2.0).contains(&ratio) && alike } else { ratio > 0.3 || alike }
        })
    }

    fn carriers(&self) -> impl Iterator<Item = &Speaker> {
        self.journal.speakers.iter().filter(|each| each.carries && each.last >= self.watched.start)
    }

    fn put_into_words(&self, found: Found) -> Evidence {
        let Found { template, tally, .. } = found;
        let level = severity_word(template.severity);
        let text = &template.text[..template.text.floor_char_boundary(TITLE)];
        let voices = tally.map(|tally| tally.voices.as_slice()).unwrap_or_default();
        let wrote = |speaker: &&Speaker| voices.iter().any(|voice| voice.0 == speaker.key);
        let named = |speaker: &&Speaker| !speaker.name.is_empty();
        let silent = found.method == Method::Silence;
        let on: Vec<&Speaker> = self.carriers().filter(|each| silent || wrote(each)).collect();
        let all = self.journal.speakers.iter().filter(|each| self.now - each.last < Span::minutes(5)).count();
        let instances = on.iter().copied().filter(|each| named(each) && on.len() < all.max(2));
        let weighty = template.severity >= Severity::Error && !silent;
        // Lines come in bursts: so many of them count as one.
        let bursts = self.bursts(template);
        let (lower, upper) = poisson_interval(found.counted / bursts);
        let [lower, upper] = [lower, upper].map(|count| (count * bursts - found.expected) / found.minutes.max(1.0));
        Evidence {
            signal: format!("logs.{level} \"{text}\""),
            direction: found.direction,
            baseline: found.expected / found.minutes.max(1.0),
            current: found.counted / found.minutes.max(1.0),
            interval: Interval::between(lower, upper),
            onset: found.onset.max(self.deployment.at),
            strength: found.strength,
            samples_baseline: self.before.minutes as u64,
            samples_current: found.minutes.ceil() as u64,
            method: found.method,
            weighty: weighty || self.is_critical(level),
            unit: Some("/min".into()),
            instances: instances.take(10).map(|each| each.name.to_string()).collect(),
            log: Some(Box::new(LogEvidence {
                template: template.text.to_string(),
                template_id: format!("{:016x}", template.id),
                severity: level.into(),
                exception: template.exception.as_deref().map(Into::into),
                frame: template.frame.as_deref().map(Into::into),
                examples: tally.iter().flat_map(|tally| &tally.examples).map(|each| each.to_string()).collect(),
                before: found.before,
                after: found.counted as u64,
                first: tally.map(|tally| tally.first).filter(|first| *first < Time(i64::MAX)),
                share: on.len() as f64 / self.carriers().count().max(1) as f64,
                only_new: self.whole.beside > 0.0 && tally.is_some_and(|tally| tally.old == 0),
            })),
        }
    }

    fn is_critical(&self, level: &str) -> bool {
        let metric = format!("logs.{level}");
        let rule = self.policy.signals.iter().find(|rule| rule.metric.matches(&metric));
        rule.is_some_and(|rule| rule.critical)
    }
}

/// Whether a service has written this kind of line only since then.
pub fn shows(peer: &Journal, template: u64, since: Time) -> bool {
    peer.miner.templates().find(|each| each.id == template).is_some_and(|same| same.born >= since)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_alphabetic()).filter(|word| word.len() > 2)
}

fn severity_word(severity: Severity) -> &'static str {
    match severity {
        Severity::Trace => "trace",
        Severity::Debug => "debug",
        Severity::Info => "info",
        Severity::Warn => "warn",
        Severity::Error => "error",
        Severity::Fatal => "fatal",
    }
}
