//! `rustbox audit` on the whole program: what a crash leaves, boxes that come and go beside it, and a crowded host.

#![expect(clippy::expect_used, clippy::panic, reason = "a test stops where its stage cannot be set")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustbox_core::{ProcessKey, Record};
use rustbox_tests::{
    Canary, Lab, SeenProcess, build_planted, forged_record, how_often, in_ci, residue, rustbox, skip_unless,
};
use serde_json::Value;

/// Each of these is about the whole host.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn audit(lab: &Lab, args: &[&str]) -> (Option<i32>, Value) {
    let output = lab.call(["--log", "off", "audit", "--json"].iter().chain(args));
    let report = serde_json::from_slice(&output.stdout);
    (output.status.code(), report.unwrap_or_else(|error| panic!("{error}: {output:?}")))
}

fn kinds(report: &Value) -> Vec<&str> {
    report["findings"].as_array().expect("a list").iter().filter_map(|finding| finding["kind"].as_str()).collect()
}

/// A record in the lab of a box that died, by which this process was its init and that one its supervisor.
fn record_ghost(lab: &Lab, init: ProcessKey, supervisor: ProcessKey) -> String {
    let box_id = format!("{}-ghost", lab.prefix());
    let record = Record {
        pid: supervisor.pid,
        starttime_ticks: supervisor.starttime_ticks,
        init: Some(init),
        pid_namespace: Some(4_026_000_001),
        audit_session: Some(4_000_000_001),
        ..forged_record(&box_id, LEASED_UID)
    };
    let directory = lab.state_dir().join("boxes").join(&box_id);
    std::fs::create_dir_all(&directory).expect("a directory");
    for name in ["lock", "marks"] {
        let text = serde_json::to_string(&record).expect("JSON");
        std::fs::write(directory.join(name), text).expect("a record");
    }
    box_id
}

/// In the range from which boxes have theirs by default, and the last that is leased.
const LEASED_UID: u32 = 70_999;

// Strangers by every mark that can be forged or inherited: the name of ours, a leased uid, the pid and the start time
// that a dead box's record gives its init, the pid that it gives its supervisor.
#[test]
fn strangers_who_look_like_a_dead_box_are_seen_and_left_alone() {
    let _alone = alone();
    let lab = Lab::open("audit-strangers");
    let first = lab.call(["run", "--quiet", "--", "true"]);
    assert!(first.status.success(), "there is a state directory: {first:?}");
    let (init, supervisor) = (Canary::with_uid("ghost", LEASED_UID), Canary::with_uid("ghost", LEASED_UID));
    let key = |canary: &Canary| {
        let seen = SeenProcess::read(canary.pid()).expect("it is there");
        ProcessKey { pid: seen.pid, starttime_ticks: seen.starttime_ticks }
    };
    let (named, recycled) = (key(&init), key(&supervisor));
    let older = ProcessKey { starttime_ticks: recycled.starttime_ticks - 7, ..recycled };
    let ghost = record_ghost(&lab, named, older);

    let (code, report) = audit(&lab, &["--no-quarantine", "--kill"]);
    let findings = report["findings"].as_array().expect("a list");
    for canary in [&init, &supervisor] {
        let about = |finding: &&Value| finding["process"]["pid"] == canary.pid();
        let told: Vec<&Value> = findings.iter().filter(about).collect();
        // By its uid alone it cannot be told from an escape of another supervisor's box: that it was looked at is told.
        assert!(!told.is_empty(), "{} was scanned: {report:#}", canary.pid());
        assert!(told.iter().all(|finding| finding["kind"] == "coverage_gap"), "{told:#?}");
        canary.assert_unharmed();
    }
    let stale = |finding: &&Value| finding["kind"] == "stale_state" && finding["box_id"] == ghost.as_str();
    assert!(findings.iter().any(|finding| stale(&finding)), "the record was read: {report:#}");
    assert_eq!(code, Some(2), "there is no verdict where a leased uid is at large: {report:#}");
    let output = lab.call(["cleanup", &ghost]);
    assert!(output.status.success(), "{output:?}");
    init.assert_unharmed();
    supervisor.assert_unharmed();
}

