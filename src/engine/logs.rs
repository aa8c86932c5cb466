//! Log lines: which kinds of lines each service writes, and which of them a deployment brought, multiplied or stopped.
//!
//! Every line is masked, finds its template, and is counted in the journal of its service. A watch asks for evidence;
//! it comes in the same terms as that of metrics. This file keeps the order of the rooms and the limit on all
//! templates together; it judges nothing itself.

pub mod exposure;
pub mod journal;
pub mod judge;
pub mod mask;
pub mod miner;
mod pattern;
pub mod template;
pub mod trace;

use super::effect::{Evidence, LogEvidence};
use super::elsewhere::Elsewhere;
use super::event::{Deployment, LogLine};
use super::policy::Policy;
use super::service::Service;
use super::shared::Shared;
use super::time::Time;
use super::window::{Minute, start_of};
use journal::Journal;
pub use journal::Told;
use judge::Look;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use template::Template;

/// Templates of all services together: up to 2 KB each, 100 MB.
pub const TEMPLATES: usize = 50_000;

/// Distinct masked lines of all services together: about 120 bytes each, 25 MB.
const FORMS: usize = 4 * TEMPLATES;

/// A kind of line that has been silent for so many of its usual gaps is gone, but no sooner and no later than after so
/// many minutes.
const GAPS: f64 = 10.0;
const QUIET: (f64, f64) = (5.0, 15.0);

/// What the lines are asked about: a deployment of the service at this place in the fleet.
pub struct Inquiry<'a> {
    pub policy: &'a Policy,
    /// Services that are not in this fleet.
    pub elsewhere: &'a Elsewhere,
    pub place: usize,
    pub service: &'a Service,
    pub deployment: &'a Deployment,
    pub now: Time,
}

/// The journals, by the place of their service in the fleet.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Logs {
    #[serde(skip)]
    journals: Shared<Journal>,
    /// Templates of all services.
    templates: usize,
    /// Distinct masked lines of all services.
    forms: usize,
    /// Lines that found no room.
    homeless: u64,
}

impl Logs {
    /// Counts a line of the service at this place in the fleet.
    pub fn take(&mut self, policy: &Policy, service: usize, line: &LogLine) -> Told {
        let room = self.templates < TEMPLATES && self.forms < FORMS;
        let journal = self.journal(service, &line.origin.env);
        let (before, forms) = (journal.miner.len(), journal.miner.forms());
        let told = journal.take(line, room, policy.privacy);
        let (after, forms_after) = (journal.miner.len(), journal.miner.forms());
        self.templates = self.templates + after - before;
        self.forms = self.forms + forms_after - forms;
        self.homeless += u64::from(told == Told::Homeless);
        told
    }

    /// A deployment of the service at this place is watched from here on.
    pub fn open(&mut self, service: usize, deployment: &Deployment) {
        self.journal(service, &deployment.env).open(deployment);
    }

    pub fn close(&mut self, service: usize, regression: bool) {
        if let Some(journal) = self.journals.get_mut(service) {
            journal.close(regression);
        }
    }

    /// What the service's lines say about the deployment under watch, strongest first.
    pub fn evidence(&self, inquiry: &Inquiry) -> Vec<Evidence> {
        self.look(inquiry).map(|look| look.evidence()).unwrap_or_default()
    }

    /// Whether an increase of a severity as a whole is more than there was more to write about. True where that can't
    /// be told, and of everything that is no log severity.
    pub fn confirms(&self, inquiry: &Inquiry, evidence: &Evidence) -> bool {
        let errors = evidence.signal.starts_with("logs.error");
        if !(errors || evidence.signal.starts_with("logs.warn")) {
            return true;
        }
        self.look(inquiry).is_none_or(|look| look.is_louder(errors))
    }

    fn look<'a>(&'a self, inquiry: &'a Inquiry) -> Option<Look<'a>> {
        let journal = self.journals.get(inquiry.place)?;
        let peers = self.journals.iter().enumerate().filter(|(each, _)| *each != inquiry.place);
        let peers = peers.map(|(_, peer)| peer).filter(|peer| peer.env == journal.env && peer.is_witness()).collect();
        Look::new(inquiry, journal, peers)
    }

    /// How many of an environment's unchanged services that write have written a kind of line only since then.
    pub fn written(&self, env: &str, template: u64, since: Time) -> (u32, u32) {
        let peers = self.journals.iter().filter(|peer| &*peer.env == env && peer.is_witness());
        let shows = |peer: &Journal| judge::shows(peer, template, since);
        peers.fold((0, 0), |(yes, of), peer| (yes + u32::from(shows(peer)), of + 1))
    }

