//! The harness by itself: what is written to a broker is there, also after it was stopped, killed or held.
//!
//! If this fails, every other failure of the edge means nothing.

use crate::clock::now_ms;
use crate::kafka::Kafka;
use crate::topic::{self, Draft};

#[test]
fn a_broker_keeps_what_it_acknowledged_through_stop_kill_and_pause() {
    let mut kafka = Kafka::start(1);
    let brokers = kafka.addresses();
    kafka.create_topics(&[("letters".to_owned(), 2)]);
    let mut written = 0;
    let mut write_and_check = || {
        let drafts: Vec<Draft> = (0..100)
            .map(|n| Draft { ts: now_ms() - 86_400_000 * n, ..Draft::bytes(0, format!("{written}-{n}")) })
            .collect();
        topic::write(&brokers, "letters", &drafts);
        written += drafts.len();
        assert_eq!(topic::count(&brokers, "letters"), written);
    };
    write_and_check();
    kafka.node(0).stop();
    kafka.node(0).start();
    write_and_check();
    kafka.node(0).kill();
    kafka.node(0).start();
    write_and_check();
    kafka.node(0).pause();
    kafka.node(0).resume();
    write_and_check();
}

#[test]
fn of_three_brokers_one_may_die() {
    let mut kafka = Kafka::start(3);
    let brokers = kafka.addresses();
    kafka.create_topics(&[("letters".to_owned(), 1)]);
    topic::write(&brokers, "letters", &[Draft::bytes(now_ms(), "before")]);
    let leader = kafka.leaders("letters")[0];
    kafka.node(leader).kill();
    topic::write(&brokers, "letters", &[Draft::bytes(now_ms(), "after")]);
    let payloads: Vec<_> = topic::read(&brokers, "letters").into_iter().filter_map(|record| record.payload).collect();
    assert_eq!(payloads, [b"before".to_vec(), b"after".to_vec()]);
}
