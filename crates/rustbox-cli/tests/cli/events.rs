//! The events of an audit, as programs read them: JSON lines, and the journal's own protocol.

#![expect(clippy::unwrap_used, reason = "a test stops where its box cannot be set up")]

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::audit::{Running, move_out_of};
use crate::sandbox::Sandbox;

/// The journal's id of an orphan: fixed for ever.
const ORPHAN: &str = "4f1d5f2bc0a94ad5a61f0f6f7e0c1a01";

/// A box with a payload that root has moved out of it.
fn escape(sandbox: &Sandbox, name: &str) -> (Running, String, String) {
    let id = format!("cli-{name}-{}", std::process::id());
    let running = Running::start(sandbox, &id, "sleep 1001 &");
    let pid = move_out_of(&id);
    (running, id, pid)
}

// S01, S19 to S25.
#[test]
fn a_violation_is_one_line_with_the_words_of_the_runbook() {
    let sandbox = Sandbox::new();
    let (_running, id, pid) = escape(&sandbox, "event");
    let said = sandbox.rustbox(["audit", "--no-quarantine", "--log", "json", "--box", &id]);
    let lines: Vec<&str> = said.stderr.lines().filter(|line| line.contains("containment_violation")).collect();
    let [line] = lines.as_slice() else { panic!("one line: {said:?}") };
    let event: Value = serde_json::from_str(line).unwrap();
    let fields = &event["fields"];
    let message = fields["message"].as_str().unwrap();
    assert!(message.starts_with("containment_violation orphan_detected: "), "{message}");
    assert_eq!((&fields["MESSAGE_ID"], &fields["kind"]), (&ORPHAN.into(), &"orphan_detected".into()));
    assert_eq!((&fields["severity"], &fields["box_id"]), (&"critical".into(), &id.into()));
    assert_eq!(fields["pid"].to_string(), pid);
    for field in ["ppid", "starttime_ticks", "comm", "cgroup", "pid_namespace", "supervisor_pid_namespace"] {
        assert!(!fields[field].is_null(), "{field}: {fields:#}");
    }
    for field in ["first_seen", "last_seen", "kernel", "runbook"] {
        assert!(fields[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {fields:#}");
    }
    assert_eq!(fields["escalate"], true);
}

/// A journal of the test's own, where the program looks for the host's.
struct Journal {
    sandbox: Sandbox,
    socket: UnixDatagram,
}

impl Journal {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        std::fs::create_dir_all(sandbox.path().join("run/systemd/journal")).unwrap();
        let socket = UnixDatagram::bind(sandbox.path().join("run/systemd/journal/socket")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        Self { sandbox, socket }
    }

    /// The audit of a box, in a mount namespace in which `/run` is the test's.
    fn audit(&self, sandbox: &Sandbox, id: &str, log: &str) -> Command {
        let script = "mount --bind \"$1\" /run && shift && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh"]).arg(self.sandbox.path().join("run"));
        let audit = sandbox.command();
        command.arg(audit.get_program()).args(["audit", "--no-quarantine", "--log", log, "--box", id]);
        command.env_clear().envs(audit.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// The fields of the next entry (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL>).
    fn entry(&self) -> BTreeMap<String, String> {
        let mut space = vec![0; 64 << 10];
        let mut length = 0;
        // Who connects sends nothing first, to see whether anybody is there.
        while length == 0 {
            length = self.socket.recv(&mut space).unwrap();
        }
        let mut rest = &space[..length];
        let mut fields = BTreeMap::new();
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| *byte == b'\n').unwrap();
            let (line, after) = (String::from_utf8(rest[..end].to_vec()).unwrap(), &rest[end + 1..]);
            if let Some((name, value)) = line.split_once('=') {
                fields.insert(name.to_owned(), value.to_owned());
                rest = after;
            } else {
                let (size, value) = after.split_at(8);
                let size = usize::try_from(u64::from_le_bytes(size.try_into().unwrap())).unwrap();
                fields.insert(line, String::from_utf8(value[..size].to_vec()).unwrap());
                rest = &value[size + 1..];
            }
        }
        fields
    }
}

fn assert_is_the_violation(entry: &BTreeMap<String, String>, id: &str, pid: &str) {
    let field = |name: &str| entry.get(name).map_or("", String::as_str);
    assert!(field("MESSAGE").starts_with("containment_violation orphan_detected: "), "{entry:#?}");
    assert_eq!((field("MESSAGE_ID"), field("OBJECT_SYSTEMD_UNIT")), (ORPHAN, "rustbox.service"), "{entry:#?}");
    assert_eq!((field("SYSLOG_IDENTIFIER"), field("PRIORITY")), ("rustbox", "3"), "{entry:#?}");
    assert_eq!((field("KIND"), field("BOX_ID"), field("PID")), ("orphan_detected", id, pid), "{entry:#?}");
    assert!(!field("CGROUP").is_empty() && !field("FIRST_SEEN").is_empty(), "{entry:#?}");
}

// S19: `journalctl -u rustbox` finds it whoever started the audit.
#[test]
fn the_journal_gets_every_field_and_the_unit() {
    let sandbox = Sandbox::new();
    let journal = Journal::new();
    let (_running, id, pid) = escape(&sandbox, "journal");
    let output = journal.audit(&sandbox, &id, "journal").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert_is_the_violation(&journal.entry(), &id, &pid);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("containment_violation"), "not twice");
}

#[test]
fn an_audit_whose_stderr_is_the_journal_speaks_the_journals_own_protocol() {
    let sandbox = Sandbox::new();
    let journal = Journal::new();
    let (_running, id, pid) = escape(&sandbox, "stream");
    let stream = std::fs::File::create(sandbox.path().join("stream")).unwrap();
    let of = stream.metadata().unwrap();
    let audit = |stderr: std::fs::File| {
        let mut command = journal.audit(&sandbox, &id, "warn");
        command.env("JOURNAL_STREAM", format!("{}:{}", of.dev(), of.ino())).stderr(stderr);
        command.status().unwrap().code()
    };
    assert_eq!(audit(stream), Some(1));
    assert_is_the_violation(&journal.entry(), &id, &pid);
    // The variable is inherited by whoever redirects its own stderr elsewhere.
    let elsewhere = sandbox.path().join("elsewhere");
    assert_eq!(audit(std::fs::File::create(&elsewhere).unwrap()), Some(1));
    assert!(std::fs::read_to_string(elsewhere).unwrap().contains("containment_violation orphan_detected"));
}

#[test]
fn a_journal_that_is_asked_for_and_not_there_is_misuse() {
    let sandbox = Sandbox::new();
    let journal = Journal::new();
    std::fs::remove_file(journal.sandbox.path().join("run/systemd/journal/socket")).unwrap();
    let output = journal.audit(&sandbox, "nobody", "journal").output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(125) && stderr.contains("--log journal"), "{stderr}");
}
