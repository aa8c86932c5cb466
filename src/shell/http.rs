//! The window: `/metrics`, `/healthz` and `/readyz`, on a thread of its own.
//!
//! It only shows; nothing can be changed through it. A connection carries one request and lives for a bounded time, so
//! that nobody, by malice or by mistake, can hold it open for others. What the metrics are is `telemetry`'s affair; who
//! is healthy is told by whoever runs.

mod connection;

use super::telemetry::Metrics;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

words! {
    /// Why the daemon does not do its work at this moment.
    pub enum NotReady {
        Starting = "starting",
        BrokerUnreachable = "broker_unreachable",
        /// The brokers refuse name and password, or TLS can't be agreed on: waiting does not help.
        AuthenticationFailed = "authentication_failed",
        /// What is said can't be published, so nothing more is taken.
        PublishFailing = "publish_failing",
        /// A partition's messages can't be taken, one after the other, and it was stopped.
        InputStopped = "input_stopped",
        /// Under `exactly_once`: without a checkpoint nothing is published.
        CheckpointFailing = "checkpoint_failing",
        Stopping = "stopping",
    }
}

/// How the daemon is, told by the loop and read by the window.
pub struct Health {
    since: Instant,
    stall_after: Duration,
    /// Milliseconds from `since` to the last sign of progress.
    alive_at: AtomicU64,
    /// One bit for each `NotReady`.
    reasons: AtomicU32,
}

impl Health {
    /// Alive as of now and `Starting`. Without a sign of progress for `stall_after` it counts as stalled.
    pub fn new(stall_after: Duration) -> Health {
        let reasons = AtomicU32::new(bit(NotReady::Starting));
        Health { since: Instant::now(), stall_after, alive_at: AtomicU64::new(0), reasons }
    }

