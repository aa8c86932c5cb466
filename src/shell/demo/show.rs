//! The performance: feeds the daemon minute by minute, waits for it, and tells the audience what it says.
//!
//! Knows the daemon only from outside, by its topics and its metrics page. It feeds the quiet day with a bounded lead
//! and the play in lock-step: what the person on call does never comes before the advice that it follows.

use super::card::{self, Advice, Carrier, Entry};
use super::fleet::{Fleet, STEP};
use super::picture::{Ink, Paint};
use super::scrape::Scrape;
use super::script::{Act, Deploy, HISTORY, PLAY, Scene, Script};
use super::stage::{Failure, Heard, Stage};
use crate::engine::time::{Span, Time};
use crate::shell::clock::wall;
use indicatif::{ProgressBar, ProgressStyle};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How many messages may be ahead of the daemon while the quiet day is fed: two minutes' worth. So no partition is read
/// further ahead of another than the lateness that the daemon allows, and librdkafka's mock cluster never drops any
/// (it keeps 5 MB a partition).
const LEAD: f64 = 22.0;

/// How long the daemon may take for what it was fed before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Texts to show, each with its moment.
type News = Vec<(Time, String)>;

pub struct Show {
    pub paint: Paint,
    pub stage: Stage,
    pub metrics: SocketAddr,
    pub fleet: Fleet,
    pub script: Script,
    /// Set when somebody pressed Ctrl-C.
    pub interrupted: Arc<AtomicBool>,
    /// What one minute of the play takes at least, for eyes to follow.
    pub pace: Duration,
    pub told: Told,
}

/// All that happened, for the closing words.
#[derive(Default)]
pub struct Told {
    pub deployed: Vec<(Time, Deploy)>,
    pub advices: Vec<Advice>,
    pub holds: Vec<Entry>,
    /// The first recommended rollback, as it stands in the topic.
    pub first_rollback: Option<Vec<u8>>,
}

impl Show {
    /// A day of ordinary life, as fast as the daemon takes it.
    pub fn quiet_day(&mut self, start: Time) -> Result<(), Failure> {
        let bar = ProgressBar::new((HISTORY.0 / Span::MINUTE.0) as u64).with_style(style("{bar:50} {msg}")?);
        let mut at = start;
        while at < start + HISTORY && !self.over() {
            for _ in 0..2 {
                at = at + STEP;
                self.feed(at)?;
            }
            bar.set_message(format!("{} h of history", (at - start).0 / Span::HOUR.0));
            bar.set_position(((at - start).0 / Span::MINUTE.0) as u64);
            self.wait_until_behind_by(LEAD)?;
        }
        self.wait_until_behind_by(0.0)?;
        bar.finish_and_clear();
        Ok(())
    }

