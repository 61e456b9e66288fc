//! Boxes that were prepared: runs in them are runs like any other, and nothing of one reaches the next.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test panics where it is wrong and says what it skips, helpers too"
)]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::PathBuf;
use std::sync::Arc;

use rustbox_core::{ByteSize, ContainmentVerdict, RunPlan, RunReport, RunSpec, Status};
use rustbox_supervisor::{Files, Host, Places, Pool, list};

/// A state directory of one test, removed with it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(format!("/var/lib/rustbox-pool-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn host(&self) -> Arc<Host> {
        let places = Places { state_dir: self.0.join("state"), ..Places::default() };
        Arc::new(Host::open(&places, None).unwrap())
    }

    fn boxes(&self) -> usize {
        fs::read_dir(self.0.join("state/boxes")).unwrap().count()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIP: boxes need root");
    }
    root
}

fn spec(text: &str) -> RunSpec {
    RunSpec { argv: ["/bin/sh", "-c", text].map(Into::into).to_vec(), ..RunSpec::default() }
}

fn plan(text: &str) -> RunPlan {
    spec(text).validate().unwrap()
}

/// Runs a program, and returns what it printed.
fn run(pool: &Pool, plan: RunPlan) -> (RunReport, String) {
    let mut output = tempfile().unwrap();
    let files = Files { stdout: Some(output.try_clone().unwrap().into()), ..Files::default() };
    let report = pool.run(plan, files).unwrap();
    let mut text = String::new();
    output.rewind().unwrap();
    output.read_to_string(&mut text).unwrap();
    (report, text)
}

fn tempfile() -> std::io::Result<File> {
    Ok(File::from(rustix::fs::memfd_create("output", rustix::fs::MemfdFlags::CLOEXEC)?))
}

fn read_back<'a>(report: &'a RunReport, control: &str) -> &'a str {
    let applied = report.controls.applied_controls.iter().find(|applied| applied.control == control);
    applied.map_or("", |applied| &applied.read_back)
}

fn assert_contained(report: &RunReport) {
    assert_eq!(report.containment.verdict, ContainmentVerdict::Contained, "{report:?}");
    assert!(report.containment.proofs.len() >= 3, "{:?}", report.containment.proofs);
}

#[test]
fn a_run_in_a_prepared_box_has_its_own_limits_read_back_and_its_own_proof() {
    if !is_root() {
        return;
    }
    let place = Place::new("limits");
    let pool = Pool::start(place.host(), plan("template"), 1, None).unwrap();
    assert_eq!(pool.counts().waiting, 1);
    // Down, up beyond the template's, and the template's own.
    for (megabytes, pids) in [(64, 5), (2048, 400), (1024, 256)] {
        let limits =
            RunSpec { mem: Some(ByteSize(megabytes << 20)), pids: Some(pids), ..spec("ulimit -n; echo hello") };
        let (report, output) = run(&pool, limits.validate().unwrap());
        assert_eq!((report.status, output.as_str()), (Status::Ok, "1024\nhello\n"), "{report:?}");
        assert_eq!(read_back(&report, "memory"), (megabytes << 20).to_string());
        assert_eq!(read_back(&report, "pids"), (pids + 1).to_string());
        assert_eq!(read_back(&report, "no_new_privs"), "1");
        assert!(report.actions.iter().any(|action| action.action.contains("prepared")), "{:?}", report.actions);
        assert_contained(&report);
    }
    assert_eq!((pool.counts().warm, pool.counts().cold), (3, 0));
    assert!(pool.close().iter().all(|report| report.containment.verdict == ContainmentVerdict::Contained));
    assert_eq!(place.boxes(), 0, "a record is left");
}

