//! The keys: every setting there is, with its default, its form and its limits, each in one line.
//!
//! `config/regressd.toml` documents them; a test holds the two together. What a form accepts is the form's affair; how
//! mistakes are told is the section's. Only what several keys must agree on is checked here by itself.

use super::form::{self, DIRECTIONS};
use super::rendered::Format;
use super::section::{Render, Section};
use super::windows;
use super::{
    Config, Control, ControlKey, DeadLetters, DeliveryMode, Fleet, GroupProtocol, Http, Kafka, Log, PastDeployments,
    Rekey, State, Topics,
};
use crate::engine::effect::Automation;
use crate::engine::policy::{
    AccuracyPolicy, ApprovalRule, AutomationRule, Bar, Caution, DetectionPolicy, EarningPolicy, GatePolicy, Glob,
    Limits, Policy, Privacy, RateLimit, SignalRule, TeamRule, WatchPolicy,
};
use crate::engine::time::Span;
use crate::shell::{client, tokens};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// Rules are tried in turn for every new signal, so that a thousand cost microseconds each time.
const RULES_MAX: usize = 1_000;
const CAUTIONS: &[(&str, Caution)] = &[("name", Caution::Name), ("escalate", Caution::Escalate)];
/// Each has three Kafka clients where it sits.
const LANES_MAX: u64 = 256;
/// Less than a consumer may take between two polls.
const GIVE_UP: RangeInclusive<Span> = Span(10 * SECOND.0)..=Span::minutes(4);
const SECOND: Span = Span::seconds(1);
const WEEK: Span = Span(7 * Span::DAY.0);

/// Reads every key; mistakes are noted in the section's reading. The rendering and the policy's hash stay empty.
pub fn config(mut root: Section) -> Config {
    let defaults = Config::default();
    let kafka = kafka(root.section("kafka"), defaults.kafka);
    let state = state(root.section("state"), defaults.state, &kafka.topics);
    let config = Config {
        fleet: fleet(root.section("fleet"), defaults.fleet, (&state, kafka.group_protocol)),
        state,
        kafka,
        dead_letters: dead_letters(root.section("dead_letters"), defaults.dead_letters),
        control: control(root.section("control"), defaults.control),
        http: http(root.section("http"), defaults.http),
        log: log(root.section("log"), defaults.log),
        policy: policy(&mut root, defaults.policy),
        rendering: BTreeMap::new(),
    };
    root.done();
    config
}

fn kafka(mut section: Section, defaults: Kafka) -> Kafka {
    let past: &[_] = &[("learn", PastDeployments::Learn), ("judge", PastDeployments::Judge)];
    let delivery: &[_] = &[("at_least_once", DeliveryMode::AtLeastOnce), ("exactly_once", DeliveryMode::ExactlyOnce)];
    let protocols: &[_] = &[("classic", GroupProtocol::Classic), ("consumer", GroupProtocol::Consumer)];
    let group_protocol = section.read("group_protocol", defaults.group_protocol, form::one_of(protocols));
    let kafka = Kafka {
        brokers: section.read("brokers", defaults.brokers, form::brokers),
        group: section.read("group", defaults.group, form::name),
        cluster: section.read("cluster", defaults.cluster, form::name),
        topics: topics(section.section("topics"), defaults.topics),
        delivery: section.read("delivery", defaults.delivery, form::one_of(delivery)),
        group_protocol,
        message_bytes_max: section.read(
            "message_bytes_max",
            defaults.message_bytes_max as u64,
            form::count(1_024..=67_108_864),
        ) as usize,
        past_deployments: section.read("past_deployments", defaults.past_deployments, form::one_of(past)),
        properties: properties(section.section("properties"), group_protocol),
    };
    section.done();
    kafka
}

