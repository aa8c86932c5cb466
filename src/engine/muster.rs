//! What the desk of a divided fleet has been told and has not heard yet, put in order of time over all lanes.
//!
//! A moment is heard when every lane has told everything up to it; so what is decided does not depend on which lane is
//! read first. What comes again, after a lane was taken over, is known and left out: telling twice changes nothing, and
//! nothing that is new is taken for a repeat. It decides nothing.

use super::event::{Control, Deployment};
use super::fingerprint::Fingerprint;
use super::report::{Report, Told};
use super::time::Time;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Deployments that took effect, so that none does twice: 8 bytes each.
const SEEN: usize = 20_000;

/// What may wait, 4 KB each at most: past it a lane that says nothing is waited for no longer.
const WAITING: usize = 20_000;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Muster {
    lanes: Vec<Queue>,
    control: VecDeque<(Time, Control)>,
    seen: VecDeque<u64>,
    /// When the lanes were last heard of as a whole.
    beaten: Option<Time>,
}

/// What one lane has told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Queue {
    /// It has told everything up to and including this moment; nothing before it first spoke.
    upto: Option<Time>,
    waiting: VecDeque<Told>,
    /// It is not waited for until it speaks again.
    given_up: bool,
}

impl Muster {
    pub fn new(lanes: u32) -> Muster {
        Muster { lanes: (0..lanes).map(|_| Queue::default()).collect(), ..Muster::default() }
    }

    pub fn lanes(&self) -> u32 {
        self.lanes.len() as u32
    }

    /// A lane tells something, or only how far it is. A lane that is none is not heard.
    pub fn tell(&mut self, lane: u32, upto: Time, told: Option<Told>) {
        let Some(queue) = self.lanes.get_mut(lane as usize) else { return };
        queue.upto = queue.upto.max(Some(upto));
        queue.given_up = false;
        queue.waiting.extend(told.filter(|told| !told.reports.is_empty()));
    }

    /// Somebody speaks.
    pub fn say(&mut self, now: Time, control: Control) {
        let place = self.control.partition_point(|(at, _)| *at <= now);
        self.control.insert(place, (now, control));
    }

    /// The next moment that can be heard; `deadline` is the desk's own.
    pub fn next(&self, deadline: Option<Time>) -> Option<Time> {
        let fronts = self.lanes.iter().filter_map(|queue| queue.waiting.front()).map(|told| told.at);
        let spoken = self.control.front().map(|(at, _)| *at);
        let next = fronts.chain(spoken).chain(deadline).min()?;
        let full = self.lanes.iter().map(|queue| queue.waiting.len()).sum::<usize>() > WAITING;
        let told = |queue: &Queue| queue.given_up || queue.upto.is_some_and(|upto| upto >= next);
        (full || self.lanes.iter().all(told)).then_some(next)
    }

    /// Whether anything waits to be heard.
    pub fn is_waiting(&self) -> bool {
        !self.control.is_empty() || self.lanes.iter().any(|queue| !queue.waiting.is_empty())
    }

    /// How far all lanes have told everything; none before each of them spoke.
    pub fn upto(&self) -> Option<Time> {
        self.lanes.iter().filter(|queue| !queue.given_up).map(|queue| queue.upto).min().flatten()
    }

    /// The lanes that are behind the others, and hold them up, are not waited for until they speak again.
    pub fn give_up(&mut self) -> Vec<u32> {
        let most = self.lanes.iter().filter_map(|queue| queue.upto).max();
        let behind = |queue: &&mut Queue| !queue.given_up && queue.waiting.is_empty() && queue.upto < most;
        let least = self.lanes.iter_mut().filter(|queue| !queue.given_up).map(|queue| queue.upto).min().flatten();
        let held_up: Vec<_> = self.lanes.iter_mut().enumerate().filter(|(_, queue)| behind(queue)).collect();
        let slowest = held_up.into_iter().filter(|(_, queue)| queue.upto <= least || queue.upto.is_none());
        slowest
            .map(|(lane, queue)| {
                queue.given_up = true;
                lane as u32
            })
            .collect()
    }

    /// What ticks up to this moment have told, lane by lane.
    pub fn take_ticks(&mut self, at: Time) -> Vec<Report> {
        self.take(at, true)
    }

    /// What facts up to this moment have told.
    pub fn take_facts(&mut self, at: Time) -> Vec<Report> {
        self.take(at, false)
    }

    /// Whether a lane tells at this moment that it has learned from the time of an event.
    pub fn is_late(&self, at: Time) -> bool {
        let fronts = self.lanes.iter().flat_map(|queue| queue.waiting.iter().take_while(|told| told.at <= at));
        fronts.flat_map(|told| &told.reports).any(|report| *report == Report::SetAside { late: true })
    }

