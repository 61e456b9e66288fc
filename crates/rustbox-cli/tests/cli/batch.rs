//! `rustbox batch`, on real boxes.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test stops where its box cannot be set up"
)]

use std::collections::BTreeSet;
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::sandbox::{Said, Sandbox};
use crate::unread::Bounded;

/// Longest time that anything here may take.
const LIMIT: Duration = Duration::from_secs(20);

pub(crate) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIP: boxes need root");
    }
    root
}

/// A sandbox whose places may hold state: below a directory that nobody else can write to.
fn batch(sandbox: &Sandbox, args: &[&str]) -> Said {
    sandbox.rustbox([&["batch", "jobs"], args].concat())
}

fn jobs(sandbox: &Sandbox, jobs: &[Value]) {
    let lines: Vec<String> = jobs.iter().map(Value::to_string).collect();
    sandbox.file("jobs", &(lines.join("\n") + "\n"));
}

fn results(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line:?}"))).collect()
}

fn numbers(results: &[Value]) -> Vec<u64> {
    results.iter().map(|result| result["job"].as_u64().unwrap()).collect()
}

#[test]
fn every_job_has_its_report_in_order_and_a_bad_line_costs_itself_alone() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.file("in", "from a file\n");
    sandbox.file(
        "jobs",
        concat!(
            r#"{"id": "slow", "argv": ["/bin/sh", "-c", "sleep 0.3"]}"#,
            "\n",
            r#"{"id": "cat", "argv": ["/bin/cat"], "stdin": {"text": "a\nb"}, "expected": {"text": "a \nb\n"}}"#,
            "\n\nnot a job\n",
            r#"{"id": "typo", "argv": ["/bin/true"], "runn": {}}"#,
            "\n",
            r#"{"id": "mem", "argv": ["/bin/true"], "run": {"mem": "1K"}}"#,
            "\n",
            r#"{"id": "wrong", "code": "cat; echo more", "stdin": {"path": "in"}, "expected": {"path": "in"}}"#,
            "\n",
            r#"{"id": "late", "code": "sleep 100", "run": {"wall_time": "200ms"}}"#,
            "\n",
            r#"{"id": "gone", "argv": ["/bin/true"], "stdin": {"path": "no-such-file"}}"#,
            "\n",
            r#"{"id": "last", "code": "exit 3", "env": {"A": "b"}}"#,
        ),
    );
    let said = batch(&sandbox, &["--workers", "2"]);
    let results = results(&said.stdout);
    assert_eq!(numbers(&results), [1, 2, 4, 5, 6, 7, 8, 9, 10], "{said:?}");
    assert_eq!(said.code, Some(1), "{said:?}");
    let of = |id: &str| results.iter().find(|result| result["id"] == id).unwrap();
    assert_eq!((&of("slow")["report"]["status"], &of("slow")["matches"]), (&json!("OK"), &Value::Null));
    assert_eq!(of("cat")["matches"], json!(true), "{}", of("cat"));
    assert_eq!(of("wrong")["matches"], json!(false));
    assert_eq!(of("late")["report"]["cause"], json!("tle_wall"));
    assert_eq!(of("last")["report"]["payload_exit_code"], json!(3));
    assert!(of("gone")["error"].as_str().unwrap().contains("no-such-file"), "{}", of("gone"));
    assert!(of("mem")["error"].as_str().unwrap().contains("--mem"));
    assert!(of("typo")["error"].as_str().unwrap().contains("runn"), "{}", of("typo"));
    assert!(results[2]["error"].as_str().unwrap().contains("no job"));
    for result in &results {
        let report = &result["report"];
        assert_ne!(report.is_null(), result["error"].is_null(), "{result}");
        assert!(report.is_null() || report["containment"]["verdict"] == "contained", "{result}");
    }
    // A report of a batch is a report of the schema that `rustbox schema` prints.
    let schema: Value = serde_json::from_str(&sandbox.rustbox(["schema"]).stdout).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for report in results.iter().map(|result| &result["report"]).filter(|report| !report.is_null()) {
        assert!(validator.is_valid(report), "{report}");
    }
}

