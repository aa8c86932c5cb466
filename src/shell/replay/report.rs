//! What a replay tells the person who waits for it, on standard error: how far it is, and what came of it.
//!
//! Nothing here decides anything or reaches standard output. Wall time appears in the speed and nowhere else.

use crate::engine::effect::Effect;
use crate::engine::time::Time;
use crate::shell::pump::Cause;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::time::Instant;

/// Redraw once in so many lines: often enough for a person, too rare to cost anything.
const EVERY_LINES: u64 = 8_192;

/// What came of a replay.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    pub bytes: u64,
    /// Lines that were not blank.
    pub lines: u64,
    /// Lines that were no valid envelope.
    pub unreadable: u64,
    /// Messages of topics that the configuration does not name.
    pub foreign: u64,
    pub messages: u64,
    pub facts: u64,
    pub recommendations: u64,
    pub audit: u64,
    pub dead_letters: u64,
    /// The event time of the last message.
    pub now: Time,
    /// A deadline did not move on when it was stepped: a defect.
    pub stuck: bool,
}

impl Summary {
    pub(super) fn count(&mut self, cause: &Cause) {
        match cause {
            Cause::Effect(Effect::Recommend(_)) => self.recommendations += 1,
            Cause::Effect(_) => self.audit += 1,
            Cause::DeadLetter(_) => self.dead_letters += 1,
            Cause::Letter => {}
        }
    }
}

/// Progress on standard error: a bar where it is a terminal, nothing until the summary where it is not.
pub struct Progress {
    bar: ProgressBar,
    started: Instant,
}

impl Progress {
    pub fn start(bytes: Option<u64>) -> Progress {
        let bar = match bytes {
            _ if !std::io::stderr().is_terminal() => ProgressBar::hidden(),
            Some(bytes) => ProgressBar::new(bytes).with_style(
                ProgressStyle::with_template("{bar:40} {percent}% {binary_bytes_per_sec} {eta} {msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_bar()),
            ),
            None => ProgressBar::new_spinner(),
        };
        Progress { bar, started: Instant::now() }
    }

    /// Says nothing at all.
    pub fn silent() -> Progress {
        Progress { bar: ProgressBar::hidden(), started: Instant::now() }
    }

    pub(super) fn tell(&self, summary: &Summary) {
        if summary.lines.is_multiple_of(EVERY_LINES) && !self.bar.is_hidden() {
            self.bar.set_position(summary.bytes);
            self.bar.set_message(format!("{} recommendations", summary.recommendations));
        }
    }

    pub(super) fn complain(&self, text: &str) {
        self.bar.suspend(|| complain(text));
    }

    pub(super) fn finish(&self, summary: &Summary) {
        self.bar.finish_and_clear();
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = summary.facts as f64 / seconds.max(1e-9);
        complain(&format!(
            "{} messages, {} facts in {seconds:.1} s ({rate:.0} facts a second): {} recommendations, {} audit entries, \
             {} dead letters",
            summary.messages, summary.facts, summary.recommendations, summary.audit, summary.dead_letters
        ));
        if summary.foreign > 0 {
            complain(&format!("{} messages of topics that the configuration does not name", summary.foreign));
        }
        if summary.unreadable > 0 {
            complain(&format!("{} of {} lines could not be read", summary.unreadable, summary.lines));
        }
        if summary.stuck {
            complain("a deadline did not move on when it came: please report this as a defect");
        }
    }
}

/// A line for a person; when standard error itself is gone there is nobody left to tell.
fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
