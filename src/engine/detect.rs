//! What the evidence is: every signal of a service under watch, by the strongest comparison at hand.
//!
//! Order: who carries the change; then for each track new against old where both run, else after against expected with
//! unchanged peers as a control, each instance against its peers, rare events where there were none, and silence. All
//! of it is measured in one currency: how often so much would be seen by chance in a whole watch over all the signals
//! that are looked at (a union bound, which holds under any dependence). What follows from it is the verdict's affair.

pub mod after;
pub mod arms;
pub mod bursts;
pub mod load;
pub mod onset;
pub mod peers;
pub mod present;
pub mod rare;
pub mod recovery;
pub mod silence;
pub mod steps;

use super::adjusted::by_traffic;
use super::baseline::{HORIZONS, Sides};
use super::character::{Character, Class, character};
use super::effect::{Coverage, Direction, Evidence, Lack, Method};
use super::elsewhere::Elsewhere;
use super::event::Deployment;
use super::fleet::Fleet;
use super::policy::Policy;
use super::service::{Instance, Service};
use super::signal::{Nature, Signal};
use super::traffic;
use super::window::{Minute, minute_of, start_of};
use arms::Arms;
use peers::Shared;
use present::Present;

/// One look at a watch: what is judged and from when to when.
pub struct Look<'a> {
    pub fleet: &'a Fleet,
    pub policy: &'a Policy,
    pub service: &'a Service,
    pub deployment: &'a Deployment,
    /// The first minute that lies wholly after the change.
    pub start: Minute,
    /// The first minute in which starting up no longer excuses anything.
    pub settled: Minute,
    /// The last minute that is complete.
    pub upto: Minute,
    /// Minutes a watch lasts.
    pub length: Minute,
    pub arms: Arms,
    /// Tracks and sides judged: the union bound's share.
    pub judged: f64,
    /// The chance of a false alarm that this watch may run.
    pub level: f64,
    pub others: Others<'a>,
}

/// What is known of other services.
#[derive(Clone, Copy)]
pub struct Others<'a> {
    /// Of those that are not in this fleet.
    pub elsewhere: &'a Elsewhere,
    /// What peers have shared so far.
    pub shared: &'a [Shared],
}

/// A deviation, before it is put into words.
#[derive(Clone, Debug)]
pub struct Finding {
    pub signal: usize,
    pub track: usize,
    pub method: Method,
    pub direction: Direction,
    pub baseline: f64,
    pub current: f64,
    /// Relative, as `min_change` means it; positive.
    pub change: f64,
    /// How far its window lies outside of what was expected, on the track's scale; zero where it is no single window.
    pub size: f64,
    /// Bursts that it is made of; zero where it is no such thing.
    pub bursts: u32,
    /// log10 of the chance of so much in one look.
    pub log10_p: f64,
    /// Looks of this kind in a whole watch.
    pub looks: f64,
    pub samples_baseline: u64,
    pub samples_current: u64,
    pub instances: Vec<u32>,
    pub onset: Minute,
    pub present: Present,
}

/// What windows of each length tell, all tracks and sides together: the sum of the reciprocals of their chances.
pub type ByHorizon = [f64; HORIZONS.len()];

#[derive(Default)]
pub struct Findings {
    pub evidence: Vec<Evidence>,
    pub coverage: Vec<Coverage>,
    pub by_horizon: ByHorizon,
    /// What peers shared at this look.
    pub shared: Vec<Shared>,
}

impl Findings {
    /// Takes in evidence of another kind, in its place by strength.
    pub fn add(&mut self, more: Vec<Evidence>) {
        self.evidence.extend(more);
        self.evidence.sort_by(|a, b| b.strength.total_cmp(&a.strength));
    }
}

/// A bin that divides by more than this divides by what was counted.
pub const COUNTED: f64 = 1.5;

/// Minutes after the change up to which one is as likely as another to show what it broke.
const HASTE: f64 = 10.0;
/// Minutes after a process began in which starting up excuses much.
pub const SETTLING: Minute = 2;
/// An instance that began twice within so many minutes crashes rather than rolls out: that excuses nothing.
const CRASHING: Minute = 60;

