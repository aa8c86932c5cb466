//! Partitions in order of time while any of them has a backlog.
//!
//! The log's time only goes forward. If one partition were read an hour ahead of another, the other's facts would all
//! be late. So the message with the smallest timestamp goes first, and a choice is made only when every partition has
//! shown its next message or has nothing more to show. A partition that does neither can't hold up the rest for ever:
//! after a bounded wait the choice is made without it. Nothing here knows Kafka or a clock; the caller says how much
//! time has passed and whether a partition is at its end.

use crate::engine::time::Time;
use std::collections::VecDeque;
use std::sync::Arc;

/// What all partitions together may buffer: 64 MiB, shared out evenly.
const BYTES_MAX: usize = 64 << 20;

/// No partition's share is smaller (a fetch brings this much at least) or larger than this.
const SHARE: (usize, usize) = (256 << 10, 4 << 20);

/// What a buffered message costs besides its bytes, roughly.
const OVERHEAD: usize = 96;

/// How long a partition that shows nothing may hold up the others. Whether it is at its end is known without waiting;
/// what runs into this is a partition whose broker does not answer, or that nobody passes on.
pub const WAIT_MS: u64 = 60_000;

/// Names a partition among those that are aligned.
pub type Slot = usize;

/// Topic and number of a partition.
type Name = (Arc<str>, i32);

/// A message that waits for its turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// When the log took it, as far as that is believed.
    pub at: Time,
    pub stamped: Option<Time>,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub payload: Vec<u8>,
    /// Of a control message.
    pub signature: Option<Vec<u8>>,
    /// Of one that was passed on: where it lies in the partition that it was read from.
    pub carried: Option<i64>,
}

impl Lane {
    /// It may show something of before this moment.
    fn holds_up(&self, at: Time) -> bool {
        self.queue.is_empty() && !self.ended && self.promised.is_none_or(|promised| promised < at)
    }

    /// It holds up the moment whose turn it is, if there is one, or all that is to come.
    fn is_awaited(&self, at: Option<Time>) -> bool {
        match at {
            Some(at) => self.holds_up(at),
            None => self.relayed && self.queue.is_empty() && !self.ended,
        }
    }
}

impl Waiting {
    fn cost(&self) -> usize {
        self.payload.len() + self.key.as_ref().map_or(0, Vec::len) + OVERHEAD
    }
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    Take(Slot, Waiting),
    /// Something is buffered, but another partition has to show its next message first.
    Wait,
    /// Nothing is buffered.
    Empty,
}

/// One queue for each partition.
#[derive(Default)]
pub struct Align {
    lanes: Vec<Option<Lane>>,
    /// Some partition is being waited for.
    waits: bool,
    given_up: Vec<Slot>,
}

struct Lane {
    /// Decides between equal timestamps, so that the order does not depend on the assignment's.
    name: Name,
    queue: VecDeque<Waiting>,
    bytes: usize,
    /// Has nothing more to show, or has been given up on; until its next message.
    ended: bool,
    /// Others pass it on, and say how far they have.
    relayed: bool,
    /// Nothing of before this moment is to come.
    promised: Option<Time>,
    /// Since when, on the caller's watch, it has been waited for and has shown nothing.
    awaited_since: Option<u64>,
    paused: bool,
}

impl Align {
    /// Begins (or begins again, empty) to align a partition.
    pub fn assign(&mut self, slot: Slot, topic: Arc<str>, number: i32) {
        self.add(slot, (topic, number), false);
    }

    /// The same of one that others pass on: they are waited for also while nothing is buffered, as time goes on by what
    /// they say.
    pub fn assign_relayed(&mut self, slot: Slot, topic: Arc<str>, number: i32) {
        self.add(slot, (topic, number), true);
    }

