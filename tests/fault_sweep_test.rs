//! Every system call of every process of a box fails, once and for ever; those that carry a barrier lie; all are late.
//!
//! The outcome is "refused" or "contained", and never a weaker box: what the payload sees of its own confinement is
//! compared with a baseline. It never hangs, never leaves anything that is not named, and never calls what failed a
//! success. S09, QR04; the errors are those that the kernel documents for each call.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustbox_tests::{
    Boundary, BoxCommand, Call, Canary, Drive, Driven, End, Fault, Fingerprint, How, Killed, Lab, Recorded, Role,
    Sweep, Trial, adopt_orphans, failures_of, fingerprint_of, full, is_security_relevant, untruths, wait_clean,
};

/// One sweep at a time that uses both processors; one that waits for time limits may go on beside it.
static ALONE: Mutex<()> = Mutex::new(());

/// All sweeps begin with traces, at the same moment; a process that waits too long for a processor is ended by the harness.
static TRACES: Mutex<()> = Mutex::new(());

/// Boundaries that may be missed, of a hundred: a trace has a poll more or less each time.
const MISSED_PERCENT: usize = 5;
/// A call that is late, as far as a scheduler is concerned.
const LATE: Duration = Duration::from_millis(30);

fn victim(lab: &Lab) -> BoxCommand<'_> {
    lab.a_box().attack("contain_fingerprint", &[])
}

/// What the boxes of a sweep begin from.
#[derive(Clone, Copy, Debug)]
enum Host {
    /// A copy of the host's mounts.
    AsItIs,
    /// An empty mount namespace, after `rustbox prepare`.
    Prepared,
}

/// Each trial is a new worker: three cleanups that fail in a row quarantine one, which then refuses all that follows.
fn new_worker(host: Host, name: &str) -> Lab {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    match host {
        Host::AsItIs => Lab::open(&name),
        Host::Prepared => Lab::prepared(&name),
    }
}

/// What an untouched box looks like from inside.
fn baseline(host: Host) -> Fingerprint {
    let lab = new_worker(host, "baseline");
    let ended = victim(&lab).finish();
    ended.assert_contained().assert_verdict("OK", "normal_exit", 0);
    fingerprint_of(&ended.stdout).expect("a fingerprint")
}

/// The calls of a process in a run to which nothing else is done but these faults: the shortest of three traces, since
/// who waits in a loop calls as often as the scheduler lets it.
fn calls_of(host: Host, role: Role, faults: &[(Boundary, Fault)]) -> Vec<Recorded> {
    let _one_at_a_time = TRACES.lock();
    let traces = (0..3).map(|_| trace_of(host, role, faults));
    traces.min_by_key(Vec::len).expect("a trace")
}

fn trace_of(host: Host, role: Role, faults: &[(Boundary, Fault)]) -> Vec<Recorded> {
    let lab = new_worker(host, "trace");
    let command = victim(&lab);
    let driven = command.drive(&Drive { faults: faults.to_vec(), record: vec![role], ..Drive::default() });
    let left = wait_clean(command.box_id(), &lab.state_dir());
    assert!(driven.reached() && driven.calls.len() > 5 && left.is_empty(), "{role:?}: {driven:?} {left:?}");
    driven.calls
}

/// The moment at which a keeper has everything to do: the payload has left an orphan, and nothing is killed yet.
fn supervisor_dies_before_its_kill() -> (Boundary, Fault) {
    let calls = calls_of(Host::AsItIs, Role::Supervisor, &[]);
    let kill = |call: &&Recorded| call.operand.ends_with("/cgroup.kill") && call.boundary.call.name().contains("write");
    let signal = |call: &&Recorded| call.boundary.call == Call::named("pidfd_send_signal");
    let found = calls.iter().find(kill).or_else(|| calls.iter().find(signal));
    (found.expect("the kill of a box").boundary, Fault::Kill)
}

