//! `rustbox audit --watch` on real boxes.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test stops where its box cannot be set up")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::audit::{Running, move_out_of};
use crate::sandbox::Sandbox;

const LIMIT: Duration = Duration::from_secs(20);

/// A watch that runs beside the test, and what it prints.
struct Watch {
    child: Child,
    lines: Receiver<Value>,
}

impl Watch {
    fn start(sandbox: &Sandbox, args: &[&str]) -> Self {
        let mut command = sandbox.command();
        command.args(["audit", "--watch", "--json", "--log", "json"]).args(args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = listen(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// The next line that says what is waited for.
    fn next(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|error| panic!("{what}: {error}"));
            if is_it(&line) {
                return line;
            }
        }
    }

    /// Ends it as a service manager would; returns the exit code, and what it logged.
    fn stop(&mut self) -> (Option<i32>, String) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (self.child.wait().unwrap().code(), log)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

fn listen(stdout: ChildStdout) -> Receiver<Value> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(serde_json::from_str(&line).unwrap()).is_err() {
                break;
            }
        }
    });
    receiver
}

fn is_pass(line: &Value) -> bool {
    line["watch"] == "pass"
}

fn is_finding_about(line: &Value, id: &str) -> bool {
    line["watch"] == "finding" && line["finding"]["box_id"] == id
}

// S03, S42, D21: told at once, counted, and the worker is quarantined.
#[test]
fn an_escape_is_told_counted_and_quarantines_the_worker() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path().join("textfile")).unwrap();
    let id = format!("cli-watch-{}", std::process::id());
    let running = Running::start(&sandbox, &id, "sleep 1001 &");
    let mut watch = Watch::start(&sandbox, &["--interval", "3600", "--textfile", "textfile"]);
    watch.next("a full pass", is_pass);
    let metrics = || std::fs::read_to_string(sandbox.path().join("textfile/rustbox.prom")).unwrap();
    let count = |text: &str| {
        const SERIES: &str = "rustbox_containment_violations_total{kind=\"orphan_detected\"} ";
        let line = text.lines().find_map(|line| line.strip_prefix(SERIES)).unwrap();
        line.parse::<f64>().unwrap()
    };
    // A watch sees the whole host, what other tests do to their boxes included.
    let before = count(&metrics());

    let moved = Instant::now();
    let pid = move_out_of(&id);
    let line = watch.next("the finding", |line| is_finding_about(line, &id));
    println!("told {:.1?} after the move began", moved.elapsed());
    assert_eq!(line["finding"]["kind"], "orphan_detected");
    assert_eq!(line["finding"]["process"]["pid"].to_string(), pid);
    assert_eq!(sandbox.rustbox(["health", "--check"]).code, Some(1), "the worker is quarantined");
    assert!(count(&metrics()) > before, "{}", metrics());

    let (code, log) = watch.stop();
    assert_eq!(code, Some(1), "{log}");
    let is_event = |line: &&str| line.contains("containment_violation orphan_detected") && line.contains(&id);
    let events = log.lines().filter(is_event).count();
    assert!((1..=2).contains(&events), "once by the watch, and by a pass that came after it at most: {log}");
    drop(running);
}

// S21, S24, D21: outside for some 10 ms, and gone before anybody could look twice. Best effort, so it is tried until it is told.
#[test]
fn an_escape_of_a_moment_is_told_counted_and_quarantines_the_worker() {
    let sandbox = Sandbox::new();
    let id = format!("cli-moment-{}", std::process::id());
    let running = Running::start(&sandbox, &id, "sleep 1001 &");
    let listed: Value = serde_json::from_str(&sandbox.rustbox(["ps", "--json"]).stdout).unwrap();
    let ours = listed["boxes"].as_array().unwrap().iter().find(|listed| listed["box_id"] == id.as_str()).unwrap();
    let processes = ours["processes"].as_array().unwrap();
    let init = processes.iter().find(|process| process["comm"] == "rustbox-init").unwrap()["pid"].to_string();
    let watch = Watch::start(&sandbox, &["--interval", "3600"]);
    watch.next("a full pass", is_pass);
    for _ in 0..30 {
        let status = Command::new("nsenter").args(["--target", &init, "--pid", "sleep", "0.01"]).status().unwrap();
        assert!(status.success());
    }
    let is_moment = |line: &Value| is_finding_about(line, &id) && line["finding"]["kind"] == "transient_escape";
    watch.next("an escape of a moment", is_moment);
    const SERIES: &str = "rustbox_containment_violations_total{kind=\"transient_escape\"} ";
    let counted = |text: &str| text.lines().any(|line| line.strip_prefix(SERIES).is_some_and(|count| count != "0"));
    let metrics = sandbox.rustbox(["metrics"]).stdout;
    assert!(counted(&metrics), "{metrics}");
    let view: Value = serde_json::from_str(&sandbox.rustbox(["health"]).stdout).unwrap();
    assert_eq!(view["quarantine_reason"], "orphan_process_detected", "{view}");
    drop((watch, running));
}

