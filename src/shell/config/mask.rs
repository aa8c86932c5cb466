//! Secrets: which settings look like one, and what is shown in their place.
//!
//! Every rendering, diff, debug print and mistake asks here. It errs towards hiding: a path to a key file is hidden
//! too, which costs a look into the file, while a password in a log costs more.

/// What is shown in place of a secret.
pub const MASK: &str = "***";

const SIGNS: [&str; 9] = ["password", "passwd", "secret", "token", "key", "credential", "jaas", "oauthbearer", "pem"];

/// Whether a setting of this path, or a Kafka property of this name, may hold a secret.
pub fn is_secret(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    SIGNS.iter().any(|sign| path.contains(sign))
}

/// The value, or the mask.
pub fn masked<'a>(path: &str, value: &'a str) -> &'a str {
    if is_secret(path) { MASK } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_librdkafka_calls_its_secrets_is_masked() {
        for name in [
            "sasl.password",
            "ssl.key.password",
            "ssl.key.pem",
            "ssl_key",
            "ssl.keystore.password",
            "sasl.oauthbearer.client.secret",
            "sasl.oauthbearer.config",
            "SASL.PASSWORD",
        ] {
            assert_eq!(masked(name, "hunter2"), MASK, "{name}");
        }
        for name in ["security.protocol", "sasl.username", "fetch.queue.backoff.ms", "watch.duration"] {
            assert_eq!(masked(name, "plain"), "plain", "{name}");
        }
    }
}
