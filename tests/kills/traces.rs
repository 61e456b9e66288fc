//! Which calls the processes of a box make: there they are killed.

use rustbox_tests::{Boundary, Call, Drive, Driven, Fault, Lab, Recorded, Role, wait_clean};

use crate::trial::victim;

/// The calls that a process makes when nothing is done to it.
pub(crate) fn calls_of(lab: &Lab, role: Role) -> Vec<Recorded> {
    let calls = shortest(lab, &[], role);
    assert!(calls.len() > 5, "{role:?}: {calls:?}");
    calls
}

/// What is of interest in a trace of a box: the shortest of three, since who waits in a loop calls as often as the scheduler
/// lets it.
fn shortest_of_three(lab: &Lab, drive: &Drive, of: impl Fn(Driven) -> Vec<Recorded>) -> Vec<Recorded> {
    let trace = || {
        let command = victim(lab);
        let driven = command.drive(drive);
        let left = wait_clean(command.box_id(), &lab.state_dir());
        command.forget();
        assert!(left.is_empty(), "{:?}: {left:?}", drive.faults);
        of(driven)
    };
    (0..3).map(|_| trace()).min_by_key(Vec::len).expect("a trace")
}

/// The calls of a process when these faults are made.
pub(crate) fn shortest(lab: &Lab, faults: &[(Boundary, Fault)], role: Role) -> Vec<Recorded> {
    let drive = Drive { faults: faults.to_vec(), record: vec![role], ..Drive::default() };
    shortest_of_three(lab, &drive, |driven| {
        assert!(driven.reached(), "{role:?}: {driven:?}");
        driven.calls
    })
}

/// What a process calls after somebody else was killed.
pub(crate) fn calls_after(lab: &Lab, dies: (Boundary, Fault), first: Role, second: Role) -> Vec<Recorded> {
    let drive = Drive { faults: vec![dies], record: vec![first, second], ..Drive::default() };
    shortest_of_three(lab, &drive, |driven| {
        let death = driven.calls.iter().position(|call| call.boundary == dies.0).unwrap_or(driven.calls.len());
        driven.calls.into_iter().skip(death).filter(|call| call.boundary.role == second).collect()
    })
}

/// The first, the middle and the last call of each name.
pub(crate) fn some_of_each(calls: &[Recorded]) -> Vec<&Recorded> {
    let of_a_name =
        |call: &Recorded| calls.iter().filter(|c| c.boundary.call == call.boundary.call).collect::<Vec<_>>();
    let is_chosen = |call: &&Recorded| {
        let all = of_a_name(call);
        [0, all.len() / 2, all.len() - 1].iter().any(|at| all[*at].boundary == call.boundary)
    };
    calls.iter().filter(is_chosen).collect()
}

/// The calls of one process while both live, each with the call of the other at which that one waits then, or which it
/// makes next. From one trace of both, since who waits for whom is to be seen only there.
pub(crate) fn meanwhile(lab: &Lab, role: Role, other: Role) -> Vec<(Recorded, Boundary)> {
    let calls = both_live(lab, role, other);
    let is_other = |call: &&Recorded| call.boundary.role == other;
    let stands = |at: usize| {
        let last = calls[..at].iter().rfind(is_other)?;
        let waits = last.boundary.call.name().ends_with("poll");
        if waits { Some(last) } else { calls[at..].iter().find(is_other) }
    };
    let of_role = calls.iter().enumerate().filter(|(_, call)| call.boundary.role == role);
    of_role.filter_map(|(at, call)| Some((call.clone(), stands(at)?.boundary))).collect()
}

/// What two processes call until the box is killed.
fn both_live(lab: &Lab, role: Role, other: Role) -> Vec<Recorded> {
    shortest_of_three(lab, &Drive::record(&[role, other]), |driven| {
        let mut calls = driven.calls;
        let kills = |call: &Recorded| {
            call.boundary.call == Call::named("pidfd_send_signal") || call.operand.ends_with("/cgroup.kill")
        };
        let of_supervisor = |call: &Recorded| call.boundary.role == Role::Supervisor && kills(call);
        calls.truncate(calls.iter().position(of_supervisor).expect("the kill of a box") + 1);
        calls
    })
}