#[test]
fn a_limit_of_the_run_holds_in_a_prepared_box() {
    if !is_root() {
        return;
    }
    let place = Place::new("holds");
    let pool = Pool::start(place.host(), plan("template"), 2, None).unwrap();
    let small = RunSpec { mem: Some(ByteSize(16 << 20)), ..spec("exec tail /dev/zero") };
    let (report, _) = run(&pool, small.validate().unwrap());
    assert_eq!(report.status, Status::Mle, "{report:?}");
    let quick: RunSpec = serde_json::from_str(r#"{"wall_time": "200ms"}"#).unwrap();
    let quick = RunSpec { argv: spec("sleep 100 & sleep 100").argv, ..quick };
    let (report, _) = run(&pool, quick.validate().unwrap());
    assert_eq!(report.status, Status::Tle, "{report:?}");
    assert_contained(&report);
    let (report, _) = run(&pool, plan("exit 7"));
    assert_eq!((report.status, report.payload_exit_code), (Status::Re, Some(7)));
    assert_eq!(pool.counts().cold, 0);
}

#[test]
fn nothing_of_a_run_is_in_the_next_box() {
    if !is_root() {
        return;
    }
    let place = Place::new("state");
    let pool = Pool::start(place.host(), plan("template"), 1, None).unwrap();
    let dirty = "echo secret > /tmp/x; echo secret > /box/x; echo secret > /dev/shm/x; setsid sleep 1000 & sleep 0.05";
    // Processes are counted by the shell itself: nobody else is just being born.
    let look = "ls -A /tmp /box /dev/shm; cat /proc/sysvipc/shm | wc -l; set -- /proc/[0-9]*; echo $#; id -u";
    let mut uids = BTreeSet::new();
    let clean = run(&pool, plan(look)).1;
    for _ in 0..5 {
        assert_contained(&run(&pool, plan(dirty)).0);
        let (report, seen) = run(&pool, plan(look));
        let without_uid = |text: &str| text.lines().rev().skip(1).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(without_uid(&seen), without_uid(&clean));
        uids.insert(report.uid);
        assert!(report.cpu_total_ns.is_some_and(|ns| ns < 1_000_000_000), "{:?}", report.cpu_total_ns);
    }
    assert!(uids.len() > 1, "the same uid every time: {uids:?}");
}

#[test]
fn a_waiting_box_that_was_killed_is_replaced_and_its_end_is_proved() {
    if !is_root() {
        return;
    }
    let place = Place::new("attacked");
    let host = place.host();
    let pool = Pool::start(Arc::clone(&host), plan("template"), 1, None).unwrap();
    let ours = |view: &rustbox_supervisor::BoxView| view.record.is_some();
    let view = list(&host).unwrap().into_iter().find(ours).unwrap();
    let init = view.record.unwrap().init.unwrap().pid;
    let init = rustix::process::Pid::from_raw(i32::try_from(init).unwrap()).unwrap();
    let pidfd = rustix::process::pidfd_open(init, rustix::process::PidfdFlags::empty()).unwrap();
    rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL).unwrap();
    let mut dead = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut dead, None).unwrap();
    let (report, output) = run(&pool, plan("echo here"));
    assert_eq!((report.status, output.as_str()), (Status::Ok, "here\n"));
    assert_ne!(report.box_id, view.box_id);
    assert_eq!((pool.counts().discarded, pool.counts().warm), (1, 1));
    let reports = pool.take_discarded();
    assert_eq!(reports.len(), 1);
    assert_contained(&reports[0]);
}

/// The only box of a pool, once it waits: its record, with the marks.
fn only_box(pool: &Pool, host: &Host) -> rustbox_core::Record {
    while pool.counts().waiting == 0 {
        std::thread::yield_now();
    }
    list(host).unwrap().into_iter().find_map(|view| view.record).unwrap()
}

/// The processes of a box but its init.
fn payload_processes(record: &rustbox_core::Record) -> Vec<u32> {
    let procs = fs::read_to_string(PathBuf::from(&record.cgroups[0]).join("cgroup.procs")).unwrap();
    let init = record.init.as_ref().map(|init| init.pid);
    procs.lines().filter_map(|line| line.parse().ok()).filter(|pid| Some(*pid) != init).collect()
}

