//! What was said, thread by thread.
//!
//! It keeps anything from being said twice. It judges nothing; what became of a recommendation, and who approved it, is
//! the threads' affair, and whether it was right is measured in `accuracy`.

use super::recent::Recent;
use crate::engine::effect::{Action, VerdictKind};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Some 200 bytes each, 2 MB in all. Ten times as many as may be watched at once by default: a thread that is still
/// asked for is not forgotten.
const LIMIT: usize = 10_000;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Said {
    threads: Recent<Arc<str>, (VerdictKind, Action)>,
}

impl Said {
    /// Is this the last that was said in the thread?
    pub fn stands(&self, thread: &str, verdict: VerdictKind, action: Action) -> bool {
        self.threads.get(thread).is_some_and(|said| *said == (verdict, action))
    }

    pub fn say(&mut self, thread: &Arc<str>, verdict: VerdictKind, action: Action) {
        self.threads.insert(thread.clone(), (verdict, action), LIMIT);
    }

    pub fn forgotten(&self) -> u64 {
        self.threads.forgotten()
    }
}
