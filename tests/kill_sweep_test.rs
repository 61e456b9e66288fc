//! SIGKILL at every system call of supervisor, keeper, init and child, and of pairs of them.
//!
//! After each: no process of the box, live or zombie; cgroups, mounts and directory gone within two seconds without
//! anybody running a command, unless the keeper was killed as well, when directories may remain and `rustbox cleanup`
//! collects them; one truthful result or none; strangers unharmed.
#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustbox_tests::proof::{Part, Skipped};
use rustbox_tests::{
    Boundary, BoxCommand, Call, Canary, Drive, End, Fault, Fingerprint, Killed, Lab, Recorded, Role, Sweep, Trial,
    adopt_orphans, children_left, fingerprint_of, full, in_guest, protocol_stages, skip_unless, untruths, wait_clean,
    wait_dead, wait_until,
};

/// One at a time: each looks for orphans of the whole process.
static ALONE: Mutex<()> = Mutex::new(());
/// Boundaries that may be missed, of a hundred: a trace has a poll more or less each time.
const MISSED_PERCENT: usize = 5;
/// The same where an init is one of two: it dies of its supervisor's death by itself, wherever it then is.
const WITH_INIT_MISSED_PERCENT: usize = 50;
/// Whether the moments of two processes can be hit in one run.
fn pairs_are_reached() -> Result<(), String> {
    if in_guest() { Err("too many pairs of moments are missed on an emulated CPU".to_owned()) } else { Ok(()) }
}

/// The same, for a part of the proof: one that cannot be made here is published as such.
fn pairs_can_be_made(name: &str, claim: &str) -> bool {
    let there = pairs_are_reached();
    if let Err(why) = &there {
        let mut part = Part::new(name, claim, &["S12", "QR03"]);
        part.skipped.push(Skipped { what: "kill_pairs".to_owned(), why: why.clone() });
        part.publish();
    }
    skip_unless("kill_pairs", there)
}

/// A trial that takes longer is worth a line.
const SLOW: Duration = Duration::from_secs(3);

fn victim(lab: &Lab) -> BoxCommand<'_> {
    lab.a_box().attack("contain_fingerprint", &[]).flags(["--quiet"])
}

/// What an untouched box looks like from inside, when one of its processes is traced.
fn baseline(lab: &Lab) -> Fingerprint {
    let command = victim(lab);
    let driven = command.drive(&Drive::default());
    assert_eq!(driven.end, End::Exited(0), "{:?}", command.collect());
    fingerprint_of(&command.collect().0).expect("a fingerprint")
}

/// The calls that a process makes when nothing is done to it.
fn calls_of(lab: &Lab, role: Role) -> Vec<Recorded> {
    let calls = shortest(lab, &[], role);
    assert!(calls.len() > 5, "{role:?}: {calls:?}");
    calls
}

/// The shortest of three traces of a process when these faults are made: who waits in a loop calls as often as the
/// scheduler lets it.
fn shortest(lab: &Lab, faults: &[(Boundary, Fault)], role: Role) -> Vec<Recorded> {
    let trace = || {
        let command = victim(lab);
        let driven = command.drive(&Drive { faults: faults.to_vec(), record: vec![role], ..Drive::default() });
        let left = wait_clean(command.box_id(), &lab.state_dir());
        command.forget();
        assert!(driven.reached() && left.is_empty(), "{role:?}: {driven:?} {left:?}");
        driven.calls
    };
    (0..3).map(|_| trace()).min_by_key(Vec::len).expect("a trace")
}

/// What may be left after two seconds.
#[derive(Clone, Copy, PartialEq)]
enum Allowed {
    Nothing,
    /// The keeper is dead: its work is left for `rustbox cleanup`.
    Directories,
}

/// How often a trial is made anew whose boundary was not reached: who comes first is the scheduler's.
const ATTEMPTS: usize = 6;