pub fn look(
    fleet: &Fleet,
    policy: &Policy,
    place: usize,
    deployment: &Deployment,
    level: f64,
    upto: Minute,
    others: Others,
) -> Findings {
    let service = &fleet.services[place];
    let start = minute_of(deployment.at) + 1;
    let length = (policy.watch.duration.0 / 60_000).max(1) as Minute;
    let arms = Arms::of(service, deployment, start, upto);
    let settled = settled(service, start);
    let mut look =
        Look { fleet, policy, service, deployment, start, settled, upto, length, arms, judged: 0.0, level, others };
    look.judged = judged(&look);
    let Findings { mut evidence, mut coverage, mut by_horizon, mut shared } = Findings::default();
    for (place, signal) in service.signals.iter().enumerate() {
        let character = character(policy, &signal.metric, signal.class);
        for track in 0..signal.tracks.len() {
            let judged = judge(&look, place, track, &character);
            shared.extend(judged.shared);
            let worded = judged.found.and_then(|finding| look.put_into_words(finding, &character));
            if worded.is_some() && signal.nature != Nature::Events {
                by_horizon.iter_mut().zip(judged.by_horizon).for_each(|(sum, told)| *sum += told / look.judged);
            }
            evidence.extend(worded);
            coverage.push(judged.seen);
        }
    }
    evidence.extend(silence::silence(&look).into_iter().map(|finding| look.word_silence(finding)));
    evidence.sort_by(|a, b| b.strength.total_cmp(&a.strength));
    Findings { evidence, coverage, by_horizon, shared }
}

/// What is known of one track.
struct Judged {
    /// The strongest finding.
    found: Option<Finding>,
    /// What the comparison that led to it tells at each horizon.
    by_horizon: ByHorizon,
    seen: Coverage,
    /// A move that peers share, which is therefore no finding.
    shared: Option<Shared>,
}

impl Judged {
    fn take(&mut self, finding: Option<Finding>, by_horizon: ByHorizon, character: &Character) {
        if let Some(finding) = finding
            && self.found.as_ref().is_none_or(|best| finding.outweighs(best, character))
        {
            (self.found, self.by_horizon) = (Some(finding), by_horizon);
        }
    }
}

/// The strongest finding about one track, and what could have been seen.
fn judge(look: &Look, place: usize, track: usize, character: &Character) -> Judged {
    let signal = &look.service.signals[place];
    let seen = Coverage { signal: signal.title(track), smallest_change: None, lack: None };
    let mut judged = Judged { found: None, by_horizon: ByHorizon::default(), seen, shared: None };
    if signal.is_derived() {
        return judge_derived(look, place, character, judged);
    }
    let compared = arms::new_against_old(look, place, track, character);
    let side_by_side = compared.as_ref().is_some_and(|compared| compared.enough);
    match compared {
        Some(compared) => {
            judged.seen.smallest_change = compared.smallest_change;
            judged.take(compared.finding, compared.by_horizon, character);
        }
        None => judged.seen.lack = Some(Lack::NoSamplesFromNewVersion),
    }
    if !side_by_side {
        let alone = after::after_against_expected(look, place, track, character);
        judged.seen.lack = alone.lack;
        judged.seen.smallest_change = alone.smallest_change.or(judged.seen.smallest_change);
        // Peers are asked last, and only of what could be told: there may be many of them.
        let mut shared = None;
        let mut own = |finding: &Finding| {
            let is_own = look.strength(finding) > 0.0 && !load::explains(look, finding, character);
            let is_shared = is_own && peers::share(look, finding, signal);
            if is_shared {
                shared = Some(Shared::new(finding));
            }
            is_own && !is_shared
        };
        judged.take(alone.finding.filter(&mut own), alone.by_horizon, character);
        let rare = rare::rare_events(look, place, track, character).filter(&mut own);
        let bursts = bursts::bursts(look, place, track, character).filter(&mut own);
        judged.take(bursts, ByHorizon::default(), character);
        judged.shared = shared;
        judged.take(rare, ByHorizon::default(), character);
        judged.take(arms::one_against_peers(look, place, track, character), ByHorizon::default(), character);
    }
    judged
}

/// A signal that was worked out of others. Peers are asked about what it is made of: what they have of their own that
/// is adjusted reaches only as far as they have learned.
fn judge_derived(look: &Look, place: usize, character: &Character, mut judged: Judged) -> Judged {
    let signal = &look.service.signals[place];
    let alone = after::after_against_expected(look, place, 0, character);
    (judged.seen.lack, judged.seen.smallest_change) = (alone.lack, alone.smallest_change);
    let (own, base) = match signal.nature {
        Nature::AdjustedUse => (true, by_traffic::base_of(look.service, place)),
        _ => {
            let fell = alone.finding.as_ref().is_some_and(|finding| load::fell(look, finding, character));
            (fell, traffic::leading(look.service).map(|place| &look.service.signals[place]))
        }
    };
    let found = alone.finding.filter(|finding| own && look.strength(finding) > 0.0);
    let is_shared = |finding: &&Finding| peers::share(look, finding, base.unwrap_or(signal));
    judged.shared = found.as_ref().filter(is_shared).map(Shared::new);
    judged.take(found.filter(|_| judged.shared.is_none()), alone.by_horizon, character);
    judged
}

