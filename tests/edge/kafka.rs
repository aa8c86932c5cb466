//! A real Apache Kafka for tests: one to three brokers in KRaft mode, each its own process.
//!
//! A broker keeps its ports and its data when it is stopped and started again.

#![allow(dead_code, reason = "the edge and the fault tests use a part each")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Once, OnceLock};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use crate::clock::ask_until;
use crate::leash::Leash;
use crate::ports::free_port;

const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// Any 16 bytes in URL-safe base 64; every fresh data folder may carry the same.
const CLUSTER_ID: &str = "4L6g3nShT-eMCtK--X86sw";

pub struct Kafka {
    nodes: Vec<Node>,
}

pub struct Node {
    address: String,
    folder: PathBuf,
    process: Option<Leash>,
}

impl Kafka {
    /// The cluster that all tests share which take nothing away from it.
    pub fn shared() -> &'static Kafka {
        static SHARED: OnceLock<Kafka> = OnceLock::new();
        SHARED.get_or_init(|| Kafka::start(crate::BROKERS))
    }

    /// A cluster with fresh data, ready to be used.
    pub fn start(nodes: usize) -> Kafka {
        Kafka::made(nodes, "", &[])
    }

    /// One broker with more settings, where `+=` adds to what a line has, and more words for its formatting.
    pub fn start_with(settings: &str, format: &[&str]) -> Kafka {
        Kafka::made(1, settings, format)
    }

    fn made(nodes: usize, settings: &str, format: &[&str]) -> Kafka {
        let ports: Vec<(u16, u16)> = (0..nodes).map(|_| (free_port(), free_port())).collect();
        let node = |index| Node::format(index, &ports, settings, format);
        let mut kafka = Kafka { nodes: (0..nodes).map(node).collect() };
        for node in &mut kafka.nodes {
            node.launch();
        }
        kafka.wait_until_ready();
        kafka
    }

    /// For `bootstrap.servers`.
    pub fn addresses(&self) -> String {
        self.nodes.iter().map(|node| node.address.as_str()).collect::<Vec<_>>().join(",")
    }

    /// Each a name and its number of partitions; replicated to as many brokers as there are.
    pub fn create_topics(&self, topics: &[(String, usize)]) {
        self.create(topics, &[]);
    }

    /// One that keeps the latest record of each key, and compacts often.
    pub fn create_compacted(&self, topic: &str, partitions: usize) {
        let settings = [("cleanup.policy", "compact"), ("segment.ms", "5000"), ("min.cleanable.dirty.ratio", "0.01")];
        self.create(&[(topic.to_owned(), partitions)], &settings);
    }

    /// With one partition on these brokers, as indexes of `node`, of which the first leads; whoever of them is left
    /// may lead after it, whatever it lacks.
    pub fn create_unclean(&self, topic: &str, nodes: &[usize]) {
        let ids: Vec<i32> = nodes.iter().map(|node| i32::try_from(node + 1).expect("few brokers")).collect();
        let places = [ids.as_slice()];
        let topic = NewTopic::new(topic, 1, TopicReplication::Variable(&places));
        self.make(&[topic.set("unclean.leader.election.enable", "true").set("min.insync.replicas", "1")]);
    }

    fn create(&self, topics: &[(String, usize)], settings: &[(&str, &str)]) {
        let replicas = i32::try_from(self.nodes.len()).expect("few brokers");
        let topics: Vec<NewTopic> = topics
            .iter()
            .map(|(name, partitions)| {
                let partitions = i32::try_from(*partitions).expect("few partitions");
                let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replicas));
                settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
            })
            .collect();
        self.make(&topics);
    }

    fn make(&self, topics: &[NewTopic]) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("the client's settings are valid");
        let options = AdminOptions::new().operation_timeout(Some(START_LIMIT));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without I/O starts");
        let answers = runtime.block_on(admin.create_topics(topics, &options)).expect("the broker answers");
        for answer in answers {
            answer.unwrap_or_else(|(topic, code)| panic!("topic {topic} was not created: {code}"));
        }
    }

    /// So many partitions in all.
    pub fn grow_topic(&self, topic: &str, partitions: usize) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("the client's settings are valid");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without I/O starts");
        let options = AdminOptions::new().operation_timeout(Some(START_LIMIT));
        let wanted = NewPartitions::new(topic, partitions);
        let answers = runtime.block_on(admin.create_partitions(&[wanted], &options)).expect("the broker answers");
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    }

    /// Until nobody knows it any more.
    pub fn delete_topic(&self, topic: &str) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("the client's settings are valid");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without I/O starts");
        let options = AdminOptions::new().operation_timeout(Some(START_LIMIT));
        let answers = runtime.block_on(admin.delete_topics(&[topic], &options)).expect("the broker answers");
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        let consumer: rdkafka::consumer::BaseConsumer = self.client().create().expect("the settings are valid");
        let gone = ask_until(START_LIMIT, || {
            let metadata = rdkafka::consumer::Consumer::fetch_metadata(&consumer, None, START_LIMIT).ok()?;
            (!metadata.topics().iter().any(|known| known.name() == topic)).then_some(())
        });
        assert!(gone.is_some(), "{topic} is still there");
    }

    /// As retention does: what lies before this offset is gone.
    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("the client's settings are valid");
        let mut list = rdkafka::TopicPartitionList::new();
        list.add_partition_offset(topic, partition, rdkafka::Offset::Offset(before)).expect("a valid offset");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without I/O starts");
        let options = AdminOptions::new().operation_timeout(Some(START_LIMIT));
        runtime.block_on(admin.delete_records(&list, &options)).expect("the broker answers");
    }

    /// The brokers of a topic's partitions that lead them, as indexes of `node`.
    pub fn leaders(&self, topic: &str) -> Vec<usize> {
        let consumer: rdkafka::consumer::BaseConsumer = self.client().create().expect("the settings are valid");
        let metadata = rdkafka::consumer::Consumer::fetch_metadata(&consumer, Some(topic), START_LIMIT);
        let metadata = metadata.expect("the cluster answers");
        let partitions = metadata.topics().first().expect("it was asked for").partitions();
        partitions.iter().filter_map(|partition| usize::try_from(partition.leader() - 1).ok()).collect()
    }

    /// Starts what does not run, lets go what is held, and waits until every replica has what its leader has: whatever
    /// the test before did to the cluster.
    pub fn mend(&mut self) {
        for node in &mut self.nodes {
            match node.process {
                Some(_) => node.resume(),
                None => node.launch(),
            }
        }
        self.wait_until_ready();
        let consumer: rdkafka::consumer::BaseConsumer = self.client().create().expect("the settings are valid");
        let whole = ask_until(START_LIMIT, || {
            let metadata = rdkafka::consumer::Consumer::fetch_metadata(&consumer, None, Duration::from_secs(5)).ok()?;
            let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
            partitions.all(|each| each.leader() > 0 && each.isr().len() == each.replicas().len()).then_some(())
        });
        assert!(whole.is_some(), "replicas were not in step again within {START_LIMIT:?}");
    }

    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    pub fn node(&mut self, index: usize) -> &mut Node {
        &mut self.nodes[index]
    }

    /// Until every running broker is known to the cluster and a topic could be made.
    pub fn wait_until_ready(&mut self) {
        let running = self.nodes.iter().filter(|node| node.process.is_some()).count();
        let consumer: rdkafka::consumer::BaseConsumer = self.client().create().expect("the settings are valid");
        let ready = ask_until(START_LIMIT, || {
            if let Some(dead) = self.nodes.iter_mut().find_map(Node::found_dead) {
                panic!("{dead}");
            }
            let metadata = rdkafka::consumer::Consumer::fetch_metadata(&consumer, None, Duration::from_secs(1)).ok()?;
            (metadata.brokers().len() == running).then_some(())
        });
        if ready.is_none() {
            panic!("Kafka was not ready within {START_LIMIT:?}: {}", self.nodes[0].last_words());
        }
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.addresses()).set("log_level", "0");
        config
    }
}

