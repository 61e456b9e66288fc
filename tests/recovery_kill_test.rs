//! SIGKILL of a recovery and of a quarantine at every system call, then the same command again.
//!
//! After the second one: the host and the worker are as after one that nobody killed, no stranger was signalled
//! whatever the records say, and nothing was counted twice or not at all. C14 and C15 of the crash points; T05, T07.
//!
//! What the host looks like changes only by calls that change something, so a kill before a call that only reads is a kill
//! before the next one that does not. By default those are left out; `RUSTBOX_SWEEP_FULL=1` makes a trial of each
//! (1379 calls of a recovery in four minutes, on two cores with nothing else to do), and with `RUSTBOX_SWEEP_STEP=N` of every Nth.
#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and tells its numbers on stderr"
)]

#[path = "recovery/scene.rs"]
mod scene;

use std::ffi::OsString;
use std::fs::File;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use rustbox_tests::proof::Part;
use rustbox_tests::{Boundary, Call, Drive, End, Fault, Lab, Random, Recorded, Role, full, how_often, rustbox};
use serde_json::Value;

use crate::scene::Scene;

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
/// How often a boundary is tried that was not reached.
const ATTEMPTS: usize = 3;

/// What is worth a kill: see the top of this file.
fn worth_a_kill(calls: &[Recorded]) -> Vec<Boundary> {
    let readers: Vec<Call> = READERS.split_ascii_whitespace().map(Call::named).collect();
    let changes = |boundary: &Boundary| full() || !readers.contains(&boundary.call);
    // An open may make a file, and most do not.
    let open = Call::named("openat");
    let makes = |call: &Recorded| MADE.iter().any(|name| call.operand.contains(name));
    let is_ours = |call: &Recorded| full() || call.boundary.call != open || makes(call);
    let worth = calls.iter().filter(|call| changes(&call.boundary) && is_ours(call)).map(|call| call.boundary);
    worth.step_by(if full() { how_often("RUSTBOX_SWEEP_STEP", 1).max(1) } else { 1 }).collect()
}

/// Whether the command came to the call before which it was killed, and died there.
fn is_killed(driven: &rustbox_tests::Driven) -> bool {
    driven.reached() && driven.end == End::Signaled(9)
}

/// Its figures, which are a part of the proof.
struct Swept {
    part: Part,
    begun: Instant,
    /// Recoveries that had to be run once more, since the one after the kill left something.
    again: u64,
    wrong: Vec<String>,
}

impl Swept {
    fn begin(name: &str, claim: &str) -> Self {
        let part = Part::new(name, claim, &["T05", "T07", "QR03"]);
        Self { part, begun: Instant::now(), again: 0, wrong: Vec::new() }
    }

    /// Counts a kill after which this is wrong; or a boundary that was not reached, unless it shows something all the same.
    fn count(&mut self, killed_at: &str, is_killed: bool, wrong: Vec<String>) {
        if !is_killed && wrong.is_empty() {
            self.part.not_reached += 1;
            return;
        }
        let wrong: Vec<String> = wrong.into_iter().map(|wrong| format!("{killed_at}: {wrong}")).collect();
        // At once: a full sweep takes minutes, and may be ended before it has told its figures.
        wrong.iter().for_each(|wrong| eprintln!("wrong: {wrong}"));
        self.part.count(if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) });
        self.wrong.extend(wrong);
    }

    /// Runs recovery again after the kill, and says what is wrong.
    fn judge(&mut self, scene: &mut Scene, ended: Result<RangeInclusive<u64>, String>) -> Vec<String> {
        match ended {
            Err(error) => vec![error],
            Ok(ended) => {
                let (wrong, times) = scene.judge(ended);
                self.again += times.saturating_sub(1);
                wrong
            }
        }
    }

    /// Publishes the part and tells its numbers; nothing may be wrong, and recovery may be needed twice so often.
    fn tell(mut self, figures: &[(&str, usize)], allowed_again: u64) -> Part {
        let figures = figures.iter().map(|(name, value)| ((*name).to_owned(), value.to_string()));
        self.part.figures.extend(figures);
        self.part.figures.insert("recoveries that were run once more".to_owned(), self.again.to_string());
        self.part.seconds = self.begun.elapsed().as_secs_f64();
        self.part.publish();
        let Part { name, tried, failed, not_reached, seconds, figures, .. } = &self.part;
        eprintln!("{name}: {tried} kills, {failed} failed, {not_reached} not reached, {seconds:.1} s; {figures:?}");
        assert!(self.wrong.is_empty(), "{:#?}", self.wrong);
        assert!(self.again <= allowed_again, "run {} times more, and {allowed_again} are allowed", self.again);
        assert!(*tried > 10, "only {tried} kills");
        self.part
    }
}

/// So many of these may be missed, or need one more recovery: others on this host collect at the same moment.
fn few_of(boundaries: usize) -> u64 {
    u64::try_from(boundaries * MISSED_PERCENT / 100).unwrap_or(0)
}

const RECOVER: &[&str] = &["health", "--recover"];

/// A recovery that nobody kills, on a scene that its checks see: where others may be killed, and how many calls it makes.
fn reference(lab: &Lab) -> (Vec<Boundary>, usize) {
    let mut first = Scene::set(lab, 0);
    // The planted bug is a recovery that did nothing: each check has to see that.
    let wrong = first.wrong(1..=1);
    for word in ["lives", "left", "leased", "not healthy", "are counted", "the history has"] {
        assert!(wrong.iter().any(|wrong| wrong.contains(word)), "{word} is in none of {wrong:#?}");
    }
    let recorded = first.drive(RECOVER, &Drive::record(&[Role::Supervisor]));
    assert_eq!(recorded.end, End::Exited(0), "{:?}", std::fs::read_to_string(first.directory.join("err")));
    // It committed, and the one that the judge calls finds nothing to do.
    let (wrong, _) = first.judge(1..=1);
    assert!(wrong.is_empty(), "{wrong:#?}");
    first.end();
    (worth_a_kill(&recorded.calls), recorded.calls.len())
}

