//! `rustbox cleanup` and `rustbox health --recover` when their system calls fail, lie, are late, or are their last.
//!
//! Whatever happens to the first call: it says "nothing is left" only when nothing is, it signals nobody whom only the
//! record names, and the same command again finishes. One that is only late finishes by itself. The kills of a recovery
//! are `recovery_kill_test`'s.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustbox_tests::{
    Call, DeadBox, Drive, Driven, End, Fault, How, Lab, Recorded, Role, Sweep, Trial, failures_of, full,
    is_security_relevant,
};

/// One at a time: a recovery collects every dead box of the host.
static ALONE: Mutex<()> = Mutex::new(());

/// Boundaries that may be missed, of a hundred: others make and remove boxes on the same host meanwhile.
const MISSED_PERCENT: usize = 25;
/// How often the command is given again while somebody else's box is in its way.
const ATTEMPTS: usize = 20;
/// So many calls of one name are tried, unless all are.
const SAMPLE: usize = 6;
/// The same for what goes on for ever.
const FEW: usize = 2;
/// A recovery reads the same of every process of the host: of calls that differ by a number so many are enough.
const ALIKE: usize = 3;
/// A call that is late, as far as a scheduler is concerned.
const LATE: Duration = Duration::from_millis(30);

/// A verb that collects one dead box, or all.
#[derive(Clone, Copy, PartialEq)]
enum Verb {
    Cleanup,
    Recover,
}

impl Verb {
    fn words(self, dead: &DeadBox) -> Vec<&str> {
        match self {
            Self::Cleanup => vec!["cleanup", dead.box_id()],
            Self::Recover => vec!["health", "--recover"],
        }
    }
}

