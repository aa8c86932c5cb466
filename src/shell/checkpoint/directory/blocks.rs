//! A file that is written, or read, in large blocks by a thread of its own, past the page cache where the file system
//! lets us.
//!
//! By way of the page cache the kernel finds a page for every 4 KiB and copies into it. That takes longer than to
//! serialise what is in them, slows down whoever computes beside it, and pushes out what others read; and all that is
//! asked for in the end is that the disk has it. What a block holds is not known here.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread::{self, JoinHandle};

/// What is written or read at once.
const BLOCK: usize = 1 << 20;
/// One is being filled, one emptied; the others wait, so that neither side stands still where cores are busy.
const BLOCKS: usize = 8;
/// What disks want addresses, places and lengths to be a multiple of: their sectors are of 512 or 4,096 bytes.
const SECTOR: usize = 4_096;
/// By way of the page cache, so much is written before the disk is asked to have it.
const SYNCED: u64 = 32 << 20;

/// A file that is being written. 8 MiB.
pub struct Writer {
    block: Block,
    bytes: u64,
    full: SyncSender<Block>,
    empty: Receiver<Block>,
    thread: JoinHandle<io::Result<File>>,
}

impl Writer {
    /// Makes the file, or empties it.
    ///
    /// # Errors
    /// It can't be made, or no thread can be had.
    pub fn create(path: &Path) -> io::Result<Writer> {
        let disk = Disk::open(path, File::options().write(true).create(true).truncate(true))?;
        let (full, filled) = mpsc::sync_channel(BLOCKS);
        let (emptied, empty) = mpsc::channel();
        (1..BLOCKS).for_each(|_| emptied.send(Block::new()).expect("its receiver is here"));
        let write = move || disk.write_all(&filled, &emptied);
        let thread = thread::Builder::new().name("checkpoint disk".into()).spawn(write)?;
        Ok(Writer { block: Block::new(), bytes: 0, full, empty, thread })
    }

    /// Waits until the disk has all of it, and tells how much that is.
    ///
    /// # Errors
    /// The disk does not take it.
    pub fn finish(self) -> io::Result<u64> {
        // A thread that has ended before says why when it is joined.
        let _ = self.full.send(self.block);
        drop(self.full);
        let file = self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        file.set_len(self.bytes)?;
        file.sync_all()?;
        Ok(self.bytes)
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.block.filled == BLOCK {
            // The thread ends early only where the disk took no more; `finish` tells why.
            let empty = self.empty.recv().map_err(|_| io::Error::from(ErrorKind::BrokenPipe))?;
            let _ = self.full.send(std::mem::replace(&mut self.block, empty));
        }
        let taken = self.block.take(bytes);
        self.bytes += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file that is being read. 8 MiB.
pub struct Reader {
    length: u64,
    block: Block,
    /// What was read of the block.
    read: usize,
    full: Receiver<io::Result<Block>>,
    empty: Sender<Block>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    /// # Errors
    /// It is not there, can't be read, or no thread can be had.
    pub fn open(path: &Path) -> io::Result<Reader> {
        let disk = Disk::open(path, File::options().read(true))?;
        let length = disk.file.metadata()?.len();
        let (filled, full) = mpsc::sync_channel(BLOCKS);
        let (empty, emptied) = mpsc::channel();
        (1..BLOCKS).for_each(|_| empty.send(Block::new()).expect("its receiver is here"));
        let read = move || disk.read_all(length, &filled, &emptied);
        let thread = Some(thread::Builder::new().name("checkpoint disk".into()).spawn(read)?);
        Ok(Reader { length, block: Block::new(), read: 0, full, empty, thread })
    }

    /// In bytes.
    pub fn length(&self) -> u64 {
        self.length
    }
}

impl Read for Reader {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.read == self.block.filled {
            let Ok(block) = self.full.recv() else {
                // A thread that broke down has not come to the end.
                let ended = self.thread.take().map_or(Ok(()), JoinHandle::join);
                return ended.map_or_else(|panic| std::panic::resume_unwind(panic), |()| Ok(0));
            };
            // Where all is read, nobody takes it.
            let _ = self.empty.send(std::mem::replace(&mut self.block, block?));
            self.read = 0;
        }
        let left = &self.block.bytes()[self.read..self.block.filled];
        let taken = left.len().min(bytes.len());
        bytes[..taken].copy_from_slice(&left[..taken]);
        self.read += taken;
        Ok(taken)
    }
}

/// Memory that begins where a disk can take it from.
struct Block {
    memory: Vec<u8>,
    begin: usize,
    filled: usize,
}

impl Block {
    fn new() -> Block {
        let memory = vec![0; BLOCK + SECTOR];
        let begin = memory.as_ptr().align_offset(SECTOR);
        Block { memory, begin, filled: 0 }
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.begin..self.begin + BLOCK]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.begin..self.begin + BLOCK]
    }

    fn take(&mut self, bytes: &[u8]) -> usize {
        let filled = self.filled;
        let taken = bytes.len().min(BLOCK - filled);
        self.bytes_mut()[filled..filled + taken].copy_from_slice(&bytes[..taken]);
        self.filled += taken;
        taken
    }
}

/// The file as its thread has it.
struct Disk {
    path: PathBuf,
    options: OpenOptions,
    file: File,
    /// Past the page cache.
    direct: bool,
}

