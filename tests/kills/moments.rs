//! Moments of a life, one for each kind of thing that there then is to clean.

use rustbox_tests::{Boundary, Call, Recorded};

/// Of a supervisor: a lock without a record, cgroups without an init, an init that is held, a running payload, a dead box.
pub(crate) fn of_a_supervisor(calls: &[Recorded]) -> Vec<Boundary> {
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
    vec![after("renameat2"), last("mkdirat", "rustbox-"), after("setsockopt"), waits, first("waitid", "")]
}

/// Of an init: just born, armed, waiting for GO, making the root, about to fork, at its last wait.
pub(crate) fn of_an_init(calls: &[Recorded]) -> Vec<Boundary> {
    let is = |name: &'static str| move |call: &&Recorded| call.boundary.call == Call::named(name);
    let told = |found: Option<&Recorded>, name: &str| found.unwrap_or_else(|| panic!("no {name} of an init")).boundary;
    let first = |name: &'static str| told(calls.iter().find(is(name)), name);
    let last = |name: &'static str| told(calls.iter().rfind(is(name)), name);
    vec![calls[0].boundary, first("ppoll"), first("sendmsg"), first("pivot_root"), first("clone"), last("ppoll")]
}
