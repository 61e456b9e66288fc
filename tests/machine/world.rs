//! The reference: in which states of the model the host may be, and what an action can lead to.

use std::collections::HashSet;

use rustbox_model::{Action, InitStage, Keeper, Protocol, State, Supervisor};

/// What somebody does, by one name of a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Act {
    /// `rustbox run` of a payload that stays.
    Run,
    /// The same of one that ends at once; its supervisor is killed when it has come so far.
    RunKilled(Supervisor),
    /// The same, and its keeper when that has come so far.
    RunKilledWithKeeper(Supervisor, Keeper),
    /// The same, but its init is killed.
    RunInitKilled(InitStage),
    /// The payload ends.
    End,
    /// The supervisor gets SIGTERM.
    Interrupt,
    /// SIGKILL of one process of the box.
    Kill(Victim),
    /// SIGKILL of supervisor, keeper and init, one after the other.
    KillAll,
    /// SIGSTOP of the init.
    Wedge,
    /// `rustbox cleanup` of this name.
    Cleanup,
    /// `rustbox health --recover`.
    Recover,
    /// An operator removes the cgroups of a dead box by hand.
    RemoveCgroup,
    /// An operator removes the directory of a dead box by hand.
    RemoveRecord,
}

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Victim {
    Supervisor,
    Keeper,
    Init,
}

/// How far a supervisor has come when it is killed.
pub(crate) const SUPERVISORS: [Supervisor; 12] = [
    Supervisor::HasKeeper,
    Supervisor::Locked,
    Supervisor::HandedOver,
    Supervisor::Recorded,
    Supervisor::Grouped,
    Supervisor::Cloned,
    Supervisor::ReadBack,
    Supervisor::Released,
    Supervisor::Killed,
    Supervisor::Reaped,
    Supervisor::Ungrouped,
    Supervisor::Unrecorded,
];
/// How far a keeper has, of a supervisor that was killed while the payload ran.
const KEEPERS: [Keeper; 3] = [Keeper::Watching, Keeper::Empty, Keeper::Ungrouped];
/// How far an init has.
const INITS: [InitStage; 4] = [InitStage::Born, InitStage::Armed, InitStage::Looked, InitStage::Waiting];
/// Deaths and other mishaps that one action may bring; each action has its own.
const BUDGET: (u8, u8) = (3, 1);

/// What the kernel shows of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) supervisor: bool,
    pub(crate) keeper: bool,
    pub(crate) init: bool,
    pub(crate) payload: bool,
    pub(crate) locked: bool,
    pub(crate) record: bool,
    pub(crate) cgroup: bool,
}

impl Seen {
    pub(crate) fn of(s: &State) -> Self {
        let working = |keeper: &Keeper| !matches!(keeper, Keeper::None | Keeper::Gone | Keeper::Dead);
        Self {
            supervisor: s.supervisors.iter().any(|one| at_work(*one)),
            keeper: s.keepers.iter().any(working),
            init: s.inits.iter().any(rustbox_model::Init::lives),
            payload: s.inits.iter().any(|init| init.stage == InitStage::Running),
            locked: s.is_locked(),
            record: s.record.is_some(),
            cgroup: s.cgroup.is_some(),
        }
    }
}

fn at_work(supervisor: Supervisor) -> bool {
    use Supervisor as S;
    !matches!(supervisor, S::Idle | S::Reported | S::Refused | S::Dead)
}

/// The states that the host may be in.
#[derive(Clone, Debug)]
pub(crate) struct World(HashSet<State>);

/// Steps that nobody takes until somebody asks for them.
type Holds<'a> = &'a dyn Fn(&State, Action) -> bool;

/// A payload that stays.
fn stays(s: &State, action: Action) -> bool {
    matches!(action, Action::Supervise(who) if s.supervisors[who] == Supervisor::Released && s.inits[who].lives())
}

/// A payload that ends by itself.
fn ends(_: &State, _: Action) -> bool {
    false
}

impl World {
    /// Nothing has happened.
    pub(crate) fn new() -> Self {
        Self(HashSet::from([State { supervisors: [Supervisor::Refused; 2], ..State::new(0, 0) }]))
    }

    fn none() -> Self {
        Self(HashSet::new())
    }

    pub(crate) fn states(&self) -> impl Iterator<Item = &State> {
        self.0.iter()
    }