    fn add(&mut self, slot: Slot, name: Name, relayed: bool) {
        if self.lanes.len() <= slot {
            self.lanes.resize_with(slot + 1, || None);
        }
        let (queue, promised, awaited_since) = (VecDeque::new(), None, None);
        let (bytes, ended, paused) = (0, false, false);
        self.lanes[slot] = Some(Lane { name, queue, bytes, ended, relayed, promised, awaited_since, paused });
    }

    /// Forgets a partition and what it has buffered.
    pub fn revoke(&mut self, slot: Slot) {
        if let Some(lane) = self.lanes.get_mut(slot) {
            *lane = None;
        }
    }

    /// Whether a message of this partition may be taken at once: nothing waits, and nobody else has anything to show.
    /// If so, the partition counts as not at its end.
    pub fn passes(&mut self, slot: Slot, mut at_end: impl FnMut(Slot) -> bool) -> bool {
        for (other, lane) in self.lanes.iter_mut().enumerate() {
            let Some(lane) = lane else { continue };
            if !lane.queue.is_empty() {
                return false;
            }
            if other != slot && !lane.ended {
                lane.ended = at_end(other);
                if !lane.ended {
                    return false;
                }
            }
        }
        if let Some(Some(lane)) = self.lanes.get_mut(slot) {
            lane.ended = false;
        }
        true
    }

    /// Buffers a message. Those of partitions that are not assigned (any more) are dropped: somebody else reads them.
    pub fn offer(&mut self, slot: Slot, waiting: Waiting) {
        if let Some(Some(lane)) = self.lanes.get_mut(slot) {
            lane.bytes += waiting.cost();
            (lane.ended, lane.awaited_since) = (false, None);
            lane.queue.push_back(waiting);
        }
    }

    /// The message whose turn it is. `now_ms` is any clock that only goes forward.
    pub fn next(&mut self, now_ms: u64, mut at_end: impl FnMut(Slot) -> bool) -> Next {
        let mut first: Option<(Time, &Name, Slot)> = None;
        let mut missing = false;
        for (slot, lane) in self.lanes.iter_mut().enumerate() {
            let Some(lane) = lane else { continue };
            match lane.queue.front() {
                Some(waiting) if first.is_none_or(|(at, name, _)| (waiting.at, &lane.name) < (at, name)) => {
                    first = Some((waiting.at, &lane.name, slot));
                }
                Some(_) => {}
                None if lane.ended => {}
                None => {
                    lane.ended = at_end(slot);
                    missing |= !lane.ended;
                }
            }
        }
        let (at, first) = (first.map(|(at, ..)| at), first.map(|(.., slot)| slot));
        if missing && self.is_awaiting(at, now_ms) {
            return if first.is_some() { Next::Wait } else { Next::Empty };
        }
        if std::mem::take(&mut self.waits) {
            self.lanes.iter_mut().flatten().for_each(|lane| lane.awaited_since = None);
        }
        let Some(slot) = first else { return Next::Empty };
        match self.pop(slot) {
            Some(waiting) => Next::Take(slot, waiting),
            None => Next::Empty,
        }
    }

    /// Whether somebody is to be waited for, with `at` the moment whose turn it would be. Who has been waited for long
    /// enough is given up.
    fn is_awaiting(&mut self, at: Option<Time>, now_ms: u64) -> bool {
        let is_full = self.is_full();
        let mut awaiting = false;
        for (slot, lane) in self.lanes.iter_mut().enumerate() {
            let Some(lane) = lane.as_mut().filter(|lane| lane.is_awaited(at)) else { continue };
            self.waits = true;
            let since = *lane.awaited_since.get_or_insert(now_ms);
            if is_full || now_ms.saturating_sub(since) >= WAIT_MS {
                lane.ended = true;
                self.given_up.push(slot);
            } else {
                awaiting = true;
            }
        }
        awaiting
    }

    /// The partition has nothing more to show, whatever else is thought of it.
    pub fn end(&mut self, slot: Slot) {
        if let Some(Some(lane)) = self.lanes.get_mut(slot) {
            lane.ended = true;
        }
    }

