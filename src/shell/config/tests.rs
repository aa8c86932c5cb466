//! Tests of the configuration as a whole: mistakes as a table, layers, secrets, hashes, and the documented file.
//!
//! What one form accepts is tested beside the form.

use super::*;
use crate::engine::effect::Automation;
use crate::engine::policy::{Glob, Worse};

const DOCUMENTED: &str = include_str!("../../../config/regressd.toml");

fn read(text: &str) -> Config {
    Config::from_toml_str(text).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn read_with(text: &str, environment: &[(&str, &str)]) -> Result<Config, Mistakes> {
    Config::from_layers(text, environment.iter().map(|(name, value)| (name.into(), value.into())))
}

#[track_caller]
fn mistakes(text: &str, environment: &[(&str, &str)], expected: &[&str]) {
    match read_with(text, environment) {
        Ok(_) => panic!("no mistake in:\n{text}"),
        Err(Mistakes(lines)) => assert_eq!(lines, expected, "in:\n{text}"),
    }
}

#[test]
fn an_empty_file_is_the_defaults() {
    let config = read("");
    let expected = Config {
        rendering: config.rendering.clone(),
        policy: Policy { hash: config.policy.hash.clone(), ..Policy::default() },
        ..Config::default()
    };
    assert_eq!(config, expected);
    assert_eq!(config.policy.hash.len(), 16);
}

#[test]
fn the_documented_file_is_the_defaults() {
    assert_eq!(read(DOCUMENTED), read(""));
}

/// Lines that begin with a # and no space are examples: with them, every key there is stands in the file.
#[test]
fn the_documented_file_has_every_key() {
    let examples: String = DOCUMENTED
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '[' || c == '"') => rest,
            _ => line,
        })
        .map(|line| format!("{line}\n"))
        .collect();
    let config = read(&examples);
    assert_eq!(config.policy.signals.len(), 1);
    assert_eq!(config.policy.automation.len(), 1);
    let reading = Reading::default();
    let tree = layers::merge(&examples, []).unwrap();
    let present = reading.root(tree.clone()).paths();
    keys::config(reading.root(tree));
    let missing: Vec<String> = reading.known().into_iter().filter(|path| !present.contains(path)).collect();
    assert_eq!(missing, Vec::<String>::new(), "not documented");
}

#[test]
fn every_mistake_is_told_at_once() {
    mistakes(
        r#"
            [kafka]
            brokers = 9092
            gruop = "a"
            [watch]
            duration = "1m"
            lateness = 60
            [[signals]]
            metric = "http.*"
            direction = "increase"
            [[signals]]
            metric = ""
            direction = "up"
            min_change = true
            critical = "yes"
            [detection]
            false_alarm_rate = 0.7
            false_alarms_per_week = 0
            [limits]
            series = 1.9
        "#,
        &[],
        &[
            "kafka.brokers: expected one or more brokers as host:port, separated by commas; found 9092",
            "kafka.gruop: unknown key; did you mean group?",
            "watch.duration: expected a duration from 5m to 7d; found \"1m\"",
            "watch.lateness: expected a duration such as \"90s\", \"5m\", \"1h30m\" or \"500ms\"; found 60",
            "signals[1].metric: expected a pattern of 1 to 256 bytes such as \"http.server.*\" \
             (* any run, ? one character); found \"\"",
            "signals[1].direction: expected one of increase, decrease, either; found \"up\"",
            "signals[1].min_change: expected a number above 0, at most 1000; found true",
            "signals[1].critical: expected true or false; found \"yes\"",
            "detection.false_alarm_rate: expected a number above 0, at most 0.5; found 0.7",
            "detection.false_alarms_per_week: expected a number above 0, at most 10000; found 0",
            "limits.series: expected a whole number from 1 to 100000000; found 1.9",
        ],
    );
}