impl Node {
    fn format(index: usize, ports: &[(u16, u16)], settings: &str, more: &[&str]) -> Node {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = scratch(&format!("kafka-{count}"));
        let address = format!("127.0.0.1:{}", ports[index].0);
        let mut properties = server_properties(index, ports, &folder);
        for line in settings.lines() {
            match line.split_once("+=") {
                Some((name, more)) => properties = extended(&properties, name, more),
                None => properties += &format!("{line}\n"),
            }
        }
        fs::write(folder.join("server.properties"), properties).expect("it is writable");
        let output = java(&folder)
            .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"])
            .arg(folder.join("server.properties"))
            .args(more)
            .output()
            .expect("java can be started: run ./dev setup");
        assert!(output.status.success(), "Kafka's data folder was not made: {output:?}");
        Node { address, folder, process: None }
    }

    /// Starts it again on the same ports and data; returns when it takes requests.
    pub fn start(&mut self) {
        self.launch();
        let ready = ask_until(START_LIMIT, || std::net::TcpStream::connect(&self.address).ok());
        assert!(ready.is_some(), "Kafka did not come back: {}", self.last_words());
    }

    /// SIGTERM, and waits for it to be gone.
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.signal("TERM");
        assert!(process.wait(STOP_LIMIT).is_some(), "Kafka did not stop: {}", self.last_words());
    }

    /// SIGKILL: no goodbye.
    pub fn kill(&mut self) {
        drop(self.process.take().expect("it runs"));
    }

    /// SIGSTOP: connections stay open and nobody answers.
    pub fn pause(&self) {
        self.process.as_ref().expect("it runs").signal("STOP");
    }

    pub fn resume(&self) {
        self.process.as_ref().expect("it runs").signal("CONT");
    }

    fn launch(&mut self) {
        let mut command = java(&self.folder);
        command.arg("kafka.Kafka").arg(self.folder.join("server.properties"));
        self.process = Some(Leash::start(&mut command, &self.folder.join("log")));
    }

    fn found_dead(&mut self) -> Option<String> {
        let status = self.process.as_mut()?.ended()?;
        Some(format!("Kafka ended by itself ({status}): {}", self.last_words()))
    }

    fn last_words(&self) -> String {
        let path = self.folder.join("log");
        let log = fs::read_to_string(&path).unwrap_or_default();
        let skipped = log.lines().count().saturating_sub(40);
        format!("{}\n{}", path.display(), log.lines().skip(skipped).collect::<Vec<_>>().join("\n"))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.process = None;
        // A failed test's broker log is evidence.
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// A fresh folder of this test run, below `target/tmp`. The one who asks first clears away what ended runs left there.
pub fn scratch(name: &str) -> PathBuf {
    static CLEARED: Once = Once::new();
    let all = Path::new(env!("CARGO_TARGET_TMPDIR"));
    CLEARED.call_once(|| {
        for entry in fs::read_dir(all).expect("cargo makes target/tmp").flatten() {
            let name = entry.file_name();
            let run = name.to_str().and_then(|name| name.strip_prefix("edge-")?.split('-').next());
            if run.is_some_and(|run| !Path::new("/proc").join(run).exists()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    });
    let folder = all.join(format!("edge-{}-{name}", std::process::id()));
    fs::create_dir_all(&folder).expect("target/tmp is writable");
    folder
}

/// The command line up to the class to run. Small heap, and compilers and collectors that start fast.
fn java(folder: &Path) -> Command {
    let program = match std::env::var_os("JAVA_HOME") {
        Some(home) => Path::new(&home).join("bin/java"),
        None => PathBuf::from("java"),
    };
    let logging = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/edge/kafka/log4j2.properties");
    let mut command = Command::new(program);
    command.current_dir(folder).args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    command.arg(format!("-Dlog4j2.configurationFile={}", logging.display()));
    command.arg("-cp").arg(jars().join("*"));
    command
}

/// The folder with Kafka's jars, fetched when this is the first run.
fn jars() -> &'static Path {
    static JARS: OnceLock<PathBuf> = OnceLock::new();
    JARS.get_or_init(|| {
        let fetch = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/edge/kafka/fetch");
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("kafka");
        let output = Command::new(fetch).arg(cache).output().expect("bash is there");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "Apache Kafka can't be fetched: {complaint}");
        PathBuf::from(String::from_utf8(output.stdout).expect("a path of ours").trim())
    })
}

/// The line of that name with more at its end.
fn extended(properties: &str, name: &str, more: &str) -> String {
    let line = |line: &str| {
        if line.starts_with(&format!("{name}=")) { format!("{line}{more}\n") } else { format!("{line}\n") }
    };
    properties.lines().map(line).collect()
}

fn server_properties(index: usize, ports: &[(u16, u16)], folder: &Path) -> String {
    let id = index + 1;
    let (port, controller) = ports[index];
    let voters: Vec<String> =
        ports.iter().enumerate().map(|(index, (_, port))| format!("{}@127.0.0.1:{port}", index + 1)).collect();
    let (voters, replicas, data) = (voters.join(","), ports.len(), folder.join("data"));
    format!(
        "process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
# Tests write records of long ago; they stay.
log.retention.ms=-1
message.max.bytes=8388608
group.initial.rebalance.delay.ms=0
# A killed broker is missed after 3 s instead of 9.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=500
group.consumer.heartbeat.interval.ms=1000
offsets.topic.num.partitions=1
offsets.topic.replication.factor={replicas}
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor={replicas}
",
        data = data.display()
    )
}