    /// Nothing of before this moment is to come of a partition.
    pub fn promise(&mut self, slot: Slot, at: Time) {
        if let Some(Some(lane)) = self.lanes.get_mut(slot) {
            // Somebody passes it on, however slowly.
            lane.awaited_since = None;
            if lane.promised < Some(at) {
                lane.promised = Some(at);
                lane.ended = false;
            }
        }
    }

    /// The moment before which nothing is to come of any partition; none if one of them may show anything.
    pub fn upto(&self, mut at_end: impl FnMut(Slot) -> bool) -> Option<Time> {
        let each = self.each().map(|(slot, lane)| match lane.queue.front() {
            Some(waiting) => Some(waiting.at),
            None if lane.ended || lane.promised.is_none() && at_end(slot) => Some(Time(i64::MAX)),
            None => lane.promised,
        });
        each.reduce(|one, other| one.min(other)).flatten()
    }

    /// Where the first of what was passed on and still waits lies in the partition that it was read from.
    pub fn first_carried(&self) -> Option<i64> {
        self.each().filter_map(|(_, lane)| lane.queue.front()?.carried).min()
    }

    /// The moment of the first message that waits.
    pub fn next_at(&self) -> Option<Time> {
        self.each().filter_map(|(_, lane)| lane.queue.front()).map(|waiting| waiting.at).min()
    }

    /// The moment of the first message that waits of a partition.
    pub fn first(&self, slot: Slot) -> Option<Time> {
        self.each().find(|(each, _)| *each == slot)?.1.queue.front().map(|waiting| waiting.at)
    }

    /// Whether all that may be buffered is.
    pub fn is_full(&self) -> bool {
        self.bytes() >= BYTES_MAX
    }

    /// The partitions that hold up a choice right now: neither buffered nor at their end.
    pub fn missing(&self) -> impl Iterator<Item = Slot> {
        self.each().filter(|(_, lane)| lane.queue.is_empty() && !lane.ended).map(|(slot, _)| slot)
    }

    /// Whether messages of this partition wait for their turn.
    pub fn is_waiting(&self, slot: Slot) -> bool {
        self.each().any(|(each, lane)| each == slot && !lane.queue.is_empty())
    }

    /// The partitions that were not waited for any longer, since this was last asked.
    pub fn take_given_up(&mut self) -> Vec<Slot> {
        std::mem::take(&mut self.given_up)
    }

    /// Whether nothing is buffered at all.
    pub fn is_empty(&self) -> bool {
        self.each().all(|(_, lane)| lane.queue.is_empty())
    }

    /// Partitions whose buffer has become full: fetch no more of them for now.
    pub fn to_pause(&mut self) -> Vec<Slot> {
        let share = self.share();
        self.turn(|lane| !lane.paused && lane.bytes >= share, true)
    }

    /// Partitions whose buffer has room again. Asked for late, at a quarter, because each resume costs a fetch.
    pub fn to_resume(&mut self) -> Vec<Slot> {
        let share = self.share();
        self.turn(|lane| lane.paused && lane.bytes < share / 4, false)
    }

    /// The partitions that are paused for want of room.
    pub fn paused(&self) -> Vec<Slot> {
        self.each().filter(|(_, lane)| lane.paused).map(|(slot, _)| slot).collect()
    }

    /// Bytes buffered.
    pub fn bytes(&self) -> usize {
        self.each().map(|(_, lane)| lane.bytes).sum()
    }

    fn pop(&mut self, slot: Slot) -> Option<Waiting> {
        let lane = self.lanes.get_mut(slot)?.as_mut()?;
        let waiting = lane.queue.pop_front()?;
        lane.bytes -= waiting.cost();
        Some(waiting)
    }

