//! A section of the tree, read key by key; every mistake is noted and reading goes on.
//!
//! Reading a key is what makes it known: its default, its form and its place in the rendering stand in one line, and
//! what nobody has read by the end is an unknown key. Which keys there are is not known here.

use super::form::{Leaf, Outcome, Wrong, render_span};
use super::{Mistakes, layers, mask};
use crate::engine::policy::{Glob, Worse};
use crate::engine::time::Span;
use config::{Value, ValueKind};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;

/// What one reading of the whole tree found.
#[derive(Default)]
pub struct Reading(RefCell<Notes>);

#[derive(Default)]
struct Notes {
    mistakes: Vec<String>,
    /// Path and value of every setting, secrets masked.
    rendering: BTreeMap<String, String>,
    /// Every path that was asked for.
    known: BTreeSet<String>,
    /// Keys that nobody asked for, with the line they will be told in: suggestions need all known paths first.
    strays: Vec<Stray>,
}

struct Stray {
    line: usize,
    section: String,
    key: String,
    is_from_environment: bool,
}

impl Reading {
    pub fn root(&self, tree: BTreeMap<String, Value>) -> Section<'_> {
        Section { reading: self, path: String::new(), table: tree }
    }

    /// The rendering, or every mistake in the order of the keys.
    pub fn finish(self) -> Result<BTreeMap<String, String>, Mistakes> {
        let mut notes = self.0.into_inner();
        for stray in &notes.strays {
            notes.mistakes[stray.line] = describe(stray, &notes.known);
        }
        if notes.mistakes.is_empty() { Ok(notes.rendering) } else { Err(Mistakes(notes.mistakes)) }
    }

    /// Every path that was asked for.
    #[cfg(test)]
    pub fn known(&self) -> BTreeSet<String> {
        self.0.borrow().known.clone()
    }
}

/// A table of the tree and where it stands.
pub struct Section<'r> {
    reading: &'r Reading,
    path: String,
    table: BTreeMap<String, Value>,
}

impl<'r> Section<'r> {
    /// The setting, or its default where nobody set it or the value is wrong.
    pub fn read<T: Render>(&mut self, key: &str, default: T, form: impl Fn(&Leaf) -> Outcome<T>) -> T {
        let value = self.optional_unrendered(key, form).unwrap_or(default);
        self.render(key, &value.render());
        value
    }

    /// The setting, if there is one.
    pub fn optional<T: Render>(&mut self, key: &str, form: impl Fn(&Leaf) -> Outcome<T>) -> Option<T> {
        let value = self.optional_unrendered(key, form);
        if let Some(value) = &value {
            self.render(key, &value.render());
        }
        value
    }

    /// The setting; that there is none is a mistake.
    pub fn required<T: Render>(&mut self, key: &str, expected: &str, form: impl Fn(&Leaf) -> Outcome<T>) -> Option<T> {
        if !self.table.contains_key(key) {
            self.wrong(key, &format!("expected {expected}; found nothing"));
        }
        self.optional(key, form)
    }

