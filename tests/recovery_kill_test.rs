//! SIGKILL of a recovery and of a quarantine at every system call, then the same command again.
//!
//! After the second one: the host and the worker are as after one that nobody killed, no stranger was signalled
//! whatever the records say, and nothing was counted twice or not at all. C14 and C15 of the crash points; T05, T07.
//!
//! What the host looks like changes only by calls that change something, so a kill before a call that only reads is a kill
//! before the next one that does not. By default those are left out; `RUSTBOX_SWEEP_FULL=1` makes a trial of each.
#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and tells its numbers on stderr"
)]

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;

use rustbox_core::{ProcessKey, Record};
use rustbox_tests::{
    Boundary, Call, Canary, Drive, End, Fault, Lab, Recorded, Role, full, residue, rustbox, wait_clean,
};
use serde_json::Value;

/// One at a time: a recovery collects every dead box of the host, those of the other test too.
static ALONE: Mutex<()> = Mutex::new(());

/// Calls that change nothing that outlives the caller: a lock goes with its holder.
const READERS: &str = "\
    read pread64 readv close fstat newfstatat statx lseek mmap munmap mprotect brk getdents64 \
    rt_sigaction rt_sigprocmask sigaltstack poll ppoll futex getrandom getpid getuid geteuid getgid \
    getegid gettid clock_gettime fcntl readlink readlinkat statfs fstatfs access faccessat prlimit64 \
    sched_getaffinity uname arch_prctl set_tid_address set_robust_list rseq prctl pidfd_open ioctl dup \
    execve madvise stat lstat flock";
/// Files that are made by being opened.
const MADE: &[&str] = &[".new", "counters.log", "quarantine-history.json", "lock"];
/// Boundaries that may be missed, of a hundred: others make and remove boxes on the same host meanwhile.
const MISSED_PERCENT: usize = 10;
/// How often the second command is tried while somebody else's box is in its way.
const ATTEMPTS: usize = 20;

/// A worker of a trial: directories of its own, a dead box with everything that one can leave, a stranger.
struct Scene {
    directory: PathBuf,
    dead: [String; 2],
    member: Child,
    stranger: Canary,
}

impl Scene {
    fn set(lab: &Lab, number: usize) -> Self {
        let directory = lab.path().join(format!("scene-{number}"));
        std::fs::create_dir(&directory).expect("a directory of the scene");
        let dead = ["full", "torn"].map(|kind| format!("{}-{number}-{kind}", lab.prefix()));
        let stranger = Canary::start(&format!("{}-canary-{number}", lab.prefix()));
        let member = Command::new("/bin/cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("a member");
        let scene = Self { directory, dead, member, stranger };
        assert_eq!(scene.call(&["ps"]).status.code(), Some(0), "makes the directories");
        assert!(scene.call(&["health", "--quarantine", "--reason", "cleanup_failure"]).status.success());
        scene.leave(number);
        scene
    }

    /// What a supervisor and its keeper leave when both are killed at the worst moment, with a record that lies.
    fn leave(&self, number: usize) {
        let [whole, torn] = &self.dead;
        let mut groups = Vec::new();
        let roots = String::from_utf8_lossy(&self.call(&["cgroup-root"]).stdout).into_owned();
        for root in roots.lines().map(Path::new) {
            let group = root.join(format!("rustbox-{whole}"));
            if std::fs::create_dir(&group).is_err() {
                continue;
            }
            // A v1 cpuset takes nobody before it has CPUs; that hierarchy's directory is left empty.
            let _joined = std::fs::write(group.join("cgroup.procs"), self.member.id().to_string());
            let _nested = std::fs::create_dir(group.join("nested"));
            let _frozen = std::fs::write(group.join("cgroup.freeze"), "1");
            groups.push(group.display().to_string());
        }
        assert!(!groups.is_empty(), "no cgroup could be made");
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("the boot id");
        let strangers = [1, self.stranger.pid(), std::process::id(), 0];
        let pid = strangers[number % strangers.len()];
        let record = Record {
            schema: Record::SCHEMA.to_owned(),
            box_id: whole.parse().expect("a box id"),
            pid,
            starttime_ticks: 0,
            boot_id: boot_id.trim().to_owned(),
            timestamp: "2026-01-01T00:00:00Z".to_owned(),
            uid: UID,
            cgroups: groups,
            supervisor_pid_namespace: None,
            init: Some(ProcessKey { pid: self.stranger.pid(), starttime_ticks: 0 }),
            pid_namespace: None,
            audit_session: None,
            argv: vec!["/bin/cat".to_owned()],
            memory_max_bytes: 1 << 20,
            pids_max: 1,
        };
        let text = serde_json::to_string(&record).expect("a record");
        let boxes = self.directory.join("state/boxes");
        for (id, text) in [(whole, text.as_str()), (torn, "{\"pid\": -1, torn")] {
            std::fs::create_dir(boxes.join(id)).expect("a box's directory");
            std::fs::write(boxes.join(id).join("lock"), text).expect("a record");
        }
        std::fs::write(boxes.join(whole).join("marks"), text).expect("marks");
        let lease = format!("{whole} {}", boot_id);
        std::fs::write(self.directory.join("runtime/uids").join(UID.to_string()), lease).expect("a lease");
    }

    fn words(&self, verb: &[&str]) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec![rustbox().into()];
        for (flag, name) in [("--state-dir", "state"), ("--runtime-dir", "runtime")] {
            words.extend([flag.into(), self.directory.join(name).into()]);
        }
        words.extend(verb.iter().map(Into::into));
        words
    }

