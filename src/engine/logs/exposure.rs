//! Exposure: how much more or less there was to write about after a change than before it.
//!
//! Lines are compared per minute of a running instance, per quiet line (work that is done is written about) and, where
//! a rate of requests is known, per request. An increase must stand against the kindest of these, a decrease likewise.

use super::journal::Journal;
use super::template::{BLOCK, BLOCKS, Block, block_of, start_of};
use crate::engine::character::Class;
use crate::engine::service::Service;
use crate::engine::signal::Nature;
use crate::engine::time::{Span, Time};
use crate::engine::window::minute_of;

/// Quiet lines below which they say nothing about how much work is done.
const BUSY: u64 = 50;
/// An instance that was heard within so long still runs.
const ALIVE: Span = Span::minutes(2);

/// The blocks before a change that it is held against: the last hours, as far as the journal goes.
#[derive(Clone, Copy, Debug)]
pub struct Before {
    pub from: Block,
    pub to: Block,
    pub minutes: f64,
    /// Minutes of running instances.
    alive: f64,
}

/// After the change over before it, as factors for what was counted before.
#[derive(Clone, Copy, Debug)]
pub struct Exposure {
    pub most: f64,
    pub least: f64,
    /// Minutes since the change, or since the horizon's beginning.
    pub minutes: f64,
    /// Carriers over the others, at the same time; 0 where nobody runs beside.
    pub beside: f64,
}

impl Before {
    /// None while there is less history than `least`.
    pub fn of(journal: &Journal, start: Time, now: Time, least: Span) -> Option<Before> {
        let earliest = journal.earliest?;
        let from = block_of(now).saturating_sub(BLOCKS as Block - 1).max(block_of(earliest) + 1);
        let to = block_of(start);
        let minutes = f64::from(to.saturating_sub(from)) * BLOCK.as_minutes();
        let window = (start_of(from), start_of(to));
        let alive = journal.speakers.iter().map(|each| overlap((each.first, each.last), window)).sum();
        (start_of(to) - start_of(from) >= least && minutes > 0.0).then_some(Before { from, to, minutes, alive })
    }
}

/// From block `from` on until `now`.
pub fn exposure(
    journal: &Journal,
    service: &Service,
    before: &Before,
    start: Time,
    from: Block,
    now: Time,
) -> Option<Exposure> {
    let begin = start.max(start_of(from));
    let minutes = (now - begin).as_minutes();
    let (mut new, mut old) = (0.0, 0.0);
    for each in &journal.speakers {
        let until = if now - each.last <= ALIVE { now } else { each.last };
        let alive = overlap((if each.carries { each.began } else { each.first }, until), (begin, now));
        if each.carries { new += alive } else { old += alive }
    }
    if new <= 0.0 || before.alive <= 0.0 || minutes <= 0.0 {
        return None;
    }
    let by_time = new / before.alive;
    let (mut most, mut least) = (by_time, by_time);
    let mut beside = if old > 0.25 * new { new / old } else { 0.0 };
    let quiet_before = journal.quiet.sum(before.from, before.to);
    if let Some(watched) = journal.watched.as_ref().filter(|_| quiet_before >= BUSY) {
        let (busy, others) = watched.quiet.since(from);
        let by_work = busy as f64 / quiet_before as f64;
        (most, least) = (most.max(by_work), least.min(by_work));
        if beside > 0.0 && others >= BUSY {
            beside = beside.max(busy as f64 / others as f64);
        }
    }
    if let Some(more) = requests(service, before, begin, now) {
        let by_requests = by_time * more;
        (most, least) = (most.max(by_requests), least.min(by_requests));
    }
    Some(Exposure { most, least, minutes, beside })
}

/// Requests a minute after over requests a minute before, where they are known.
fn requests(service: &Service, before: &Before, begin: Time, now: Time) -> Option<f64> {
    let traffic = |each: &&crate::engine::signal::Signal| each.class == Class::Traffic && each.nature == Nature::Rate;
    let signal = service.signals.iter().find(traffic)?;
    let ring = &signal.tracks.first()?.total;
    let mean = |from: Time, to: Time| {
        let bins = ring.between(minute_of(from), minute_of(to)).filter_map(|bin| bin.value());
        let (sum, count) = bins.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
        (count > 0).then(|| sum / f64::from(count))
    };
    let usual = mean(start_of(before.from), start_of(before.to))?;
    let present = mean(begin, now)?;
    (usual > 0.0).then_some(present / usual)
}

fn overlap(one: (Time, Time), other: (Time, Time)) -> f64 {
    (one.1.min(other.1) - one.0.max(other.0)).as_minutes().max(0.0)
}
