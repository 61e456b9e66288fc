//! `rustbox audit` and `rustbox tree` on real boxes.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test stops where its box cannot be set up")]

use std::io::Read;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::sandbox::{Said, Sandbox};

/// Longest wait for what takes milliseconds.
const LIMIT: Duration = Duration::from_secs(20);

/// A box whose payload has said that it runs.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    pub(crate) fn start(sandbox: &Sandbox, id: &str, script: &str) -> Self {
        let mut command = sandbox.command();
        command.args(["run", "--quiet", "--wall-time", "60", "--box-id", id, "--code"]);
        command.arg(format!("{script} echo up; exec sleep 1000"));
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut up = [0; 3];
        child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
        Self { child }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

fn audit(sandbox: &Sandbox, args: &[&str]) -> (Said, Value) {
    let said = sandbox.rustbox(["audit", "--json", "--log", "off"].iter().chain(args));
    let report = serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    (said, report)
}

fn kinds(report: &Value) -> Vec<&str> {
    report["findings"].as_array().unwrap().iter().map(|finding| finding["kind"].as_str().unwrap()).collect()
}

/// The host pids in a box.
fn members(id: &str) -> Vec<String> {
    let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
    let read = |root: &str| std::fs::read_to_string(format!("{root}/rustbox-{id}/cgroup.procs")).ok();
    let text = roots.into_iter().find_map(read).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Moves the last payload of a box to the root cgroup, as a helper with root's rights would; returns its pid.
pub(crate) fn move_out_of(id: &str) -> String {
    let victim = members(id).pop().unwrap();
    let root = if std::path::Path::new("/sys/fs/cgroup/unified").exists() {
        "/sys/fs/cgroup/unified"
    } else {
        "/sys/fs/cgroup"
    };
    std::fs::write(format!("{root}/cgroup.procs"), &victim).unwrap();
    victim
}

// S03, S26, S28 to S31, S70.
#[test]
fn a_payload_that_root_moved_out_is_found_told_and_ended() {
    let sandbox = Sandbox::new();
    let id = format!("cli-audit-{}", std::process::id());
    let running = Running::start(&sandbox, &id, "sleep 1001 &");
    let (said, report) = audit(&sandbox, &["--box", &id]);
    assert_eq!((said.code, kinds(&report)), (Some(0), vec![]), "a healthy box is clean: {report:#}");

    let victim = move_out_of(&id);
    let tree = sandbox.rustbox(["tree"]).stdout;
    assert!(tree.contains("OUTSIDE") && tree.contains("rustbox-init"), "{tree}");

    let (said, report) = audit(&sandbox, &["--box", &id, "--report", "i.md"]);
    assert_eq!((said.code, kinds(&report)), (Some(1), vec!["orphan_detected"]), "{report:#}");
    assert_eq!(report["findings"][0]["process"]["pid"].to_string(), victim);
    let incident = std::fs::read_to_string(sandbox.path().join("i.md")).unwrap();
    assert!(incident.contains("### Recovery actions taken") && incident.contains(&victim), "{incident}");

    let (said, report) = audit(&sandbox, &["--box", &id, "--kill"]);
    assert_eq!((said.code, &report["remaining"]), (Some(0), &serde_json::json!([])), "{report:#}");
    assert_eq!(report["actions"][0]["outcome"], "done", "{report:#}");
    drop(running);
}

// S12, root cause 5: what a crash of the supervisor and its keeper leaves is found, and collected.
#[test]
fn what_a_crash_leaves_is_stale_state_until_it_is_collected() {
    let sandbox = Sandbox::new();
    let id = format!("cli-crash-{}", std::process::id());
    let mut running = Running::start(&sandbox, &id, "");
    let supervisor = running.child.id();
    let children = std::fs::read_to_string(format!("/proc/{supervisor}/task/{supervisor}/children")).unwrap();
    let keeper = keeper_of(supervisor, &children);
    // The keeper first: it would clean up after the supervisor.
    for pid in keeper.into_iter().chain([supervisor]) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    running.child.wait().unwrap();
    let deadline = Instant::now() + LIMIT;
    let report = loop {
        let (said, report) = audit(&sandbox, &["--box", &id]);
        if said.code == Some(1) || Instant::now() > deadline {
            break report;
        }
    };
    assert!(kinds(&report).iter().all(|kind| *kind == "stale_state"), "nothing of it lives: {report:#}");
    assert!(!kinds(&report).is_empty(), "its record is left: {report:#}");
    let (said, report) = audit(&sandbox, &["--box", &id, "--kill"]);
    assert_eq!((said.code, &report["remaining"]), (Some(0), &serde_json::json!([])), "{report:#}");
}

/// The keeper is no child of the supervisor for long; it is found by what it calls itself, for this test only.
fn keeper_of(supervisor: u32, children: &str) -> Vec<u32> {
    let is_keeper = |pid: &u32| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "rustbox-keeper")
    };
    let mut found: Vec<u32> =
        children.split_whitespace().filter_map(|word| word.parse().ok()).filter(is_keeper).collect();
    if found.is_empty() {
        let session = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        found = pids.filter(is_keeper).filter(|pid| session(*pid).contains(&format!(" {supervisor} "))).collect();
    }
    found
}

// S56: "could not look" is never 0.
#[test]
fn what_cannot_be_looked_at_is_no_verdict() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path().join("empty")).unwrap();
    let said = sandbox.rustbox(["audit", "--proc-root", "empty"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    let said = sandbox.rustbox(["audit", "--report", "i.txt"]);
    assert_eq!(said.code, Some(125), "{said:?}");
    let said = sandbox.rustbox(["audit", "--box", "../x"]);
    assert_eq!(said.code, Some(125), "{said:?}");
}
