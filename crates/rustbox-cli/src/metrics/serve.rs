//! `rustbox metrics --listen`: some threads, each with one connection at a time and one request on it.
//!
//! Each answer is made anew from the files, so that there is nothing to keep in step with other processes. Nobody says who
//! is at the other end, so whatever is read has a bound and a connection has a deadline: one that says nothing, or reads nothing,
//! costs a thread for that long, and one that is reset costs nothing. The parser is a library's. The server is not: those
//! that are kept well need an executor.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant, SystemTime};

use caps::CapSet;
use rustix::event::{Timespec, poll};

use super::exposition;
use crate::config::Settings;
use crate::error::{CliError, chain};
use crate::health::view;
use crate::output::say;
use crate::render::escape_text;

/// Connections that are served at once: a scrape, a probe, and many that come to nothing. A thread that waits costs next to
/// nothing.
const THREADS: usize = 16;
/// For a request to be there, and as long again for its answer to be taken. Prometheus waits ten seconds.
const DEADLINE: Duration = Duration::from_secs(1);
/// Longest head of a request; Prometheus's has some 300 bytes.
const HEAD_MAX: usize = 8 << 10;
/// Most lines of it; Prometheus's has five.
const HEADERS_MAX: usize = 64;
/// Before the next attempt when a connection cannot be accepted: descriptors come back when another one ends.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// What Prometheus expects of the text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON_TYPE: &str = "application/json";
const TEXT_TYPE: &str = "text/plain; charset=utf-8";

/// Type and text of an answer, and its status with whatever header belongs to that.
struct Answer {
    status: &'static str,
    content_type: &'static str,
    body: String,
}

/// What the head of a request says.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// It goes on.
    Incomplete,
    /// It is none.
    Malformed,
    /// A request, and what follows its head is of no interest.
    For { method: String, path: String },
}

/// Serves until the process is ended.
pub(super) fn serve(settings: &Settings, address: SocketAddr) -> Result<u8, CliError> {
    let failed = |reason: io::Error| CliError::Listen { address, reason: reason.to_string() };
    let listener = TcpListener::bind(address).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    // Before there are other threads: each would keep what it was born with.
    give_up_capabilities()?;
    say([format!("rustbox: listening on {bound}")]);
    std::thread::scope(|scope| {
        for _ in 1..THREADS {
            let thread = std::thread::Builder::new().spawn_scoped(scope, || attend(settings, &listener));
            if let Err(error) = thread {
                tracing::warn!(%error, "served by fewer threads");
            }
        }
        attend(settings, &listener);
    });
    Ok(0)
}

/// The bounding set first, since taking from it needs a capability itself.
fn give_up_capabilities() -> Result<(), CliError> {
    let held = caps::read(None, CapSet::Effective).map_err(CliError::Capabilities)?;
    if held.contains(&caps::Capability::CAP_SETPCAP) {
        caps::clear(None, CapSet::Bounding).map_err(CliError::Capabilities)?;
    }
    for set in [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        caps::clear(None, set).map_err(CliError::Capabilities)?;
    }
    Ok(())
}

/// Takes one connection after the other, for as long as the process lives.
fn attend(settings: &Settings, listener: &TcpListener) {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                let mut connection = Connection { stream, until: Instant::now() + DEADLINE };
                if let Err(error) = connection.serve(settings) {
                    // Who asked went away, or was too slow; the next one may not.
                    tracing::debug!(%error, "a connection came to nothing");
                }
            }
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                // The outcome of the wait is nothing: the next attempt tells.
                let _ = poll(&mut [], Some(&PAUSE));
            }
        }
    }
}

/// A connection, with the time at which what it does now ends, whatever it came to.
struct Connection {
    stream: TcpStream,
    until: Instant,
}

