//! What survives a restart: the engine's state together with the input positions that it includes, in one file.
//!
//! The two are written as one, so a restart reads on exactly where the state stands, and the engine, being
//! deterministic, says the same again under the same ids. What that gives:
//! a clean stop writes a checkpoint after the last acknowledgement, so nothing is lost and nothing is said twice;
//! after `kill -9` the inputs since the last checkpoint are stepped again: nothing is lost, and what had been published
//! meanwhile is published again with the same id. A checkpoint follows every acknowledged batch that held a
//! recommendation, so for recommendations that stretch is the moment between acknowledgement and rename.
//!
//! A file that can't be trusted is moved aside and named; it never stops the daemon from starting.

use super::outbox::Sealed;
use crate::engine::Engine;
use crate::engine::time::Time;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const NAME: &str = "checkpoint";
const MAGIC: &[u8; 8] = b"regressd";

/// Raised whenever the state's shape changes: an older file then means a cold start, not a misreading.
const FORMAT: u32 = 10;

/// Magic, format, CRC-32 of the body, length of the body; little endian.
const HEADER: usize = 8 + 4 + 4 + 8;

/// Next offset to read, by topic and partition.
pub type Positions = BTreeMap<(Arc<str>, i32), i64>;

/// What is remembered.
#[derive(Default, Deserialize)]
pub struct Remembered {
    pub engine: Engine,
    pub positions: Positions,
    pub now: Time,
    /// The hash of the policy that was in force.
    pub policy: String,
    /// What was to be published under `exactly_once`; whether it is, the brokers know.
    pub outbox: Vec<Sealed>,
    /// Counts the checkpoints that sealed an outbox.
    pub sequence: u64,
    /// The file's own checksum.
    #[serde(skip)]
    pub crc: u32,
}

/// The same, borrowed for writing.
#[derive(Serialize)]
pub struct Remembering<'a> {
    pub engine: &'a Engine,
    pub positions: &'a Positions,
    pub now: Time,
    pub policy: &'a str,
    pub outbox: &'a [Sealed],
    pub sequence: u64,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Size of the file.
    pub bytes: u64,
    /// Checksum of what it holds.
    pub crc: u32,
}

/// What was found at start.
pub enum Found {
    Nothing,
    Checkpoint(Box<Remembered>),
    /// It could not be trusted and has been moved aside.
    Bad {
        why: String,
        /// `None` where even that failed; the next checkpoint will write over it.
        moved_to: Option<PathBuf>,
    },
}

/// The directory that holds the checkpoint.
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// Creates the directory where it is missing.
    pub fn open(dir: &Path) -> io::Result<Store> {
        fs::create_dir_all(dir)?;
        Ok(Store { dir: dir.to_owned() })
    }

    /// Reads the checkpoint. Errors only where the disk can't be read at all: then starting cold would throw away a
    /// state that is still there.
    pub fn read(&self) -> io::Result<Found> {
        let path = self.dir.join(NAME);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(e) => return Err(e),
        };
        match parse(&bytes) {
            Ok(remembered) => Ok(Found::Checkpoint(Box::new(remembered))),
            Err(why) => {
                let moved_to = self.dir.join("checkpoint.bad");
                let moved_to = fs::rename(&path, &moved_to).is_ok().then_some(moved_to);
                Ok(Found::Bad { why, moved_to })
            }
        }
    }

    /// Writes a checkpoint in the place of the last one; whenever it stops half way, the last one is still whole.
    pub fn write(&self, remembering: &Remembering) -> io::Result<Written> {
        let temporary = self.dir.join("checkpoint.new");
        let written = write_file(&temporary, remembering);
        if written.is_err() {
            // On a full disk the half-written file would keep the next attempt from succeeding.
            let _ = fs::remove_file(&temporary);
        }
        let written = written?;
        fs::rename(&temporary, self.dir.join(NAME))?;
        File::open(&self.dir)?.sync_all()?;
        Ok(written)
    }
}

fn write_file(path: &Path, remembering: &Remembering) -> io::Result<Written> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    file.write_all(&[0; HEADER])?;
    let mut body = Checked { inner: file, crc: crc32fast::Hasher::new(), length: 0 };
    postcard::to_io(remembering, &mut body).map_err(io::Error::other)?;
    let Checked { inner, crc, length } = body;
    let mut file = inner.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.seek(SeekFrom::Start(0))?;
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    let crc = crc.finalize();
    header[12..16].copy_from_slice(&crc.to_le_bytes());
    header[16..].copy_from_slice(&length.to_le_bytes());
    file.write_all(&header)?;
    file.sync_all()?;
    Ok(Written { bytes: length + HEADER as u64, crc })
}

