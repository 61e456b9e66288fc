//! What the steps do to what is shared: cgroup, record, locks, processes.

use crate::state::{InitStage, Keeper, Rogue, State, Supervisor};

/// The next step of a recovery.
pub(crate) fn recovers(s: &mut State, who: usize) -> bool {
    use Supervisor as S;
    let stage = s.supervisors[who];
    s.supervisors[who] = if stage == S::Recovering {
        if let Some(owner) = s.cgroup {
            kill_cgroup_of(s, who, owner);
        }
        S::RecoveryKilled
    } else if stage == S::RecoveryKilled {
        if s.cgroup.is_some_and(|owner| s.inits[owner].attached && s.inits[owner].lives()) {
            return false;
        }
        S::RecoveryEmpty
    } else if stage == S::RecoveryEmpty {
        if let Some(owner) = s.cgroup {
            harm(s, who, owner);
            s.cgroup = None;
        }
        S::RecoveryUngrouped
    } else {
        if let Some(owner) = s.record {
            harm(s, who, owner);
            s.record = None;
        }
        s.holders[who] = false;
        S::Refused
    };
    true
}

pub(crate) fn gone(keeper: Keeper) -> Keeper {
    if keeper == Keeper::Watching { Keeper::Gone } else { keeper }
}

/// What is in the cgroup gets SIGKILL; the supervisor's own init besides, by its pidfd.
pub(crate) fn kill_cgroup(s: &mut State, who: usize) {
    doom(s, who);
}

/// Somebody else kills what is in a cgroup.
pub(crate) fn kill_cgroup_of(s: &mut State, by: usize, owner: usize) {
    harm(s, by, owner);
    if s.inits[owner].attached {
        doom(s, owner);
    }
}

/// Whether somebody acts on a box of a supervisor that is alive and at work: by 0 and 1 a supervisor, by 2 and 3 a keeper.
pub(crate) fn harm(s: &mut State, by: usize, owner: usize) {
    let at_work = s.supervisors[owner] > Supervisor::Locked && s.supervisors[owner] < Supervisor::Unrecorded;
    if by != owner && at_work {
        s.rogue.get_or_insert(Rogue::HarmedTheLiving);
    }
}

pub(crate) fn remove_cgroup(s: &mut State, who: usize) {
    if s.cgroup == Some(who) {
        s.cgroup = None;
    }
}

pub(crate) fn remove_record(s: &mut State, who: usize) {
    if s.record == Some(who) {
        s.record = None;
    }
}

pub(crate) fn doom(s: &mut State, who: usize) -> bool {
    let lives = s.inits[who].lives();
    if lives {
        s.inits[who].stage = InitStage::Dying;
    }
    lives
}

/// A signal that was sent arrives, or the parent-death signal is sent.
pub(crate) fn die(s: &mut State, who: usize) -> bool {
    let orphan = s.is_dead(who);
    let init = &mut s.inits[who];
    if init.stage == InitStage::Dying || init.lives() && orphan && init.armed {
        init.stage = InitStage::Dead;
        return true;
    }
    false
}

pub(crate) fn crash(s: &mut State) -> bool {
    let may = s.crashes > 0;
    s.crashes = s.crashes.saturating_sub(1);
    may
}

pub(crate) fn kill_supervisor(s: &mut State, who: usize) -> bool {
    let over =
        matches!(s.supervisors[who], Supervisor::Dead | Supervisor::Idle | Supervisor::Reported | Supervisor::Refused);
    if over || !crash(s) {
        return false;
    }
    s.supervisors[who] = Supervisor::Dead;
    s.holders[who] = false;
    true
}

pub(crate) fn kill_keeper(s: &mut State, who: usize) -> bool {
    let over = matches!(s.keepers[who], Keeper::None | Keeper::Gone | Keeper::Dead);
    if over || !crash(s) {
        return false;
    }
    s.keepers[who] = Keeper::Dead;
    s.keeper_died[who] = true;
    s.holders[2 + who] = false;
    true
}

pub(crate) fn mishap(s: &mut State, who: usize, happens: impl FnOnce(&mut crate::state::Init) -> bool) -> bool {
    if s.mishaps == 0 || !s.inits[who].lives() || s.inits[who].stage == InitStage::Dying {
        return false;
    }
    s.mishaps -= 1;
    happens(&mut s.inits[who])
}