    fn call(&self, verb: &[&str]) -> Output {
        let words = self.words(verb);
        Command::new(&words[0]).args(&words[1..]).stdin(Stdio::null()).output().expect("start rustbox")
    }

    fn drive(&self, verb: &[&str], drive: &Drive) -> rustbox_tests::Driven {
        let file = |name| File::create(self.directory.join(name)).expect("an output file");
        drive.run(&self.words(verb), &self.directory, (file("out"), file("err")))
    }

    /// The generation of the state; what a kill leaves must always be a state.
    fn generation(&self) -> Result<u64, String> {
        let path = self.directory.join("state/health/state.json");
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let state: Value = serde_json::from_str(&text).map_err(|e| format!("a torn state: {e}: {text}"))?;
        state["generation"].as_u64().ok_or_else(|| format!("no generation: {text}"))
    }

    fn count(&self, series: &str) -> u64 {
        let text = String::from_utf8_lossy(&self.call(&["metrics"]).stdout).into_owned();
        let counts = text.lines().filter_map(|line| line.strip_prefix(series)?.rsplit(' ').next()?.parse::<u64>().ok());
        counts.sum()
    }

    fn history(&self, what: &str) -> usize {
        let path = self.directory.join("state/health/quarantine-history.json");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().filter(|line| line.contains(&format!("\"what\":\"{what}\""))).count()
    }

    /// Recovers until nothing is in the way, and returns how often that took: once, unless somebody else on this host is
    /// collecting the same cgroup at this moment.
    fn recover(&self) -> Result<u64, String> {
        let mut times = 0;
        for _ in 0..ATTEMPTS {
            let output = self.call(&["health", "--recover"]);
            times += 1;
            let records = self.dead.iter().filter(|id| self.directory.join("state/boxes").join(id).exists());
            if output.status.success() && records.count() == 0 {
                return Ok(times);
            }
        }
        Err(format!("recovery does not end well: {:?}", self.call(&["health", "--recover"])))
    }

    /// What is wrong after the command was killed and recovery ran again.
    fn judge(&mut self, committed: u64) -> Vec<String> {
        match self.recover() {
            Ok(again) => self.wrong(committed + again),
            Err(error) => vec![error],
        }
    }

    /// What is not as after this many recoveries that came to their end.
    fn wrong(&mut self, ended: u64) -> Vec<String> {
        let mut wrong = Vec::new();
        if !matches!(self.member.try_wait(), Ok(Some(_))) {
            wrong.push("the dead box's process lives".to_owned());
        }
        for id in &self.dead {
            let left = residue(id, &self.directory.join("state"));
            if !left.is_empty() && !wait_clean(id, &self.directory.join("state")).is_empty() {
                wrong.push(format!("left {left:?}"));
            }
        }
        let lease = std::fs::read_to_string(self.directory.join("runtime/uids").join(UID.to_string()));
        if lease.is_ok_and(|text| !text.is_empty()) {
            wrong.push("the uid is leased still".to_owned());
        }
        if self.call(&["health", "--check"]).status.code() != Some(0) {
            wrong.push(format!("not healthy: {:?}", self.call(&["health"])));
        }
        let recoveries = self.count("rustbox_recoveries_total{");
        if recoveries != ended {
            wrong.push(format!("{ended} recoveries came to their end, and {recoveries} are counted"));
        }
        let quarantines = self.count("rustbox_worker_quarantined_total{reason=\"cleanup_failure\"}");
        let told = (self.history("quarantined"), self.history("recovered"));
        if (quarantines, told) != (1, (1, 1)) {
            wrong.push(format!("{quarantines} quarantines are counted, and the history has {told:?}"));
        }
        wrong
    }

