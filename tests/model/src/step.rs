//! The transition function: what can happen, and what it leads to.

use crate::effects::{
    crash, die, doom, gone, harm, kill_cgroup, kill_cgroup_of, kill_keeper, kill_supervisor, mishap, recovers,
    remove_cgroup, remove_record,
};
use crate::state::{Action, InitStage, Keeper, Rogue, State, Supervisor};

/// A step of the protocol that can be left out, to see what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A keeper is started.
    Keeper,
    /// Only one takes the lock.
    Lock,
    /// The keeper gets the lock, too.
    HandOver,
    /// The record is written before there is anything to clean.
    Record,
    /// The init is in the cgroup before the payload runs.
    Attach,
    /// The parent-death signal.
    Arm,
    /// The init looks at its supervisor's pidfd in every wait.
    Watch,
    /// Membership is read back before the release.
    ReadBack,
    /// The init waits for GO.
    Go,
    /// Everything in the cgroup is killed at the end.
    Kill,
    /// The end of the init is waited for.
    Reap,
    /// The cgroup is removed.
    Remove,
    /// The record is removed.
    Forget,
    /// What a dead supervisor and its dead keeper left is collected.
    Recover,
}

impl Step {
    /// Every step.
    pub const ALL: [Self; 14] = [
        Self::Keeper,
        Self::Lock,
        Self::HandOver,
        Self::Record,
        Self::Attach,
        Self::Arm,
        Self::Watch,
        Self::ReadBack,
        Self::Go,
        Self::Kill,
        Self::Reap,
        Self::Remove,
        Self::Forget,
        Self::Recover,
    ];
}

/// The protocol, or one without a step.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    /// What is left out.
    pub without: Option<Step>,
    /// How many may be killed.
    pub crashes: u8,
}

impl Protocol {
    /// The whole of it.
    #[must_use]
    pub fn whole(crashes: u8) -> Self {
        Self { without: None, crashes }
    }

    fn has(&self, step: Step) -> bool {
        self.without != Some(step)
    }

    /// Everything that may be tried in a state; [`Self::step`] says whether it can be done.
    pub fn candidates() -> impl Iterator<Item = Action> {
        let of = |who: usize| {
            [
                Action::Supervise(who),
                Action::Recover(who),
                Action::Keep(who),
                Action::Init(who),
                Action::Die(who),
                Action::KillSupervisor(who),
                Action::KillKeeper(who),
                Action::KillInit(who),
                Action::LoseSignal(who),
                Action::Wedge(who),
                Action::AttachLies(who),
            ]
        };
        of(0).into_iter().chain(of(1))
    }

    /// What an action leads to; none when it cannot happen.
    #[must_use]
    pub fn step(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        let done = match action {
            Action::Supervise(who) => self.supervise(&mut next, who),
            Action::Recover(who) => self.recover(&mut next, who),
            Action::Keep(who) => self.keep(&mut next, who),
            Action::Init(who) => self.init(&mut next, who),
            Action::Die(who) => die(&mut next, who),
            Action::KillSupervisor(who) => kill_supervisor(&mut next, who),
            Action::KillKeeper(who) => kill_keeper(&mut next, who),
            Action::KillInit(who) => next.inits[who].lives() && crash(&mut next) && doom(&mut next, who),
            Action::LoseSignal(who) => mishap(&mut next, who, |init| std::mem::replace(&mut init.armed, false)),
            // Until it waits for GO it has no payload, and nothing that could wedge it.
            Action::Wedge(who) => {
                state.inits[who].stage >= InitStage::Waiting
                    && mishap(&mut next, who, |init| !std::mem::replace(&mut init.wedged, true))
            }
            Action::AttachLies(who) => {
                state.inits[who].stage == InitStage::Looked
                    && mishap(&mut next, who, |init| {
                        init.stage = InitStage::Waiting;
                        true
                    })
            }
        };
        (done && next != *state).then_some(next)
    }