/// One box with faults; what is left of it is judged, too.
fn trial(host: Host, baseline: &Fingerprint, faults: &[(Boundary, Fault)]) -> Trial {
    let lab = new_worker(host, "fault");
    let command = victim(&lab);
    let driven = command.drive(&Drive { faults: faults.to_vec(), ..Drive::default() });
    let mut broken = untruths(&command, driven.end, baseline, Killed::NotTheChild);
    broken.extend(nameless(&command, &driven, faults));
    let made = std::fs::read_dir(lab.nowhere()).expect("the caller's directory").filter_map(Result::ok);
    broken.extend(made.map(|entry| format!("it made {} in the caller's directory", entry.path().display())));
    broken.extend(leftovers(&lab, &command, &driven, is_mute(faults)));
    match (broken.is_empty(), driven.reached()) {
        (false, _) => Trial::Broken(broken),
        (true, true) => Trial::Held,
        (true, false) => Trial::Missed,
    }
}

/// How rustbox says which step did not do what it should.
const STEP_WORDS: [&str; 10] = [
    // Said to be removed, and found by the audit: the directory is named.
    "post_cleanup_leak: directory ",
    "(os error ",
    "could not",
    "cannot",
    "did not",
    "died before it",
    "ended before its exec",
    "ended by itself",
    "was not found in the box",
    "not executable",
];

/// Who can never write again cannot say anything.
fn is_mute(faults: &[(Boundary, Fault)]) -> bool {
    let for_ever = |(at, fault): &(Boundary, Fault)| {
        at.call == Call::named("write") && matches!(fault, Fault::Fail(_, How::ForEver))
    };
    faults.iter().any(for_ever)
}

/// A run that is refused or fails for an error says which step it was.
fn nameless(command: &BoxCommand<'_>, driven: &Driven, faults: &[(Boundary, Fault)]) -> Option<String> {
    let Some((at, Fault::Fail(errno, _))) = faults.last() else { return None };
    if at.role == Role::Keeper || !matches!(driven.end, End::Exited(code) if code != 0) {
        return None;
    }
    let (_, errors) = command.collect();
    let named = is_mute(faults) || STEP_WORDS.iter().any(|words| errors.contains(words));
    (!named).then(|| format!("the message does not name the step that failed with {errno}: {errors}"))
}

/// What could not be removed is kept, named, and no success; it is nothing that runs; and `rustbox cleanup` takes it.
fn leftovers(lab: &Lab, command: &BoxCommand<'_>, driven: &Driven, mute: bool) -> Option<String> {
    let left = wait_clean(command.box_id(), &lab.state_dir());
    if left.is_empty() {
        return None;
    }
    let (_, errors) = command.collect();
    let still = left.iter().all(|line| line.starts_with("directory ") || line.starts_with("cgroup "));
    let killed = driven.end == End::Signaled(9);
    let named = killed || mute || (errors.contains("rustbox cleanup") && driven.end != End::Exited(0));
    let cleanup = lab.call(["cleanup", command.box_id()]);
    let after = wait_clean(command.box_id(), &lab.state_dir());
    let held = still && named && cleanup.status.success() && after.is_empty();
    (!held).then(|| format!("left {left:?}; after cleanup ({cleanup:?}): {after:?}; {errors}"))
}

type Faults = Vec<(Boundary, Fault)>;

/// A sweep of one role. A keeper has something to clean only when its supervisor is dead, so that is killed first.
fn sweep(name: &str, claim: &str, role: Role, choose: impl Fn(&[Recorded]) -> Vec<(Recorded, Fault)>) {
    let before: Faults = if role == Role::Keeper { vec![supervisor_dies_before_its_kill()] } else { Vec::new() };
    sweep_after(Host::AsItIs, name, claim, role, &before, choose);
}

