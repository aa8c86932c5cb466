//! The wish to stop, shared by whoever may have it, and the time since.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
pub struct Stop(OnceLock<Instant>);

impl Stop {
    /// Asks once; asking again changes nothing.
    pub fn ask(&self) {
        self.0.get_or_init(Instant::now);
    }

    pub fn is_asked(&self) -> bool {
        self.0.get().is_some()
    }

    /// Whether so much time has passed since it was asked.
    pub fn is_overdue(&self, after: Duration) -> bool {
        self.0.get().is_some_and(|asked| asked.elapsed() >= after)
    }
}