fn topics(mut section: Section, defaults: Topics) -> Topics {
    let topics = Topics {
        metrics: section.read("metrics", defaults.metrics, form::topics),
        logs: section.read("logs", defaults.logs, form::topics),
        deployments: section.read("deployments", defaults.deployments, form::topics),
        control: section.read("control", defaults.control, form::topics),
        recommendations: section.read("recommendations", defaults.recommendations, form::topic),
        audit: section.read("audit", defaults.audit, form::topic),
        dead_letter: section.read("dead_letter", defaults.dead_letter, form::topic),
        lanes: section.read("lanes", defaults.lanes, form::topic),
        fleet: section.read("fleet", defaults.fleet, form::topic),
    };
    if topics.deployments.is_empty() {
        section.wrong("deployments", "expected at least one topic: without deployments there is nothing to watch");
    }
    if topics.metrics.is_empty() && topics.logs.is_empty() {
        section.wrong("metrics", "expected at least one topic here or in logs; found none");
    }
    let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
    let lists = [
        ("metrics", topics.metrics.as_slice()),
        ("logs", &topics.logs),
        ("deployments", &topics.deployments),
        ("control", &topics.control),
        ("recommendations", std::slice::from_ref(&topics.recommendations)),
        ("audit", std::slice::from_ref(&topics.audit)),
        ("dead_letter", std::slice::from_ref(&topics.dead_letter)),
        ("lanes", std::slice::from_ref(&topics.lanes)),
        ("fleet", std::slice::from_ref(&topics.fleet)),
    ];
    for (key, names) in lists {
        for name in names {
            if let Some(other) = taken.insert(name, key) {
                let what = format!("expected a topic named nowhere else; found {name:?}, which stands in {other} too");
                section.wrong(key, &what);
            }
        }
    }
    section.done();
    topics
}

/// What is handed to librdkafka. What the daemon's promises rest on is not to be had.
fn properties(mut section: Section, protocol: GroupProtocol) -> BTreeMap<String, String> {
    const OWN: [(&str, &str); 11] = [
        ("bootstrap.servers", "set kafka.brokers"),
        ("metadata.broker.list", "set kafka.brokers"),
        ("group.id", "set kafka.group"),
        ("group.protocol", "set kafka.group_protocol"),
        ("enable.auto.commit", "positions are committed with the checkpoints"),
        ("auto.commit.enable", "positions are committed with the checkpoints"),
        ("enable.auto.offset.store", "positions are committed with the checkpoints"),
        ("enable.idempotence", "repeats and reorderings are prevented by it"),
        ("acks", "a recommendation counts as published when all replicas have it"),
        ("transactional.id", "set kafka.delivery; the group's name is used"),
        ("request.required.acks", "a recommendation counts as published when all replicas have it"),
    ];
    for (name, why) in OWN {
        if section.has(name) {
            section.wrong(name, &format!("expected no property that regressd sets itself; found one ({why})"));
        }
    }
    for name in client::OF_CLASSIC.iter().filter(|name| protocol == GroupProtocol::Consumer && section.has(name)) {
        let what =
            "expected no such property with kafka.group_protocol = \"consumer\"; found one (there the brokers say)";
        section.wrong(name, what);
    }
    let properties = section.free(form::any_text);
    for (name, what) in tokens::mistakes(&properties) {
        section.wrong(name, &what);
    }
    properties
}

fn dead_letters(mut section: Section, defaults: DeadLetters) -> DeadLetters {
    let dead_letters = DeadLetters {
        in_a_row: section.read("in_a_row", defaults.in_a_row, form::count(0..=1_000_000)),
        share: section.read("share", defaults.share, form::positive(1.0)),
    };
    section.done();
    dead_letters
}

fn control(mut section: Section, defaults: Control) -> Control {
    let require_signature = section.read("require_signature", defaults.require_signature, form::flag);
    let mut keys = Vec::new();
    for mut section in section.list("keys", RULES_MAX) {
        let by = section.required("by", "the name that stands in the message's `by`", form::person);
        let key = section.required("key", "an Ed25519 public key, 64 hexadecimal digits", form::public_key);
        if let (Some(by), Some(key)) = (by, key) {
            keys.push(ControlKey { by, key });
        }
        section.done();
    }
    if require_signature && keys.is_empty() {
        section.wrong("require_signature", "expected at least one [[control.keys]] with it: nobody could say anything");
    }
    section.done();
    Control { require_signature, keys }
}