#[test]
fn a_waiting_box_that_left_its_cgroup_is_noticed_and_not_used() {
    if !is_root() {
        return;
    }
    let place = Place::new("moved");
    let host = place.host();
    let pool = Pool::start(Arc::clone(&host), plan("template"), 1, None).unwrap();
    let hierarchies = only_box(&pool, &host).cgroups.len();
    // Init and the process that would be the payload, each out of each hierarchy.
    for (index, who) in (0..hierarchies).flat_map(|index| [(index, "init"), (index, "payload")]) {
        let record = only_box(&pool, &host);
        let init = record.init.as_ref().unwrap().pid;
        let pid = if who == "init" { init } else { payload_processes(&record)[0] };
        let root = PathBuf::from(&record.cgroups[index]).parent().unwrap().to_owned();
        fs::write(root.join("cgroup.procs"), pid.to_string()).unwrap();
        let before = pool.counts();
        let (report, output) = run(&pool, plan("echo here"));
        let moved = format!("{who} out of {}", root.display());
        assert_eq!((report.status, output.as_str()), (Status::Ok, "here\n"), "{moved}: {report:?}");
        assert_contained(&report);
        assert_ne!(report.box_id, record.box_id, "{moved}: it was used");
        let after = pool.counts();
        assert_eq!((after.discarded - before.discarded, after.warm - before.warm), (1, 1), "{moved}");
        let discarded = pool.take_discarded();
        assert_eq!(discarded[0].box_id, record.box_id);
        assert_eq!(discarded[0].containment.survivors, Some(0), "{moved}");
        assert!(
            rustix::process::test_kill_process(rustix::process::Pid::from_raw(pid.cast_signed()).unwrap()).is_err()
        );
    }
    // The control: a box that nobody moved is the one that is used.
    let record = only_box(&pool, &host);
    assert_eq!(run(&pool, plan("true")).0.box_id, record.box_id);
}

#[test]
fn a_run_that_finds_no_box_waits_for_one() {
    if !is_root() {
        return;
    }
    let place = Place::new("exhausted");
    let pool = Pool::start(place.host(), plan("template"), 1, None).unwrap();
    let runs: Vec<RunReport> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| run(&pool, plan("sleep 0.1")).0)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut spans: Vec<(u64, u64)> = Vec::new();
    for report in &runs {
        assert_eq!(report.status, Status::Ok);
        let start = report.timings.setup_ns.unwrap();
        spans.push((start, report.timings.total_ns));
    }
    // Asked for at the same time, run one after the other: the last one waited for all before it.
    let longest = spans.iter().map(|(start, _)| *start).max().unwrap();
    assert!(longest >= 300_000_000, "{spans:?}");
    assert_eq!((pool.counts().warm, pool.counts().cold), (4, 0));
}

#[test]
fn a_run_that_asks_for_something_else_gets_a_box_of_its_own() {
    if !is_root() {
        return;
    }
    let place = Place::new("other");
    let pool = Pool::start(place.host(), plan("template"), 1, None).unwrap();
    let named = RunSpec { box_id: Some(format!("pool-{}", std::process::id())), ..spec("true") };
    let tmpfs = RunSpec { tmpfs: vec!["/scratch".to_owned()], ..spec("echo x > /scratch/x") };
    let long = RunSpec { argv: ["/bin/true".into(), "x".repeat(100_000).into()].to_vec(), ..RunSpec::default() };
    for other in [named, tmpfs, long] {
        let (report, _) = run(&pool, other.validate().unwrap());
        assert_eq!(report.status, Status::Ok, "{report:?}");
        assert_contained(&report);
    }
    assert_eq!((pool.counts().warm, pool.counts().cold), (0, 3));
}

#[test]
fn a_template_that_cannot_be_prepared_is_told_at_the_start_and_nothing_is_left() {
    if !is_root() {
        return;
    }
    let place = Place::new("broken");
    let broken =
        RunSpec { binds: vec![("/nowhere-at-all:/x".to_owned(), rustbox_core::BindAccess::ReadOnly)], ..spec("true") };
    let started = Pool::start(place.host(), broken.validate().unwrap(), 2, None);
    let failed = started.err().unwrap();
    assert!(failed.to_string().contains("/nowhere-at-all"), "{failed}");
    assert!(!failed.reports.is_empty());
    // Whoever has no init any more has no pidfd of one to prove by, so it may be two proofs instead of three.
    let is_proved = |report: &RunReport| report.containment.verdict == ContainmentVerdict::Contained;
    assert!(failed.reports.iter().all(is_proved), "{:?}", failed.reports);
    assert_eq!(place.boxes(), 0, "a record is left");
}