/// Counted from the last start of an instance that a roll-out or a promotion explains.
fn settled(service: &Service, start: Minute) -> Minute {
    let explained = |each: &&Instance| {
        let crashes = each.started_before >= start - 2 && each.started - each.started_before <= CRASHING;
        each.started >= start - 2 && !crashes
    };
    let last = service.instances.iter().filter(explained).map(|each| each.started).max();
    last.map_or(start, |began| start.max(began + 1)) + SETTLING
}

/// How many (track, side) pairs this look judges.
fn judged(look: &Look) -> f64 {
    let mut count = 0.0;
    for signal in &look.service.signals {
        let character = character(look.policy, &signal.metric, signal.class);
        for track in &signal.tracks {
            let sides = Sides::of(character.worse, track.baseline.scale());
            count += f64::from(u8::from(sides.up) + u8::from(sides.down));
        }
    }
    count.max(1.0)
}

impl Finding {
    /// Surprise before the union over signals: larger is more.
    pub fn surprise(&self) -> f64 {
        -(self.log10_p + self.looks.log10())
    }

    /// Minutes of the window that it was found in, as far as the longest horizon reaches.
    pub fn width(&self) -> u32 {
        self.samples_current.min(HORIZONS[HORIZONS.len() - 1].0 as u64) as u32
    }

    /// Whether to tell it rather than another one: what is large enough to matter comes first, then surprise.
    fn outweighs(&self, other: &Finding, character: &Character) -> bool {
        let rank = |finding: &Finding| (finding.change >= character.min_change, finding.surprise());
        rank(self) > rank(other)
    }

    /// The reciprocal of its chance, if it is large enough to matter.
    fn weight(&self, character: &Character) -> f64 {
        let tells = self.change >= character.min_change && self.surprise() > 0.0;
        if tells { 10f64.powf(self.surprise().min(100.0)) } else { 0.0 }
    }
}

impl Look<'_> {
    /// By how many looks of a horizon the level is shared, at this moment of the watch, over all horizons.
    ///
    /// What a deployment breaks mostly breaks soon. So the level is not spent evenly but in proportion to
    /// 1 / (minutes since the change + `HASTE`), which sums to the same over a watch (Lan and DeMets, "Discrete
    /// sequential boundaries for clinical trials", Biometrika 1983); windows that overlap count for one look.
    pub fn looks(&self, horizon: usize) -> f64 {
        let width = HORIZONS[horizon].0 as f64;
        let (now, end) = (f64::from(self.upto - self.start + 1) + HASTE, f64::from(self.length) + HASTE);
        (now / width * (end / (width + HASTE)).max(1.0).ln()).max(1.0) * HORIZONS.len() as f64
    }

    /// Looks that are as good as independent where all minutes since the change are counted together: one a doubling.
    pub fn looks_at_all(&self) -> f64 {
        f64::from(self.length).max(2.0).log2() + 1.0
    }

    /// Surprise after the union over signals; not above zero, it is none.
    fn strength(&self, finding: &Finding) -> f64 {
        finding.surprise() - self.judged.log10()
    }

    /// None where it is too small to matter.
    fn put_into_words(&self, finding: Finding, character: &Character) -> Option<Evidence> {
        let signal = &self.service.signals[finding.signal];
        if finding.change < character.min_change {
            return None;
        }
        let strength = self.strength(&finding);
        let weighty = character.critical || users_feel(character.class);
        (strength > 0.0).then(|| self.evidence(signal, finding, strength, weighty))
    }

    fn word_silence(&self, finding: Finding) -> Evidence {
        let strength = -finding.log10_p;
        self.evidence(&self.service.signals[finding.signal], finding, strength, true)
    }

    fn evidence(&self, signal: &Signal, finding: Finding, strength: f64, weighty: bool) -> Evidence {
        let names = finding.instances.iter().filter_map(|&place| self.service.instances.get(place as usize));
        Evidence {
            signal: signal.title(finding.track),
            direction: finding.direction,
            baseline: finding.baseline,
            current: finding.present.value,
            interval: finding.present.range.less(finding.baseline),
            onset: start_of(finding.onset).max(self.deployment.at),
            strength,
            samples_baseline: finding.samples_baseline,
            samples_current: finding.present.samples,
            method: finding.method,
            weighty,
            unit: signal.unit_of(finding.track).map(str::to_string),
            instances: names.filter(|each| !each.name.is_empty()).take(10).map(|each| each.name.to_string()).collect(),
            log: None,
        }
    }
}

/// Whether users feel it when this signal gets worse.
pub fn users_feel(class: Class) -> bool {
    matches!(class, Class::Errors | Class::Success | Class::Latency | Class::Traffic)
}

/// The direction in the signal's own unit of a move on its scale.
pub fn direction(mirrored: bool, up: bool) -> Direction {
    if up != mirrored { Direction::Increase } else { Direction::Decrease }
}
