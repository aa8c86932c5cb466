//! Poison: inputs that broke the daemon once, so that they don't break it for ever.
//!
//! A message whose step trips an assertion leaves a state that nobody can trust, so the daemon ends and starts again
//! from its checkpoint. Before it ends, the message's place is written down here; when it comes again, it is a dead
//! letter and is not stepped. It is kept where the state is, and apart from it, as it must be written when the state
//! can't be: a file beside the checkpoint, a note beside it in the topic. What kills without a panic (a full memory,
//! `kill -9`) leaves no trace here.

use super::checkpoint::topic::Note;
use super::checkpoint::{Positions, Unwritten};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const NAME: &str = "poison";

/// Some 100 bytes each; whoever has more has another problem, and the oldest goes.
const MOST: usize = 100;

/// The places of messages that broke the daemon.
pub struct Poison {
    kept: Kept,
    known: Vec<Place>,
}

/// Where they are written down.
enum Kept {
    File(PathBuf),
    Topic(Note),
}

#[derive(Clone, Debug, PartialEq)]
struct Place {
    topic: String,
    partition: i32,
    offset: i64,
}

impl Poison {
    /// Reads what an earlier run has written beside its checkpoint, and forgets what the checkpoint has left behind.
    ///
    /// # Errors
    /// The file is there and can't be read or written.
    pub fn in_directory(dir: &Path, positions: &Positions) -> io::Result<Poison> {
        let path = dir.join(NAME);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Poison { kept: Kept::File(path), known: Vec::new() });
            }
            Err(error) => return Err(error),
        };
        let known = known(&text, positions);
        write(&path, &lines(&known))?;
        Ok(Poison { kept: Kept::File(path), known })
    }

    /// The same of a note that was read from a topic.
    pub fn in_topic(note: Note, text: &str, positions: &Positions) -> Poison {
        Poison { kept: Kept::Topic(note), known: known(text, positions) }
    }

    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    pub fn is_known(&self, topic: &str, partition: i32, offset: i64) -> bool {
        self.known.iter().any(|place| place.offset == offset && place.partition == partition && place.topic == topic)
    }

    /// Writes a place down, for the next run.
    ///
    /// # Errors
    /// Neither disk nor brokers take it: the message will break the next run too.
    pub fn note(&mut self, topic: &str, partition: i32, offset: i64) -> Result<(), Unwritten> {
        if self.known.len() == MOST {
            self.known.remove(0);
        }
        self.known.push(Place { topic: topic.to_owned(), partition, offset });
        match &self.kept {
            Kept::File(path) => Ok(write(path, &lines(&self.known))?),
            Kept::Topic(note) => Ok(note.write(&lines(&self.known))?),
        }
    }
}

/// Those that a run from these positions will meet.
fn known(text: &str, positions: &Positions) -> Vec<Place> {
    let ahead = |place: &Place| {
        let next = positions.get(&(place.topic.as_str().into(), place.partition));
        next.is_none_or(|next| *next <= place.offset)
    };
    // A line that was cut off says nothing; the next crash writes it again.
    let known: Vec<Place> = text.lines().filter_map(parse).filter(ahead).collect();
    for Place { topic, partition, offset } in &known {
        tracing::error!(topic, partition, offset, "this message broke the daemon: it will be a dead letter");
    }
    known
}

fn lines(known: &[Place]) -> String {
    known.iter().map(|Place { topic, partition, offset }| format!("{topic} {partition} {offset}\n")).collect()
}

fn write(path: &Path, lines: &str) -> io::Result<()> {
    if lines.is_empty() {
        return fs::remove_file(path);
    }
    let mut file = File::create(path)?;
    file.write_all(lines.as_bytes())?;
    file.sync_all()
}

fn parse(line: &str) -> Option<Place> {
    let mut words = line.split(' ');
    let place = Place {
        topic: words.next()?.to_owned(),
        partition: words.next()?.parse().ok()?,
        offset: words.next()?.parse().ok()?,
    };
    words.next().is_none().then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_known_until_a_checkpoint_is_past_it() {
        let dir = std::env::temp_dir().join(format!("regressd-poison-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).expect("a temporary directory");
        let read = |positions: &Positions| Poison::in_directory(&dir, positions).expect("readable");
        let mut poison = read(&Positions::new());
        assert!(!poison.is_known("metrics", 1, 7));
        poison.note("metrics", 1, 7).expect("written");
        poison.note("logs", 0, 3).expect("written");
        fs::OpenOptions::new().append(true).open(dir.join(NAME)).and_then(|mut file| file.write_all(b"metr")).unwrap();
        let before: Positions = [(("metrics".into(), 1), 7), (("logs".into(), 0), 4)].into();
        let poison = read(&before);
        assert!(poison.is_known("metrics", 1, 7) && !poison.is_known("metrics", 1, 8));
        assert!(!poison.is_known("metrics", 0, 7) && !poison.is_known("logs", 0, 3));
        read(&[(("metrics".into(), 1), 8)].into());
        assert!(!dir.join(NAME).exists(), "nothing is left to be known");
        fs::remove_dir_all(&dir).expect("gone");
    }
}