    /// A sign of progress: the loop took a turn.
    pub fn beat(&self) {
        self.alive_at.store(self.since.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Says that a reason holds, or no longer does.
    pub fn set(&self, reason: NotReady, holds: bool) {
        match holds {
            true => self.reasons.fetch_or(bit(reason), Ordering::Relaxed),
            false => self.reasons.fetch_and(!bit(reason), Ordering::Relaxed),
        };
    }

    /// For how long there has been no progress, if that is too long.
    pub fn stalled(&self) -> Option<Duration> {
        let alive_at = Duration::from_millis(self.alive_at.load(Ordering::Relaxed));
        let silence = self.since.elapsed().saturating_sub(alive_at);
        (silence >= self.stall_after).then_some(silence)
    }

    /// Everything that keeps the daemon from its work.
    pub fn not_ready(&self) -> Vec<NotReady> {
        let reasons = self.reasons.load(Ordering::Relaxed);
        NotReady::ALL.iter().copied().filter(|reason| reasons & bit(*reason) != 0).collect()
    }

    /// It makes progress and nothing keeps it from its work.
    pub fn is_ready(&self) -> bool {
        self.stalled().is_none() && self.not_ready().is_empty()
    }
}

/// Why the window can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("http.listen: can't listen on {listen}: {error}")]
    Listen { listen: SocketAddr, error: std::io::Error },
    #[error("the HTTP server can't be started: {0}")]
    Start(#[from] std::io::Error),
}

/// The open window; dropping it closes it at once, answers under way included.
pub struct Server {
    local_addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens on `listen`; port 0 takes any free one.
    ///
    /// # Errors
    /// When the address is taken or not ours, before anything was started.
    pub fn start(listen: SocketAddr, metrics: Arc<Metrics>, health: Arc<Health>) -> Result<Server, ServerError> {
        let told = |error| ServerError::Listen { listen, error };
        let listener = TcpListener::bind(listen).map_err(told)?;
        let local_addr = listener.local_addr().map_err(told)?;
        listener.set_nonblocking(true).map_err(told)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let listener = {
            let _inside = runtime.enter();
            connection::Bounded::new(tokio::net::TcpListener::from_std(listener)?)
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = async move {
            tokio::select! {
                _ = axum::serve(listener, router(metrics, health)) => {}
                _ = stopped => {}
            }
        };
        // No handler ever blocks, so that the thread ends, and with it every connection, as soon as it is told to.
        let thread = std::thread::Builder::new().name("http".to_owned()).spawn(move || runtime.block_on(serve))?;
        Ok(Server { local_addr, stop: Some(stop), thread: Some(thread) })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It ends by itself; that it panicked was told when it happened.
            let _ = thread.join();
        }
    }
}

type Shown = (Arc<Metrics>, Arc<Health>);
type Plain = (StatusCode, [(HeaderName, &'static str); 1], String);

fn router(metrics: Arc<Metrics>, health: Arc<Health>) -> Router {
    Router::new()
        .route("/metrics", get(show_metrics))
        .route("/healthz", get(show_health))
        .route("/readyz", get(show_readiness))
        .layer(axum::middleware::map_response(close))
        .with_state((metrics, health))
}

async fn show_metrics(State((metrics, health)): State<Shown>) -> Plain {
    metrics.set_ready(health.is_ready());
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    (StatusCode::OK, [(header::CONTENT_TYPE, kind)], metrics.render())
}

async fn show_health(State((_, health)): State<Shown>) -> Plain {
    match health.stalled() {
        None => plain(StatusCode::OK, "ok\n".to_owned()),
        Some(silence) => plain(StatusCode::SERVICE_UNAVAILABLE, stalled(silence)),
    }
}

async fn show_readiness(State((_, health)): State<Shown>) -> Plain {
    let mut reasons: String = health.not_ready().iter().map(|reason| format!("{}\n", reason.word())).collect();
    reasons.extend(health.stalled().map(stalled));
    match reasons.is_empty() {
        true => plain(StatusCode::OK, "ready\n".to_owned()),
        false => plain(StatusCode::SERVICE_UNAVAILABLE, reasons),
    }
}

/// One request a connection: what bounds the connection then bounds the request.
async fn close(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn stalled(silence: Duration) -> String {
    format!("stalled: no progress for {} s\n", silence.as_secs())
}

fn plain(status: StatusCode, text: String) -> Plain {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text)
}

fn bit(reason: NotReady) -> u32 {
    1 << reason as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpStream};

    const STALL_AFTER: Duration = Duration::from_secs(3_600);

    fn start(health: Health) -> (Server, Arc<Health>) {
        let health = Arc::new(health);
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        (Server::start(any_port, Arc::new(Metrics::new()), health.clone()).unwrap(), health)
    }

    /// Sends bytes and reads until the server closes.
    fn exchange(server: &Server, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(server.local_addr()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // The server may hang up in the middle of it.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }

    fn ask(server: &Server, method: &str, path: &str) -> (u16, String) {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let answer = exchange(server, request.as_bytes());
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.unwrap_or_else(|| panic!("{head:?}")), body.to_owned())
    }

    #[test]
    fn metrics_are_served_in_the_text_format() {
        let (server, health) = start(Health::new(STALL_AFTER));
        let answer = exchange(&server, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{answer}");
        assert!(answer.contains("\nregressd_ready 0\n"), "{answer}");
        health.set(NotReady::Starting, false);
        assert!(ask(&server, "GET", "/metrics").1.contains("\nregressd_ready 1\n"));
    }

    #[test]
    fn readiness_says_what_is_in_the_way() {
        let (server, health) = start(Health::new(STALL_AFTER));
        health.set(NotReady::PublishFailing, true);
        assert_eq!(ask(&server, "GET", "/readyz"), (503, "starting\npublish_failing\n".to_owned()));
        health.set(NotReady::Starting, false);
        health.set(NotReady::PublishFailing, false);
        assert_eq!(ask(&server, "GET", "/readyz"), (200, "ready\n".to_owned()));
    }

    #[test]
    fn health_is_progress() {
        let (server, health) = start(Health::new(STALL_AFTER));
        health.beat();
        assert_eq!(ask(&server, "GET", "/healthz"), (200, "ok\n".to_owned()));
        let (server, health) = start(Health::new(Duration::ZERO));
        health.set(NotReady::Starting, false);
        let stalled = (503, "stalled: no progress for 0 s\n".to_owned());
        assert_eq!(ask(&server, "GET", "/healthz"), stalled);
        assert_eq!(ask(&server, "GET", "/readyz"), stalled);
    }

    #[test]
    fn nothing_can_be_changed_through_it() {
        let (server, _) = start(Health::new(STALL_AFTER));
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            assert_eq!(ask(&server, method, "/metrics").0, 405, "{method}");
        }
        assert_eq!(ask(&server, "GET", "/elsewhere").0, 404);
    }

    #[test]
    fn a_request_beyond_the_limit_is_not_read_to_its_end() {
        let (server, _) = start(Health::new(STALL_AFTER));
        let request = format!("GET /metrics HTTP/1.1\r\nX-Long: {}\r\n\r\n", "x".repeat(1 << 20));
        assert!(!exchange(&server, request.as_bytes()).starts_with("HTTP/1.1 200"));
        assert_eq!(ask(&server, "GET", "/healthz").0, 200);
    }

    #[test]
    fn a_taken_port_is_told_with_its_key() {
        let (server, _) = start(Health::new(STALL_AFTER));
        let taken = server.local_addr();
        let again = Server::start(taken, Arc::new(Metrics::new()), Arc::new(Health::new(STALL_AFTER)));
        let error = again.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.starts_with(&format!("http.listen: can't listen on {taken}: ")), "{error}");
    }

    #[test]
    fn it_closes_at_once_even_with_somebody_connected() {
        let (server, _) = start(Health::new(STALL_AFTER));
        let address = server.local_addr();
        let mut idle = TcpStream::connect(address).unwrap();
        idle.write_all(b"GET /met").unwrap();
        let begun = Instant::now();
        drop(server);
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert!(TcpStream::connect(address).is_err());
    }
}
