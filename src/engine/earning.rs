//! How far the daemon may go, and whether it has earned that: shadow, advise, recommend, for each rule of automation.
//!
//! A level has a bar: so many labelled calls, and so high a lower bound of their precision. Below it the scope is
//! demoted at once, by itself. Rising is offered once, and is a person's to take; so is going back up after a demotion.
//! Cases are counted and evidence is judged elsewhere; here only levels move.

mod bars;

use super::accuracy::{Cases, Labelled};
use super::effect::{Automation, AutomationNews, Change, Grounds, Heard, Rung};
use super::event::{Control, Scope};
use super::policy::{AutomationRule, Policy};
use super::time::Time;
use bars::{Score, is_earned, lost};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A rule's patterns: service and environment.
type Place = (Arc<str>, Arc<str>);

/// Some 200 bytes for each rule of automation, of which there are 1,000 at most; gone with its rule.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Earning {
    standings: BTreeMap<Place, Standing>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Standing {
    configured: Automation,
    /// What somebody decided last, and when they said so.
    decided: Option<(Time, Automation)>,
    demoted: Option<Demotion>,
    offered: Option<Automation>,
    /// Calls up to here count no more: they speak of a level that somebody has decided about since.
    since: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Demotion {
    to: Automation,
    /// The moment of the label that led to it.
    at: Time,
    score: Score,
}

/// The level that holds somewhere, and why.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InForce {
    pub level: Automation,
    pub grounds: Grounds,
}

impl Earning {
    pub fn level(&self, policy: &Policy, env: &str, service: &str) -> InForce {
        let rule = policy.automation(env, service);
        self.standing(&rule).in_force()
    }

    /// Somebody sets a scope's level.
    pub fn hear(
        &mut self,
        policy: &Policy,
        now: Time,
        cases: &Cases,
        control: &Control,
        (scope, level): (&Scope, Automation),
    ) -> (Heard, Vec<AutomationNews>) {
        let Some(rule) = rules(policy).find(|rule| is_named(rule, scope)) else { return (Heard::Unknown, Vec::new()) };
        let by = control.by.clone().unwrap_or_default();
        if !rule.entitles(&by) {
            return (Heard::NotEntitled, Vec::new());
        }
        let mut standing = self.standing(&rule);
        match standing.decided {
            Some((at, known)) if (at, known) == (control.at, level) => return (Heard::Repeated, Vec::new()),
            // Of two at the same moment the one that lets the daemon do less counts.
            Some((at, known)) if at > control.at || (at == control.at && known < level) => {
                return (Heard::AlreadyDecided, Vec::new());
            }
            None if control.at < standing.since => return (Heard::AlreadyDecided, Vec::new()),
            _ => {}
        }
        let from = standing.in_force().level;
        standing.decided = Some((control.at, level));
        standing.since = control.at;
        standing.offered = None;
        standing.demoted = None;
        let decided = news(&rule, now, (Change::Decided, from, level), Some(by), Score::default(), None);
        self.standings.insert(place(&rule), standing);
        let mut all = vec![decided];
        // What was labelled since they spoke counts already.
        all.extend(self.review(policy, now, cases, &rule, true));
        (Heard::Taken, all)
    }

    /// A case has a new label: what that means for its scope.
    pub fn labelled(&mut self, policy: &Policy, now: Time, cases: &Cases, label: &Labelled) -> Vec<AutomationNews> {
        let Some(case) = cases.get(&label.thread) else { return Vec::new() };
        let rule = policy.automation(&case.deployment.env, &case.deployment.service);
        // Words about what led to a demotion may undo it. What happens afterwards may not: a person decides about that.
        let concerns = |demotion: Demotion| label.at <= demotion.at || label.before.is_some_and(|at| at <= demotion.at);
        let again = self.standing(&rule).demoted.is_some_and(concerns);
        self.review(policy, now, cases, &rule, again)
    }

