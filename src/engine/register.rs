//! The watches that are open, as the desk knows them: what was found, said and held of each.
//!
//! In the order in which they were opened, over all lanes. It looks at nothing and judges nothing.

use super::effect::{Considered, Reason, Standing, VerdictKind};
use super::event::Deployment;
use super::time::Time;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Other deployments that a message names: the latest of them.
const CONSIDERED: usize = 10;

/// As many as watches are open in all lanes, some 300 bytes each.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Register {
    open: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub thread: Arc<str>,
    pub deployment: Arc<Deployment>,
    /// When it was last looked at, as far as that was told.
    pub looked: Option<Time>,
    /// The regression was found; its verdict is written down.
    pub found: bool,
    /// The regression was published.
    pub said: bool,
    /// Holds that were written down; each once.
    pub held: Vec<Reason>,
    /// The verdict at the end of a watch that found no regression.
    pub ended: Option<VerdictKind>,
}

impl Register {
    /// A watch that was opened already stays as it is.
    pub fn open(&mut self, thread: &Arc<str>, deployment: &Arc<Deployment>) {
        if self.place(thread).is_none() {
            self.open.push(Entry {
                thread: thread.clone(),
                deployment: deployment.clone(),
                looked: None,
                found: false,
                said: false,
                held: Vec::new(),
                ended: None,
            });
        }
    }

    pub fn place(&self, thread: &str) -> Option<usize> {
        self.open.iter().position(|entry| *entry.thread == *thread)
    }

    pub fn get(&self, thread: &str) -> Option<&Entry> {
        self.place(thread).map(|place| &self.open[place])
    }

    pub fn with(&mut self, thread: &str, change: impl FnOnce(&mut Entry)) {
        if let Some(place) = self.place(thread) {
            change(&mut self.open[place]);
        }
    }

    /// Notes a hold; true the first time for its reason.
    pub fn hold(&mut self, thread: &str, reason: Reason) -> bool {
        let Some(place) = self.place(thread) else { return false };
        let held = &mut self.open[place].held;
        let first = !held.contains(&reason);
        if first {
            held.push(reason);
        }
        first
    }

    /// Other deployments of the environment under watch, the latest first, and how they stand beside harm that began at
    /// `onset`.
    pub fn beside(&self, thread: &str, onset: Time) -> Vec<Considered> {
        let Some(guilty) = self.get(thread) else { return Vec::new() };
        let others = self.open.iter().filter(|entry| entry.thread != guilty.thread);
        let mut beside: Vec<Considered> = others
            .filter(|entry| entry.deployment.env == guilty.deployment.env)
            .map(|entry| {
                let standing = match (entry.found, entry.deployment.at > onset) {
                    (true, _) => Standing::Suspected,
                    (false, true) => Standing::Later,
                    (false, false) => Standing::NothingFound,
                };
                Considered { deployment: entry.deployment.clone(), standing }
            })
            .collect();
        beside.sort_by_key(|each| std::cmp::Reverse(each.deployment.at));
        beside.truncate(CONSIDERED);
        beside
    }

    pub fn close(&mut self, thread: &str) -> Option<Entry> {
        self.place(thread).map(|place| self.open.remove(place))
    }

    pub fn len(&self) -> usize {
        self.open.len()
    }

    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}
