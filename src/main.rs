//! Arguments in, exit code out: 0 well, 1 failed, 2 used or configured wrongly.
//!
//! What the commands do is the shell's; this file only reads the command line and says what went wrong.

use clap::{Parser, Subcommand};
use regressd::shell::config::{Config, check_config};
use regressd::shell::{demo, logging, replay, run};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Finds the regressions a deployment caused and recommends rollbacks to people.
#[derive(Parser)]
#[command(name = "regressd", version = version(), arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Listen to Kafka and publish recommendations until told to stop
    Run {
        /// Without a file, defaults and REGRESSD__… variables hold
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Run a recording (`kcat -J`) through the same pipeline, with no broker and no wall clock
    Replay {
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// The recording; `-` or nothing reads standard input
        #[arg(long, value_name = "FILE")]
        from: Option<PathBuf>,
        /// Close the watches still open at the end, on the data there is
        #[arg(long)]
        drain: bool,
        /// Divide the services among so many lanes, as a fleet of daemons does; the recommendations are the same
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
        lanes: u32,
    },
    /// Watch the daemon at work on a small made-up shop, with no Kafka and no configuration
    Demo {
        /// Go on in real time afterwards, with /metrics on port 9464, until Ctrl-C
        #[arg(long)]
        keep: bool,
        /// Use this broker and topics named regressd-demo-* in place of a Kafka inside the process
        #[arg(long, value_name = "HOST:PORT")]
        kafka: Option<String>,
    },
    /// Check a configuration file and name every mistake in it
    CheckConfig {
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// What went wrong decides the exit code.
enum Failure {
    Failed(String),
    Mistaken(Vec<String>),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Run { config: file } => load(file.as_deref()).and_then(|config| {
            logging::start(&config.log).map_err(|error| Failure::Failed(error.to_string()))?;
            run::run(config, file).map_err(|error| Failure::Failed(error.to_string()))
        }),
        Command::Replay { config, from, drain, lanes } => load(config.as_deref()).and_then(|config| {
            let from = from.filter(|path| path != Path::new("-"));
            replay::replay(config, &replay::Options { from, drain, lanes }).map_err(Failure::Failed)
        }),
        Command::Demo { keep, kafka } => {
            demo::demo(&demo::DemoOptions { keep, kafka }).map_err(|error| Failure::Failed(error.to_string()))
        }
        Command::CheckConfig { file } => match check_config(&file) {
            Ok(text) => print(&text),
            Err(mistakes) => Err(Failure::Mistaken(mistakes.0)),
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Failed(why)) => {
            say(&format!("regressd: {why}"));
            ExitCode::from(1)
        }
        Err(Failure::Mistaken(mistakes)) => {
            mistakes.iter().for_each(|mistake| say(&format!("regressd: {mistake}")));
            ExitCode::from(2)
        }
    }
}

/// The build's revision stands behind the version where the build was told one.
fn version() -> &'static str {
    match option_env!("REGRESSD_REVISION") {
        Some(revision) => format!("{} ({revision})", env!("CARGO_PKG_VERSION")).leak(),
        None => env!("CARGO_PKG_VERSION"),
    }
}

fn load(file: Option<&Path>) -> Result<Arc<Config>, Failure> {
    Config::load(file).map(Arc::new).map_err(|mistakes| Failure::Mistaken(mistakes.0))
}

fn print(text: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout().lock(), "{text}").map_err(|e| Failure::Failed(e.to_string()))
}

/// When standard error is gone there is nobody left to tell, and the exit code still says it.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