// S12, root cause 5: the supervisor is killed, the death guarantee is switched off, and the payload runs on.
#[test]
fn a_box_that_outlives_its_supervisor_is_an_orphan_until_the_audit_ends_it() {
    let _alone = alone();
    let planted = build_planted();
    let there = planted.as_ref().map(|_| ()).ok_or_else(|| "no compiler, and no RUSTBOX_PLANTED_BIN".to_owned());
    if !skip_unless("planted_bug", there) {
        return;
    }
    let lab = Lab::open("audit-crash");
    let script = "echo up; sleep 1001 & exec sleep 1000";
    let unguarded = ["env", "RUSTBOX_PLANTED=no-death-guard"];
    let canary = Canary::start(lab.prefix());
    let command = lab.a_box().program(&planted.expect("the planted binary")).wrapped(unguarded);
    let running = command.argv(["sh", "-c", script]).start();
    running.await_output("up");
    let id = running.box_id().to_owned();
    let (code, report) = audit(&lab, &["--box", &id]);
    assert_eq!((code, kinds(&report)), (Some(0), vec![]), "while it has a supervisor: {report:#}");
    running.kill();

    let (code, report) = audit(&lab, &["--box", &id]);
    let orphans = kinds(&report).iter().filter(|kind| **kind == "orphan_detected").count();
    assert!(code == Some(1) && orphans >= 3, "the init and both payloads: {report:#}");
    let findings = report["findings"].as_array().expect("a list");
    let crash = |finding: &&Value| finding["root_cause"] == "supervisor_crash";
    assert_eq!(findings.iter().filter(crash).count(), orphans, "{report:#}");
    assert!(report["escalate"] == true && report["actions"].is_null(), "{report:#}");

    let (code, report) = audit(&lab, &["--box", &id, "--kill"]);
    assert_eq!((code, &report["remaining"]), (Some(0), &serde_json::json!([])), "{report:#}");
    let (code, report) = audit(&lab, &["--box", &id]);
    assert_eq!((code, kinds(&report)), (Some(0), vec![]), "an audit after that: {report:#}");
    assert_eq!(residue(&id, &lab.state_dir()), Vec::<String>::new());
    canary.assert_unharmed();
}

// S56: beside boxes that start and end as fast as they can.
#[test]
fn audits_beside_boxes_that_come_and_go_find_nothing() {
    let _alone = alone();
    let lab = Lab::open("audit-busy");
    let canary = Canary::start(lab.prefix());
    let audits = how_often("RUSTBOX_AUDITS", 60);
    let (is_over, boxes) = (AtomicBool::new(false), AtomicUsize::new(0));
    let found = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let number = boxes.fetch_add(1, Ordering::Relaxed);
                    let mut run = lab.rustbox();
                    run.args(["run", "--quiet", "--box-id", &format!("{}-{number}", lab.prefix()), "--"]);
                    // Not by the lab's own means: they look at the host after each box, and would be the slowest part.
                    let status = run.args(["sh", "-c", "sleep 0.01 & (true &); exit 0"]).status().expect("run rustbox");
                    assert!(status.success(), "box {number}: {status}");
                }
            });
        }
        // What is said of no box at all may be about what others do on this host; in CI there are no others.
        let ours = |finding: &Value| finding["box_id"].as_str().map_or_else(in_ci, |id| id.starts_with(lab.prefix()));
        let mut found: Vec<Value> = Vec::new();
        for _ in 0..audits {
            // Whatever other tests do to their boxes must not stop ours.
            let (_, report) = audit(&lab, &["--no-quarantine"]);
            found.extend(report["findings"].as_array().expect("a list").iter().filter(|one| ours(one)).cloned());
        }
        is_over.store(true, Ordering::Relaxed);
        found
    });
    let boxes = boxes.into_inner();
    eprintln!(
        "{audits} audits beside {boxes} boxes: {} findings (95 %: under {:.3})",
        found.len(),
        3.0 / audits as f64
    );
    assert_eq!(found, Vec::<Value>::new());
    canary.assert_unharmed();
    assert!(boxes > audits, "the boxes were quick");
}

