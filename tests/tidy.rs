//! House rules that a compiler can't know, kept by a test.
//!
//! Each rule names the file and line that breaks it and says what to do instead. What clippy or rustfmt can check is
//! theirs; the reasons behind the rules stand in CONTRIBUTING.md.

use regressd::engine::effect::Reason;
use regressd::shell::config::Config;
use regressd::shell::http::NotReady;
use regressd::wire::inbound::{Kind, decode};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const LINES: usize = 500;
const FUNCTION_LINES: usize = 70;
const HEADER_LINES: usize = 12;
const WIDTH: usize = 120;

/// What the engine may not know: the world, its clock and its dice.
const NOT_IN_ENGINE: &[&str] = &[
    "tokio",
    "rdkafka",
    "std::fs",
    "std::io",
    "std::env",
    "std::net",
    "std::process",
    "std::thread",
    "Instant",
    "SystemTime",
    "jiff",
    "tracing",
    "prometheus",
    "rand",
    "getrandom",
    "RandomState",
    "async",
    "await",
    "crate::wire",
    "crate::shell",
];

/// What the wire may not know: brokers and the shell.
const NOT_IN_WIRE: &[&str] = &[
    "tokio",
    "rdkafka",
    "std::fs",
    "std::env",
    "std::net",
    "Instant",
    "SystemTime",
    "tracing",
    "prometheus",
    "crate::shell",
];

/// What the shell may use of the engine: its door and the terms it speaks in.
const ENGINE_FROM_SHELL: &[&str] = &[
    "Engine",
    "Part",
    "Vitals",
    "cut",
    "effect",
    "elsewhere",
    "event",
    "lane_of",
    "policy",
    "redact",
    "report",
    "time",
];

/// What the wire may use of the engine: only terms.
const ENGINE_FROM_WIRE: &[&str] = &["effect", "event", "report", "time"];

struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The part that ships: without tests and without remarks.
    fn code(&self) -> String {
        if self.path.starts_with("tests/") || self.path.ends_with("/tests.rs") {
            return String::new();
        }
        let ships = self.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        ships.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
    }

    fn room(&self) -> &str {
        let rest = self.path.strip_prefix("src/").unwrap_or_default();
        rest.split(['/', '.']).next().unwrap_or_default()
    }
}

#[test]
fn rooms_know_only_what_they_may() {
    let mut wrong = Vec::new();
    for source in rust() {
        let code = source.code();
        let (words, doors): (&[&str], &[&str]) = match source.room() {
            "engine" => (NOT_IN_ENGINE, &[]),
            "wire" => (NOT_IN_WIRE, ENGINE_FROM_WIRE),
            "shell" | "main" => (&[], ENGINE_FROM_SHELL),
            _ => continue,
        };
        for (number, line) in code.lines().enumerate() {
            for word in words.iter().filter(|word| mentions(line, word)) {
                wrong.push(format!("{}:{}: this room must not know `{word}`", source.path, number + 1));
            }
        }
        if source.room() == "engine" {
            if ["HashMap", "HashSet"].iter().any(|map| mentions(&code, map)) && !code.contains("Hasher") {
                wrong.push(format!("{}: a hash map without a fixed hasher; a BTreeMap has an order", source.path));
            }
            continue;
        }
        for name in names_after(&code, "engine::").difference(&set(doors)) {
            wrong.push(format!("{}: `engine::{name}` is not a door of the engine", source.path));
        }
    }
    report(wrong);
}

#[test]
fn files_are_small_and_introduce_themselves() {
    let mut wrong = Vec::new();
    for Source { path, text } in rust() {
        let header = text.lines().take_while(|line| line.starts_with("//!")).count();
        if header == 0 {
            wrong.push(format!("{path}: opens with no `//!` header that tells its idea"));
        }
        if header > HEADER_LINES {
            wrong.push(format!("{path}: a header of {header} lines; say it in {HEADER_LINES}"));
        }
        let lines = text.lines().count();
        if lines > LINES {
            wrong.push(format!(
                "{path}: {lines} lines; past {LINES} a file becomes a folder whose parent keeps the order"
            ));
        }
        if path.ends_with("/mod.rs") {
            wrong.push(format!("{path}: modules are `foo.rs` beside `foo/`"));
        }
    }
    report(wrong);
}

#[test]
fn functions_fit_on_a_page() {
    let mut wrong = Vec::new();
    for Source { path, text } in rust() {
        let lines: Vec<_> = text.lines().collect();
        for (start, line) in lines.iter().enumerate().filter(|(_, line)| begins_function(line)) {
            if line.ends_with(['}', ';']) {
                continue;
            }
            // The formatter puts the end right under the first letter: a brace, or `) -> T;` of a bare declaration.
            let indent = &line[..line.len() - line.trim_start().len()];
            let ends = |line: &&str| line.strip_prefix(indent).is_some_and(|rest| rest == "}" || is_end(rest));
            let length = lines[start..].iter().take_while(|line| !ends(line)).count() + 1;
            if length > FUNCTION_LINES {
                wrong.push(format!(
                    "{path}:{}: a function of {length} lines; {FUNCTION_LINES} fit on a page",
                    start + 1
                ));
            }
        }
    }
    report(wrong);
}

