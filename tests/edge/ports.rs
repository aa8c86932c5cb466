//! Loopback ports for brokers and daemons, each handed out once, whatever other test runs there are on this machine.
//!
//! A port that nobody listens on may have been handed out a moment ago, by another process too. So a process takes a
//! block of them at a time: it holds a lock on a file of the block's name, which the system lets go when the process
//! ends, however it ends. The ports lie below the ephemeral range: in that range, a client that keeps knocking while a
//! broker is down can end up connected to itself.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const FIRST: u16 = 20_000;
const BLOCKS: u16 = 240;
/// A process with more than so many takes another block.
const OF_A_BLOCK: u16 = 50;

/// A block of ports that is nobody else's while this lives.
struct Block {
    number: u16,
    _lock: File,
}

impl Block {
    /// The first from this one on that nobody has.
    fn take(folder: &Path, from: u16) -> Option<Block> {
        (0..BLOCKS).map(|n| (from + n) % BLOCKS).find_map(|number| {
            let lock = File::create(folder.join(number.to_string())).ok()?;
            lock.try_lock().ok()?;
            Some(Block { number, _lock: lock })
        })
    }

    fn ports(&self) -> impl Iterator<Item = u16> + use<> {
        let first = FIRST + self.number * OF_A_BLOCK;
        first..first + OF_A_BLOCK
    }
}

/// A loopback port nobody listens on and nobody else was given.
pub fn free_port() -> u16 {
    static TAKEN: Mutex<(Vec<Block>, Vec<u16>)> = Mutex::new((Vec::new(), Vec::new()));
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let (blocks, ports) = &mut *taken;
    loop {
        if let Some(port) = ports.pop() {
            // What ended runs have left behind, or who knows nothing of these locks.
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return port;
            }
            continue;
        }
        let from = blocks.last().map_or(std::process::id() % u32::from(BLOCKS), |last| u32::from(last.number) + 1);
        let from = u16::try_from(from).expect("it is a small number");
        let block = Block::take(&folder(), from).expect("of so many blocks of ports one is nobody's");
        ports.extend(block.ports().collect::<Vec<_>>().into_iter().rev());
        blocks.push(block);
    }
}

/// One for all test runs on this machine.
fn folder() -> PathBuf {
    let folder = std::env::temp_dir().join("regressd-test-ports");
    fs::create_dir_all(&folder).expect("the machine's folder for temporary files is writable");
    folder
}

#[test]
fn a_block_of_ports_is_nobody_elses_until_it_is_let_go() {
    let folder = crate::kafka::scratch("ports");
    let first = Block::take(&folder, 7).expect("all are free");
    let second = Block::take(&folder, 7).expect("all but one are free");
    assert_eq!((first.number, second.number), (7, 8));
    assert!(first.ports().all(|port| !second.ports().any(|other| other == port)));
    assert_eq!(Block::take(&folder, BLOCKS - 1).map(|last| last.ports().last()), Some(Some(31_999)));
    drop(first);
    assert_eq!(Block::take(&folder, 7).map(|again| again.number), Some(7), "it was not let go");
    fs::remove_dir_all(folder).expect("it is ours");
}
