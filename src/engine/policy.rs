//! What people decided in advance: the engine's settings, already checked and in the engine's own terms.
//!
//! The policy is passed into every `step` and never kept in the state, so that a reload is just another input. How it
//! is written in a file is the shell's affair.

use super::effect::Automation;
use super::event::{Deployment, WindowKind};
use super::time::{Span, Time};
use std::fmt;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Stands in every decision; two policies that differ have different hashes.
    pub hash: Arc<str>,
    pub watch: WatchPolicy,
    /// First match wins; a metric with no match gets a default from its name and unit.
    pub signals: Vec<SignalRule>,
    pub detection: DetectionPolicy,
    /// First match wins; no match means `advise`.
    pub automation: Vec<AutomationRule>,
    /// First match wins; no match means that anybody may approve, and one is enough.
    pub approvals: Vec<ApprovalRule>,
    /// First match wins; a deployment that names its team needs no rule.
    pub teams: Vec<TeamRule>,
    pub windows: Vec<RecurringWindow>,
    pub gate: GatePolicy,
    pub privacy: Privacy,
    pub limits: Limits,
    /// How often the heartbeat is told.
    pub heartbeat: Span,
    pub accuracy: AccuracyPolicy,
    pub earning: EarningPolicy,
}

/// How we measure how often we are right.
#[derive(Clone, Debug, PartialEq)]
pub struct AccuracyPolicy {
    /// How often the report is told.
    pub every: Span,
    /// How far back deployments count.
    pub over: Span,
}

/// How levels of automation are earned and lost.
#[derive(Clone, Debug, PartialEq)]
pub struct EarningPolicy {
    /// False: levels are what the configuration and people say, whatever is measured.
    pub enabled: bool,
    pub advise: Bar,
    pub recommend: Bar,
}

/// What a level asks of the calls that were labelled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bar {
    /// So many of them.
    pub sample: u64,
    /// The lower bound of the interval of precision, in (0, 1].
    pub precision: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct WatchPolicy {
    /// How long a deployment is watched.
    pub duration: Span,
    /// How late a sample may come and still count.
    pub lateness: Span,
    /// How far a producer's clock may run ahead of the log's.
    pub ahead: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SignalRule {
    pub metric: Glob,
    pub worse: Worse,
    /// The smallest relative change that matters; `None` takes the default of the signal's kind.
    pub min_change: Option<f64>,
    /// Alone enough to recommend a rollback.
    pub critical: bool,
}

/// Which way a signal must move to be worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worse {
    Increase,
    Decrease,
    Either,
}

#[derive(Clone, Debug, PartialEq)]
pub struct DetectionPolicy {
    /// The share of watches over harmless deployments that may raise a false alarm, in (0, 0.5].
    pub false_alarm_rate: f64,
    /// False alarms that the whole fleet may raise in a week, over harmless deployments; above 0.
    pub false_alarms_per_week: f64,
    /// The least history a signal needs before its own past is a yardstick.
    pub min_history: Span,
    /// How many times the change that matters several releases may add up to before it is a regression.
    pub steps_budget: f64,
}

/// A union bound over windows that overlap and signals that move together keeps more than it promises: of simulated
/// watches over harmless deployments about half as many raise an alarm as their level says (`benches/aa`). So a watch's
/// level is this many times its budget.
const SPARE: f64 = 1.6;
/// Of a service that is deployed a hundred times a week, and so learns little between, more watches raise one than
/// their level says; the fleet's level is this many times its budget's share.
const FLEET: f64 = 0.65;