fn state(mut section: Section, defaults: State, topics: &Topics) -> State {
    let state = State {
        dir: section.read("dir", defaults.dir, form::path),
        topic: section.optional("topic", form::topic),
        partition: defaults.partition,
        checkpoint_every: section.read(
            "checkpoint_every",
            defaults.checkpoint_every,
            form::duration(SECOND..=Span::HOUR),
        ),
    };
    let inputs = [&topics.metrics, &topics.logs, &topics.deployments, &topics.control];
    let outputs = [&topics.recommendations, &topics.audit, &topics.dead_letter, &topics.lanes, &topics.fleet];
    let is_taken = |name: &&String| inputs.into_iter().flatten().chain(outputs).any(|other| other == *name);
    if let Some(name) = state.topic.as_ref().filter(is_taken) {
        section.wrong("topic", &format!("expected a topic of its own; found {name:?}, which stands in kafka.topics"));
    }
    section.done();
    state
}

fn fleet(mut section: Section, defaults: Fleet, (state, protocol): (&State, GroupProtocol)) -> Fleet {
    let rekey: &[_] = &[("auto", Rekey::Auto), ("always", Rekey::Always), ("never", Rekey::Never)];
    let fleet = Fleet {
        lanes: section.read("lanes", u64::from(defaults.lanes), form::count(1..=LANES_MAX)) as u32,
        rekey: section.read("rekey", defaults.rekey, form::one_of(rekey)),
        member: section.optional("member", form::name),
        give_up: section.read("give_up", defaults.give_up, form::duration(GIVE_UP)),
    };
    if fleet.lanes > 1 && state.topic.is_none() {
        section.wrong("lanes", "expected a state.topic with more than one: whoever takes over a lane goes on from it");
    }
    if fleet.member.is_some() && protocol == GroupProtocol::Consumer {
        let what = "expected none with kafka.group_protocol = \"consumer\": there a name is refused to whoever is back \
                    before the session of the one who had it is over";
        section.wrong("member", what);
    }
    section.done();
    fleet
}

fn http(mut section: Section, defaults: Http) -> Http {
    let http = Http { listen: section.read("listen", defaults.listen, form::address) };
    section.done();
    http
}

fn log(mut section: Section, defaults: Log) -> Log {
    let formats: &[_] = &[("pretty", Format(false)), ("json", Format(true))];
    let log = Log {
        json: section.read("format", Format(defaults.json), form::one_of(formats)).0,
        level: section.read("level", defaults.level, form::log_filter),
    };
    section.done();
    log
}

fn policy(root: &mut Section, defaults: Policy) -> Policy {
    Policy {
        hash: "".into(),
        watch: watch(root.section("watch"), defaults.watch),
        signals: signals(root.list("signals", RULES_MAX)),
        detection: detection(root.section("detection"), defaults.detection),
        automation: automation(root.list("automation", RULES_MAX)),
        approvals: approvals(root.list("approvals", RULES_MAX)),
        teams: teams(root.list("teams", RULES_MAX)),
        windows: windows::read(root.list("windows", windows::MOST)),
        gate: gate(root.section("gate"), defaults.gate),
        privacy: privacy(root.section("privacy"), defaults.privacy),
        limits: limits(root.section("limits"), defaults.limits),
        heartbeat: heartbeat(root.section("heartbeat"), defaults.heartbeat),
        accuracy: accuracy(root.section("accuracy"), defaults.accuracy),
        earning: earning(root.section("earning"), defaults.earning),
    }
}

