//! A small host, known through and through, and the kernel text that it would show.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustbox_audit::{
    BoxMarks, CgroupMark, CgroupSeen, CgroupState, Hierarchy, Look, Observer, PathSeen, Phase, ProcFile, Reading,
    Registry, SnapshotBuilder, Unread,
};
use rustbox_core::{FindingKind, ProcessKey};

pub(crate) const HOST_NAMESPACE: u64 = 4_026_531_836;
pub(crate) const AUDITOR: u32 = 700;
pub(crate) const UID_FIRST: u32 = 70_000;
const PF_EXITING: u32 = 4;

/// Which cgroups the host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Shape {
    V1,
    V2,
    Hybrid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Alive,
    /// Main thread dead, another one alive.
    LeaderDead,
    /// Listed already, and not in its cgroups yet.
    Newborn,
    /// SIGKILL was sent to it.
    Killed,
    Dying,
    Zombie,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the cgroups of the box with this index.
    In(usize),
    /// In the first of them, and out of the others.
    Partly(usize),
    Root,
}

/// A process in one look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    pub(crate) life: Life,
    pub(crate) place: Place,
    /// It ends when this many of its files were read.
    pub(crate) ends_after: Option<usize>,
    pub(crate) denied: Option<ProcFile>,
}

impl State {
    pub(crate) const fn new(life: Life, place: Place) -> Self {
        Self { life, place, ends_after: None, denied: None }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) start: u64,
    pub(crate) ppid: u32,
    pub(crate) uid: u32,
    pub(crate) session: u32,
    /// From the inside out, the host's left out.
    pub(crate) lineage: Vec<u64>,
    pub(crate) pid_inside: u32,
    pub(crate) comm: Vec<u8>,
    pub(crate) argv: Vec<u8>,
    /// One per look.
    pub(crate) states: Vec<Option<State>>,
}

/// A box: its marks, and in which looks the registry has it.
#[derive(Clone, Debug)]
pub(crate) struct BoxTruth {
    pub(crate) marks: BoxMarks,
    pub(crate) known_in: Vec<bool>,
    /// Whether its cgroup directories exist, per look.
    pub(crate) directories: Vec<bool>,
    /// Whether its record exists.
    pub(crate) record_is_there: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Target {
    Pid(u32),
    /// A box's leftovers, by its index; all paths of one box count as one.
    Leftover(usize),
    Nothing,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) shape: Shape,
    pub(crate) looks: usize,
    pub(crate) boxes: Vec<BoxTruth>,
    pub(crate) processes: Vec<Process>,
    pub(crate) expected: Vec<(FindingKind, Target)>,
    pub(crate) may_be_unsettled: bool,
    pub(crate) classes: Vec<&'static str>,
    pub(crate) hazards: Vec<&'static str>,
}

impl World {
    pub(crate) fn marks_of(shape: Shape, name: &str) -> Vec<CgroupMark> {
        let v1 = |controller: &str| Hierarchy::V1(controller.to_owned());
        let hierarchies = match shape {
            Shape::V2 => vec![Hierarchy::Unified],
            Shape::V1 => vec![v1("memory"), v1("pids")],
            Shape::Hybrid => vec![Hierarchy::Unified, v1("memory"), v1("pids")],
        };
        let mark = |(index, hierarchy)| CgroupMark {
            hierarchy,
            path: format!("/{name}").into_bytes(),
            directory: PathBuf::from(format!("/cg{index}/{name}")),
        };
        hierarchies.into_iter().enumerate().map(mark).collect()
    }

    /// Whether nothing at all is to be said of a process. A box whose directories are there for a while may be told of.
    pub(crate) fn is_innocent(&self, target: Target) -> bool {
        matches!(target, Target::Pid(_)) && self.expected.iter().all(|(_, guilty)| *guilty != target)
    }