    /// Keeps the states that look like this.
    pub(crate) fn narrow(&mut self, seen: Seen) {
        self.0.retain(|state| Seen::of(state) == seen);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Also those of another world.
    pub(crate) fn or(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Everything that can come of this by itself, on the way and at its end.
    fn on_the_way(&self, holds: Holds<'_>) -> Self {
        let protocol = Protocol::whole(BUDGET.0);
        let (mut found, mut next): (HashSet<State>, Vec<State>) = (self.0.clone(), self.0.iter().cloned().collect());
        while let Some(state) = next.pop() {
            let free = Protocol::candidates().filter(|action| is_free(&state, *action, holds));
            for after in free.filter_map(|action| protocol.step(&state, action)) {
                if found.insert(after.clone()) {
                    next.push(after);
                }
            }
        }
        Self(found)
    }

    /// What can be when nobody has a step left.
    fn settled(&self, holds: Holds<'_>) -> Self {
        let protocol = Protocol::whole(BUDGET.0);
        let moves = |state: &State| {
            let mut free = Protocol::candidates().filter(|action| is_free(state, *action, holds));
            free.any(|action| protocol.step(state, action).is_some())
        };
        let rest = self.on_the_way(holds).0.into_iter().filter(|state| !moves(state));
        Self(rest.map(|state| State { crashes: 0, mishaps: 0, ..state }).collect())
    }

    /// Something is done in each state in which it can be done.
    fn acted(&self, action: impl Fn(&State) -> Option<Action>) -> Self {
        let protocol = Protocol::whole(BUDGET.0);
        let act = |state: &State| {
            let (crashes, mishaps) = BUDGET;
            let state = State { crashes, mishaps, ..state.clone() };
            action(&state).and_then(|action| protocol.step(&state, action)).unwrap_or(state)
        };
        Self(self.0.iter().map(act).collect())
    }

    fn only(&self, keep: impl Fn(&State) -> bool) -> Self {
        Self(self.0.iter().filter(|state| keep(state)).cloned().collect())
    }

    /// A new command, whose supervisor begins like this.
    fn command(&self, begins: Supervisor) -> Self {
        Self(self.0.iter().map(|state| renewed(state, begins)).collect())
    }

    /// A command that collects what is dead.
    fn recovered(&self) -> Self {
        let begun = self.command(Supervisor::Refused);
        let recover = |s: &State| free_slot(s).map(Action::Recover);
        begun.acted(recover).settled(&stays)
    }

    /// `rustbox run`: what a dead one has left is collected first. A cgroup without a record is somebody else's, as far as it
    /// knows: the box of another state directory. It is left alone, and the run fails and says so.
    fn run(&self) -> Self {
        let is_stale = |s: &State| s.record.is_some() && !s.is_locked();
        let is_strange = |s: &State| s.record.is_none() && s.cgroup.is_some();
        let strange = self.only(is_strange).command(Supervisor::Reported);
        let (stale, other) = (self.only(is_stale), self.only(|s| !is_stale(s) && !is_strange(s)));
        stale.recovered().or(other).command(Supervisor::Idle).settled(&stays).or(strange)
    }

    /// A run whose payload ends by itself, when one of its own has come so far.
    fn run_until(&self, is_there: impl Fn(&State) -> bool, action: Action) -> Self {
        let halts = |s: &State, step: Action| is_there(s) && step == action;
        self.command(Supervisor::Idle).on_the_way(&halts).only(&is_there)
    }

    /// A run that ended by itself: what a moment that was not reached comes to.
    pub(crate) fn run_through(&self) -> Self {
        self.command(Supervisor::Idle).settled(&ends)
    }

    /// What an action leads to.
    pub(crate) fn after(&self, act: Act) -> Self {
        Self(self.0.iter().map(calmed).collect()).done(act)
    }

    fn done(&self, act: Act) -> Self {
        let of_the_living = |action: fn(usize) -> Action| move |s: &State| living(s).map(action);
        match act {
            Act::Run => self.run(),
            Act::RunKilled(at) => self.killed_at(at).settled(&ends),
            Act::RunKilledWithKeeper(at, keeper) => {
                let is_there = |s: &State| s.keepers[0] == keeper;
                let halts = |s: &State, step: Action| is_there(s) && step == Action::Keep(0);
                let halted = self.killed_at(at).on_the_way(&halts).only(is_there);
                halted.acted(|_| Some(Action::KillKeeper(0))).settled(&ends)
            }
            Act::RunInitKilled(at) => {
                let halted = self.run_until(|s| s.inits[0].stage == at, Action::Init(0));
                halted.acted(|_| Some(Action::KillInit(0))).settled(&ends)
            }
            Act::End | Act::Interrupt => self.acted(of_the_living(Action::Supervise)).settled(&stays),
            Act::Kill(Victim::Supervisor) => self.acted(of_the_living(Action::KillSupervisor)).settled(&stays),
            Act::Kill(Victim::Keeper) => self.acted(of_the_living(Action::KillKeeper)).settled(&stays),
            Act::Kill(Victim::Init) => self.acted(of_the_living(Action::KillInit)).settled(&stays),
            Act::KillAll => {
                (0..2).map(|who| self.only(|s| living(s) == Some(who)).all_killed(who)).fold(Self::none(), Self::or)
            }
            Act::Wedge => self.acted(of_the_living(Action::Wedge)).settled(&stays),
            // A living box is killed for its operator, and its supervisor does the rest.
            Act::Cleanup => {
                let (alive, dead) = (self.only(|s| living(s).is_some()), self.only(|s| living(s).is_none()));
                alive.acted(of_the_living(Action::KillInit)).settled(&stays).or(dead.recovered())
            }
            Act::Recover => self.recovered(),
            Act::RemoveCgroup => Self(self.0.iter().map(|s| State { cgroup: None, ..s.clone() }).collect()),
            Act::RemoveRecord => Self(self.0.iter().map(|s| State { record: None, ..s.clone() }).collect()),
        }
    }

    /// One after the other, and each does what it can until it is its turn.
    fn all_killed(&self, who: usize) -> Self {
        let dead = self.acted(|_| Some(Action::KillSupervisor(who))).on_the_way(&stays);
        let both = dead.acted(|_| Some(Action::KillKeeper(who))).on_the_way(&stays);
        both.acted(|_| Some(Action::KillInit(who))).settled(&stays)
    }

    fn killed_at(&self, at: Supervisor) -> Self {
        let halted = self.run_until(|s| s.supervisors[0] == at, Action::Supervise(0));
        halted.acted(|_| Some(Action::KillSupervisor(0)))
    }

    fn all(&self, is_so: impl Fn(&State) -> bool) -> bool {
        self.0.iter().all(is_so)
    }

    /// What makes sense to be done.
    pub(crate) fn choices(&self) -> Vec<Act> {
        let mut choices = vec![Act::Run, Act::Cleanup, Act::Recover];
        let wedged = |s: &State| living(s).is_some_and(|who| s.inits[who].wedged);
        if self.all(|s| living(s).is_some()) {
            choices.extend([Victim::Supervisor, Victim::Keeper, Victim::Init].map(Act::Kill));
            choices.extend([Act::KillAll, Act::Interrupt]);
            if !self.0.iter().any(wedged) {
                choices.extend([Act::End, Act::Wedge]);
            }
        } else if self.all(is_blank) {
            // As often as all those together that are killed before anything can happen to them.
            choices.extend([Act::Run; 12]);
            choices.extend(SUPERVISORS.map(Act::RunKilled));
            choices.extend(KEEPERS.map(|keeper| Act::RunKilledWithKeeper(Supervisor::Released, keeper)));
            choices.extend(INITS.map(Act::RunInitKilled));
        } else {
            // What a dead box has left is what these are about.
            choices.extend([Act::Run, Act::Cleanup, Act::Recover]);
            choices.extend([Act::RemoveCgroup, Act::RemoveRecord]);
        }
        choices
    }
}

fn is_free(state: &State, action: Action, holds: Holds<'_>) -> bool {
    action.is_progress() && !matches!(action, Action::Recover(_)) && !holds(state, action)
}

fn is_blank(s: &State) -> bool {
    s.record.is_none() && s.cgroup.is_none() && living(s).is_none()
}

/// The supervisor that is at work.
fn living(s: &State) -> Option<usize> {
    (0..2).find(|who| at_work(s.supervisors[*who]))
}

/// A slot of which nothing is there any more.
fn is_bare(s: &State, who: usize) -> bool {
    let owns = s.record == Some(who) || s.cgroup == Some(who) || s.inits[who].lives();
    !owns && !at_work(s.supervisors[who])
}

fn free_slot(s: &State) -> Option<usize> {
    (0..2).find(|who| is_bare(s, *who))
}

/// A state with a new command in its free slot.
fn renewed(s: &State, begins: Supervisor) -> State {
    let mut next = s.clone();
    if let Some(who) = free_slot(s) {
        put(&mut next, who, begins);
    }
    next
}

/// A state in which nobody remembers how the commands before ended. Who has nothing to do is one that was refused.
fn calmed(s: &State) -> State {
    let mut next = s.clone();
    (0..2).filter(|who| is_bare(s, *who)).for_each(|who| put(&mut next, who, Supervisor::Refused));
    next
}

fn put(s: &mut State, who: usize, begins: Supervisor) {
    let blank = State::new(0, 0);
    s.supervisors[who] = begins;
    s.keepers[who] = blank.keepers[who];
    s.inits[who] = blank.inits[who];
    s.keeper_died[who] = false;
}
