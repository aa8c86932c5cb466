//! The daemon's own metrics, read as Prometheus reads them: this is how the demo knows how far the daemon got.
//!
//! Just enough of HTTP and of the text format for one local page.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);
/// A few hundred lines of metrics; ten times that is not our page.
const PAGE_BYTES_MAX: u64 = 1 << 20;

pub struct Scrape(String);

impl Scrape {
    pub fn take(from: SocketAddr) -> Result<Scrape> {
        let mut stream = TcpStream::connect_timeout(&from, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut page = String::new();
        stream.take(PAGE_BYTES_MAX).read_to_string(&mut page)?;
        let (head, body) = page.split_once("\r\n\r\n").unwrap_or_default();
        if !head.lines().next().is_some_and(|status| status.contains(" 200")) {
            return Err(Error::new(ErrorKind::InvalidData, format!("no metrics at {from}")));
        }
        Ok(Scrape(body.to_owned()))
    }

    /// The sum of a metric's series whose labels hold all of `labels`, each as `name="value"`; 0 where there are none.
    pub fn sum(&self, metric: &str, labels: &[&str]) -> f64 {
        let value = |line: &str| {
            let rest = line.strip_prefix(metric)?;
            let (set, value) = match rest.strip_prefix('{') {
                Some(rest) => rest.rsplit_once("} ")?,
                None => ("", rest.strip_prefix(' ')?),
            };
            labels.iter().all(|label| set.contains(label)).then(|| value.trim().parse::<f64>().ok())?
        };
        self.0.lines().filter_map(value).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_over_matching_series() {
        let page = "# HELP a_total x\na_total{kind=\"logs\",reason=\"late\"} 2\n\
                    a_total{kind=\"metrics\",reason=\"late\"} 3\na_total_more{kind=\"logs\"} 100\nb 7.5\n";
        let scrape = Scrape(page.to_owned());
        assert_eq!(scrape.sum("a_total", &[]), 5.0);
        assert_eq!(scrape.sum("a_total", &["kind=\"logs\""]), 2.0);
        assert_eq!(scrape.sum("b", &[]), 7.5);
        assert_eq!(scrape.sum("c", &[]), 0.0);
    }
}
