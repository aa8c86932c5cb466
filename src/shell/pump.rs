//! One message through the pipeline: the ticks that are due, the decoding, the steps, the encoding of what follows.
//!
//! The daemon, `replay` and the storms all pump through this file, so that they can't disagree about the order of
//! things. It touches nothing: no broker, no clock. Time comes with the messages and never goes back; a deadline is
//! stepped at the deadline's own moment, before the first message at or after it. What a seat of a fleet does otherwise
//! stands in `divided`.

pub mod divided;
mod relay;

use super::checkpoint::{Cut, Remembered};
use super::config::Config;
use super::signature;
use super::topics::Topics;
use crate::engine::cut::Extent;
use crate::engine::effect::Effect;
use crate::engine::event::{Fact, Input};
use crate::engine::redact::redacted;
use crate::engine::time::Time;
use crate::engine::{Engine, Part};
use crate::wire::inbound::{self, Decoded, Kind, RejectReason, Rejected};
use crate::wire::outbound::{self, Message, Position, Stamp};
use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// Ticks in a row between two messages before the pump goes on without them. A year of one-second deadlines would be
/// 31 million; a deadline that stands still is caught at once, this only bounds one that creeps.
const TICKS_MAX: u64 = 40_000_000;

/// A dead letter is published whole up to here; beyond it, a broker with the usual limit of 1 MiB would refuse it, and
/// only its place, size and hash are told.
const DEAD_LETTER_BYTES_MAX: usize = 900_000;

/// A message as the log holds it.
#[derive(Clone, Copy, Debug)]
pub struct Taken<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    pub kind: Kind,
    /// When the log took it, as far as that is believed.
    pub now: Time,
    /// The record's own timestamp, believed or not.
    pub stamped: Option<Time>,
    pub key: Option<&'a [u8]>,
    pub payload: &'a [u8],
    /// Of a control message.
    pub signature: Option<&'a [u8]>,
}

/// A message to publish.
pub struct Outgoing {
    pub topic: Arc<str>,
    /// Where it must be a certain one.
    pub partition: Option<i32>,
    /// Event time of publication.
    pub at: Time,
    pub cause: Cause,
    pub message: Message,
}

/// Why something is published.
pub enum Cause {
    Effect(Effect),
    DeadLetter(RejectReason),
    /// To the other seats of a fleet.
    Letter,
}

impl Outgoing {
    pub fn is_recommendation(&self) -> bool {
        matches!(self.cause, Cause::Effect(Effect::Recommend(_)))
    }

    pub fn is_letter(&self) -> bool {
        matches!(self.cause, Cause::Letter)
    }
}

/// What was in a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// So many facts.
    pub facts: usize,
    /// Of these, so many are another lane's.
    pub filtered: usize,
    /// It can't be taken, whoever says so.
    pub is_refused: bool,
}

/// The engine, its policy and its time, with the topics around it.
pub struct Pump {
    engine: Engine,
    config: Arc<Config>,
    topics: Arc<Topics>,
    stamp: Stamp,
    now: Time,
    effects: Vec<Effect>,
    /// Kept between messages for its allocation only; always empty there.
    facts: Vec<Fact<'static>>,
    stuck: bool,
    ticking: bool,
    /// Of a part that is not the whole engine.
    seat: Option<divided::Seat>,
    /// It passes on to so many lanes, and steps nothing.
    relays_to: Option<u32>,
}

impl Pump {
    /// `now` is where the state's time stands: `Time::MIN` for a new one.
    pub fn new(engine: Engine, now: Time, config: Arc<Config>, topics: Arc<Topics>) -> Pump {
        let stamp = stamp(&config);
        Pump {
            engine,
            config,
            topics,
            stamp,
            now,
            effects: Vec::new(),
            facts: Vec::new(),
            stuck: false,
            ticking: false,
            seat: None,
            relays_to: None,
        }
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Cuts through the state, for a checkpoint.
    ///
    /// # Errors
    /// The state can't be serialised, which no plain state does.
    pub fn cut(&mut self, extent: Extent, remembered: &Remembered) -> io::Result<Cut> {
        Cut::of(&mut self.engine, extent, remembered)
    }

    /// The latest moment that the log has told of.
    pub fn now(&self) -> Time {
        self.now
    }

    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The next moment at which a tick is due, if any.
    pub fn next_deadline(&self) -> Option<Time> {
        self.engine.next_deadline()
    }

    /// Takes one message; what follows from it is appended to `out`, in order. A message that can't be taken is itself
    /// what follows: a dead letter.
    pub fn take(&mut self, taken: &Taken, out: &mut Vec<Outgoing>) -> Contents {
        self.take_by(taken, |pump, facts| pump.decode(taken, facts), out)
    }

    /// The same of a message that was decoded before, which `payload` is the text of.
    pub fn take_decoded<'a>(
        &mut self,
        taken: &Taken<'a>,
        payload: &'a str,
        decoded: &'a mut Decoded,
        out: &mut Vec<Outgoing>,
    ) -> Contents {
        self.take_by(
            taken,
            |_, facts| {
                decoded.lend(payload, facts);
                Ok(())
            },
            out,
        )
    }