    /// Another configuration: rules that are gone are forgotten, changed levels begin anew, and bars may have moved.
    pub fn configured(&mut self, policy: &Policy, now: Time, cases: &Cases) -> Vec<AutomationNews> {
        let rules: Vec<AutomationRule> = rules(policy).collect();
        let mut kept = BTreeMap::new();
        for rule in &rules {
            match self.standings.remove(&place(rule)) {
                // Whoever turns the measuring off wants the levels as they were set.
                Some(standing) if standing.configured == rule.level && !policy.earning.enabled => {
                    kept.insert(place(rule), Standing { demoted: None, offered: None, ..standing })
                }
                Some(standing) if standing.configured == rule.level => kept.insert(place(rule), standing),
                // Whoever changed the level has decided about what was measured until then.
                Some(_) => kept.insert(place(rule), Standing { since: now, ..Standing::new(rule.level) }),
                None => None,
            };
        }
        self.standings = kept;
        rules.iter().flat_map(|rule| self.review(policy, now, cases, rule, false)).collect()
    }

    /// Where each scope stands that is not where it was configured to be, or has anything labelled.
    pub fn rungs(&self, policy: &Policy, cases: &Cases) -> Vec<Rung> {
        let rung = |rule: AutomationRule| {
            let standing = self.standing(&rule);
            let score = Score::of(&labels(policy, cases, &rule, standing.since));
            let InForce { level, grounds } = standing.in_force();
            let (service, env) = place(&rule);
            let Score { labelled, right } = score;
            Rung { service, env, configured: rule.level, level, grounds, labelled, right, offered: standing.offered }
        };
        rules(policy).map(rung).filter(|rung| rung.labelled > 0 || rung.grounds != Grounds::Configured).collect()
    }

    /// Demotes and offers; `again` also asks whether a demotion still holds.
    fn review(
        &mut self,
        policy: &Policy,
        now: Time,
        cases: &Cases,
        rule: &AutomationRule,
        again: bool,
    ) -> Vec<AutomationNews> {
        if !policy.earning.enabled {
            return Vec::new();
        }
        let mut standing = self.standing(rule);
        let labels = labels(policy, cases, rule, standing.since);
        let from = standing.in_force().level;
        let mut told = Vec::new();
        if standing.demoted.is_none() || again {
            standing.demoted = lost(policy, standing.base(), &labels);
        } else if let Some(demotion) = standing.demoted {
            // What fell once may fall further.
            standing.demoted =
                lost(policy, standing.base(), &labels).filter(|new| new.to < demotion.to).or(Some(demotion));
        }
        let to = standing.in_force().level;
        if to != from {
            let change = if to < from { Change::Demoted } else { Change::Reinstated };
            let score = standing.demoted.map_or(Score::of(&labels), |demotion| demotion.score);
            standing.offered = None;
            told.push(news(rule, now, (change, from, to), None, score, policy.earning.bar(from)));
        }
        told.extend(offer(policy, now, rule, &mut standing, &labels));
        if standing == Standing::new(rule.level) {
            self.standings.remove(&place(rule));
        } else {
            self.standings.insert(place(rule), standing);
        }
        told
    }

    fn standing(&self, rule: &AutomationRule) -> Standing {
        let known = self.standings.get(&place(rule)).filter(|known| known.configured == rule.level);
        known.cloned().unwrap_or_else(|| Standing::new(rule.level))
    }
}

impl Standing {
    fn new(configured: Automation) -> Standing {
        Standing { configured, decided: None, demoted: None, offered: None, since: Time::MIN }
    }

    /// The level but for what was measured.
    fn base(&self) -> Automation {
        self.decided.map_or(self.configured, |(_, level)| level)
    }

    fn in_force(&self) -> InForce {
        match (self.demoted, self.decided) {
            (Some(demotion), _) => InForce { level: demotion.to, grounds: Grounds::Demoted },
            (None, Some((_, level))) => InForce { level, grounds: Grounds::Decided },
            (None, None) => InForce { level: self.configured, grounds: Grounds::Configured },
        }
    }
}

