//! What an operator types, and what is seen.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::sandbox::{Said, Sandbox};

fn json(said: &Said) -> Value {
    serde_json::from_str(&said.stdout).unwrap_or_else(|e| panic!("{e}: {said:?}"))
}

fn health(sandbox: &Sandbox) -> Value {
    json(&sandbox.rustbox(["health"]))
}

fn quarantine(sandbox: &Sandbox, reason: &str) {
    assert_eq!(sandbox.rustbox(["health", "--quarantine", "--reason", reason]).code, Some(0));
}

/// A directory in the place of a box, without a lock: what a supervisor and its keeper leave when both are killed early.
fn stale_record(sandbox: &Sandbox, id: &str) -> PathBuf {
    assert_eq!(sandbox.rustbox(["ps"]).code, Some(0), "makes the directories");
    let path = sandbox.path().join("state/boxes").join(id);
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("lock"), "{ torn").unwrap();
    path
}

// S42-S45, Q01, D15.
#[test]
fn a_quarantined_worker_refuses_before_anything_is_created() {
    let _host = crate::undisturbed();
    let sandbox = Sandbox::new();
    assert_eq!(health(&sandbox)["status"], "healthy");
    quarantine(&sandbox, "orphan_process_detected");
    let said = sandbox.rustbox(["run", "--json", "--", "true"]);
    assert_eq!(said.code, Some(120), "{said:?}");
    let refusal: Value = serde_json::from_str(said.stdout.trim()).unwrap();
    assert_eq!((&refusal["cause"], &refusal["exit_code"]), (&"worker_quarantined".into(), &120.into()));
    assert!(said.stderr.contains("orphan_process_detected") && said.stderr.contains("--unquarantine"), "{said:?}");
    assert!(!sandbox.path().join("state/boxes").exists(), "the directory of boxes was not even made");
    assert!(!sandbox.path().join("runtime").exists());
    let view = health(&sandbox);
    assert_eq!(view["status"], "quarantined");
    assert_eq!(view["quarantine_reason"], "orphan_process_detected");
    assert_eq!(view["can_accept_submissions"], false);
    assert!(view["quarantine_timestamp"].as_str().unwrap().ends_with('Z'));
    assert_eq!(sandbox.rustbox(["health", "--check"]).code, Some(1));
}

// S50, Q04, Q06.
#[test]
fn recovery_leaves_an_orphan_quarantine_to_a_person_and_lifts_a_cleanup_one() {
    let _host = crate::undisturbed();
    let sandbox = Sandbox::new();
    for (reason, lifted) in [("orphan_process_detected", false), ("cleanup_failure", true), ("maintenance", false)] {
        quarantine(&sandbox, reason);
        let said = sandbox.rustbox(["health", "--recover", "--cleanup"]);
        assert_eq!(said.code, Some(0), "{said:?}");
        assert_eq!(health(&sandbox)["status"] == "healthy", lifted, "{reason}");
        if !lifted {
            assert_eq!(sandbox.rustbox(["health", "--unquarantine"]).code, Some(125), "without a reason");
            let said = crate::unquarantine(&sandbox, "looked into it");
            assert_eq!(said.code, Some(0), "{said:?}");
        }
        assert_eq!(sandbox.rustbox(["health", "--check"]).code, Some(0));
        assert_eq!(sandbox.rustbox(["run", "--", "true"]).code, Some(0));
    }
    let history = std::fs::read_to_string(sandbox.path().join("state/health/quarantine-history.json")).unwrap();
    let entries: Vec<Value> = history.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> =
        entries.iter().map(|entry| (entry["what"].as_str().unwrap(), entry["reason"].as_str().unwrap())).collect();
    assert_eq!(
        told,
        [
            ("quarantined", "orphan_process_detected"),
            ("unquarantined", "looked into it"),
            ("quarantined", "cleanup_failure"),
            ("recovered", "cleanup_failure"),
            ("quarantined", "maintenance"),
            ("unquarantined", "looked into it"),
        ]
    );
    assert!(entries[3]["time_to_recovery_ms"].is_u64());
    assert_eq!(entries[1]["forced"], false);
}