/// Share of a run that the audit at its end may take.
const SHARE_MAX: f64 = 0.05;

// Every run ends with an audit of its own box, which must not be felt.
#[test]
fn the_audit_at_the_end_of_a_run_costs_less_than_a_twentieth_of_it() {
    let _alone = alone();
    let lab = Lab::open("audit-share");
    let mut shares = Vec::new();
    for _ in 0..21 {
        let output = lab.call(["--log", "debug,json", "run", "--json", "--", "true"]);
        let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
        assert!(!report["containment"]["proofs"].as_array().expect("proofs").is_empty(), "{report:#}");
        let log = String::from_utf8(output.stderr).expect("text");
        let line = log.lines().find(|line| line.contains("audited its own box")).expect("the event");
        let event: Value = serde_json::from_str(line).expect("JSON");
        let audit_ns = event["fields"]["audit_ns"].as_f64().expect("a number");
        shares.push((audit_ns / report["timings"]["total_ns"].as_f64().expect("a number"), audit_ns));
    }
    shares.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let (share, audit_ns) = shares[shares.len() / 2];
    eprintln!(
        "the audit at the end of a run: {:.0} us, {:.2} % of it (medians of {})",
        audit_ns / 1e3,
        share * 100.0,
        shares.len()
    );
    assert!(share < SHARE_MAX);
}

/// Idle processes that end with this.
struct Crowd(Child);

impl Crowd {
    fn start(directory: &Path, count: usize) -> Self {
        let program = directory.join("crowd");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/rustbox-audit/examples/scan_cost/crowd.c");
        let cc = Command::new("cc").args(["-static", "-O2", "-o"]).arg(&program).arg(source).status();
        assert!(cc.expect("run cc").success(), "the crowd compiles");
        let mut command = Command::new(program);
        let mut child =
            command.arg(count.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("start");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        assert_eq!(line.trim(), format!("ready {count}"));
        Self(child)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _status = self.0.wait();
    }
}

// The runbook's cron line, as cron runs it: an empty environment, and a short PATH.
#[test]
fn the_hourly_script_takes_less_than_five_seconds_on_a_crowded_host() {
    const LIMIT: Duration = Duration::from_secs(5);
    let _alone = alone();
    let lab = Lab::open("audit-crowd");
    let installed = lab.path().join("bin");
    std::fs::create_dir(&installed).expect("a directory");
    std::fs::copy(rustbox(), installed.join("rustbox")).expect("install");
    let script: PathBuf =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/scripts/rustbox-audit-containment.sh");
    std::fs::copy(script, installed.join("rustbox-audit-containment.sh")).expect("install");
    let _crowd = Crowd::start(lab.path(), 10_000);
    // In a mount namespace, so that nothing is installed on this host.
    let inside = "mount --bind \"$1\" /usr/local/bin && exec env -i PATH=/usr/bin:/bin \
        /usr/local/bin/rustbox-audit-containment.sh --json --no-quarantine --state-dir \"$2\"";
    // What others do on this host can make an audit look again and again: it is the quickest of three that counts.
    let times = (0..3).map(|_| {
        let started = Instant::now();
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", inside, "sh"]).arg(&installed).arg(lab.state_dir());
        let output = command.output().expect("run unshare");
        let took = started.elapsed();
        let report: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        let listed = report["processes_listed"].as_u64().expect("a number");
        assert!(listed > 10_000, "the crowd was looked at: {listed}");
        let code = output.status.code().map(Value::from);
        assert_eq!(code.as_ref(), Some(&report["exit_code"]), "the script hands the exit code on");
        eprintln!("{listed} processes, {} looks: {took:.1?}, exit code {code:?}", report["looks"]);
        took
    });
    assert!(times.min().expect("three times") < LIMIT);
}
