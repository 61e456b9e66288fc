//! A pool of boxes, through `rustbox batch`: no state passes from one job to the next, and the boxes that wait die with
//! their owner.
#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking, in its helpers as well")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustbox_core::RunReport;
use rustbox_tests::{CgroupLayout, Lab, Random, build_planted, how_often, payload_dir, residue, rustbox, wait_clean};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Programs that do no harm, and tell everything that a run before could have left.
const HONEST: [&str; 20] = [
    "ls -A /tmp /box /dev/shm",
    "cat /proc/sysvipc/shm /proc/sysvipc/sem /proc/sysvipc/msg | wc -l",
    "env | grep -v RUSTBOX_TEST_BOX | sort",
    "ls /proc/self/fd",
    "echo /proc/[0-9]*",
    "test $(id -u) -ge 70000 && id -G | wc -w",
    "cat /proc/self/cgroup | grep -c rustbox; wc -l < /proc/self/mountinfo",
    "umask; ulimit -a | grep -v pending",
    "hostname; cat /proc/sys/kernel/hostname",
    "grep -E 'Cap|NoNewPrivs|^Seccomp|Groups' /proc/self/status",
    "grep -E 'SigBlk|SigIgn|SigPnd|SigCgt' /proc/self/status",
    "echo x > /tmp/x && cat /tmp/x && ls -A /tmp",
    "echo x > /box/x && ls -A /box && df /box | tail -n 1",
    "mkdir /dev/shm/a && ls /dev/shm",
    "touch /usr/x 2>/dev/null || echo read-only",
    "cat /proc/net/dev | cut -d: -f1; cat /proc/net/unix | wc -l",
    "pwd; echo $$; cut -d' ' -f4-8 < /proc/self/stat",
    "nice; cat /proc/self/oom_score_adj",
    "seq 1 20000 | tail -n 1",
    "printf '%s' \"$0\"; ls -A /dev /etc /",
];

/// What a box prints that was made for this one program: what a box of the pool has to print too.
fn cold_outputs(lab: &Lab) -> Vec<String> {
    let bind = format!("{}:/payloads", payload_dir().display());
    let flags = ["--ro-bind", &bind, "--pids", "64", "--mem", "64M", "--fsize", "16M", "--output-limit", "1M"];
    let one = |code: &&str| lab.a_box().flags(flags).argv(["/bin/sh", "-c", *code]).finish().stdout;
    HONEST.iter().map(one).collect()
}

/// Payloads with the arguments of their first case, where those name nothing of the host.
fn attacks() -> Vec<(String, Vec<String>)> {
    let table: toml::Table = include_str!("adversarial/payloads.toml").parse().expect("payloads.toml");
    let rows = table["payload"].as_array().expect("rows");
    let attack = |row: &toml::Value| {
        let args = row.get("case").and_then(|cases| cases.get(0)).and_then(|case| case.get("args"));
        let args: Vec<String> = args
            .and_then(|args| args.as_array())
            .into_iter()
            .flatten()
            .filter_map(|a| a.as_str().map(str::to_owned))
            .collect();
        let name = row.get("name")?.as_str()?.to_owned();
        let usable = payload_dir().join(&name).is_file() && !args.iter().any(|arg| arg.contains('{'));
        usable.then_some((name, args))
    };
    rows.iter().filter_map(attack).collect()
}

/// Wall time after which a job of this test is ended; most attacks go on for ever.
const WALL: &str = "300ms";

fn honest(index: usize, outputs: &[String]) -> Value {
    let (code, expected) = (HONEST[index], &outputs[index]);
    json!({"id": format!("honest {code}"), "code": code, "expected": {"text": expected}})
}

fn hostile((name, args): &(String, Vec<String>)) -> Value {
    let argv: Vec<&str> = args.iter().map(String::as_str).collect();
    let argv = [vec![format!("/payloads/{name}")], argv.into_iter().map(str::to_owned).collect()].concat();
    json!({"id": format!("hostile {name}"), "argv": argv})
}

/// The same box for every job, so that all of them come from the pool.
fn complete(mut job: Value) -> Value {
    job["ro_bind"] = json!([format!("{}:/payloads", payload_dir().display())]);
    job["run"] = json!({"wall_time": WALL, "pids": 64, "mem": "64M", "fsize": "16M", "output_limit": "1M"});
    if job["id"].as_str().is_some_and(|id| id.starts_with("honest")) {
        job["run"]["wall_time"] = json!("20s");
    }
    job
}

fn write_jobs(path: &Path, jobs: &[Value]) {
    let mut file = std::fs::File::create(path).expect("a file of jobs");
    for job in jobs {
        writeln!(file, "{job}").expect("write a job");
    }
}

