//! What consumer and publisher share of librdkafka: the settings they start from, and where its log lines go.
//!
//! The operator's own properties go over our defaults; what delivery depends on is set after them by the two.

use super::config::Kafka;
use super::telemetry::KafkaTrouble;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// Brokers, name, and the operator's properties.
pub fn settings(kafka: &Kafka, defaults: &[(&str, &str)]) -> ClientConfig {
    let mut settings = ClientConfig::new();
    settings.set("client.id", "regressd");
    for (name, value) in defaults {
        settings.set(*name, *value);
    }
    for (name, value) in &kafka.properties {
        settings.set(name, value);
    }
    settings.set("bootstrap.servers", &kafka.brokers);
    // Left alone, rust-rdkafka asks the `log` crate, which nobody here listens to.
    let debug = tracing::enabled!(target: "librdkafka", tracing::Level::DEBUG);
    settings.set_log_level(if debug { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Info });
    settings
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

/// What kind of trouble an error of the client as a whole is.
pub fn trouble(error: &KafkaError) -> KafkaTrouble {
    match error.rdkafka_error_code() {
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
