//! The office: where letters of other seats come in and those of a member's own go out.
//!
//! One for each member. It reads what is written from now on, hands questions and answers to the seats of this member
//! that they are for, and knows how far each lane has come and when it was last heard. A letter that is lost is asked
//! for again by whoever misses it. What lanes tell the desk, the desk reads by itself, from a position of its own.

use crate::engine::report::{Answer, Question};
use crate::engine::time::Time;
use crate::shell::client::{self, Side};
use crate::shell::config::{Config, Kafka};
use crate::shell::tokens::{self, Tokens};
use crate::wire::letters::{self, Letter};
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use rdkafka::{Message, Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Letters that wait for a seat, some KB each; what finds no room is asked for again.
const MAIL_MAX: usize = 1_024;

const WAIT: Duration = Duration::from_millis(100);

/// A letter that did not go out by then is written again by whoever needs it.
const LETTER_WITHIN_MS: &str = "5000";

/// What a seat gets.
pub enum Mail {
    Asked { by: u32, number: u64, at: Time, question: Question },
    Answered { number: u64, lane: u32, answer: Answer },
}

pub struct Office {
    kafka: Kafka,
    lanes: u32,
    begun: Instant,
    producer: ThreadedProducer<Quiet>,
    heard: Vec<Heard>,
    /// When any letter came in last, in milliseconds since it was made.
    last: AtomicU64,
    boxes: Mutex<BTreeMap<u32, SyncSender<Mail>>>,
    closed: AtomicBool,
}

/// What is known of a lane.
struct Heard {
    reached: AtomicI64,
    when: AtomicU64,
}

impl Office {
    /// # Errors
    /// librdkafka refuses the settings.
    pub fn new(config: &Config) -> Result<Office, KafkaError> {
        let kafka = config.kafka.clone();
        let mut settings = client::settings(&kafka, Side::Producer, &[("compression.type", "lz4"), ("linger.ms", "1")]);
        settings.set("acks", "all").set("message.timeout.ms", LETTER_WITHIN_MS);
        let producer = settings.create_with_context(Quiet(Tokens::of(&kafka.properties)))?;
        let lanes = config.fleet.lanes;
        let never = || Heard { reached: AtomicI64::new(i64::MIN), when: AtomicU64::new(0) };
        Ok(Office {
            kafka,
            lanes,
            begun: Instant::now(),
            producer,
            heard: (0..lanes).map(|_| never()).collect(),
            last: AtomicU64::new(0),
            boxes: Mutex::default(),
            closed: AtomicBool::new(false),
        })
    }

    pub fn lanes(&self) -> u32 {
        self.lanes
    }

    /// Begins to read, on a thread of its own, for as long as anybody has the office.
    ///
    /// # Errors
    /// librdkafka refuses the settings.
    pub fn open(self: &Arc<Office>) -> Result<(), KafkaError> {
        let mut settings = client::settings(&self.kafka, Side::Consumer, &[("fetch.queue.backoff.ms", "5")]);
        settings.set("group.id", format!("{}.office", self.kafka.group)).set("enable.auto.commit", "false");
        settings.remove("group.instance.id");
        let quiet = Quiet(Tokens::of(&self.kafka.properties));
        let consumer: BaseConsumer<Quiet> = settings.create_with_context(quiet)?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.kafka.topics.fleet, 0, Offset::End)?;
        consumer.assign(&list)?;
        let office = self.clone();
        let read = move || {
            while !office.closed.load(Ordering::Relaxed) {
                match consumer.poll(WAIT) {
                    Some(Ok(message)) => office.take(message.payload().unwrap_or_default()),
                    Some(Err(error)) if client::is_forbidden(&error) => {
                        tracing::error!(%error, "a right is missing: what other seats write may not be heard");
                    }
                    // Lost connections are the client's to mend.
                    Some(Err(error)) => tracing::debug!(%error, "the office hears nothing"),
                    None => {}
                }
            }
        };
        let thread = std::thread::Builder::new().name("office".into()).spawn(read);
        thread.expect("a thread can be had: librdkafka has just had several");
        Ok(())
    }

    /// It is not read any longer.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// What comes for this seat from now on.
    pub fn mail(&self, seat: u32) -> Receiver<Mail> {
        let (sender, mail) = sync_channel(MAIL_MAX);
        self.boxes().insert(seat, sender);
        mail
    }

    /// Nobody of this member sits there any longer.
    pub fn forget(&self, seat: u32) {
        self.boxes().remove(&seat);
    }

    pub fn send(&self, letter: &Letter) {
        let payload = letters::encode(letter);
        let record = BaseRecord::<[u8], [u8]>::to(&self.kafka.topics.fleet).payload(&payload).partition(0);
        if let Err((error, _)) = self.producer.send(record) {
            tracing::debug!(%error, "a letter did not go out; it is written again");
        }
    }

    /// Up to where a lane has come, as far as it was heard.
    pub fn reached(&self, lane: u32) -> Time {
        self.heard.get(lane as usize).map_or(Time::MIN, |heard| Time(heard.reached.load(Ordering::Relaxed)))
    }

    /// Whether nothing was heard of a lane for so long while others were heard: with brokers away all are silent, and
    /// nobody is to be given up for that.
    pub fn is_silent(&self, lane: u32, give_up: Duration) -> bool {
        let when = self.heard.get(lane as usize).map_or(0, |heard| heard.when.load(Ordering::Relaxed));
        let silence = self.last.load(Ordering::Relaxed).saturating_sub(when);
        u128::from(silence) >= give_up.as_millis()
    }

    pub(super) fn take(&self, payload: &[u8]) {
        // What can't be read is a dead letter of the desk's.
        let Ok(letter) = letters::decode(payload) else { return };
        let now = self.begun.elapsed().as_millis() as u64;
        self.last.store(now, Ordering::Relaxed);
        match letter {
            Letter::Told { lane, upto, .. } => self.note(lane, upto, now),
            Letter::Reached { lane, at } => self.note(lane, at, now),
            Letter::Asked { by, number, to, at, question } => {
                if by < self.lanes {
                    self.note(by, at, now);
                }
                for (seat, sender) in self.boxes().iter() {
                    if *seat != by && *seat < self.lanes && to.is_none_or(|to| to == *seat) {
                        // What finds no room is asked again.
                        let _ = sender.try_send(Mail::Asked { by, number, at, question: question.clone() });
                    }
                }
            }
            Letter::Answered { to, number, lane, answer } => {
                if let Some(sender) = self.boxes().get(&to) {
                    let _ = sender.try_send(Mail::Answered { number, lane, answer });
                }
            }
        }
    }

    /// The furthest counts: a lane's words go out by two producers, and may overtake each other. One that was taken
    /// over and begins further back answers no sooner for that.
    fn note(&self, lane: u32, at: Time, now: u64) {
        if let Some(heard) = self.heard.get(lane as usize) {
            heard.reached.fetch_max(at.0, Ordering::Relaxed);
            heard.when.store(now, Ordering::Relaxed);
        }
    }

    fn boxes(&self) -> MutexGuard<'_, BTreeMap<u32, SyncSender<Mail>>> {
        self.boxes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hears from librdkafka.
pub struct Quiet(Option<Tokens>);

impl ClientContext for Quiet {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        tokens::fetch(self.0.as_ref())
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        client::log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "office");
    }
}

impl ConsumerContext for Quiet {}

impl ProducerContext for Quiet {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_was_overtaken_takes_nothing_back() {
        let text = "[kafka]\nbrokers = \"127.0.0.1:9\"\n[fleet]\nlanes = 2\n[state]\ntopic = \"state\"";
        let config = Config::from_toml_str(text).expect("no mistakes");
        let office = Office::new(&config).expect("a producer needs no broker to be made");
        for (lane, at) in [(0, 5), (0, 9), (0, 7), (1, 3)] {
            office.take(&letters::encode(&Letter::Reached { lane, at: Time(at) }));
        }
        assert_eq!((office.reached(0), office.reached(1), office.reached(2)), (Time(9), Time(3), Time::MIN));
    }
}
