//! An init and its supervisor, or its keeper, are killed, in both orders: who lives of them leaves nothing.
//!
//! An init has its supervisor's death for a SIGKILL of its own. So that pair is made by holding the init at its call while
//! the supervisor is killed: it dies there, by the kernel's signal or by ours.

use rustbox_tests::{Boundary, Canary, Fault, Lab, Role, Sweep, adopt_orphans, full};

use crate::traces::{calls_after, calls_of, meanwhile, some_of_each};
use crate::trial::{Allowed, assert_no_orphans, baseline, trial};
use crate::{ALONE, moments};

/// Pairs that may be missed, of a hundred: an init dies of its supervisor's death by itself, and on a busy machine before it
/// comes to its call. Two were missed of a hundred on a quiet machine, and seven on a busy one.
const WITH_INIT_MISSED_PERCENT: usize = 20;

/// Who is killed where, and who then.
type Pair = (Boundary, Boundary);

/// Kills every pair.
fn sweep_pairs(name: &str, claim: &str, pairs: impl FnOnce(&Lab) -> Vec<Pair>) {
    let _alone = ALONE.lock();
    adopt_orphans();
    let lab = Lab::open(name);
    let canary = Canary::start(name);
    let baseline = baseline(&lab);
    let pairs = pairs(&lab);
    let sweep = Sweep::begin(name, claim, &["S12", "QR03"]);
    sweep.each(&pairs, |(first, then)| {
        trial(&lab, &sweep, &baseline, &[(*first, Fault::Kill), (*then, Fault::Kill)], Allowed::Nothing);
    });
    canary.assert_unharmed();
    assert_no_orphans();
    sweep.finish(WITH_INIT_MISSED_PERCENT);
}

/// One of them at every call, or at some of each name, and the other where it then stands.
fn supervisor_and_init(lab: &Lab) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for (role, other) in [(Role::Init, Role::Supervisor), (Role::Supervisor, Role::Init)] {
        let meanwhile = meanwhile(lab, role, other);
        let calls: Vec<_> = meanwhile.iter().map(|(call, _)| call.clone()).collect();
        let chosen = if full() { calls } else { some_of_each(&calls).into_iter().cloned().collect() };
        let is_chosen = |at: Boundary| chosen.iter().any(|call| call.boundary == at);
        pairs.extend(meanwhile.iter().map(|(call, stands)| (call.boundary, *stands)).filter(|(at, _)| is_chosen(*at)));
    }
    // The supervisor comes first.
    pairs.into_iter().map(|(a, b)| if a.role == Role::Supervisor { (a, b) } else { (b, a) }).collect()
}

/// In a full run an init is killed at every such call too: each is followed by sixty kills of its supervisor.
const FULL_STEP: usize = 3;

/// An init at its moments, or at many calls; its supervisor at some calls of each name that it makes then, or at every one
/// after a moment.
fn init_and_its_supervisor(lab: &Lab) -> Vec<Pair> {
    let calls = calls_of(lab, Role::Init);
    let of_an_init = moments::of_an_init(&calls);
    let mut moments = of_an_init.clone();
    if full() {
        moments.extend(calls.iter().step_by(FULL_STEP).map(|call| call.boundary));
    }
    let of_moment = |moment: Boundary| {
        let others = calls_after(lab, (moment, Fault::Kill), Role::Init, Role::Supervisor);
        let is_all = full() && of_an_init.contains(&moment);
        let chosen = if is_all { others.iter().collect() } else { some_of_each(&others) };
        chosen.into_iter().map(|call| (moment, call.boundary)).collect::<Vec<_>>()
    };
    moments.into_iter().flat_map(of_moment).collect()
}

/// A keeper at every call that it makes before it is dismissed, where it is held until the init is dead.
fn init_and_keeper(lab: &Lab) -> Vec<Pair> {
    let inits = calls_of(lab, Role::Init);
    let moments = if full() { inits.iter().map(|call| call.boundary).collect() } else { moments::of_an_init(&inits) };
    let keepers = calls_of(lab, Role::Keeper);
    let keepers = if full() { keepers.iter().collect() } else { some_of_each(&keepers) };
    moments.into_iter().flat_map(|moment| keepers.iter().map(move |call| (moment, call.boundary))).collect()
}

/// A keeper at its wait; an init at every call, or some of each name, where it is held until the keeper is dead.
fn keeper_and_init(lab: &Lab) -> Vec<Pair> {
    let keepers = calls_of(lab, Role::Keeper);
    let waits = keepers.iter().find(|call| call.boundary.call.name().ends_with("poll")).expect("the keeper's wait");
    let inits = calls_of(lab, Role::Init);
    let chosen = if full() { inits.iter().collect() } else { some_of_each(&inits) };
    chosen.into_iter().map(|call| (waits.boundary, call.boundary)).collect()
}

#[test]
fn supervisor_then_init_killed_at_every_call_leaves_nothing() {
    let claim = "supervisor and init killed leave nothing, since the keeper lives";
    sweep_pairs("kill-supervisor-then-init", claim, supervisor_and_init);
}

#[test]
fn init_then_supervisor_killed_at_every_call_leaves_nothing() {
    let claim = "init and supervisor killed leave nothing, since the keeper lives";
    sweep_pairs("kill-init-then-supervisor", claim, init_and_its_supervisor);
}

#[test]
fn init_then_keeper_killed_at_every_call_leaves_nothing() {
    let claim = "init and keeper killed leave nothing, since the supervisor lives";
    sweep_pairs("kill-init-then-keeper", claim, init_and_keeper);
}

#[test]
fn keeper_then_init_killed_at_every_call_leaves_nothing() {
    let claim = "keeper and init killed leave nothing, since the supervisor lives";
    sweep_pairs("kill-keeper-then-init", claim, keeper_and_init);
}