    /// What the looks of an auditor at this host are.
    pub(crate) fn looks(&self, bug: Option<Bug>) -> Vec<Look> {
        // The third look is late enough for a zombie to count.
        const TIMES_MS: [u64; 4] = [0, 100, 2_700, 2_900];
        (0..self.looks).map(|look| self.look(look, Duration::from_millis(5_000_000 + TIMES_MS[look]), bug)).collect()
    }

    fn look(&self, look: usize, since_boot: Duration, bug: Option<Bug>) -> Look {
        let known: Vec<usize> = (0..self.boxes.len()).filter(|index| self.boxes[*index].known_in[look]).collect();
        let mut registry = Registry {
            boxes: known.iter().map(|index| self.boxes[*index].marks.clone()).collect(),
            uids: Some(UID_FIRST..=UID_FIRST + 999),
            ..Registry::default()
        };
        if let Some(bug) = bug {
            bug.damage(&mut registry, &self.processes);
        }
        let cgroups = self.cgroups(look, &known, &registry, bug);
        let paths = self.paths(&known);
        let observer = Observer {
            pid: AUDITOR,
            pid_namespace: HOST_NAMESPACE,
            audit_session: Some(3),
            kernel: "6.18.0".to_owned(),
        };
        let mut builder = SnapshotBuilder::new(observer, &registry, cgroups, paths);
        builder.set_since_boot(since_boot);
        for process in &self.processes {
            // The second look of an auditor that is content with one look is the first look again.
            let look = if bug == Some(Bug::OneLook) { 0 } else { look };
            let Some(state) = process.states[look] else { continue };
            let mut reads = 0;
            let mut read = |file: ProcFile, text: &mut Vec<u8>| {
                reads += 1;
                if state.ends_after.is_some_and(|limit| reads > limit) {
                    return Err(Unread::Vanished);
                }
                if state.denied == Some(file) {
                    return Err(Unread::Denied);
                }
                self.text(process, state, file, text, bug)
            };
            builder.process(process.pid, &mut read, &mut |_inode| Ok(process.lineage.clone()));
        }
        let snapshot = builder.finish(&mut |pid, text| {
            let parent = self.processes.iter().find(|process| process.pid == pid).ok_or(Unread::Vanished)?;
            let state = parent.states[look].ok_or(Unread::Vanished)?;
            self.text(parent, state, ProcFile::Stat, text, bug)
        });
        Look { registry: Arc::new(registry), snapshot }
    }

    fn cgroups(&self, look: usize, known: &[usize], registry: &Registry, bug: Option<Bug>) -> Vec<CgroupSeen> {
        let mut seen = Vec::new();
        for (box_index, truth) in known.iter().enumerate() {
            if self.boxes[*truth].marks.phase == Phase::EarlierBoot {
                continue;
            }
            for mark_index in 0..registry.boxes[box_index].cgroups.len() {
                let members = self.processes.iter().filter(|process| {
                    process.states[look].is_some_and(|state| {
                        let inside = state.place == Place::In(*truth)
                            || (state.place == Place::Partly(*truth) && mark_index == 0);
                        inside && matches!(state.life, Life::Alive | Life::LeaderDead | Life::Killed)
                    })
                });
                let members: Vec<u32> = members.map(|process| process.pid).collect();
                let exists = self.boxes[*truth].directories[look];
                assert!(exists || members.is_empty(), "the kernel keeps the directory of a member");
                let members = if bug == Some(Bug::NoCgroupMark) { Vec::new() } else { members };
                let inode = 1000 + *truth as u64;
                let state =
                    if exists { Ok(CgroupState { inode, members, foreign_members: 0 }) } else { Err(Unread::Vanished) };
                seen.push(CgroupSeen { box_index, mark_index, state });
            }
        }
        seen
    }

    fn paths(&self, known: &[usize]) -> Vec<PathSeen> {
        let unowned = known.iter().enumerate().filter(|(_, truth)| {
            let marks = &self.boxes[**truth].marks;
            marks.record.is_some() && !matches!(marks.phase, Phase::Live | Phase::Unknown)
        });
        unowned
            .map(|(box_index, truth)| {
                let state = if self.boxes[*truth].record_is_there { Ok(77) } else { Err(Unread::Vanished) };
                PathSeen { box_index, path_index: None, state }
            })
            .collect()
    }