fn watch(mut section: Section, defaults: WatchPolicy) -> WatchPolicy {
    let watch = WatchPolicy {
        duration: section.read("duration", defaults.duration, form::duration(Span::minutes(5)..=WEEK)),
        lateness: section.read("lateness", defaults.lateness, form::duration(SECOND..=Span::HOUR)),
        ahead: section.read("ahead", defaults.ahead, form::duration(SECOND..=Span::HOUR)),
    };
    if watch.lateness > watch.duration {
        let (found, most) = (watch.lateness.render(), watch.duration.render());
        section.wrong("lateness", &format!("expected at most watch.duration ({most}); found {found}"));
    }
    section.done();
    watch
}

fn signals(sections: Vec<Section>) -> Vec<SignalRule> {
    let (mut rules, mut taken) = (Vec::new(), BTreeMap::new());
    for mut section in sections {
        let metric = section.required("metric", "a pattern such as \"http.server.*\"", form::glob);
        let worse = section.required("direction", "one of increase, decrease, either", form::one_of(DIRECTIONS));
        let min_change = section.optional("min_change", form::positive(1_000.0));
        let critical = section.read("critical", false, form::flag);
        if let Some(Glob(pattern)) = &metric
            && let Some(other) = taken.insert(pattern.clone(), section.path().to_owned())
        {
            let what = format!("expected a pattern of its own; found {pattern:?}, which {other} has taken already");
            section.wrong("metric", &what);
        }
        if let (Some(metric), Some(worse)) = (metric, worse) {
            rules.push(SignalRule { metric, worse, min_change, critical });
        }
        section.done();
    }
    rules
}

fn detection(mut section: Section, defaults: DetectionPolicy) -> DetectionPolicy {
    let detection = DetectionPolicy {
        false_alarm_rate: section.read("false_alarm_rate", defaults.false_alarm_rate, form::positive(0.5)),
        false_alarms_per_week: section.read(
            "false_alarms_per_week",
            defaults.false_alarms_per_week,
            form::positive(10_000.0),
        ),
        steps_budget: section.read("steps_budget", defaults.steps_budget, form::positive(100.0)),
        min_history: section.read("min_history", defaults.min_history, form::duration(Span::MINUTE..=WEEK)),
    };
    section.done();
    detection
}

fn automation(sections: Vec<Section>) -> Vec<AutomationRule> {
    let levels: &[_] =
        &[("shadow", Automation::Shadow), ("advise", Automation::Advise), ("recommend", Automation::Recommend)];
    let (mut rules, mut taken) = (Vec::new(), BTreeSet::new());
    for mut section in sections {
        let service = section.read("service", Glob("*".into()), form::glob);
        let env = section.read("env", Glob("*".into()), form::glob);
        let level = section.required("level", "one of shadow, advise, recommend", form::one_of(levels));
        let by = section.read("by", Vec::new(), form::globs);
        if !taken.insert((service.0.clone(), env.0.clone())) {
            section.wrong("service", "expected a service and env of its own; found both in a rule above");
        }
        if let Some(level) = level {
            rules.push(AutomationRule { service, env, level, by });
        }
        section.done();
    }
    rules
}

fn approvals(sections: Vec<Section>) -> Vec<ApprovalRule> {
    let defaults = ApprovalRule::default();
    let mut rules = Vec::new();
    for mut section in sections {
        rules.push(ApprovalRule {
            service: section.read("service", defaults.service.clone(), form::glob),
            env: section.read("env", defaults.env.clone(), form::glob),
            by: section.read("by", defaults.by.clone(), form::globs),
            required: section.read("required", u64::from(defaults.required), form::count(0..=20)) as u32,
            within: section.read("within", defaults.within, form::duration(Span::MINUTE..=WEEK)),
            escalate_to: section.optional("escalate_to", form::name).map(Into::into),
        });
        section.done();
    }
    rules
}

fn teams(sections: Vec<Section>) -> Vec<TeamRule> {
    let mut rules = Vec::new();
    for mut section in sections {
        let service = section.read("service", Glob("*".into()), form::glob);
        let env = section.read("env", Glob("*".into()), form::glob);
        if let Some(team) = section.required("team", "a team's name", form::name) {
            rules.push(TeamRule { service, env, team: team.into() });
        }
        section.done();
    }
    rules
}