fn parse(bytes: &[u8]) -> Result<Remembered, String> {
    let mut rest = bytes;
    let mut magic = [0; 8];
    let (mut format, mut crc, mut length) = ([0; 4], [0; 4], [0; 8]);
    rest.read_exact(&mut magic)
        .and_then(|()| rest.read_exact(&mut format))
        .and_then(|()| rest.read_exact(&mut crc))
        .and_then(|()| rest.read_exact(&mut length))
        .map_err(|_| format!("torn: {} bytes are less than a header", bytes.len()))?;
    if &magic != MAGIC {
        return Err("not a checkpoint of regressd".into());
    }
    if u32::from_le_bytes(format) != FORMAT {
        return Err(format!("format {}, this build reads {FORMAT}", u32::from_le_bytes(format)));
    }
    if u64::from_le_bytes(length) != rest.len() as u64 {
        return Err(format!("torn: {} of {} bytes", rest.len(), u64::from_le_bytes(length)));
    }
    if crc32fast::hash(rest) != u32::from_le_bytes(crc) {
        return Err("corrupt: the checksum does not fit".into());
    }
    let (mut remembered, left): (Remembered, &[u8]) =
        postcard::take_from_bytes(rest).map_err(|e| format!("not the state of this build: {e}"))?;
    if !left.is_empty() {
        return Err(format!("not the state of this build: {} bytes left over", left.len()));
    }
    remembered.crc = u32::from_le_bytes(crc);
    Ok(remembered)
}

/// Sums up what flows through it, so that a large state need not be held twice in memory.
struct Checked<W> {
    inner: W,
    crc: crc32fast::Hasher,
    length: u64,
}

impl<W: Write> Write for Checked<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.crc.update(&bytes[..written]);
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of its own for each test, gone when the test is.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Place {
            let dir = std::env::temp_dir().join(format!("regressd-checkpoint-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&dir);
            Place(dir)
        }

        fn store(&self) -> Store {
            Store::open(&self.0).expect("a temporary directory")
        }

        fn file(&self) -> PathBuf {
            self.0.join(NAME)
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn positions() -> Positions {
        [(("metrics".into(), 3), 17), (("logs".into(), 0), 4)].into()
    }

    fn write(store: &Store) -> u64 {
        let (engine, positions) = (Engine::default(), positions());
        let outbox = [Sealed {
            topic: "letters".into(),
            key: None,
            payload: b"{}".to_vec(),
            headers: vec![("regressd-reason".into(), "empty".into())],
        }];
        let remembering = Remembering {
            engine: &engine,
            positions: &positions,
            now: Time(1_790),
            policy: "abc",
            outbox: &outbox,
            sequence: 5,
        };
        store.write(&remembering).expect("written").bytes
    }

    #[test]
    fn what_was_written_is_read() {
        let place = Place::new("round");
        assert!(matches!(place.store().read().expect("readable"), Found::Nothing));
        let size = write(&place.store());
        assert_eq!(size, fs::metadata(place.file()).expect("there").len());
        let Found::Checkpoint(read) = place.store().read().expect("readable") else { panic!("not found") };
        assert_eq!((read.positions, read.now, read.policy.as_str()), (positions(), Time(1_790), "abc"));
        assert_eq!((read.outbox.len(), read.sequence), (1, 5));
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_refused_and_moved_aside() {
        let place = Place::new("damage");
        let size = write(&place.store()) as usize;
        let good = fs::read(place.file()).expect("there");
        for at in 0..size {
            let mut flipped = good.clone();
            flipped[at] ^= 0x10;
            assert!(parse(&flipped).is_err(), "bit flipped in byte {at}");
            assert!(parse(&good[..at]).is_err(), "cut at {at}");
        }
        fs::write(place.file(), &good[..size - 1]).expect("written");
        let Found::Bad { why, moved_to } = place.store().read().expect("readable") else { panic!("taken") };
        assert!(why.starts_with("torn"), "{why}");
        assert!(moved_to.expect("moved").exists() && !place.file().exists());
        assert!(matches!(place.store().read().expect("readable"), Found::Nothing), "no crash loop");
    }

    #[test]
    fn a_failed_write_leaves_the_last_checkpoint() {
        let place = Place::new("full");
        write(&place.store());
        // A directory in the temporary file's place fails the write for every user, root included.
        fs::create_dir(place.0.join("checkpoint.new")).expect("created");
        let (engine, positions) = (Engine::default(), Positions::new());
        let remembering =
            Remembering { engine: &engine, positions: &positions, now: Time(2), policy: "", outbox: &[], sequence: 0 };
        assert!(place.store().write(&remembering).is_err());
        let Found::Checkpoint(read) = place.store().read().expect("readable") else { panic!("lost") };
        assert_eq!(read.now, Time(1_790));
    }
}
