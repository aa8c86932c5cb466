//! Everything that touches the world: Kafka, files, clocks, signals, HTTP, terminals.

pub mod align;
pub mod calendar;
pub mod checkpoint;
pub mod client;
pub mod clock;
pub mod config;
pub mod consumer;
pub mod demo;
pub mod http;
pub mod logging;
pub mod member;
pub mod outbox;
pub mod poison;
pub mod publisher;
pub mod pump;
pub mod reload;
pub mod replay;
pub mod run;
pub mod signature;
pub mod telemetry;
pub mod tokens;
pub mod topics;
