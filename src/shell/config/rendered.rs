//! The words that the file has for settings of ours that are one of a few, as a rendering shows them.
//!
//! What a word means is known where it is read.

use super::section::Render;
use super::{DeliveryMode, GroupProtocol, PastDeployments, Rekey};
use crate::engine::effect::Automation;
use crate::engine::policy::Caution;
use ed25519_dalek::VerifyingKey;

/// Whether logs are JSON, as the word that the file has for it.
#[derive(Clone, Copy)]
pub struct Format(pub bool);

impl Render for Format {
    fn render(&self) -> String {
        if self.0 { "json" } else { "pretty" }.to_owned()
    }
}

impl Render for VerifyingKey {
    fn render(&self) -> String {
        self.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Render for Rekey {
    fn render(&self) -> String {
        match self {
            Rekey::Auto => "auto",
            Rekey::Always => "always",
            Rekey::Never => "never",
        }
        .to_owned()
    }
}

impl Render for DeliveryMode {
    fn render(&self) -> String {
        match self {
            DeliveryMode::AtLeastOnce => "at_least_once",
            DeliveryMode::ExactlyOnce => "exactly_once",
        }
        .to_owned()
    }
}

impl Render for GroupProtocol {
    fn render(&self) -> String {
        match self {
            GroupProtocol::Classic => "classic",
            GroupProtocol::Consumer => "consumer",
        }
        .to_owned()
    }
}

impl Render for PastDeployments {
    fn render(&self) -> String {
        match self {
            PastDeployments::Learn => "learn",
            PastDeployments::Judge => "judge",
        }
        .to_owned()
    }
}

impl Render for Caution {
    fn render(&self) -> String {
        match self {
            Caution::Name => "name",
            Caution::Escalate => "escalate",
        }
        .to_owned()
    }
}

impl Render for Automation {
    fn render(&self) -> String {
        self.word().to_owned()
    }
}