/// Runs a box with these faults, and looks at what is left; whether the moment was reached.
fn trial(lab: &Lab, sweep: &Sweep, baseline: &Fingerprint, faults: &[(Boundary, Fault)], allowed: Allowed) -> bool {
    let what = faults.iter().map(|(at, _)| at.to_string()).collect::<Vec<_>>().join(", then ");
    let kind = format!("{:?}", faults[faults.len() - 1].0.call);
    let begun = Instant::now();
    for _ in 0..ATTEMPTS {
        match attempt(lab, sweep, baseline, faults, allowed) {
            Trial::Missed => {}
            found @ (Trial::Held | Trial::Broken(_)) => {
                if begun.elapsed() > SLOW {
                    sweep.note(format!("slow: {what}"));
                }
                sweep.count(kind, &what, found);
                return true;
            }
        }
    }
    sweep.count(kind, &what, Trial::Missed);
    false
}

/// One attempt, which is judged also when not every fault was made.
fn attempt(lab: &Lab, sweep: &Sweep, baseline: &Fingerprint, faults: &[(Boundary, Fault)], allowed: Allowed) -> Trial {
    let command = victim(lab);
    // Without a keeper the supervisor might not come to its call: it notices.
    let together = faults.len() > 1 && faults[0].0.role == Role::Keeper;
    let driven = command.drive(&Drive { faults: faults.to_vec(), together, ..Drive::default() });
    let reached = driven.reached();
    let has = |role| faults.iter().any(|(at, _)| at.role == role);
    let killed = if has(Role::Child) { Killed::Child } else { Killed::NotTheChild };
    let mut broken = untruths(&command, driven.end, baseline, killed);
    if has(Role::Supervisor) && reached && driven.end != End::Signaled(9) {
        broken.push(format!("the supervisor outlived SIGKILL: {:?}", driven.end));
    }
    if allowed == Allowed::Directories && reached {
        if !wait_dead(command.box_id(), &lab.state_dir()).is_empty() {
            sweep.note("left directories to cleanup");
            broken.extend(collect(lab, command.box_id()));
        }
    } else {
        let left = wait_clean(command.box_id(), &lab.state_dir());
        if !left.is_empty() {
            broken.push(format!("left {left:#?}"));
            broken.extend(collect(lab, command.box_id()));
        }
    }
    command.forget();
    match (broken.is_empty(), reached) {
        (false, _) => Trial::Broken(broken),
        (true, true) => Trial::Held,
        (true, false) => Trial::Missed,
    }
}

/// `rustbox cleanup` of one box takes what is left; what is wrong if it does not.
fn collect(lab: &Lab, box_id: &str) -> Option<String> {
    let output = lab.call(["cleanup", box_id]);
    let left = wait_clean(box_id, &lab.state_dir());
    let clean = output.status.success() && left.is_empty();
    (!clean).then(|| format!("after cleanup ({output:?}): {left:#?}"))
}

/// Every orphan of the sweep is gone: keepers, whose life is no box's, too.
fn assert_no_orphans() {
    let none = wait_until(rustbox_tests::BOUND, || {
        rustbox_tests::reap_orphans();
        children_left().is_empty().then_some(())
    });
    assert!(none.is_some(), "{:#?}", children_left());
}

/// A stage of the protocol with fewer kills is not covered.
const FEWEST_HITS: usize = 5;

/// Kills one process at every call of its reference trace.
fn sweep_role(name: &str, claim: &str, role: Role) {
    let _alone = ALONE.lock();
    adopt_orphans();
    let lab = Lab::open(name);
    let canary = Canary::start(name);
    let baseline = baseline(&lab);
    let calls = calls_of(&lab, role);
    let sweep = Sweep::begin(name, claim, &["S12", "QR03", "D10"]);
    let hits = Mutex::new(HashMap::new());
    let kill = |boundary: Boundary| {
        if trial(&lab, &sweep, &baseline, &[(boundary, Fault::Kill)], Allowed::Nothing) {
            *hits.lock().expect("no panic").entry(boundary).or_insert(0) += 1;
        }
    };
    sweep.each(&calls, |call| kill(call.boundary));
    if role == Role::Supervisor {
        cover_each_stage(&lab, &sweep, &calls, &hits, kill);
    }
    canary.assert_unharmed();
    assert_no_orphans();
    sweep.finish(MISSED_PERCENT);
}

