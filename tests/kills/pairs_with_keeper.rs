//! Supervisor and keeper are killed, in both orders: nothing runs, and `rustbox cleanup` takes the directories.

use rustbox_tests::{Call, Canary, Fault, Lab, Recorded, Role, Sweep, adopt_orphans, full};

use crate::traces::{calls_after, calls_of};
use crate::trial::{Allowed, assert_no_orphans, baseline, trial};
use crate::{ALONE, MISSED_PERCENT, moments};

#[test]
fn supervisor_then_keeper_killed_at_every_call_leaves_directories_at_most() {
    let (name, claim) = (
        "kill-supervisor-then-keeper",
        "supervisor and keeper killed leave no process, and cleanup takes the directories",
    );
    let _alone = ALONE.lock();
    adopt_orphans();
    let lab = Lab::open("kill-pairs");
    let canary = Canary::start("kill-pairs");
    let baseline = baseline(&lab);
    let sweep = Sweep::begin(name, claim, &["S12", "QR03"]);
    let calls = calls_of(&lab, Role::Supervisor);
    let moments =
        if full() { calls.iter().map(|call| call.boundary).collect() } else { moments::of_a_supervisor(&calls) };
    for moment in moments {
        let first = (moment, Fault::Kill);
        // Before that it makes a network namespace, at its own pace: see the other sweep.
        let keepers = calls_after(&lab, first, Role::Supervisor, Role::Keeper);
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