impl DetectionPolicy {
    /// The chance of a false alarm that one watch may run where so many are opened in a week: the tighter of the two
    /// budgets binds. By a union bound the fleet's holds whatever the watches have in common.
    pub fn level(&self, weekly: f64) -> f64 {
        (SPARE * self.false_alarm_rate).min(FLEET * self.false_alarms_per_week / weekly.max(1.0))
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct AutomationRule {
    pub service: Glob,
    pub env: Glob,
    pub level: Automation,
    /// Who may change the level by a control message; empty means anybody.
    pub by: Vec<Glob>,
}

/// Who approves a rollback, how many of them, how soon, and who is turned to if they don't.
#[derive(Clone, Debug, PartialEq)]
pub struct ApprovalRule {
    pub service: Glob,
    pub env: Glob,
    /// Who may decide; empty means anybody.
    pub by: Vec<Glob>,
    /// How many must approve; 0 means that a rollback needs no approval.
    pub required: u32,
    /// How long they have.
    pub within: Span,
    pub escalate_to: Option<Arc<str>>,
}

/// Whose a service is.
#[derive(Clone, Debug, PartialEq)]
pub struct TeamRule {
    pub service: Glob,
    pub env: Glob,
    pub team: Arc<str>,
}

/// A window that comes again and again.
#[derive(Clone, Debug)]
pub struct RecurringWindow {
    pub kind: WindowKind,
    pub service: Glob,
    pub env: Glob,
    pub calendar: Arc<dyn Calendar>,
}

/// When something holds again and again: a pure function of time, from whoever knows cron and time zones.
pub trait Calendar: fmt::Debug + Send + Sync {
    /// The first occurrence `[from, to)` that ends after `at`; none where none is to come.
    fn next(&self, at: Time) -> Option<(Time, Time)>;

    /// All that it is made from: two calendars of the same text give the same answers.
    fn text(&self) -> &str;
}

impl PartialEq for RecurringWindow {
    fn eq(&self, other: &RecurringWindow) -> bool {
        let plain = |window: &RecurringWindow| (window.kind, window.service.clone(), window.env.clone());
        plain(self) == plain(other) && self.calendar.text() == other.calendar.text()
    }
}

impl RecurringWindow {
    /// Whether it holds for a deployment's service at some moment of `[since, now]`.
    pub fn holds(&self, kind: WindowKind, deployment: &Deployment, since: Time, now: Time) -> bool {
        let fits = self.kind == kind && self.env.matches(&deployment.env) && self.service.matches(&deployment.service);
        fits && self.calendar.next(since).is_some_and(|(from, _)| from <= now)
    }
}

/// What a doubt about going back leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caution {
    /// It is told beside the rollback.
    Name,
    /// It turns the rollback down: a person decides.
    Escalate,
}

#[derive(Clone, Debug, PartialEq)]
pub struct GatePolicy {
    /// After a recommendation, how long the same service and environment stays quiet.
    pub cooldown: Span,
    pub service_limit: RateLimit,
    /// For each team.
    pub team_limit: RateLimit,
    /// For each environment.
    pub env_limit: RateLimit,
    pub fleet_limit: RateLimit,
    /// How long a recommendation stands before it expires.
    pub expires: Span,
    /// The least time between two messages that update one recommendation.
    pub update_every: Span,
    /// So many regressions in one environment within so long are a storm: one speaks for all.
    pub storm_size: usize,
    pub storm_window: Span,
    /// Two versions that take turns within this time are flapping.
    pub flapping: Span,
    /// Other services of the environment were deployed since.
    pub deployed_since: Caution,
    /// A setting of the same service was changed since.
    pub changed_since: Caution,
    /// More and more instances take the version right now.
    pub rolling_out: Caution,
}

/// A token bucket: `burst` at once, refilled at `per_hour`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateLimit {
    pub burst: u32,
    pub per_hour: f64,
}

/// What is masked beyond secrets and personal data, which always are in what is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Privacy {
    /// Mask addresses of machines in example lines too.
    pub mask_addresses: bool,
    /// Mask secrets and personal data in dead letters of log topics.
    pub mask_dead_letters: bool,
}

/// Ceilings; what each costs in memory stands in ARCHITECTURE.md.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// (environment, service) pairs.
    pub services: usize,
    /// Signals (metric and labels, without instance and version) over all services.
    pub signals: usize,
    /// Series (a signal on one instance) over all services.
    pub series: usize,
    /// Watches open at the same time.
    pub watches: usize,
    /// Freeze, mute and context windows.
    pub windows: usize,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            hash: "default".into(),
            watch: WatchPolicy { duration: Span::HOUR, lateness: Span::minutes(5), ahead: Span::minutes(5) },
            signals: Vec::new(),
            detection: DetectionPolicy {
                false_alarm_rate: 0.005,
                false_alarms_per_week: 1.0,
                min_history: Span::minutes(15),
                steps_budget: 1.5,
            },
            automation: Vec::new(),
            approvals: Vec::new(),
            teams: Vec::new(),
            windows: Vec::new(),
            gate: GatePolicy {
                cooldown: Span::minutes(30),
                service_limit: RateLimit { burst: 2, per_hour: 1.0 },
                team_limit: RateLimit { burst: 10, per_hour: 10.0 },
                env_limit: RateLimit { burst: 10, per_hour: 10.0 },
                fleet_limit: RateLimit { burst: 10, per_hour: 10.0 },
                expires: Span::HOUR,
                update_every: Span::minutes(10),
                storm_size: 8,
                storm_window: Span::minutes(10),
                flapping: Span(6 * Span::HOUR.0),
                deployed_since: Caution::Name,
                changed_since: Caution::Escalate,
                rolling_out: Caution::Name,
            },
            privacy: Privacy { mask_addresses: false, mask_dead_letters: true },
            limits: Limits { services: 10_000, signals: 50_000, series: 200_000, watches: 1_000, windows: 1_000 },
            heartbeat: Span::minutes(5),
            accuracy: AccuracyPolicy { every: Span::DAY, over: Span(90 * Span::DAY.0) },
            earning: EarningPolicy {
                enabled: true,
                advise: Bar { sample: 10, precision: 0.3 },
                recommend: Bar { sample: 20, precision: 0.6 },
            },
        }
    }
}

