//! Checkpoints in a directory: one file, written beside the last one, synced and renamed over it.
//!
//! The file is a header, the head, one frame for each service, and an end that counts and sums up the frames: each with
//! a checksum of its own, so that whatever was torn or flipped is seen, and neither writing nor reading holds the whole
//! file in memory. Whenever it stops half way, the last checkpoint is still whole. A file that can't be trusted is
//! moved aside.

mod blocks;

use super::{Cut, FORMAT, Found, Recovered, Written, other_format, piece, recover};
use blocks::{Reader, Writer};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

const NAME: &str = "checkpoint";
const MAGIC: &[u8; 8] = b"regressd";

/// Kind, length of the body, CRC-32 of both and the body; little endian.
const FRAME: usize = 1 + 8 + 4;

const HEAD: u8 = 1;
const SERVICE: u8 = 2;
const END: u8 = 3;

/// The directory that holds the checkpoint.
pub struct Directory {
    dir: PathBuf,
    group: String,
}

impl Directory {
    /// For the checkpoints of a consumer group. Creates the directory where it is missing.
    ///
    /// # Errors
    /// It can't be created.
    pub fn open(dir: &Path, group: &str) -> io::Result<Directory> {
        fs::create_dir_all(dir)?;
        Ok(Directory { dir: dir.to_owned(), group: group.to_owned() })
    }

    /// Reads the checkpoint.
    ///
    /// # Errors
    /// Only where the disk can't be read at all: then starting cold would throw away a state that is still there.
    pub fn read(&self) -> io::Result<Found> {
        let path = self.dir.join(NAME);
        let file = match Reader::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(e) => return Err(e),
        };
        let length = file.length();
        match read(file, length, &self.group) {
            Ok(recovered) => Ok(Found::Checkpoint(Box::new(recovered))),
            Err(Unfit::Disk(error)) => Err(error),
            Err(Unfit::Bad(why)) => {
                let moved_to = self.dir.join("checkpoint.bad");
                let moved = fs::rename(&path, &moved_to).is_ok();
                Ok(Found::Bad { why, moved_to: moved.then(|| moved_to.display().to_string()) })
            }
        }
    }

    /// Writes a checkpoint in the place of the last one.
    ///
    /// # Errors
    /// The disk does not take it; the last one stands.
    pub fn write(&self, cut: Cut) -> io::Result<Written> {
        let temporary = self.dir.join("checkpoint.new");
        let written = write_file(&temporary, cut);
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

fn write_file(path: &Path, cut: Cut) -> io::Result<Written> {
    let mut frames = Frames { file: Writer::create(path)?, count: 0, digest: crc32fast::Hasher::new() };
    let written = write_frames(&mut frames, cut);
    // What the disk did not take says more than that it took no more.
    let bytes = frames.file.finish()?;
    Ok(Written { bytes, crc: written? })
}

/// The checksum over all of them.
fn write_frames(frames: &mut Frames<impl Write>, cut: Cut) -> io::Result<u32> {
    frames.file.write_all(MAGIC)?;
    frames.file.write_all(&FORMAT.to_le_bytes())?;
    frames.write(HEAD, &cut.head)?;
    let mut body = Vec::new();
    for share in cut.shares {
        body.clear();
        // Not `to_extend`, which takes byte by byte and twice as long.
        body = postcard::to_io(&share, body).map_err(io::Error::other)?;
        // Whatever the engine changes from here on it need not copy.
        drop(share);
        frames.write(SERVICE, &body)?;
    }
    let crc = frames.digest.clone().finalize();
    let end = postcard::to_stdvec(&(frames.count, crc)).map_err(io::Error::other)?;
    frames.write(END, &end)?;
    Ok(crc)
}

struct Frames<W> {
    file: W,
    count: u64,
    /// Over the checksums of all frames.
    digest: crc32fast::Hasher,
}

impl<W: Write> Frames<W> {
    fn write(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        let crc = checksum(kind, body);
        self.file.write_all(&[kind])?;
        self.file.write_all(&(body.len() as u64).to_le_bytes())?;
        self.file.write_all(&crc.to_le_bytes())?;
        self.file.write_all(body)?;
        self.digest.update(&crc.to_le_bytes());
        self.count += 1;
        Ok(())
    }
}

fn checksum(kind: u8, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind]);
    hasher.update(&(body.len() as u64).to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

/// Why a file is not read.
enum Unfit {
    Disk(io::Error),
    Bad(String),
}

impl From<String> for Unfit {
    fn from(why: String) -> Unfit {
        Unfit::Bad(why)
    }
}

fn read(mut file: impl Read, length: u64, group: &str) -> Result<Recovered, Unfit> {
    let (mut magic, mut format) = ([0; 8], [0; 4]);
    fill(&mut file, &mut magic)?;
    fill(&mut file, &mut format)?;
    if &magic != MAGIC {
        return Err(Unfit::Bad("not a checkpoint of regressd".into()));
    }
    if u32::from_le_bytes(format) != FORMAT {
        return Err(Unfit::Bad(other_format(u32::from_le_bytes(format))));
    }
    let (mut head, mut pieces, mut digest) = (None, Vec::new(), crc32fast::Hasher::new());
    let (mut body, mut count) = (Vec::new(), 0_u64);
    loop {
        let (kind, crc) = frame(&mut file, length, &mut body)?;
        match kind {
            HEAD => head = Some(std::mem::take(&mut body)),
            SERVICE => pieces.push(piece(&body)?),
            END => break,
            _ => return Err(Unfit::Bad(format!("corrupt: a part of the unknown kind {kind}"))),
        }
        digest.update(&crc.to_le_bytes());
        count += 1;
    }
    let crc = digest.finalize();
    if postcard::from_bytes(&body) != Ok((count, crc)) {
        return Err(Unfit::Bad("corrupt: parts are missing, or are those of another checkpoint".into()));
    }
    if !matches!(file.read(&mut [0]), Ok(0)) {
        return Err(Unfit::Bad("corrupt: something follows its end".into()));
    }
    let head = head.ok_or_else(|| "corrupt: it has no head".to_owned())?;
    Ok(recover(&head, pieces, crc, group)?)
}

/// Reads one frame; its kind and its checksum.
fn frame(file: &mut impl Read, most: u64, body: &mut Vec<u8>) -> Result<(u8, u32), Unfit> {
    let mut header = [0; FRAME];
    fill(file, &mut header)?;
    let (kind, rest) = (header[0], &header[1..]);
    let length = u64::from_le_bytes(rest[..8].try_into().expect("eight bytes"));
    let crc = u32::from_le_bytes(rest[8..].try_into().expect("four bytes"));
    // A length that was flipped must not ask for all the memory there is.
    if length > most {
        return Err(Unfit::Bad(format!("torn: a part of {length} bytes in a file of {most}")));
    }
    body.clear();
    body.resize(length as usize, 0);
    fill(file, body)?;
    if checksum(kind, body) != crc {
        return Err(Unfit::Bad("corrupt: a checksum does not fit".into()));
    }
    Ok((kind, crc))
}

fn fill(file: &mut impl Read, bytes: &mut [u8]) -> Result<(), Unfit> {
    file.read_exact(bytes).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => Unfit::Bad("torn: it ends too soon".into()),
        _ => Unfit::Disk(error),
    })
}

#[cfg(test)]
mod tests;
