//! Dead letters: the message as it came, byte for byte, with where it lay and why it was not taken in its headers.
//!
//! Whoever mends the cause can send key and payload again as they are. A tombstone's payload is empty here, never null:
//! on a compacted topic a null would delete the letter before it.

use super::Message;
use crate::wire::rejected::Rejected;

/// Where a message lay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    /// The broker's or the producer's, in Unix milliseconds; `None` where the record has none.
    pub timestamp: Option<i64>,
}

pub fn dead_letter(position: &Position, key: Option<&[u8]>, payload: &[u8], rejected: &Rejected) -> Message {
    let mut headers = vec![
        ("regressd-topic", position.topic.to_owned()),
        ("regressd-partition", position.partition.to_string()),
        ("regressd-offset", position.offset.to_string()),
    ];
    if let Some(timestamp) = position.timestamp {
        headers.push(("regressd-timestamp", timestamp.to_string()));
    }
    headers.push(("regressd-reason", rejected.reason.word().to_owned()));
    headers.push(("regressd-detail", rejected.detail.clone()));
    Message { key: key.map(<[u8]>::to_vec), payload: payload.to_vec(), headers }
}
