//! Every fault is a test: the real daemon on a real Apache Kafka of three brokers, and one checker after each.
//!
//! docs/faults.md numbers the faults, says what is promised, and names the test here that shows it. Brokers, daemon and
//! topics are the edge tests' own. What takes brokers away has a cluster of its own.
//! `LONG=1` takes the long way where a short one stands for it: pauses of minutes, hours of backlog, millions of
//! series.

/// Of the shared cluster.
const BROKERS: usize = 3;

#[path = "edge/clock.rs"]
mod clock;
#[path = "edge/daemon.rs"]
mod daemon;
#[path = "edge/http.rs"]
mod http;
#[path = "edge/kafka.rs"]
mod kafka;
#[path = "edge/leash.rs"]
mod leash;
#[path = "edge/ports.rs"]
mod ports;
#[path = "edge/scene.rs"]
mod scene;
#[path = "edge/topic.rs"]
mod topic;
#[path = "edge/traffic.rs"]
mod traffic;

#[path = "faults/checker.rs"]
mod checker;
#[path = "faults/input.rs"]
mod input;

#[path = "faults/brokers.rs"]
mod brokers;
#[path = "faults/exactly_once.rs"]
mod exactly_once;
#[path = "faults/fleet.rs"]
mod fleet;
#[path = "faults/group.rs"]
mod group;
#[path = "faults/outage.rs"]
mod outage;
#[path = "faults/restart.rs"]
mod restart;
#[path = "faults/senders.rs"]
mod senders;
#[path = "faults/state.rs"]
mod state;
#[path = "faults/state_topic.rs"]
mod state_topic;
#[path = "faults/topics.rs"]
mod topics;
#[path = "faults/waits.rs"]
mod waits;

/// Whether the long way was asked for.
fn is_long() -> bool {
    std::env::var_os("LONG").is_some()
}