impl Connection {
    fn serve(&mut self, settings: &Settings) -> io::Result<()> {
        let (with_body, answer) = match self.head()? {
            Asked::For { method, path } => (method != "HEAD", answer(settings, &method, &path)),
            Asked::Malformed | Asked::Incomplete => (true, text("400 Bad Request", "no request\n")),
        };
        // A host that is slow to answer is not the client's fault.
        self.until = Instant::now() + DEADLINE;
        let Answer { status, content_type, body } = answer;
        let (date, length) = (httpdate::fmt_http_date(SystemTime::now()), body.len());
        let mut bytes = format!(
            "HTTP/1.1 {status}\r\nDate: {date}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\
             Cache-Control: no-store\r\nConnection: close\r\n\r\n"
        );
        if with_body {
            bytes.push_str(&body);
        }
        self.write(bytes.as_bytes())?;
        // What is closed with something unread is reset, and the answer may be lost with it.
        self.stream.shutdown(Shutdown::Write)?;
        while self.read(&mut [0; 4096])? > 0 {}
        Ok(())
    }

    /// Reads until the head of a request is whole, has ended or is too long.
    fn head(&mut self) -> io::Result<Asked> {
        let (mut head, mut length) = (vec![0; HEAD_MAX], 0);
        loop {
            let room = head.get_mut(length..).unwrap_or_default();
            let read = if room.is_empty() { 0 } else { self.read(room)? };
            length += read;
            match asked(head.get(..length).unwrap_or_default()) {
                Asked::Incomplete if read > 0 => {}
                asked @ (Asked::Incomplete | Asked::Malformed | Asked::For { .. }) => return Ok(asked),
            }
        }
    }

    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(bytes)
    }

    /// Not `write_all`, whose every write would have the whole time.
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.stream.set_write_timeout(Some(self.left()?))?;
            match self.stream.write(bytes)? {
                0 => return Err(ErrorKind::WriteZero.into()),
                written => bytes = bytes.get(written..).unwrap_or_default(),
            }
        }
        Ok(())
    }

    /// The time that is left; an error when there is none, which a socket would take for "for ever".
    fn left(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

fn asked(head: &[u8]) -> Asked {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Partial) => Asked::Incomplete,
        Err(_) => Asked::Malformed,
        Ok(httparse::Status::Complete(_)) => {
            let path = request.path.unwrap_or_default().split('?').next().unwrap_or_default();
            Asked::For { method: request.method.unwrap_or_default().to_owned(), path: path.to_owned() }
        }
    }
}

fn answer(settings: &Settings, method: &str, path: &str) -> Answer {
    if !matches!(method, "GET" | "HEAD") {
        return text("405 Method Not Allowed\r\nAllow: GET, HEAD", "only GET and HEAD\n");
    }
    match path {
        "/metrics" => made(exposition(settings).map(|text| ("200 OK", METRICS_TYPE, text.0))),
        "/healthz" => made(view(settings).map(|(admitted, body)| {
            let status = if admitted == Some(true) { "200 OK" } else { "503 Service Unavailable" };
            (status, JSON_TYPE, body + "\n")
        })),
        _ => text("404 Not Found", "/metrics or /healthz\n"),
    }
}

/// What could not be read is the server's fault, and the reason stays in its own log.
fn made(answer: Result<(&'static str, &'static str, String), CliError>) -> Answer {
    match answer {
        Ok((status, content_type, body)) => Answer { status, content_type, body },
        Err(error) => {
            say([format!("rustbox: {}", escape_text(&chain(&error)))]);
            text("503 Service Unavailable", "the worker's state cannot be read\n")
        }
    }
}

fn text(status: &'static str, body: &str) -> Answer {
    Answer { status, content_type: TEXT_TYPE, body: body.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_whole_goes_on_or_is_none() {
        let whole = b"GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\n\r\n";
        let asks = Asked::For { method: "GET".to_owned(), path: "/metrics".to_owned() };
        assert_eq!(asked(whole), asks);
        assert_eq!(asked(&[&whole[..], b"GET / HT"].concat()), asks, "what follows is not read");
        for length in 0..whole.len() {
            assert_eq!(asked(&whole[..length]), Asked::Incomplete, "cut to {length}");
        }
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1));
        for none in ["\0\x01", "GET\r\n\r\n", "GET / HTTP/2.0\r\n\r\n", "SSH-2.0-x\r\n", &many] {
            assert_eq!(asked(none.as_bytes()), Asked::Malformed, "{none}");
        }
    }
}
