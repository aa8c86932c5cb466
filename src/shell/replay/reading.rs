//! Reads a recording ahead, on a thread of its own: a good part of a replay's time goes by taking JSON apart.
//!
//! Lines come in their order, in batches that a slow sender need not fill, with their samples and log lines decoded.
//! What is read ahead is bounded: `AHEAD` batches and the one that is being read, a piece of `BATCH` each, or one line
//! of the largest size, and what was decoded of them.

use crate::shell::topics::Topics;
use crate::wire::inbound::Decoded;
use crate::wire::recording::{self, Line};
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

/// A line longer than this is refused rather than kept whole in memory: 64 MiB.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// Bytes of a batch, and how many batches wait: 512 KiB in all, and about as much for what was decoded.
const BATCH: u64 = 128 << 10;
const AHEAD: usize = 4;

/// A line that was not empty.
pub struct Entry {
    /// Counted from one, empty ones included.
    pub number: u64,
    /// Bytes since the line before, its own included.
    pub bytes: u64,
    /// The message, or what is wrong with it.
    pub message: Result<Line<'static>, String>,
    /// Its facts; none where they are still to be decoded.
    pub decoded: Option<Decoded>,
}

/// What is decoded ahead.
pub struct Ahead {
    pub topics: Arc<Topics>,
    /// No payload larger than this.
    pub bytes_max: usize,
}

impl Ahead {
    fn decoded(&self, line: &Line) -> Option<Decoded> {
        let payload = line.payload.as_deref().filter(|payload| payload.len() <= self.bytes_max)?;
        Decoded::of(self.topics.kind(&line.topic)?, payload)
    }
}

/// The lines of a recording, read in pieces of so many bytes; an error of reading ends them.
///
/// # Errors
/// No thread could be started.
pub fn lines(
    input: impl Read + Send + 'static,
    piece: usize,
    ahead: Ahead,
) -> io::Result<Receiver<io::Result<Vec<Entry>>>> {
    let (to, from) = mpsc::sync_channel(AHEAD);
    let read = move || {
        if let Err(error) = read_on(BufReader::with_capacity(piece, input), &ahead, &to) {
            // Whoever no longer listens knows why.
            let _ = to.send(Err(error));
        }
    };
    // It is not waited for: where the output is gone, a sender that says nothing for hours must not hold up the end.
    thread::Builder::new().name("recording".into()).spawn(read)?;
    Ok(from)
}

fn read_on(mut input: BufReader<impl Read>, ahead: &Ahead, to: &SyncSender<io::Result<Vec<Entry>>>) -> io::Result<()> {
    let (mut batch, mut held, mut bytes, mut line, mut number) = (Vec::new(), 0, 0, Vec::new(), 0);
    loop {
        line.clear();
        let read = Read::take(&mut input, LINE_BYTES_MAX).read_until(b'\n', &mut line)? as u64;
        bytes += read;
        number += 1;
        if read == LINE_BYTES_MAX && line.last() != Some(&b'\n') {
            bytes += input.skip_until(b'\n')? as u64;
        }
        if !line.trim_ascii().is_empty() {
            held += bytes;
            let message = recording::parse(&line).map(Line::into_owned);
            let decoded = message.as_ref().ok().and_then(|line| ahead.decoded(line));
            batch.push(Entry { number, bytes: std::mem::take(&mut bytes), message, decoded });
        }
        // What was read is told before there is more to wait for.
        if held >= BATCH || read == 0 || (input.buffer().is_empty() && !batch.is_empty()) {
            held = 0;
            if to.send(Ok(std::mem::take(&mut batch))).is_err() || read == 0 {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::config::Config;

    #[test]
    fn a_line_is_told_before_the_next_is_waited_for() {
        let (reader, mut writer) = io::pipe().expect("a pipe");
        let topics = Arc::new(Topics::new(&Config::from_toml_str("").expect("the defaults").kafka.topics));
        let told = lines(reader, 4_096, Ahead { topics, bytes_max: 1_000 }).expect("a thread");
        for number in 1..4 {
            let line = format!("{{\"topic\":\"logs\",\"ts\":{number},\"payload\":\"x\"}}\n");
            io::Write::write_all(&mut writer, line.as_bytes()).expect("somebody reads");
            let batch = told.recv().expect("not at its end").expect("it can be read");
            let found: Vec<_> = batch.iter().map(|each| (each.number, each.bytes, each.message.is_ok())).collect();
            assert_eq!(found, [(number, line.len() as u64, true)]);
        }
        drop(writer);
        assert!(told.iter().all(|batch| batch.is_ok_and(|batch| batch.is_empty())));
    }
}