fn gate(mut section: Section, defaults: GatePolicy) -> GatePolicy {
    let gate = GatePolicy {
        cooldown: section.read("cooldown", defaults.cooldown, form::duration(SECOND..=WEEK)),
        expires: section.read("expires", defaults.expires, form::duration(Span::MINUTE..=WEEK)),
        update_every: section.read("update_every", defaults.update_every, form::duration(Span::MINUTE..=WEEK)),
        storm_size: section.read("storm_size", defaults.storm_size as u64, form::count(2..=1_000)) as usize,
        storm_window: section.read("storm_window", defaults.storm_window, form::duration(Span::MINUTE..=Span::DAY)),
        flapping: section.read("flapping", defaults.flapping, form::duration(Span::MINUTE..=WEEK)),
        deployed_since: section.read("deployed_since", defaults.deployed_since, form::one_of(CAUTIONS)),
        changed_since: section.read("changed_since", defaults.changed_since, form::one_of(CAUTIONS)),
        rolling_out: section.read("rolling_out", defaults.rolling_out, form::one_of(CAUTIONS)),
        service_limit: rate_limit(section.section("service_limit"), defaults.service_limit),
        team_limit: rate_limit(section.section("team_limit"), defaults.team_limit),
        env_limit: rate_limit(section.section("env_limit"), defaults.env_limit),
        fleet_limit: rate_limit(section.section("fleet_limit"), defaults.fleet_limit),
    };
    section.done();
    gate
}

fn heartbeat(mut section: Section, default: Span) -> Span {
    let every = section.read("every", default, form::duration(Span::MINUTE..=Span::DAY));
    section.done();
    every
}

fn accuracy(mut section: Section, defaults: AccuracyPolicy) -> AccuracyPolicy {
    let accuracy = AccuracyPolicy {
        every: section.read("every", defaults.every, form::duration(Span::HOUR..=WEEK)),
        over: section.read("over", defaults.over, form::duration(Span::DAY..=Span(365 * Span::DAY.0))),
    };
    section.done();
    accuracy
}

fn earning(mut section: Section, defaults: EarningPolicy) -> EarningPolicy {
    let earning = EarningPolicy {
        enabled: section.read("enabled", defaults.enabled, form::flag),
        advise: bar(section.section("advise"), defaults.advise),
        recommend: bar(section.section("recommend"), defaults.recommend),
    };
    section.done();
    earning
}

fn bar(mut section: Section, defaults: Bar) -> Bar {
    let bar = Bar {
        sample: section.read("sample", defaults.sample, form::count(1..=10_000)),
        precision: section.read("precision", defaults.precision, form::positive(1.0)),
    };
    section.done();
    bar
}

fn rate_limit(mut section: Section, defaults: RateLimit) -> RateLimit {
    let limit = RateLimit {
        burst: section.read("burst", u64::from(defaults.burst), form::count(1..=100_000)) as u32,
        per_hour: section.read("per_hour", defaults.per_hour, form::positive(100_000.0)),
    };
    section.done();
    limit
}

fn privacy(mut section: Section, defaults: Privacy) -> Privacy {
    let privacy = Privacy {
        mask_addresses: section.read("mask_addresses", defaults.mask_addresses, form::flag),
        mask_dead_letters: section.read("mask_dead_letters", defaults.mask_dead_letters, form::flag),
    };
    section.done();
    privacy
}

fn limits(mut section: Section, defaults: Limits) -> Limits {
    let mut read =
        |key: &str, default: usize, most: u64| section.read(key, default as u64, form::count(1..=most)) as usize;
    let limits = Limits {
        services: read("services", defaults.services, 1_000_000),
        signals: read("signals", defaults.signals, 10_000_000),
        series: read("series", defaults.series, 100_000_000),
        watches: read("watches", defaults.watches, 100_000),
        windows: read("windows", defaults.windows, 100_000),
    };
    section.done();
    limits
}