/// Kills again in each stage of the protocol that was not hit often enough, and asserts that it was in the end.
fn cover_each_stage(
    lab: &Lab,
    sweep: &Sweep,
    calls: &[Recorded],
    hits: &Mutex<HashMap<Boundary, usize>>,
    kill: impl Fn(Boundary),
) {
    for stage in protocol_stages(calls, lab.prefix()) {
        let hits = || -> usize {
            let hits = hits.lock().expect("no panic");
            stage.boundaries.iter().filter_map(|boundary| hits.get(boundary)).sum()
        };
        for boundary in stage.boundaries.iter().cycle().take(4 * FEWEST_HITS) {
            if hits() < FEWEST_HITS {
                kill(*boundary);
            }
        }
        sweep.figure(&format!("kills while {}", stage.name), hits());
        assert!(hits() >= FEWEST_HITS, "the stage \"{}\" of the protocol is not covered: {} kills", stage.name, hits());
    }
}

#[test]
fn supervisor_killed_at_every_call_leaves_nothing() {
    sweep_role("kill-supervisor", "a supervisor killed at any system call leaves nothing", Role::Supervisor);
}

#[test]
fn init_killed_at_every_call_leaves_nothing_and_is_reported() {
    sweep_role("kill-init", "an init killed at any system call leaves nothing, and the report is true", Role::Init);
}

#[test]
fn child_killed_at_every_call_before_its_exec_leaves_nothing_and_is_reported() {
    sweep_role("kill-child", "a child killed before its exec leaves nothing, and the report is true", Role::Child);
}

/// Moments of a supervisor's life, one for each kind of thing that there then is to clean.
fn stages(calls: &[Recorded]) -> Vec<Boundary> {
    let first = |name: &str, part: &str| {
        let found = calls.iter().find(|c| c.boundary.call == Call::named(name) && c.operand.contains(part));
        found.unwrap_or_else(|| panic!("no {name} of {part} in the trace")).boundary
    };
    let last = |name: &str, part: &str| {
        let found = calls.iter().rev().find(|c| c.boundary.call == Call::named(name) && c.operand.contains(part));
        found.unwrap_or_else(|| panic!("no {name} of {part} in the trace")).boundary
    };
    let after = |name: &str| {
        let at = calls.iter().position(|c| c.boundary.call == Call::named(name)).expect("the call");
        calls[at + 1].boundary
    };
    // The last wait before the kill: the last of all is for the keeper, which has got its SIGKILL by then.
    let kills = calls.iter().position(|c| c.boundary.call == Call::named("pidfd_send_signal")).expect("a kill");
    let waits = calls[..kills].iter().rfind(|c| c.boundary.call == Call::named("ppoll")).expect("a wait").boundary;
    // A lock without a record, cgroups without an init, an init that is held, a running payload, a dead box.
    vec![after("renameat2"), last("mkdirat", "rustbox-"), after("setsockopt"), waits, first("waitid", "")]
}

