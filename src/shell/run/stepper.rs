//! One message through the pump, with what must be known about it: whether it is the next one, and whether it broke the
//! daemon before.
//!
//! A message that trips an assertion is written down as poison before the daemon ends; when it comes again it is a dead
//! letter. A tick that does so is no message's fault: then nothing is written down, and the daemon ends again each time
//! it gets there, which must be seen by a person. Which message is next is `intake`'s affair.

use super::intake::Batch;
use crate::shell::consumer::Consumer;
use crate::shell::consumer::partitions::{Partition, UNKNOWN};
use crate::shell::poison::Poison;
use crate::shell::pump::{Cause, Contents, Outgoing, Pump, Taken};
use crate::shell::telemetry::Metrics;
use crate::wire::inbound::{RejectReason, Rejected};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

/// What a message passes through.
pub struct Stepper {
    pub metrics: Arc<Metrics>,
    pub poison: Poison,
    /// Called with each message before it is pumped; a test has its assertion there.
    pub trap: Option<fn(&Taken)>,
}

impl Stepper {
    /// Whether the message was a dead letter; nothing if it had been taken before.
    pub fn step(
        &mut self,
        consumer: &Consumer,
        partition: &Partition,
        taken: &Taken,
        pump: &mut Pump,
        batch: &mut Batch,
        out: &mut Vec<Outgoing>,
    ) -> Option<bool> {
        match place(consumer, partition, taken.offset) {
            Place::Next => {}
            Place::Again => return None,
            Place::Anew => tracing::warn!(
                topic = taken.topic,
                partition = taken.partition,
                expected = partition.stepped.get(),
                found = taken.offset,
                "the partition goes on below what was read: it was truncated or created anew, and is read as it is"
            ),
            Place::Ahead => {
                let expected = partition.stepped.get();
                if consumer.watermarks(partition).is_some_and(|(low, _)| low > expected) {
                    let (topic, number) = (taken.topic, taken.partition);
                    let lost = taken.offset - expected;
                    self.metrics.lost(lost.unsigned_abs());
                    tracing::warn!(topic, number, lost, "retention has taken messages before they were read");
                }
            }
        }
        let before = out.len();
        let vitals = pump.engine().vitals();
        let contents = self.pump(taken, pump, out);
        let metrics = &self.metrics;
        metrics.took(taken.kind, taken.payload.len());
        metrics.decoded(taken.kind, contents.facts);
        for outgoing in &out[before..] {
            if let Cause::DeadLetter(reason) = outgoing.cause {
                metrics.dead_lettered(taken.kind, reason.word());
            }
        }
        partition.tally.note(taken.kind, contents, &vitals, &pump.engine().vitals());
        partition.stepped.set(taken.offset + 1);
        batch.messages += 1;
        batch.bytes += taken.payload.len();
        Some(contents.is_refused)
    }

    fn pump(&mut self, taken: &Taken, pump: &mut Pump, out: &mut Vec<Outgoing>) -> Contents {
        let Taken { topic, partition, offset, .. } = *taken;
        if self.poison.is_known(topic, partition, offset) {
            let rejected = Rejected::new(RejectReason::Poison, "it broke the daemon when it was taken before");
            tracing::error!(topic, partition, offset, "left out: it broke the daemon before; please report it");
            return pump.refuse(taken, &rejected, out);
        }
        // Nothing of what a panic leaves half done is used again: the daemon ends.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            if let Some(trap) = self.trap {
                trap(taken);
            }
            pump.take(taken, out)
        }));
        match outcome {
            Ok(contents) => contents,
            Err(panic) if pump.is_ticking() => {
                tracing::error!("a tick broke the daemon, whatever is read next: please report this as a defect");
                resume_unwind(panic)
            }
            Err(panic) => {
                tracing::error!(topic, partition, offset, "a message broke the daemon; the next start leaves it out");
                if let Err(error) = self.poison.note(topic, partition, offset) {
                    tracing::error!(%error, "and this could not be written down: the next start will break too");
                }
                resume_unwind(panic)
            }
        }
    }
}

/// Where a message lies, seen from what was stepped last.
enum Place {
    Next,
    /// The same message again.
    Again,
    /// The topic was deleted and created anew, or truncated.
    Anew,
    /// Offsets are missing: compaction and transactions leave holes, but the log's beginning may have passed us too.
    Ahead,
}

fn place(consumer: &Consumer, partition: &Partition, offset: i64) -> Place {
    let expected = partition.stepped.get();
    match offset {
        _ if expected == UNKNOWN || offset == expected => Place::Next,
        _ if partition.relayed && offset > expected => Place::Next,
        _ if partition.relayed => Place::Again,
        _ if offset > expected => Place::Ahead,
        _ if partition.is_cut(offset) => Place::Anew,
        _ => match consumer.watermarks(partition) {
            Some((low, high)) if offset > low && high >= expected => Place::Again,
            _ => Place::Anew,
        },
    }
}
