//! Who there is, and how far each has come.

/// A supervisor, or the same program recovering what another one left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Supervisor {
    /// Has not begun.
    Idle,
    /// Its keeper waits.
    HasKeeper,
    /// Holds the lock, under a name that nobody looks for.
    Locked,
    /// Its keeper holds the lock, too.
    HandedOver,
    /// The record is there for everybody to see.
    Recorded,
    /// The cgroup is there.
    Grouped,
    /// The init is born.
    Cloned,
    /// Membership and guards were read back from the kernel.
    ReadBack,
    /// The init was let go.
    Released,
    /// Everything in the cgroup was sent SIGKILL.
    Killed,
    /// The init was reaped, and the cgroup seen empty.
    Reaped,
    /// The cgroup is gone.
    Ungrouped,
    /// The record is gone, the lock with it.
    Unrecorded,
    /// Has said that nothing is left.
    Reported,
    /// The name was somebody else's.
    Refused,
    /// Recovery: holds the lock of a dead box.
    Recovering,
    /// Recovery: has killed.
    RecoveryKilled,
    /// Recovery: has seen the cgroup empty.
    RecoveryEmpty,
    /// Recovery: the cgroup is gone.
    RecoveryUngrouped,
    /// Was killed.
    Dead,
}

/// The process outside the box that cleans up after a dead supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Keeper {
    /// Not born.
    None,
    /// Waits on the supervisor's pidfd.
    Watching,
    /// Has killed.
    Killed,
    /// Has seen the cgroup empty.
    Empty,
    /// The cgroup is gone.
    Ungrouped,
    /// Has done its work, or was dismissed.
    Gone,
    /// Was killed.
    Dead,
}

/// How far an init has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum InitStage {
    /// Not born.
    None,
    /// Born.
    Born,
    /// Has asked for the parent-death signal.
    Armed,
    /// Has seen its supervisor alive after that.
    Looked,
    /// Is in the box's cgroups, as far as it knows, and waits for GO.
    Waiting,
    /// The payload runs.
    Running,
    /// Was sent SIGKILL.
    Dying,
    /// Is dead, and everything in its PID namespace with it.
    Dead,
}

/// The init of one supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Init {
    /// How far it has come.
    pub stage: InitStage,
    /// Whether the kernel has it in the box's cgroups.
    pub attached: bool,
    /// Whether the kernel kills it when its supervisor dies.
    pub armed: bool,
    /// Whether it does nothing any more by itself.
    pub wedged: bool,
}

impl Init {
    /// Whether anything of the box can run.
    #[must_use]
    pub fn lives(&self) -> bool {
        !matches!(self.stage, InitStage::None | InitStage::Dead)
    }
}

/// What somebody did that the protocol forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rogue {
    /// A box was killed, or its cgroup or record removed, by somebody else while its supervisor was alive.
    HarmedTheLiving,
    /// "Nothing is left" was said while something was.
    Lied,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The two supervisors.
    pub supervisors: [Supervisor; 2],
    /// Their keepers.
    pub keepers: [Keeper; 2],
    /// Their inits.
    pub inits: [Init; 2],
    /// Who holds the lock of the name: supervisor 0 and 1, keeper 0 and 1.
    pub holders: [bool; 4],
    /// Whose record is there.
    pub record: Option<usize>,
    /// Whose cgroup is there.
    pub cgroup: Option<usize>,
    /// Deaths that may still come.
    pub crashes: u8,
    /// Other things that may still go wrong.
    pub mishaps: u8,
    /// What was done that is forbidden.
    pub rogue: Option<Rogue>,
    /// Whose keeper was killed: nobody then promises anything without a recovery.
    pub keeper_died: [bool; 2],
}

impl State {
    /// Nothing has begun; so many may be killed, and so many other things may go wrong.
    #[must_use]
    pub fn new(crashes: u8, mishaps: u8) -> Self {
        let init = Init { stage: InitStage::None, attached: false, armed: false, wedged: false };
        Self {
            supervisors: [Supervisor::Idle; 2],
            keepers: [Keeper::None; 2],
            inits: [init; 2],
            holders: [false; 4],
            record: None,
            cgroup: None,
            crashes,
            mishaps,
            rogue: None,
            keeper_died: [false; 2],
        }
    }

    /// Whether anybody holds the lock of the name.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.holders.iter().any(|held| *held)
    }

    /// Whether this supervisor was killed.
    #[must_use]
    pub fn is_dead(&self, who: usize) -> bool {
        self.supervisors[who] == Supervisor::Dead
    }
}

/// What can happen. The number is that of a supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A supervisor takes its next step.
    Supervise(usize),
    /// It takes the lock of a dead box.
    Recover(usize),
    /// A keeper takes its next step.
    Keep(usize),
    /// An init takes its next step.
    Init(usize),
    /// A signal arrives.
    Die(usize),
    /// A supervisor is killed.
    KillSupervisor(usize),
    /// A keeper is killed.
    KillKeeper(usize),
    /// An init is killed by somebody.
    KillInit(usize),
    /// A change of credentials clears the parent-death signal.
    LoseSignal(usize),
    /// An init stops, or sleeps where nothing wakes it.
    Wedge(usize),
    /// The attach returns success and does nothing.
    AttachLies(usize),
}

impl Action {
    /// Whether it is a step that somebody takes unless killed, and not bad luck.
    #[must_use]
    pub fn is_progress(self) -> bool {
        matches!(self, Self::Supervise(_) | Self::Recover(_) | Self::Keep(_) | Self::Init(_) | Self::Die(_))
    }
}