    fn take_by<'a>(
        &mut self,
        taken: &Taken<'a>,
        decode: impl FnOnce(&Pump, &mut Vec<Fact<'a>>) -> Result<(), Rejected>,
        out: &mut Vec<Outgoing>,
    ) -> Contents {
        if let Some(lanes) = self.relays_to {
            return self.relay(taken, lanes, out);
        }
        if !self.keep_step(taken.now) {
            return Contents::default();
        }
        self.tick_until(taken.now, out);
        self.now = self.now.max(taken.now);
        if taken.kind == Kind::Letters {
            return match self.take_letter(taken.payload) {
                Ok(facts) => Contents { facts, ..Contents::default() },
                Err(rejected) => self.dead_letter(taken, &rejected, out),
            };
        }
        let mut facts = recycle(std::mem::take(&mut self.facts));
        let mut contents = match decode(self, &mut facts) {
            Ok(()) => Contents { facts: facts.len(), ..Contents::default() },
            Err(rejected) => self.dead_letter(taken, &rejected, out),
        };
        for fact in facts.drain(..) {
            if !self.is_ours(&fact) {
                contents.filtered += 1;
                continue;
            }
            self.step(&Input { now: self.now, fact }, out);
        }
        self.facts = recycle(facts);
        self.encode(out);
        contents
    }

    fn step(&mut self, input: &Input, out: &mut Vec<Outgoing>) {
        match (self.engine.part(), &input.fact) {
            (Part::Whole, _) => self.engine.step(&self.config.policy, input, &mut self.effects),
            (Part::Lane(..), _) => self.look(input, out),
            (Part::Desk(_), Fact::Control(control)) => self.engine.receive_word(input.now, control.clone()),
            (Part::Desk(_), fact) => self.engine.tell_desk(&self.config.policy, fact, &mut self.effects),
        }
    }

    /// Takes a message that is not to be decoded: time goes on, and what follows is a dead letter.
    pub fn refuse(&mut self, taken: &Taken, rejected: &Rejected, out: &mut Vec<Outgoing>) -> Contents {
        self.tick_until(taken.now, out);
        self.now = self.now.max(taken.now);
        self.dead_letter(taken, rejected, out)
    }

    /// Whether a deadline is being stepped: true only to somebody who looks while a panic unwinds.
    pub fn is_ticking(&self) -> bool {
        self.ticking
    }

    /// Steps every deadline up to and including `now`, each at its own moment. Returns how many there were.
    pub fn tick_until(&mut self, now: Time, out: &mut Vec<Outgoing>) -> u64 {
        let mut ticks = 0;
        // The desk's deadlines come when all lanes have come to them.
        if self.relays_to.is_some() || matches!(self.engine.part(), Part::Desk(_)) {
            return ticks;
        }
        self.ticking = true;
        while let Some(deadline) = self.engine.next_deadline().filter(|deadline| *deadline <= now) {
            if !self.keep_step(deadline) {
                break;
            }
            self.now = self.now.max(deadline);
            self.step(&Input { now: self.now, fact: Fact::Tick }, out);
            if self.is_abandoned() {
                break;
            }
            ticks += 1;
            // An engine that asks for the same moment again after it was given would hold up every message for ever.
            if self.engine.next_deadline() == Some(deadline) || ticks >= TICKS_MAX {
                self.stuck = true;
                break;
            }
        }
        self.ticking = false;
        if ticks > 0 {
            self.encode(out);
        }
        ticks
    }

    /// A deadline did not move on when it was stepped: a defect of the engine, to be counted. Asking clears it.
    pub fn was_stuck(&mut self) -> bool {
        std::mem::take(&mut self.stuck)
    }

    /// Steps a fact that no message carries (`ColdStart`, `Drain`), at the present moment.
    pub fn tell(&mut self, fact: Fact<'static>, out: &mut Vec<Outgoing>) {
        match fact {
            Fact::Gap { from, to } if self.relays_to.is_some() => return self.relay_gap(from, to, out),
            _ if self.relays_to.is_some() => return,
            _ => {}
        }
        self.step(&Input { now: self.now, fact }, out);
        self.encode(out);
    }

    /// Puts a new configuration in force from here on, and tells the engine.
    pub fn reload(&mut self, config: Arc<Config>, topics: Arc<Topics>, out: &mut Vec<Outgoing>) {
        self.stamp = stamp(&config);
        self.config = config;
        self.topics = topics;
        self.tell(Fact::PolicyChanged, out);
    }

    fn encode(&mut self, out: &mut Vec<Outgoing>) {
        for effect in self.effects.drain(..) {
            let (topic, at, message) = match &effect {
                Effect::Recommend(said) => {
                    (&self.topics.recommendations, said.at, outbound::recommendation(said, &self.stamp))
                }
                Effect::Heartbeat(beat) => (&self.topics.audit, beat.at, outbound::heartbeat(beat, &self.stamp)),
                Effect::Drift(drift) => (&self.topics.audit, drift.at, outbound::drift(drift, &self.stamp)),
                Effect::Accuracy(told) => (&self.topics.audit, told.at, outbound::accuracy(told, &self.stamp)),
                Effect::Automation(news) => (&self.topics.audit, news.at, outbound::automation(news, &self.stamp)),
                Effect::Audit(audit) => (&self.topics.audit, audit.at, outbound::audit(audit, &self.stamp)),
            };
            out.push(Outgoing { topic: topic.clone(), partition: None, at, cause: Cause::Effect(effect), message });
        }
    }