    pub fn take_word(&mut self, at: Time) -> Option<Control> {
        self.control.pop_front_if(|(said, _)| *said <= at).map(|(_, control)| control)
    }

    fn take(&mut self, at: Time, tick: bool) -> Vec<Report> {
        let mut reports = Vec::new();
        for lane in 0..self.lanes.len() {
            let due = |told: &mut Told| told.at <= at && told.tick == tick;
            let mut beaten = self.beaten;
            while let Some(told) = self.lanes[lane].waiting.pop_front_if(due) {
                self.sift(told, &mut beaten, &mut reports);
            }
        }
        if reports.iter().any(|report| matches!(report, Report::Beat(_))) {
            self.beaten = self.beaten.max(Some(at));
        }
        reports
    }

    /// Leaves out what was heard before; `beaten` is when this lane was last heard of.
    fn sift(&mut self, told: Told, beaten: &mut Option<Time>, reports: &mut Vec<Report>) {
        let mut repeated = false;
        let (at, before) = (Some(told.at), *beaten);
        if told.reports.iter().any(|report| matches!(report, Report::Beat(_))) {
            *beaten = before.max(at);
        }
        for report in told.reports {
            match &report {
                Report::TookEffect { deployment } => repeated = !self.is_new(deployment),
                Report::Opened { .. } | Report::NotWatched { .. } if repeated => continue,
                Report::Beat(_) | Report::Drifted(_) if before >= at => continue,
                _ => {}
            }
            if !repeated {
                reports.push(report);
            }
        }
    }

    /// True the first time.
    fn is_new(&mut self, deployment: &Deployment) -> bool {
        let name = Fingerprint::new().with(&deployment.env).with(&deployment.service).with(&deployment.id).finish();
        let new = !self.seen.contains(&name);
        if new {
            self.seen.push_back(name);
            if self.seen.len() > SEEN {
                self.seen.pop_front();
            }
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::report::Beat;
    use std::sync::Arc;

    fn told(at: i64, tick: bool, report: Report) -> Option<Told> {
        Some(Told { at: Time(at), tick, reports: vec![report] })
    }

    fn took_effect(id: &str) -> Report {
        Report::TookEffect { deployment: Arc::new(Deployment::new(Time(0), id, "checkout", "prod")) }
    }

    #[test]
    fn a_moment_is_heard_when_every_lane_has_come_so_far() {
        let mut muster = Muster::new(2);
        muster.tell(1, Time(9), told(10, true, took_effect("d1")));
        assert_eq!(muster.next(None), None);
        muster.tell(0, Time(9), None);
        assert_eq!(muster.next(None), None);
        muster.tell(1, Time(10), None);
        muster.tell(0, Time(12), None);
        assert_eq!((muster.next(None), muster.upto()), (Some(Time(10)), Some(Time(10))));
        assert_eq!(muster.next(Some(Time(7))), Some(Time(7)), "the desk's own deadline");
        assert_eq!(muster.take_ticks(Time(10)).len(), 1);
        assert_eq!(muster.next(None), None);
    }

    #[test]
    fn a_lane_that_says_nothing_is_given_up_until_it_speaks() {
        let mut muster = Muster::new(3);
        muster.tell(0, Time(10), told(10, false, took_effect("d1")));
        muster.tell(1, Time(11), None);
        assert_eq!(muster.next(None), None);
        assert_eq!(muster.give_up(), [2]);
        assert_eq!(muster.next(None), Some(Time(10)));
        muster.tell(2, Time(3), told(3, false, took_effect("d0")));
        assert_eq!(muster.next(None), Some(Time(3)), "late, and not lost");
    }

    #[test]
    fn a_beat_that_comes_again_before_it_is_heard_counts_once() {
        let mut muster = Muster::new(2);
        let beat = || Report::Beat(Beat { services: 3, ..Beat::default() });
        for (lane, at) in [(0, 5), (0, 9), (0, 5), (0, 9), (1, 5), (1, 9)] {
            muster.tell(lane, Time(9), told(at, true, beat()));
        }
        assert_eq!(muster.take_ticks(Time(5)).len(), 2);
        assert_eq!(muster.take_ticks(Time(9)).len(), 2);
    }

    #[test]
    fn what_comes_again_is_left_out() {
        let mut muster = Muster::new(1);
        for _ in 0..2 {
            muster.tell(0, Time(20), told(10, false, took_effect("d1")));
        }
        muster.tell(0, Time(20), told(5, false, took_effect("d2")));
        assert_eq!(muster.take_facts(Time(20)), [took_effect("d1"), took_effect("d2")], "an old time is no repeat");
    }
}