#[test]
fn mistakes_one_by_one() {
    for (text, expected) in [
        ("kafka = 3", "kafka: expected a table, [kafka]; found 3"),
        ("[signals]\nmetric = \"*\"", "signals: expected a list of tables, [[signals]]; found a table"),
        ("signals = [1]", "signals[0]: expected a table; found 1"),
        ("[detecton]", "detecton: unknown key; did you mean detection?"),
        ("[kafka]\nduration = \"1h\"", "kafka.duration: unknown key; did you mean watch.duration?"),
        ("[http]\nauthentication = true", "http.authentication: unknown key; known here: listen"),
        ("[[signals]]\nmetric = \"*\"\ndirection = \"either\"\ncrtical = true", {
            "signals[0].crtical: unknown key; did you mean critical?"
        }),
        ("[[signals]]\nmetric = \"*\"", {
            "signals[0].direction: expected one of increase, decrease, either; found nothing"
        }),
        ("[[automation]]\nservice = \"a\"", {
            "automation[0].level: expected one of shadow, advise, recommend; found nothing"
        }),
        ("[[automation]]\nlevel = \"advise\"\n[[automation]]\nlevel = \"shadow\"", {
            "automation[1].service: expected a service and env of its own; found both in a rule above"
        }),
        ("[watch]\nduration = \"8d\"", "watch.duration: expected a duration from 5m to 7d; found \"8d\""),
        ("[watch]\nduration = \"10m\"\nlateness = \"20m\"", {
            "watch.lateness: expected at most watch.duration (10m); found 20m"
        }),
        ("[watch]\nahead = \"0s\"", "watch.ahead: expected a duration from 1s to 1h; found \"0s\""),
    ] {
        mistakes(text, &[], &[expected]);
    }
}

#[test]
fn windows_teams_and_cautions() {
    for (text, expected) in [
        ("[[windows]]\ncron = \"0 18 * * 8\"\nduration = \"1h\"", {
            "windows[0].cron: expected five cron fields such as \"0 18 * * 5\" (minute, hour, day, month, weekday), \
             but value must be in range 0..=7; found 8; found \"0 18 * * 8\""
        }),
        ("[[windows]]\ncron = \"0 0 30 2 *\"\nduration = \"1h\"", {
            "windows[0].cron: expected a cron expression that comes; found \"0 0 30 2 *\" (it never comes)"
        }),
        ("[[windows]]\ncron = \"0 18 * * 5\"\nduration = \"62h\"\ntimezone = \"Europe/Berlim\"", {
            "windows[0].timezone: expected a time zone such as \"Europe/Berlin\" or \"UTC\", but there is no such \
             zone; found \"Europe/Berlim\""
        }),
        ("[[windows]]\ncron = \"0 18 * * 5\"\nduration = \"62\"", {
            "windows[0].duration: expected a duration such as \"90s\", \"5m\", \"1h30m\" or \"500ms\"; found \"62\""
        }),
        ("[[windows]]\nduration = \"62h\"", {
            "windows[0].cron: expected a cron expression such as \"0 18 * * 5\"; found nothing"
        }),
        ("[[windows]]\nkind = \"frieze\"\ncron = \"0 18 * * 5\"\nduration = \"62h\"", {
            "windows[0].kind: expected one of freeze, mute, context; found \"frieze\""
        }),
        ("[[teams]]\nservice = \"checkout*\"", "teams[0].team: expected a team's name; found nothing"),
        ("[gate]\nchanged_since = \"yes\"", "gate.changed_since: expected one of name, escalate; found \"yes\""),
    ] {
        mistakes(text, &[], &[expected]);
    }
}

