//! Stable hashes: the same in every build and on every machine, so that ids and checkpoints outlive both.
//!
//! XXH3 with fixed seeds. A series' fingerprint is 64 bits: among a million series two share one with probability
//! 3e-8, which is taken; ids that are published have 128.

use std::borrow::Cow;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// The fingerprint of a list of names; lengths are hashed too, so that no two lists run together.
///
/// They are put in a row and hashed at once: a hash that is fed piece by piece carries half a kilobyte of state.
pub struct Fingerprint(Vec<u8>);

/// As much as most series' names take.
const USUAL: usize = 192;

impl Fingerprint {
    pub fn new() -> Fingerprint {
        Fingerprint(Vec::with_capacity(USUAL))
    }

    pub fn with(mut self, text: &str) -> Fingerprint {
        self.0.extend_from_slice(&(text.len() as u32).to_le_bytes());
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    pub fn labels(mut self, labels: &[(Cow<str>, Cow<str>)]) -> Fingerprint {
        for (name, value) in labels {
            self = self.with(name).with(value);
        }
        self
    }

    pub fn finish(&self) -> u64 {
        xxh3_64(&self.0)
    }
}

impl Default for Fingerprint {
    fn default() -> Fingerprint {
        Fingerprint::new()
    }
}

/// The id of a recommendation thread: one for a deployment of a service in an environment.
pub fn thread_id(env: &str, service: &str, deployment: &str) -> String {
    let text = [env, service, deployment].map(|part| format!("{}:{part}", part.len())).concat();
    format!("{:032x}", xxh3_128(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use xxhash_rust::xxh3::Xxh3;

    #[test]
    fn names_do_not_run_together() {
        assert_ne!(Fingerprint::new().with("ab").with("c").finish(), Fingerprint::new().with("a").with("bc").finish());
        assert_ne!(thread_id("a", "bc", "d"), thread_id("ab", "c", "d"));
    }

    #[test]
    fn ids_never_change() {
        assert_eq!(thread_id("prod", "checkout", "deploy-7781"), thread_id("prod", "checkout", "deploy-7781"));
        assert_eq!(thread_id("prod", "checkout", "deploy-7781").len(), 32);
        let mut fed = Xxh3::new();
        for part in [&b"\x04\0\0\0"[..], b"prod", b"\x08\0\0\0", b"checkout"] {
            fed.update(part);
        }
        assert_eq!(Fingerprint::new().with("prod").with("checkout").finish(), fed.digest());
    }
}