    /// The scripted hours, minute by minute.
    pub fn play(&mut self, curtain: Time) -> Result<(), Failure> {
        let bar = ProgressBar::new((PLAY.0 / Span::MINUTE.0) as u64).with_style(style("{msg} {bar:30}")?);
        let mut at = curtain;
        while at < curtain + PLAY && !self.over() {
            let begun = Instant::now();
            at = at + Span::MINUTE;
            bar.set_message(card::clock(at));
            bar.inc(1);
            let news = self.minute(at)?;
            if !news.is_empty() {
                bar.suspend(|| news.iter().for_each(|(_, text)| println!("{text}")));
            }
            std::thread::sleep(self.pace.saturating_sub(begun.elapsed()));
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Ordinary life after the play: catches up with the wall clock, then goes on with it.
    pub fn real_time(&mut self, from: Time) -> Result<(), Failure> {
        let mut at = from;
        while !self.over() {
            if at + Span::MINUTE > wall() {
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
            at = at + Span::MINUTE;
            self.minute(at)?.iter().for_each(|(_, text)| println!("{text}"));
        }
        Ok(())
    }

    /// Whether somebody wants it to end.
    pub fn over(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Plays the minute that ends at `at` and returns what is to be shown of it.
    fn minute(&mut self, at: Time) -> Result<News, Failure> {
        let mut news = Vec::new();
        for scene in self.script.due(at - Span::MINUTE) {
            news.push((scene.at, self.perform(scene)?));
        }
        self.feed(at)?;
        self.wait_until_behind_by(0.0)?;
        self.listen(&mut news)?;
        // What the last minute's end gave rise to is heard only now, after this minute's scenes were performed.
        news.sort_by_key(|(at, _)| *at);
        Ok(news)
    }

    fn feed(&mut self, at: Time) -> Result<(), Failure> {
        self.fleet.step(at).iter().try_for_each(|message| self.stage.write(message))
    }

    fn perform(&mut self, scene: Scene) -> Result<String, Failure> {
        if let Some(message) = scene.act.perform(scene.at, &mut self.fleet) {
            self.stage.write(&message)?;
        }
        let mut what = scene.title.to_owned();
        if let Act::Deploy(deploy) = scene.act {
            what = format!("{} {} → {}: {what}", deploy.service, deploy.from, deploy.to);
            self.told.deployed.push((scene.at, deploy));
        }
        Ok(format!("{} {}", card::clock(scene.at), self.paint.ink(Ink::Bold, &format!("▶ {what}"))))
    }

    /// Waits until at most `lead` of the written messages have not been taken yet.
    fn wait_until_behind_by(&self, lead: f64) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            let taken = Scrape::take(self.metrics)?.sum("regressd_messages_total", &[]);
            if self.stage.written as f64 - taken <= lead || self.over() {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                let written = self.stage.written;
                return Err(format!("the daemon took {taken} of {written} messages and then stopped").into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Hears out what the daemon has published by now.
    fn listen(&mut self, news: &mut News) -> Result<(), Failure> {
        let published = Scrape::take(self.metrics)?.sum("regressd_thread_messages_total", &[]);
        let begun = Instant::now();
        loop {
            match self.stage.listen(Duration::from_millis(2))? {
                Some(Heard::Recommendation(payload)) => self.advice(payload, news)?,
                Some(Heard::Audit(payload)) => self.entry(&payload, news)?,
                // The metrics know how many there are; a few may still be on their way from the broker.
                None if self.told.advices.len() as f64 >= published => return Ok(()),
                None if begun.elapsed() > PATIENCE => {
                    return Err("a recommendation was published and never came".into());
                }
                None => {}
            }
        }
    }

    fn advice(&mut self, payload: Vec<u8>, news: &mut News) -> Result<(), Failure> {
        let advice: Advice = serde_json::from_slice(&payload)?;
        let deployed = self.told.deployed.iter().map(|(_, deploy)| deploy);
        let deploy = deployed.rev().find(|deploy| deploy.id == advice.data.deployment.id).cloned();
        if advice.calls() {
            let carrier = deploy.as_ref().map_or_else(Carrier::default, carrier);
            news.push((advice.time, card::card(self.paint, &advice, &carrier, &self.fleet.record)));
            if let (Some(deploy), "rollback") = (&deploy, advice.data.action.as_str()) {
                self.script.advised(advice.time, &advice.data.recommendation, deploy);
                self.told.first_rollback.get_or_insert(payload);
            }
        } else {
            news.push((advice.time, card::line(self.paint, &advice)));
            if let (Some(deploy), true) = (&deploy, advice.is_unanswered()) {
                self.script.escalated(advice.time, &advice.data.recommendation, deploy);
            }
        }
        self.told.advices.push(advice);
        Ok(())
    }

    fn entry(&mut self, payload: &[u8], news: &mut News) -> Result<(), Failure> {
        let entry: Entry = serde_json::from_slice(payload)?;
        if entry.data.event == "held" {
            // That nothing is said twice is no news.
            if entry.data.reason.as_deref() != Some("already_said") {
                news.push((entry.time, card::hold(self.paint, &entry)));
            }
            self.told.holds.push(entry);
        }
        Ok(())
    }
}

fn carrier(deploy: &Deploy) -> Carrier {
    let canary = !deploy.instances.is_empty();
    let everybody = || vec![format!("{}-", deploy.service)];
    Carrier { instances: if canary { deploy.instances.clone() } else { everybody() }, canary }
}

fn style(template: &str) -> Result<ProgressStyle, Failure> {
    Ok(ProgressStyle::with_template(template)?.progress_chars("━╸─"))
}
