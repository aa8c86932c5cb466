//! `replay`: the same pipeline on a recording, with no broker and no wall clock.
//!
//! Reads the envelopes that `kcat -J` prints, in file order, and writes in the same envelope every message that the
//! daemon would have published. The same recording, configuration and binary give the same bytes. What it does not do:
//! put messages in order of time (the recording's order is the order), or remember anything between two runs.

mod reading;
mod report;

use super::config::Config;
use super::pump::{Outgoing, Pump, Taken};
use super::topics::Topics;
use crate::engine::Engine;
use crate::engine::event::Fact;
use crate::engine::time::Time;
use crate::wire::inbound::Decoded;
use crate::wire::recording::{Line, Recorder};
use reading::{Ahead, lines};
use report::Progress;
pub use report::Summary;
use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

/// Read and write in pieces of this size: 1 MiB each for input and output.
const BUFFER: usize = 1 << 20;

/// Lines that can't be read are named one by one up to this many, then only counted.
const COMPLAINTS_MAX: u64 = 20;

/// What to replay.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `None` reads standard input.
    pub from: Option<PathBuf>,
    /// Close the watches that are still open on the data there is.
    pub drain: bool,
    /// Divide the fleet into so many lanes; what is recommended does not depend on it. 0 and 1 leave it whole.
    pub lanes: u32,
}

/// Replays a file or standard input to standard output; progress and a summary go to standard error.
///
/// A reader that goes away ends the replay quietly.
///
/// # Errors
/// The file can't be read, the output can't be written, or there were lines and not one of them could be read.
pub fn replay(config: Arc<Config>, options: &Options) -> Result<(), String> {
    let topics = Arc::new(Topics::new(&config.kafka.topics));
    let (input, bytes): (Box<dyn Read + Send>, Option<u64>) = match &options.from {
        Some(path) => {
            let file = File::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
            let bytes = file.metadata().ok().filter(|meta| meta.is_file()).map(|meta| meta.len());
            (Box::new(file), bytes)
        }
        None => (Box::new(io::stdin()), None),
    };
    let progress = Progress::start(bytes);
    let output = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    let summary = match pour(config, topics, options, input, output, &progress) {
        Ok(summary) => summary,
        Err(e) if e.kind() == ErrorKind::BrokenPipe => return Ok(()),
        Err(e) => return Err(format!("replay stopped: {e}")),
    };
    progress.finish(&summary);
    if summary.lines > 0 && summary.unreadable == summary.lines {
        return Err("not one line was a message as `kcat -J` prints it".into());
    }
    Ok(())
}

/// The replay itself, from any reader to any writer.
pub fn pour(
    config: Arc<Config>,
    topics: Arc<Topics>,
    options: &Options,
    input: impl Read + Send + 'static,
    output: impl Write,
    progress: &Progress,
) -> io::Result<Summary> {
    let ahead = Ahead { topics: topics.clone(), bytes_max: config.kafka.message_bytes_max };
    let mut pump = Pump::new(Engine::of_lanes(options.lanes), Time::MIN, config, topics.clone());
    let mut tape = Tape { output, line: Vec::new(), recorder: Recorder::default() };
    let mut summary = Summary::default();
    let mut out = Vec::new();
    for batch in lines(input, BUFFER, ahead)? {
        for mut line in batch? {
            summary.bytes += line.bytes;
            summary.lines += 1;
            match line.message {
                Ok(message) => take(&mut pump, &topics, &message, line.decoded.as_mut(), &mut summary, &mut out),
                Err(why) => {
                    summary.unreadable += 1;
                    if summary.unreadable <= COMPLAINTS_MAX {
                        let number = line.number;
                        progress.complain(&format!("line {number} is not a message as `kcat -J` prints it: {why}"));
                    }
                }
            }
            tape.write(&mut out, &mut summary)?;
            progress.tell(&summary);
        }
    }
    if options.drain {
        pump.tell(Fact::Drain, &mut out);
        tape.write(&mut out, &mut summary)?;
    }
    tape.output.flush()?;
    summary.stuck = pump.was_stuck();
    Ok(summary)
}

