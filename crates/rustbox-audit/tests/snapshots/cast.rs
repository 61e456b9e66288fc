//! The cast of a world: independent parts, each with what an auditor must say of it.

use rustbox_audit::{BoxMarks, Phase, PidNamespaceMark, ProcFile};
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

    fn stranger(&mut self) {
        let comm = self.comm();
        let process = self.host_process(comm);
        self.world.processes.push(process);
    }

    fn stranger_named(&mut self) {
        let process = self.host_process(b"rustbox-init".to_vec());
        self.world.processes.push(process);
    }

    fn container(&mut self) {
        let namespace = self.namespace();
        for pid_inside in 1..=2 {
            let mut process = self.host_process(b"nginx".to_vec());
            process.lineage = vec![namespace];
            process.pid_inside = pid_inside;
            self.world.processes.push(process);
        }
    }

    fn recorded_pid(&mut self, older_by: u64) {
        let index = self.add_box(Phase::Abandoned);
        let process = self.host_process(b"rustbox-init".to_vec());
        self.hazard(if older_by == 0 { "same pid and start time" } else { "pid reuse" });
        let init = ProcessKey { pid: process.pid, starttime_ticks: process.start - older_by };
        self.world.boxes[index].marks.init = Some(init);
        self.world.processes.push(process);
    }

    fn recycled_namespace(&mut self) {
        let index = self.add_box(Phase::Abandoned);
        let namespace = self.world.boxes[index].marks.pid_namespace.as_ref().unwrap().inode();
        self.world.boxes[index].marks.init = Some(ProcessKey { pid: 999, starttime_ticks: 99_000 });
        self.hazard("recycled namespace number");
        for pid_inside in 1..=2 {
            let mut process = self.host_process(b"nginx".to_vec());
            process.lineage = vec![namespace];
            process.pid_inside = pid_inside;
            self.world.processes.push(process);
        }
    }

    fn leased_uid(&mut self) {
        let mut process = self.host_process(b"cron".to_vec());
        process.uid = UID_FIRST + 900;
        self.hazard("foreign process with a leased uid");
        self.world.processes.push(process);
        self.expect(FindingKind::CoverageGap, self.world.processes.len() - 1);
    }

    /// Its link is forbidden, and its `status` shows that it has one pid: that of the host's namespace.
    fn privileged(&mut self) {
        let mut process = self.host_process(b"init".to_vec());
        for state in process.states.iter_mut().flatten() {
            state.denied = Some(ProcFile::PidNamespace);
        }
        self.world.processes.push(process);
    }

    fn unreadable(&mut self) {
        let mut process = self.host_process(b"secret".to_vec());
        process.lineage = vec![self.namespace()];
        for state in process.states.iter_mut().flatten() {
            state.denied = Some(ProcFile::PidNamespace);
        }
        self.hazard("unreadable");
        self.world.processes.push(process);
        self.world.expected.push((FindingKind::CoverageGap, Target::Nothing));
    }

    fn ending_stranger(&mut self) {
        let mut process = self.host_process(b"make".to_vec());
        for state in process.states.iter_mut().flatten() {
            state.ends_after = Some(usize::try_from(self.dice.below(4)).unwrap());
        }
        self.hazard("ends while it is read");
        self.world.processes.push(process);
    }

    /// A live box: an init inside, and a payload at these places, relative to its own box.
    fn live(&mut self, places: &[Place; 3], finding: Option<FindingKind>) {
        let index = self.add_box(Phase::Live);
        self.add_member(index, self.always(Life::Alive, Place::In(index)));
        let own = |place: &Place| match place {
            Place::In(_) => Place::In(index),
            Place::Partly(_) => Place::Partly(index),
            Place::Root => Place::Root,
        };
        let states = places.iter().map(|place| Some(State::new(Life::Alive, own(place)))).collect();
        let payload = self.add_member(index, states);
        if let Some(kind) = finding {
            self.expect(kind, payload);
        }
    }

    fn live_outside(&mut self) {
        self.live(&[Place::Root; 3], Some(FindingKind::OrphanDetected));
    }

    fn live_partly(&mut self) {
        if self.world.shape == Shape::V2 {
            return self.live_outside();
        }
        self.live(&[Place::In(0), Place::Partly(0), Place::Partly(0)], Some(FindingKind::OrphanDetected));
    }

    fn live_and_back(&mut self) {
        self.live(&[Place::In(0), Place::Root, Place::In(0)], Some(FindingKind::TransientEscape));
    }

    fn live_and_gone(&mut self) {
        let index = self.add_box(Phase::Live);
        self.add_member(index, self.always(Life::Alive, Place::In(index)));
        let outside = Some(State::new(Life::Alive, Place::Root));
        let payload = self.add_member(index, vec![outside, None, None]);
        self.expect(FindingKind::TransientEscape, payload);
    }

    fn birth(&mut self) {
        let index = self.add_box(Phase::Live);
        let place = [Place::Root, Place::Partly(index), Place::In(index)];
        let states = place.map(|place| Some(State::new(Life::Alive, place))).to_vec();
        let init = self.add_member(index, states);
        // Younger than the patience for births: 5 s before the first look.
        self.world.processes[init].start = 500_000 - 100;
        self.world.boxes[index].marks.init =
            Some(ProcessKey { pid: self.world.processes[init].pid, starttime_ticks: 500_000 - 100 });
        self.world.boxes[index].directories = vec![true; 3];
        self.hazard("birth");
    }

    fn birth_unrecorded(&mut self) {
        self.birth();
        let marks = &mut self.world.boxes.last_mut().unwrap().marks;
        (marks.pid_namespace, marks.audit_session, marks.init, marks.uid) = (None, None, None, None);
    }

    fn dying(&mut self) {
        let index = self.add_box(Phase::Live);
        self.add_member(index, self.always(Life::Alive, Place::In(index)));
        let inside = Place::In(index);
        let state = |life| Some(State::new(life, inside));
        let second = *self.dice.pick(&[Life::Dying, Life::Zombie]);
        let mut states = vec![state(Life::Alive), state(second), None];
        if second == Life::Dying && self.dice.one_in(3) {
            // Its init has to reap it, and has had no time yet: an auditor looks again.
            states[2] = state(Life::Zombie);
            self.world.may_be_unsettled = true;
        }
        let payload = self.add_member(index, states);
        // The payload's own child: nobody of ours has to reap it while the box runs.
        let parent = self.world.processes[payload].pid;
        let child = self.add_member(index, self.always(Life::Zombie, inside));
        self.world.processes[child].ppid = parent;
        self.hazard("exiting: cgroup reads / on v1");
    }

    /// A child that is listed before the kernel has put it into its parent's cgroups.
    fn newborn(&mut self) {
        let index = self.add_box(Phase::Live);
        self.add_member(index, self.always(Life::Alive, Place::In(index)));
        let inside = Place::In(index);
        let state = |life| Some(State::new(life, inside));
        let after = if self.dice.one_in(2) { state(Life::Alive) } else { None };
        let look = usize::try_from(self.dice.below(3)).unwrap();
        let mut states = vec![None; 3];
        states[look] = state(Life::Newborn);
        states[look + 1..].fill(after);
        self.add_member(index, states);
        self.hazard("being born: cgroup reads /");
    }

    /// Its supervisor is gone, and the kernel has sent SIGKILL to what it left: nobody escaped.
    fn killed(&mut self) {
        let index = self.add_box(Phase::Abandoned);
        let state = |life| Some(State::new(life, Place::In(index)));
        let states = vec![state(Life::Killed), state(Life::Killed), None];
        self.add_member(index, states.clone());
        self.add_member(index, states);
        self.hazard("SIGKILL is pending");
    }

    fn leader_dead(&mut self, phase: Phase) {
        let index = self.add_box(phase);
        self.add_member(index, self.always(Life::Alive, Place::In(index)));
        let payload = self.add_member(index, self.always(Life::LeaderDead, Place::In(index)));
        self.hazard("leader dead, threads alive");
        if phase == Phase::Abandoned {
            self.expect(FindingKind::OrphanDetected, payload - 1);
            self.expect(FindingKind::OrphanDetected, payload);
            self.expect_leftovers(index);
        }
    }

    fn nested(&mut self, phase: Phase) {
        let index = self.add_box(phase);
        self.world.boxes[index].marks.audit_session = None;
        self.add_member(index, self.always(Life::Alive, Place::In(index)));
        // On an abandoned box it is known by its lineage alone: outside the cgroup, and no session.
        let place = if phase == Phase::Live { Place::In(index) } else { Place::Root };
        let inner = self.add_member(index, self.always(Life::Alive, place));
        let (outer, nested) = (self.world.processes[inner].lineage[0], self.namespace());
        self.world.processes[inner].lineage = vec![nested, outer];
        self.world.processes[inner].pid_inside = 1;
        self.hazard("nested namespace");
        if phase == Phase::Abandoned {
            self.expect(FindingKind::OrphanDetected, inner - 1);
            self.expect(FindingKind::OrphanDetected, inner);
            self.expect_leftovers(index);
        }
    }

    fn namespace_escape(&mut self) {
        let index = self.add_box(Phase::Live);
        self.world.boxes[index].marks.audit_session = Some(50 + u32::try_from(index).unwrap());
        self.add_member(index, self.always(Life::Alive, Place::In(index)));
        let escaped = self.add_member(index, self.always(Life::Alive, Place::In(index)));
        self.world.processes[escaped].lineage.clear();
        self.expect(FindingKind::OrphanDetected, escaped);
    }

    /// A box that another team runs without a PID namespace.
    fn session_only(&mut self, phase: Phase) {
        let index = self.add_box(phase);
        let session = 50 + u32::try_from(index).unwrap();
        let marks = &mut self.world.boxes[index].marks;
        (marks.pid_namespace, marks.audit_session, marks.init) = (None, Some(session), None);
        let place = if phase == Phase::Live { Place::In(index) } else { Place::Root };
        let payload = self.add_member(index, self.always(Life::Alive, place));
        if phase == Phase::Abandoned {
            self.expect(FindingKind::OrphanDetected, payload);
        }
    }

    fn cgroup_only(&mut self) {
        let index = self.add_box(Phase::Abandoned);
        self.world.boxes[index].marks.init = Some(ProcessKey { pid: 999, starttime_ticks: 99_000 });
        let joined = self.add_member(index, self.always(Life::Alive, Place::In(index)));
        let process = &mut self.world.processes[joined];
        (process.uid, process.session, process.ppid) = (0, SESSION_UNSET, 1);
        process.lineage.clear();
        self.expect(FindingKind::OrphanDetected, joined);
        self.expect_leftovers(index);
    }

    fn ends(&mut self) {
        let index = self.add_box(Phase::Live);
        let alive = State::new(Life::Alive, Place::In(index));
        let inside = Some(alive);
        let zombie = Some(State::new(Life::Zombie, Place::In(index)));
        let cut = Some(State { ends_after: Some(usize::try_from(self.dice.below(12)).unwrap()), ..alive });
        self.add_member(index, vec![inside, zombie, None]);
        self.add_member(index, vec![cut, None, None]);
        self.world.boxes[index].known_in = vec![true, true, false];
        self.world.boxes[index].directories = vec![true, false, false];
        self.hazard("ends while it is read");
        self.hazard("death");
    }

    fn begins(&mut self) {
        let index = self.add_box(Phase::Live);
        let inside = Some(State::new(Life::Alive, Place::In(index)));
        self.add_member(index, vec![None, inside, inside]);
        // Alive before the registry could name its box: seen with a leased uid and nothing else, once.
        self.add_member(index, vec![inside, inside, inside]);
        self.world.boxes[index].known_in = vec![false, true, true];
        self.hazard("birth");
    }

    fn unowned(&mut self, phase: Phase, kind: FindingKind) {
        let index = self.add_box(phase);
        let inside = self.dice.one_in(2);
        let place = if inside { Place::In(index) } else { Place::Root };
        let init = self.add_member(index, self.always(Life::Alive, place));
        let payload = self.add_member(index, self.always(Life::Alive, place));
        self.expect(kind, init);
        self.expect(kind, payload);
        self.expect_leftovers(index);
    }

    fn zombie(&mut self) {
        let index = self.add_box(Phase::Abandoned);
        // Its init is gone and it hangs on a parent outside, which can only be known by its session.
        self.world.boxes[index].marks.audit_session = Some(50 + u32::try_from(index).unwrap());
        self.add_member(index, vec![None; 3]);
        let dead = self.add_member(index, self.always(Life::Zombie, Place::In(index)));
        self.world.processes[dead].ppid = 1;
        self.hazard("zombie");
        self.expect(FindingKind::ZombieDetected, dead);
    }

    fn fleeting(&mut self) {
        let index = self.add_box(Phase::Abandoned);
        self.world.boxes[index].marks.audit_session = Some(50 + u32::try_from(index).unwrap());
        self.add_member(index, vec![None; 3]);
        let mut last = 0;
        for look in 0..3 {
            let mut states = vec![None; 3];
            states[look] = Some(State::new(Life::Alive, Place::Root));
            last = self.add_member(index, states);
        }
        self.world.may_be_unsettled = true;
        self.expect(FindingKind::OrphanDetected, last);
    }

    fn pid_given_away(&mut self) {
        let index = self.add_box(Phase::Abandoned);
        self.world.boxes[index].marks.audit_session = Some(50 + u32::try_from(index).unwrap());
        self.add_member(index, vec![None; 3]);
        let alive = Some(State::new(Life::Alive, Place::Root));
        let first = self.add_member(index, vec![alive, None, None]);
        // The same pid, a moment later: of the same dead box once more, and then a stranger's.
        let pid = self.world.processes[first].pid;
        let second = self.add_member(index, vec![None, alive, None]);
        let mut stranger = self.host_process(b"bash".to_vec());
        stranger.states = vec![None, None, alive];
        (self.world.processes[second].pid, stranger.pid) = (pid, pid);
        self.world.processes.push(stranger);
        self.hazard("pid reuse");
    }

    fn leftovers(&mut self) {
        let phase = *self.dice.pick(&[Phase::Abandoned, Phase::Closed]);
        let index = self.add_box(phase);
        self.world.boxes[index].marks.init = Some(ProcessKey { pid: 999, starttime_ticks: 99_000 });
        self.world.boxes[index].directories = vec![true; 3];
        self.expect_leftovers(index);
    }

    fn earlier_boot(&mut self) {
        let index = self.add_box(Phase::EarlierBoot);
        self.world.boxes[index].marks.record = Some("/state/b".into());
        self.world.boxes[index].record_is_there = true;
        // What it recorded names others now.
        let mut process = self.host_process(b"bash".to_vec());
        let marks = &self.world.boxes[index].marks;
        process.lineage = marks.pid_namespace.iter().map(PidNamespaceMark::inode).collect();
        process.session = marks.audit_session.unwrap_or(SESSION_UNSET);
        process.pid_inside = 1;
        self.hazard("marks from an earlier boot");
        self.world.processes.push(process);
        self.world.expected.push((FindingKind::StaleState, Target::Leftover(index)));
    }
}