    fn end(mut self) {
        // A child of ours, which is a zombie at worst.
        let _killed = self.member.kill();
        let _ended = self.member.wait();
        self.stranger.assert_unharmed();
        std::fs::remove_dir_all(&self.directory).expect("remove the scene");
    }
}

/// In a runtime directory of the scene's own, so it is nobody else's.
const UID: u32 = 70_999;

/// What is worth a kill: see the top of this file.
fn worth_a_kill(calls: &[Recorded]) -> Vec<Boundary> {
    let readers: Vec<Call> = READERS.split_ascii_whitespace().map(Call::named).collect();
    let changes = |boundary: &Boundary| full() || !readers.contains(&boundary.call);
    // An open may make a file, and most do not.
    let open = Call::named("openat");
    let makes = |call: &Recorded| MADE.iter().any(|name| call.operand.contains(name));
    let is_ours = |call: &Recorded| full() || call.boundary.call != open || makes(call);
    calls.iter().filter(|call| changes(&call.boundary) && is_ours(call)).map(|call| call.boundary).collect()
}

/// Its figures.
#[derive(Default)]
struct Swept {
    killed: usize,
    missed: usize,
    wrong: Vec<String>,
}

impl Swept {
    fn count(&mut self, driven: &rustbox_tests::Driven) {
        if driven.reached() && driven.end == End::Signaled(9) {
            self.killed += 1;
        } else {
            self.missed += 1;
        }
    }

    fn tell(self, what: &str, boundaries: usize, calls: usize) {
        let Self { killed, missed, wrong } = self;
        eprintln!(
            "{what} killed before {killed} of {boundaries} calls that change something ({calls} in all), {missed} not reached: \
             {} wrong, 95 % bound {:.1e}",
            wrong.len(),
            3.0 / f64::from(u32::try_from(killed.max(1)).unwrap_or(u32::MAX))
        );
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert!(missed * 100 <= boundaries * MISSED_PERCENT, "{missed} of {boundaries} were not reached");
        assert!(killed > 10, "only {killed} kills");
    }
}

const RECOVER: &[&str] = &["health", "--recover"];

#[test]
fn a_recovery_killed_at_every_call_and_run_again_ends_as_one_that_was_not() {
    let _alone = ALONE.lock();
    let lab = Lab::open("recovery");
    let mut first = Scene::set(&lab, 0);
    // The planted bug is a recovery that did nothing: each check has to see that.
    let wrong = first.wrong(1);
    for word in ["lives", "left", "leased", "not healthy", "are counted", "the history has"] {
        assert!(wrong.iter().any(|wrong| wrong.contains(word)), "{word} is in none of {wrong:#?}");
    }
    let recorded = first.drive(RECOVER, &Drive::record(&[Role::Supervisor]));
    assert_eq!(recorded.end, End::Exited(0), "{:?}", std::fs::read_to_string(first.directory.join("err")));
    // It committed, and the one that the judge calls finds nothing to do.
    let wrong = first.judge(1);
    assert!(wrong.is_empty(), "{wrong:#?}");
    first.end();
    let boundaries = worth_a_kill(&recorded.calls);
    let mut swept = Swept::default();
    for (number, boundary) in (1..).zip(&boundaries) {
        let mut scene = Scene::set(&lab, number);
        let before = scene.generation().expect("a state");
        let driven = scene.drive(RECOVER, &Drive::fault(*boundary, Fault::Kill));
        swept.count(&driven);
        match scene.generation() {
            Err(error) => swept.wrong.push(format!("{boundary}: {error}")),
            Ok(after) => {
                swept.wrong.extend(scene.judge(after - before).into_iter().map(|w| format!("{boundary}: {w}")))
            }
        }
        scene.end();
    }
    swept.tell("recovery", boundaries.len(), recorded.calls.len());
}

const REASON: &str = "orphan_process_detected";

/// A worker that is told of a quarantine; it has a state already.
struct Worker(PathBuf);

impl Worker {
    fn new(lab: &Lab, number: usize) -> Self {
        let worker = Self(lab.path().join(format!("worker-{number}")));
        std::fs::create_dir(&worker.0).expect("a directory");
        worker.call(&["health", "--stop-accepting"]);
        worker.call(&["health", "--start-accepting"]);
        worker
    }