/// Every fault that `choose` gives for each call of one role, after these.
fn sweep_after(
    host: Host,
    name: &str,
    claim: &str,
    role: Role,
    before: &[(Boundary, Fault)],
    choose: impl Fn(&[Recorded]) -> Vec<(Recorded, Fault)>,
) {
    adopt_orphans();
    let canary = Canary::start(name);
    let baseline = baseline(host);
    let chosen = choose(&calls_of(host, role, before));
    // A keeper tries for half a minute, and what it cannot do is left after the two seconds; who is told again and again, or
    // untruly, that a box is not empty waits for it.
    let waits = |(_, fault): &(Recorded, Fault)| matches!(fault, Fault::Fail(_, How::ForEver) | Fault::Lie(_));
    let waits = role == Role::Keeper || chosen.iter().all(waits);
    let _alone = (!waits).then(|| ALONE.lock());
    let sweep = Sweep::begin(name, claim, &["S09", "QR04"]);
    let one = |(call, fault): &(Recorded, Fault)| {
        let mut faults = before.to_vec();
        faults.push((call.boundary, *fault));
        let what = format!("{call}: {fault:?}");
        let mut found = trial(host, &baseline, &faults);
        for _ in 0..3 {
            if found == Trial::Missed {
                found = trial(host, &baseline, &faults);
            }
        }
        sweep.count(format!("{:?}", call.boundary.call), &what, found);
    };
    if waits {
        sweep.each_waiting(&chosen, one)
    } else {
        sweep.each(&chosen, one)
    }
    canary.assert_unharmed();
    sweep.finish(MISSED_PERCENT);
}

fn once(calls: &[Recorded]) -> Vec<(Recorded, Fault)> {
    calls.iter().flat_map(|call| failures_of(call, How::Once).into_iter().map(|fault| (call.clone(), fault))).collect()
}

/// From the first, the middle and the last call of each name on; all of them in a full run.
fn for_ever(calls: &[Recorded]) -> Vec<(Recorded, Fault)> {
    let of_a_name = |call: &Recorded| calls.iter().filter(|c| c.boundary.call == call.boundary.call).count();
    let chosen = calls.iter().filter(|call| {
        let (nth, all) = (call.boundary.nth as usize, of_a_name(call));
        full() || nth == 1 || nth == all || nth == all.div_ceil(2)
    });
    chosen.flat_map(|call| failures_of(call, How::ForEver).into_iter().map(|fault| (call.clone(), fault))).collect()
}

fn lies(calls: &[Recorded]) -> Vec<(Recorded, Fault)> {
    let told = calls.iter().filter(|call| is_security_relevant(call));
    told.map(|call| (call.clone(), Fault::Lie(How::Once))).collect()
}

/// Late at every call in a full run, at every third otherwise: on entry and on exit in turn.
fn delays(calls: &[Recorded]) -> Vec<(Recorded, Fault)> {
    let step = if full() { 1 } else { 6 };
    let entry = calls.iter().step_by(step).map(|call| (call.clone(), Fault::DelayEntry(LATE)));
    let exit = calls.iter().skip(step / 2).step_by(step).map(|call| (call.clone(), Fault::DelayExit(LATE)));
    entry.chain(exit).collect()
}

macro_rules! sweeps {
    ($($test:ident: $name:literal, $claim:literal, $role:ident, $choose:ident;)*) => {
        $(#[test]
        fn $test() {
            sweep($name, $claim, Role::$role, $choose);
        })*
    };
}