    fn text(
        &self,
        process: &Process,
        state: State,
        file: ProcFile,
        text: &mut Vec<u8>,
        bug: Option<Bug>,
    ) -> Reading<()> {
        let mut out = String::new();
        let exiting = match state.life {
            Life::Alive | Life::Newborn | Life::Killed => 0,
            Life::LeaderDead | Life::Dying | Life::Zombie => PF_EXITING,
        };
        let exiting = if bug == Some(Bug::BelievesTheDying) { 0 } else { exiting };
        let letter = match state.life {
            Life::LeaderDead | Life::Zombie if exiting != 0 => 'Z',
            Life::Newborn if bug != Some(Bug::BelievesTheNewborn) => 'R',
            Life::Alive | Life::Newborn | Life::Killed | Life::LeaderDead | Life::Dying | Life::Zombie => 'S',
        };
        match file {
            ProcFile::PidNamespace => {
                let inode = process.lineage.first().copied().unwrap_or(HOST_NAMESPACE);
                let _ = write!(out, "pid:[{inode}]");
            }
            ProcFile::SessionId => {
                let named = bug == Some(Bug::TrustsNames) && process.comm.starts_with(b"rustbox");
                let session = if named || (bug == Some(Bug::UidAccuses) && process.uid >= UID_FIRST + 900) {
                    self.boxes.iter().find_map(|truth| truth.marks.audit_session).unwrap_or(process.session)
                } else {
                    process.session
                };
                let _ = write!(out, "{session}");
            }
            ProcFile::Owner => {
                let _ = write!(out, "{}", process.uid);
            }
            ProcFile::Stat => {
                let threads = if state.life == Life::LeaderDead { 2 } else { 1 };
                let flags = 0x0040_0000 | exiting;
                let faults = if state.life == Life::Newborn { 0 } else { 229 };
                let start = if bug == Some(Bug::IgnoresStartTime) { 1 } else { process.start };
                let _ = write!(out, "{} (", process.pid);
                text.extend_from_slice(out.as_bytes());
                text.extend_from_slice(&process.comm);
                out.clear();
                let _ = writeln!(
                    out,
                    ") {letter} {} 1 1 0 -1 {flags} {faults} 0 0 0 0 0 0 0 20 0 {threads} 0 {start} 0 0 1844",
                    process.ppid
                );
            }
            ProcFile::Status => {
                let name = process.comm.escape_ascii();
                let uid = process.uid;
                let _ = write!(
                    out,
                    "Name:\t{name}\nState:\t{letter}\nPid:\t{}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nNSpid:\t{}",
                    process.pid, process.pid
                );
                for level in (0..process.lineage.len()).rev() {
                    let _ = write!(out, "\t{}", if level == 0 { process.pid_inside } else { 9 });
                }
                let killed = state.life == Life::Killed && bug != Some(Bug::IgnoresPendingKill);
                let _ = writeln!(out, "\nSigPnd:\t{:016x}\nShdPnd:\t0000000000000000", u64::from(killed) << 8);
            }
            ProcFile::Cgroup if state.life == Life::Newborn => {
                self.cgroup_text(State { place: Place::Root, ..state }, false, &mut out);
            }
            ProcFile::Cgroup => self.cgroup_text(state, exiting != 0, &mut out),
            ProcFile::LivingThreadCgroup if state.life == Life::LeaderDead => self.cgroup_text(state, false, &mut out),
            ProcFile::LivingThreadCgroup => return Err(Unread::Vanished),
            ProcFile::Exe => out.push_str("/usr/bin/true"),
            ProcFile::Cmdline => text.extend_from_slice(&process.argv),
            ProcFile::Wchan => out.push('0'),
        }
        text.extend_from_slice(out.as_bytes());
        Ok(())
    }