/// The next level, if it is earned and was not offered yet.
fn offer(
    policy: &Policy,
    now: Time,
    rule: &AutomationRule,
    standing: &mut Standing,
    labels: &[(Time, bool)],
) -> Option<AutomationNews> {
    let level = standing.in_force().level;
    let next = Automation::ALL.iter().copied().find(|each| *each > level)?;
    let bar = policy.earning.bar(next)?;
    let after = standing.demoted.map_or(Time::MIN, |demotion| demotion.at);
    let counted: Vec<_> = labels.iter().copied().filter(|(at, _)| *at > after).collect();
    let score = Score::of(&counted);
    if standing.offered.is_some() || !is_earned(bar, score) {
        return None;
    }
    standing.offered = Some(next);
    Some(news(rule, now, (Change::Offered, level, next), None, score, Some(bar)))
}

/// The labels of a scope's calls that count, each with whether it was right, in the order in which they were given.
fn labels(policy: &Policy, cases: &Cases, rule: &AutomationRule, since: Time) -> Vec<(Time, bool)> {
    let mut labels: Vec<_> = cases
        .all()
        .filter_map(|(thread, case)| {
            let (label, called) = (case.label()?, case.called.as_ref()?);
            let about = &case.deployment;
            // The cheap question first: with a thousand rules the other one is dear.
            let ours = rule.env.matches(&about.env) && rule.service.matches(&about.service);
            let ours = ours && place(&policy.automation(&about.env, &about.service)) == place(rule);
            (ours && called.at > since).then_some((label.at, thread, label.harmful))
        })
        .collect();
    labels.sort_unstable();
    labels.into_iter().map(|(at, _, right)| (at, right)).collect()
}

/// Every scope there is: the rules, and everybody else.
fn rules(policy: &Policy) -> impl Iterator<Item = AutomationRule> {
    let rest = AutomationRule::default();
    let rest = (!policy.automation.iter().any(|rule| place(rule) == place(&rest))).then_some(rest);
    policy.automation.iter().cloned().chain(rest)
}

fn place(rule: &AutomationRule) -> Place {
    (rule.service.0.clone(), rule.env.0.clone())
}

fn is_named(rule: &AutomationRule, scope: &Scope) -> bool {
    let named = |pattern: &str, name: Option<&str>| pattern == name.unwrap_or("*");
    named(&rule.service.0, scope.service.as_deref()) && named(&rule.env.0, scope.env.as_deref())
}

fn news(
    rule: &AutomationRule,
    at: Time,
    (change, from, to): (Change, Automation, Automation),
    by: Option<Arc<str>>,
    score: Score,
    bar: Option<super::policy::Bar>,
) -> AutomationNews {
    let (service, env) = place(rule);
    let Score { labelled, right } = score;
    let scope = format!("service {service}, environment {env}");
    let measured = score.in_words();
    let asked = bar.map_or(String::new(), |bar| format!(", where {} % is asked for", 100.0 * bar.precision));
    let summary = match change {
        Change::Demoted => format!("{scope}: lowered from {} to {}: {measured}{asked}", from.word(), to.word()),
        Change::Reinstated => {
            format!("{scope}: back from {} to {}: what had lowered it was taken back", from.word(), to.word())
        }
        Change::Offered => {
            let how = "say so on the control topic to have it";
            format!("{scope}: has earned {}, is at {}: {measured}{asked}; {how}", to.word(), from.word())
        }
        Change::Decided => {
            let who = by.as_deref().unwrap_or_default();
            format!("{scope}: from {} to {}, decided by {who}", from.word(), to.word())
        }
    };
    AutomationNews { at, service, env, change, from, to, by, labelled, right, bar: bar.map(|b| b.precision), summary }
}

#[cfg(test)]
mod tests;
