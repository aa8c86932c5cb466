//! Connections with bounds: so many at once, each for so long, each taking so many bytes.
//!
//! Whoever sends slowly, reads slowly or sends without end is cut off by the same two numbers. What is asked for is not
//! known here.

use axum::serve::Listener;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Waking, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

/// Some 50 KB each with buffers and an answer, so 3 MB at worst; more have to wait.
const CONNECTIONS_MAX: usize = 64;
/// A connection carries one request, and a scrape over a slow line takes well under a second.
const LIFE: Duration = Duration::from_secs(10);
/// A scrape's request has less than 1 KiB.
const REQUEST_BYTES_MAX: usize = 16 * 1_024;

/// A listener whose connections are bounded.
pub struct Bounded {
    listener: TcpListener,
    life: Duration,
    places: Arc<Semaphore>,
}

impl Bounded {
    pub fn new(listener: TcpListener) -> Bounded {
        Bounded { listener, life: LIFE, places: Arc::new(Semaphore::new(CONNECTIONS_MAX)) }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let place = self.places.clone().acquire_owned().await.expect("the semaphore is never closed");
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        let end = Box::pin(tokio::time::sleep(self.life));
        (Connection { stream, end, bytes_left: REQUEST_BYTES_MAX, _place: place }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Reads and writes until its time or its bytes are used up; keeps its place among the others until it is dropped.
pub struct Connection {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    bytes_left: usize,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    fn is_over(&mut self, waking: &mut Waking) -> bool {
        self.end.as_mut().poll(waking).is_ready()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, waking: &mut Waking, buffer: &mut ReadBuf) -> Poll<io::Result<()>> {
        if self.is_over(waking) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(waking, buffer);
        match self.bytes_left.checked_sub(buffer.filled().len() - before) {
            Some(left) => {
                self.bytes_left = left;
                read
            }
            None => Poll::Ready(Err(io::ErrorKind::FileTooLarge.into())),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, waking: &mut Waking, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_over(waking) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_write(waking, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, waking: &mut Waking) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(waking)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, waking: &mut Waking) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(waking)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::io::Write;

    /// Reads what a peer sends until there is an error or the end, on a connection that lives for `life`.
    fn read_all(life: Duration, sent: &[u8]) -> (usize, Option<io::ErrorKind>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut listener = Bounded { life, ..Bounded::new(listener) };
            let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            peer.write_all(sent).unwrap();
            let (mut connection, _) = listener.accept().await;
            let (mut total, mut space) = (0, [0; 4_096]);
            loop {
                let mut buffer = ReadBuf::new(&mut space);
                match poll_fn(|waking| Pin::new(&mut connection).poll_read(waking, &mut buffer)).await {
                    Ok(()) if buffer.filled().is_empty() => return (total, None),
                    Ok(()) => total += buffer.filled().len(),
                    Err(error) => return (total, Some(error.kind())),
                }
            }
        })
    }

    /// The peer keeps the connection open and says no more: only the connection's own time can end it.
    #[test]
    fn a_slow_peer_is_cut_off() {
        assert_eq!(read_all(Duration::from_millis(50), b"").1, Some(io::ErrorKind::TimedOut));
    }

    #[test]
    fn an_endless_request_is_cut_off() {
        let (read, error) = read_all(Duration::from_secs(60), &[b'x'; REQUEST_BYTES_MAX + 1]);
        assert_eq!(error, Some(io::ErrorKind::FileTooLarge));
        assert!(read <= REQUEST_BYTES_MAX, "{read}");
    }
}