fn next_dead_box(lab: &Lab) -> DeadBox {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    DeadBox::leave(lab, COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Its calls when nothing is done to it, and everything is there to be collected. Nothing must be left then.
fn calls_of(lab: &Lab, verb: Verb) -> Vec<Recorded> {
    let traced = || {
        let mut dead = next_dead_box(lab);
        let driven = dead.drive(&verb.words(&dead), &Drive::record(&[Role::Supervisor]));
        assert_eq!((driven.end, dead.left()), (End::Exited(0), Vec::new()), "{}", dead.said());
        driven.calls
    };
    // Another recovery on this host may have been faster.
    let removes = |call: &Recorded| call.boundary.call == Call::named("unlinkat") && call.operand.contains("rustbox-");
    let found = (0..ATTEMPTS).map(|_| traced()).find(|calls| calls.iter().any(removes));
    found.expect("a dead box that has something to be collected")
}

/// What is wrong with what the first call said, with what it did, and with what is left after the second.
fn wrong(dead: &mut DeadBox, verb: Verb, driven: &Driven, fault: Fault, call: &Recorded) -> Vec<String> {
    let mut wrong = Vec::new();
    match driven.end {
        End::Exited(0) => {
            let left = dead.left();
            if !left.is_empty() {
                wrong.push(format!("it said that nothing is left, and left {left:?}"));
            }
        }
        End::Exited(1 | 2 | 125) => {}
        End::Signaled(9) if fault == Fault::Kill => {}
        End::Exited(_) | End::Signaled(_) | End::Hung => wrong.push(format!("it ended with {:?}", driven.end)),
    }
    let is_late = matches!(fault, Fault::DelayEntry(_) | Fault::DelayExit(_));
    let is_done = wrong.is_empty() && driven.end == End::Exited(0) && dead.spared_the_stranger();
    // There is nothing left for a second recovery, which waits for a tenth of a second.
    if is_done && (is_late || verb == Verb::Recover) {
        return wrong;
    }
    if is_late {
        wrong.push("it was only late".to_owned());
    }
    let is_mute = call.boundary.call == Call::named("write") || fault == Fault::Kill;
    if driven.end != End::Exited(0) && !is_mute && dead.said().trim().is_empty() {
        wrong.push(format!("it ended with {:?}, and said nothing", driven.end));
    }
    // Another recovery on this host may be in the way.
    let mut last = None;
    let finished = (0..ATTEMPTS).any(|_| {
        let output = dead.call(&verb.words(dead));
        let done = output.status.success() && dead.left().is_empty();
        last = Some(output);
        done
    });
    if !finished {
        wrong.push(format!("the next one left {:?}: {last:?}", dead.left()));
    }
    if !dead.spared_the_stranger() {
        wrong.push("a stranger was harmed".to_owned());
    }
    if !wrong.is_empty() {
        wrong.push(format!("the first one ended with {:?}, and said {:?}", driven.end, dead.said()));
    }
    wrong
}

fn trial(lab: &Lab, verb: Verb, call: &Recorded, fault: Fault) -> Trial {
    let mut dead = next_dead_box(lab);
    let driven = dead.drive(&verb.words(&dead), &Drive::fault(call.boundary, fault));
    // A recovery that does not speak of this box has found somebody else at it.
    if verb == Verb::Recover && driven.end == End::Exited(0) && !dead.said().contains(dead.box_id()) {
        return Trial::Missed;
    }
    match wrong(&mut dead, verb, &driven, fault, call) {
        broken if !broken.is_empty() => Trial::Broken(broken),
        _ if driven.reached() => Trial::Held,
        _ => Trial::Missed,
    }
}

type Chosen = Vec<(Recorded, Fault)>;

/// A trial of each fault that is chosen for the calls of a verb.
fn sweep(name: &str, claim: &str, verb: Verb, choose: impl Fn(&[Recorded]) -> Chosen) {
    let _alone = ALONE.lock();
    let lab = Lab::open(name);
    let calls = calls_of(&lab, verb);
    let calls = if verb == Verb::Recover { fewer_alike(&calls) } else { calls };
    let chosen = choose(&calls);
    let sweep = Sweep::begin(name, claim, &["S09", "QR04", "T05"]);
    let one = |(call, fault): &(Recorded, Fault)| {
        let found = trial(&lab, verb, call, *fault);
        sweep.count(format!("{:?}", call.boundary.call), &format!("{call}: {fault:?}"), found);
    };
    match verb {
        // Some wait for ten seconds for what cannot be seen to end.
        Verb::Cleanup => sweep.each_waiting(&chosen, one),
        // Two at once would collect each other's boxes.
        Verb::Recover => chosen.iter().for_each(one),
    }
    sweep.finish(MISSED_PERCENT);
}

/// The first, the last and one between of those that make the same call of the same thing, but for its number.
fn fewer_alike(calls: &[Recorded]) -> Vec<Recorded> {
    let kind = |call: &Recorded| {
        let operand = call.operand.split(|c: char| c.is_ascii_digit()).filter(|part| !part.is_empty());
        (call.boundary.call, operand.collect::<Vec<_>>().join("#"))
    };
    let mut kinds: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    calls.iter().enumerate().for_each(|(at, call)| kinds.entry(kind(call)).or_default().push(at));
    let mut kept: Vec<usize> = kinds.into_values().flat_map(|of_a_kind| some_of(of_a_kind, ALIKE)).collect();
    kept.sort_unstable();
    kept.into_iter().map(|at| calls[at].clone()).collect()
}

/// So many, from the first to the last.
fn some_of<T>(all: Vec<T>, most: usize) -> Vec<T> {
    let last = all.len().saturating_sub(1);
    let chosen = |at: &usize| all.len() <= most || (0..most).any(|nth| nth * last / (most - 1).max(1) == *at);
    let chosen: Vec<bool> = (0..all.len()).map(|at| chosen(&at)).collect();
    all.into_iter().zip(chosen).filter_map(|(one, chosen)| chosen.then_some(one)).collect()
}

/// Every fault of every call; unless everything is tried, so many of each name, from its first call to its last.
fn of_each(calls: &[Recorded], sample: usize, faults: impl Fn(&Recorded) -> Vec<Fault>) -> Chosen {
    let mut names: BTreeMap<Call, Chosen> = BTreeMap::new();
    for call in calls {
        let made = faults(call).into_iter().map(|fault| (call.clone(), fault));
        names.entry(call.boundary.call).or_default().extend(made);
    }
    let sample = if full() { usize::MAX } else { sample };
    names.into_values().flat_map(|of_a_name| some_of(of_a_name, sample)).collect()
}

fn once(calls: &[Recorded]) -> Chosen {
    of_each(calls, SAMPLE, |call| failures_of(call, How::Once))
}

fn for_ever(calls: &[Recorded]) -> Chosen {
    of_each(calls, FEW, |call| failures_of(call, How::ForEver))
}

fn lies(calls: &[Recorded]) -> Chosen {
    let told = |call: &Recorded| if is_security_relevant(call) { vec![Fault::Lie(How::Once)] } else { Vec::new() };
    of_each(calls, SAMPLE, told)
}

fn kills(calls: &[Recorded]) -> Chosen {
    of_each(calls, SAMPLE, |_| vec![Fault::Kill])
}

/// The first of each name on entry and the last on exit, in turn; or all of them on both.
fn delays(calls: &[Recorded]) -> Chosen {
    let step = if full() { 1 } else { 2 };
    let backwards: Vec<Recorded> = calls.iter().rev().cloned().collect();
    let entry = of_each(calls, 1, |_| vec![Fault::DelayEntry(LATE)]);
    let exit = of_each(&backwards, 1, |_| vec![Fault::DelayExit(LATE)]);
    entry.into_iter().step_by(step).chain(exit.into_iter().skip(step - 1).step_by(step)).collect()
}

macro_rules! sweeps {
    ($($test:ident: $name:literal, $claim:literal, $verb:ident, $choose:ident;)*) => {
        $(#[test]
        fn $test() {
            sweep($name, $claim, Verb::$verb, $choose);
        })*
    };
}

sweeps! {
    a_cleanup_whose_call_fails_is_truthful_and_the_next_one_finishes: "fault-cleanup",
        "a cleanup whose call fails is truthful, harms nobody, and can be given again", Cleanup, once;
    a_cleanup_whose_calls_fail_for_ever_is_truthful_and_the_next_one_finishes: "fault-cleanup-for-ever",
        "a cleanup whose calls fail for ever is truthful, harms nobody, and can be given again", Cleanup, for_ever;
    a_cleanup_that_is_lied_to_is_truthful_and_the_next_one_finishes: "lie-cleanup",
        "a cleanup that is lied to is truthful, harms nobody, and can be given again", Cleanup, lies;
    a_cleanup_killed_at_a_call_harms_nobody_and_the_next_one_finishes: "kill-cleanup",
        "a cleanup killed at any system call harms nobody, and can be given again", Cleanup, kills;
    a_cleanup_whose_call_is_late_finishes: "late-cleanup",
        "a cleanup whose call is late leaves nothing, and harms nobody", Cleanup, delays;
    a_recovery_whose_call_fails_is_truthful_and_the_next_one_finishes: "fault-recovery",
        "a recovery whose call fails is truthful, harms nobody, and can be given again", Recover, once;
    a_recovery_whose_calls_fail_for_ever_is_truthful_and_the_next_one_finishes: "fault-recovery-for-ever",
        "a recovery whose calls fail for ever is truthful, harms nobody, and can be given again", Recover, for_ever;
    a_recovery_that_is_lied_to_is_truthful_and_the_next_one_finishes: "lie-recovery",
        "a recovery that is lied to is truthful, harms nobody, and can be given again", Recover, lies;
    a_recovery_whose_call_is_late_finishes: "late-recovery",
        "a recovery whose call is late leaves nothing, and harms nobody", Recover, delays;
}

#[test]
fn a_cleanup_that_cannot_read_the_record_gives_the_uid_back_all_the_same() {
    let _alone = ALONE.lock();
    let lab = Lab::open("torn-record");
    let mut dead = next_dead_box(&lab);
    dead.tear_the_records();
    assert!(dead.left().iter().any(|left| left == "its uid is leased"), "the control: it was leased");
    let output = dead.call(&["cleanup", dead.box_id()]);
    assert!(output.status.success() && dead.spared_the_stranger(), "{output:?}");
    assert_eq!(dead.left(), [""; 0], "{output:?}");
}