    fn words(&self, verb: &[&str]) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec![rustbox().into(), "--state-dir".into(), self.0.join("state").into()];
        words.extend(verb.iter().map(Into::into));
        words
    }

    fn call(&self, verb: &[&str]) -> String {
        let words = self.words(verb);
        let output = Command::new(&words[0]).args(&words[1..]).stdin(Stdio::null()).output().expect("start rustbox");
        assert!(output.status.success(), "{verb:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn quarantine(&self, drive: &Drive) -> rustbox_tests::Driven {
        let file = |name| File::create(self.0.join(name)).expect("an output file");
        drive.run(&self.words(&["health", "--quarantine", "--reason", REASON]), &self.0, (file("out"), file("err")))
    }

    /// Whether it is quarantined, for the one reason there was.
    fn is_held(&self) -> Result<bool, String> {
        let text = self.call(&["health"]);
        let view: Value = serde_json::from_str(&text).map_err(|e| format!("{e}: {text}"))?;
        match (view["status"].as_str(), view["quarantine_reason"].as_str()) {
            (Some("healthy"), None) => Ok(false),
            (Some("quarantined"), Some(REASON)) => Ok(true),
            (status, reason) => Err(format!("{status:?} {reason:?}: {view}")),
        }
    }

    fn history(&self) -> PathBuf {
        self.0.join("state/health/quarantine-history.json")
    }

    /// What is lost or double, after the next writer has completed what the killed one could not.
    fn lost(&self, is_held: bool) -> Option<String> {
        self.call(&["health", "--start-accepting"]);
        let history = std::fs::read_to_string(self.history()).unwrap_or_default();
        let told = history.lines().filter(|line| line.contains(REASON)).count();
        let series = format!("rustbox_worker_quarantined_total{{reason=\"{REASON}\"}} 1\n");
        let counted = self.call(&["metrics"]).contains(&series);
        let is_whole = (told, counted) == (usize::from(is_held), is_held);
        (!is_whole).then(|| format!("quarantined {is_held}, told {told} times, counted {counted}"))
    }

    /// The planted bug: a state that does not carry what it adds to history and counters.
    fn forget_the_last_change(&self) {
        let path = self.0.join("state/health/state.json");
        let text = std::fs::read_to_string(&path).expect("the state");
        let mut state: serde_json::Map<String, Value> = serde_json::from_str(&text).expect("a state");
        state.remove("digest");
        state.insert("last".to_owned(), Value::Null);
        let object = serde_json::to_string(&state).expect("a state");
        let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        let digest = object[1..].bytes().fold(0xcbf2_9ce4_8422_2325, fnv);
        std::fs::write(&path, format!("{{\"digest\":\"{digest:016x}\",{}\n", &object[1..])).expect("the state");
    }
}

#[test]
fn a_quarantine_killed_at_every_call_is_there_whole_or_not_at_all() {
    let _alone = ALONE.lock();
    let lab = Lab::open("quarantine");
    let recorded = Worker::new(&lab, 0).quarantine(&Drive::record(&[Role::Supervisor]));
    assert_eq!(recorded.end, End::Exited(0));
    let boundaries = worth_a_kill(&recorded.calls);
    let mut swept = Swept::default();
    let (mut committed, mut control) = (0, false);
    for (number, boundary) in (1..).zip(&boundaries) {
        let worker = Worker::new(&lab, number);
        swept.count(&worker.quarantine(&Drive::fault(*boundary, Fault::Kill)));
        let is_held = match worker.is_held() {
            Ok(is_held) => is_held,
            Err(error) => {
                swept.wrong.push(format!("{boundary}: {error}"));
                continue;
            }
        };
        committed += usize::from(is_held);
        if is_held && !control && !worker.history().exists() {
            control = true;
            worker.forget_the_last_change();
            assert!(worker.lost(is_held).is_some(), "{boundary}: the check does not see what is lost");
        } else {
            swept.wrong.extend(worker.lost(is_held).map(|lost| format!("{boundary}: {lost}")));
        }
        std::fs::remove_dir_all(&worker.0).expect("remove a worker");
    }
    assert!(control, "no kill was between the state and its history");
    assert!(committed > 0 && committed < boundaries.len(), "both sides of the commit were hit: {committed}");
    swept.tell("quarantine", boundaries.len(), recorded.calls.len());
}
