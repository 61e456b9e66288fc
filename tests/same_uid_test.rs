//! A stranger outside any box that has a box's uid: nothing that is done to the box or to what it left touches it.
//!
//! A uid is no proof of belonging to a box (D33): whoever kills by uid kills this one.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::sync::Mutex;

use rustbox_tests::{
    BOUND, Canary, Lab, PidFd, RunningBox, SeenProcess, adopt_orphans, processes_of, reap_orphans, wait_clean,
    wait_dead, wait_until,
};
use rustix::process::Signal;

/// One at a time: each adopts orphans.
static ALONE: Mutex<()> = Mutex::new(());

/// A box whose payload stays, and a stranger that has its uid.
fn beside(lab: &Lab) -> (RunningBox<'_>, Canary) {
    let running = lab.a_box().attack("contain_pdeathsig_cleared", &["stay"]).start();
    running.await_output("armed:");
    let payload = processes_of(running.box_id()).into_iter().find(|p| p.uid >= 70_000).expect("a payload");
    let canary = Canary::with_uid(&format!("{}-stranger", running.box_id()), payload.uid);
    let stranger = SeenProcess::read(canary.pid()).expect("the stranger");
    assert_eq!(stranger.uid, payload.uid, "the stranger has another uid: {stranger:?}");
    (running, canary)
}

fn kill_with_keeper(running: RunningBox<'_>, lab: &Lab) -> String {
    let box_id = running.box_id().to_owned();
    let keeper = processes_of(&box_id).into_iter().find(|p| p.comm == "rustbox-keeper").expect("a keeper");
    PidFd::open(keeper.pid).expect("pidfd of the keeper").signal(Signal::KILL);
    running.kill();
    let left = wait_dead(&box_id, &lab.state_dir());
    assert!(!left.is_empty(), "nothing is left to be collected");
    box_id
}

#[test]
fn a_run_that_ends_spares_a_stranger_with_its_uid_and_is_not_accused_for_it() {
    let _alone = ALONE.lock();
    let lab = Lab::open("uid-end");
    let (running, canary) = beside(&lab);
    running.signal(Signal::TERM);
    let ended = running.finish();
    ended.assert_contained().assert_verdict("INT", "interrupted", 143);
    canary.assert_unharmed();
}

#[test]
fn a_keeper_spares_a_stranger_with_the_uid_of_its_box() {
    let _alone = ALONE.lock();
    adopt_orphans();
    let lab = Lab::open("uid-keeper");
    let (running, canary) = beside(&lab);
    let box_id = running.box_id().to_owned();
    running.kill();
    let left = wait_clean(&box_id, &lab.state_dir());
    assert!(left.is_empty(), "{left:#?}");
    canary.assert_unharmed();
}

#[test]
fn whatever_collects_a_dead_box_spares_a_stranger_with_its_uid() {
    let _alone = ALONE.lock();
    adopt_orphans();
    let lab = Lab::open("uid-collect");
    for verb in [&["cleanup"][..], &["health", "--recover"], &["audit", "--kill"]] {
        let (running, canary) = beside(&lab);
        let box_id = kill_with_keeper(running, &lab);
        let named = (verb[0] == "cleanup").then_some(box_id.as_str());
        // What an audit or a recovery says of the whole host is others' affair, too.
        let output = lab.call(verb.iter().copied().chain(named));
        canary.assert_unharmed();
        reap_orphans();
        let collected = lab.call(["cleanup", &box_id]);
        let left = wait_clean(&box_id, &lab.state_dir());
        assert!(collected.status.success() && left.is_empty(), "{verb:?}: {output:?} {collected:?} {left:#?}");
        canary.assert_unharmed();
    }
}

#[test]
fn a_stranger_that_is_killed_by_uid_is_seen_to_be() {
    // The control: the check can go red.
    let _alone = ALONE.lock();
    let lab = Lab::open("uid-control");
    let (running, canary) = beside(&lab);
    let uid = SeenProcess::read(canary.pid()).expect("the stranger").uid;
    for process in rustbox_tests::scan().into_iter().filter(|p| p.uid == uid) {
        // One that dies with another is gone by then.
        let _gone = PidFd::open(process.pid).map(|fd| fd.signal(Signal::KILL));
    }
    let seen = wait_until(BOUND, || (!canary.is_unharmed()).then_some(()));
    assert!(seen.is_some(), "the check does not see a stranger that was killed");
    let _ended = running.finish();
}