#[test]
fn values_out_of_range_or_form() {
    for (text, expected) in [
        ("[gate.fleet_limit]\nburst = 0", {
            "gate.fleet_limit.burst: expected a whole number from 1 to 100000; found 0"
        }),
        ("[gate.service_limit]\nper_hour = inf", {
            "gate.service_limit.per_hour: expected a number above 0, at most 100000; found inf"
        }),
        ("[limits]\nwatches = -1", "limits.watches: expected a whole number from 1 to 100000; found -1"),
        ("[limits]\nwatches = \"10\"", "limits.watches: expected a whole number from 1 to 100000; found \"10\""),
        ("[limits]\nwatches = true", "limits.watches: expected a whole number from 1 to 100000; found true"),
        ("[log]\nlevel = \"inof\"", {
            "log.level: expected a log filter such as \"info\" or \"warn,regressd=debug\"; found \"inof\""
        }),
        ("[log]\nformat = \"xml\"", "log.format: expected one of pretty, json; found \"xml\""),
        ("[http]\nlisten = \"localhost\"", {
            "http.listen: expected an IP address and port such as \"127.0.0.1:9464\" or \"[::]:9464\"; \
             found \"localhost\""
        }),
        ("[kafka]\ncluster = \"a/b\"", {
            "kafka.cluster: expected 1 to 249 letters, digits, \".\", \"_\" or \"-\"; found \"a/b\""
        }),
        ("[kafka.topics]\nmetrics = [\"m\", \"bad topic\"]", {
            "kafka.topics.metrics[1]: expected a topic's name: 1 to 249 letters, digits, \".\", \"_\" or \"-\"; \
             found \"bad topic\""
        }),
        ("[kafka.topics]\ncontrol = \"..\"", {
            "kafka.topics.control[0]: expected a topic's name: 1 to 249 letters, digits, \".\", \"_\" or \"-\"; \
             found \"..\""
        }),
        ("[kafka.topics]\nmetrics = [\"m\", \"m\"]", {
            "kafka.topics.metrics: expected a topic named nowhere else; found \"m\", which stands in metrics too"
        }),
        ("[kafka.topics]\naudit = \"logs\"", {
            "kafka.topics.audit: expected a topic named nowhere else; found \"logs\", which stands in logs too"
        }),
        ("[kafka.topics]\ndeployments = []", {
            "kafka.topics.deployments: expected at least one topic: without deployments there is nothing to watch"
        }),
        ("[kafka.topics]\nmetrics = []\nlogs = []", {
            "kafka.topics.metrics: expected at least one topic here or in logs; found none"
        }),
        ("[kafka.properties]\ngroup.id = \"x\"", {
            "kafka.properties.group.id: expected no property that regressd sets itself; found one (set kafka.group)"
        }),
        ("[kafka.properties]\n\"sasl.password\" = [\"hunter2\"]", {
            "kafka.properties.sasl.password: expected a string, a number or a boolean; found ***"
        }),
        ("[state]\ndir = \"\"", "state.dir: expected a path; found \"\""),
        ("[fleet]\nlanes = 3", {
            "fleet.lanes: expected a state.topic with more than one: whoever takes over a lane goes on from it"
        }),
        ("[kafka.topics]\nfleet = \"logs\"", {
            "kafka.topics.fleet: expected a topic named nowhere else; found \"logs\", which stands in logs too"
        }),
    ] {
        mistakes(text, &[], &[expected]);
    }
}

#[test]
fn what_a_groups_protocol_excludes() {
    for (text, expected) in [
        ("[kafka.properties]\n\"group.protocol\" = \"consumer\"", {
            "kafka.properties.group.protocol: expected no property that regressd sets itself; found one (set \
             kafka.group_protocol)"
        }),
        ("[kafka]\ngroup_protocol = \"consumer\"\n[kafka.properties]\n\"session.timeout.ms\" = \"9000\"", {
            "kafka.properties.session.timeout.ms: expected no such property with kafka.group_protocol = \"consumer\"; \
             found one (there the brokers say)"
        }),
        ("[kafka]\ngroup_protocol = \"consumer\"\n[fleet]\nmember = \"one\"", {
            "fleet.member: expected none with kafka.group_protocol = \"consumer\": there a name is refused to whoever \
             is back before the session of the one who had it is over"
        }),
    ] {
        mistakes(text, &[], &[expected]);
    }
}

