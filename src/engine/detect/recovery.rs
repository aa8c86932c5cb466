//! Whether what had got worse is as it was before: asked of the very signals that a recommendation named.
//!
//! It is no test of its own: a level that stays within a third of the way from the old level to the bad one, look after
//! look, has recovered. How many looks are enough is the threads' affair.

use crate::engine::effect::{Evidence, Method};
use crate::engine::fleet::Fleet;
use crate::engine::service::Service;
use crate::engine::signal::Signal;
use crate::engine::window::{Bin, Minute, minute_of};

/// The share of the way from the old level to the bad one that may be left.
const LEFT: f64 = 0.34;
/// Minutes whose mean is looked at, and where events are rare.
const RECENT: Minute = 5;
const RECENT_RARE: Minute = 15;

/// True if every signal that can answer is back, false if one is not, none while none can answer. Only minutes from
/// `since` up to and including `upto` count.
pub fn recovered(fleet: &mut Fleet, place: usize, evidence: &[Evidence], since: Minute, upto: Minute) -> Option<bool> {
    fleet.services[place].settle_all(upto);
    let owner = &fleet.services[place];
    let mut answer = None;
    for each in evidence {
        if let Some((signal, track)) = named(owner, &each.signal) {
            match back(owner, signal, track, each, since, upto) {
                Some(false) => return Some(false),
                Some(true) => answer = Some(true),
                None => {}
            }
        }
    }
    answer
}

/// The track that people know by this name.
fn named<'a>(owner: &'a Service, name: &str) -> Option<(&'a Signal, usize)> {
    owner.signals.iter().find_map(|signal| {
        let track = (0..signal.tracks.len()).find(|track| signal.title(*track) == name)?;
        Some((signal, track))
    })
}

fn back(owner: &Service, signal: &Signal, track: usize, each: &Evidence, since: Minute, upto: Minute) -> Option<bool> {
    let width = if each.method == Method::RareEvents { RECENT_RARE } else { RECENT };
    let from = upto - width + 1;
    if from < since {
        return None;
    }
    // An instance that stays silent has not recovered because others speak; after a rollback it was replaced.
    let replaced = each.method != Method::Silence || since > minute_of(each.onset);
    let bins = bins(owner, signal, track, each, from, upto, replaced);
    if each.method == Method::Silence {
        return Some(bins.len() as Minute * 2 > width);
    }
    let (num, den) = bins.iter().fold((0.0, 0.0), |(n, d), bin| (n + f64::from(bin.num), d + f64::from(bin.den)));
    let way = each.current - each.baseline;
    (den > 0.0 && way != 0.0).then(|| (num / den - each.baseline) / way <= LEFT)
}

/// Of the instances that were named, as long as any of them speaks; else of all.
fn bins(
    owner: &Service,
    signal: &Signal,
    track: usize,
    each: &Evidence,
    from: Minute,
    upto: Minute,
    replaced: bool,
) -> Vec<Bin> {
    let mut bins = Vec::new();
    for (place, _) in owner.instances.iter().enumerate().filter(|(_, i)| each.instances.iter().any(|n| **n == *i.name))
    {
        owner.bins_of(signal, track, place as u32, from, upto, |bin| bins.push(bin));
    }
    if bins.is_empty() && (replaced || each.instances.is_empty()) {
        bins.extend(signal.tracks[track].total.between(from, upto + 1));
    }
    bins
}
