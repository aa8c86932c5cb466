//! The edge: the real daemon against a real Apache Kafka, both started here as processes.
//!
//! One crate for all of it, so that its tests share one broker; a test that takes a broker away starts its own. Every
//! wait has a deadline. A broker that can't start fails the test: nothing here is ever skipped. What the engine decides
//! and why is not tested here; stories and storms do that without a broker.

/// Of the shared cluster.
const BROKERS: usize = 1;

mod clock;
mod daemon;
mod http;
mod kafka;
mod leash;
mod ports;
mod scene;
mod topic;
mod traffic;

mod broker_lifecycle;
mod dashboards;
mod dead_letters;
mod doors;
mod mutations;
mod reload;
mod secured;
mod transactions;
mod whole_path;