/// Runs the jobs by one pool, and returns their results.
fn batch(lab: &Lab, jobs: &[Value], workers: usize) -> Vec<Value> {
    let (path, out) = (lab.path().join("jobs"), lab.path().join("results"));
    write_jobs(&path, jobs);
    let mut command = lab.rustbox();
    command
        .args(["--log", "info", "batch"])
        .arg(&path)
        .arg("--out")
        .arg(&out)
        .args(["--workers", &workers.to_string()]);
    let output = command.output().expect("start rustbox");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}: {stderr}", output.status);
    // Else this is a test of cold runs.
    let jobs_text = format!("warm={}", jobs.len());
    let told = |line: &&str| line.contains(" WARN ") || line.contains("batch ended");
    let told: Vec<&str> = stderr.lines().filter(told).collect();
    assert!(stderr.contains(&jobs_text), "not every run was warm: {told:#?}");
    let text = std::fs::read_to_string(&out).expect("the results");
    text.lines().map(|line| serde_json::from_str(line).expect("a result")).collect()
}

/// Nothing of any of these boxes: no process, cgroup, mount or record, and no lease of a uid. Others are at work on the
/// same host, so its totals say nothing.
fn assert_nothing_left(lab: &Lab, results: &[Value]) {
    let boxes = std::fs::read_dir(lab.state_dir().join("boxes")).expect("records").count();
    assert_eq!(boxes, 0, "records are left");
    let leases = std::fs::read_dir("/run/rustbox/uids").expect("leases").filter_map(Result::ok);
    let leases: Vec<String> = leases.filter_map(|lease| std::fs::read_to_string(lease.path()).ok()).collect();
    for id in results.iter().filter_map(|result| result["report"]["box_id"].as_str()) {
        let left = residue(id, &lab.state_dir());
        assert!(left.is_empty(), "{id}: {left:#?}");
        assert!(!leases.iter().any(|lease| lease.starts_with(&format!("{id} "))), "the uid of {id} is still leased");
    }
}

fn check(result: &Value, uids: &mut BTreeMap<u64, u64>) {
    let report: RunReport =
        serde_json::from_value(result["report"].clone()).unwrap_or_else(|e| panic!("{e}: {result}"));
    let id = result["id"].as_str().expect("an id");
    assert_eq!(report.containment.verdict, rustbox_core::ContainmentVerdict::Contained, "{id}: {report:?}");
    assert_eq!(report.containment.survivors, Some(0), "{id}");
    *uids.entry(report.uid.map_or(0, u64::from)).or_default() += 1;
    if id.starts_with("honest") {
        assert_eq!(result["matches"], json!(true), "{id}: {result}");
        // What a fork bomb before it used is not on this run's account.
        assert!(report.cpu_total_ns.is_some_and(|ns| ns < 10_000_000_000), "{id}: {:?}", report.cpu_total_ns);
        assert_eq!((report.pids_refusals, report.oom_kills), (Some(0), Some(0)), "{id}");
    }
}

/// Families in an order in which every ordered pair of them, each with itself included, stands side by side exactly once:
/// a closed walk through all pairs (Hierholzer), another one for each seed.
fn walk(families: usize, random: &mut Random) -> Vec<usize> {
    let mut pick = |below: usize| usize::try_from(random.draw() % below as u64).expect("an index");
    let mut shuffled = || {
        let mut order: Vec<usize> = (0..families).collect();
        (1..families).rev().for_each(|last| order.swap(last, pick(last + 1)));
        order
    };
    let mut left: Vec<Vec<usize>> = (0..families).map(|_| shuffled()).collect();
    let (mut path, mut walk) = (vec![0], Vec::new());
    while let Some(at) = path.last().copied() {
        match left[at].pop() {
            Some(next) => path.push(next),
            None => walk.extend(path.pop()),
        }
    }
    walk.reverse();
    walk
}

#[test]
fn the_walk_has_every_ordered_pair_once() {
    let walk = walk(30, &mut Random::from_environment());
    let pairs: BTreeSet<(usize, usize)> = walk.windows(2).map(|pair| (pair[0], pair[1])).collect();
    assert_eq!((walk.len(), pairs.len()), (901, 900));
}

