//! The cast of a world: independent parts, each with what an auditor must say of it.

mod dead;
mod living;
mod strangers;

use rustbox_audit::{BoxMarks, Phase, PidNamespaceMark};
use rustbox_core::{FindingKind, ProcessKey};

use crate::random::Dice;
use crate::world::{BoxTruth, Life, Place, Process, Shape, State, Target, UID_FIRST, World};

pub(crate) const SESSION_UNSET: u32 = u32::MAX;
const NAMES: [&[u8]; 6] = [b"sleep", b"x) Z 1 1\nUid:\t0", b"rustbox-init", b"a b", b"\xff\xfe\x1b[31m", b")"];

/// Puts parts into a world until it is full.
pub(crate) struct Director<'d> {
    pub(crate) dice: &'d mut Dice,
    pub(crate) world: World,
    next_pid: u32,
    next_namespace: u64,
}

type Part = (&'static str, fn(&mut Director<'_>));

/// Every class of part.
pub(crate) const PARTS: [Part; 37] = [
    ("stranger", |d| d.stranger()),
    ("stranger named rustbox", |d| d.stranger_named()),
    ("stranger in a container", |d| d.container()),
    ("stranger with a recorded pid", |d| d.recorded_pid(1)),
    ("stranger with recorded pid and start time", |d| d.recorded_pid(0)),
    ("stranger in a recycled namespace number", |d| d.recycled_namespace()),
    ("stranger with a leased uid", |d| d.leased_uid()),
    ("stranger that cannot be read", |d| d.unreadable()),
    ("stranger with a namespace that cannot be read", |d| d.privileged()),
    ("stranger that ends while it is read", |d| d.ending_stranger()),
    ("live and healthy", |d| d.live(&[Place::In(0); 3], None)),
    ("live with payload outside", |d| d.live_outside()),
    ("live with payload partly outside", |d| d.live_partly()),
    ("live, outside and back", |d| d.live_and_back()),
    ("live, outside and gone", |d| d.live_and_gone()),
    ("live, being born", |d| d.birth()),
    ("live, being born without a record", |d| d.birth_unrecorded()),
    ("live, dying", |d| d.dying()),
    ("live, forks while it is looked at", |d| d.newborn()),
    ("abandoned, killed this moment", |d| d.killed()),
    ("live, leader dead", |d| d.leader_dead(Phase::Live)),
    ("live, nested namespace", |d| d.nested(Phase::Live)),
    ("live, escaped its namespace", |d| d.namespace_escape()),
    ("live, without a namespace", |d| d.session_only(Phase::Live)),
    ("live, ends between the looks", |d| d.ends()),
    ("live, begins between the looks", |d| d.begins()),
    ("abandoned, alive", |d| d.unowned(Phase::Abandoned, FindingKind::OrphanDetected)),
    ("closed, alive", |d| d.unowned(Phase::Closed, FindingKind::PostCleanupLeak)),
    ("abandoned, leader dead", |d| d.leader_dead(Phase::Abandoned)),
    ("abandoned, nested namespace", |d| d.nested(Phase::Abandoned)),
    ("abandoned, known by session only", |d| d.session_only(Phase::Abandoned)),
    ("abandoned, known by cgroup only", |d| d.cgroup_only()),
    ("abandoned, zombie not reaped", |d| d.zombie()),
    ("abandoned, forks and dies", |d| d.fleeting()),
    ("abandoned, pid given away", |d| d.pid_given_away()),
    ("leftovers", |d| d.leftovers()),
    ("record from an earlier boot", |d| d.earlier_boot()),
];

impl<'d> Director<'d> {
    pub(crate) fn new(dice: &'d mut Dice) -> Self {
        let shape = *dice.pick(&[Shape::V1, Shape::V2, Shape::Hybrid]);
        let world = World {
            shape,
            looks: 3,
            boxes: Vec::new(),
            processes: Vec::new(),
            expected: Vec::new(),
            may_be_unsettled: false,
            classes: Vec::new(),
            hazards: Vec::new(),
        };
        let mut director = Self { dice, world, next_pid: 1000, next_namespace: 4_026_532_000 };
        director.fixed(1, b"systemd");
        director.fixed(crate::world::AUDITOR, b"rustbox");
        director
    }

    fn fixed(&mut self, pid: u32, comm: &[u8]) {
        let mut process = self.host_process(comm.to_vec());
        process.pid = pid;
        self.world.processes.push(process);
    }

    fn hazard(&mut self, name: &'static str) {
        self.world.hazards.push(name);
    }

