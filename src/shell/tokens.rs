//! Tokens for SASL OAUTHBEARER, asked of an identity provider with our name and secret (OIDC's client credentials).
//!
//! The settings have librdkafka's own names. It could do this by itself only with libcurl and whatever that brings, so
//! it is told to ask us. Each client asks for its own token, on the thread that polls it, for a bounded time, and again
//! when four fifths of the token's life are over. Neither secret nor token is in any message.

use super::clock::machine;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use rdkafka::client::OAuthToken;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;
use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};

const METHOD: &str = "sasl.oauthbearer.method";
const CLIENT: &str = "sasl.oauthbearer.client.id";
const SECRET: &str = "sasl.oauthbearer.client.secret";
const ENDPOINT: &str = "sasl.oauthbearer.token.endpoint.url";
const SCOPE: &str = "sasl.oauthbearer.scope";
const CA: &str = "https.ca.location";

const OURS: [&str; 6] = [METHOD, CLIENT, SECRET, ENDPOINT, SCOPE, CA];

/// The client is not polled meanwhile: far below any session's time.
const WITHIN: Duration = Duration::from_secs(10);

/// Some kilobytes are usual.
const ANSWER_MAX: u64 = 1 << 20;

/// A token whose life is not told is asked for anew after most of this.
const LIFE: Duration = Duration::from_secs(60);

type Properties = BTreeMap<String, String>;

/// Whom to ask for tokens, and as whom.
#[derive(Clone)]
pub struct Tokens {
    endpoint: String,
    client: String,
    secret: String,
    scope: Option<String>,
    /// A file of certificates; without one, those that the system trusts.
    ca: Option<String>,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum NoToken {
    #[error("nobody to ask: set sasl.oauthbearer.method = \"oidc\" and what belongs to it in [kafka.properties]")]
    Unset,
    #[error("https.ca.location: {0}")]
    Ca(String),
    #[error("the token endpoint can't be asked: {0}")]
    Unasked(Box<ureq::Error>),
    #[error("the token endpoint says {status}{why}")]
    Refused { status: u16, why: String },
    #[error("the token endpoint's answer holds no access_token")]
    Strange,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    /// In seconds.
    expires_in: Option<f64>,
}

impl Tokens {
    /// As the properties say; none where they don't ask for OIDC.
    pub fn of(properties: &Properties) -> Option<Tokens> {
        let text = |name: &str| properties.get(name).cloned();
        Some(Tokens {
            endpoint: text(ENDPOINT).filter(|_| is_asked_for(properties))?,
            client: text(CLIENT)?,
            secret: text(SECRET)?,
            scope: text(SCOPE),
            ca: text(CA),
        })
    }

    fn fetch(&self) -> Result<OAuthToken, NoToken> {
        let tls = TlsConfig::builder().provider(TlsProvider::NativeTls).root_certs(self.roots()?).build();
        let agent: Agent = Agent::config_builder()
            .timeout_global(Some(WITHIN))
            .http_status_as_error(false)
            // Whoever is redirected to would be given the secret.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .tls_config(tls)
            .build()
            .into();
        let who = BASE64_STANDARD.encode(format!("{}:{}", self.client, self.secret));
        let scope = self.scope.as_deref().map(|scope| ("scope", scope));
        let form = [("grant_type", "client_credentials")].into_iter().chain(scope);
        let request = agent.post(&self.endpoint).header("authorization", format!("Basic {who}"));
        let mut answer = request.send_form(form).map_err(unasked)?;
        let status = answer.status().as_u16();
        let text = answer.body_mut().with_config().limit(ANSWER_MAX).read_to_string().map_err(unasked)?;
        if status != 200 {
            return Err(NoToken::Refused { status, why: code(&text) });
        }
        let Answer { access_token, expires_in } = serde_json::from_str(&text).map_err(|_| NoToken::Strange)?;
        let life = expires_in.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or(LIFE);
        let lifetime_ms = machine().0.saturating_add(i64::try_from(life.as_millis()).unwrap_or(i64::MAX));
        Ok(OAuthToken { token: access_token, principal_name: self.client.clone(), lifetime_ms })
    }

    /// Read anew each time: a file that was renewed is taken without a restart.
    fn roots(&self) -> Result<RootCerts, NoToken> {
        let Some(path) = &self.ca else { return Ok(RootCerts::PlatformVerifier) };
        let bytes = std::fs::read(path).map_err(|error| NoToken::Ca(error.to_string()))?;
        let certificates = parse_pem(&bytes).filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        });
        let certificates: Vec<Certificate<'static>> = certificates.collect();
        match certificates.is_empty() {
            true => Err(NoToken::Ca("it holds no certificate in PEM".into())),
            false => Ok(RootCerts::from(certificates)),
        }
    }
}

/// A token of these, for a client that asks.
///
/// # Errors
/// There is none to be had; the client asks again after some seconds.
pub fn fetch(tokens: Option<&Tokens>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
    Ok(tokens.ok_or(NoToken::Unset)?.fetch()?)
}

