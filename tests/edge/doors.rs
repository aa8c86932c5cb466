//! The other ways in at a broker that lets nobody in unknown: a certificate of one's own (mTLS), a name and a password
//! (SASL PLAIN), a token of an identity provider (SASL OAUTHBEARER with OIDC), all of them over TLS.
//!
//! Behind each door the daemon is somebody else and has the least rights that the README names, so that its work shows
//! who it was taken for. At each it comes with something wrong first, and says so. `secured` has SCRAM, and what those
//! rights do not cover.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine as _};
use native_tls::{Identity, TlsAcceptor, TlsStream};
use serde_json::json;

use crate::clock::{now_ms, wait_for};
use crate::daemon::Daemon;
use crate::http;
use crate::kafka::{Kafka, scratch};
use crate::ports::free_port;
use crate::scene::Scene;
use crate::secured::{allow, make_certificate, rights, rights_of_members};
use crate::topic::Draft;

const LIMIT: Duration = Duration::from_secs(60);
const PASSWORD: &str = "yH9-not-to-be-seen";
const SECRET: &str = "zJ0-not-to-be-seen";
const WRONG: &str = "qK1-not-to-be-seen";

/// Of a token, in seconds: it is asked for again after four fifths of it. The rest is more than the second within which
/// a broker lets nobody come in by a token and then by the next.
const LIFE: i64 = 8;

#[test]
fn it_comes_in_by_certificate_by_password_and_by_token() {
    let (server, client) = (scratch("doors-server"), scratch("doors-client"));
    make_certificate(&server, "localhost");
    make_certificate(&client, "robot");
    let provider = Provider::start(&server);
    let doors: Vec<String> = (0..3).map(|_| format!("127.0.0.1:{}", free_port())).collect();
    let kafka = Kafka::start_with(&settings(&server, &client, &doors), &[]);
    let ca = format!("\"ssl.ca.location\" = \"{}\"\n", server.join("cert.pem").display());

    let by_certificate = format!("{ca}\"security.protocol\" = \"SSL\"\n");
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| client.join(name).display().to_string());
    let names = [variable("ssl.certificate.location"), variable("ssl.key.location")];
    let scene = Scene::secured(&kafka, "by-certificate", &doors[0], by_certificate);
    allow(&kafka.addresses(), "CN=robot", &rights(&scene));
    // Without one, and then with it.
    come_in(&scene, ("SSL alert", &[]), &[(&names[0], &certificate), (&names[1], &key)], &[]);

    let by_password = format!(
        "{ca}\"security.protocol\" = \"SASL_SSL\"\n\"sasl.mechanism\" = \"PLAIN\"\n\"sasl.username\" = \"plain\"\n"
    );
    let scene = Scene::secured(&kafka, "by-password", &doors[1], by_password);
    allow(&kafka.addresses(), "plain", &rights(&scene));
    let password = variable("sasl.password");
    come_in(&scene, ("sasl.password", &[(&password, WRONG)]), &[(&password, PASSWORD)], &[WRONG, PASSWORD]);

    let by_token = format!(
        "{ca}\"security.protocol\" = \"SASL_SSL\"\n\"sasl.mechanism\" = \"OAUTHBEARER\"\n\
         \"sasl.oauthbearer.method\" = \"oidc\"\n\"sasl.oauthbearer.client.id\" = \"regressd\"\n\
         \"sasl.oauthbearer.scope\" = \"kafka\"\n\"sasl.oauthbearer.token.endpoint.url\" = \"{}\"\n\
         \"https.ca.location\" = \"{}\"\n",
        provider.url,
        server.join("cert.pem").display()
    );
    let scene = Scene::secured(&kafka, "by-token", &doors[2], by_token.clone()).with_state_topic(&kafka, 1);
    let mut needed = rights(&scene);
    for operation in [needed[0].2, needed[1].2] {
        // Of the state's topic, to read and to write.
        needed.push((needed[2].0, scene.topic("state"), operation));
    }
    allow(&kafka.addresses(), "token-of-regressd", &needed);
    let secret = variable("sasl.oauthbearer.client.secret");
    let issued = || provider.issued.load(Ordering::Relaxed);
    let bearer = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    come_in(&scene, ("invalid_client", &[(&secret, WRONG)]), &[(&secret, SECRET)], &[WRONG, SECRET, &bearer]);
    assert!(provider.refused.load(Ordering::Relaxed) > 0, "the wrong secret was never tried");

    // Each client of a fleet's asks for tokens of its own.
    let fleet = Scene::secured(&kafka, "fleet-by-token", &doors[2], by_token).with_lanes(&kafka, 2);
    allow(&kafka.addresses(), "token-of-regressd", &rights_of_members(&fleet));
    come_in(&fleet, ("invalid_client", &[(&secret, WRONG)]), &[(&secret, SECRET)], &[WRONG, SECRET, &bearer]);

    // Tokens end, and so does every connection that was opened with them; others follow without a break.
    let daemon = Daemon::launch_with(&scene, &[(&secret, SECRET)]);
    wait_for("readiness", LIMIT, || daemon.is_ready().then_some(()));
    let first = issued();
    wait_for("each client to have a third token", LIMIT, || (issued() >= first + 4).then_some(()));
    scene.write("logs", &[Draft::bytes(now_ms(), "bad")]);
    wait_for("the dead letter", LIMIT, || (scene.read("dead-letter").len() == 2).then_some(()));
    assert!(daemon.is_ready());
    daemon.stop();
}