    fn comm(&mut self) -> Vec<u8> {
        let name = *self.dice.pick(&NAMES);
        if name.contains(&b')') {
            self.hazard("hostile comm");
        }
        name.to_vec()
    }

    fn argv(&mut self) -> Vec<u8> {
        if self.dice.one_in(4) {
            self.hazard("hostile argv");
            return vec![b'\n'; usize::try_from(self.dice.below(2000)).unwrap()];
        }
        b"/usr/bin/sleep\x0010\0".to_vec()
    }

    /// A process that is nobody's, alive in every look.
    fn host_process(&mut self, comm: Vec<u8>) -> Process {
        self.next_pid += 1;
        let argv = self.argv();
        Process {
            pid: self.next_pid,
            start: 100_000 + u64::from(self.next_pid),
            ppid: 1,
            uid: 0,
            session: SESSION_UNSET,
            lineage: Vec::new(),
            pid_inside: self.next_pid,
            comm,
            argv,
            states: vec![Some(State::new(Life::Alive, Place::Root)); self.world.looks],
        }
    }

    fn namespace(&mut self) -> u64 {
        self.next_namespace += 1;
        self.next_namespace
    }

    /// A box with a namespace of its own, a uid, and a session in half the cases; its directories are there as long as it
    /// is live.
    fn add_box(&mut self, phase: Phase) -> usize {
        let index = self.world.boxes.len();
        let namespace = self.namespace();
        let mut marks = BoxMarks::new(format!("b{index}").parse().unwrap(), phase);
        marks.cgroups = World::marks_of(self.world.shape, &marks.box_id.cgroup_name());
        marks.pid_namespace = Some(PidNamespaceMark::recorded(namespace));
        let session = self.dice.one_in(2);
        marks.audit_session = session.then(|| 50 + u32::try_from(index).unwrap());
        marks.uid = Some(UID_FIRST + u32::try_from(index).unwrap());
        marks.supervisor = Some(ProcessKey { pid: 600, starttime_ticks: 90_000 });
        marks.init = Some(ProcessKey { pid: 0, starttime_ticks: 0 });
        let exists = matches!(phase, Phase::Live | Phase::Unknown);
        let looks = self.world.looks;
        let truth =
            BoxTruth { marks, known_in: vec![true; looks], directories: vec![exists; looks], record_is_there: false };
        self.world.boxes.push(truth);
        index
    }

    /// A process of a box; the first one of a box is its init.
    fn add_member(&mut self, index: usize, states: Vec<Option<State>>) -> usize {
        let comm = self.comm();
        let mut process = self.host_process(comm);
        let marks = &mut self.world.boxes[index].marks;
        let is_init = marks.init.is_some_and(|init| init.pid == 0);
        if is_init {
            marks.init = Some(ProcessKey { pid: process.pid, starttime_ticks: process.start });
        }
        process.pid_inside = if is_init { 1 } else { 2 };
        process.ppid = if is_init { 600 } else { marks.init.map_or(1, |init| init.pid) };
        process.lineage = marks.pid_namespace.iter().map(PidNamespaceMark::inode).collect();
        process.session = marks.audit_session.unwrap_or(SESSION_UNSET);
        process.uid = if is_init { 0 } else { marks.uid.unwrap_or(0) };
        process.states = states;
        for (look, state) in process.states.iter().enumerate() {
            let inside =
                state.is_some_and(|state| matches!(state.place, Place::In(at) | Place::Partly(at) if at == index));
            if inside && matches!(state.unwrap().life, Life::Alive | Life::LeaderDead | Life::Killed) {
                self.world.boxes[index].directories[look] = true;
            }
        }
        self.world.processes.push(process);
        self.world.processes.len() - 1
    }

    fn always(&self, life: Life, place: Place) -> Vec<Option<State>> {
        vec![Some(State::new(life, place)); self.world.looks]
    }

    fn expect(&mut self, kind: FindingKind, at: usize) {
        let pid = self.world.processes[at].pid;
        self.world.expected.push((kind, Target::Pid(pid)));
    }

    /// What is left of a box that nobody owns, when its directories are there at the end.
    fn expect_leftovers(&mut self, index: usize) {
        let truth = &self.world.boxes[index];
        let last = self.world.looks - 1;
        if truth.directories[last] && truth.directories[last - 1] {
            let kind =
                if truth.marks.phase == Phase::Closed { FindingKind::PostCleanupLeak } else { FindingKind::StaleState };
            self.world.expected.push((kind, Target::Leftover(index)));
        }
    }
}
