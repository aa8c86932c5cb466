//! `regressd demo`: the daemon at work within a minute, with no Kafka and no configuration.
//!
//! Starts librdkafka's in-process mock cluster, the very daemon that production runs, and a small shop that feeds it: a
//! quiet day, then a play of a few hours in quick motion. Prints what the person on call would see. This file knows the
//! order; nothing here knows how a regression is found.

mod card;
mod closing;
mod dice;
mod fleet;
mod picture;
mod record;
mod scrape;
mod script;
mod show;
mod stage;

use crate::engine::time::{Span, Time};
use crate::shell::clock::{Clock, wall};
use crate::shell::config::Config;
use crate::shell::run::{Daemon, Options};
use picture::{Ink, Paint};
use show::{Show, Told};
use stage::{Failure, Stage};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// The same day for everybody.
const SEED: u64 = 20_260_921;

#[derive(Clone, Debug, Default)]
pub struct DemoOptions {
    /// Go on in real time after the play, with /metrics open, until Ctrl-C.
    pub keep: bool,
    /// `host:port` of a real broker to use in place of the one in this process.
    pub kafka: Option<String>,
}

/// Shows everything once, then returns; with `keep`, goes on until Ctrl-C.
///
/// # Errors
/// The broker does not answer, the port is taken, or the daemon stops taking its input.
pub fn demo(options: &DemoOptions) -> Result<(), Failure> {
    let paint = Paint::for_stdout();
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, interrupted.clone())?;
    }
    println!("{}", opening(paint, options));
    let stage = Stage::build(options.kafka.as_deref())?;
    let scratch = Scratch::new()?;
    let listen = if options.keep { "127.0.0.1:9464" } else { "127.0.0.1:0" };
    let config = Config::from_toml_str(&settings(&stage.brokers, &scratch.0, listen)).map_err(|m| m.0.join("\n"))?;
    let daemon = Daemon::start(Arc::new(config), Options { clock: Clock::Log, ..Options::default() })?;

    let start = (wall() - script::HISTORY - script::PLAY).floor(Span::HOUR);
    let curtain = start + script::HISTORY;
    let mut show = Show {
        paint,
        metrics: daemon.http_addr(),
        fleet: fleet::Fleet::new(SEED, start),
        script: script::Script::new(curtain),
        interrupted,
        pace: if paint.terminal { Duration::from_millis(50) } else { Duration::ZERO },
        told: Told::default(),
        stage,
    };
    let outcome = perform(&mut show, start, curtain, options.keep);
    let stopped = daemon.stop();
    outcome?;
    Ok(stopped?)
}

/// The order of the evening.
fn perform(show: &mut Show, start: Time, curtain: Time, keep: bool) -> Result<(), Failure> {
    show.quiet_day(start)?;
    println!(
        "{}\n",
        show.paint.ink(Ink::Dim, "A quiet day is in the baselines. Now the play, in quick motion (times are UTC).")
    );
    show.play(curtain)?;
    if show.over() {
        return Ok(());
    }
    if let Some(payload) = &show.told.first_rollback {
        println!("\n{}", closing::whole_message(show.paint, payload));
    }
    println!("\n{}\n\n{}", closing::summary(show.paint, &show.told), closing::next_steps(show.paint));
    if keep {
        println!(
            "\n{}",
            show.paint
                .ink(Ink::Bold, &format!("Going on in real time: http://{}/metrics (Ctrl-C ends it)", show.metrics))
        );
        show.real_time(curtain + script::PLAY)?;
    }
    Ok(())
}

fn opening(paint: Paint, options: &DemoOptions) -> String {
    let title = paint.ink(Ink::Bold, "regressd demo");
    let broker = match &options.kafka {
        Some(broker) => format!("the broker at {broker} (topics regressd-demo-*)"),
        None => "a Kafka inside this process".to_owned(),
    };
    format!(
        "{title}: five services with three instances each send metrics and logs through {broker}.\n\
         The daemon is the real one. It recommends; people, who are scripted, approve, reject or sleep."
    )
}

/// The demo's configuration: short watches, so that the play is short, two services that may hear `rollback`, and
/// people who have ten minutes to answer.
fn settings(brokers: &str, state: &Path, listen: &str) -> String {
    format!(
        r#"
[kafka]
brokers = "{brokers}"
group = "regressd-demo"
cluster = "demo"
past_deployments = "judge"

[kafka.topics]
metrics = "{}"
logs = "{}"
deployments = "{}"
control = "{}"
recommendations = "{}"
audit = "{}"
dead_letter = "{}"

[kafka.properties]
"fetch.wait.max.ms" = "5"
"fetch.queue.backoff.ms" = "1"

[watch]
duration = "40m"

[gate]
cooldown = "40m"

[[automation]]
service = "checkout"
level = "recommend"

[[automation]]
service = "gateway"
level = "recommend"

[[approvals]]
within = "10m"
escalate_to = "ben"

[state]
dir = {:?}

[http]
listen = "{listen}"
"#,
        stage::METRICS,
        stage::LOGS,
        stage::DEPLOYMENTS,
        stage::CONTROL,
        stage::RECOMMENDATIONS,
        stage::AUDIT,
        stage::DEAD_LETTER,
        state.display().to_string(),
    )
}