#[test]
fn supervisor_then_keeper_killed_at_every_call_leaves_directories_at_most() {
    let (name, claim) = (
        "kill-supervisor-then-keeper",
        "supervisor and keeper killed leave no process, and cleanup takes the directories",
    );
    if !pairs_can_be_made(name, claim) {
        return;
    }
    let _alone = ALONE.lock();
    adopt_orphans();
    let lab = Lab::open("kill-pairs");
    let canary = Canary::start("kill-pairs");
    let baseline = baseline(&lab);
    let sweep = Sweep::begin(name, claim, &["S12", "QR03"]);
    let calls = calls_of(&lab, Role::Supervisor);
    let moments = if full() { calls.iter().map(|call| call.boundary).collect() } else { stages(&calls) };
    for moment in moments {
        let first = (moment, Fault::Kill);
        let keepers = shortest(&lab, &[first], Role::Keeper);
        sweep.each(&keepers, |call| {
            trial(&lab, &sweep, &baseline, &[first, (call.boundary, Fault::Kill)], Allowed::Directories);
        });
    }
    canary.assert_unharmed();
    assert_no_orphans();
    sweep.finish(MISSED_PERCENT);
}

#[test]
fn keeper_then_supervisor_killed_at_every_call_leaves_directories_at_most() {
    let (name, claim) = (
        "kill-keeper-then-supervisor",
        "keeper and supervisor killed leave no process, and cleanup takes the directories",
    );
    if !pairs_can_be_made(name, claim) {
        return;
    }
    let _alone = ALONE.lock();
    adopt_orphans();
    let lab = Lab::open("kill-keeper");
    let canary = Canary::start("kill-keeper");
    let baseline = baseline(&lab);
    let sweep = Sweep::begin(name, claim, &["S12", "QR03"]);
    let keepers = calls_of(&lab, Role::Keeper);
    // By itself: the supervisor notices, or does without it.
    sweep.each(&keepers, |call| {
        trial(&lab, &sweep, &baseline, &[(call.boundary, Fault::Kill)], Allowed::Directories);
    });
    let waits = keepers.iter().find(|call| call.boundary.call.name().ends_with("poll")).expect("the keeper's wait");
    let first = (waits.boundary, Fault::Kill);
    let calls = calls_of(&lab, Role::Supervisor);
    // What comes before the keeper's birth is the other sweep's.
    let born = calls.iter().position(|call| call.boundary.call == Call::named("clone3")).expect("a keeper's birth");
    // And what comes after its death is done without it anyway.
    let is_kill = |call: &Recorded| call.boundary.call == Call::named("pidfd_send_signal");
    let dead = calls.iter().rposition(is_kill).expect("the end of the keeper");
    let step = if full() { 1 } else { 3 };
    let chosen: Vec<&Recorded> = calls[born + 1..=dead].iter().step_by(step).collect();
    sweep.each(&chosen, |call| {
        trial(&lab, &sweep, &baseline, &[first, (call.boundary, Fault::Kill)], Allowed::Directories);
    });
    canary.assert_unharmed();
    assert_no_orphans();
    sweep.finish(MISSED_PERCENT);
}

/// Moments of an init's life: just born, armed, waiting for GO, making the root, about to fork, at its last wait.
fn moments_of_init(calls: &[Recorded]) -> Vec<Boundary> {
    let is = |name: &'static str| move |call: &&Recorded| call.boundary.call == Call::named(name);
    let told = |found: Option<&Recorded>, name: &str| found.unwrap_or_else(|| panic!("no {name} of an init")).boundary;
    let first = |name: &'static str| told(calls.iter().find(is(name)), name);
    let last = |name: &'static str| told(calls.iter().rfind(is(name)), name);
    vec![calls[0].boundary, first("ppoll"), first("sendmsg"), first("pivot_root"), first("clone3"), last("ppoll")]
}

/// What a process calls after somebody else was killed: the shortest of three traces of both.
fn calls_after(lab: &Lab, dies: (Boundary, Fault), first: Role, second: Role) -> Vec<Recorded> {
    let trace = || {
        let command = victim(lab);
        let driven = command.drive(&Drive { faults: vec![dies], record: vec![first, second], ..Drive::default() });
        let left = wait_clean(command.box_id(), &lab.state_dir());
        command.forget();
        assert!(left.is_empty(), "{dies:?}: {left:?}");
        let death = driven.calls.iter().position(|call| call.boundary == dies.0).unwrap_or(driven.calls.len());
        driven.calls.into_iter().skip(death).filter(|call| call.boundary.role == second).collect::<Vec<_>>()
    };
    (0..3).map(|_| trace()).min_by_key(Vec::len).expect("a trace")
}

