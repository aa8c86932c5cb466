//! What people say, and what became of what was said: words, labels, and what both lead to for levels of automation.
//!
//! Orders the rooms that listen (gate, threads, accuracy, earning) as `engine` orders those that look. It counts
//! nothing and decides nothing.

use super::accuracy::Labelled;
use super::desk::Desk;
use super::effect::{Accuracy, Audit, AuditEvent, AutomationNews, Effect, FeedbackLabel, Heard, Recommendation};
use super::entry::publish;
use super::event::{About, ContextKind, Control, Deployment, Feedback, Window, Word};
use super::policy::Policy;
use super::time::Time;
use std::sync::Arc;

impl Desk {
    /// How often we were right by now, and which version of that table this is; none if it is the known one.
    pub fn accuracy(&self, policy: &Policy, known: Option<u64>) -> Option<(u64, Accuracy)> {
        let version = self.cases.version();
        let now = self.now.filter(|_| known != Some(version))?;
        Some((version, self.cases.report(policy, now, self.earning.rungs(policy, &self.cases))))
    }

    /// Somebody speaks. `late`: of an event, that the beginning of its time was learned from before it was told.
    pub fn control(&mut self, policy: &Policy, now: Time, control: &Control, late: bool, effects: &mut Vec<Effect>) {
        match &control.word {
            Word::Approval { recommendation, decision } => {
                let by = control.by.as_ref();
                let (outcome, message) = self.threads.answer(policy, now, recommendation, by, *decision);
                effects.push(heard(now, control, outcome));
                if let Some(message) = message {
                    self.tell(policy, now, control.at, message, effects);
                }
            }
            Word::Feedback { about, verdict, .. } => self.feedback(policy, now, control, (about, *verdict), effects),
            Word::Automation { scope, level } => {
                let (outcome, news) = self.earning.hear(policy, now, &self.cases, control, (scope, *level));
                self.cases.touch();
                effects.push(heard(now, control, outcome));
                news.into_iter().for_each(|news| announce(news, effects));
            }
            Word::Context { window, kind } => self.event(policy, now, control, (window, *kind, late), effects),
            Word::Freeze(_) | Word::Mute(_) => {
                let outcome = self.gate.hear(policy, now, control);
                effects.push(heard(now, control, outcome));
            }
        }
    }

    /// Publishes a message of a thread, and learns from it whether the call was right. `at` is when whoever gave rise
    /// to it spoke.
    pub(super) fn tell(
        &mut self,
        policy: &Policy,
        now: Time,
        at: Time,
        message: Recommendation,
        effects: &mut Vec<Effect>,
    ) {
        let label = self.cases.shown(&message, at);
        publish(message, effects);
        self.labelled(policy, now, label, effects);
    }

    /// A deployment took effect: some before it may have been taken back.
    pub(super) fn taken_back(
        &mut self,
        policy: &Policy,
        now: Time,
        deployment: &Deployment,
        effects: &mut Vec<Effect>,
    ) {
        let threads = &self.threads;
        let labels = self.cases.deployed(policy, deployment, |thread| threads.is_open(thread));
        self.labelled(policy, now, labels, effects);
    }

    /// Another configuration is in force.
    pub(super) fn configured(&mut self, policy: &Policy, now: Time, effects: &mut Vec<Effect>) {
        let news = self.earning.configured(policy, now, &self.cases);
        self.cases.touch();
        news.into_iter().for_each(|news| announce(news, effects));
    }

    /// The periodic report, if it is due.
    pub(super) fn measured(&mut self, policy: &Policy, now: Time, effects: &mut Vec<Effect>) {
        if self.cases.is_due(policy, now) {
            let rungs = self.earning.rungs(policy, &self.cases);
            effects.push(Effect::Accuracy(Box::new(self.cases.report(policy, now, rungs))));
        }
    }

    /// An event that may explain what was seen: open threads hear of it.
    fn event(
        &mut self,
        policy: &Policy,
        now: Time,
        control: &Control,
        (window, kind, late): (&Window, ContextKind, bool),
        effects: &mut Vec<Effect>,
    ) {
        let outcome = self.gate.hear(policy, now, control);
        if outcome != Heard::Taken {
            return effects.push(heard(now, control, outcome));
        }
        effects.push(heard(now, control, if late { Heard::TakenLate } else { Heard::Taken }));
        let by = control.by.as_deref().unwrap_or("nobody");
        for message in self.threads.explained(now, window, kind, by) {
            self.tell(policy, now, control.at, message, effects);
        }
    }

    fn feedback(
        &mut self,
        policy: &Policy,
        now: Time,
        control: &Control,
        (about, said): (&About, Feedback),
        effects: &mut Vec<Effect>,
    ) {
        let (outcome, label) = self.cases.feed_back(about, control.at, said);
        let thread = self.cases.thread(about);
        let case = thread.as_ref().and_then(|thread| self.cases.get(thread));
        let harmful = case.and_then(|case| case.label()).map(|label| label.harmful);
        let about = case.map(|case| case.deployment.clone());
        let mut entry = entry(now, control, outcome, Some(FeedbackLabel { said, harmful }));
        if let Some(about) = &about {
            entry.env = about.env.clone();
            entry.service = about.service.clone();
            entry.deployment = Some(about.id.clone());
            entry.recommendation = thread;
        }
        effects.push(Effect::Audit(entry));
        if let (Heard::Taken, Some(about), Some(harmful)) = (outcome, about, harmful) {
            self.gate.judged(&about, harmful);
        }
        self.labelled(policy, now, label, effects);
    }

    fn labelled(
        &mut self,
        policy: &Policy,
        now: Time,
        labels: impl IntoIterator<Item = Labelled>,
        effects: &mut Vec<Effect>,
    ) {
        for label in labels {
            let news = self.earning.labelled(policy, now, &self.cases, &label);
            news.into_iter().for_each(|news| announce(news, effects));
        }
    }
}

fn heard(now: Time, control: &Control, outcome: Heard) -> Effect {
    Effect::Audit(entry(now, control, outcome, None))
}

fn entry(now: Time, control: &Control, outcome: Heard, label: Option<FeedbackLabel>) -> Audit {
    let (env, service) = control.word.scope();
    let event = AuditEvent::Heard { word: control.word.word(), by: control.by.clone(), outcome, label };
    let deployment = match &control.word {
        Word::Feedback { about: About::Deployment(id), .. } => Some(id.clone()),
        _ => None,
    };
    Audit { at: now, env, service, deployment, recommendation: control.word.recommendation(), event }
}

fn announce(news: AutomationNews, effects: &mut Vec<Effect>) {
    let AutomationNews { at, change, from, to, .. } = news;
    let (env, service): (Arc<str>, Arc<str>) = (news.env.clone(), news.service.clone());
    let event = AuditEvent::Automation { change, from, to, by: news.by.clone() };
    effects.push(Effect::Automation(Box::new(news)));
    effects.push(Effect::Audit(Audit { at, env, service, deployment: None, recommendation: None, event }));
}