#[test]
fn the_environment_goes_before_the_file() {
    let file = "[kafka]\nbrokers = \"a:1\"\ngroup = \"from-file\"\n[watch]\nduration = \"2h\"";
    let config = read_with(
        file,
        &[
            ("REGRESSD__KAFKA__BROKERS", "b:1,c:2"),
            ("REGRESSD__KAFKA__TOPICS__METRICS", "m1, m2"),
            ("REGRESSD__LIMITS__WATCHES", "7"),
            ("REGRESSD__DETECTION__FALSE_ALARM_RATE", "0.25"),
            ("REGRESSD_CONFIG", "not ours"),
            ("HOME", "/nowhere"),
        ],
    )
    .unwrap();
    assert_eq!(config.kafka.brokers, "b:1,c:2");
    assert_eq!(config.kafka.group, "from-file");
    assert_eq!(config.kafka.topics.metrics, ["m1", "m2"]);
    assert_eq!(config.policy.limits.watches, 7);
    assert_eq!(config.policy.detection.false_alarm_rate, 0.25);
    assert_eq!(config.policy.watch.duration, Span::minutes(120));
}

#[test]
fn mistakes_in_the_environment_name_the_variable() {
    mistakes(
        "",
        &[("REGRESSD__WATCH__DURATION", "soon"), ("REGRESSD__KAFKA__GRUOP", "x"), ("REGRESSD__SIGNALS", "x")],
        &[
            "kafka.gruop (REGRESSD__KAFKA__GRUOP): unknown key; did you mean group?",
            "watch.duration (REGRESSD__WATCH__DURATION): expected a duration such as \"90s\", \"5m\", \"1h30m\" or \
             \"500ms\"; found \"soon\"",
            "signals: expected a list of tables, [[signals]]; found \"x\"",
        ],
    );
    mistakes(
        "[kafka]\ngroup = \"kept\"",
        &[("REGRESSD__KAFKA", "x"), ("REGRESSD__KAFKA__GROUP", "y")],
        &["kafka: expected a table, [kafka]; found \"x\""],
    );
}

#[test]
fn properties_may_be_written_with_quotes_or_without() {
    let file = "[kafka.properties]\n\"sasl.password\" = \"old\"\nsasl.username = \"me\"\nssl.depth = 3";
    let config = read_with(file, &[("REGRESSD__KAFKA__PROPERTIES__SASL__PASSWORD", "new")]).unwrap();
    let properties: Vec<(&str, &str)> =
        config.kafka.properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(properties, [("sasl.password", "new"), ("sasl.username", "me"), ("ssl.depth", "3")]);
}

#[test]
fn a_secret_is_shown_nowhere_and_its_change_is_told_all_the_same() {
    let old = read("[kafka.properties]\nsasl.password = \"hunter2\"");
    let new = read("[kafka.properties]\nsasl.password = \"hunter3\"");
    assert_eq!(new.kafka.properties["sasl.password"], "hunter3");
    let changes = old.changes(&new);
    assert_eq!(
        changes.iter().map(Change::to_string).collect::<Vec<_>>(),
        ["kafka.properties.sasl.password: *** -> ***"]
    );
    assert!(!format!("{old:?} {:?} {changes:?}", old.rendering).contains("hunter"));
}

#[test]
fn the_hash_is_of_the_policy_alone() {
    let hash = |text: &str| read(text).policy.hash.to_string();
    let default = hash("");
    assert_eq!(default, hash("[watch]\nduration = \"60m\""), "the same in other words");
    assert_eq!(default, hash("[kafka]\nbrokers = \"a:1\"\n[log]\nlevel = \"debug\""), "no policy");
    let rule = |direction: &str| hash(&format!("[[signals]]\nmetric = \"a\"\ndirection = \"{direction}\""));
    let all = [default, hash("[watch]\nduration = \"61m\""), rule("increase"), rule("either")];
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{all:?}");
}

