//! The run loop against librdkafka's own broker, in this process: a real client over loopback, no Kafka needed.
//!
//! What is shown here is the loop's order: what is taken, what is published, what is remembered. That broker knows
//! neither retention nor transactions; the edge tests run the binary against Apache Kafka.

use ed25519_dalek::{Signer, SigningKey};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use regressd::shell::clock::wall;
use regressd::shell::config::Config;
use regressd::shell::run::{Daemon, Options, RunError};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Joining a group takes that broker some three seconds; a slow machine gets time besides.
const LIMIT: Duration = Duration::from_secs(60);

const TOPICS: [(&str, i32); 7] = [
    ("metrics", 3),
    ("logs", 1),
    ("deployments", 1),
    ("control", 1),
    ("rollback-recommendations", 1),
    ("regressd.audit", 1),
    ("regressd.dead-letter", 1),
];

/// A cluster and a place for the state; both go with it.
struct Scene {
    cluster: MockCluster<'static, DefaultProducerContext>,
    dir: PathBuf,
    producer: BaseProducer,
}

impl Scene {
    fn new(name: &str) -> Scene {
        let cluster = MockCluster::new(1).expect("a broker on loopback");
        for (topic, partitions) in TOPICS {
            cluster.create_topic(topic, partitions, 1).expect("a topic");
        }
        let dir = std::env::temp_dir().join(format!("regressd-loop-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let producer = client(&cluster.bootstrap_servers()).create().expect("a producer");
        Scene { cluster, dir, producer }
    }

    /// That broker notices that a member has left only when its session has run out, so sessions are short here.
    fn daemon(&self) -> Daemon {
        self.daemon_with(Options::default(), "")
    }

    /// `more` is TOML.
    fn daemon_with(&self, options: Options, more: &str) -> Daemon {
        let brokers = self.cluster.bootstrap_servers();
        let text = format!(
            "[kafka]\nbrokers = \"{brokers}\"\ngroup = \"loop\"\npast_deployments = \"judge\"\n\
             [kafka.properties]\n\"session.timeout.ms\" = \"6000\"\n\
             [state]\ndir = \"{}\"\n[http]\nlisten = \"127.0.0.1:0\"\n{more}",
            self.dir.display()
        );
        let config = Config::from_toml_str(&text).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
        Daemon::start(Arc::new(config), options).expect("it starts")
    }

    fn write(&self, topic: &str, partition: i32, payload: &str) {
        let record = BaseRecord::to(topic).partition(partition).payload(payload).key("prod/checkout");
        self.producer.send(record).map_err(|(error, _)| error).expect("queued");
        self.producer.flush(LIMIT).expect("written");
    }

    /// Some samples over all partitions.
    fn write_samples(&self, count: i32) {
        for n in 0..count {
            let ts = wall().0 - 1_000 * i64::from(count - n);
            let sample = format!(r#"{{"ts":{ts},"service":"checkout","env":"prod","metric":"m","value":{n}}}"#);
            self.write("metrics", n % 3, &sample);
        }
    }

    /// Payload and reason of every dead letter.
    fn dead_letters(&self, count: usize) -> Vec<(String, String)> {
        let consumer: BaseConsumer =
            client(&self.cluster.bootstrap_servers()).set("group.id", "reader").create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset("regressd.dead-letter", 0, Offset::Beginning).expect("an offset");
        consumer.assign(&list).expect("assigned");
        let mut letters = Vec::new();
        let begun = Instant::now();
        while letters.len() < count {
            assert!(begun.elapsed() < LIMIT, "only {letters:?}");
            let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
            let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
            let headers = message.headers().expect("a dead letter has headers");
            let reason = headers.iter().find(|header| header.key == "regressd-reason").expect("with a reason");
            letters.push((text(message.payload()), text(reason.value)));
        }
        letters
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn client(brokers: &str) -> ClientConfig {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", brokers);
    settings
}

fn get(daemon: &Daemon, path: &str) -> String {
    let mut stream = TcpStream::connect(daemon.http_addr()).expect("the window is open");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer
}

/// The sum of a metric's series.
fn metric(daemon: &Daemon, name: &str) -> f64 {
    let answer = get(daemon, "/metrics");
    let values = answer.lines().filter_map(|line| {
        let (series, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
        (series.is_empty() || series.starts_with('{')).then(|| value.parse::<f64>().ok())?
    });
    values.sum()
}

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LIMIT, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn wait_for_messages(daemon: &Daemon, count: f64) {
    wait_for("messages", || metric(daemon, "regressd_messages_total") >= count);
}

#[test]
fn samples_reach_the_engine_and_rubbish_the_dead_letters() {
    let scene = Scene::new("path");
    scene.write_samples(30);
    scene.write("metrics", 1, "rubbish");
    scene.write("logs", 0, "[]]");
    let daemon = scene.daemon();
    wait_for_messages(&daemon, 32.0);
    assert_eq!(metric(&daemon, "regressd_facts_total"), 30.0);
    let mut letters = scene.dead_letters(2);
    letters.sort();
    assert_eq!(letters.iter().map(|(payload, _)| payload.as_str()).collect::<Vec<_>>(), ["[]]", "rubbish"]);
    assert!(letters.iter().all(|(_, reason)| reason == "not_json"), "{letters:?}");
    wait_for("readiness", || get(&daemon, "/readyz").starts_with("HTTP/1.1 200"));
    wait_for("no lag", || metric(&daemon, "regressd_consumer_lag_messages") == 0.0);

    // Live now: what comes is taken without waiting for anything.
    scene.write_samples(3);
    wait_for_messages(&daemon, 35.0);
    daemon.stop().expect("a clean end");
}

#[test]
fn a_restart_reads_on_where_the_state_stands() {
    let scene = Scene::new("restart");
    scene.write_samples(20);
    let daemon = scene.daemon();
    wait_for_messages(&daemon, 20.0);
    daemon.stop().expect("a clean end");
    scene.write_samples(7);
    let daemon = scene.daemon();
    wait_for_messages(&daemon, 7.0);
    wait_for("no lag", || {
        get(&daemon, "/metrics").contains("regressd_consumer_lag_messages{")
            && metric(&daemon, "regressd_consumer_lag_messages") == 0.0
    });
    assert_eq!(metric(&daemon, "regressd_messages_total"), 7.0, "nothing is stepped twice");
    daemon.stop().expect("a clean end");

    // A checkpoint that can't be trusted is moved aside; the group's offsets say where to go on.
    std::fs::write(scene.dir.join("checkpoint"), "torn").expect("written");
    let daemon = scene.daemon();
    scene.write_samples(2);
    wait_for_messages(&daemon, 2.0);
    assert_eq!(metric(&daemon, "regressd_messages_total"), 2.0);
    assert!(scene.dir.join("checkpoint.bad").exists());
    daemon.stop().expect("a clean end");
}

#[test]
fn while_nothing_can_be_published_nothing_is_remembered() {
    let scene = Scene::new("outage");
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    scene.cluster.topic_error("regressd.dead-letter", refused).expect("refused from now on");
    scene.write("metrics", 0, "rubbish");
    let daemon = scene.daemon();
    wait_for("the refusal to show", || get(&daemon, "/readyz").contains("publish_failing"));
    let taken = metric(&daemon, "regressd_messages_total");
    scene.write_samples(9);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(metric(&daemon, "regressd_messages_total"), taken, "nothing more is taken");
    let begun = Instant::now();
    daemon.stop().expect("it ends within its time all the same");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(!scene.dir.join("checkpoint").exists(), "the state was ahead of what was published");

    let granted = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
    scene.cluster.topic_error("regressd.dead-letter", granted).expect("granted");
    let daemon = scene.daemon();
    wait_for_messages(&daemon, 10.0);
    assert_eq!(scene.dead_letters(1), [("rubbish".to_owned(), "not_json".to_owned())]);
    daemon.stop().expect("a clean end");
}

#[test]
fn a_message_that_breaks_the_daemon_does_so_once() {
    let scene = Scene::new("poison");
    scene.write_samples(20);
    scene.write("metrics", 1, "poison");
    scene.write_samples(10);
    let trapped = || Options { trap: Some(|taken| assert_ne!(taken.payload, b"poison")), ..Options::default() };
    let daemon = scene.daemon_with(trapped(), "");
    wait_for("its end", || daemon.is_finished());
    assert!(matches!(daemon.stop(), Err(RunError::Panicked)));

    let daemon = scene.daemon_with(trapped(), "");
    wait_for("all messages", || metric(&daemon, "regressd_facts_total") >= 30.0);
    assert_eq!(scene.dead_letters(1), [("poison".to_owned(), "poison".to_owned())]);
    assert_eq!(metric(&daemon, "regressd_dead_letters_total"), 1.0);
    daemon.stop().expect("a clean end");
}

#[test]
fn only_signed_words_count_where_that_is_asked_for() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let scene = Scene::new("signed");
    let key = SigningKey::from_bytes(&[7; 32]);
    let public = hex(key.verifying_key().as_bytes());
    let more = format!("[control]\nrequire_signature = true\n[[control.keys]]\nby = \"ana\"\nkey = \"{public}\"\n");
    let now = wall().0;
    let word = format!(
        r#"{{"ts":{now},"type":"freeze","scope":{{"env":"*"}},"from":{now},"to":{},"reason":"sale","by":"ana"}}"#,
        now + 60_000
    );
    let signature = hex(&key.sign(word.as_bytes()).to_bytes());
    let headers = OwnedHeaders::new().insert(Header { key: "regressd-signature", value: Some(&signature) });
    let record = BaseRecord::<str, str>::to("control").payload(&word).headers(headers);
    scene.producer.send(record).map_err(|(error, _)| error).expect("queued");
    scene.write("control", 0, &word);
    let daemon = scene.daemon_with(Options::default(), &more);
    wait_for_messages(&daemon, 2.0);
    assert_eq!(scene.dead_letters(1), [(word, "unsigned".to_owned())]);
    assert_eq!(metric(&daemon, "regressd_facts_total"), 1.0, "the signed one counts");
    daemon.stop().expect("a clean end");
}