impl Disk {
    fn open(path: &Path, options: &mut OpenOptions) -> io::Result<Disk> {
        let (file, direct) = match options.clone().custom_flags(libc::O_DIRECT).open(path) {
            Ok(file) => (file, true),
            // What else may be wrong is told without the flag as well.
            Err(_) => (options.open(path)?, false),
        };
        let options = options.create(false).truncate(false).clone();
        Ok(Disk { path: path.to_owned(), options, file, direct })
    }

    /// There are file systems that know the flag and want larger sectors, or take nothing: then it is done without.
    fn attempt<T>(&mut self, mut attempt: impl FnMut(&File) -> io::Result<T>) -> io::Result<T> {
        match attempt(&self.file) {
            Err(error) if self.direct && error.kind() == ErrorKind::InvalidInput => {
                (self.file, self.direct) = (self.options.open(&self.path)?, false);
                attempt(&self.file)
            }
            outcome => outcome,
        }
    }

    fn write_all(mut self, filled: &Receiver<Block>, emptied: &Sender<Block>) -> io::Result<File> {
        let mut at = 0;
        for mut block in filled {
            // Of the last one more than there is; the file is cut to its length in the end.
            at += self.write(&block.bytes()[..block.filled.next_multiple_of(SECTOR)], at)?;
            block.filled = 0;
            // Whoever fills them may have all it needs.
            let _ = emptied.send(block);
        }
        Ok(self.file)
    }

    /// How much was written, which is all.
    fn write(&mut self, bytes: &[u8], at: u64) -> io::Result<u64> {
        self.attempt(|file| file.write_all_at(bytes, at))?;
        let end = at + bytes.len() as u64;
        if !self.direct && end / SYNCED > at / SYNCED {
            // The disk is at work while the next blocks are filled, and not only once all of them are.
            self.file.sync_data()?;
        }
        Ok(bytes.len() as u64)
    }

    fn read_all(mut self, length: u64, filled: &SyncSender<io::Result<Block>>, emptied: &Receiver<Block>) {
        let mut at = 0;
        for mut block in emptied {
            let read = self.read(&mut block, length, at);
            at += block.filled as u64;
            let is_last = !matches!(read, Ok(BLOCK));
            // Whoever takes them may have seen enough.
            if filled.send(read.map(|_| block)).is_err() || is_last {
                return;
            }
        }
    }

    /// How much was read: less than a block only at the end.
    fn read(&mut self, block: &mut Block, length: u64, at: u64) -> io::Result<usize> {
        block.filled = 0;
        while block.filled < BLOCK && at + (block.filled as u64) < length {
            let filled = block.filled;
            let bytes = &mut block.bytes_mut()[filled..];
            match self.attempt(|file| file.read_at(bytes, at + filled as u64)) {
                Ok(0) => break,
                Ok(read) => block.filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(block.filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn scratch(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("regressd-blocks-{name}-{}", std::process::id()))
    }

    fn numbered(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at % 251) as u8).collect()
    }

    fn read(path: &Path) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut reader = Reader::open(path).expect("opened");
        assert_eq!(reader.read_to_end(&mut bytes).expect("read") as u64, reader.length());
        bytes
    }

    #[test]
    fn every_length_comes_back_as_it_was_written() {
        let path = scratch("lengths");
        for length in [0, 1, SECTOR, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 7] {
            let bytes = numbered(length);
            let mut writer = Writer::create(&path).expect("made");
            bytes.chunks(70_001).for_each(|piece| writer.write_all(piece).expect("taken"));
            assert_eq!(writer.finish().expect("written"), length as u64);
            assert!(fs::read(&path).expect("there") == bytes && read(&path) == bytes, "{length} bytes");
        }
        fs::remove_file(path).expect("removed");
    }

    #[test]
    fn what_a_disk_does_not_take_directly_goes_by_way_of_the_page_cache() {
        let path = scratch("odd");
        let bytes = numbered(2 * SECTOR + 13);
        let mut disk = Disk::open(&path, File::options().write(true).create(true).truncate(true)).expect("made");
        let mut at = 0;
        // Most file systems refuse directly what is no whole sector, or lies anywhere in memory.
        for piece in [&bytes[..SECTOR], &bytes[SECTOR..SECTOR + 11], &bytes[SECTOR + 11..]] {
            at += disk.write(piece, at).expect("written");
        }
        assert!(fs::read(&path).expect("there") == bytes);
        let mut disk = Disk::open(&path, File::options().read(true)).expect("opened");
        let (mut block, from) = (Block::new(), 3);
        let read = disk.read(&mut block, at, from).expect("read");
        assert!(block.bytes()[..read] == bytes[from as usize..]);
        fs::remove_file(path).expect("removed");
    }

    #[test]
    fn a_full_disk_is_told_as_that() {
        let mut writer = Writer::create(Path::new("/dev/full")).expect("opened");
        while writer.write_all(&[0; BLOCK]).is_ok() {}
        assert_eq!(writer.finish().map_err(|error| error.kind()), Err(ErrorKind::StorageFull));
    }

    #[test]
    fn who_has_seen_enough_reads_no_further() {
        let path = scratch("enough");
        fs::write(&path, numbered(10 * BLOCK)).expect("written");
        let mut reader = Reader::open(&path).expect("opened");
        reader.read_exact(&mut [0; 10]).expect("read");
        let Reader { thread, full, empty, .. } = reader;
        drop((full, empty));
        assert!(thread.expect("at work").join().is_ok());
        fs::remove_file(path).expect("removed");
    }
}
