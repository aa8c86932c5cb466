//! Messages from the input topics, decoded into facts: one object or an array of them, all or nothing.
//!
//! One pass, borrowing text from the message. Unknown fields are ignored, `null` is absent, an empty optional text is
//! absent, a field given twice is refused. A message that breaks a rule gives no fact at all and a `Rejected` that
//! names the field. Only JSON is read here; other formats are known by sight and refused by name.

mod control;
mod decoded;
mod deployments;
mod document;
mod fields;
mod logs;
mod metrics;

pub use super::rejected::{RejectReason, Rejected};
pub use decoded::Decoded;

use crate::engine::event::Fact;

/// The header with the signature of a control message's payload, in hexadecimal digits.
pub const SIGNATURE: &str = "regressd-signature";

/// What a topic carries; the configuration says which topic is which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Metrics,
    Logs,
    Deployments,
    Control,
    /// What the seats of a fleet write to each other: `letters` reads them, and they hold no facts.
    Letters,
}

/// Appends the message's facts, or takes none of it.
///
/// # Errors
/// The first thing that is wrong with the message. `facts` is then as it was before.
pub fn decode<'a>(kind: Kind, payload: &'a [u8], facts: &mut Vec<Fact<'a>>) -> Result<(), Rejected> {
    let before = facts.len();
    let taken = match kind {
        Kind::Metrics => document::read::<metrics::SampleFields>(payload, facts),
        Kind::Logs => document::read::<logs::LogFields>(payload, facts),
        Kind::Deployments => document::read::<deployments::DeploymentFields>(payload, facts),
        Kind::Control => document::read::<control::ControlFields>(payload, facts),
        Kind::Letters => Err(Rejected::new(RejectReason::UnsupportedFormat, "letters hold no facts")),
    };
    if taken.is_err() {
        facts.truncate(before);
    }
    taken
}
