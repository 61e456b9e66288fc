//! A reader who does not read: what was to be told waits for it, and a signal ends the waiting.

#![expect(clippy::unwrap_used, reason = "a test stops where its box cannot be set up")]

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::batch::is_root;
use crate::sandbox::Sandbox;

/// Nothing here takes as long.
const LIMIT: Duration = Duration::from_secs(30);

/// A pipe that takes nothing more, and how much is in it.
fn full_pipe() -> (PipeReader, PipeWriter, usize) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    rustix::fs::fcntl_setfl(&writer, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    let mut filled = 0;
    while let Ok(more) = writer.write(&[b'.'; 4096]) {
        filled += more;
    }
    rustix::fs::fcntl_setfl(&writer, flags).unwrap();
    (reader, writer, filled)
}

/// A child that does not outlive its test.
pub(crate) struct Bounded(OwnedFd);

impl Bounded {
    pub(crate) fn new(child: &Child) -> Self {
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        Self(pidfd_open(pid, PidfdFlags::empty()).unwrap())
    }

    /// Whether it ends within this time.
    pub(crate) fn ends_within(&self, time: Duration) -> bool {
        let time = Timespec::try_from(time).unwrap();
        poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&time)).unwrap() > 0
    }

    /// Sends SIGTERM until it has ended.
    fn is_told_to_end(&self, pause: Duration) {
        let begun = Instant::now();
        while !self.ends_within(pause) {
            assert!(begun.elapsed() < LIMIT, "SIGTERM does not end it");
            pidfd_send_signal(&self.0, Signal::TERM).unwrap();
        }
    }
}

impl Drop for Bounded {
    fn drop(&mut self) {
        let _ended = pidfd_send_signal(&self.0, Signal::KILL);
    }
}

/// A run that is over, and whose report has no reader yet; and the filled pipe.
fn over_and_unread(sandbox: &Sandbox) -> (Child, Bounded, PipeReader, usize) {
    let (reader, writer, filled) = full_pipe();
    let mut command = sandbox.command();
    command.args(["run", "--quiet", "--json", "--meta", "meta", "--", "true"]);
    let child = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let bounded = Bounded::new(&child);
    // The meta file is written before what goes to standard output.
    let meta = || std::fs::read_to_string(sandbox.path().join("meta")).unwrap_or_default();
    let begun = Instant::now();
    while !meta().contains("exitcode:0") {
        assert!(begun.elapsed() < LIMIT, "the run does not end: {:?}", meta());
        std::thread::yield_now();
    }
    (child, bounded, reader, filled)
}

#[test]
fn a_report_waits_for_its_reader() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox::new();
    let (child, bounded, mut reader, filled) = over_and_unread(&sandbox);
    assert!(!bounded.ends_within(Duration::from_millis(200)), "it did not wait");
    let mut text = vec![0; filled];
    reader.read_exact(&mut text).unwrap();
    let mut report = String::new();
    // The writer's end is the child's alone.
    reader.read_to_string(&mut report).unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["status"], "OK");
}

#[test]
fn a_signal_ends_a_rustbox_whose_report_nobody_reads() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox::new();
    let (child, bounded, reader, _) = over_and_unread(&sandbox);
    // The first may come while the report is still being made, and then it was the run's.
    bounded.is_told_to_end(Duration::from_millis(100));
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "a report that was not delivered: {said}");
    assert!(said.contains("a signal came, and nobody reads"), "{said}");
    drop(reader);
}

#[test]
fn a_second_signal_ends_a_batch_whose_results_nobody_reads() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.file("jobs", &"{\"code\": \"true\"}\n".repeat(3));
    let (reader, writer, _) = full_pipe();
    let mut command = sandbox.command();
    let mut child = command.args(["batch", "jobs"]).stdout(writer).stderr(Stdio::null()).spawn().unwrap();
    drop(command);
    Bounded::new(&child).is_told_to_end(Duration::from_millis(500));
    assert_eq!(child.wait().unwrap().signal(), Some(15));
    drop(reader);
}