#[test]
fn unordered_results_do_not_wait_for_a_slow_job() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox::new();
    let mut all = vec![json!({"code": "sleep 1"})];
    all.extend((0..6).map(|_| json!({"argv": ["/bin/true"]})));
    jobs(&sandbox, &all);
    let said = batch(&sandbox, &["--workers", "2", "--unordered"]);
    let found = numbers(&results(&said.stdout));
    assert_eq!(found.iter().copied().collect::<BTreeSet<_>>(), (1..=7).collect());
    assert_eq!(found.last(), Some(&1), "{found:?}");
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[test]
fn a_batch_that_was_cut_short_is_resumed_and_nothing_runs_twice() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox::new();
    let all: Vec<Value> = (0..5).map(|number| json!({"id": number.to_string(), "code": "true"})).collect();
    jobs(&sandbox, &all);
    assert_eq!(batch(&sandbox, &["--out", "out"]).code, Some(0));
    let whole = std::fs::read_to_string(sandbox.path().join("out")).unwrap();
    assert_eq!(batch(&sandbox, &["--out", "out"]).code, Some(125), "an output that is there is not written over");
    let lines: Vec<&str> = whole.lines().collect();
    // Two results whole, and half of a third.
    sandbox.file("out", &format!("{}\n{}\n{}", lines[0], lines[1], &lines[2][..lines[2].len() / 2]));
    assert_eq!(batch(&sandbox, &["--out", "out", "--resume"]).code, Some(0));
    let again = std::fs::read_to_string(sandbox.path().join("out")).unwrap();
    assert_eq!(numbers(&results(&again)), [1, 2, 3, 4, 5]);
    assert!(again.starts_with(&format!("{}\n{}\n", lines[0], lines[1])), "what was done is left alone");
    assert_eq!(batch(&sandbox, &["--out", "out", "--resume"]).code, Some(0));
    assert_eq!(std::fs::read_to_string(sandbox.path().join("out")).unwrap(), again);
    // The jobs are other ones now.
    jobs(&sandbox, &[json!({"code": "false"})]);
    let said = batch(&sandbox, &["--out", "out", "--resume"]);
    assert_eq!(said.code, Some(125), "{said:?}");
    assert!(said.stderr.contains("job 1"), "{said:?}");
}

#[test]
fn a_signal_ends_what_runs_and_leaves_whole_lines_and_no_box() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox::new();
    let quick = json!({"id": "quick", "code": "true"});
    let slow = json!({"id": "slow", "code": "sleep 1000"});
    jobs(&sandbox, &[quick, slow.clone(), slow.clone(), slow]);
    let mut command = sandbox.command();
    command.args(["batch", "jobs", "--workers", "2", "--unordered"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    // The first result is there, so others run.
    std::io::BufRead::read_line(&mut stdout, &mut first).unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
    // Not SIGINT: who starts the tests in the background has it ignored, and then so has rustbox.
    rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::TERM).unwrap();
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut stdout, &mut rest).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(143), "{rest}");
    assert_eq!(results(&first)[0]["id"], "quick");
    assert_eq!(results(&rest), Vec::<Value>::new(), "an interrupted job has no result");
    let boxes = std::fs::read_dir(sandbox.path().join("state/boxes")).unwrap().count();
    assert_eq!(boxes, 0, "records are left");
}