/// `RUSTBOX_POOL_JOBS` sets another number; 10,000 are for whoever has half an hour, and have every ordered pair.
#[test]
fn nothing_passes_from_one_job_of_a_pool_to_the_next() {
    let lab = Lab::open("pool");
    let mut random = Random::from_environment();
    let attacks = attacks();
    assert!(attacks.len() >= 40, "only {} payloads", attacks.len());
    let outputs = cold_outputs(&lab);
    assert!(outputs.iter().all(|output| !output.is_empty()), "{outputs:?}");
    let families = attacks.len() + HONEST.len();
    let one = |index: usize| {
        if index < HONEST.len() { honest(index, &outputs) } else { hostile(&attacks[index - HONEST.len()]) }
    };
    let wanted = how_often("RUSTBOX_POOL_JOBS", 240);
    let walk = walk(families, &mut random);
    let order: Vec<usize> = walk.iter().skip(1).copied().cycle().take(wanted).collect();
    let pairs: BTreeSet<(usize, usize)> = order.windows(2).map(|pair| (pair[0], pair[1])).collect();
    assert!(wanted <= families * families || pairs.len() == families * families, "a pair is missing");
    println!("{wanted} jobs, {} of {} ordered pairs of {families} families", pairs.len(), families * families);
    let jobs: Vec<Value> = order.into_iter().map(|index| complete(one(index))).collect();
    let results = batch(&lab, &jobs, 2);
    assert_eq!(results.len(), jobs.len());
    let mut uids = BTreeMap::new();
    results.iter().for_each(|result| check(result, &mut uids));
    let honest = results.iter().filter(|result| result["matches"] == json!(true)).count();
    assert!(honest * 10 > results.len(), "{honest} honest runs of {} prove little", results.len());
    assert!(uids.len() * 4 > results.len().min(500), "few uids: {uids:?}");
    assert_nothing_left(&lab, &results);
}

/// The check above must be able to fail: a job that leaves something where the next one looks is found.
#[test]
fn state_that_does_pass_from_one_job_to_the_next_is_seen() {
    let lab = Lab::open("pool-control");
    let shared = lab.path().join("shared");
    std::fs::create_dir(&shared).expect("a directory");
    let bind = |code: &str, expected: &str| {
        json!({"id": code, "code": code, "expected": {"text": expected}, "run": {"mem": "64M"},
               "bind": [format!("{}:/shared", shared.display())]})
    };
    let results = batch(&lab, &[bind("echo secret > /shared/x", ""), bind("ls /shared", "")], 1);
    let matches: Vec<&Value> = results.iter().map(|result| &result["matches"]).collect();
    assert_eq!(matches, [&json!(true), &json!(false)], "{results:?}");
}

/// A batch that has done some jobs and waits for its next one, with boxes that wait too.
fn start_idle(lab: &Lab, program: &Path, bug: &str, jobs: usize) -> (Child, Vec<String>) {
    let mut command = Command::new(program);
    command.arg("--state-dir").arg(lab.state_dir()).args(["batch", "-", "--workers", "2"]);
    // Only the program with defects asks for one.
    command.env("RUSTBOX_PLANTED", bug);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("rustbox");
    let stdin = child.stdin.as_mut().expect("a pipe");
    stdin.write_all("{\"code\": \"true\"}\n".repeat(jobs).as_bytes()).and_then(|()| stdin.flush()).expect("jobs");
    let results = BufReader::new(child.stdout.as_mut().expect("a pipe")).lines().take(jobs);
    results
        .map(|result| result.expect("a result"))
        .for_each(|result| assert!(result.contains("\"contained\""), "{result}"));
    // Three of four waited all the time; the fourth may be on its way.
    let boxes = || {
        let entries = std::fs::read_dir(lab.state_dir().join("boxes")).expect("records").filter_map(Result::ok);
        entries.filter(|e| e.path().join("marks").is_file()).map(|e| e.file_name().to_string_lossy().into_owned())
    };
    let waiting = rustbox_tests::wait_until(Duration::from_secs(10), || {
        let names: Vec<String> = boxes().collect();
        (names.len() >= 3).then_some(names)
    });
    (child, waiting.expect("boxes that wait"))
}

fn kill(child: &mut Child) {
    rustbox_tests::PidFd::open(child.id()).expect("a pidfd").signal(Signal::KILL);
    let _status = child.wait().expect("reap");
}

#[test]
fn boxes_that_wait_die_with_their_owner() {
    let lab = Lab::open("pool-owner");
    for round in 0..how_often("RUSTBOX_POOL_KILLS", 10) {
        // Boxes with a keeper of their own, and in turn such whose keeper had others before.
        let (mut child, waiting) = start_idle(&lab, rustbox(), "", if round % 2 == 0 { 1 } else { 12 });
        for id in &waiting {
            assert!(!CgroupLayout::read().directories(&format!("rustbox-{id}")).is_empty(), "{id} has no cgroup");
        }
        kill(&mut child);
        for id in &waiting {
            let left = wait_clean(id, &lab.state_dir());
            assert!(left.is_empty(), "{id}: {left:#?}");
        }
    }
}

