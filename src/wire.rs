//! Bytes ⇄ facts and effects: the only room that knows the topics' field names.
//!
//! Decoding borrows from the message and never panics; what can't be read or breaks a rule is `Rejected` with a reason,
//! whole, for the dead letters. Nothing here knows a broker or the engine's insides.

pub mod inbound;
pub mod letters;
pub mod outbound;
pub mod recording;
pub mod rejected;
mod text;
