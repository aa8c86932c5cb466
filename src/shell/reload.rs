//! Reload: a changed configuration file, or SIGHUP, becomes a new configuration, or is refused whole.
//!
//! One thread decides; it is woken by the signal and by changes in the file's directory, waits until the writer is
//! done, and then reads. A file with a mistake, one that is gone and one that looks half written leave everything as
//! it is. What the new configuration is for is not known here: it is handed over, and what can't change in a running
//! daemon is left out of it.

use super::config::{Config, Mistakes, read_file};
use super::logging;
use super::telemetry::Metrics;
use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use signal_hook::consts::SIGHUP;
use signal_hook::iterator::{Handle, Signals};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::xxh3_64;

/// How long the directory must be quiet: editors and Kubernetes change several things in a row.
const QUIET: Duration = Duration::from_millis(300);
/// A directory that is never quiet is looked at all the same, so often.
const PATIENCE: Duration = Duration::from_secs(3);
/// Wakings that wait; more say nothing new, as one look sees everything.
const WAKINGS_MAX: usize = 64;
/// Configurations that wait to be taken, some 100 KB each; the loop takes them every turn, so more means it stands
/// still.
const WAITING_MAX: usize = 4;

/// Watches until it is dropped.
pub struct Reloader {
    wake: SyncSender<Wake>,
    signals: Handle,
    /// Keeps the directory watched; `None` where there is no file, or it can't be watched.
    watcher: Option<RecommendedWatcher>,
    threads: Vec<JoinHandle<()>>,
}

enum Wake {
    /// Somebody asked for it.
    Asked,
    /// Something in the directory changed.
    Changed,
    Stop,
}

impl Reloader {
    /// Reloads `path` when it changes or at SIGHUP; the receiver gets each new configuration that differs from the one
    /// before, beginning with `current`. Without a path, SIGHUP is taken and nothing reloaded. A directory that can't
    /// be watched is told in the log; SIGHUP works all the same.
    ///
    /// # Errors
    /// When the signal can't be taken or a thread not be started.
    pub fn start(
        path: Option<PathBuf>,
        current: Arc<Config>,
        metrics: Arc<Metrics>,
    ) -> io::Result<(Reloader, Receiver<Arc<Config>>)> {
        metrics.config_loaded(&current.policy.hash);
        let (wake, woken) = mpsc::sync_channel(WAKINGS_MAX);
        let (send, receive) = mpsc::sync_channel(WAITING_MAX);
        let watcher = path.as_deref().and_then(|path| watch(path, wake.clone()));
        let mut signals = Signals::new([SIGHUP])?;
        let handle = signals.handle();
        let asked = wake.clone();
        let listen = move || {
            for _ in signals.forever() {
                // A full queue will be looked at anyway.
                let _ = asked.try_send(Wake::Asked);
            }
        };
        let mut reloader = Reloader { wake, signals: handle, watcher, threads: Vec::new() };
        reloader.threads.push(std::thread::Builder::new().name("sighup".to_owned()).spawn(listen)?);
        let mut reload = Reload { path, current, metrics, send, seen: None };
        let work = move || {
            // The file may have changed between being loaded and being watched.
            reload.look(false);
            while let Some(is_asked) = next(&woken) {
                reload.look(is_asked);
            }
        };
        reloader.threads.push(std::thread::Builder::new().name("reload".to_owned()).spawn(work)?);
        Ok((reloader, receive))
    }
}

impl Drop for Reloader {
    fn drop(&mut self) {
        // First the wakers, so that there is room for the last waking.
        self.watcher = None;
        self.signals.close();
        let _ = self.wake.send(Wake::Stop);
        for thread in self.threads.drain(..) {
            // It ends by itself; that it panicked was told when it happened.
            let _ = thread.join();
        }
    }
}

/// Watches the directory, not the file: editors and Kubernetes replace the file, or a link on the way to it.
fn watch(path: &Path, wake: SyncSender<Wake>) -> Option<RecommendedWatcher> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let on_event = move |event: notify::Result<Event>| {
        if event.is_ok_and(|event| is_change(event.kind)) {
            // A full queue will be looked at anyway.
            let _ = wake.try_send(Wake::Changed);
        }
    };
    let watched = notify::recommended_watcher(on_event)
        .and_then(|mut watcher| watcher.watch(dir, RecursiveMode::NonRecursive).map(|()| watcher));
    match watched {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::warn!(dir = %dir.display(), %error, "the configuration is not watched; SIGHUP reloads it");
            None
        }
    }
}

