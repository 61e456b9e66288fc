//! One trial: a box, somebody of it killed at a call, and everything that has to be true afterwards.

use std::time::{Duration, Instant};

use rustbox_tests::{
    Boundary, BoxCommand, Drive, End, Fault, Fingerprint, Killed, Lab, Role, Sweep, Trial, children_left,
    fingerprint_of, untruths, wait_clean, wait_dead, wait_until,
};

/// A trial that takes longer is worth a line.
const SLOW: Duration = Duration::from_secs(3);

pub(crate) fn victim(lab: &Lab) -> BoxCommand<'_> {
    lab.a_box().attack("contain_fingerprint", &[]).flags(["--quiet"])
}

/// What an untouched box looks like from inside, when one of its processes is traced.
pub(crate) fn baseline(lab: &Lab) -> Fingerprint {
    let command = victim(lab);
    let driven = command.drive(&Drive::default());
    assert_eq!(driven.end, End::Exited(0), "{:?}", command.collect());
    fingerprint_of(&command.collect().0).expect("a fingerprint")
}

/// What may be left after two seconds.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Allowed {
    Nothing,
    /// The keeper is dead: its work is left for `rustbox cleanup`.
    Directories,
}

/// How often a trial is made anew whose boundary was not reached: who comes first is the scheduler's.
const ATTEMPTS: usize = 6;

/// Runs a box with these faults, and looks at what is left; whether the moment was reached.
pub(crate) fn trial(
    lab: &Lab,
    sweep: &Sweep,
    baseline: &Fingerprint,
    faults: &[(Boundary, Fault)],
    allowed: Allowed,
) -> bool {
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
    // Who is second might not come to its call: a supervisor notices that its keeper dies, and an init dies with its
    // supervisor.
    let roles: Vec<Role> = faults.iter().map(|(at, _)| at.role).collect();
    let together = matches!(roles[..], [Role::Keeper, _] | [Role::Supervisor, Role::Init]);
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
pub(crate) fn assert_no_orphans() {
    let none = wait_until(rustbox_tests::BOUND, || {
        rustbox_tests::reap_orphans();
        children_left().is_empty().then_some(())
    });
    assert!(none.is_some(), "{:#?}", children_left());
}