/// A directory for the daemon's state that goes when the demo does.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> std::io::Result<Scratch> {
        let dir = std::env::temp_dir().join(format!("regressd-demo-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        Ok(Scratch(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left behind lies in the system's directory for such things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;
    use crate::engine::effect::{Action, Automation, Effect, Lifecycle, Reason, Recommendation, VerdictKind};
    use crate::shell::pump::{Cause, Outgoing, Pump, Taken};
    use crate::shell::topics::Topics;
    use script::{Act, Deploy};

    fn config() -> Config {
        Config::from_toml_str(&settings("127.0.0.1:9092", Path::new("/tmp/x"), "127.0.0.1:0")).expect("no mistakes")
    }

    #[test]
    fn the_demo_is_configured_validly() {
        let policy = config().policy;
        assert_eq!(policy.automation("prod", "checkout").level, Automation::Recommend);
        assert_eq!(policy.automation("prod", "cart").level, Automation::Advise);
    }

    /// The pipeline without a broker, fed as the demo feeds it.
    struct Rehearsal {
        pump: Pump,
        offset: i64,
        out: Vec<Outgoing>,
        said: Vec<Recommendation>,
        held: Vec<Reason>,
    }

    impl Rehearsal {
        fn hear(&mut self, message: &fleet::Message) {
            self.offset += 1;
            let taken = Taken {
                topic: "demo",
                partition: 0,
                offset: self.offset,
                kind: message.kind,
                now: message.at,
                stamped: Some(message.at),
                key: Some(message.key.as_bytes()),
                payload: message.payload.as_bytes(),
                signature: None,
            };
            self.pump.take(&taken, &mut self.out);
            for outgoing in self.out.drain(..) {
                match outgoing.cause {
                    Cause::Effect(Effect::Recommend(said)) => self.said.push(*said),
                    Cause::Effect(Effect::Audit(audit)) => {
                        if let crate::engine::effect::AuditEvent::Held { reason, .. } = audit.event {
                            self.held.push(reason);
                        }
                    }
                    Cause::Effect(
                        Effect::Heartbeat(_) | Effect::Drift(_) | Effect::Accuracy(_) | Effect::Automation(_),
                    ) => {}
                    Cause::DeadLetter(reason) => panic!("{}: {}", reason.word(), message.payload),
                    Cause::Letter => panic!("a daemon alone writes no letters"),
                }
            }
        }

        fn about(&self, id: &str) -> Vec<(Action, VerdictKind)> {
            let issued = self.said.iter().filter(|said| &*said.deployment.id == id);
            issued.map(|said| (said.action, said.verdict)).collect()
        }

        /// What the messages of a thread were, one after another.
        fn ends(&self, id: &str) -> Vec<&'static str> {
            let said = self.said.iter().filter(|said| &*said.deployment.id == id);
            said.map(|said| said.lifecycle.word()).collect()
        }
    }

    fn unanswered(said: &Recommendation) -> bool {
        said.guardrails.reasons.contains(&Reason::NoAnswer)
    }

    #[test]
    fn the_play_goes_as_the_script_promises() {
        let start = Time(1_790_000_000_000).floor(Span::HOUR);
        let curtain = start + script::HISTORY;
        let config = Arc::new(config());
        let topics = Arc::new(Topics::new(&config.kafka.topics));
        let pump = Pump::new(Engine::default(), Time::MIN, config, topics);
        let mut stage = Rehearsal { pump, offset: 0, out: Vec::new(), said: Vec::new(), held: Vec::new() };
        let (mut fleet, mut script) = (fleet::Fleet::new(SEED, start), script::Script::new(curtain));
        let mut deployed: Vec<Deploy> = Vec::new();
        let mut at = start;
        while at < curtain + script::PLAY {
            for scene in script.due(at) {
                scene.act.perform(scene.at, &mut fleet).iter().for_each(|message| stage.hear(message));
                if let Act::Deploy(deploy) = scene.act {
                    deployed.push(deploy);
                }
            }
            at = at + fleet::STEP;
            let heard = stage.said.len();
            fleet.step(at).iter().for_each(|message| stage.hear(message));
            for said in &stage.said[heard..] {
                let Some(bad) = deployed.iter().find(|deploy| *deploy.id == *said.deployment.id) else { continue };
                match (said.lifecycle, said.action) {
                    (Lifecycle::Issued, Action::Rollback) => script.advised(said.at, &said.thread, bad),
                    (Lifecycle::Updated, Action::Escalate) if unanswered(said) => {
                        script.escalated(said.at, &said.thread, bad)
                    }
                    _ => {}
                }
            }
        }
        let regression = |action| (action, VerdictKind::Regression);
        assert!(stage.about("deploy-7781").contains(&regression(Action::Rollback)), "the canary");
        assert!(stage.about("deploy-7782").contains(&regression(Action::Rollback)), "the hurried fix");
        assert!(stage.held.contains(&Reason::Cooldown), "{:?}", stage.held);
        for harmless in ["deploy-7783", "deploy-7785"] {
            assert_eq!(stage.about(harmless), [(Action::None, VerdictKind::Clean)], "{harmless}");
        }
        let (canary, fix, slower) = (stage.ends("deploy-7781"), stage.ends("deploy-7782"), stage.ends("deploy-7784"));
        assert_eq!(canary, ["issued", "approved", "verified"]);
        assert_eq!(fix, ["issued", "updated", "approved", "verified"], "nobody answered, then ben did");
        assert_eq!(slower, ["issued", "rejected"]);
        for back in ["rollback-1", "rollback-2"] {
            let said = stage.about(back);
            assert!(said.iter().all(|(_, verdict)| *verdict != VerdictKind::Regression), "{back}: {said:?}");
        }
        assert!(stage.about("deploy-7786").contains(&regression(Action::Escalate)), "the cart");
    }
}