/// With what is wrong it says so, and why; with what is right it works. Whatever is secret stands in no log.
fn come_in(scene: &Scene, (why, wrong): (&str, &[(&str, &str)]), right: &[(&str, &str)], secrets: &[&str]) {
    scene.write("logs", &[Draft::bytes(now_ms(), "bad")]);
    let mut refused = Daemon::launch_with(scene, wrong);
    wait_for(&format!("{} to be refused", scene.group()), LIMIT, || {
        refused.assert_running();
        http::get(scene.http(), "/readyz").ok().filter(|answer| answer.body.contains("authentication_failed"))
    });
    wait_for(&format!("{why:?} to be told"), LIMIT, || {
        fs::read_to_string(scene.log()).is_ok_and(|log| log.contains(why)).then_some(())
    });
    assert_eq!(scene.read("dead-letter").len(), 0);
    refused.stop();
    let daemon = Daemon::launch_with(scene, right);
    wait_for(&format!("{} to be let in", scene.group()), LIMIT, || daemon.is_ready().then_some(()));
    wait_for("the dead letter", LIMIT, || (scene.read("dead-letter").len() == 1).then_some(()));
    let shown = daemon.exposition().expect("it shows its metrics");
    daemon.stop();
    let log = fs::read_to_string(scene.log()).expect("the daemon has written it");
    for secret in secrets {
        assert!(!log.contains(secret) && !shown.contains(secret), "a secret is shown: {log}");
    }
}

/// The environment's name of a property.
fn variable(property: &str) -> String {
    format!("REGRESSD__KAFKA__PROPERTIES__{}", property.to_uppercase().replace('.', "__"))
}

/// What is added to a broker's own: three doors.
fn settings(server: &Path, client: &Path, doors: &[String]) -> String {
    let [certificate, password, token] = doors else { unreachable!("there are three") };
    let more = format!("CERTIFICATE://{certificate},PASSWORD://{password},TOKEN://{token}");
    format!(
        "listeners+=,{more}
advertised.listeners+=,{more}
listener.security.protocol.map+=,CERTIFICATE:SSL,PASSWORD:SASL_SSL,TOKEN:SASL_SSL
ssl.keystore.type=PEM
ssl.keystore.location={}
listener.name.certificate.ssl.client.auth=required
listener.name.certificate.ssl.truststore.type=PEM
listener.name.certificate.ssl.truststore.location={}
listener.name.password.sasl.enabled.mechanisms=PLAIN
listener.name.password.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
         user_plain=\"{PASSWORD}\";
listener.name.token.sasl.enabled.mechanisms=OAUTHBEARER
listener.name.token.oauthbearer.sasl.jaas.config=\
         org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
         unsecuredLoginStringClaim_sub=\"broker\";
listener.name.token.oauthbearer.connections.max.reauth.ms=60000
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
",
        server.join("both.pem").display(),
        client.join("cert.pem").display()
    )
}

/// An identity provider on loopback, as far as one is needed: a token, over TLS, to whoever has the secret.
struct Provider {
    url: String,
    issued: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
}

impl Provider {
    /// It ends with the test run.
    fn start(folder: &Path) -> Provider {
        let read = |name: &str| fs::read(folder.join(name)).expect("openssl wrote it");
        let identity = Identity::from_pkcs8(&read("cert.pem"), &read("key.pem")).expect("a key and its certificate");
        let acceptor = TlsAcceptor::new(identity).expect("valid settings");
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("of so many ports one is free");
        let port = listener.local_addr().expect("it is bound").port();
        let (issued, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counters = (issued.clone(), refused.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Ok(mut stream) = acceptor.accept(stream) else { continue };
                let Some(request) = request(&mut stream) else { continue };
                let counter = if answer(&mut stream, &request) { &counters.0 } else { &counters.1 };
                counter.fetch_add(1, Ordering::Relaxed);
                let _ = stream.shutdown();
            }
        });
        Provider { url: format!("https://localhost:{port}/realms/test/token"), issued, refused }
    }
}

/// Head and body.
fn request(stream: &mut TlsStream<std::net::TcpStream>) -> Option<String> {
    let (mut request, mut buffer) = (String::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        request += &String::from_utf8_lossy(&buffer[..read]);
        let Some((head, body)) = request.split_once("\r\n\r\n") else { continue };
        let head = head.to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        if body.len() >= length.unwrap_or(0) {
            return Some(request);
        }
    }
}

/// Whether it was given a token. Answers come in chunks, as from many a server.
fn answer(stream: &mut TlsStream<std::net::TcpStream>, request: &str) -> bool {
    let known = format!("Basic {}", BASE64_STANDARD.encode(format!("regressd:{SECRET}")));
    let mut headers = request.lines().filter_map(|line| line.split_once(": "));
    let is_known = headers.any(|(name, value)| name.eq_ignore_ascii_case("authorization") && value == known)
        && request.starts_with("POST /realms/test/token HTTP/1.1")
        && request.ends_with("grant_type=client_credentials&scope=kafka");
    let now = now_ms() as f64 / 1000.0;
    let claims = json!({"sub": "token-of-regressd", "iat": now, "exp": now + LIFE as f64, "scope": "kafka"});
    let [head, claims] =
        [json!({"alg": "none"}), claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string().as_bytes()));
    let (status, body) = match is_known {
        true => ("200 OK", json!({"access_token": format!("{head}.{claims}."), "expires_in": LIFE})),
        false => ("401 Unauthorized", json!({"error": "invalid_client", "error_description": request})),
    };
    let body = body.to_string();
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
    let _ = stream.write_all(format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).as_bytes());
    is_known
}
