//! Which calls the processes of a box make: there they are killed.

use rustbox_tests::{Boundary, Call, Drive, Fault, Lab, Recorded, Role, wait_clean};

use crate::trial::victim;

/// The calls that a process makes when nothing is done to it.
pub(crate) fn calls_of(lab: &Lab, role: Role) -> Vec<Recorded> {
    let calls = shortest(lab, &[], role);
    assert!(calls.len() > 5, "{role:?}: {calls:?}");
    calls
}

/// The shortest of three traces of a process when these faults are made: who waits in a loop calls as often as the
/// scheduler lets it.
pub(crate) fn shortest(lab: &Lab, faults: &[(Boundary, Fault)], role: Role) -> Vec<Recorded> {
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

/// What a process calls after somebody else was killed: the shortest of three traces of both.
pub(crate) fn calls_after(lab: &Lab, dies: (Boundary, Fault), first: Role, second: Role) -> Vec<Recorded> {
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

/// What two processes call until the box is killed: the shortest of three traces.
fn both_live(lab: &Lab, role: Role, other: Role) -> Vec<Recorded> {
    let trace = || {
        let command = victim(lab);
        let driven = command.drive(&Drive::record(&[role, other]));
        let left = wait_clean(command.box_id(), &lab.state_dir());
        command.forget();
        assert!(left.is_empty(), "{left:?}");
        let mut calls = driven.calls;
        let kills = |call: &Recorded| {
            call.boundary.call == Call::named("pidfd_send_signal") || call.operand.ends_with("/cgroup.kill")
        };
        let of_supervisor = |call: &Recorded| call.boundary.role == Role::Supervisor && kills(call);
        calls.truncate(calls.iter().position(of_supervisor).expect("the kill of a box") + 1);
        calls
    };
    (0..3).map(|_| trace()).min_by_key(Vec::len).expect("a trace")
}