/// Whether a property is for us and not for librdkafka, which refuses what it was built without.
pub fn is_ours(properties: &Properties, name: &str) -> bool {
    is_asked_for(properties) && OURS.contains(&name)
}

/// What is wrong with them: a property's name, and what was expected of it.
pub fn mistakes(properties: &Properties) -> Vec<(&str, String)> {
    let mut mistakes = Vec::new();
    if !is_asked_for(properties) {
        return mistakes;
    }
    let is_bearer = |name: &&str| properties.get(*name).is_some_and(|value| value.eq_ignore_ascii_case("OAUTHBEARER"));
    if !["sasl.mechanism", "sasl.mechanisms"].iter().any(is_bearer) {
        mistakes.push((METHOD, "expected \"sasl.mechanism\" = \"OAUTHBEARER\" with it".to_owned()));
    }
    for name in [CLIENT, SECRET, ENDPOINT] {
        if !properties.contains_key(name) {
            mistakes.push((name, "expected a text, as sasl.oauthbearer.method is \"oidc\"; found none".to_owned()));
        }
    }
    if properties.get(ENDPOINT).is_some_and(|url| !is_private(url)) {
        mistakes.push((ENDPOINT, "expected https://…: the secret goes there".to_owned()));
    }
    let strange = properties.keys().filter(|name| name.starts_with("sasl.oauthbearer.") && !is_ours(properties, name));
    mistakes.extend(strange.map(|name| (name.as_str(), format!("expected none but {}", OURS.join(", ")))));
    mistakes
}

fn is_asked_for(properties: &Properties) -> bool {
    properties.get(METHOD).is_some_and(|method| method.eq_ignore_ascii_case("oidc"))
}

/// Over TLS, or not over any network.
fn is_private(url: &str) -> bool {
    let here = ["127.0.0.1", "localhost", "[::1]"];
    url.strip_prefix("http://").map_or(url.starts_with("https://"), |rest| {
        let host = rest.split('/').next().unwrap_or_default();
        here.iter().any(|here| host == *here || host.strip_prefix(here).is_some_and(|port| port.starts_with(':')))
    })
}

fn unasked(error: ureq::Error) -> NoToken {
    NoToken::Unasked(Box::new(error))
}

/// The error's code, such as `invalid_client`. What else is in the answer may be anything.
fn code(text: &str) -> String {
    let answer: Option<serde_json::Value> = serde_json::from_str(text).ok();
    let code = answer.as_ref().and_then(|answer| answer["error"].as_str());
    let is_word = |code: &&str| code.len() < 60 && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    code.filter(is_word).map(|code| format!(": {code}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(more: &[(&str, &str)]) -> Properties {
        let all = [
            ("sasl.mechanism", "OAUTHBEARER"),
            (METHOD, "oidc"),
            (CLIENT, "regressd"),
            (SECRET, "hunter2"),
            (ENDPOINT, "https://id.example/token"),
        ];
        all.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_is_missing_or_in_the_clear_is_a_mistake() {
        assert!(mistakes(&properties(&[])).is_empty());
        assert!(mistakes(&Properties::new()).is_empty() && Tokens::of(&Properties::new()).is_none());
        for (name, value) in [
            (METHOD, "OIDC"),
            (ENDPOINT, "http://127.0.0.1:8080/token"),
            (ENDPOINT, "http://localhost/token"),
            (SCOPE, "kafka"),
        ] {
            assert!(mistakes(&properties(&[(name, value)])).is_empty(), "{name} = {value}");
        }
        for (name, value, wrong) in [
            ("sasl.mechanism", "PLAIN", METHOD),
            (ENDPOINT, "http://id.example/token", ENDPOINT),
            (ENDPOINT, "http://127.0.0.1.example/token", ENDPOINT),
            (ENDPOINT, "id.example/token", ENDPOINT),
            ("sasl.oauthbearer.extensions", "a=b", "sasl.oauthbearer.extensions"),
        ] {
            let properties = properties(&[(name, value)]);
            let found = mistakes(&properties);
            assert!(matches!(&found[..], [(name, _)] if *name == wrong), "{name} = {value}: {found:?}");
            assert!(!format!("{found:?}").contains("hunter2"));
        }
        for name in [CLIENT, SECRET, ENDPOINT] {
            let mut properties = properties(&[]);
            properties.remove(name);
            assert!(matches!(&mistakes(&properties)[..], [(missing, _)] if *missing == name), "{name}");
        }
    }

    #[test]
    fn of_a_refusal_only_the_code_is_told() {
        assert_eq!(code(r#"{"error":"invalid_client","error_description":"hunter2"}"#), ": invalid_client");
        for text in ["", "hunter2", r#"{"error":"Hunter2 is wrong"}"#, r#"{"error":{"a":1}}"#] {
            assert_eq!(code(text), "", "{text}");
        }
    }
}
