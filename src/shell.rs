//! Everything that touches the world: Kafka, files, clocks, signals, HTTP, terminals.

pub mod align;
pub mod checkpoint;
pub mod clock;
pub mod config;
pub mod demo;
pub mod pump;
pub mod replay;
pub mod topics;
