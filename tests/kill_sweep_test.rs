//! SIGKILL at every system call of supervisor, init and child; pairs of them, and of the keeper, are in `kills/`.
//!
//! After each: no process of the box, live or zombie; cgroups, mounts and directory gone within two seconds without
//! anybody running a command, unless supervisor and keeper were killed, when directories may remain and `rustbox cleanup`
//! collects them; one truthful result or none; strangers unharmed.
#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "kills/moments.rs"]
mod moments;
#[path = "kills/pairs_with_init.rs"]
mod pairs_with_init;
#[path = "kills/pairs_with_keeper.rs"]
mod pairs_with_keeper;
#[path = "kills/traces.rs"]
mod traces;
#[path = "kills/trial.rs"]
mod trial;

use std::collections::HashMap;
use std::sync::Mutex;

use rustbox_tests::{Boundary, Canary, Fault, Lab, Recorded, Role, Sweep, adopt_orphans, protocol_stages};

use crate::traces::calls_of;
use crate::trial::{Allowed, assert_no_orphans, baseline, trial};

/// One at a time: each looks for orphans of the whole process.
static ALONE: Mutex<()> = Mutex::new(());
/// Boundaries that may be missed, of a hundred: a trace has a poll more or less each time.
const MISSED_PERCENT: usize = 5;

/// A stage of the protocol with fewer kills is not covered.
const FEWEST_HITS: usize = 5;

/// Kills one process at every call of its reference trace.
fn sweep_role(name: &str, claim: &str, role: Role) {
    sweep_in(&Lab::open(name), name, claim, role);
}

fn sweep_in(lab: &Lab, name: &str, claim: &str, role: Role) {
    let _alone = ALONE.lock();
    adopt_orphans();
    let canary = Canary::start(name);
    let baseline = baseline(lab);
    let calls = calls_of(lab, role);
    let sweep = Sweep::begin(name, claim, &["S12", "QR03", "D10"]);
    let hits = Mutex::new(HashMap::new());
    let kill = |boundary: Boundary| {
        if trial(lab, &sweep, &baseline, &[(boundary, Fault::Kill)], Allowed::Nothing) {
            *hits.lock().expect("no panic").entry(boundary).or_insert(0) += 1;
        }
    };
    sweep.each(&calls, |call| kill(call.boundary));
    if role == Role::Supervisor {
        cover_each_stage(lab, &sweep, &calls, &hits, kill);
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
fn init_killed_at_every_call_on_a_prepared_host_leaves_nothing_and_is_reported() {
    let claim = "an init that begins from an empty mount namespace, killed at any system call, leaves nothing";
    sweep_in(&Lab::prepared("kill-init-prepared"), "kill-init-prepared", claim, Role::Init);
}

#[test]
fn child_killed_at_every_call_before_its_exec_leaves_nothing_and_is_reported() {
    sweep_role("kill-child", "a child killed before its exec leaves nothing, and the report is true", Role::Child);
}
