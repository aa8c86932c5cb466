//! Everything that touches the world: Kafka, files, clocks, signals, HTTP, terminals.
//!
//! Here is no opinion about services: facts go in through the engine's door, effects come out of it and are carried out
//! in order. What can fail fails here, as an error with a reason.

pub mod align;
pub mod checkpoint;
pub mod client;
pub mod clock;
pub mod config;
pub mod consumer;
pub mod http;
pub mod logging;
pub mod publisher;
pub mod pump;
pub mod reload;
pub mod replay;
pub mod telemetry;
pub mod topics;