#[test]
fn lines_are_clean() {
    let mut wrong = Vec::new();
    for Source { path, text } in tracked() {
        for (number, line) in text.lines().enumerate() {
            let place = format!("{path}:{}", number + 1);
            // Recorded messages are taken as they came.
            if line.ends_with([' ', '\t', '\r']) && !path.contains(".json") {
                wrong.push(format!("{place}: ends with white space"));
            }
            if path.ends_with(".rs") && line.chars().count() > WIDTH {
                wrong.push(format!("{place}: wider than {WIDTH}"));
            }
            // Put together here, so that this file does not break its own rule.
            for word in [concat!("/wo", "rk/"), concat!("sha", "red/")] {
                if line.split(['"', ' ', '`', '(', '[']).any(|part| part.starts_with(word)) {
                    wrong.push(format!("{place}: speaks of somebody's own directories"));
                }
            }
        }
    }
    report(wrong);
}

#[test]
fn nothing_is_left_to_do() {
    let mut wrong = Vec::new();
    for source in rust() {
        let speaks = ["src/main.rs", "src/shell/replay", "src/shell/demo", "benches/"]
            .iter()
            .any(|p| source.path.starts_with(p));
        for (number, line) in source.code().lines().enumerate() {
            let place = format!("{}:{}", source.path, number + 1);
            for word in ["todo!", "unimplemented!", "dbg!"] {
                if mentions(line, word) {
                    wrong.push(format!("{place}: `{word}`"));
                }
            }
            if mentions(line, "println!") && !speaks {
                wrong.push(format!("{place}: `println!`; what the daemon has to say goes to the log"));
            }
            if line.contains(".unwrap()") || mentions(line, "panic!") {
                wrong.push(format!("{place}: fails without saying why; `expect` an invariant or return an error"));
            }
        }
    }
    report(wrong);
}

#[test]
fn every_reason_has_a_story() {
    let stories = tracked().into_iter().filter(|s| s.path.starts_with("tests/stories/") && s.path.ends_with(".txt"));
    let decided: Vec<_> = stories.filter_map(|s| Some(s.text.split_once("\n---\n")?.1.to_string())).collect();
    let untold = |reason: &&Reason| !decided.iter().any(|story| mentions(story, reason.word()));
    let wrong = Reason::ALL.iter().filter(untold).map(|reason| format!("no story decides `{}`", reason.word()));
    report(wrong.collect());
}

#[test]
fn every_metric_is_documented() {
    let makers = ["counter", "counters", "gauge", "gauges", "int_gauge", "int_gauges", "histogram"];
    let telemetry = rust().into_iter().filter(|source| source.path.starts_with("src/shell/telemetry"));
    let code: String = telemetry.map(|source| source.code()).collect();
    let mut made = BTreeSet::new();
    for call in makers.map(|maker| format!(".{maker}(")) {
        for (at, _) in code.match_indices(&call) {
            let name = code[at + call.len()..].trim_start().strip_prefix('"').map(first_name);
            made.extend(name.map(|name| format!("regressd_{name}")));
        }
    }
    assert!(made.len() > 10, "metrics are made as this test reads them: {made:?}");
    let text = document("ARCHITECTURE.md");
    let told = text.match_indices("regressd_").map(|(at, _)| first_name(&text[at..]));
    differences(&made, &told.filter(|name| name != "regressd_").collect(), "the metrics of ARCHITECTURE.md")
}

#[test]
fn every_way_of_not_being_ready_is_in_the_runbook() {
    let text = document("deploy/prometheus/rules/regressd.rules.yml");
    let alert = text.split_once("- alert: RegressdNotReady\n").expect("the alert").1.split("- alert: ").next();
    let told = |reason: &&NotReady| alert.is_some_and(|alert| mentions(alert, reason.word()));
    let untold = NotReady::ALL.iter().filter(|reason| !told(reason));
    report(untold.map(|reason| format!("the runbook of RegressdNotReady does not name `{}`", reason.word())).collect());
}

#[test]
fn every_dependency_is_argued() {
    let text = document("Cargo.toml");
    let parts = ["[dependencies]", "[dev-dependencies]"].map(|part| text.split_once(part).expect("a section").1);
    let lines = parts.iter().flat_map(|part| part.lines().skip(1).take_while(|line| !line.starts_with('[')));
    let used: BTreeSet<_> = lines.filter_map(|line| Some(line.split_once(" = ")?.0.to_string())).collect();
    let text = document("ARCHITECTURE.md");
    let section = text.split_once("\n## Dependencies\n").expect("the section").1.split("\n## ").next();
    let rows = section.unwrap_or_default().lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let argued = rows.filter(|(_, why)| why.len() > 10).map(|(name, _)| name.to_string()).collect();
    differences(&used, &argued, "the dependencies of ARCHITECTURE.md");
}

