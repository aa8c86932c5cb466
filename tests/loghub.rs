//! How well are templates found? Grouping accuracy on LogHub-2k, which is not ours to ship.
//!
//! `LOGHUB=DIR cargo test --release --test loghub -- --ignored --nocapture`, where DIR holds a folder for each system
//! with its `*_2k.log_structured.csv` (github.com/logpai/loghub). A line counts where the set of lines that share its
//! template is the one that the people who labelled it had (Zhu et al., *Tools and Benchmarks for Automated Log
//! Parsing*, ICSE-SEIP 2019). One setting for all systems: there is none.

use regressd::engine::event::Severity;
use regressd::engine::logs::mask::mask;
use regressd::engine::logs::miner::{Miner, Placed};
use regressd::engine::time::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

#[test]
#[ignore = "needs LogHub-2k: LOGHUB=DIR"]
fn grouping_accuracy() {
    let root = PathBuf::from(std::env::var_os("LOGHUB").expect("LOGHUB=DIR names the folder of LogHub-2k"));
    let mut results = Vec::new();
    for file in structured(&root) {
        let lines = labelled(&fs::read_to_string(&file).expect("a system's lines can be read"));
        let (accuracy, found, real) = judge(&lines);
        let name = file.file_name().unwrap_or_default().to_string_lossy().replace("_2k.log_structured.csv", "");
        let backwards = if mined(lines.iter()) == mined(lines.iter().rev()) { "the same" } else { "others" };
        println!(
            "{name:<14} {accuracy:.3}   {found} templates for {real}, {backwards} from the last line to the first"
        );
        results.push(accuracy);
    }
    assert!(!results.is_empty(), "no *_2k.log_structured.csv in {}", root.display());
    println!("{:<14} {:.3}", "mean", results.iter().sum::<f64>() / results.len() as f64);
}

/// The share of lines in groups that are exactly as labelled, and the numbers of groups.
fn judge(lines: &[(String, String)]) -> (f64, usize, usize) {
    let mut miner = Miner::default();
    for (at, (content, _)) in lines.iter().enumerate() {
        miner.place(&mask(content), Severity::Info, Time(at as i64), true);
    }
    let (mut ours, mut theirs) = (BTreeMap::<u32, Vec<usize>>::new(), BTreeMap::<&str, Vec<usize>>::new());
    for (at, (content, label)) in lines.iter().enumerate() {
        let place = match miner.place(&mask(content), Severity::Info, Time(at as i64), true) {
            Placed::Known(place) | Placed::New(place) => place,
            Placed::Full => u32::MAX,
        };
        ours.entry(place).or_default().push(at);
        theirs.entry(label).or_default().push(at);
    }
    let right = ours.values().filter(|group| theirs.get(&*lines[group[0]].1) == Some(*group));
    let right: usize = right.map(Vec::len).sum();
    if let Ok(verbose) = std::env::var("LOGHUB_WRONG") {
        for group in ours.values().filter(|group| theirs.get(&*lines[group[0]].1) != Some(*group)) {
            println!("    {verbose} {} lines: {}", group.len(), mask(&lines[group[0]].0).text);
        }
    }
    (right as f64 / lines.len().max(1) as f64, ours.len(), theirs.len())
}

/// The texts of all templates, which must not depend on the order of lines while they fit.
fn mined<'a>(lines: impl Iterator<Item = &'a (String, String)>) -> BTreeSet<String> {
    let mut miner = Miner::default();
    for (at, (content, _)) in lines.enumerate() {
        miner.place(&mask(content), Severity::Info, Time(at as i64), true);
    }
    miner.templates().map(|template| template.text.to_string()).collect()
}

fn structured(root: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(root) else { return Vec::new() };
    let mut files = Vec::new();
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.is_dir() {
            files.extend(structured(&path));
        } else if path.to_string_lossy().ends_with("_2k.log_structured.csv") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The content of each line and the label of its template.
fn labelled(text: &str) -> Vec<(String, String)> {
    let mut rows = rows(text).into_iter();
    let header = rows.next().unwrap_or_default();
    let column = |name: &str| header.iter().position(|each| each.trim_start_matches('\u{feff}') == name);
    let (Some(content), Some(label)) = (column("Content"), column("EventId")) else { return Vec::new() };
    rows.filter_map(|row| Some((row.get(content)?.clone(), row.get(label)?.clone()))).collect()
}

/// Comma-separated values, quoted where they must be, a quote inside doubled.
fn rows(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut field, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => field.extend(letters.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut field)),
            '\n' if !quoted => {
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
            }
            '\r' if !quoted => {}
            letter => field.push(letter),
        }
    }
    if !field.is_empty() || !row.is_empty() {
        row.push(field);
        rows.push(row);
    }
    rows
}

#[test]
fn labelled_lines_are_read_and_judged() {
    let text =
        "LineId,Content,EventId\n1,\"open a, with \"\"b\"\" 1\",E1\n2,\"open a, with \"\"b\"\" 2\",E1\n3,close 1,E2\n";
    let lines = labelled(text);
    assert_eq!(lines[0], ("open a, with \"b\" 1".to_string(), "E1".to_string()));
    assert_eq!(judge(&lines), (1.0, 2, 2));
    let apart = [("close 1".to_string(), "E1".to_string()), ("close 2".to_string(), "E2".to_string())];
    assert_eq!(judge(&apart), (0.0, 1, 2));
}