#[test]
fn jobs_can_come_through_a_pipe_and_a_quarantined_worker_takes_none() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox::new();
    let mut command = sandbox.command();
    command.args(["batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"{\"code\": \"true\"}\n").unwrap();
    let said = Said::from(child.wait_with_output().unwrap());
    assert_eq!((said.code, results(&said.stdout).len()), (Some(0), 1), "{said:?}");
    assert_eq!(sandbox.rustbox(["health", "--quarantine"]).code, Some(0));
    jobs(&sandbox, &[json!({"code": "true"})]);
    let said = batch(&sandbox, &["--out", "out"]);
    assert_eq!(said.code, Some(120), "{said:?}");
    assert!(!sandbox.path().join("out").exists(), "refused before anything was made");
    let metrics = sandbox.rustbox(["metrics"]).stdout;
    assert!(metrics.contains("rustbox_executions_refused_total{reason=\"quarantined\"} 1\n"), "{metrics}");
}

/// How many of `rustbox_executions_refused_total` there are, by reason.
fn refused(sandbox: &Sandbox) -> Vec<(String, u64)> {
    let metrics = sandbox.rustbox(["metrics"]).stdout;
    let lines = metrics.lines().filter_map(|line| line.strip_prefix("rustbox_executions_refused_total{reason=\""));
    let counts = lines.map(|line| {
        let (reason, count) = line.split_once("\"} ").unwrap();
        (reason.to_owned(), count.parse().unwrap())
    });
    counts.filter(|(_, count)| *count > 0).collect()
}

// What the pool refuses is counted like a run that is refused: each job once, and none as executed.
#[test]
fn a_job_that_the_pool_refuses_is_counted() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox::new();
    assert_eq!(refused(&sandbox), []);
    let nowhere = json!({"code": "true", "stdout": "/nonexistent/out"});
    jobs(&sandbox, &[nowhere.clone(), json!({"code": "true"}), nowhere]);
    let said = batch(&sandbox, &["--workers", "2"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    let results = results(&said.stdout);
    for result in [&results[0], &results[2]] {
        assert!(result["error"].as_str().is_some_and(|error| error.contains("/nonexistent/out")), "{said:?}");
    }
    assert_eq!(results[1]["report"]["status"], "OK", "{said:?}");
    assert_eq!(refused(&sandbox), [("other".to_owned(), 2)]);
    let metrics = sandbox.rustbox(["metrics"]).stdout;
    assert!(metrics.contains("rustbox_executions_total 1\n"), "{metrics}");
}

// A pool that no box can be prepared for is refused as a run would be.
#[test]
fn a_batch_on_a_host_without_a_control_says_which_and_counts_it_so() {
    if !is_root() {
        return;
    }
    if !std::fs::read_to_string("/proc/self/cgroup").unwrap().contains(":memory:") {
        eprintln!("SKIP: every controller is on cgroup v2 here");
        return;
    }
    let sandbox = Sandbox::new();
    jobs(&sandbox, &[json!({"code": "true"}), json!({"code": "true"})]);
    let said = sandbox.rustbox(["--cgroup-backend", "v2", "batch", "jobs"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    for result in results(&said.stdout) {
        let error = result["error"].as_str().unwrap_or_else(|| panic!("{said:?}"));
        assert!(error.contains("refused: no memory") && error.contains("Delegate="), "{error}");
    }
    assert_eq!(refused(&sandbox), [("control_missing".to_owned(), 2)]);
}

// No box can be made at all: a batch as a whole, and a run, each count as one.
#[test]
fn a_batch_whose_places_cannot_be_used_is_counted_as_refused() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox::new();
    jobs(&sandbox, &[json!({"code": "true"})]);
    let nowhere = ["--cgroup-root", "/nonexistent"];
    for (number, args) in (1..).zip([&["run", "--", "true"][..], &["batch", "jobs"]]) {
        let said = sandbox.rustbox([&nowhere[..], args].concat());
        assert_eq!(said.code, Some(125), "{said:?}");
        assert!(said.stderr.contains("/nonexistent"), "{said:?}");
        assert_eq!(refused(&sandbox), [("other".to_owned(), number)], "{said:?}");
    }
}

/// A batch that is under way: its first result was read.
fn under_way(sandbox: &Sandbox, args: &[&str]) -> (std::process::Child, std::io::BufReader<std::process::ChildStdout>) {
    let mut command = sandbox.command();
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    std::io::BufRead::read_line(&mut stdout, &mut first).unwrap();
    assert_eq!(results(&first).len(), 1);
    (child, stdout)
}

/// What it said and returned; fails, and ends it, when it does not end.
fn ended(child: std::process::Child) -> Said {
    let bounded = Bounded::new(&child);
    assert!(bounded.ends_within(LIMIT), "it did not end");
    Said::from(child.wait_with_output().unwrap())
}

/// Waits until something is so; goes on when it takes too long, and what is asserted next says so.
fn wait_until(mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() && start.elapsed() < LIMIT {
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn left_boxes(sandbox: &Sandbox) -> usize {
    std::fs::read_dir(sandbox.path().join("state/boxes")).unwrap().count()
}

// The pool is made for the first job that can have one, and of a job that can have none only its own run fails.
#[test]
fn a_first_job_that_no_box_can_be_made_for_costs_itself_alone() {
    if !is_root() {
        return;
    }
    for bad in [json!({"code": "true", "ro_bind": ["/nonexistent:/x"]}), json!({"code": "true", "run": {"cpuset": 99}})]
    {
        let sandbox = Sandbox::new();
        jobs(&sandbox, &[bad.clone(), json!({"code": "true"}), json!({"code": "true"})]);
        let said = sandbox.rustbox(["--log", "info", "batch", "jobs", "--workers", "1"]);
        let found: Vec<Value> = results(&said.stdout).iter().map(|r| r["report"]["status"].clone()).collect();
        assert_eq!(found[1..], [json!("OK"), json!("OK")], "{bad}: {said:?}");
        assert_ne!(found[0], json!("OK"), "{bad}: {said:?}");
        assert!(said.stderr.contains("warm=2"), "{bad}: {said:?}");
        assert_eq!(left_boxes(&sandbox), 0, "{bad}");
    }
}

// Nobody reads the results: what runs is killed, and the batch ends.
#[test]
fn results_that_nobody_takes_end_the_batch_and_what_it_runs() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox::new();
    let quick = json!({"code": "true"});
    jobs(&sandbox, &[quick.clone(), quick.clone(), json!({"code": "sleep 1000"}), quick.clone(), quick]);
    let (child, stdout) = under_way(&sandbox, &["batch", "jobs", "--workers", "2", "--unordered"]);
    drop(stdout);
    let said = ended(child);
    assert_eq!(said.code, Some(125), "{said:?}");
    assert!(said.stderr.contains("standard output"), "{said:?}");
    assert_eq!(left_boxes(&sandbox), 0);
}

// A signal ends a batch that waits for its next job.
#[test]
fn a_signal_ends_a_batch_that_waits_for_jobs() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.fifo("fifo");
    for source in ["-", "fifo"] {
        let mut command = sandbox.command();
        command.args(["batch", source]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // Held, so that there is no end of file.
        let mut held = child.stdin.take().unwrap();
        if source == "-" {
            held.write_all(b"{\"code\": \"true\"}\n{\"code\": \"true").unwrap();
        }
        // Blocked, or not there yet: a signal that comes before it is blocked ends it as well.
        let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        let blocked = || {
            std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap().contains("SigBlk:\t0000000000004")
        };
        wait_until(blocked);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let said = ended(child);
        assert_eq!(said.code, Some(143), "{source}: {said:?}");
        assert!(results(&said.stdout).len() < 2, "half a line is no job: {said:?}");
    }
}

// What was begun is finished, the rest has no result, and is run when the worker takes work again.
#[test]
fn a_worker_that_is_quarantined_meanwhile_begins_nothing_else() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox::new();
    jobs(&sandbox, &vec![json!({"code": "sleep 0.2"}); 30]);
    let mut command = sandbox.command();
    command.args(["batch", "jobs", "--workers", "2", "--out", "out"]).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let out = sandbox.path().join("out");
    wait_until(|| !std::fs::read_to_string(&out).unwrap_or_default().is_empty());
    assert_eq!(sandbox.rustbox(["health", "--stop-accepting"]).code, Some(0));
    let said = ended(child);
    assert_eq!(said.code, Some(120), "{said:?}");
    assert!(said.stderr.contains("--resume"), "{said:?}");
    let first = results(&std::fs::read_to_string(&out).unwrap());
    assert!((1..30).contains(&first.len()) && first.iter().all(|result| result["error"].is_null()), "{first:?}");
    assert_eq!(sandbox.rustbox(["health", "--start-accepting"]).code, Some(0));
    let said = batch(&sandbox, &["--workers", "2", "--out", "out", "--resume"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stderr.contains("30 of 30 done"), "{said:?}");
    let all = results(&std::fs::read_to_string(&out).unwrap());
    assert_eq!(numbers(&all).into_iter().collect::<BTreeSet<_>>(), (1..=30).collect());
}

// Nothing that is no result of ours is changed, and a changed job is seen before any is run.
#[test]
fn a_resumed_batch_changes_no_file_of_others_and_runs_no_other_jobs() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox::new();
    let all =
        [json!({"code": "true"}), json!({"code": "exit 1", "expected": {"path": "gone"}}), json!({"code": "true"})];
    jobs(&sandbox, &all);
    let text = std::fs::read_to_string(sandbox.path().join("jobs")).unwrap();
    sandbox.file("key", "secret");
    for (file, content) in [("key", "secret"), ("jobs", text.as_str())] {
        let said = batch(&sandbox, &["--out", file, "--resume"]);
        assert_eq!(said.code, Some(125), "{said:?}");
        assert!(said.stderr.contains("no result of a batch"), "{said:?}");
        assert_eq!(std::fs::read_to_string(sandbox.path().join(file)).unwrap(), content);
    }
    assert_eq!(batch(&sandbox, &["--out", "out"]).code, Some(1));
    let whole = std::fs::read_to_string(sandbox.path().join("out")).unwrap();
    assert!(results(&whole)[1]["error"].as_str().unwrap().contains("expected: gone"), "{whole}");
    // Nothing is left to be run, and a job has no report all the same.
    assert_eq!(batch(&sandbox, &["--out", "out", "--resume"]).code, Some(1));
    let lines: Vec<&str> = whole.lines().collect();
    sandbox.file("out", &format!("{}\n", lines[1]));
    sandbox.file("jobs", &text.replace("exit 1", "exit 2"));
    let said = batch(&sandbox, &["--out", "out", "--resume"]);
    assert_eq!(said.code, Some(125), "{said:?}");
    assert!(said.stderr.contains("job 2"), "{said:?}");
    assert_eq!(std::fs::read_to_string(sandbox.path().join("out")).unwrap(), format!("{}\n", lines[1]));
}

// At a FIFO nobody would notice a time limit; the message names the key.
#[test]
fn a_line_that_is_wrong_says_where_and_keeps_its_name() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.fifo("fifo");
    sandbox.file(
        "jobs",
        concat!(
            r#"{"id": "pids", "code": "true", "run": {"pids": "many"}}"#,
            "\n",
            r#"{"id": "fifo", "code": "true", "stdin": {"path": "fifo"}}"#,
            "\n",
            r#"["array", ["/bin/true"]]"#,
            "\n",
            r#"{"id": "cpus", "code": "true", "run": {"cpus": 1, "cpuset": 0}}"#,
            "\n",
            r#"{"id": "more", "code": "true"} {}"#,
        ),
    );
    let said = batch(&sandbox, &["--workers", "1"]);
    let results = results(&said.stdout);
    let error = |number: usize| results[number]["error"].as_str().unwrap_or_else(|| panic!("{said:?}"));
    assert!(error(0).contains("run.pids: ") && results[0]["id"] == "pids", "{}", error(0));
    assert!(error(1).contains("stdin: fifo"), "{}", error(1));
    assert!(error(2).contains("JSON object"), "{}", error(2));
    assert_eq!(results[3]["report"]["status"], "OK", "{said:?}");
    assert!(error(4).contains("trailing"), "{}", error(4));
}