fn take<'a>(
    pump: &mut Pump,
    topics: &Topics,
    line: &'a Line,
    decoded: Option<&'a mut Decoded>,
    summary: &mut Summary,
    out: &mut Vec<Outgoing>,
) {
    let Some(kind) = topics.kind(&line.topic) else {
        summary.foreign += 1;
        return;
    };
    let payload = line.payload.as_deref().unwrap_or_default();
    let taken = Taken {
        topic: &line.topic,
        partition: line.partition,
        offset: line.offset,
        kind,
        now: line.ts,
        stamped: Some(line.ts),
        key: line.key.as_deref().map(str::as_bytes),
        payload: payload.as_bytes(),
        signature: line.signature.as_deref().map(str::as_bytes),
    };
    summary.messages += 1;
    let contents = match decoded {
        Some(decoded) => pump.take_decoded(&taken, payload, decoded, out),
        None => pump.take(&taken, out),
    };
    summary.facts += contents.facts as u64;
    summary.now = pump.now();
}

/// What is published, line by line.
struct Tape<W: Write> {
    output: W,
    line: Vec<u8>,
    recorder: Recorder,
}

impl<W: Write> Tape<W> {
    fn write(&mut self, out: &mut Vec<Outgoing>, summary: &mut Summary) -> io::Result<()> {
        for outgoing in out.drain(..) {
            summary.count(&outgoing.cause);
            self.line.clear();
            self.recorder.write(&outgoing.topic, outgoing.at, &outgoing.message, &mut self.line);
            self.output.write_all(&self.line)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::recording;

    fn play(recording: &str) -> (Summary, String) {
        let options = Options { drain: true, ..Options::default() };
        let config = Arc::new(Config::from_toml_str("").expect("the defaults"));
        let topics = Arc::new(Topics::new(&config.kafka.topics));
        let mut output = Vec::new();
        let summary =
            pour(config, topics, &options, io::Cursor::new(recording.to_owned()), &mut output, &Progress::silent());
        (summary.expect("memory does not fail"), String::from_utf8(output).expect("lines of text"))
    }

    #[test]
    fn every_line_is_accounted_for() {
        let sample = r#"{\"ts\":1790000000000,\"service\":\"checkout\",\"metric\":\"errors\",\"value\":1}"#;
        let recording = [
            format!(
                r#"{{"topic":"metrics","partition":0,"offset":1,"ts":1790000000000,"key":null,"payload":"{sample}"}}"#
            ),
            format!(r#"{{"topic":"metrics","ts":1790000001000,"payload":"[{sample},{sample}]"}}"#),
            String::new(),
            r#"{"topic":"weather","ts":1790000002000,"payload":"rain"}"#.into(),
            r#"{"topic":"metrics","partition":2,"offset":9,"ts":1790000003000,"payload":"not JSON"}"#.into(),
            r#"{"topic":"logs","ts":1790000004000,"payload":null}"#.into(),
            "nonsense".into(),
        ]
        .join("\n");
        let (summary, output) = play(&recording);
        assert_eq!((summary.lines, summary.unreadable, summary.foreign), (6, 1, 1));
        assert_eq!((summary.messages, summary.facts, summary.dead_letters), (4, 3, 2));
        assert_eq!((summary.bytes, summary.now), (recording.len() as u64, Time(1_790_000_004_000)));
        let letters: Vec<Line> = output.lines().map(|line| recording::parse(line.as_bytes()).expect("ours")).collect();
        let places: Vec<_> = letters.iter().map(|line| (&*line.topic, line.offset, line.ts.0)).collect();
        assert_eq!(
            places,
            [("regressd.dead-letter", 0, 1_790_000_003_000), ("regressd.dead-letter", 1, 1_790_000_004_000)]
        );
        assert_eq!(letters[0].payload.as_deref(), Some("not JSON"));
    }

    #[test]
    fn time_never_goes_back() {
        let (summary, output) = play(concat!(
            r#"{"topic":"logs","ts":1790000004000,"payload":"x"}"#,
            "\n",
            r#"{"topic":"logs","ts":1790000001000,"payload":"y"}"#,
        ));
        assert_eq!(summary.now, Time(1_790_000_004_000));
        assert!(output.lines().all(|line| line.contains(r#""ts":1790000004000"#)), "{output}");
    }
}