// Q05, T03, D39: what a dead supervisor left is seen, stands in the way of --unquarantine, and is recovered.
#[test]
fn a_dead_box_is_dirt_until_it_is_recovered() {
    let _host = crate::undisturbed();
    let sandbox = Sandbox::new();
    let clean = sandbox.rustbox(["health", "--verify-clean"]);
    assert_eq!(
        clean.stdout, "{\"clean\":true,\"mounts\":0,\"cgroups\":0,\"processes\":0,\"temp_dirs\":0}\n",
        "{clean:?}"
    );
    assert_eq!(clean.code, Some(0));
    let path = stale_record(&sandbox, "dead-one");
    let said = sandbox.rustbox(["health", "--verify-clean"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!((&json(&said)["clean"], &json(&said)["temp_dirs"]), (&false.into(), &1.into()));
    assert!(said.stderr.contains("dead-one"), "{said:?}");
    quarantine(&sandbox, "maintenance");
    let said = sandbox.rustbox(["health", "--unquarantine", "--reason", "x"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(health(&sandbox)["status"], "quarantined");
    let said = sandbox.rustbox(["health", "--unquarantine", "--reason", "x", "--force"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let said = sandbox.rustbox(["health", "--recover", "--json"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(json(&said)["done"][0].as_str().unwrap().contains("dead-one"), "{said:?}");
    assert!(!path.exists());
    let again = sandbox.rustbox(["health", "--recover", "--json"]);
    assert_eq!((again.code, json(&again)["done"].as_array().unwrap().len()), (Some(0), 0), "{again:?}");
    assert_eq!(sandbox.rustbox(["health", "--verify-clean"]).stdout, clean.stdout);
    let full = json(&sandbox.rustbox(["health", "--verify-clean", "--json=full"]));
    assert!(full["ipc"].is_u64() && full["keyrings"].is_u64() && full["file_handles"].is_u64(), "{full}");
}

// What stands in the way of a run is collected by it: a torn record of the same name, and one of another.
#[test]
fn a_run_collects_what_is_in_its_way_first() {
    let _host = crate::undisturbed();
    let sandbox = Sandbox::new();
    let (same, other) = (stale_record(&sandbox, "in-the-way"), stale_record(&sandbox, "beside"));
    let said = sandbox.rustbox(["run", "--box-id", "in-the-way", "--", "true"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(!same.exists() && !other.exists(), "{said:?}");
    assert_eq!(health(&sandbox)["status"], "healthy");
}

// T07: safe beside a living box, which is not dirt either.
#[test]
fn recovery_leaves_a_living_box_alone() {
    let _host = crate::undisturbed();
    let sandbox = Sandbox::new();
    let mut command = sandbox.command();
    command.args(["run", "--box-id", "alive-one", "--code", "echo up; cat"]);
    let mut running = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(running.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");
    stale_record(&sandbox, "dead-two");
    let said = sandbox.rustbox(["health", "--recover"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let full = sandbox.rustbox(["health", "--verify-clean", "--json=full"]);
    assert_eq!((full.code, json(&full)["live_boxes"].as_u64() >= Some(1)), (Some(0), true), "{full:?}");
    drop(running.stdin.take());
    assert_eq!(running.wait().unwrap().code(), Some(0), "it ended by itself");
}

// D19: `systemctl stop rustbox` refuses runs, and that is no quarantine.
#[test]
fn a_stopped_service_refuses_runs_until_it_is_started() {
    let _host = crate::undisturbed();
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.rustbox(["health", "--stop-accepting"]).code, Some(0));
    let said = sandbox.rustbox(["run", "--", "true"]);
    assert_eq!(said.code, Some(120));
    assert!(said.stderr.contains("service_stopped") && said.stderr.contains("systemctl start rustbox"), "{said:?}");
    assert_eq!(health(&sandbox)["status"], "healthy");
    assert_eq!(sandbox.rustbox(["health", "--check"]).code, Some(1));
    assert_eq!(sandbox.rustbox(["health", "--start-accepting"]).code, Some(0));
    assert_eq!(sandbox.rustbox(["run", "--", "true"]).code, Some(0));
}

// QR08.
#[test]
fn a_torn_state_quarantines_at_the_next_run() {
    let _host = crate::undisturbed();
    let sandbox = Sandbox::new();
    for flag in ["--stop-accepting", "--start-accepting"] {
        assert_eq!(sandbox.rustbox(["health", flag]).code, Some(0));
    }
    let state = sandbox.path().join("state/health/state.json");
    let text = std::fs::read(&state).unwrap();
    std::fs::write(&state, &text[..text.len() - 5]).unwrap();
    assert_eq!(health(&sandbox)["quarantine_reason"], "state_corrupted", "seen before anybody acts");
    assert_eq!(sandbox.rustbox(["health", "--check"]).code, Some(1));
    assert_eq!(sandbox.rustbox(["run", "--", "true"]).code, Some(120));
    let kept = std::fs::read_dir(sandbox.path().join("state/health")).unwrap().flatten();
    let kept: Vec<_> = kept.filter(|e| e.file_name().to_string_lossy().starts_with("state.json.corrupt-")).collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(std::fs::read(kept[0].path()).unwrap(), text[..text.len() - 5]);
}

#[test]
fn deeds_exclude_each_other_and_an_odd_flag_is_misuse() {
    let _host = crate::undisturbed();
    let sandbox = Sandbox::new();
    for args in [
        &["health", "--check", "--recover"][..],
        &["health", "--quarantine", "--unquarantine"],
        &["health", "--cleanup"],
        &["health", "--force"],
        &["health", "--reason", "maintenance"],
        &["health", "--recover", "--reason", "maintenance"],
        &["health", "--json=everything"],
    ] {
        assert_eq!(sandbox.rustbox(args).code, Some(125), "{args:?}");
    }
    assert!(!sandbox.path().join("state").exists());
}

// R03, S53, S54, D25: every name, each from 0.
#[test]
fn every_metric_is_there_before_anything_happened() {
    let _host = crate::undisturbed();
    let sandbox = Sandbox::new();
    let text = sandbox.rustbox(["metrics"]).stdout;
    for series in [
        "rustbox_worker_health{status=\"healthy\"} 1",
        "rustbox_worker_health{status=\"quarantined\"} 0",
        "rustbox_worker_quarantined 0",
        "rustbox_worker_quarantined_total{reason=\"orphan_process_detected\"} 0",
        "rustbox_containment_violations_total{kind=\"orphan_detected\"} 0",
        "rustbox_orphan_processes_detected 0",
        "rustbox_orphan_processes_detected_total 0",
        "rustbox_executions_total 0",
        "rustbox_executions_by_status{status=\"TLE\"} 0",
        "rustbox_execution_duration_seconds_bucket{le=\"1\"} 0",
        "rustbox_cleanup_total{outcome=\"failure\"} 0",
        "rustbox_cleanup_duration_seconds_count 0",
        "rustbox_control_degraded_total{control=\"namespace\"} 0",
        "rustbox_audit_last_success_timestamp_seconds 0",
        "rustbox_audit_coverage_gaps_total 0",
        "rustbox_spawn_duration_seconds_count 0",
        "rustbox_kill_to_empty_seconds_count 0",
        "rustbox_overshoot_seconds_count 0",
        "rustbox_backend_pidfd_fallback 0",
        "rustbox_build_info{version=",
        "process_open_fds ",
        "process_max_fds ",
    ] {
        assert!(text.lines().any(|line| line.starts_with(series)), "{series} in\n{text}");
    }
    sandbox.rustbox(["run", "--code", "exit 3"]);
    let out = sandbox.path().join("textfile");
    std::fs::create_dir(&out).unwrap();
    assert_eq!(sandbox.rustbox(["metrics".as_ref(), "--textfile".as_ref(), out.as_os_str()]).code, Some(0));
    let text = std::fs::read_to_string(out.join("rustbox.prom")).unwrap();
    assert!(text.contains("rustbox_executions_by_status{status=\"RE\"} 1\n"), "{text}");
    assert!(text.contains("rustbox_execution_duration_seconds_count 1\n"), "{text}");
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1, "and no temporary file beside it");
}

// D21: what an audit finds counts, unless it is told to look without consequence.
#[test]
fn an_audit_that_finds_a_dead_box_makes_the_worker_unhealthy_until_it_is_gone() {
    let _host = crate::undisturbed();
    let sandbox = Sandbox::new();
    stale_record(&sandbox, "dead-three");
    assert_eq!(sandbox.rustbox(["audit", "--no-quarantine"]).code, Some(1));
    assert_eq!(health(&sandbox)["status"], "healthy");
    let said = sandbox.rustbox(["audit"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    let view = health(&sandbox);
    assert_eq!((&view["status"], &view["complaints"][0]["kind"]), (&"unhealthy".into(), &"stale_state".into()));
    assert_eq!(sandbox.rustbox(["run", "--", "true"]).code, Some(0), "unhealthy is not quarantined");
    let said = sandbox.rustbox(["health", "--recover"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(health(&sandbox)["status"], "healthy");
}

/// A box whose payload has begun and sleeps.
fn sleeping_box(sandbox: &Sandbox, id: &str) -> Child {
    let mut command = sandbox.command();
    command.args(["run", "--box-id", id, "--code", "echo up; exec sleep 1000"]);
    let mut running = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(running.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");
    running
}

/// Moves its payload out of its cgroups, as other software on the host might.
fn move_out(sandbox: &Sandbox, id: &str) {
    let boxes = json(&sandbox.rustbox(["ps", "--json"]));
    let listed = boxes["boxes"].as_array().unwrap().iter().find(|listed| listed["box_id"] == id).unwrap();
    let is_init = |process: &&Value| process["comm"] == "rustbox-init";
    let payload = listed["processes"].as_array().unwrap().iter().find(|process| !is_init(process)).unwrap();
    for root in sandbox.rustbox(["cgroup-root"]).stdout.lines() {
        std::fs::write(PathBuf::from(root).join("cgroup.procs"), payload["pid"].to_string()).unwrap();
    }
}

// S03, S42, S45, D21: a process that left its cgroup is found from outside, and nothing runs after that.
#[test]
fn a_process_that_was_moved_out_of_its_cgroup_quarantines_the_worker() {
    let _host = crate::disturbed();
    let sandbox = Sandbox::new();
    let mut running = sleeping_box(&sandbox, "moved-one");
    move_out(&sandbox, "moved-one");
    let said = sandbox.rustbox(["audit", "--box", "moved-one", "--json"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    let view = health(&sandbox);
    assert_eq!(
        (&view["status"], &view["quarantine_reason"]),
        (&"quarantined".into(), &"orphan_process_detected".into())
    );
    assert_eq!(view["recurrence"], 1);
    assert_eq!(sandbox.rustbox(["run", "--", "true"]).code, Some(120));
    // The same process, seen again, is not a second violation.
    sandbox.rustbox(["audit", "--box", "moved-one"]);
    assert_eq!(health(&sandbox)["recurrence"], 1);
    assert_eq!(sandbox.rustbox(["kill", "moved-one"]).code, Some(0));
    running.wait().unwrap();
    let metrics = sandbox.rustbox(["metrics"]).stdout;
    assert!(metrics.contains("rustbox_worker_quarantined_total{reason=\"orphan_process_detected\"} 1\n"), "{metrics}");
    assert_eq!(sandbox.rustbox(["health", "--recover"]).code, Some(0));
    assert_eq!(health(&sandbox)["status"], "quarantined", "S50: a person lifts it");
}

// S69, D21: two processes that escape are two violations, and then somebody is to be called.
#[test]
fn a_second_violation_escalates_until_a_person_has_reviewed() {
    let _host = crate::disturbed();
    let sandbox = Sandbox::new();
    let ids = ["escaped-one", "escaped-two"];
    // Both before the first violation, after which nothing is admitted.
    let running = ids.map(|id| sleeping_box(&sandbox, id));
    for (id, seen) in ids.into_iter().zip([(1, false), (2, true)]) {
        move_out(&sandbox, id);
        assert_eq!(sandbox.rustbox(["audit", "--box", id]).code, Some(1));
        let view = health(&sandbox);
        assert_eq!((view["recurrence"].as_u64(), view["escalate"].as_bool()), (Some(seen.0), Some(seen.1)), "{view}");
        let series = format!("rustbox_worker_escalate {}\n", u8::from(seen.1));
        assert!(sandbox.rustbox(["metrics"]).stdout.contains(&series), "{series}");
    }
    for (id, mut running) in ids.into_iter().zip(running) {
        assert_eq!(sandbox.rustbox(["kill", id]).code, Some(0));
        running.wait().unwrap();
    }
    assert_eq!(sandbox.rustbox(["health", "--recover"]).code, Some(0));
    assert_eq!(health(&sandbox)["escalate"], true, "a recovery is no review");
    assert_eq!(crate::unquarantine(&sandbox, "looked into both").code, Some(0));
    let view = health(&sandbox);
    assert_eq!((view["recurrence"].as_u64(), view["escalate"].as_bool()), (Some(0), Some(false)), "{view}");
}

/// What a bare call may take.
const GLANCE: Duration = Duration::from_millis(20);

// Q09. The least of several: whatever else the host does only adds to it.
#[test]
fn a_bare_call_is_a_glance() {
    let _host = crate::undisturbed();
    let sandbox = Sandbox::new();
    quarantine(&sandbox, "maintenance");
    let call = |_| {
        let begun = Instant::now();
        assert_eq!(sandbox.rustbox(["health"]).code, Some(0));
        begun.elapsed()
    };
    let mut took: Vec<Duration> = (0..41).map(call).collect();
    took.sort();
    println!("a bare call takes {:.1?}, {:.1?} in the median", took[0], took[took.len() / 2]);
    assert!(took[0] < GLANCE, "{took:?}");
}