    fn supervise(&self, s: &mut State, who: usize) -> bool {
        use Supervisor as S;
        let next = match s.supervisors[who] {
            S::Idle => {
                if self.has(Step::Keeper) {
                    s.keepers[who] = Keeper::Watching;
                }
                S::HasKeeper
            }
            S::HasKeeper => {
                if self.has(Step::Lock) && (s.is_locked() || s.record.is_some()) {
                    // Busy, or a dead box's: that one is recovered first, or the run refused.
                    s.keepers[who] = gone(s.keepers[who]);
                    S::Refused
                } else {
                    s.holders[who] = true;
                    S::Locked
                }
            }
            S::Locked => {
                s.holders[2 + who] = self.has(Step::HandOver) && s.keepers[who] == Keeper::Watching;
                S::HandedOver
            }
            S::HandedOver => {
                if self.has(Step::Record) {
                    s.record = Some(who);
                }
                S::Recorded
            }
            S::Recorded => {
                s.cgroup = Some(who);
                S::Grouped
            }
            S::Grouped => {
                s.inits[who].stage = InitStage::Born;
                S::Cloned
            }
            S::Cloned => return self.read_back(s, who),
            S::ReadBack => S::Released,
            // The main process ends, or a limit is reached, whenever it likes.
            S::Released => {
                if self.has(Step::Kill) {
                    kill_cgroup(s, who);
                }
                S::Killed
            }
            S::Killed if s.inits[who].lives() && self.has(Step::Reap) => return false,
            S::Killed => S::Reaped,
            S::Reaped => {
                if self.has(Step::Remove) && !s.inits[who].lives() {
                    remove_cgroup(s, who);
                }
                S::Ungrouped
            }
            S::Ungrouped => {
                if self.has(Step::Forget) {
                    remove_record(s, who);
                }
                s.keepers[who] = gone(s.keepers[who]);
                (s.holders[who], s.holders[2 + who]) = (false, false);
                S::Unrecorded
            }
            S::Unrecorded => {
                if s.inits[who].lives() {
                    s.rogue.get_or_insert(Rogue::Lied);
                }
                S::Reported
            }
            S::Recovering | S::RecoveryKilled | S::RecoveryEmpty | S::RecoveryUngrouped => return recovers(s, who),
            S::Reported | S::Refused | S::Dead => return false,
        };
        s.supervisors[who] = next;
        true
    }

    /// Waits for *armed*, reads back, and refuses by killing when something is not as it should be.
    fn read_back(&self, s: &mut State, who: usize) -> bool {
        let init = s.inits[who];
        let waits = init.stage >= InitStage::Waiting;
        if !waits && !init.wedged {
            return false;
        }
        let in_place = init.stage == InitStage::Waiting || init.stage == InitStage::Running && !self.has(Step::Go);
        let attached = init.attached || !self.has(Step::Attach);
        let armed = init.armed || !self.has(Step::Arm);
        if in_place && (attached && armed || !self.has(Step::ReadBack)) {
            s.supervisors[who] = Supervisor::ReadBack;
        } else {
            doom(s, who);
            kill_cgroup(s, who);
            s.supervisors[who] = Supervisor::Killed;
        }
        true
    }

    fn recover(&self, s: &mut State, who: usize) -> bool {
        let left = s.record.is_some() || s.cgroup.is_some();
        let idle = matches!(s.supervisors[who], Supervisor::Refused | Supervisor::Reported);
        if !self.has(Step::Recover) || !left || !idle || self.has(Step::Lock) && s.is_locked() {
            return false;
        }
        s.holders[who] = true;
        s.supervisors[who] = Supervisor::Recovering;
        true
    }

    fn keep(&self, s: &mut State, who: usize) -> bool {
        if !s.is_dead(who) {
            return false;
        }
        s.keepers[who] = match s.keepers[who] {
            Keeper::Watching if !s.holders[2 + who] && self.has(Step::HandOver) => Keeper::Gone,
            Keeper::Watching => {
                if let Some(owner) = s.cgroup {
                    kill_cgroup_of(s, 2 + who, owner);
                }
                Keeper::Killed
            }
            Keeper::Killed if s.cgroup.is_some_and(|owner| s.inits[owner].attached && s.inits[owner].lives()) => {
                return false;
            }
            Keeper::Killed => Keeper::Empty,
            Keeper::Empty => {
                if let Some(owner) = s.cgroup {
                    harm(s, 2 + who, owner);
                    s.cgroup = None;
                }
                Keeper::Ungrouped
            }
            Keeper::Ungrouped => {
                if let Some(owner) = s.record {
                    harm(s, 2 + who, owner);
                    s.record = None;
                }
                s.holders[2 + who] = false;
                Keeper::Gone
            }
            Keeper::None | Keeper::Gone | Keeper::Dead => return false,
        };
        true
    }

    fn init(&self, s: &mut State, who: usize) -> bool {
        let orphan = s.is_dead(who);
        let released = s.supervisors[who] == Supervisor::Released;
        let init = &mut s.inits[who];
        if init.wedged {
            return false;
        }
        init.stage = match init.stage {
            InitStage::Born => {
                // Asked for after the parent's death it never comes.
                init.armed = self.has(Step::Arm) && !orphan;
                InitStage::Armed
            }
            InitStage::Armed if orphan && self.has(Step::Watch) => InitStage::Dead,
            InitStage::Armed => InitStage::Looked,
            InitStage::Looked => {
                init.attached = self.has(Step::Attach);
                InitStage::Waiting
            }
            InitStage::Waiting if orphan && self.has(Step::Go) => InitStage::Dead,
            InitStage::Waiting if released || !self.has(Step::Go) => InitStage::Running,
            InitStage::Running if orphan && self.has(Step::Watch) => InitStage::Dead,
            InitStage::None | InitStage::Waiting | InitStage::Running | InitStage::Dying | InitStage::Dead => {
                return false;
            }
        };
        true
    }
}