    /// Whether a kind of line that was evidence is no longer written: for long enough, by how often it was. Only
    /// minutes from `since` up to and including `upto` count; none while they are too few.
    pub fn is_gone(&self, service: usize, told: &LogEvidence, since: Minute, upto: Minute) -> Option<bool> {
        let first = told.first?;
        let ours = |each: &&Template| format!("{:016x}", each.id) == told.template_id;
        // One that was forgotten was silent for days.
        let last = self.templates(service).find(ours).map_or(Time::MIN, |template| template.last);
        let often = (last.max(first) - first).as_minutes() / told.after.max(1) as f64;
        let long = (GAPS * often).ceil().clamp(QUIET.0, QUIET.1) as Minute;
        let from = upto.saturating_sub(long) + 1;
        (from >= since).then(|| last < start_of(from))
    }

    /// Whether lines of the service found no room since the deployment.
    pub fn has_overflowed(&self, service: usize, since: Time) -> bool {
        self.journals.get(service).and_then(|journal| journal.homeless_at).is_some_and(|at| at >= since)
    }

    /// The templates of a service.
    pub fn templates(&self, service: usize) -> impl Iterator<Item = &Template> {
        self.journals.get(service).into_iter().flat_map(|journal| journal.miner.templates())
    }

    /// Templates of all services.
    pub fn len(&self) -> usize {
        self.templates
    }

    pub fn is_empty(&self) -> bool {
        self.templates == 0
    }

    /// Lines that found no room, since the state was created.
    pub fn homeless(&self) -> u64 {
        self.homeless
    }

    /// Whether the journal of the service at this place was changed since it was last lent.
    pub fn is_changed(&self, service: usize) -> bool {
        self.journals.is_changed(service)
    }

    pub fn lend(&mut self, service: usize) -> Option<Arc<Journal>> {
        self.journals.lend(service)
    }

    /// The journals of all services, in their places, as they were lent.
    pub fn restore(&mut self, journals: Vec<Option<Journal>>) {
        let many = journals.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        self.journals = Shared::restored(journals.into_iter().take(many).map(Option::unwrap_or_default));
    }

    fn journal(&mut self, service: usize, env: &str) -> &mut Journal {
        self.journals.extend_to(service + 1);
        let journal = &mut self.journals[service];
        if &*journal.env != env {
            journal.env = env.into();
        }
        journal
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::event::{Origin, Severity};

    fn line(at: i64, message: &str) -> LogLine<'_> {
        let origin = Origin { service: "checkout".into(), env: "prod".into(), version: None, instance: None };
        LogLine { at: Time(at), origin, severity: Severity::Error, message: message.into(), labels: Vec::new() }
    }

    #[test]
    fn adversarial_lines_stay_under_the_limits() {
        let mut logs = Logs::default();
        let policy = Policy::default();
        let long = "payload ".repeat(130_000);
        for n in 0..50_000_u32 {
            let word: String =
                (0..8).map(|at| char::from(b'g' + (n.wrapping_mul(2_654_435_761) >> (at * 4) & 15) as u8)).collect();
            let message = match n % 5 {
                0 => format!("{word}: {}", ".".repeat((n % 191) as usize)),
                1 => format!("unable to {word} the {word} of {word} with {n} more"),
                2 => format!("{}\u{0}\u{fffd}{word}\u{7}", "\u{1b}[31m"),
                3 => format!("{word}Exception: {word}\n\tat {word}.{word}({word}.java:1)"),
                _ => format!("{}{word}", &long[..if n % 500 == 4 { long.len() } else { 100 }]),
            };
            logs.take(&policy, 0, &line(1_790_000_000_000 + i64::from(n), &message));
        }
        let bytes = postcard::to_allocvec(&logs.journals).expect("serialises").len();
        assert!(logs.len() <= miner::TEMPLATES && bytes < 4 << 20, "{} templates, {bytes} bytes", logs.len());
        assert!(logs.homeless() > 10_000, "{}", logs.homeless());
        assert!(logs.has_overflowed(0, Time(1_790_000_000_000)));
    }

    #[test]
    fn a_restart_changes_nothing() {
        let (mut logs, policy) = (Logs::default(), Policy::default());
        let lines: Vec<String> = (0..60).map(|n| format!("order {n} of {} lost", ["a", "bc", "def"][n % 3])).collect();
        for (at, message) in lines.iter().enumerate() {
            logs.take(&policy, 0, &line(at as i64, message));
            let lent = logs.lend(0);
            let bytes = postcard::to_allocvec(&(&logs, lent)).expect("serialises");
            let journal: Option<Journal>;
            (logs, journal) = postcard::from_bytes(&bytes).expect("deserialises");
            logs.restore(vec![journal]);
        }
        let mut straight = Logs::default();
        lines.iter().enumerate().for_each(|(at, message)| {
            straight.take(&policy, 0, &line(at as i64, message));
        });
        assert!(logs.templates(0).eq(straight.templates(0)));
    }
}