/// Reading the file is an event too: to act on it would wake ourselves for ever.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}

/// Waits for a waking and then until all is quiet. `Some(true)` if somebody asked, `None` at the end.
fn next(woken: &Receiver<Wake>) -> Option<bool> {
    let mut is_asked = match woken.recv() {
        Ok(Wake::Asked) => return Some(true),
        Ok(Wake::Changed) => false,
        Ok(Wake::Stop) | Err(_) => return None,
    };
    let begun = Instant::now();
    while !is_asked && begun.elapsed() < PATIENCE {
        match woken.recv_timeout(QUIET) {
            Ok(Wake::Asked) => is_asked = true,
            Ok(Wake::Changed) => {}
            Err(RecvTimeoutError::Timeout) => break,
            Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
    Some(is_asked)
}

/// The file as it was last looked at: its content's hash, or why it can't be read.
type Seen = Result<u64, String>;

struct Reload {
    path: Option<PathBuf>,
    /// In force.
    current: Arc<Config>,
    metrics: Arc<Metrics>,
    send: SyncSender<Arc<Config>>,
    seen: Option<Seen>,
}

/// What came of a look at the file.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// There is no file to look at.
    NoFile,
    /// The same content as at the last look.
    Untouched,
    /// Other content, the same settings as far as they can change.
    Same,
    Taken,
    Refused(Vec<String>),
}

impl Reload {
    /// Looks at the file; unless `is_asked`, only if its content has changed.
    fn look(&mut self, is_asked: bool) -> Outcome {
        let Some(path) = self.path.clone() else {
            tracing::info!("there is no configuration file to reload");
            return Outcome::NoFile;
        };
        let text = read_file(&path);
        let seen = text.as_ref().map(|text| xxh3_64(text.as_bytes())).map_err(String::clone);
        if !is_asked && self.seen.as_ref() == Some(&seen) {
            return Outcome::Untouched;
        }
        let is_first = self.seen.is_none();
        self.seen = Some(seen);
        let outcome = match text.map_err(|error| Mistakes(vec![error])).and_then(|text| self.read(&text)) {
            Ok(config) => self.take(config, is_first && !is_asked),
            Err(Mistakes(lines)) => Outcome::Refused(lines),
        };
        if let Outcome::Refused(lines) = &outcome {
            self.metrics.config_refused();
            let file = path.display();
            tracing::error!(%file, mistakes = lines.len(), "configuration refused, the old one stays in force");
            lines.iter().for_each(|line| tracing::error!(%file, "{line}"));
        }
        outcome
    }

    fn read(&self, text: &str) -> Result<Config, Mistakes> {
        let config = Config::from_text(text)?;
        // Valid when the daemon starts, but a file that is empty all of a sudden was cut off by its writer.
        if text.trim().is_empty() && !self.current.changes(&config).is_empty() {
            let line = "the file is empty and looks half written; a line with a comment asks for the defaults";
            return Err(Mistakes(vec![line.to_owned()]));
        }
        Ok(config)
    }

    fn take(&mut self, config: Config, is_first: bool) -> Outcome {
        let changes = self.current.changes(&config);
        for change in &changes {
            match change.needs_restart() {
                true => tracing::warn!("{change} (needs a restart; not in force)"),
                false => tracing::info!("{change}"),
            }
        }
        let next = Arc::new(config.within(&self.current));
        if *next == *self.current {
            if !is_first {
                tracing::info!("configuration reloaded, nothing to change");
            }
            self.metrics.config_loaded(&next.policy.hash);
            return Outcome::Same;
        }
        match self.send.try_send(next.clone()) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                // So that the next waking looks again.
                self.seen = None;
                return Outcome::Refused(vec![format!("{WAITING_MAX} configurations wait to be taken already")]);
            }
            Err(TrySendError::Disconnected(_)) => {
                return Outcome::Refused(vec!["the daemon is stopping".to_owned()]);
            }
        }
        if let Err(error) = logging::set_level(&next.log.level) {
            tracing::error!(%error, "the old log level stays");
        }
        self.metrics.config_loaded(&next.policy.hash);
        tracing::info!(policy = %next.policy.hash, "configuration reloaded");
        self.current = next;
        Outcome::Taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::time::Span;
    use std::fs;
    use std::os::unix::fs::symlink;

    const DEADLINE: Duration = Duration::from_secs(20);

    /// A directory of the test's own, gone when it is dropped.
    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Dir {
            let path = std::env::temp_dir().join(format!("regressd-reload-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Dir(path)
        }
        fn file(&self) -> PathBuf {
            self.0.join("regressd.toml")
        }
        fn write(&self, text: &str) {
            fs::write(self.file(), text).unwrap();
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn watching(hours: u32) -> String {
        format!("[watch]\nduration = \"{hours}h\"\n")
    }

    fn hours(config: &Config) -> i64 {
        config.policy.watch.duration.0 / Span::HOUR.0
    }

    fn start(dir: &Dir) -> (Reloader, Receiver<Arc<Config>>) {
        let current = Arc::new(Config::load(Some(&dir.file())).unwrap());
        Reloader::start(Some(dir.file()), current, Arc::new(Metrics::new())).unwrap()
    }

    fn received(receive: &Receiver<Arc<Config>>) -> i64 {
        hours(&receive.recv_timeout(DEADLINE).unwrap())
    }

    fn by_hand(dir: &Dir) -> (Reload, Receiver<Arc<Config>>) {
        let current = Arc::new(Config::load(Some(&dir.file())).unwrap());
        let metrics = Arc::new(Metrics::new());
        let (send, receive) = mpsc::sync_channel(WAITING_MAX);
        let mut reload = Reload { path: Some(dir.file()), current, metrics, send, seen: None };
        assert_eq!(reload.look(false), Outcome::Same);
        (reload, receive)
    }

    fn is_successful(reload: &Reload) -> bool {
        reload.metrics.render().contains("\nregressd_config_last_reload_successful 1\n")
    }

    #[test]
    fn a_file_written_over_and_one_renamed_into_place_are_seen() {
        let dir = Dir::new("write");
        dir.write(&watching(1));
        let (_reloader, receive) = start(&dir);
        dir.write(&watching(2));
        assert_eq!(received(&receive), 2);
        fs::write(dir.0.join("new"), watching(3)).unwrap();
        fs::rename(dir.0.join("new"), dir.file()).unwrap();
        assert_eq!(received(&receive), 3);
    }

    /// As Kubernetes does it: the file is a link through `..data`, and `..data` is swapped.
    #[test]
    fn a_swapped_link_is_seen() {
        let dir = Dir::new("swap");
        for (version, hours) in [("..1", 1), ("..2", 2)] {
            fs::create_dir(dir.0.join(version)).unwrap();
            fs::write(dir.0.join(version).join("regressd.toml"), watching(hours)).unwrap();
        }
        symlink("..1", dir.0.join("..data")).unwrap();
        symlink("..data/regressd.toml", dir.file()).unwrap();
        let (_reloader, receive) = start(&dir);
        symlink("..2", dir.0.join("..data_tmp")).unwrap();
        fs::rename(dir.0.join("..data_tmp"), dir.0.join("..data")).unwrap();
        fs::remove_dir_all(dir.0.join("..1")).unwrap();
        assert_eq!(received(&receive), 2);
    }

    #[test]
    fn a_file_that_changed_before_it_was_watched_is_seen() {
        let dir = Dir::new("before");
        dir.write(&watching(1));
        let current = Arc::new(Config::load(Some(&dir.file())).unwrap());
        dir.write(&watching(2));
        let (_reloader, receive) = Reloader::start(Some(dir.file()), current, Arc::new(Metrics::new())).unwrap();
        assert_eq!(received(&receive), 2);
    }

    #[test]
    fn a_bad_file_in_between_changes_nothing_and_stops_nothing() {
        let dir = Dir::new("between");
        dir.write(&watching(2));
        let (_reloader, receive) = start(&dir);
        for bad in ["[watch]\nduration = \"2", "", "[wotch]"] {
            dir.write(bad);
        }
        fs::remove_file(dir.file()).unwrap();
        dir.write(&watching(5));
        assert_eq!(received(&receive), 5, "the bad ones were never handed over");
    }

    #[test]
    fn sighup_reads_at_once() {
        let dir = Dir::new("sighup");
        dir.write(&watching(1));
        let current = Arc::new(Config::load(Some(&dir.file())).unwrap());
        let (reloader, receive) = Reloader::start(Some(dir.file()), current, Arc::new(Metrics::new())).unwrap();
        dir.write(&watching(4));
        signal_hook::low_level::raise(SIGHUP).unwrap();
        assert_eq!(received(&receive), 4);
        drop(reloader);
        assert!(receive.recv().is_err(), "its threads have ended");
    }

    #[test]
    fn without_a_file_there_is_nothing_to_reload() {
        let current = Arc::new(Config::load(None).unwrap());
        let (send, _receive) = mpsc::sync_channel(WAITING_MAX);
        let mut reload = Reload { path: None, current, metrics: Arc::new(Metrics::new()), send, seen: None };
        assert_eq!(reload.look(true), Outcome::NoFile);
    }

    #[test]
    fn a_bad_file_is_refused_whole_with_every_mistake() {
        let dir = Dir::new("refuse");
        dir.write(&watching(2));
        let (mut reload, receive) = by_hand(&dir);
        assert!(is_successful(&reload));
        dir.write("[watch]\nduration = \"3h\"\nlatness = \"1s\"\n[limits]\nseries = 0");
        let expected = [
            "watch.latness: unknown key; did you mean lateness?",
            "limits.series: expected a whole number from 1 to 100000000; found 0",
        ];
        assert_eq!(reload.look(false), Outcome::Refused(expected.map(str::to_owned).to_vec()));
        assert!(!is_successful(&reload));
        assert_eq!(reload.look(false), Outcome::Untouched, "told once");
        assert!(matches!(reload.look(true), Outcome::Refused(_)), "and again to whoever asks");
        assert!(receive.try_recv().is_err());
        assert_eq!(hours(&reload.current), 2);
        dir.write(&watching(2));
        assert_eq!(reload.look(false), Outcome::Same);
        assert!(is_successful(&reload));
    }

    #[test]
    fn a_file_that_is_gone_or_cut_off_is_refused() {
        let dir = Dir::new("gone");
        dir.write(&watching(2));
        let (mut reload, _receive) = by_hand(&dir);
        for cut_off in ["", " \n", "[watch]\nduration = "] {
            dir.write(cut_off);
            assert!(matches!(reload.look(false), Outcome::Refused(_)), "{cut_off:?}");
        }
        fs::remove_file(dir.file()).unwrap();
        assert!(matches!(reload.look(false), Outcome::Refused(_)));
        assert_eq!(reload.look(false), Outcome::Untouched);
        assert_eq!(hours(&reload.current), 2);
        dir.write("# the defaults, please\n");
        assert_eq!(reload.look(false), Outcome::Taken);
        assert_eq!(hours(&reload.current), 1);
    }

    #[test]
    fn what_needs_a_restart_is_left_out() {
        let dir = Dir::new("restart");
        dir.write("[kafka]\nbrokers = \"a:1\"");
        let (mut reload, receive) = by_hand(&dir);
        dir.write("[kafka]\nbrokers = \"b:1\"");
        assert_eq!(reload.look(false), Outcome::Same);
        dir.write("[kafka]\nbrokers = \"b:1\"\n[watch]\nduration = \"2h\"");
        assert_eq!(reload.look(false), Outcome::Taken);
        let config = receive.try_recv().unwrap();
        assert_eq!((config.kafka.brokers.as_str(), hours(&config)), ("a:1", 2));
    }

    #[test]
    fn a_daemon_that_stands_still_is_not_sent_more_and_more() {
        let dir = Dir::new("full");
        dir.write(&watching(1));
        let (mut reload, receive) = by_hand(&dir);
        for n in 0..WAITING_MAX as u32 {
            dir.write(&watching(n + 2));
            assert_eq!(reload.look(false), Outcome::Taken);
        }
        dir.write(&watching(20));
        assert!(matches!(reload.look(false), Outcome::Refused(_)));
        assert!(receive.try_recv().is_ok());
        assert_eq!(reload.look(false), Outcome::Taken, "looked at again without another change");
    }
}