/// The control: without the death guards the boxes outlive their owner, and the test above would see them.
#[test]
fn boxes_that_wait_outlive_their_owner_where_nothing_guards_them() {
    let Some(planted) = build_planted() else { return };
    let lab = Lab::open("pool-planted");
    let (mut child, waiting) = start_idle(&lab, &planted, "no-death-guard", 1);
    kill(&mut child);
    let left: Vec<Vec<String>> = waiting.iter().map(|id| wait_clean(id, &lab.state_dir())).collect();
    let status = lab.rustbox().args(["cleanup"]).status().expect("rustbox cleanup");
    assert!(left.iter().any(|left| left.iter().any(|line| line.starts_with("process"))), "{left:#?}");
    assert!(status.success(), "the boxes of the control were not cleaned up: {status}");
}

/// Another one: the keeper of a box that follows another, and goes on with the names of that, removes nothing of it.
#[test]
fn what_waiting_boxes_leave_stays_where_a_keeper_keeps_its_names() {
    let Some(planted) = build_planted() else { return };
    let lab = Lab::open("pool-names");
    let (mut child, waiting) = start_idle(&lab, &planted, "keeper-keeps-its-names", 12);
    kill(&mut child);
    let left: Vec<Vec<String>> = waiting.iter().map(|id| wait_clean(id, &lab.state_dir())).collect();
    let status = lab.rustbox().args(["cleanup"]).status().expect("rustbox cleanup");
    assert!(left.iter().any(|left| left.iter().any(|line| line.starts_with("directory"))), "{left:#?}");
    assert!(!left.iter().flatten().any(|line| line.starts_with("process")), "{left:#?}");
    assert!(status.success(), "the boxes of the control were not cleaned up: {status}");
}

/// Processes of a batch of this lab, by their command lines: keepers and inits have that of their supervisor.
fn processes(lab: &Lab) -> Vec<String> {
    let state = lab.state_dir().display().to_string();
    let entries = std::fs::read_dir("/proc").expect("processes").filter_map(Result::ok).map(|entry| entry.path());
    let ours = |path: &std::path::PathBuf| {
        let words = std::fs::read(path.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).split('\0').any(|word| word == state)
    };
    entries.filter(ours).map(|path| path.display().to_string()).collect()
}

#[test]
fn a_pool_killed_in_the_middle_of_its_work_leaves_nothing() {
    let lab = Lab::open("pool-busy");
    let mut random = Random::from_environment();
    let jobs = lab.path().join("jobs");
    write_jobs(&jobs, &vec![json!({"code": "true"}); 2000]);
    for _ in 0..how_often("RUSTBOX_POOL_KILLS", 10) {
        let mut command = lab.rustbox();
        command.arg("batch").arg(&jobs).args(["--workers", "2"]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("rustbox");
        std::thread::park_timeout(Duration::from_millis(20) + random.duration(Duration::from_millis(400)));
        kill(&mut child);
        let boxes = std::fs::read_dir(lab.state_dir().join("boxes")).into_iter().flatten().filter_map(Result::ok);
        for id in boxes.map(|entry| entry.file_name().to_string_lossy().into_owned()) {
            let left = wait_clean(&id, &lab.state_dir());
            assert!(left.is_empty(), "{id}: {left:#?}");
        }
        let gone = rustbox_tests::wait_until(Duration::from_secs(5), || processes(&lab).is_empty().then_some(()));
        assert!(gone.is_some(), "{:?}", processes(&lab));
        assert_nothing_left(&lab, &[]);
    }
}

/// Whoever kills keepers takes no box with them: the run in it ends well, and the next box has another keeper.
#[test]
fn keepers_that_are_killed_are_replaced() {
    let lab = Lab::open("pool-keepers");
    let (mut child, _) = start_idle(&lab, rustbox(), "", 4);
    let mut stdin = child.stdin.take().expect("a pipe");
    let mut results = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut killed = 0;
    for _ in 0..6 {
        for path in processes(&lab) {
            let is_keeper =
                std::fs::read_to_string(format!("{path}/comm")).is_ok_and(|comm| comm == "rustbox-keeper\n");
            let pid = path.trim_start_matches("/proc/").parse().ok().filter(|_| is_keeper);
            if let Some(keeper) = pid.and_then(rustbox_tests::PidFd::open) {
                keeper.signal(Signal::KILL);
                killed += 1;
            }
        }
        stdin.write_all(b"{\"code\": \"true\"}\n").expect("a job");
        let result = results.next().expect("a result").expect("a line");
        assert!(result.contains("\"contained\"") && result.contains("\"OK\""), "{result}");
    }
    drop(stdin);
    assert!(child.wait().expect("reap").success());
    assert!(killed >= 6, "{killed} keepers were there to be killed");
    assert!(processes(&lab).is_empty());
    assert_nothing_left(&lab, &[]);
}