    fn turn(&mut self, due: impl Fn(&Lane) -> bool, paused: bool) -> Vec<Slot> {
        let lanes = self.lanes.iter_mut().enumerate().filter_map(|(slot, lane)| Some((slot, lane.as_mut()?)));
        lanes
            .filter(|(_, lane)| due(lane))
            .map(|(slot, lane)| {
                lane.paused = paused;
                slot
            })
            .collect()
    }

    fn share(&self) -> usize {
        (BYTES_MAX / self.each().count().max(1)).clamp(SHARE.0, SHARE.1)
    }

    fn each(&self) -> impl Iterator<Item = (Slot, &Lane)> {
        self.lanes.iter().enumerate().filter_map(|(slot, lane)| Some((slot, lane.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(at: i64) -> Waiting {
        Waiting {
            at: Time(at),
            stamped: None,
            offset: at,
            key: None,
            payload: vec![0; 100],
            signature: None,
            carried: None,
        }
    }

    fn aligned(slots: usize) -> Align {
        let mut align = Align::default();
        (0..slots).for_each(|slot| align.assign(slot, "metrics".into(), -(slot as i32)));
        align
    }

    /// Takes until nothing more can be taken; the timestamps in the order taken.
    fn drain(align: &mut Align, now_ms: u64, ended: &[Slot]) -> Vec<i64> {
        let mut taken = Vec::new();
        while let Next::Take(_, waiting) = align.next(now_ms, |slot| ended.contains(&slot)) {
            taken.push(waiting.at.0);
        }
        taken
    }

    #[test]
    fn the_oldest_goes_first_across_partitions() {
        let mut align = aligned(2);
        [5, 6, 7].into_iter().for_each(|at| align.offer(0, message(at)));
        [1, 6, 9].into_iter().for_each(|at| align.offer(1, message(at)));
        assert_eq!(drain(&mut align, 0, &[0, 1]), [1, 5, 6, 6, 7, 9]);
    }

    #[test]
    fn equal_timestamps_go_by_name_whatever_the_order_of_assignment() {
        let mut align = Align::default();
        [("metrics", 1), ("metrics", 0), ("logs", 0)].into_iter().enumerate().for_each(|(slot, (topic, number))| {
            align.assign(slot, topic.into(), number);
            align.offer(slot, message(5));
        });
        let mut taken = Vec::new();
        while let Next::Take(slot, _) = align.next(0, |_| true) {
            taken.push(slot);
        }
        assert_eq!(taken, [2, 1, 0]);
    }

    #[test]
    fn a_partition_that_may_still_show_something_older_is_waited_for() {
        let mut align = aligned(2);
        align.offer(0, message(5));
        assert_eq!(align.next(0, |_| false), Next::Wait);
        assert_eq!(align.missing().collect::<Vec<_>>(), [1]);
        align.offer(1, message(2));
        assert_eq!(drain(&mut align, 1, &[]), [2]);
        assert_eq!(align.next(2, |_| false), Next::Wait, "1 has to show its next");
        assert_eq!(drain(&mut align, 3, &[1]), [5], "1 is at its end");
    }

    #[test]
    fn a_silent_partition_holds_up_the_others_for_a_while_and_no_longer() {
        let mut align = aligned(2);
        align.offer(0, message(5));
        align.offer(0, message(6));
        assert_eq!(align.next(10, |_| false), Next::Wait);
        assert_eq!(align.next(10 + WAIT_MS - 1, |_| false), Next::Wait);
        assert_eq!(drain(&mut align, 10 + WAIT_MS, &[]), [5, 6], "given up on until it speaks");
        assert_eq!(align.take_given_up(), [1]);
        align.offer(1, message(7));
        align.offer(1, message(8));
        assert_eq!(align.next(20 + WAIT_MS, |_| false), Next::Wait, "now 0 is the one with nothing to show");
    }

    #[test]
    fn what_is_promised_holds_up_nothing_before_it() {
        let mut align = aligned(2);
        align.offer(0, message(5));
        align.offer(0, message(8));
        assert_eq!(align.upto(|_| false), None, "1 may show anything");
        align.promise(1, Time(5));
        assert_eq!(align.upto(|_| false), Some(Time(5)));
        assert_eq!(drain(&mut align, 0, &[]), [5]);
        assert_eq!(align.next(1, |_| false), Next::Wait, "1 may still show a 6");
        align.promise(1, Time(3));
        align.promise(1, Time(9));
        assert_eq!(drain(&mut align, 2, &[]), [8]);
        align.promise(0, Time(7));
        assert_eq!(align.upto(|_| false), Some(Time(7)), "the least of what was promised");
    }

    #[test]
    fn who_is_passed_on_slowly_is_waited_for_and_who_is_not_is_given_up() {
        let mut align = aligned(1);
        (1..4).for_each(|slot| align.assign_relayed(slot, "logs".into(), slot as i32));
        align.offer(0, message(100));
        (1..4).for_each(|slot| align.promise(slot, Time(5)));
        assert_eq!(align.next(0, |_| false), Next::Wait);
        // What is said again says that somebody is there, whether it has come any further or not.
        align.promise(1, Time(7));
        align.promise(2, Time(5));
        assert_eq!(align.next(WAIT_MS - 1, |_| false), Next::Wait);
        assert_eq!(align.take_given_up(), Vec::<Slot>::new());
        assert_eq!(align.next(WAIT_MS, |_| false), Next::Wait, "1 and 2 have not shown what they have");
        assert_eq!(align.take_given_up(), [3], "it is overdue");
        align.promise(1, Time(100));
        align.promise(2, Time(100));
        assert_eq!(drain(&mut align, WAIT_MS, &[]), [100]);
    }

    #[test]
    fn with_nothing_buffered_time_goes_on_without_what_nobody_passes_on() {
        let mut align = aligned(0);
        (0..2).for_each(|slot| align.assign_relayed(slot, "logs".into(), slot as i32));
        let upto = |align: &mut Align, now_ms: u64| {
            align.promise(0, Time(now_ms as i64));
            assert_eq!(align.next(now_ms, |_| false), Next::Empty);
            align.upto(|_| false)
        };
        assert_eq!(upto(&mut align, 0), None, "1 may show anything");
        assert_eq!(upto(&mut align, WAIT_MS - 1), None);
        assert_eq!(upto(&mut align, WAIT_MS), Some(Time(WAIT_MS as i64)));
        assert_eq!(align.take_given_up(), [1]);
        align.promise(1, Time(7));
        assert_eq!(upto(&mut align, WAIT_MS + 1), Some(Time(7)), "it is there again");
    }

    #[test]
    fn live_messages_pass_straight_through() {
        let mut align = aligned(3);
        assert!(!align.passes(0, |slot| slot != 2), "2 is not at its end");
        assert!(align.passes(0, |_| true));
        assert!(!align.passes(1, |_| false), "0 may have more by now");
        align.offer(1, message(4));
        assert!(!align.passes(0, |_| true), "one waits already");
    }

    #[test]
    fn a_full_buffer_pauses_and_an_emptied_one_resumes() {
        let mut align = aligned(1);
        while align.to_pause().is_empty() {
            align.offer(0, message(1));
        }
        assert!(align.bytes() >= SHARE.1);
        assert_eq!(align.to_pause(), Vec::<Slot>::new(), "paused once");
        assert_eq!(align.to_resume(), Vec::<Slot>::new(), "still full");
        drain(&mut align, 0, &[0]);
        assert_eq!(align.to_resume(), [0]);
        assert_eq!(align.bytes(), 0);
    }

    #[test]
    fn a_revoked_partition_takes_its_buffer_with_it() {
        let mut align = aligned(2);
        align.offer(0, message(1));
        align.offer(1, message(2));
        align.revoke(0);
        align.offer(0, message(3));
        assert_eq!(drain(&mut align, 0, &[1]), [2]);
        assert!(align.is_empty());
    }
}
