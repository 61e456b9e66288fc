//! One look at a host, as plain data.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use rustbox_core::ProcessKey;

use crate::parse::{CgroupLine, Stat};
use crate::reading::{ProcFile, Reading, Unread};

/// What one look at the host gave: candidates in detail, everything else as a number.
#[derive(Clone, Debug)]
pub struct ProcSnapshot {
    /// Who looked.
    pub observer: Observer,
    /// When, by the wall clock; for people only.
    pub taken_at: SystemTime,
    /// When, since boot; what decisions are made of.
    pub since_boot: Duration,
    /// Every pid that was listed, in the order of the listing.
    pub pids: Vec<u32>,
    /// Processes with at least one mark of a box, the second marks included.
    pub candidates: Vec<ProcessSeen>,
    /// Ancestors of the candidates, by pid.
    pub ancestors: HashMap<u32, AncestorSeen>,
    /// Processes of which an attributing file could not be read, although they were there.
    pub unread: Vec<UnreadProcess>,
    /// How many listed processes ended before they were looked at.
    pub vanished: usize,
    /// The boxes' cgroup directories, in the order of the registry.
    pub cgroups: Vec<CgroupSeen>,
    /// The boxes' other paths, in the order of the registry.
    pub paths: Vec<PathSeen>,
}

/// Who looks: its own namespaces are where climbing ends, and its own session is nobody's mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observer {
    /// Its pid.
    pub pid: u32,
    /// Its PID namespace.
    pub pid_namespace: u64,
    /// Its audit session id; none when unset or when the kernel has none.
    pub audit_session: Option<u32>,
    /// Release of the kernel.
    pub kernel: String,
}

/// A process with a mark.
#[derive(Clone, Debug)]
pub struct ProcessSeen {
    /// Which.
    pub key: ProcessKey,
    /// How much of it lives.
    pub life: Life,
    /// As read last.
    pub stat: Stat,
    /// Name of the main thread, escaped.
    pub comm: String,
    /// Its PID namespace and those it lies in, from the inside out, the observer's left out.
    pub lineage: Vec<u64>,
    /// Its PID namespace; none when it could not be read.
    pub pid_namespace: Option<u64>,
    /// Its audit session id; none when unset or when the kernel has none.
    pub audit_session: Option<u32>,
    /// Real uid.
    pub uid: Option<u32>,
    /// Its pid in its own PID namespace.
    pub pid_in_namespace: Option<u32>,
    /// Its place in every hierarchy. For a living process this was read while it lived.
    pub cgroup: Reading<Vec<CgroupLine>>,
    /// The executable, escaped.
    pub exe: Option<String>,
    /// The command line, escaped.
    pub argv: Vec<String>,
    /// Where in the kernel it sleeps; read for state D only.
    pub wchan: Option<String>,
}

/// How much of a process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Life {
    /// It is not seen to have run yet. A task is listed before it is put into its cgroups (`cgroup_post_fork` in
    /// kernel/cgroup/cgroup.c), so that its cgroup may read `/`.
    Newborn,
    /// Some thread of it runs, and was not on its way out when its cgroup had been read.
    Alive,
    /// It is on its way out, or SIGKILL is pending: it runs no code of its own any more, and its cgroup may read `/`.
    Dying,
    /// It has ended and was not reaped.
    Zombie,
}

/// A parent, or a parent's parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AncestorSeen {
    /// Which.
    pub key: ProcessKey,
    /// Its own parent.
    pub ppid: u32,
    /// Name of its main thread, escaped.
    pub comm: String,
}

/// A process that was there and could not be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnreadProcess {
    /// Its pid.
    pub pid: u32,
    /// Which file.
    pub file: ProcFile,
    /// Why.
    pub why: Unread,
}

/// A cgroup directory of a box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupSeen {
    /// Index of the box in the registry.
    pub box_index: usize,
    /// Index of the directory in the box.
    pub mark_index: usize,
    /// What was there; `Vanished` when there is no such directory.
    pub state: Reading<CgroupState>,
}

/// What a cgroup directory holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupState {
    /// Inode number of the directory: two looks at one path can see two directories.
    pub inode: u64,
    /// Members of it and of the directories below it, as the observer numbers them.
    pub members: Vec<u32>,
    /// Members that have no pid in the observer's PID namespace.
    pub foreign_members: usize,
}

/// A directory, mount point or record of a box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathSeen {
    /// Index of the box in the registry.
    pub box_index: usize,
    /// Index of the path in the box; none for its record.
    pub path_index: Option<usize>,
    /// Inode number, or why there is none.
    pub state: Reading<u64>,
}

impl ProcSnapshot {
    /// The look's candidate of this name.
    #[must_use]
    pub fn candidate(&self, key: ProcessKey) -> Option<&ProcessSeen> {
        self.candidates.iter().find(|process| process.key == key)
    }
}