/// The first, the middle and the last call of each name.
fn some_of_each(calls: &[Recorded]) -> Vec<&Recorded> {
    let of_a_name =
        |call: &Recorded| calls.iter().filter(|c| c.boundary.call == call.boundary.call).collect::<Vec<_>>();
    let is_chosen = |call: &&Recorded| {
        let all = of_a_name(call);
        [0, all.len() / 2, all.len() - 1].iter().any(|at| all[*at].boundary == call.boundary)
    };
    calls.iter().filter(is_chosen).collect()
}

fn bears(call: &Recorded) -> bool {
    call.boundary.call == Call::named("clone3") && call.boundary.nth == 2
}

/// One of a pair is killed at a few moments, or at all; the other at every call, or at some, that it makes then.
fn sweep_pair(name: &str, claim: &str, (first, second): (Role, Role)) {
    if !pairs_can_be_made(name, claim) {
        return;
    }
    let _alone = ALONE.lock();
    adopt_orphans();
    let lab = Lab::open(name);
    let canary = Canary::start(name);
    let baseline = baseline(&lab);
    let sweep = Sweep::begin(name, claim, &["S12", "QR03"]);
    let calls = calls_of(&lab, first);
    let moments = match first {
        Role::Init if full() => calls.iter().map(|call| call.boundary).collect(),
        // An init that is just born: a later one dies of it at once.
        Role::Supervisor => calls.iter().skip_while(|call| !bears(call)).skip(1).take(1).map(|c| c.boundary).collect(),
        Role::Init => moments_of_init(&calls),
        Role::Keeper | Role::Child => calls
            .iter()
            .filter(|call| call.boundary.call.name().ends_with("poll"))
            .take(1)
            .map(|c| c.boundary)
            .collect(),
    };
    for moment in moments {
        let dies = (moment, Fault::Kill);
        // A keeper is soon dismissed: it is held at a call from before, until the other one is dead.
        let kept = second != Role::Supervisor;
        let mut others = if kept { calls_of(&lab, second) } else { calls_after(&lab, dies, first, second) };
        if first == Role::Supervisor {
            // Its init goes no farther than to the wait for GO.
            others.truncate(others.iter().position(|c| c.boundary.call == Call::named("sendmsg")).unwrap_or(0));
        }
        let chosen = if full() { others.iter().collect() } else { some_of_each(&others) };
        sweep.each(&chosen, |call| {
            trial(&lab, &sweep, &baseline, &[dies, (call.boundary, Fault::Kill)], Allowed::Nothing);
        });
    }
    canary.assert_unharmed();
    assert_no_orphans();
    sweep.finish(WITH_INIT_MISSED_PERCENT);
}

#[test]
fn supervisor_then_init_killed_at_every_call_leaves_nothing() {
    let claim = "supervisor and init killed leave nothing, since the keeper lives";
    sweep_pair("kill-supervisor-then-init", claim, (Role::Supervisor, Role::Init));
}

#[test]
fn init_then_supervisor_killed_at_every_call_leaves_nothing() {
    let claim = "init and supervisor killed leave nothing, since the keeper lives";
    sweep_pair("kill-init-then-supervisor", claim, (Role::Init, Role::Supervisor));
}

#[test]
fn init_then_keeper_killed_at_every_call_leaves_nothing() {
    let claim = "init and keeper killed leave nothing, since the supervisor lives";
    sweep_pair("kill-init-then-keeper", claim, (Role::Init, Role::Keeper));
}

#[test]
fn keeper_then_init_killed_at_every_call_leaves_nothing() {
    let claim = "keeper and init killed leave nothing, since the supervisor lives";
    sweep_pair("kill-keeper-then-init", claim, (Role::Keeper, Role::Init));
}
