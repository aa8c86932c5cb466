//! Everything that touches the world: Kafka, files, clocks, signals, HTTP, terminals.

pub mod config;
pub mod demo;
