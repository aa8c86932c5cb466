//! The miner: which template a masked line belongs to.
//!
//! Every distinct masked line is a *form*; forms of one shape (same punctuation, same number of words) are a group. A
//! *pattern* is what two forms have in common; it comes alive when the forms that match it say that its places vary. A
//! form belongs to the live pattern with the most variable places, or is a template by itself. Which patterns live
//! depends on the set of forms alone, so lines give the same templates in whatever order they come, up to the limits.
//! Past those, a line is nobody's, and counted.

use super::mask::Masked;
use super::pattern::{Pattern, VALUES, in_common};
use super::template::Template;
use crate::engine::event::Severity;
use crate::engine::index::Index;
use crate::engine::time::Time;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// Templates of one service: up to 2 KB each.
pub const TEMPLATES: usize = 1_000;
/// Forms of one service, and patterns: about 120 and 160 bytes each.
const FORMS: usize = 4_000;
/// Forms of one shape that are compared with each other; a new one costs a look at each.
const GROUP: usize = 256;
/// Patterns of one shape; looked at for each new form.
const PATTERNS: usize = 256;
/// Forms of one pattern that are remembered; after those the pattern is enough.
const KIN: u32 = 64;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Miner {
    by_form: Index<u32>,
    forms: Vec<Form>,
    by_shape: Index<u32>,
    groups: Vec<Group>,
    templates: Vec<Option<Template>>,
    vacant: Vec<u32>,
    patterns: usize,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Form {
    id: u64,
    symbols: Box<[u32]>,
    /// Its template's place.
    place: u32,
    /// The variable places of the pattern that it belongs to.
    blanks: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Group {
    forms: Vec<u32>,
    patterns: Vec<Pattern>,
}

/// Where a line belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    Known(u32),
    New(u32),
    /// There is no room for another kind of line.
    Full,
}

impl Miner {
    pub fn len(&self) -> usize {
        self.templates.len() - self.vacant.len()
    }

    /// Distinct masked lines that are remembered.
    pub fn forms(&self) -> usize {
        self.forms.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn get(&self, place: u32) -> Option<&Template> {
        self.templates.get(place as usize)?.as_ref()
    }

    pub fn get_mut(&mut self, place: u32) -> Option<&mut Template> {
        self.templates.get_mut(place as usize)?.as_mut()
    }

    pub fn templates(&self) -> impl Iterator<Item = &Template> {
        self.templates.iter().flatten()
    }

    pub fn templates_mut(&mut self) -> impl Iterator<Item = &mut Template> {
        self.templates.iter_mut().flatten()
    }

    /// The template of a line, made if need be and if there is `room`.
    pub fn place(&mut self, line: &Masked, severity: Severity, at: Time, room: bool) -> Placed {
        let id = line.id();
        if let Some(form) = self.by_form.get(id) {
            return Placed::Known(self.forms[form as usize].place);
        }
        let symbols = line.symbols();
        let group = match self.by_shape.get(line.shape()) {
            Some(group) => group as usize,
            None if self.forms.len() >= FORMS || self.len() >= TEMPLATES || !room => return Placed::Full,
            None => {
                self.groups.push(Group::default());
                self.by_shape.set(line.shape(), (self.groups.len() - 1) as u32);
                self.groups.len() - 1
            }
        };
        let known = self.belongs(group, &symbols);
        if let Some((_, place, count)) = known
            && (count >= KIN || self.is_full(group))
        {
            return Placed::Known(place);
        }
        if self.is_full(group) || (known.is_none() && (!room || self.len() >= TEMPLATES)) {
            return Placed::Full;
        }
        self.add(group, line, id, symbols, severity, at);
        let form = self.forms.len() - 1;
        match (known, self.forms[form].place) {
            (None, place) if self.get(place).is_some_and(|template| template.count == 0) => Placed::New(place),
            (_, place) => Placed::Known(place),
        }
    }

    /// Gives up the templates that `gone` says, and all their forms.
    pub fn forget(&mut self, mut gone: impl FnMut(&Template) -> bool) {
        for place in 0..self.templates.len() {
            if self.templates[place].as_ref().is_some_and(&mut gone) {
                self.templates[place] = None;
                self.vacant.push(place as u32);
            }
        }
        let mut kept = vec![None; self.forms.len()];
        let mut forms = Vec::new();
        for (old, form) in std::mem::take(&mut self.forms).into_iter().enumerate() {
            if self.templates[form.place as usize].is_some() {
                kept[old] = Some(forms.len() as u32);
                forms.push(form);
            } else {
                self.by_form.remove(form.id);
            }
        }
        self.forms = forms;
        for (place, form) in self.forms.iter().enumerate() {
            self.by_form.set(form.id, place as u32);
        }
        for group in &mut self.groups {
            group.forms = group.forms.iter().filter_map(|&form| kept[form as usize]).collect();
            group.patterns.retain(|pattern| {
                pattern.place.is_some_and(|place| self.templates[place as usize].is_some())
                    || (pattern.place.is_none() && !group.forms.is_empty())
            });
        }
        self.patterns = self.groups.iter().map(|group| group.patterns.len()).sum();
    }

    fn is_full(&self, group: usize) -> bool {
        self.forms.len() >= FORMS || self.groups[group].forms.len() >= GROUP
    }

    /// The live pattern that forms with these symbols belong to: its variable places, its template and its forms.
    fn belongs(&self, group: usize, symbols: &[u32]) -> Option<(u64, u32, u32)> {
        let live = self.groups[group].patterns.iter().filter(|pattern| pattern.matches(symbols));
        let live = live.filter_map(|pattern| Some((pattern.blanks, pattern.place?, pattern.count)));
        live.max_by_key(|&(blanks, ..)| (blanks.count_ones(), blanks))
    }

    fn add(&mut self, group: usize, line: &Masked, id: u64, symbols: Box<[u32]>, severity: Severity, at: Time) {
        let form = self.forms.len() as u32;
        let known = self.groups[group].patterns.len();
        for pattern in &mut self.groups[group].patterns {
            pattern.count += u32::from(pattern.matches(&symbols));
        }
        self.compare(group, &symbols);
        let alive = self.awakened(group, &symbols, known);
        let place = self.vacancy();
        self.templates[place as usize] = Some(Template::new(id, &line.text, severity, at));
        self.forms.push(Form { id, symbols, place, blanks: 0 });
        self.by_form.set(id, form);
        self.groups[group].forms.push(form);
        for pattern in alive {
            let blanks = self.groups[group].patterns[pattern].blanks;
            let text = line.without(blanks);
            let id = xxh3_64(text.as_bytes());
            // The line that had masks at all these places is the pattern's template already.
            let found = self.by_form.get(id).map(|form| self.forms[form as usize].place);
            let found = found.filter(|&place| self.get(place).is_some_and(|template| template.id == id));
            let place = found.unwrap_or_else(|| {
                let place = self.vacancy();
                self.templates[place as usize] = Some(Template::new(id, &text, severity, at));
                place
            });
            self.groups[group].patterns[pattern].place = Some(place);
        }
        self.settle(group);
    }

    /// Makes the patterns between a new form and the others of its group.
    fn compare(&mut self, group: usize, symbols: &[u32]) {
        let Group { forms, patterns } = &mut self.groups[group];
        for &other in forms.iter() {
            let other = &self.forms[other as usize].symbols;
            let Some(blanks) = in_common(symbols, other) else { continue };
            let room = patterns.len() < PATTERNS && self.patterns < FORMS;
            if !room || patterns.iter().any(|each| each.blanks == blanks && each.matches(symbols)) {
                continue;
            }
            self.patterns += 1;
            let mut pattern = Pattern::new(blanks, symbols, 1);
            let matching = forms.iter().filter(|&&form| pattern.matches(&self.forms[form as usize].symbols));
            pattern.count += matching.count() as u32;
            patterns.push(pattern);
        }
    }

    /// The patterns that a new form brings to life, of which those from `fresh` on have just been made.
    fn awakened(&self, group: usize, symbols: &[u32], fresh: usize) -> Vec<usize> {
        let Group { forms, patterns } = &self.groups[group];
        let forms = forms.iter().map(|&form| &*self.forms[form as usize].symbols).chain([symbols]);
        let lives = |&(at, pattern): &(usize, &Pattern)| {
            let worth = at >= fresh || pattern.count as usize >= VALUES || pattern.is_masked(symbols);
            worth && pattern.place.is_none() && pattern.matches(symbols) && pattern.varies(forms.clone())
        };
        patterns.iter().enumerate().filter(lives).map(|(at, _)| at).collect()
    }

    /// Moves every form of a group to the pattern it belongs to, and templates that nobody has any more with it.
    fn settle(&mut self, group: usize) {
        for form in self.groups[group].forms.clone() {
            let symbols = &self.forms[form as usize].symbols;
            let Some((blanks, to, _)) = self.belongs(group, symbols) else { continue };
            let from = std::mem::replace(&mut self.forms[form as usize].place, to);
            self.forms[form as usize].blanks = blanks;
            if from == to {
                continue;
            }
            let needed = self.groups[group].forms.iter().any(|&each| self.forms[each as usize].place == from);
            let pattern = self.groups[group].patterns.iter().any(|each| each.place == Some(from));
            if !needed && !pattern {
                self.merge(from, to);
            }
        }
        // A live pattern whose forms all belong to a wider one hands over what it counted.
        for pattern in 0..self.groups[group].patterns.len() {
            let Some(from) = self.groups[group].patterns[pattern].place else { continue };
            let owner = self.groups[group].forms.iter().find(|&&form| self.forms[form as usize].place == from);
            let symbols = self.groups[group].patterns[pattern].symbols().to_vec();
            if owner.is_none()
                && let Some((_, to, _)) = self.belongs(group, &symbols)
                && to != from
            {
                self.groups[group].patterns[pattern].place = Some(to);
                self.merge(from, to);
            }
        }
    }

    fn merge(&mut self, from: u32, to: u32) {
        let Some(gone) = self.templates[from as usize].take() else { return };
        self.vacant.push(from);
        if let Some(template) = self.get_mut(to) {
            template.join(gone);
        }
    }

    fn vacancy(&mut self) -> u32 {
        self.vacant.pop().unwrap_or_else(|| {
            self.templates.push(None);
            (self.templates.len() - 1) as u32
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::logs::mask::mask;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn mine<'a>(lines: impl IntoIterator<Item = &'a str>) -> Miner {
        let mut miner = Miner::default();
        for (at, line) in lines.into_iter().enumerate() {
            let at = Time(at as i64);
            match miner.place(&mask(line), Severity::Info, at, true) {
                Placed::Known(place) | Placed::New(place) => {
                    miner.get_mut(place).expect("it was just placed").count(at, Severity::Info, 1);
                }
                Placed::Full => {}
            }
        }
        miner
    }

    /// Text and count of every template, which is what must not depend on the order.
    fn told(miner: &Miner) -> BTreeMap<String, u64> {
        miner.templates().map(|each| (each.text.to_string(), each.count)).collect()
    }

    #[test]
    fn a_word_that_varies_becomes_a_variable() {
        let miner = mine(
            ["anna", "bert", "carla", "dora"]
                .map(|name| format!("session opened for {name}"))
                .iter()
                .map(|line| &**line),
        );
        assert_eq!(told(&miner), BTreeMap::from([("session opened for <*>".into(), 4)]));
    }

    #[test]
    fn two_words_are_two_templates() {
        let miner = mine(["link is up now", "link is down now", "link is up now"]);
        assert_eq!(miner.len(), 2);
    }

    #[test]
    fn a_word_where_a_mask_was_seen_is_a_variable() {
        let miner = mine(["price of item A1B2", "price of item ABCD", "price of item X9"]);
        assert_eq!(told(&miner), BTreeMap::from([("price of item <*>".into(), 3)]));
    }

    #[test]
    fn what_was_done_is_no_variable() {
        let miner = mine([
            "the VM was paused now",
            "the VM was resumed now",
            "the VM was started now",
            "the VM was stopped now",
        ]);
        assert_eq!(miner.len(), 4);
    }

    #[test]
    fn short_lines_are_not_thrown_together() {
        let miner = mine(["order failed", "login failed", "backup failed", "mail failed", "sync failed"]);
        assert_eq!(miner.len(), 5);
    }

    #[test]
    fn fifty_thousand_shapes_stay_under_the_limits() {
        let mut miner = Miner::default();
        let mut full = 0;
        for n in 0..50_000_u32 {
            let word: String = (0..6).map(|at| char::from(b'g' + (n >> (at * 3) & 7) as u8)).collect();
            let line = format!("{} {word} {}", ".".repeat((n % 97) as usize), "!".repeat((n % 89) as usize));
            match miner.place(&mask(&line), Severity::Info, Time(n.into()), true) {
                Placed::Full => full += 1,
                Placed::Known(place) | Placed::New(place) => {
                    miner.get_mut(place).expect("placed").count(Time(n.into()), Severity::Info, n);
                }
            }
        }
        assert!(full > 40_000, "{full}");
        assert!(miner.len() <= TEMPLATES && miner.forms.len() <= FORMS && miner.groups.len() <= FORMS);
        let bytes = postcard::to_allocvec(&miner).expect("serialises").len();
        assert!(bytes < 2_048 * TEMPLATES, "{bytes}");
    }

    #[test]
    fn forgetting_makes_room_and_keeps_the_rest() {
        let mut miner = mine(["opened for a", "opened for b", "opened for c", "opened for d", "bye now all"]);
        miner.forget(|template| template.text.starts_with("bye"));
        assert_eq!(miner.len(), 1);
        assert!(matches!(miner.place(&mask("opened for zoe"), Severity::Info, Time(9), true), Placed::Known(_)));
        assert!(matches!(miner.place(&mask("bye now all"), Severity::Info, Time(9), true), Placed::New(_)));
    }

    fn lines() -> impl Strategy<Value = Vec<String>> {
        let some = |word: &str| Just(word.to_string());
        let word = prop_oneof!["[a-d]{1,2}", "[0-9]{1,3}", some("failed"), some("DOWN"), some("IDLE"), some("x=1")];
        let line = prop::collection::vec(word, 1..7).prop_map(|words| words.join(" "));
        prop::collection::vec(line, 1..60)
    }

    proptest! {
        #[test]
        fn the_order_of_lines_changes_no_template(lines in lines(), seed in any::<u64>()) {
            let mut shuffled = lines.clone();
            let mut state = seed | 1;
            for at in (1..shuffled.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                shuffled.swap(at, (state >> 33) as usize % (at + 1));
            }
            let (one, other) = (mine(lines.iter().map(|l| &**l)), mine(shuffled.iter().map(|l| &**l)));
            let texts = |miner: &Miner| told(miner).into_keys().collect::<Vec<_>>();
            prop_assert_eq!(texts(&one), texts(&other));
        }

        #[test]
        fn an_id_never_changes_its_meaning(lines in lines()) {
            let mut meanings = BTreeMap::new();
            for upto in 0..lines.len() {
                for template in mine(lines[..=upto].iter().map(|l| &**l)).templates() {
                    let meaning = meanings.entry(template.id).or_insert_with(|| template.text.to_string());
                    prop_assert_eq!(&**meaning, &*template.text);
                    prop_assert_eq!(template.id, xxh3_64(template.text.as_bytes()));
                }
            }
        }
    }
}
