//! The log: to standard error, for people or as JSON, at the level that the configuration asks for.
//!
//! The level can be changed while the daemon runs; the format can't. What is worth a line, and at which level, is the
//! affair of whoever logs.

use super::config::Log;
use std::io::IsTerminal;
use std::sync::OnceLock;
use tracing::Subscriber;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

/// The process has one log, so the handle to its level is the process' too.
static LEVEL: OnceLock<Level> = OnceLock::new();

type Level = reload::Handle<EnvFilter, Registry>;

/// Why the log can't be started, or its level not be changed.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    #[error("log.level is no filter: {0}")]
    Level(#[from] ParseError),
    #[error("the log was started already")]
    Started,
    #[error("the log is gone")]
    Gone,
}

/// Starts the process' log. To be called once, before the first line.
///
/// # Errors
/// When the level is no filter, or the process has a log already.
pub fn start(log: &Log) -> Result<(), LoggingError> {
    let is_terminal = std::io::stderr().is_terminal();
    let (subscriber, level) = subscriber(log, std::io::stderr, is_terminal)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LoggingError::Started)?;
    LEVEL.set(level).map_err(|_| LoggingError::Started)
}

/// Changes the level of the running log; where none was started, does nothing.
///
/// # Errors
/// When the level is no filter; the old one stays.
pub fn set_level(level: &str) -> Result<(), LoggingError> {
    let filter = EnvFilter::builder().parse(level)?;
    match LEVEL.get() {
        Some(handle) => handle.reload(filter).map_err(|_| LoggingError::Gone),
        None => Ok(()),
    }
}

fn subscriber<W>(
    log: &Log,
    writer: W,
    is_terminal: bool,
) -> Result<(impl Subscriber + Send + Sync, Level), LoggingError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, level) = reload::Layer::new(EnvFilter::builder().parse(&log.level)?);
    let layer = fmt::layer().with_writer(writer);
    let layer = if log.json {
        layer.json().flatten_event(true).with_current_span(false).with_span_list(false).with_ansi(false).boxed()
    } else {
        layer.compact().with_ansi(is_terminal).boxed()
    };
    Ok((Registry::default().with(filter).with(layer), level))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn written(json: bool, level: &str, is_terminal: bool, speak: impl FnOnce(&Level)) -> String {
        let page = Page::default();
        let writer = page.clone();
        let log = Log { json, level: level.to_owned() };
        let (subscriber, level) = subscriber(&log, move || writer.clone(), is_terminal).unwrap();
        tracing::subscriber::with_default(subscriber, || speak(&level));
        let bytes = page.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn people_get_a_line_and_machines_an_object() {
        let speak = |_: &Level| tracing::warn!(service = "checkout", "no such thing");
        let line = written(false, "info", false, speak);
        assert!(line.contains("WARN") && line.contains("no such thing service=\"checkout\""), "{line:?}");
        assert!(!line.contains('\u{1b}'), "colours without a terminal: {line:?}");
        assert!(written(false, "info", true, speak).contains('\u{1b}'));
        let object: serde_json::Value = serde_json::from_str(&written(true, "info", true, speak)).unwrap();
        assert_eq!(object["level"], "WARN");
        assert_eq!(object["message"], "no such thing");
        assert_eq!(object["service"], "checkout");
        assert!(object["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')));
    }

    #[test]
    fn the_level_can_be_changed_while_it_runs() {
        let lines = written(false, "warn", false, |level| {
            tracing::info!("first");
            level.reload(EnvFilter::builder().parse("info").unwrap()).unwrap();
            tracing::info!("second");
        });
        assert!(!lines.contains("first") && lines.contains("second"), "{lines:?}");
    }
}
