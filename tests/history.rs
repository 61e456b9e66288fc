//! What a call of a real run is in the model: whose step, and how far they have come with it.

use rustbox_model::{InitStage, Keeper, Supervisor};
use rustbox_tests::{Boundary, Call, Recorded, Role};

/// How far somebody has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Came {
    Supervisor(Supervisor),
    Keeper(Keeper),
    Init(InitStage),
}

/// What a trace says, in its order, each with the call that leads there: who is killed before it has not come there.
pub(crate) fn steps(calls: &[Recorded]) -> Vec<(Came, Boundary)> {
    let mut steps: Vec<(Came, Boundary)> = Vec::new();
    for call in calls {
        let so_far: Vec<Came> = steps.iter().map(|(came, _)| *came).collect();
        steps.extend(meaning(call, &so_far).into_iter().map(|came| (came, call.boundary)));
    }
    steps
}

/// The first call that is one of these, in this order for each process.
fn meaning(call: &Recorded, so_far: &[Came]) -> Vec<Came> {
    use Came::{Init as I, Keeper as K, Supervisor as S};
    let is = |name: &str, part: &str| call.boundary.call == Call::named(name) && call.operand.contains(part);
    let first = |came: Came| !so_far.contains(&came);
    let after = |came: Came| so_far.contains(&came);
    let role = call.boundary.role;
    let table: &[(Role, bool, &[Came])] = &[
        (Role::Supervisor, is("clone3", "") && call.boundary.nth == 1, &[S(Supervisor::HasKeeper)]),
        (Role::Supervisor, is("flock", "/lock."), &[S(Supervisor::Locked)]),
        (Role::Supervisor, is("sendmsg", "") && after(S(Supervisor::Locked)), &[S(Supervisor::HandedOver)]),
        (Role::Supervisor, is("renameat2", "lock."), &[S(Supervisor::Recorded)]),
        (Role::Supervisor, is("mkdirat", "rustbox-"), &[S(Supervisor::Grouped)]),
        (Role::Supervisor, is("clone3", "") && call.boundary.nth == 2, &[S(Supervisor::Cloned)]),
        (Role::Init, is("prctl", "1") && call.operand == "1", &[I(InitStage::Armed)]),
        (Role::Init, is("ppoll", ""), &[I(InitStage::Looked)]),
        (Role::Init, is("sendmsg", ""), &[I(InitStage::Waiting)]),
        (Role::Supervisor, is("openat", "/fdinfo/"), &[S(Supervisor::ReadBack)]),
        (Role::Supervisor, is("sendmsg", "") && after(S(Supervisor::ReadBack)), &[S(Supervisor::Released)]),
        (Role::Init, is("clone", ""), &[I(InitStage::Running)]),
        (Role::Supervisor, is("write", "/cgroup.kill") || is("pidfd_send_signal", ""), &[S(Supervisor::Killed)]),
        (Role::Supervisor, is("waitid", ""), &[I(InitStage::Dead), S(Supervisor::Reaped)]),
        (Role::Supervisor, is("unlinkat", "rustbox-"), &[S(Supervisor::Ungrouped)]),
        (Role::Supervisor, is("unlinkat", "lock") && call.operand == "lock", &[S(Supervisor::Unrecorded)]),
        (Role::Supervisor, is("renameat", ".json.") && after(S(Supervisor::Unrecorded)), &[S(Supervisor::Reported)]),
        (Role::Keeper, is("recvmsg", ""), &[S(Supervisor::Dead)]),
        (Role::Keeper, is("openat", "/cgroup.kill"), &[K(Keeper::Killed)]),
        (Role::Keeper, is("unlinkat", "/rustbox-"), &[I(InitStage::Dead), K(Keeper::Empty), K(Keeper::Ungrouped)]),
        (Role::Keeper, is("unlinkat", "/boxes/") && call.operand.ends_with("/lock"), &[K(Keeper::Gone)]),
    ];
    let found = table.iter().filter(|(who, meets, _)| *who == role && *meets);
    let found = found.flat_map(|(_, _, came)| came.iter().copied());
    found.filter(|came| first(*came)).take(3).collect()
}
