//! A Kafka as a careful operator runs it: TLS, a password for everybody (SCRAM), and no right that nobody gave.
//!
//! The daemon comes in by that door with the least rights that the README names, and does its work; it can write to
//! nothing but its own topics. Topics are made, written and read through a second door where the test is the operator.

use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr;
use std::time::Duration;

use native::rd_kafka_ResourcePatternType_t as Pattern;
use rdkafka::ClientConfig;
use rdkafka::bindings as native;
use rdkafka::client::{Client, DefaultClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use std::sync::Mutex;

use crate::clock::{now_ms, wait_for};
use crate::daemon::Daemon;
use crate::http;
use crate::kafka::{Kafka, scratch};
use crate::ports::free_port;
use crate::scene::Scene;
use crate::topic::Draft;
use crate::traffic::{MINUTE, Service};

const LIMIT: Duration = Duration::from_secs(60);
const PASSWORD: &str = "wF7-not-to-be-seen";
const WRONG: &str = "xG8-not-to-be-seen";

#[test]
fn with_the_least_rights_it_works_and_can_write_only_what_is_its_own() {
    let (kafka, folder, door) = guarded("secured-keys");
    let scene = Scene::secured(&kafka, "secured", &door, properties(&folder));
    let (said, all): (Vec<Right>, Vec<Right>) =
        rights(&scene).into_iter().partition(|(_, name, _)| *name == scene.topic("recommendations"));
    allow(&kafka.addresses(), "regressd", &all);
    let now = now_ms();
    let service = Service::new("checkout").deployed_at(now - 10 * MINUTE).broken();
    scene.write("metrics", &service.metrics(now - 180 * MINUTE, now));
    scene.write("deployments", &[service.deployment()]);
    scene.write("logs", &[Draft::bytes(now, "bad")]);

    let mut wrong = Daemon::launch_with(&scene, &[(VARIABLE, WRONG)]);
    let refused = wait_for("the wrong password to be told", LIMIT, || {
        wrong.assert_running();
        let answer = http::get(scene.http(), "/readyz").ok()?;
        answer.body.contains("authentication_failed").then_some(answer)
    });
    assert_eq!(refused.status, 503);
    assert!(wrong.metric("regressd_kafka_errors_total", &[("kind", "authentication")]) > 0.0);
    wrong.stop();
    let log = fs::read_to_string(scene.log()).expect("the daemon has written it");
    assert!(log.contains("sasl.password"), "it does not say what to look at: {log}");

    let mut daemon = Daemon::launch_with(&scene, &[(VARIABLE, PASSWORD)]);
    wait_for("the right that is not there to be missed", LIMIT, || {
        daemon.assert_running();
        http::get(scene.http(), "/readyz").ok().filter(|answer| answer.body.contains("publish_failing"))
    });
    allow(&kafka.addresses(), "regressd", &said);
    wait_for("the recommendation", LIMIT, || scene.regression("deploy-checkout"));
    wait_for("the dead letter", LIMIT, || (scene.read("dead-letter").len() == 1).then_some(()));
    wait_for("readiness", LIMIT, || daemon.is_ready().then_some(()));
    for (kind, expected) in [("recommendations", None), ("metrics", REFUSED), ("control", REFUSED)] {
        assert_eq!(written_as_the_daemon(&scene, &folder, &door, kind), expected, "{kind}");
    }
    daemon.stop();
    let log = fs::read_to_string(scene.log()).expect("the daemon has written it");
    for secret in [PASSWORD, WRONG] {
        assert!(!log.contains(secret), "a password stands in the log");
    }
}

/// A broker with a door for the daemon, what is needed to come in by it, and where it is.
fn guarded(name: &str) -> (Kafka, PathBuf, String) {
    let folder = scratch(name);
    make_certificate(&folder, "localhost");
    let door = format!("127.0.0.1:{}", free_port());
    let user = format!("SCRAM-SHA-512=[name=regressd,password={PASSWORD}]");
    let kafka = Kafka::start_with(&server_properties(&folder, &door), &["--add-scram", &user]);
    (kafka, folder, door)
}

/// A fleet of two: what each right is for shows while it is missing, and with all of them everything works, that one
/// goes on where the other was killed included.
#[test]
fn a_fleet_with_the_least_rights_works_and_can_touch_only_what_is_its_own() {
    let (kafka, folder, door) = guarded("fleet-keys");
    let scene = Scene::secured(&kafka, "us", &door, properties(&folder)).with_lanes(&kafka, 2);
    let scenes = ["a", "b"].map(|name| scene.member(name, ""));
    let needed = rights_of_members(&scene);
    let (topics, others): (Vec<Right>, Vec<Right>) =
        needed.into_iter().partition(|right| right.0 == rights(&scene)[2].0);
    let (groups, transactions): (Vec<Right>, Vec<Right>) = others.into_iter().partition(|right| right.2 == topics[0].2);
    let now = now_ms();
    let services = ["checkout", "search"].map(|name| Service::new(name).deployed_at(now - 10 * MINUTE).broken());
    for service in &services {
        scene.write("metrics", &service.metrics(now - 180 * MINUTE, now));
        scene.write("deployments", &[service.deployment()]);
    }
    scene.write("logs", &[Draft::bytes(now, "bad")]);

    let mut wrong = Daemon::launch_with(&scenes[0], &[(VARIABLE, WRONG)]);
    wait_for("the wrong password to be told", LIMIT, || {
        wrong.assert_running();
        http::get(scenes[0].http(), "/readyz").ok().filter(|answer| answer.body.contains("authentication_failed"))
    });
    wrong.stop();

    let mut members: Vec<Daemon> =
        scenes.iter().map(|scene| Daemon::launch_with(scene, &[(VARIABLE, PASSWORD)])).collect();
    let missed = |what: &str| {
        wait_for(&format!("{what:?} to be told"), LIMIT, || {
            let told = |scene: &Scene| fs::read_to_string(scene.log()).is_ok_and(|log| log.contains(what));
            scenes.iter().all(told).then_some(())
        });
    };
    missed("it takes the rights to read and to write it");
    allow(&kafka.addresses(), "regressd", &topics);
    missed("Group authorization failed");
    allow(&kafka.addresses(), "regressd", &groups);
    // Who gets a seat tells.
    missed("Transactional Id authorization failed");
    assert!(members.iter().all(|member| !member.is_ready()));
    allow(&kafka.addresses(), "regressd", &transactions);
    for service in &services {
        wait_for("the recommendation", LIMIT, || scene.regression(&service.deployment_id()));
    }
    wait_for("the dead letter", LIMIT, || (scene.read("dead-letter").len() == 1).then_some(()));
    wait_for("readiness", LIMIT, || members.iter().all(Daemon::is_ready).then_some(()));

    members.remove(0).kill();
    scene.write("logs", &[Draft::bytes(now_ms(), "bad")]);
    wait_for("the other one to have all seats", LIMIT, || {
        let shown = members[0].exposition()?;
        let seats = ["lane-0", "lane-1", "desk", "relay"].map(|seat| format!("regressd_services{{seat=\"{seat}\"}}"));
        (seats.iter().all(|seat| shown.contains(seat)) && members[0].is_ready()).then_some(())
    });
    wait_for("the other dead letter", LIMIT, || (scene.read("dead-letter").len() == 2).then_some(()));

    assert_touches_only_its_own(&kafka, &scene, &folder, &door);
    members.into_iter().for_each(Daemon::stop);
    for scene in &scenes {
        let log = fs::read_to_string(scene.log()).expect("the daemon has written it");
        assert!(!log.contains(PASSWORD) && !log.contains(WRONG), "a password stands in the log");
    }
}

/// Whoever has a member's name and password can write to nothing but its own topics, and read nothing but its inputs.
fn assert_touches_only_its_own(kafka: &Kafka, scene: &Scene, folder: &Path, door: &str) {
    for kind in ["metrics", "logs", "deployments", "control"] {
        assert_eq!(written_as_the_daemon(scene, folder, door, kind), REFUSED, "{kind}");
    }
    for kind in ["recommendations", "lanes", "fleet"] {
        assert_eq!(written_as_the_daemon(scene, folder, door, kind), None, "{kind}");
    }
    kafka.create_topics(&[("us.somebody-elses".to_owned(), 1)]);
    for (topic, expected) in [("us.metrics", None), ("us.somebody-elses", REFUSED), ("us.audit", REFUSED)] {
        assert_eq!(read_as_the_daemon(folder, door, "us.seats-of-nobody", topic), expected, "{topic}");
    }
    let code = RDKafkaErrorCode::GroupAuthorizationFailed;
    assert_eq!(read_as_the_daemon(folder, door, "us", "us.metrics"), Some(code), "the bare name is no seat's");
    let begin = |id: &str| {
        let producer: BaseProducer = as_the_daemon(folder, door).set("transactional.id", id).create().expect("valid");
        producer.init_transactions(LIMIT).err().and_then(|error| error.rdkafka_error_code())
    };
    assert_eq!(begin("us.one-more"), None);
    assert_eq!(begin("them"), Some(RDKafkaErrorCode::TransactionalIdAuthorizationFailed));
}

/// What the broker says to a member of that group that is the daemon and wants to read the topic.
fn read_as_the_daemon(folder: &Path, door: &str, group: &str, topic: &str) -> Option<RDKafkaErrorCode> {
    let mut config = as_the_daemon(folder, door);
    config.set("group.id", group).set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
    config.set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().expect("valid settings");
    consumer.subscribe(&[topic]).expect("a valid name");
    wait_for(&format!("an answer of {topic}"), LIMIT, || match consumer.poll(Duration::from_millis(100))? {
        Ok(_) | Err(KafkaError::PartitionEOF(_)) => Some(None),
        Err(error) => error.rdkafka_error_code().map(Some),
    })
}

const VARIABLE: &str = "REGRESSD__KAFKA__PROPERTIES__SASL__PASSWORD";
const REFUSED: Option<RDKafkaErrorCode> = Some(RDKafkaErrorCode::TopicAuthorizationFailed);

/// A key and a certificate that vouches for itself, of that name and for this machine; and both in one file.
pub fn make_certificate(folder: &Path, name: &str) {
    let output = Command::new("openssl")
        .args("req -x509 -newkey rsa:2048 -nodes -days 2 -addext subjectAltName=IP:127.0.0.1,DNS:localhost".split(' '))
        .args(["-subj", &format!("/CN={name}"), "-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(folder)
        .output()
        .expect("openssl is there: run ./dev setup");
    assert!(output.status.success(), "no certificate was made: {}", String::from_utf8_lossy(&output.stderr));
    let both = ["key.pem", "cert.pem"].map(|name| fs::read_to_string(folder.join(name)).expect("openssl wrote it"));
    fs::write(folder.join("both.pem"), both.concat()).expect("the folder is writable");
}

/// What is added to a broker's own: the daemon's door.
fn server_properties(folder: &Path, door: &str) -> String {
    let keys = folder.join("both.pem");
    format!(
        "listeners+=,SASL_SSL://{door}
advertised.listeners+=,SASL_SSL://{door}
listener.security.protocol.map+=,SASL_SSL:SASL_SSL
ssl.keystore.type=PEM
ssl.keystore.location={}
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
",
        keys.display()
    )
}

/// As TOML for the daemon; the password comes by the environment.
fn properties(folder: &Path) -> String {
    format!(
        "\"security.protocol\" = \"SASL_SSL\"\n\"sasl.mechanism\" = \"SCRAM-SHA-512\"\n\
         \"sasl.username\" = \"regressd\"\n\"ssl.ca.location\" = \"{}\"\n",
        folder.join("cert.pem").display()
    )
}

/// A client with the daemon's name and password.
fn as_the_daemon(folder: &Path, door: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", door).set("security.protocol", "SASL_SSL").set("log_level", "0");
    config.set("sasl.mechanism", "SCRAM-SHA-512").set("sasl.username", "regressd").set("sasl.password", PASSWORD);
    config.set("ssl.ca.location", folder.join("cert.pem").display().to_string());
    config
}

/// What the broker says to a record that is sent with the daemon's name and password.
fn written_as_the_daemon(scene: &Scene, folder: &Path, door: &str, kind: &str) -> Option<RDKafkaErrorCode> {
    let mut config = as_the_daemon(folder, door);
    config.set("message.timeout.ms", "30000");
    let producer: BaseProducer<Outcome> = config.create_with_context(Outcome::default()).expect("valid settings");
    producer
        .send(BaseRecord::<str, str>::to(&scene.topic(kind)).payload("{}"))
        .map_err(|(error, _)| error)
        .expect("queued");
    producer.flush(LIMIT).expect("the broker answers");
    let outcome = producer.context().0.lock().expect("nobody panicked").take();
    outcome.expect("it was delivered or not")
}

#[derive(Default)]
struct Outcome(Mutex<Option<Option<RDKafkaErrorCode>>>);

impl rdkafka::ClientContext for Outcome {}

impl ProducerContext for Outcome {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let outcome = result.as_ref().err().and_then(|(error, _)| error.rdkafka_error_code());
        *self.0.lock().expect("nobody panicked") = Some(outcome);
    }
}

/// What a member of a fleet needs, as the README has it.
pub fn rights_of_members(scene: &Scene) -> Vec<Right> {
    use native::rd_kafka_AclOperation_t::{RD_KAFKA_ACL_OPERATION_READ as READ, RD_KAFKA_ACL_OPERATION_WRITE as WRITE};
    use native::rd_kafka_ResourceType_t::{RD_KAFKA_RESOURCE_GROUP as GROUP, RD_KAFKA_RESOURCE_TOPIC as TOPIC};
    let mut rights = rights(scene);
    // Every name of a seat begins with the group's and a dot; that of the group itself is nobody's.
    for (resource, name, _) in &mut rights {
        if *resource != TOPIC {
            *name += ".*";
        }
    }
    assert!(rights.iter().any(|(resource, ..)| *resource == GROUP));
    for kind in ["lanes", "fleet", "state"] {
        rights.extend([READ, WRITE].map(|operation| (TOPIC, scene.topic(kind), operation)));
    }
    rights
}

/// On what to do what; a star at the end of a name stands for any.
pub type Right = (native::rd_kafka_ResourceType_t, String, native::rd_kafka_AclOperation_t);

/// The least that the daemon needs, as the README has it.
pub fn rights(scene: &Scene) -> Vec<Right> {
    use native::rd_kafka_AclOperation_t::{RD_KAFKA_ACL_OPERATION_READ as READ, RD_KAFKA_ACL_OPERATION_WRITE as WRITE};
    use native::rd_kafka_ResourceType_t::{
        RD_KAFKA_RESOURCE_GROUP as GROUP, RD_KAFKA_RESOURCE_TOPIC as TOPIC,
        RD_KAFKA_RESOURCE_TRANSACTIONAL_ID as TRANSACTIONS,
    };
    let mut rights = vec![(GROUP, scene.group().to_owned(), READ), (TRANSACTIONS, scene.group().to_owned(), WRITE)];
    for kind in ["metrics", "logs", "deployments", "control"] {
        rights.push((TOPIC, scene.topic(kind), READ));
    }
    for kind in ["recommendations", "audit", "dead-letter"] {
        rights.push((TOPIC, scene.topic(kind), WRITE));
    }
    rights
}

/// Gives them to somebody. rust-rdkafka does not wrap what librdkafka has for this.
pub fn allow(brokers: &str, user: &str, rights: &[Right]) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("log_level", "0");
    let native_config = config.create_native_config().expect("valid settings");
    let client = Client::new(&config, native_config, native::rd_kafka_type_t::RD_KAFKA_PRODUCER, DefaultClientContext)
        .expect("valid settings");
    let text = |text: &str| CString::new(text).expect("no zero byte");
    // SAFETY: every pointer is used while what it points to lives, and each object is destroyed once, after its last
    // use, as librdkafka's reference of these calls asks.
    unsafe {
        let mut bindings: Vec<_> = rights
            .iter()
            .map(|(resource, name, operation)| {
                let (name, pattern) = match name.strip_suffix('*') {
                    Some(prefix) => (prefix, Pattern::RD_KAFKA_RESOURCE_PATTERN_PREFIXED),
                    None => (name.as_str(), Pattern::RD_KAFKA_RESOURCE_PATTERN_LITERAL),
                };
                let (name, principal, host) = (text(name), text(&format!("User:{user}")), text("*"));
                let allowed = native::rd_kafka_AclPermissionType_t::RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW;
                let (name, principal, host) = (name.as_ptr(), principal.as_ptr(), host.as_ptr());
                let none = ptr::null_mut();
                native::rd_kafka_AclBinding_new(*resource, name, pattern, principal, host, *operation, allowed, none, 0)
            })
            .collect();
        assert!(bindings.iter().all(|binding| !binding.is_null()));
        let queue = native::rd_kafka_queue_new(client.native_ptr());
        native::rd_kafka_CreateAcls(client.native_ptr(), bindings.as_mut_ptr(), bindings.len(), ptr::null(), queue);
        let event = native::rd_kafka_queue_poll(queue, 60_000);
        assert!(!event.is_null(), "the broker gives no answer");
        assert_eq!(native::rd_kafka_event_error(event) as i32, 0, "the rights were not given");
        let mut count = 0;
        let results =
            native::rd_kafka_CreateAcls_result_acls(native::rd_kafka_event_CreateAcls_result(event), &mut count);
        assert_eq!(count, rights.len());
        for (index, (_, name, _)) in rights.iter().enumerate() {
            assert!(native::rd_kafka_acl_result_error(*results.add(index)).is_null(), "{name}");
        }
        native::rd_kafka_event_destroy(event);
        native::rd_kafka_queue_destroy(queue);
        bindings.iter().for_each(|binding| native::rd_kafka_AclBinding_destroy(*binding));
    }
}
