//! Recurring windows as they are written: a cron expression, a time zone, a length, and where they hold.
//!
//! Each part has a form of its own, so that a mistake is told with its key; what they come to together the calendar
//! knows.

use super::form::{self, Leaf, Outcome};
use super::section::{Render, Section};
use crate::engine::event::WindowKind;
use crate::engine::policy::{Glob, RecurringWindow};
use crate::engine::time::Span;
use crate::shell::calendar::{Recurring, read_cron, read_zone};
use std::sync::Arc;

/// Every question that the gate asks looks at all of them, some microseconds each.
pub const MOST: usize = 100;

const KINDS: &[(&str, WindowKind)] =
    &[("freeze", WindowKind::Freeze), ("mute", WindowKind::Mute), ("context", WindowKind::Context)];

pub fn read(sections: Vec<Section>) -> Vec<RecurringWindow> {
    sections.into_iter().filter_map(window).collect()
}

fn window(mut section: Section) -> Option<RecurringWindow> {
    let kind = section.read("kind", WindowKind::Freeze, form::one_of(KINDS));
    let cron = section.required("cron", "a cron expression such as \"0 18 * * 5\"", cron);
    let zone = section.read("timezone", "UTC".to_owned(), zone);
    let lengths = Span::MINUTE..=Span(31 * Span::DAY.0);
    let duration = section.required("duration", "a duration such as \"62h\"", form::duration(lengths));
    let service = section.read("service", Glob("*".into()), form::glob);
    let env = section.read("env", Glob("*".into()), form::glob);
    // Nobody asks for it here: it is for those who read the file, and stands in the rendering.
    section.optional("reason", form::any_text);
    let window = match (cron, duration) {
        (Some(cron), Some(duration)) => match Recurring::new(&cron, &zone, duration) {
            Ok(calendar) => Some(RecurringWindow { kind, service, env, calendar: Arc::new(calendar) }),
            Err(why) => {
                section.wrong("cron", &format!("expected a cron expression that comes; found {cron:?} ({why})"));
                None
            }
        },
        _ => None,
    };
    section.done();
    window
}

/// Minute, hour, day of the month, month, day of the week.
fn cron(leaf: &Leaf) -> Outcome<String> {
    form::text_that(leaf, "five cron fields such as \"0 18 * * 5\" (minute, hour, day, month, weekday)", |text| {
        read_cron(text).map(|_| ())
    })
}

/// A name of the IANA time zone database.
fn zone(leaf: &Leaf) -> Outcome<String> {
    form::text_that(leaf, "a time zone such as \"Europe/Berlin\" or \"UTC\"", |text| read_zone(text).map(|_| ()))
}

impl Render for WindowKind {
    fn render(&self) -> String {
        self.word().to_owned()
    }
}