#[test]
fn the_readme_shows_what_works() {
    let kinds = [
        ("metrics", Kind::Metrics),
        ("logs", Kind::Logs),
        ("deployments", Kind::Deployments),
        ("control", Kind::Control),
    ];
    let text = document("README.md");
    let (mut messages, mut settings, mut before) = (BTreeSet::new(), 0, String::new());
    for (place, part) in text.split("```").enumerate() {
        if place % 2 == 0 {
            before.push_str(part);
            continue;
        }
        if let Some(toml) = part.strip_prefix("toml\n") {
            settings += 1;
            Config::from_toml_str(toml).unwrap_or_else(|mistakes| panic!("{}\nin:\n{toml}", mistakes.0.join("\n")));
        }
        let Some(json) = part.strip_prefix("json\n").filter(|json| !json.contains("specversion")) else { continue };
        // The bold name of the topic that stands nearest above.
        let above = kinds.iter().filter_map(|(name, kind)| Some((before.rfind(&format!("**{name}**"))?, name, kind)));
        let (_, name, kind) = above.max().expect("an example stands below its topic's name");
        messages.insert(name);
        decode(*kind, json.as_bytes(), &mut Vec::new()).unwrap_or_else(|why| panic!("{name}: {why:?}\nin:\n{json}"));
    }
    assert_eq!((messages.len(), settings > 0), (kinds.len(), true), "an example of each topic, and settings");
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut wrong = Vec::new();
    for Source { path, text } in tracked().into_iter().filter(|source| source.path.ends_with(".md")) {
        for link in text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0)) {
            let file = link.split('#').next().unwrap_or_default();
            let here = Path::new(env!("CARGO_MANIFEST_DIR")).join(&path);
            if !link.contains("://") && !here.with_file_name(file).exists() {
                wrong.push(format!("{path}: nothing is at `{link}`"));
            }
        }
    }
    report(wrong);
}

#[test]
fn faults_name_tests_that_are_there() {
    let text = document("docs/faults.md");
    let code: String = rust().iter().map(|source| source.text.as_str()).collect();
    // Names of tests are sentences; what is shorter is a word of the daemon's.
    let named = text.split('`').skip(1).step_by(2).filter(|name| name.matches('_').count() >= 3);
    let named = named.filter(|name| !name.starts_with("regressd_"));
    let missing = named.filter(|name| !code.contains(&format!("fn {name}("))).map(|name| format!("no test `{name}`"));
    report(missing.collect());
}

fn document(path: &str) -> String {
    tracked().into_iter().find(|source| source.path == path).expect("a document of the project").text
}

fn differences(real: &BTreeSet<String>, told: &BTreeSet<String>, place: &str) {
    let missing = real.difference(told).map(|name| format!("`{name}` does not stand among {place}"));
    let ghosts = told.difference(real).map(|name| format!("`{name}` stands among {place}, and is nowhere else"));
    report(missing.chain(ghosts).collect());
}

fn is_end(rest: &str) -> bool {
    rest.starts_with(')') && rest.ends_with(';')
}

fn begins_function(line: &str) -> bool {
    let line = line.trim_start();
    let line = line.strip_prefix("pub(crate) ").or(line.strip_prefix("pub(super) ")).unwrap_or(line);
    let line = line.strip_prefix("pub ").unwrap_or(line);
    let line = ["const ", "async ", "unsafe "].iter().fold(line, |line, word| line.strip_prefix(word).unwrap_or(line));
    line.starts_with("fn ")
}

/// Does the word stand there as a whole, not as a part of a longer one?
fn mentions(text: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(part_of_word) && !text[at + word.len()..].starts_with(part_of_word))
}

/// The first names behind a path's start, in groups too: `engine::{Engine, time::Time}` gives `Engine` and `time`.
fn names_after(code: &str, start: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices(start) {
        let rest = &code[at + start.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            names.insert(first_name(rest));
            continue;
        };
        let (mut depth, mut fresh) = (0, true);
        for (at, c) in group.char_indices() {
            match c {
                '}' if depth == 0 => break,
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => fresh = true,
                c if fresh && !c.is_whitespace() => {
                    names.insert(first_name(&group[at..]));
                    fresh = false;
                }
                _ => {}
            }
        }
    }
    names
}

fn first_name(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| word.to_string()).collect()
}

fn report(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "{} against the house rules:\n{}", wrong.len(), wrong.join("\n"));
}

fn rust() -> Vec<Source> {
    tracked().into_iter().filter(|source| source.path.ends_with(".rs")).collect()
}

/// Every text file of the project, by its path from the root.
fn tracked() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).expect("a directory of the project").flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            if path.is_dir() {
                let foreign = ["target", ".git", "node_modules"].iter().any(|foreign| name == *foreign);
                open.extend((!foreign).then_some(path));
            } else if let Some(source) = read(root, &path) {
                sources.push(source);
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(sources.len() > 10, "the project is here");
    sources
}

fn read(root: &Path, path: &PathBuf) -> Option<Source> {
    let text = ["rs", "toml", "md", "txt", "yml", "yaml", "json", "sh", "service", "jsonl"];
    let extension = path.extension()?.to_str()?;
    if !text.contains(&extension) {
        return None;
    }
    let name = path.strip_prefix(root).ok()?.to_string_lossy().into_owned();
    Some(Source { path: name, text: std::fs::read_to_string(path).ok()? })
}