#[test]
fn a_watch_that_may_kill_ends_what_escaped() {
    let sandbox = Sandbox::new();
    let id = format!("cli-watchkill-{}", std::process::id());
    let running = Running::start(&sandbox, &id, "sleep 1001 &");
    let watch = Watch::start(&sandbox, &["--interval", "3600", "--kill", "--no-quarantine"]);
    watch.next("a full pass", is_pass);
    let pid: u32 = move_out_of(&id).parse().unwrap();
    watch.next("the finding", |line| is_finding_about(line, &id));
    let pass = watch.next("a pass that acted", |line| is_pass(line) && line["report"]["actions"].is_array());
    let ended = pass["report"]["actions"]
        .as_array()
        .unwrap()
        .iter()
        .any(|result| result["action"]["end"]["process"]["pid"] == pid && result["outcome"] == "done");
    assert!(ended, "{pass:#}");
    drop(running);
}

// The kernel passes over a subscriber in another PID namespace without a word: that must not look like silence.
#[test]
fn a_watch_that_gets_no_events_says_so() {
    let sandbox = Sandbox::new();
    let rustbox = sandbox.command();
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).arg(rustbox.get_program());
    command.args(["audit", "--watch", "--json", "--no-quarantine", "--interval", "3600"]);
    command.env_clear().envs(rustbox.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut child = command.current_dir(sandbox.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = listen(child.stdout.take().unwrap());
    let watch = Watch { child, lines };
    let line = watch.next("a gap", |line| line["finding"]["kind"] == "coverage_gap");
    let what = line["finding"]["what"].as_str().unwrap();
    assert!(what.starts_with("process events cannot be had"), "{what}");
}

/// The capabilities of a unit, as setpriv wants them.
fn bounding_set(unit: &str) -> Vec<String> {
    let line = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).unwrap();
    line.split(' ').map(|name| name.strip_prefix("CAP_").unwrap().to_lowercase()).collect()
}

/// A watch that has these capabilities and no others, as root, started by a program with these arguments.
fn start_bounded(sandbox: &Sandbox, capabilities: &[String], by: &[&str]) -> Watch {
    let rustbox = sandbox.command();
    let kept: Vec<String> = capabilities.iter().map(|name| format!("+{name}")).collect();
    let mut command = Command::new(by[0]);
    command.args(&by[1..]).args(["setpriv", "--no-new-privs", "--bounding-set", &format!("-all,{}", kept.join(","))]);
    command.arg(rustbox.get_program()).args(["audit", "--watch", "--json", "--no-quarantine", "--interval", "3600"]);
    command.env_clear().envs(rustbox.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut child = command.current_dir(sandbox.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = listen(child.stdout.take().unwrap());
    Watch { child, lines }
}

// What watch-rustbox.service leaves it with is enough to see births and escapes; with the PrivateNetwork= of the other units there
// would be no events.
#[test]
fn the_unit_of_the_watch_leaves_it_what_a_watch_needs() {
    let sandbox = Sandbox::new();
    let unit = include_str!("../../../../packaging/systemd/watch-rustbox.service");
    let capabilities = bounding_set(unit);
    let id = format!("cli-watchunit-{}", std::process::id());
    let running = Running::start(&sandbox, &id, "sleep 1001 &");
    let watch = start_bounded(&sandbox, &capabilities, &["env"]);
    let is_gap = |line: &Value| line["finding"]["what"].as_str().is_some_and(|what| what.starts_with("process events"));
    // Whether there are events is told before the first pass.
    let pass = watch.next("a full pass or a gap", |line| is_pass(line) || is_gap(line));
    assert!(is_pass(&pass), "{pass}");
    let pid = move_out_of(&id);
    let line = watch.next("the finding", |line| is_finding_about(line, &id));
    let found = (&line["finding"]["kind"], line["finding"]["process"]["pid"].to_string());
    assert_eq!(found, (&"orphan_detected".into(), pid));
    drop((watch, running));

    assert!(!unit.lines().any(|line| line.starts_with("PrivateNetwork=")));
    start_bounded(&sandbox, &capabilities, &["unshare", "--net"]).next("the control: no events", is_gap);
}

#[test]
fn what_cannot_be_watched_is_misuse() {
    let sandbox = Sandbox::new();
    for args in [
        &["audit", "--watch", "--report", "i.md"][..],
        &["audit", "--watch", "--proc-root", "/proc"],
        &["audit", "--watch", "--textfile", "missing"],
        &["audit", "--interval", "5"],
        &["audit", "--watch", "--interval", "0"],
    ] {
        let said = sandbox.rustbox(args);
        assert_eq!(said.code, Some(125), "{args:?}: {said:?}");
    }
    assert!(sandbox.names().is_empty(), "{:?}", sandbox.names());
}