sweeps! {
    every_call_of_the_supervisor_fails_once: "fault-supervisor-once",
        "a supervisor whose call fails refuses or contains", Supervisor, once;
    every_call_of_the_init_fails_once: "fault-init-once", "an init whose call fails refuses or contains", Init, once;
    every_call_of_the_child_fails_once: "fault-child-once",
        "a child whose call fails is refused or contained", Child, once;
    every_call_of_the_keeper_fails_once: "fault-keeper-once",
        "a keeper whose call fails leaves nothing that runs", Keeper, once;
    calls_of_the_supervisor_fail_for_ever: "fault-supervisor-for-ever",
        "a supervisor whose calls fail for ever refuses or contains", Supervisor, for_ever;
    calls_of_the_init_fail_for_ever: "fault-init-for-ever",
        "an init whose calls fail for ever refuses or contains", Init, for_ever;
    calls_of_the_child_fail_for_ever: "fault-child-for-ever",
        "a child whose calls fail for ever is refused or contained", Child, for_ever;
    calls_of_the_keeper_fail_for_ever: "fault-keeper-for-ever",
        "a keeper whose calls fail for ever leaves nothing that runs", Keeper, for_ever;
    lies_to_the_supervisor_weaken_nothing: "lie-supervisor",
        "a call that lies to the supervisor weakens no box", Supervisor, lies;
    lies_to_the_init_weaken_nothing: "lie-init", "a call that lies to the init weakens no box", Init, lies;
    lies_to_the_child_weaken_nothing: "lie-child", "a call that lies to the child weakens no box", Child, lies;
    late_calls_of_the_supervisor_change_nothing: "late-supervisor",
        "a late call of the supervisor changes nothing", Supervisor, delays;
    late_calls_of_the_init_change_nothing: "late-init", "a late call of the init changes nothing", Init, delays;
    late_calls_of_the_child_change_nothing: "late-child", "a late call of the child changes nothing", Child, delays;
    late_calls_of_the_keeper_change_nothing: "late-keeper", "a late call of the keeper changes nothing", Keeper, delays;
}

/// What it makes while its supervisor lives is a part of the box.
#[test]
fn a_keeper_whose_call_fails_while_its_supervisor_lives_weakens_nothing() {
    let claim = "a keeper whose call fails while its supervisor lives weakens no box";
    sweep_after(Host::AsItIs, "fault-keeper-alive", claim, Role::Keeper, &[], once);
}

#[test]
fn lies_to_the_keeper_while_its_supervisor_lives_weaken_nothing() {
    let claim = "a call that lies to the keeper while its supervisor lives weakens no box";
    sweep_after(Host::AsItIs, "lie-keeper-alive", claim, Role::Keeper, &[], lies);
}

/// What an init does otherwise, or not at all, where the host's mounts are not copied.
fn of_mounts(call: &Recorded) -> bool {
    const NAMES: [&str; 9] =
        ["open_tree", "setns", "unshare", "statx", "statfs", "fstatfs", "getdents64", "move_mount", "chroot"];
    NAMES.contains(&call.boundary.call.name().as_str())
}

#[test]
fn an_init_whose_call_fails_on_a_prepared_host_refuses_or_contains() {
    let claim = "an init that begins from an empty mount namespace, and whose call fails, refuses or contains";
    let choose = |calls: &[Recorded]| {
        let chosen: Vec<_> = calls.iter().filter(|call| of_mounts(call)).cloned().collect();
        for name in ["open_tree", "setns", "unshare", "chroot"] {
            assert!(
                chosen.iter().any(|call| call.boundary.call.name() == name),
                "no {name}: this host is not prepared"
            );
        }
        once(&chosen)
    };
    sweep_after(Host::Prepared, "fault-init-prepared", claim, Role::Init, &[], choose);
}

#[test]
fn lies_to_the_init_on_a_prepared_host_weaken_nothing() {
    let claim = "a call that lies to an init that begins from an empty mount namespace weakens no box";
    sweep_after(Host::Prepared, "lie-init-prepared", claim, Role::Init, &[], lies);
}

#[test]
fn the_fingerprint_shows_a_barrier_that_is_switched_off() {
    let baseline = baseline(Host::AsItIs);
    let lab = new_worker(Host::AsItIs, "control");
    for (flags, shown) in [(["--net", "host"], "namespace net of the host"), (["--seccomp", "off"], "Seccomp:\t0")] {
        let ended = lab.a_box().attack("contain_fingerprint", &[]).flags(flags).flags(["--permissive"]).finish();
        let differs = fingerprint_of(&ended.stdout).unwrap_or_else(|| panic!("{ended}")).against(&baseline);
        assert!(differs.iter().any(|line| line.starts_with('+') && line.contains(shown)), "{flags:?}: {differs:#?}");
    }
}