/// The hash stands in published decisions: the same settings have the same hash in every version of the daemon.
#[test]
fn the_hash_is_stable() {
    let rendering = [("kafka.group", "a"), ("log.level", "info"), ("watch.ahead", "5m"), ("watch.duration", "1h")];
    let rendering = rendering.map(|(path, value)| (path.to_owned(), value.to_owned())).into();
    assert_eq!(policy_hash(&rendering), "13d49b50c45bc9db");
}

#[test]
fn rules_keep_their_order() {
    let config = read(
        r#"
            [[signals]]
            metric = "http.server.requests"
            direction = "decrease"
            min_change = 1
            critical = true
            [[signals]]
            metric = "http.*"
            direction = "either"
            [[automation]]
            env = "prod"
            level = "recommend"
        "#,
    );
    let rules: Vec<_> = config
        .policy
        .signals
        .iter()
        .map(|rule| (&*rule.metric.0, rule.worse, rule.min_change, rule.critical))
        .collect();
    let expected = [("http.server.requests", Worse::Decrease, Some(1.0), true), ("http.*", Worse::Either, None, false)];
    assert_eq!(rules, expected);
    assert_eq!(config.policy.automation[0].service, Glob("*".into()));
    assert_eq!(config.policy.automation("prod", "any").level, Automation::Recommend);
}

#[test]
fn what_needs_a_restart_stays_as_it_runs() {
    let running = read("[kafka]\nbrokers = \"a:1\"\n[log]\nformat = \"json\"");
    let file = read("[kafka]\nbrokers = \"b:1\"\n[watch]\nduration = \"2h\"\n[log]\nlevel = \"debug\"");
    let changes = running.changes(&file);
    let told: Vec<(String, bool)> = changes.iter().map(|each| (each.to_string(), each.needs_restart())).collect();
    let expected = [
        ("kafka.brokers: a:1 -> b:1", true),
        ("log.format: json -> pretty", true),
        ("log.level: info -> debug", false),
        ("watch.duration: 1h -> 2h", false),
    ];
    assert_eq!(told, expected.map(|(text, restart)| (text.to_owned(), restart)));
    let next = file.within(&running);
    let left: Vec<String> = running.changes(&next).iter().map(Change::to_string).collect();
    assert_eq!(left, ["log.level: info -> debug", "watch.duration: 1h -> 2h"]);
    assert_eq!((next.kafka.brokers.as_str(), next.log.json), ("a:1", true));
    assert_eq!(next.policy.watch.duration, Span::minutes(120));
}

#[test]
fn a_file_that_is_not_there_is_a_mistake() {
    let Err(Mistakes(lines)) = Config::load(Some(Path::new("/nowhere/regressd.toml"))) else { panic!("not there") };
    assert_eq!(lines.len(), 1);
    assert!(lines[0].starts_with("/nowhere/regressd.toml: can't be read: "), "{lines:?}");
}

#[test]
fn a_file_is_checked_in_a_few_lines() {
    let dir = std::env::temp_dir().join(format!("regressd-check-config-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("regressd.toml");
    let name = path.display();
    std::fs::write(&path, "").unwrap();
    let hash = &read("").policy.hash;
    assert_eq!(check_config(&path).unwrap(), format!("{name}: OK, policy {hash}, as the defaults"));
    std::fs::write(&path, "[watch]\nduration = \"2h\"").unwrap();
    let hash = &read("[watch]\nduration = \"2h\"").policy.hash;
    let expected =
        format!("{name}: OK, policy {hash}, 1 setting differs from the defaults\n  watch.duration: 1h -> 2h");
    assert_eq!(check_config(&path).unwrap(), expected);
    std::fs::write(&path, "[watch]\nduration = 2").unwrap();
    assert!(check_config(&path).is_err());
    std::fs::remove_dir_all(&dir).unwrap();
}