    /// A table inside this one; empty where there is none.
    pub fn section(&mut self, key: &str) -> Section<'r> {
        self.know(key);
        let table = match self.table.remove(key).map(|value| (value.kind.clone(), value)) {
            None => BTreeMap::new(),
            Some((ValueKind::Table(table), _)) => table.into_iter().collect(),
            Some((_, value)) => {
                let leaf = Leaf::new(&self.join(key), value);
                self.wrong(key, &format!("expected a table, [{}]; found {}", self.join(key), leaf.found()));
                BTreeMap::new()
            }
        };
        Section { reading: self.reading, path: self.join(key), table }
    }

    /// A list of tables, at most `most`.
    pub fn list(&mut self, key: &str, most: usize) -> Vec<Section<'r>> {
        self.know(key);
        let path = self.join(key);
        let values = match self.table.remove(key).map(|value| (value.kind.clone(), value)) {
            None => Vec::new(),
            Some((ValueKind::Array(values), _)) if values.len() <= most => values,
            Some((ValueKind::Array(values), _)) => {
                self.wrong(key, &format!("expected at most {most} entries; found {}", values.len()));
                Vec::new()
            }
            Some((_, value)) => {
                let found = Leaf::new(&path, value).found();
                self.wrong(key, &format!("expected a list of tables, [[{path}]]; found {found}"));
                Vec::new()
            }
        };
        let mut sections = Vec::new();
        for (index, value) in values.into_iter().enumerate() {
            let path = format!("{path}[{index}]");
            match value.kind.clone() {
                ValueKind::Table(table) => {
                    sections.push(Section { reading: self.reading, path, table: table.into_iter().collect() });
                }
                _ => {
                    let found = Leaf::new(&path, value).found();
                    self.reading.0.borrow_mut().mistakes.push(format!("{path}: expected a table; found {found}"));
                }
            }
        }
        sections
    }

    /// A table whose keys are anybody's: nested tables are flattened with dots, so that `sasl.username` may be written
    /// with quotes or without. Where two spellings meet, the environment wins.
    pub fn free(&mut self, form: impl Fn(&Leaf) -> Outcome<String>) -> BTreeMap<String, String> {
        let mut flat = Vec::new();
        for (key, value) in std::mem::take(&mut self.table) {
            flatten(key, value, &mut flat);
        }
        flat.sort_by_key(|(_, value)| value.origin() == Some(layers::ENVIRONMENT));
        for (key, value) in flat {
            self.table.insert(key, value);
        }
        let keys: Vec<String> = self.table.keys().cloned().collect();
        let read = |key: String| {
            let value = self.optional_unrendered(&key, &form)?;
            self.render(&key, mask::masked(&key, &value));
            Some((key, value))
        };
        keys.into_iter().filter_map(read).collect()
    }

    /// Whether a free section has this key, however it is spelled.
    pub fn has(&self, key: &str) -> bool {
        let mut flat = Vec::new();
        for (key, value) in &self.table {
            flatten(key.clone(), value.clone(), &mut flat);
        }
        flat.iter().any(|(each, _)| each == key)
    }

    /// Notes a mistake about a key of this section.
    pub fn wrong(&self, key: &str, what: &str) {
        self.reading.0.borrow_mut().mistakes.push(format!("{}: {what}", self.join(key)));
    }

    /// Every key that was not read is unknown.
    pub fn done(self) {
        let notes = &mut *self.reading.0.borrow_mut();
        for (key, value) in self.table {
            notes.strays.push(Stray {
                line: notes.mistakes.len(),
                section: self.path.clone(),
                key,
                is_from_environment: value.origin() == Some(layers::ENVIRONMENT),
            });
            notes.mistakes.push(String::new());
        }
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    /// Every path that stands in the tree, tables included.
    #[cfg(test)]
    pub fn paths(&self) -> BTreeSet<String> {
        fn walk(path: String, value: &Value, paths: &mut BTreeSet<String>) {
            match &value.kind {
                ValueKind::Table(table) => {
                    table.iter().for_each(|(key, value)| walk(format!("{path}.{key}"), value, paths));
                }
                ValueKind::Array(values) => {
                    values.iter().enumerate().for_each(|(i, value)| walk(format!("{path}[{i}]"), value, paths));
                }
                _ => {}
            }
            paths.insert(path);
        }
        let mut paths = BTreeSet::new();
        self.table.iter().for_each(|(key, value)| walk(key.clone(), value, &mut paths));
        paths
    }

    fn optional_unrendered<T>(&mut self, key: &str, form: impl Fn(&Leaf) -> Outcome<T>) -> Option<T> {
        self.know(key);
        let value = self.table.remove(key)?;
        let path = self.join(key);
        let origin = value.origin() == Some(layers::ENVIRONMENT);
        match form(&Leaf::new(&path, value)) {
            Ok(value) => Some(value),
            Err(wrongs) => {
                let by = if origin { format!(" ({})", layers::variable(&path)) } else { String::new() };
                for Wrong { within, expected, found } in wrongs {
                    let line = format!("{path}{within}{by}: expected {expected}; found {found}");
                    self.reading.0.borrow_mut().mistakes.push(line);
                }
                None
            }
        }
    }

    fn know(&self, key: &str) {
        self.reading.0.borrow_mut().known.insert(self.join(key));
    }

    fn render(&self, key: &str, text: &str) {
        let path = self.join(key);
        let text = mask::masked(&path, text).to_owned();
        self.reading.0.borrow_mut().rendering.insert(path, text);
    }

    fn join(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

/// How a setting is written back: one way for one value, so that renderings can be compared and hashed.
pub trait Render {
    fn render(&self) -> String;
}

macro_rules! render {
    ($($kind:ty: $value:ident => $text:expr;)+) => {
        $(impl Render for $kind {
            fn render(&self) -> String {
                let $value = self;
                $text
            }
        })+
    };
}

render! {
    String: text => text.clone();
    Vec<String>: texts => texts.join(",");
    bool: flag => flag.to_string();
    u64: n => n.to_string();
    f64: x => x.to_string();
    Span: span => render_span(*span);
    Glob: glob => glob.0.to_string();
    Vec<Glob>: globs => globs.iter().map(|glob| &*glob.0).collect::<Vec<_>>().join(",");
    PathBuf: path => path.display().to_string();
    SocketAddr: address => address.to_string();
    Worse: worse => match worse {
        Worse::Increase => "increase",
        Worse::Decrease => "decrease",
        Worse::Either => "either",
    }
    .to_owned();
}

fn flatten(key: String, value: Value, flat: &mut Vec<(String, Value)>) {
    match value.kind {
        ValueKind::Table(table) => {
            for (inner, value) in BTreeMap::from_iter(table) {
                flatten(format!("{key}.{inner}"), value, flat);
            }
        }
        _ => flat.push((key, value)),
    }
}

fn describe(stray: &Stray, known: &BTreeSet<String>) -> String {
    let Stray { section, key, .. } = stray;
    let path = if section.is_empty() { key.clone() } else { format!("{section}.{key}") };
    let by = if stray.is_from_environment { format!(" ({})", layers::variable(&path)) } else { String::new() };
    let siblings: Vec<&str> = known
        .iter()
        .filter_map(|path| match path.rsplit_once('.') {
            Some((parent, leaf)) => (parent == section).then_some(leaf),
            None => section.is_empty().then_some(path.as_str()),
        })
        .collect();
    let near = siblings.iter().map(|sibling| (distance(key, sibling), *sibling)).min();
    let elsewhere = known.iter().find(|path| path.rsplit_once('.').is_some_and(|(_, leaf)| leaf == key));
    match (near, elsewhere) {
        (Some((edits, sibling)), _) if edits <= 2.max(key.len() / 3) => {
            format!("{path}{by}: unknown key; did you mean {sibling}?")
        }
        (_, Some(elsewhere)) => format!("{path}{by}: unknown key; did you mean {elsewhere}?"),
        _ => format!("{path}{by}: unknown key; known here: {}", siblings.join(", ")),
    }
}

/// Edits between two words: insertions, deletions, replacements.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, edits) in
            [("", "abc", 3), ("group", "group", 0), ("gruop", "group", 2), ("durations", "duration", 1)]
        {
            assert_eq!(distance(a, b), edits, "{a} {b}");
        }
    }
}
