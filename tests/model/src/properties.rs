//! What must never be, and what must be true when nobody has anything left to do.

use crate::state::{Action, InitStage, Keeper, State, Supervisor};
use crate::step::Protocol;

/// A promise that a state breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// A payload runs that is not in the box's cgroup.
    RunsUnattached,
    /// A box runs of which there is no record.
    RunsUnrecorded,
    /// Two payloads of one name.
    TwoBoxes,
    /// Somebody harmed a box whose supervisor is alive.
    HarmedTheLiving,
    /// "Nothing is left" was said while something was.
    Lied,
    /// A supervisor is dead, and its box lives.
    OutlivesItsSupervisor,
    /// A supervisor is stuck.
    Stuck,
    /// A supervisor has ended in good order, and something of its box is left.
    LeftByALivingSupervisor,
    /// A supervisor is dead, its keeper was not killed, and something is left.
    LeftByAKeeper,
    /// Somebody could have recovered, and something is left.
    LeftByRecovery,
}

/// The first promise that a state breaks.
#[must_use]
pub fn broken(protocol: &Protocol, s: &State) -> Option<Broken> {
    use crate::state::Rogue;
    match s.rogue {
        Some(Rogue::HarmedTheLiving) => return Some(Broken::HarmedTheLiving),
        Some(Rogue::Lied) => return Some(Broken::Lied),
        None => {}
    }
    if s.inits.iter().any(|init| init.stage == InitStage::Running && !init.attached) {
        return Some(Broken::RunsUnattached);
    }
    // The payload must not run before there is a record of it, nor while somebody else could take its name for free.
    let unrecorded = |who: usize| s.inits[who].stage == InitStage::Running && s.record != Some(who);
    if (0..2).any(unrecorded) {
        return Some(Broken::RunsUnrecorded);
    }
    // Payloads, and not inits: one that was born on cgroup v1, was not attached yet and lost its supervisor is in nobody's
    // cgroup for the moment until it looks, and ends without having run anything.
    if s.inits.iter().filter(|init| init.stage == InitStage::Running).count() > 1 {
        return Some(Broken::TwoBoxes);
    }
    at_rest(protocol, s)
}

/// Promises about states in which nobody takes another step unless something happens to them.
#[expect(clippy::wildcard_enum_match_arm, reason = "who is in the middle of anything is stuck")]
fn at_rest(protocol: &Protocol, s: &State) -> Option<Broken> {
    let can = |action: Action| protocol.step(s, action).is_some();
    let moves = |recovers: bool| {
        Protocol::candidates()
            .filter(|action| action.is_progress() && (recovers || !matches!(action, Action::Recover(_))))
            .any(can)
    };
    if moves(false) {
        return None;
    }
    let left = s.record.is_some() || s.cgroup.is_some();
    for who in 0..2 {
        let of_his = s.record == Some(who) || s.cgroup == Some(who);
        match s.supervisors[who] {
            Supervisor::Dead if s.inits[who].lives() => return Some(Broken::OutlivesItsSupervisor),
            Supervisor::Dead if of_his && !s.keeper_died[who] => return Some(Broken::LeftByAKeeper),
            Supervisor::Reported if of_his => return Some(Broken::LeftByALivingSupervisor),
            Supervisor::Reported | Supervisor::Refused | Supervisor::Dead => {}
            Supervisor::Idle => {}
            _ => return Some(Broken::Stuck),
        }
        if s.keepers[who] == Keeper::Killed {
            return Some(Broken::Stuck);
        }
    }
    let somebody = s.supervisors.iter().any(|one| matches!(one, Supervisor::Reported | Supervisor::Refused));
    (left && somebody && !moves(true)).then_some(Broken::LeftByRecovery)
}
