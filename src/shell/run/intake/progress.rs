//! How far the inputs have shown what they have: for time to go on in a silence, and for others who wait to be told.
//!
//! What is known of a partition and what was known of it last are told apart: of one that nobody can read at the moment
//! nobody should say again that there is nothing new.

use super::Intake;
use crate::engine::time::Time;
use crate::shell::align::Slot;
use crate::shell::consumer::partitions::Partition;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The moment before which a partition has nothing more to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upto {
    /// As it shows at this moment.
    Known(Time),
    /// As it was when it showed something last: it may be that nobody can read it.
    Last(Time),
}

impl Upto {
    pub fn time(self) -> Time {
        match self {
            Upto::Known(at) | Upto::Last(at) => at,
        }
    }
}

impl Intake {
    /// The moment before which nothing more is to come, as far as that is known; `wall` where all is at its end.
    pub fn silent_until(&self, wall: Time) -> Option<Time> {
        if self.relayed.is_none() {
            return Some(wall).filter(|_| self.is_idle());
        }
        let upto = self.align.upto(|slot| self.consumer.is_at_end(slot))?;
        (upto <= wall || self.consumer.pulse().is_silence_real()).then_some(upto.min(wall))
    }

    /// How far each partition was read in order, as far as that is known. Of one at its end that is `wall`, or, where
    /// nobody can tell by now, `now`, up to which it was.
    pub fn progress(&self, wall: Time, now: Time) -> Vec<(Arc<Partition>, Option<Upto>)> {
        let is_real = self.consumer.pulse().is_silence_real();
        let upto = |slot: Slot, partition: &Partition| match self.align.first(slot) {
            Some(first) => Some(Upto::Known(first)),
            None if self.circuit.is_stopped(slot) => Some(Upto::Known(wall)),
            None if self.consumer.at_end(partition) => Some(if is_real { Upto::Known(wall) } else { Upto::Last(now) }),
            None => Some(Upto::Last(Time(partition.last.load(Ordering::Relaxed)))),
        };
        let upto = |slot: Slot, each: &Partition| upto(slot, each).filter(|upto| upto.time() > Time::MIN);
        self.consumer.assigned().iter().map(|(slot, each)| (each.clone(), upto(*slot, each))).collect()
    }
}
