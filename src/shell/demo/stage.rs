//! The demo's Kafka: librdkafka's in-process mock cluster, or a broker somebody names; and both ends of its topics.
//!
//! Writes the inputs as producers would, with the event time as the record's timestamp, and reads the outputs as a
//! consumer would. On a real broker it touches only topics whose names begin with `regressd-demo-`.

use super::fleet::Message;
use crate::wire::inbound::Kind;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use std::time::Duration;

pub const METRICS: &str = "regressd-demo-metrics";
pub const LOGS: &str = "regressd-demo-logs";
pub const DEPLOYMENTS: &str = "regressd-demo-deployments";
pub const CONTROL: &str = "regressd-demo-control";
pub const RECOMMENDATIONS: &str = "regressd-demo-rollback-recommendations";
pub const AUDIT: &str = "regressd-demo-audit";
pub const DEAD_LETTER: &str = "regressd-demo-dead-letter";
const TOPICS: [&str; 7] = [METRICS, LOGS, DEPLOYMENTS, CONTROL, RECOMMENDATIONS, AUDIT, DEAD_LETTER];

/// How long a broker may take to answer before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(10);

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

pub struct Stage {
    pub brokers: String,
    producer: ThreadedProducer<DefaultProducerContext>,
    audience: BaseConsumer,
    /// Messages written to input topics so far.
    pub written: u64,
    /// Goes last: the clients above talk to it until they are closed.
    _mock: Option<MockCluster<'static, DefaultProducerContext>>,
}

/// Something that the daemon published.
pub enum Heard {
    Recommendation(Vec<u8>),
    Audit(Vec<u8>),
}

impl Stage {
    /// Topics exist and are empty afterwards.
    pub fn build(kafka: Option<&str>) -> Result<Stage, Failure> {
        let (brokers, mock) = match kafka {
            Some(brokers) => (brokers.to_owned(), None),
            None => {
                let mock = MockCluster::new(1)?;
                (mock.bootstrap_servers(), Some(mock))
            }
        };
        match &mock {
            Some(mock) => TOPICS.iter().try_for_each(|topic| mock.create_topic(topic, 1, 1))?,
            None => prepare(&brokers)?,
        }
        let producer = client(&brokers).set("linger.ms", "0.5").set("compression.type", "none").create()?;
        let audience: BaseConsumer = client(&brokers)
            .set("group.id", "regressd-demo-audience")
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "5")
            .create()?;
        let mut seats = TopicPartitionList::new();
        for topic in [RECOMMENDATIONS, AUDIT] {
            let (_, end) = audience.fetch_watermarks(topic, 0, PATIENCE)?;
            seats.add_partition_offset(topic, 0, Offset::Offset(end))?;
        }
        audience.assign(&seats)?;
        Ok(Stage { brokers, producer, audience, written: 0, _mock: mock })
    }

    /// Hands a message to the producer, which sends it within the millisecond.
    pub fn write(&mut self, message: &Message) -> Result<(), Failure> {
        let topic = match message.kind {
            Kind::Metrics => METRICS,
            Kind::Logs => LOGS,
            Kind::Deployments => DEPLOYMENTS,
            // A shop has no letters; they would be refused as words.
            Kind::Control | Kind::Letters => CONTROL,
        };
        let record = BaseRecord::to(topic).key(&message.key).payload(&message.payload).timestamp(message.at.0);
        self.producer.send(record).map_err(|(error, _)| error)?;
        self.written += 1;
        Ok(())
    }

    /// The next thing that was published, waiting at most so long.
    pub fn listen(&self, wait: Duration) -> Result<Option<Heard>, Failure> {
        let Some(message) = self.audience.poll(wait) else { return Ok(None) };
        let message = message?;
        let payload = message.payload().unwrap_or_default().to_vec();
        Ok(Some(if message.topic() == AUDIT { Heard::Audit(payload) } else { Heard::Recommendation(payload) }))
    }
}

fn client(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("client.id", "regressd-demo").set("log_level", "3");
    config
}

/// Creates the topics on a real broker; where they exist, empties them of what an earlier demo left.
fn prepare(brokers: &str) -> Result<(), Failure> {
    let admin: AdminClient<DefaultClientContext> = client(brokers).create()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
    let wanted = TOPICS.map(|topic| NewTopic::new(topic, 1, TopicReplication::Fixed(1)));
    for outcome in runtime.block_on(admin.create_topics(&wanted, &options))? {
        match outcome {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => return Err(format!("topic {topic} could not be created: {code}").into()),
        }
    }
    let consumer: BaseConsumer = client(brokers).set("group.id", "regressd-demo-prepare").create()?;
    let mut old = TopicPartitionList::new();
    for topic in TOPICS {
        let (first, end) = watermarks(&consumer, topic)?;
        if end > first {
            old.add_partition_offset(topic, 0, Offset::End)?;
        }
    }
    if old.count() > 0 {
        runtime.block_on(admin.delete_records(&old, &options))?;
    }
    Ok(())
}

/// A topic that was created a moment ago may not have its leader yet.
fn watermarks(consumer: &BaseConsumer, topic: &str) -> Result<(i64, i64), KafkaError> {
    let begun = std::time::Instant::now();
    loop {
        match consumer.fetch_watermarks(topic, 0, PATIENCE) {
            Err(_) if begun.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(100)),
            outcome => return outcome,
        }
    }
}