    fn cgroup_text(&self, state: State, exiting: bool, out: &mut String) {
        let path = |first: bool| match state.place {
            Place::In(index) => format!("/{}", self.boxes[index].marks.box_id.cgroup_name()),
            Place::Partly(index) if first => format!("/{}", self.boxes[index].marks.box_id.cgroup_name()),
            Place::Partly(_) | Place::Root => "/".to_owned(),
        };
        // The trap: on v1 whoever exits reads `/`, and on v2 the path stays.
        let v1 = |first: bool| if exiting { "/".to_owned() } else { path(first) };
        let removed = match state.place {
            Place::In(index) | Place::Partly(index) => exiting && self.boxes[index].marks.phase != Phase::Live,
            Place::Root => false,
        };
        let v2 = format!("{}{}", path(true), if removed { " (deleted)" } else { "" });
        let _ = match self.shape {
            Shape::V2 => writeln!(out, "0::{v2}"),
            Shape::V1 => {
                writeln!(out, "4:cpu,cpuacct:/\n3:memory:{}\n2:pids:{}\n1:name=systemd:/", v1(true), v1(false))
            }
            Shape::Hybrid => writeln!(out, "8:pids:{0}\n4:memory:{0}\n1:cpu:/\n0::{v2}", v1(false)),
        };
    }
}

/// A mistake that an auditor could make, put into what it is told or reads: the generator must catch each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    NoNamespaceMark,
    NoSessionMark,
    NoCgroupMark,
    UidAccuses,
    TrustsNames,
    BelievesTheDying,
    BelievesTheNewborn,
    IgnoresPendingKill,
    IgnoresStartTime,
    OneLook,
    TrustsNumbers,
}

impl Bug {
    pub(crate) const ALL: [Self; 11] = [
        Self::NoNamespaceMark,
        Self::NoSessionMark,
        Self::NoCgroupMark,
        Self::UidAccuses,
        Self::TrustsNames,
        Self::BelievesTheDying,
        Self::BelievesTheNewborn,
        Self::IgnoresPendingKill,
        Self::IgnoresStartTime,
        Self::OneLook,
        Self::TrustsNumbers,
    ];

    /// How the mistake shows.
    pub(crate) fn symptom(self) -> &'static str {
        match self {
            Self::NoNamespaceMark | Self::NoSessionMark | Self::NoCgroupMark => "missed",
            Self::UidAccuses
            | Self::TrustsNames
            | Self::BelievesTheDying
            | Self::BelievesTheNewborn
            | Self::IgnoresPendingKill
            | Self::IgnoresStartTime
            | Self::OneLook
            | Self::TrustsNumbers => "accused",
        }
    }

    fn damage(self, registry: &mut Registry, processes: &[Process]) {
        for marks in &mut registry.boxes {
            match self {
                Self::NoNamespaceMark => marks.pid_namespace = None,
                Self::NoSessionMark => marks.audit_session = None,
                Self::IgnoresStartTime => {
                    // All processes read 1 then, and so does the record: any pid is itself for ever.
                    let one = |key: ProcessKey| ProcessKey { starttime_ticks: 1, ..key };
                    marks.init = marks.init.map(one);
                    marks.supervisor = marks.supervisor.map(one);
                }
                Self::TrustsNumbers => {
                    // As if a namespace's number were its identity: whoever is pid 1 there passes for the box's init.
                    let inode = marks.pid_namespace.as_ref().map(|mark| mark.inode());
                    let first =
                        |process: &&Process| process.lineage.first().copied() == inode && process.pid_inside == 1;
                    let init = processes.iter().find(first).filter(|_| inode.is_some());
                    marks.init =
                        init.map(|init| ProcessKey { pid: init.pid, starttime_ticks: init.start }).or(marks.init);
                }
                Self::NoCgroupMark
                | Self::UidAccuses
                | Self::TrustsNames
                | Self::BelievesTheDying
                | Self::BelievesTheNewborn
                | Self::IgnoresPendingKill
                | Self::OneLook => {}
            }
        }
    }
}
