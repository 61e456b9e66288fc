//! What should exist, and by which marks it is known: the auditor's only knowledge of a supervisor.

use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustbox_core::{BoxId, ProcessKey};

use crate::error::AuditError;
use crate::parse::{CgroupMount, Hierarchy};

/// Everything that a supervisor says of its boxes at one moment.
///
/// The audit reads it again before every look, and accuses only by what two looks and their two
/// registries agree on: boxes are born and end while an audit is under way.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    /// The boxes.
    pub boxes: Vec<BoxMarks>,
    /// The uids that are given to boxes and to nobody else. A second mark: it accuses nobody alone.
    pub uids: Option<RangeInclusive<u32>>,
    /// Uids of that range that others hold at this moment, known by their locks: no mark of anything here.
    pub lent_uids: Vec<u32>,
    /// Processes that belong outside by their role: supervisors and keepers that hold a box's lock.
    pub exempt: Vec<ProcessKey>,
    /// Sources of this registry that could not be read, one sentence each: there may be boxes that are missing here.
    pub unreadable: Vec<String>,
    /// Leftovers that no box's marks describe, such as a torn record.
    pub stale: Vec<StaleEntry>,
}

/// A leftover that is known by its path alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleEntry {
    /// Where it is.
    pub path: PathBuf,
    /// Why nobody owns it, in one sentence.
    pub why: String,
}

/// Who owns a box, as its locks say; never what a text file claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Somebody holds its lock.
    Live,
    /// Nobody holds its lock, and nobody reported it cleaned.
    Abandoned,
    /// Its owner has killed it, and could not remove all that it had: no process of it may be there, and what else is left is
    /// known to be.
    Killed,
    /// Its cleanup was reported done: nothing of it may be there.
    Closed,
    /// It was made before the last boot. Its marks name other things now, so they are not looked for.
    EarlierBoot,
    /// It could not be told.
    Unknown,
}

impl Phase {
    /// Whether no process of it may live, whatever else is there.
    #[must_use]
    pub fn is_unowned(self) -> bool {
        matches!(self, Self::Abandoned | Self::Killed | Self::Closed)
    }

    /// Whether its owner has ended it, and not just died.
    pub(crate) fn was_ended(self) -> bool {
        matches!(self, Self::Killed | Self::Closed)
    }
}

/// The kernel facts by which one box is known.
#[derive(Clone, Debug)]
pub struct BoxMarks {
    /// The box.
    pub box_id: BoxId,
    /// Who owns it.
    pub phase: Phase,
    /// Its cgroup directories.
    pub cgroups: Vec<CgroupMark>,
    /// Its PID namespace.
    pub pid_namespace: Option<PidNamespaceMark>,
    /// Its audit session id, if it has one of its own.
    pub audit_session: Option<u32>,
    /// The uid that is leased to it.
    pub uid: Option<u32>,
    /// Pid 1 of its PID namespace.
    pub init: Option<ProcessKey>,
    /// Its supervisor, which belongs outside.
    pub supervisor: Option<ProcessKey>,
    /// The PID namespace that its supervisor lives in.
    pub supervisor_pid_namespace: Option<u64>,
    /// Directories and mount points that must be gone once nobody owns the box.
    pub paths: Vec<PathBuf>,
    /// The record that says all this, for people.
    pub record: Option<PathBuf>,
    /// What the box is, for people: its command, its limits, one sentence each.
    pub notes: Vec<String>,
}

impl BoxMarks {
    /// A box of which nothing is known yet.
    #[must_use]
    pub fn new(box_id: BoxId, phase: Phase) -> Self {
        Self {
            box_id,
            phase,
            cgroups: Vec::new(),
            pid_namespace: None,
            audit_session: None,
            uid: None,
            init: None,
            supervisor: None,
            supervisor_pid_namespace: None,
            paths: Vec::new(),
            record: None,
            notes: Vec::new(),
        }
    }

    /// No process of the box is older than this, in clock ticks since boot.
    pub(crate) fn not_before_ticks(&self) -> u64 {
        self.init.or(self.supervisor).map_or(0, |key| key.starttime_ticks)
    }
}

/// The PID namespace of a box.
///
/// An inode number names a namespace only while something holds it: the kernel gives the number to the
/// next one at once. So a match counts when the namespace is held here by a descriptor, or when the pid 1
/// in it is the box's init; otherwise it is a second mark.
#[derive(Clone, Debug)]
pub struct PidNamespaceMark {
    inode: u64,
    descriptor: Option<Arc<OwnedFd>>,
}

impl PidNamespaceMark {
    /// A namespace known by its inode number alone, as in a record.
    #[must_use]
    pub fn recorded(inode: u64) -> Self {
        Self { inode, descriptor: None }
    }

    /// A namespace held by a descriptor, `/proc/<pid>/ns/pid` opened: its number cannot pass to another one.
    ///
    /// # Errors
    /// [`AuditError::IdentifyNamespace`] when the descriptor does not answer `fstat`.
    pub fn held(descriptor: OwnedFd) -> Result<Self, AuditError> {
        let stat =
            rustix::fs::fstat(&descriptor).map_err(|errno| AuditError::IdentifyNamespace { source: errno.into() })?;
        Ok(Self { inode: stat.st_ino, descriptor: Some(Arc::new(descriptor)) })
    }

    /// The number, as in `pid:[...]`.
    #[must_use]
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// The descriptor that holds it, if one does.
    #[must_use]
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.descriptor.as_deref().map(AsFd::as_fd)
    }
}

/// One cgroup directory of a box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupMark {
    /// The hierarchy that it lies in.
    pub hierarchy: Hierarchy,
    /// Its path in the hierarchy, as `/proc/<pid>/cgroup` shows it.
    pub path: Vec<u8>,
    /// The directory.
    pub directory: PathBuf,
}

impl CgroupMark {
    /// Finds out which hierarchy a directory lies in. None when no cgroup mount covers it: then there is no such mark.
    ///
    /// The longest mount point wins, as in the kernel. One mark is made even where several v1
    /// controllers share the mount: the place is one.
    #[must_use]
    pub fn locate(directory: &Path, mounts: &[CgroupMount]) -> Option<Self> {
        let covering = mounts.iter().filter(|mount| directory.starts_with(&mount.mount_point));
        let mount = covering.max_by_key(|mount| mount.mount_point.as_os_str().len())?;
        let below = directory.strip_prefix(&mount.mount_point).ok()?;
        let mut path = mount.root.strip_suffix(b"/").unwrap_or(&mount.root).to_vec();
        path.push(b'/');
        path.extend_from_slice(below.as_os_str().as_encoded_bytes());
        let hierarchy = mount.hierarchies.first()?.clone();
        Some(Self { hierarchy, path, directory: directory.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse_cgroup_mounts;

    #[test]
    fn a_directory_is_located_by_the_mount_that_covers_it() {
        let mounts = parse_cgroup_mounts(
            b"31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n\
            35 31 0:32 /slice /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
        );
        let v2 = CgroupMark::locate(Path::new("/sys/fs/cgroup/rustbox-a"), &mounts).unwrap();
        assert_eq!((v2.hierarchy, v2.path), (Hierarchy::Unified, b"/rustbox-a".to_vec()));
        let v1 = CgroupMark::locate(Path::new("/sys/fs/cgroup/memory/rustbox-a"), &mounts).unwrap();
        assert_eq!((v1.hierarchy, v1.path), (Hierarchy::V1("memory".into()), b"/slice/rustbox-a".to_vec()));
        assert_eq!(CgroupMark::locate(Path::new("/tmp/rustbox-a"), &mounts), None);
    }
}