    fn decode<'a>(&self, taken: &Taken<'a>, facts: &mut Vec<Fact<'a>>) -> Result<(), Rejected> {
        let most = self.config.kafka.message_bytes_max;
        if taken.payload.len() > most {
            let detail = format!("{} bytes, at most {most}", taken.payload.len());
            return Err(Rejected::new(RejectReason::TooLarge, detail));
        }
        inbound::decode(taken.kind, taken.payload, facts)?;
        if taken.kind == Kind::Control {
            let verified = signature::verify(&self.config.control, facts, taken.payload, taken.signature);
            if verified.is_err() {
                facts.clear();
            }
            verified?;
        }
        Ok(())
    }

    fn dead_letter(&self, taken: &Taken, rejected: &Rejected, out: &mut Vec<Outgoing>) -> Contents {
        let contents = Contents { is_refused: true, ..Contents::default() };
        if !self.is_ours_to_refuse(taken) {
            return contents;
        }
        let position = Position {
            topic: taken.topic,
            partition: taken.partition,
            offset: taken.offset,
            timestamp: taken.stamped.map(|stamped| stamped.0),
        };
        let key = taken.key.filter(|key| key.len() <= DEAD_LETTER_BYTES_MAX);
        let whole = taken.payload.len() + key.map_or(0, <[u8]>::len) <= DEAD_LETTER_BYTES_MAX;
        let payload = if whole { taken.payload } else { &[] };
        let masked = taken.kind == Kind::Logs && self.config.policy.privacy.mask_dead_letters;
        let payload = if masked { without_secrets(payload) } else { payload.into() };
        let mut message = outbound::dead_letter(&position, key, &payload, rejected);
        if *payload != *taken.payload && whole {
            message.headers.push(("regressd-masked", "true".into()));
        }
        if !whole {
            message.headers.push(("regressd-omitted-bytes", taken.payload.len().to_string()));
            message.headers.push(("regressd-omitted-xxh3", format!("{:016x}", xxh3_64(taken.payload))));
        }
        let topic = self.topics.dead_letter.clone();
        let (partition, cause) = (None, Cause::DeadLetter(rejected.reason));
        out.push(Outgoing { topic, partition, at: self.now, cause, message });
        contents
    }
}

/// Text with its secrets masked; what is not text stays.
fn without_secrets(payload: &[u8]) -> Cow<'_, [u8]> {
    let mut masked = Vec::with_capacity(payload.len());
    for chunk in payload.utf8_chunks() {
        masked.extend_from_slice(redacted(chunk.valid(), usize::MAX, false).as_bytes());
        masked.extend_from_slice(chunk.invalid());
    }
    if masked == payload { payload.into() } else { masked.into() }
}

fn stamp(config: &Config) -> Stamp {
    Stamp {
        cluster: config.kafka.cluster.clone(),
        config_hash: config.policy.hash.clone(),
        engine_version: env!("CARGO_PKG_VERSION").into(),
    }
}

/// The same allocation under another lifetime: the vector is emptied first, so nothing borrowed survives.
fn recycle<'b>(mut facts: Vec<Fact<'_>>) -> Vec<Fact<'b>> {
    facts.clear();
    facts.into_iter().map(|_| Fact::Tick).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(kind: Kind, payload: &[u8], config: &str) -> Message {
        let config = Arc::new(Config::from_toml_str(config).expect("settings"));
        let topics = Arc::new(Topics::new(&config.kafka.topics));
        let mut pump = Pump::new(Engine::default(), Time::MIN, config, topics);
        let now = Time(1_790_000_000_000);
        let (topic, stamped) = ("t", Some(now));
        let taken = Taken { topic, partition: 0, offset: 0, kind, now, stamped, key: None, payload, signature: None };
        let mut out = Vec::new();
        pump.take(&taken, &mut out);
        out.pop().expect("a dead letter").message
    }

    #[test]
    fn secrets_of_lines_do_not_reach_the_dead_letters() {
        let payload = b"{\"message\":\"login of ana@example.org, password=hunter2\"}\xff";
        let masked = letter(Kind::Logs, payload, "");
        assert_eq!(masked.payload, b"{\"message\":\"login of ***, password=***\"}\xff");
        assert!(masked.headers.contains(&("regressd-masked", "true".into())));
        let whole = letter(Kind::Logs, payload, "[privacy]\nmask_dead_letters = false");
        assert_eq!(whole.payload, payload);
        assert_eq!(letter(Kind::Metrics, payload, "").payload, payload);
        let plain = letter(Kind::Logs, b"nothing  secret \x00", "");
        assert_eq!(plain.payload, b"nothing  secret \x00");
        assert!(plain.headers.iter().all(|(name, _)| *name != "regressd-masked"));
    }
}
