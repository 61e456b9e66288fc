//! `rustbox metrics --listen`, asked over a socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use rustix::process::{Pid, Signal, kill_process};

use crate::sandbox::Sandbox;

/// A server, ended when it is dropped.
struct Served {
    child: Child,
    address: String,
}

impl Served {
    fn start(sandbox: &Sandbox) -> Self {
        let mut command = sandbox.command();
        let mut child = command.args(["metrics", "--listen", "127.0.0.1:0"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("rustbox: listening on ").unwrap_or_else(|| panic!("{line}")).to_owned();
        Self { child, address }
    }

    /// Status code, and the whole answer.
    fn ask(&self, method: &str, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let code = text.split(' ').nth(1).unwrap_or_else(|| panic!("{text}")).parse().unwrap();
        (code, text)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // A child of ours: it is dead when this returns.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// C05, S45.
#[test]
fn healthz_says_503_while_runs_are_refused_and_metrics_are_served() {
    let _host = crate::undisturbed();
    let sandbox = Sandbox::new();
    let served = Served::start(&sandbox);
    assert_eq!(served.ask("GET", "/healthz").0, 200);
    let (code, text) = served.ask("GET", "/metrics");
    assert!(code == 200 && text.contains("text/plain; version=0.0.4"), "{text}");
    assert!(text.contains("rustbox_worker_quarantined 0\n"), "{text}");
    assert_eq!(sandbox.rustbox(["health", "--quarantine", "--reason", "maintenance"]).code, Some(0));
    let (code, text) = served.ask("GET", "/healthz");
    assert!(code == 503 && text.contains("\"quarantine_reason\":\"maintenance\""), "{text}");
    assert!(served.ask("GET", "/metrics").1.contains("rustbox_worker_quarantined 1\n"));
    assert_eq!(crate::unquarantine(&sandbox, "done").code, Some(0));
    assert_eq!(served.ask("GET", "/healthz").0, 200);
    assert_eq!((served.ask("GET", "/etc/passwd").0, served.ask("POST", "/metrics").0), (404, 405));
}

#[test]
fn no_thread_of_the_server_has_a_capability() {
    let _host = crate::undisturbed();
    let sandbox = Sandbox::new();
    let served = Served::start(&sandbox);
    assert_eq!(served.ask("GET", "/healthz").0, 200);
    let mut threads = 0;
    for task in std::fs::read_dir(format!("/proc/{}/task", served.child.id())).unwrap() {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            let line = status.lines().find_map(|line| line.strip_prefix(&format!("{set}:"))).unwrap();
            assert_eq!(line.trim().trim_start_matches('0'), "", "{set} in {status}");
        }
        threads += 1;
    }
    assert!(threads > 1, "the server's own threads were looked at too");
}

// Whoever resets a connection before it is accepted costs nobody anything: its request can be read, its address is gone.
#[test]
fn a_client_that_resets_its_connection_does_not_end_the_server() {
    let _host = crate::undisturbed();
    let sandbox = Sandbox::new();
    let served = Served::start(&sandbox);
    let pid = Pid::from_child(&served.child);
    kill_process(pid, Signal::STOP).unwrap();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(&served.address).unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        // Closed with a reset.
        set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    }
    kill_process(pid, Signal::CONT).unwrap();
    assert_eq!(served.ask("GET", "/healthz").0, 200);
}

// More of them than there are threads, and each in its way: others are answered in the time that Prometheus waits.
#[test]
fn clients_that_say_nothing_or_read_nothing_or_never_end_are_left() {
    let _host = crate::undisturbed();
    let sandbox = Sandbox::new();
    let served = Served::start(&sandbox);
    let begin = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(&served.address).unwrap();
        stream.set_nonblocking(true).unwrap();
        // As much as the socket takes.
        let _ = stream.write(bytes);
        stream
    };
    let asks = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
    let lasting = format!("GET / HTTP/1.1\r\nx: {}", "x".repeat(1 << 20));
    let clients: Vec<TcpStream> =
        [b"", &b"GET /hea"[..], asks.as_bytes(), lasting.as_bytes()].repeat(6).into_iter().map(begin).collect();
    assert_eq!(served.ask("GET", "/healthz").0, 200);
    assert!(served.ask("GET", "/metrics").1.contains("rustbox_worker_quarantined 0\n"));
    drop(clients);
    assert_eq!(served.ask("HEAD", "/healthz").1.lines().last(), Some(""), "without a body");
    let mut stream = TcpStream::connect(&served.address).unwrap();
    stream.write_all(b"SSH-2.0-x\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 400 "), "{text}");
}
