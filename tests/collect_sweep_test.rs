//! `rustbox cleanup` and `rustbox health --recover` when their system calls fail, lie, or are their last.
//!
//! Whatever happens to the first call: it says "nothing is left" only when nothing is, it signals nobody whom only the
//! record names, and the same command again finishes. The kills of a recovery are `recovery_kill_test`'s.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustbox_tests::{
    Call, DeadBox, Drive, Driven, End, Fault, How, Lab, Recorded, Role, Sweep, Trial, errors_of, full,
    is_security_relevant,
};

/// One at a time: a recovery collects every dead box of the host.
static ALONE: Mutex<()> = Mutex::new(());

/// Boundaries that may be missed, of a hundred: others make and remove boxes on the same host meanwhile.
const MISSED_PERCENT: usize = 25;
/// How often the command is given again while somebody else's box is in its way.
const ATTEMPTS: usize = 20;
/// So many calls of one name are tried, unless all are.
const SAMPLE: usize = 8;

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

/// Every fault of every call, or a sample of them.
fn sweep(name: &str, claim: &str, verb: Verb, faults: impl Fn(&Recorded) -> Vec<Fault>) {
    let _alone = ALONE.lock();
    let lab = Lab::open(name);
    let calls = calls_of(&lab, verb);
    let chosen: Vec<(&Recorded, Fault)> =
        calls.iter().flat_map(|call| faults(call).into_iter().map(move |fault| (call, fault))).collect();
    let chosen = if full() { chosen } else { sampled(&chosen) };
    let sweep = Sweep::begin(name, claim, &["S09", "QR04", "T05"]);
    let one = |(call, fault): &(&Recorded, Fault)| {
        let found = trial(&lab, verb, call, *fault);
        sweep.count(format!("{:?}", call.boundary.call), &format!("{call}: {fault:?}"), found);
    };
    if verb == Verb::Cleanup {
        sweep.each(&chosen, one);
    } else {
        // Two at once would collect each other's boxes.
        chosen.iter().for_each(one);
    }
    sweep.finish(MISSED_PERCENT);
}

/// Some of each name, from its first call to its last.
fn sampled<'a>(all: &[(&'a Recorded, Fault)]) -> Vec<(&'a Recorded, Fault)> {
    let mut names: BTreeMap<Call, Vec<(&Recorded, Fault)>> = BTreeMap::new();
    all.iter().for_each(|one| names.entry(one.0.boundary.call).or_default().push(*one));
    let some = names.into_values().flat_map(|of_a_name| {
        let step = of_a_name.len().div_ceil(SAMPLE);
        of_a_name.into_iter().step_by(step).collect::<Vec<_>>()
    });
    some.collect()
}

/// Errors, each once; the likeliest one only unless everything is tried.
fn errors(call: &Recorded) -> Vec<Fault> {
    let most = if full() { usize::MAX } else { 1 };
    errors_of(call).into_iter().take(most).map(|errno| Fault::Fail(errno, How::Once)).collect()
}

fn lies(call: &Recorded) -> Vec<Fault> {
    if is_security_relevant(call) { vec![Fault::Lie(How::Once)] } else { Vec::new() }
}

fn kills(_: &Recorded) -> Vec<Fault> {
    vec![Fault::Kill]
}

#[test]
fn a_cleanup_whose_call_fails_is_truthful_and_the_next_one_finishes() {
    let claim = "a cleanup whose call fails is truthful, harms nobody, and can be given again";
    sweep("fault-cleanup", claim, Verb::Cleanup, errors);
}

#[test]
fn a_cleanup_that_is_lied_to_is_truthful_and_the_next_one_finishes() {
    let claim = "a cleanup that is lied to is truthful, harms nobody, and can be given again";
    sweep("lie-cleanup", claim, Verb::Cleanup, lies);
}

#[test]
fn a_cleanup_killed_at_a_call_harms_nobody_and_the_next_one_finishes() {
    let claim = "a cleanup killed at any system call harms nobody, and can be given again";
    sweep("kill-cleanup", claim, Verb::Cleanup, kills);
}

#[test]
fn a_recovery_whose_call_fails_is_truthful_and_the_next_one_finishes() {
    let claim = "a recovery whose call fails is truthful, harms nobody, and can be given again";
    sweep("fault-recovery", claim, Verb::Recover, errors);
}

#[test]
fn a_recovery_that_is_lied_to_is_truthful_and_the_next_one_finishes() {
    let claim = "a recovery that is lied to is truthful, harms nobody, and can be given again";
    sweep("lie-recovery", claim, Verb::Recover, lies);
}
