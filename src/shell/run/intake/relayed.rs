//! What is passed on to a lane: one partition that carries messages of many, each put back in its own place.
//!
//! A message names the input partition it came from, and takes its turn among those of all inputs as if it had been
//! read there; what was passed on twice is known by its offset. How far each input was passed on is said beside it, or
//! an input that has nothing for this lane would hold it up. What was read and not stepped yet is read again after a
//! restart. Who passes on is not known here.

use super::{Gap, believed};
use crate::engine::time::{Span, Time};
use crate::shell::align::{Align, Slot, Waiting};
use crate::shell::clock::Clock;
use crate::shell::consumer::Consumer;
use crate::shell::consumer::partitions::{Partition, UNKNOWN};
use crate::shell::telemetry::Metrics;
use crate::shell::topics::Topics;
use crate::wire::letters::{GAP, ORIGIN, Origin, UPTO, read_stretch};
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Headers};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A partition whose end lies before what was passed on of it, so long after that, was made anew.
const ANEW_AFTER: Span = Span::MINUTE;

pub struct Relayed {
    topics: Arc<Topics>,
    metrics: Arc<Metrics>,
    lanes: u32,
    places: Vec<(Slot, Arc<Partition>)>,
    /// Messages come in runs: the last one's place.
    recent: usize,
    /// Where it is read from, once it was.
    source: Option<Arc<Partition>>,
}

impl Relayed {
    /// With all partitions that there are, so that none is gone past before it has shown anything.
    pub fn new(
        (topics, lanes): (Arc<Topics>, u32),
        metrics: Arc<Metrics>,
        consumer: &Consumer,
        align: &mut Align,
    ) -> Relayed {
        let (places, recent, source) = (Vec::new(), 0, None);
        let mut relayed = Relayed { topics: topics.clone(), metrics, lanes, places, recent, source };
        for (topic, _) in topics.relayed() {
            for number in 0..consumer.count(topic) {
                relayed.place(consumer, align, topic, number);
            }
        }
        relayed
    }

    /// Takes a message of the carrying partition: puts it in its place, or hears how far others were passed on.
    pub(super) fn take(
        &mut self,
        consumer: &Consumer,
        align: &mut Align,
        source: &Arc<Partition>,
        message: &BorrowedMessage,
        (clock, gaps): (Clock, &mut Vec<Gap>),
    ) {
        if self.source.as_ref().is_none_or(|known| !Arc::ptr_eq(known, source)) {
            self.source = Some(source.clone());
        }
        let expected = source.polled.get();
        if expected != UNKNOWN
            && message.offset() > expected
            && consumer.watermarks(source).is_some_and(|(low, _)| low > expected)
        {
            self.metrics.lost((message.offset() - expected).unsigned_abs());
            tracing::warn!(lost = message.offset() - expected, "retention has taken what was passed on to this lane");
            gaps.push(Gap { from: None, to: message.timestamp().to_millis().map(Time) });
        }
        source.polled.set(message.offset() + 1);
        for header in message.headers().into_iter().flat_map(|headers| headers.iter()) {
            let value = header.value.unwrap_or_default();
            match header.key {
                ORIGIN => {
                    let Some(origin) = Origin::read(value).filter(|origin| origin.lanes == self.lanes) else {
                        continue;
                    };
                    self.put(consumer, align, &origin, message, clock);
                }
                UPTO => {
                    let Some(Origin { topic, partition, offset, at: Some(at), lanes }) = Origin::read(value) else {
                        continue;
                    };
                    if lanes != self.lanes {
                        continue;
                    }
                    let Some((slot, place)) = self.place(consumer, align, topic, partition) else { continue };
                    let last = Time(place.last.load(Ordering::Relaxed));
                    let is_later = last > Time::MIN && at > last + ANEW_AFTER;
                    if offset != UNKNOWN && offset < place.polled.get() && is_later {
                        tracing::warn!(topic, partition, offset, "made anew: what is passed on of it counts from here");
                        place.polled.set(offset);
                        place.stepped.set(UNKNOWN);
                    }
                    align.promise(slot, at);
                }
                GAP => gaps.extend(read_stretch(value).map(|(from, to)| Gap { from: Some(from), to: Some(to) })),
                _ => {}
            }
        }
    }

    /// What waits is still to be stepped: after a restart the carrying partition is read on from the first of it.
    /// Whether that is further on than before.
    pub(super) fn settle(&self, align: &Align) -> bool {
        let Some(source) = &self.source else { return false };
        let next = align.first_carried().unwrap_or(source.polled.get());
        let has_moved = next != source.stepped.get();
        source.stepped.set(next);
        has_moved
    }

    fn put(
        &mut self,
        consumer: &Consumer,
        align: &mut Align,
        origin: &Origin,
        message: &BorrowedMessage,
        clock: Clock,
    ) {
        let Some((slot, partition)) = self.place(consumer, align, origin.topic, origin.partition) else { return };
        if origin.offset < partition.polled.get() {
            return self.metrics.repeated();
        }
        partition.polled.set(origin.offset + 1);
        let waiting = Waiting {
            at: believed(&partition, origin.at, clock),
            stamped: origin.at,
            offset: origin.offset,
            key: message.key().map(<[u8]>::to_vec),
            payload: message.payload().unwrap_or_default().to_vec(),
            signature: None,
            carried: Some(message.offset()),
        };
        align.offer(slot, waiting);
    }

    /// The place of an input partition, made when it is first heard of; none for a topic that is no input of ours.
    fn place(
        &mut self,
        consumer: &Consumer,
        align: &mut Align,
        topic: &str,
        number: i32,
    ) -> Option<(Slot, Arc<Partition>)> {
        let is_its = |(_, place): &(Slot, Arc<Partition>)| place.number == number && *place.topic == *topic;
        if !self.places.get(self.recent).is_some_and(is_its) {
            self.recent = self.places.iter().position(is_its).unwrap_or(self.places.len());
        }
        if let Some(place) = self.places.get(self.recent) {
            return Some(place.clone());
        }
        let kind = self.topics.kind(topic)?;
        let mut partitions = consumer.partitions();
        let slot = partitions.relayed(topic, number, kind);
        let partition = partitions.get(slot).clone();
        drop(partitions);
        align.assign_relayed(slot, partition.topic.clone(), number);
        self.places.push((slot, partition.clone()));
        Some((slot, partition))
    }
}
