//! What consumer and publisher share of librdkafka: the settings they start from, and where its log lines go.
//!
//! The operator's own properties go over our defaults, each to the client that it means something to; what delivery
//! depends on is set after them by the two.

use super::config::{GroupProtocol, Kafka};
use super::telemetry::KafkaTrouble;
use super::tokens;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use xxhash_rust::xxh3::xxh3_64;

/// Which client the settings are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Consumer,
    Producer,
}

/// librdkafka's properties that mean something to a consumer alone; a producer would complain of each at every start.
const OF_CONSUMERS: &[&str] = &[
    "allow.auto.create.topics",
    "auto.commit.enable",
    "auto.commit.interval.ms",
    "auto.offset.reset",
    "check.crcs",
    "coordinator.query.interval.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "group.protocol.type",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "isolation.level",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "partition.assignment.strategy",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "session.timeout.ms",
];

/// And to a producer alone.
const OF_PRODUCERS: &[&str] = &[
    "acks",
    "batch.num.messages",
    "batch.size",
    "compression.codec",
    "compression.level",
    "compression.type",
    "delivery.report.only.error",
    "delivery.timeout.ms",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "linger.ms",
    "message.send.max.retries",
    "message.timeout.ms",
    "partitioner",
    "queue.buffering.backpressure.threshold",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.ms",
    "queuing.strategy",
    "request.required.acks",
    "request.timeout.ms",
    "retries",
    "sticky.partitioning.linger.ms",
    "transaction.timeout.ms",
    "transactional.id",
];

/// What the members of a group settle among each other under the classic protocol. Under the other the brokers say, and
/// librdkafka refuses it; a name of a member's own would be refused to whoever is back early.
pub const OF_CLASSIC: &[&str] =
    &["group.instance.id", "heartbeat.interval.ms", "partition.assignment.strategy", "session.timeout.ms"];

/// What to look at when the brokers refuse us.
pub const REFUSED: &str = "the brokers refuse us: look at sasl.*, security.protocol and ssl.* in [kafka.properties] \
                           (such as sasl.username, sasl.password, ssl.ca.location, sasl.oauthbearer.*); a restart \
                           takes what is changed";

/// Brokers, name, and the operator's properties.
pub fn settings(kafka: &Kafka, side: Side, defaults: &[(&str, &str)]) -> ClientConfig {
    let others = match side {
        Side::Consumer => OF_PRODUCERS,
        Side::Producer => OF_CONSUMERS,
    };
    let mut settings = ClientConfig::new();
    settings.set("client.id", "regressd");
    for (name, value) in defaults {
        settings.set(*name, *value);
    }
    let is_its = |name: &str| !others.contains(&name) && !tokens::is_ours(&kafka.properties, name);
    for (name, value) in kafka.properties.iter().filter(|(name, _)| is_its(name)) {
        settings.set(name, value);
    }
    settings.set("bootstrap.servers", &kafka.brokers);
    // Left alone, rust-rdkafka asks the `log` crate, which nobody here listens to.
    let debug = tracing::enabled!(target: "librdkafka", tracing::Level::DEBUG);
    settings.set_log_level(if debug { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Info });
    settings
}

/// Settles how a consumer takes part in its group, once all else is set: by which protocol, and under which name, if it
/// has one of its own. That goes with what it reads: to a member whose name they know, brokers give what it had,
/// whatever it asks for by now.
pub fn join_by(protocol: GroupProtocol, topics: &[&str], settings: &mut ClientConfig) {
    if let Some(name) = settings.get("group.instance.id").map(str::to_owned) {
        let mut topics = topics.to_vec();
        topics.sort_unstable();
        let digest = xxh3_64(topics.join(",").as_bytes()) as u32;
        settings.set("group.instance.id", format!("{name}-{digest:08x}"));
    }
    if protocol == GroupProtocol::Consumer {
        OF_CLASSIC.iter().for_each(|name| {
            settings.remove(name);
        });
        settings.set("group.protocol", "consumer");
    }
}

/// A line of librdkafka's log. Its "errors" are mostly brokers that come and go, which the daemon rides out and tells
/// of itself, so nothing here is louder than a warning.
pub fn log(level: RDKafkaLogLevel, facility: &str, line: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", facility, "{line}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(target: "librdkafka", facility, "{line}"),
        RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{line}"),
    }
}

/// What kind of trouble an error of the client as a whole is, with the reason that it gave.
pub fn trouble(error: &KafkaError, reason: &str) -> KafkaTrouble {
    match error.rdkafka_error_code() {
        // A broker that does not take our certificate hangs up with an alert, which is told as a lost connection.
        Some(RDKafkaErrorCode::BrokerTransportFailure) if reason.contains("SSL alert") => KafkaTrouble::Authentication,
        Some(
            RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::Resolve
            | RDKafkaErrorCode::OperationTimedOut,
        ) => KafkaTrouble::Connection,
        Some(
            RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SSL
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::UnsupportedSASLMechanism,
        ) => KafkaTrouble::Authentication,
        Some(RDKafkaErrorCode::Fatal) => KafkaTrouble::Fatal,
        _ => KafkaTrouble::Other,
    }
}

/// Whether a right is missing that somebody has to give us.
pub fn is_forbidden(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed
                | RDKafkaErrorCode::TransactionalIdAuthorizationFailed
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::config::Config;

    #[test]
    fn a_certificate_that_is_refused_is_no_lost_connection() {
        let error = KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure);
        let refused = "ssl://kafka:9093/1: Receive failed: error:0A000412:SSL routines::sslv3 alert bad certificate: \
                       SSL alert number 42 (after 6ms in state APIVERSION_QUERY)";
        assert_eq!(trouble(&error, refused), KafkaTrouble::Authentication);
        assert_eq!(trouble(&error, "kafka:9093/1: Disconnected"), KafkaTrouble::Connection);
    }

    #[test]
    fn each_client_gets_its_own_properties() {
        let toml = "[kafka.properties]\n\"session.timeout.ms\" = \"9000\"\n\"linger.ms\" = \"7\"\n\
                    \"client.rack\" = \"a\"\n";
        let config = Config::from_toml_str(toml).expect("no mistakes");
        let got = |side, name| settings(&config.kafka, side, &[]).get(name).map(str::to_owned);
        assert_eq!(got(Side::Consumer, "session.timeout.ms").as_deref(), Some("9000"));
        assert_eq!(got(Side::Producer, "session.timeout.ms"), None);
        assert_eq!(got(Side::Producer, "linger.ms").as_deref(), Some("7"));
        assert_eq!(got(Side::Consumer, "linger.ms"), None);
        assert_eq!(got(Side::Consumer, "client.rack"), got(Side::Producer, "client.rack"));
    }
    #[test]
    fn a_members_name_goes_with_what_it_reads() {
        let name = |topics: &[&str]| {
            let mut settings = ClientConfig::new();
            settings.set("group.instance.id", "only");
            join_by(GroupProtocol::Classic, topics, &mut settings);
            settings.get("group.instance.id").map(str::to_owned).expect("it has one")
        };
        assert!(name(&["a", "b"]).starts_with("only-"));
        assert_eq!(name(&["a", "b"]), name(&["b", "a"]));
        assert_ne!(name(&["a", "b"]), name(&["a"]));
        let mut settings = ClientConfig::new();
        settings.set("session.timeout.ms", "9000");
        join_by(GroupProtocol::Consumer, &["a"], &mut settings);
        assert_eq!((settings.get("session.timeout.ms"), settings.get("group.protocol")), (None, Some("consumer")));
    }
}