#[test]
fn a_recovery_killed_at_every_call_and_run_again_ends_as_one_that_was_not() {
    let _alone = ALONE.lock();
    let lab = Lab::open("recovery");
    let (boundaries, calls) = reference(&lab);
    let claim = "a recovery that is killed at a system call and run again ends as one that was not";
    let (mut swept, mut numbers) = (Swept::begin("kill-recovery", claim), 1..);
    for boundary in &boundaries {
        let mut wrong = Vec::new();
        let mut attempt = |number| {
            let mut scene = Scene::set(&lab, number);
            let before = scene.generation().expect("a state");
            let driven = scene.drive(RECOVER, &Drive::fault(*boundary, Fault::Kill));
            // The first recovery of a scene changes the state: it has ended where that was written.
            let ended = scene.generation().map(|after| after - before..=after - before);
            wrong.extend(swept.judge(&mut scene, ended));
            scene.end();
            is_killed(&driven)
        };
        let is_killed = numbers.by_ref().take(ATTEMPTS).any(&mut attempt);
        swept.count(&boundary.to_string(), is_killed, wrong);
    }
    let part = swept.tell(&[("boundaries", boundaries.len()), ("calls", calls)], few_of(boundaries.len()));
    assert!(part.not_reached <= few_of(boundaries.len()), "{} were not reached", part.not_reached);
}

/// How many recoveries have ended after one more call. The first to end changes the state, and has ended where that was
/// written. One that finds a healthy worker changes none, and where it was killed only its count tells whether it had ended.
fn ended_after(so_far: &RangeInclusive<u64>, written: u64, end: End) -> RangeInclusive<u64> {
    let (least, most) = match (*so_far.start(), end) {
        (0, _) => (written, written),
        (_, End::Signaled(_)) => (written, 1),
        _ => (1, 1),
    };
    so_far.start() + least..=so_far.end() + most
}

/// How often the second recovery is killed too.
const PAIRS: usize = 24;

// What the first one left is no longer what the reference found, so that some moments do not come a second time: another
// pair is taken then.
#[test]
fn a_recovery_killed_after_a_killed_one_leaves_the_third_to_end_as_if_nobody_had_been() {
    let _alone = ALONE.lock();
    let lab = Lab::open("recovery-twice");
    let (boundaries, _) = reference(&lab);
    let mut random = Random::from_environment();
    let mut pick =
        || usize::try_from(random.draw() % boundaries.len() as u64).map(|at| boundaries[at]).expect("an index");
    let claim = "two recoveries killed one after the other leave the third to end as if nobody had been";
    let mut swept = Swept::begin("kill-recovery-twice", claim);
    let wanted = how_often("RUSTBOX_RECOVERY_PAIRS", PAIRS);
    for number in 1..=wanted * ATTEMPTS {
        if swept.part.tried >= wanted as u64 {
            break;
        }
        let (first, second) = (pick(), pick());
        let mut scene = Scene::set(&lab, number);
        let mut ended = Ok(0..=0);
        let killed = [first, second].map(|boundary| {
            let before = scene.generation();
            let driven = scene.drive(RECOVER, &Drive::fault(boundary, Fault::Kill));
            let written = before.and_then(|before| Ok(scene.generation()? - before));
            ended = ended.clone().and_then(|so_far| Ok(ended_after(&so_far, written?, driven.end)));
            is_killed(&driven)
        });
        let wrong = swept.judge(&mut scene, ended);
        swept.count(&format!("{first}, then {second}"), killed == [true, true], wrong);
        scene.end();
    }
    let part = swept.tell(&[("boundaries to choose from", boundaries.len())], PAIRS as u64 / 10);
    assert!(part.tried * 4 >= PAIRS as u64, "only {} times both were killed", part.tried);
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
    let claim = "a quarantine that is killed at a system call is there whole or not at all";
    let mut swept = Swept::begin("kill-quarantine", claim);
    let (mut committed, mut control) = (0, false);
    for (number, boundary) in (1..).zip(&boundaries) {
        let worker = Worker::new(&lab, number);
        let is_killed = is_killed(&worker.quarantine(&Drive::fault(*boundary, Fault::Kill)));
        let mut count = |wrong| swept.count(&boundary.to_string(), is_killed, wrong);
        let is_held = match worker.is_held() {
            Ok(is_held) => is_held,
            Err(error) => {
                count(vec![error]);
                continue;
            }
        };
        committed += usize::from(is_held);
        if is_held && !control && !worker.history().exists() {
            control = true;
            worker.forget_the_last_change();
            assert!(worker.lost(is_held).is_some(), "{boundary}: the check does not see what is lost");
        } else {
            count(worker.lost(is_held).into_iter().collect());
        }
        std::fs::remove_dir_all(&worker.0).expect("remove a worker");
    }
    assert!(control, "no kill was between the state and its history");
    assert!(committed > 0 && committed < boundaries.len(), "both sides of the commit were hit: {committed}");
    let part = swept.tell(&[("boundaries", boundaries.len()), ("calls", recorded.calls.len())], 0);
    assert!(part.not_reached <= few_of(boundaries.len()), "{} were not reached", part.not_reached);
}
