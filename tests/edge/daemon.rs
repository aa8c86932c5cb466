//! The real binary, running in a scene.
//!
//! Started, it is waited for until it says it is ready. What it writes to standard error is kept and shown when a test
//! fails. Ending it is either the operator's way, which must end with success, or the machine's.

#![allow(dead_code, reason = "the edge and the fault tests use a part each")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::clock::{ask_until, wait_for};
use crate::http;
use crate::leash::Leash;
use crate::scene::Scene;

const READY_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(30);

const PROGRAM: &str = env!("CARGO_BIN_EXE_regressd");

pub struct Daemon<'a> {
    scene: &'a Scene,
    process: Leash,
}

impl Daemon<'_> {
    /// Starts it and waits until it is ready.
    pub fn start(scene: &Scene) -> Daemon<'_> {
        let mut daemon = Daemon::launch(scene);
        let ready = ask_until(READY_LIMIT, || {
            assert!(daemon.process.ended().is_none(), "the daemon ended by itself while it started");
            daemon.is_ready().then_some(())
        });
        assert!(ready.is_some(), "the daemon was not ready within {READY_LIMIT:?}");
        daemon
    }

    /// Starts it and waits for nothing.
    pub fn launch(scene: &Scene) -> Daemon<'_> {
        Daemon::launch_with(scene, &[])
    }

    /// The same, with variables of its environment.
    pub fn launch_with<'a>(scene: &'a Scene, environment: &[(&str, &str)]) -> Daemon<'a> {
        Daemon::launch_by(scene, &mut Command::new(PROGRAM), environment)
    }

    /// The same, its state in a file system of its own, which nobody else sees and which goes with it: `prepare` is
    /// what `sh` does to the directory `$1` first.
    pub fn launch_mounted<'a>(scene: &'a Scene, prepare: &str) -> Daemon<'a> {
        let state = scene.folder().join("state");
        fs::create_dir_all(&state).expect("the scene's folder is writable");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--map-root-user", "sh", "-e", "-c"]);
        command.arg(format!("{prepare}\nshift\nexec \"$@\"")).arg("sh").arg(state).arg(PROGRAM);
        Daemon::launch_by(scene, &mut command, &[])
    }

    fn launch_by<'a>(scene: &'a Scene, command: &mut Command, environment: &[(&str, &str)]) -> Daemon<'a> {
        command.arg("run").arg("--config").arg(scene.config()).env_remove("RUST_LOG");
        command.envs(environment.iter().copied());
        Daemon { scene, process: Leash::start(command, &scene.log()) }
    }

    /// Its state directory as it sees it itself.
    pub fn state(&self) -> PathBuf {
        let state = self.scene.folder().join("state");
        let inside = state.strip_prefix("/").expect("it is an absolute path");
        Path::new("/proc").join(self.process.pid().to_string()).join("root").join(inside)
    }

    pub fn is_ready(&self) -> bool {
        http::get(self.scene.http(), "/readyz").is_ok_and(|answer| answer.status == 200)
    }

    /// SIGSTOP: it stands still and knows nothing of it.
    pub fn pause(&self) {
        self.process.signal("STOP");
    }

    pub fn resume(&self) {
        self.process.signal("CONT");
    }

    /// Fails the test if it is gone.
    pub fn assert_running(&mut self) {
        let ended = self.process.ended();
        assert!(ended.is_none(), "the daemon ended by itself: {ended:?}");
    }

    /// Whether it is gone.
    pub fn has_ended(&mut self) -> bool {
        self.process.ended().is_some()
    }

    /// SIGTERM; it must end with success.
    pub fn stop(mut self) {
        self.process.signal("TERM");
        let status = self.process.wait(STOP_LIMIT);
        assert!(status.is_some_and(|status| status.success()), "SIGTERM ended in {status:?} within {STOP_LIMIT:?}");
    }

    /// SIGKILL.
    pub fn kill(self) {
        self.process.signal("KILL");
    }

    /// SIGHUP.
    pub fn reload(&self) {
        self.process.signal("HUP");
    }

    /// The sum of a metric's series that carry all these labels; 0 where there is none.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        sum_of(&self.exposition().unwrap_or_default(), name, labels)
    }

    pub fn exposition(&self) -> Option<String> {
        http::get(self.scene.http(), "/metrics").ok().filter(|answer| answer.status == 200).map(|answer| answer.body)
    }

    /// In bytes.
    pub fn memory(&self) -> f64 {
        self.metric("process_resident_memory_bytes", &[])
    }

    /// Messages it is done with, whatever became of them.
    pub fn messages(&self) -> f64 {
        self.metric("regressd_messages_total", &[])
    }

    /// Until it is done with so many messages in all.
    pub fn wait_for_messages(&mut self, count: usize, limit: Duration) {
        wait_for(&format!("{count} messages to be taken"), limit, || {
            self.assert_running();
            (self.messages() >= count as f64).then_some(())
        });
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.scene.log()).unwrap_or_default();
            let skipped = log.lines().count().saturating_sub(60);
            eprintln!("--- the daemon's last words, of {}:", self.scene.log().display());
            log.lines().skip(skipped).for_each(|line| eprintln!("{line}"));
        }
    }
}

/// The sum of a metric's series in an exposition that carry all these labels; 0 where there is none.
pub fn sum_of(exposition: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    exposition.lines().filter_map(|line| value_of(line, name, labels)).sum()
}

/// The value of an exposition line, if it is one of these series.
fn value_of(line: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let rest = line.strip_prefix(name)?;
    let (series, value) = rest.rsplit_once(' ')?;
    let named = series.is_empty() || series.starts_with('{');
    let labelled = labels.iter().all(|(label, value)| series.contains(&format!("{label}=\"{value}\"")));
    (named && labelled).then(|| value.parse().ok())?
}