impl Policy {
    /// The rule that holds there: the first that matches, or `advise` for everybody.
    pub fn automation(&self, env: &str, service: &str) -> AutomationRule {
        let rule = self.automation.iter().find(|rule| rule.env.matches(env) && rule.service.matches(service));
        rule.cloned().unwrap_or_default()
    }

    pub fn approval(&self, env: &str, service: &str) -> ApprovalRule {
        let rule = self.approvals.iter().find(|rule| rule.env.matches(env) && rule.service.matches(service));
        rule.cloned().unwrap_or_default()
    }

    /// Whose a deployment is: as its producer said, else as the rules say.
    pub fn team<'a>(&'a self, deployment: &'a Deployment) -> Option<&'a Arc<str>> {
        let rules = || {
            let fits =
                |rule: &&TeamRule| rule.env.matches(&deployment.env) && rule.service.matches(&deployment.service);
            self.teams.iter().find(fits).map(|rule| &rule.team)
        };
        deployment.team.as_ref().or_else(rules)
    }
}

impl Default for AutomationRule {
    fn default() -> AutomationRule {
        let any = || Glob("*".into());
        AutomationRule { service: any(), env: any(), level: Automation::Advise, by: Vec::new() }
    }
}

impl AutomationRule {
    pub fn entitles(&self, by: &str) -> bool {
        self.by.is_empty() || self.by.iter().any(|who| who.matches(by))
    }
}

impl EarningPolicy {
    /// What a level asks for; `shadow` asks for nothing.
    pub fn bar(&self, level: Automation) -> Option<Bar> {
        match level {
            Automation::Shadow => None,
            Automation::Advise => Some(self.advise),
            Automation::Recommend => Some(self.recommend),
        }
    }
}

impl Default for ApprovalRule {
    fn default() -> ApprovalRule {
        let any = || Glob("*".into());
        let within = Span::minutes(30);
        ApprovalRule { service: any(), env: any(), by: Vec::new(), required: 1, within, escalate_to: None }
    }
}

impl ApprovalRule {
    pub fn entitles(&self, by: &str) -> bool {
        self.by.is_empty() || self.by.iter().any(|who| who.matches(by))
    }
}

/// A pattern over a whole name: `*` stands for any run of characters, `?` for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(pub Arc<str>);

impl Glob {
    pub fn matches(&self, text: &str) -> bool {
        let (pattern, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut p, mut t, mut star) = (0, 0, None);
        while t < text.len() {
            match pattern.get(p) {
                Some(b'*') => {
                    star = Some((p, t));
                    p += 1;
                }
                Some(&byte) if byte == b'?' || byte == text[t] => {
                    p += 1;
                    t += 1;
                }
                _ => {
                    // Let the last star take one byte more and try again from there.
                    let Some((star_p, star_t)) = star else { return false };
                    star = Some((star_p, star_t + 1));
                    p = star_p + 1;
                    t = star_t + 1;
                }
            }
        }
        pattern[p..].iter().all(|&byte| byte == b'*')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("http.server.*", "http.server.errors", true),
            ("http.server.*", "http.client.errors", false),
            ("*success_ratio", "client_success_ratio", true),
            ("a*b*c", "a-b-b-c", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("kpi", "kpi2", false),
        ] {
            assert_eq!(Glob(pattern.into()).matches(text), expected, "{pattern} on {text}");
        }
    }
}
