//! The few words of HTTP that the tests speak: one request, one whole answer.
//!
//! HTTP/1.0, so that no server answers in chunks. Anything that goes wrong is an error with its reason, because a
//! server that is not there yet is asked again.

#![allow(dead_code, reason = "the edge and the fault tests use a part each")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

pub fn get(address: SocketAddr, path: &str) -> Result<Answer, String> {
    exchange(address, &format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n"))
}

/// A form with one field.
pub fn post_form(address: SocketAddr, path: &str, name: &str, value: &str) -> Result<Answer, String> {
    let form = format!("{name}={}", percent_encoded(value));
    let head = format!("POST {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {}\r\n", form.len());
    exchange(address, &format!("{head}Content-Type: application/x-www-form-urlencoded\r\n\r\n{form}"))
}

fn exchange(address: SocketAddr, request: &str) -> Result<Answer, String> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(LIMIT)).map_err(|error| error.to_string())?;
    stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(|error| error.to_string())?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("the answer has no end of headers")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or("the answer has no status")?;
    Ok(Answer { status, body: body.to_owned() })
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
