//! Child processes that never outlive the test run.
//!
//! `Drop` ends the child when a test is over or panics. A static is never dropped and a killed test run drops nothing,
//! so beside each child stands a watchdog that reads from a pipe only we hold: when we are gone, it ends the child.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::clock::ask_until;

pub struct Leash {
    child: Child,
    watchdog: Child,
}

impl Leash {
    /// Starts the command with both outputs appended to `log`.
    pub fn start(command: &mut Command, log: &Path) -> Leash {
        let out = File::options().create(true).append(true).open(log).expect("the log's folder exists");
        let err = out.try_clone().expect("a file handle can be cloned");
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .unwrap_or_else(|error| panic!("{:?} can't be started: {error}", command.get_program()));
        // The child is not reaped before the watchdog is gone, so its number can't have gone to somebody else.
        let watchdog = Command::new("sh")
            .args(["-c", "read -r _; kill -9 \"$0\" 2>/dev/null", &child.id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh is there");
        Leash { child, watchdog }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `signal` as `kill` names it: `TERM`, `KILL`, `HUP`, `STOP`, `CONT`.
    pub fn signal(&self, signal: &str) {
        let status =
            Command::new("kill").args(["-s", signal, &self.pid().to_string()]).status().expect("kill is there");
        assert!(status.success(), "kill -s {signal} {} failed", self.pid());
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is our child")
    }

    /// Waits for the child to end by itself.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        ask_until(limit, || self.ended())
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        // All of this may fail only because somebody is gone already, which is what is wanted.
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
