//! One box's directories, with what is kept open of them.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustbox_core::{AppliedControl, BoxId, Limits};
use rustix::fs::OFlags;

use crate::attr::{Dir, KeptFile, PROCS};
use crate::error::Error;
use crate::hierarchies::Hierarchies;
use crate::layout::{Control, Layout, Version};

/// The cgroups of one box: one directory in each hierarchy in use, all called `rustbox-<id>`.
///
/// Dropping it closes descriptors, and with them the lock, and does nothing else: whoever wants the box dead calls
/// [`Self::kill`], [`Self::wait_empty`] and [`Self::remove`], and looks at their answers.
#[derive(Debug)]
pub struct BoxCgroup {
    pub(crate) layout: Arc<Layout>,
    pub(crate) id: BoxId,
    pub(crate) origin: Origin,
    /// In the order of creation, the primary first. An existing box may lack any of them, but not all.
    pub(crate) dirs: Vec<Dir>,
    /// v1's `tasks`, open for writing, in the order of `dirs`.
    pub(crate) attach: Vec<OwnedFd>,
    pub(crate) applied: Vec<AppliedControl>,
    pub(crate) files: Files,
}

/// How we came to a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// We made it, so every process of it was born in its v2 directory, where there is one.
    Created,
    /// It was there; another configuration or a crash may have left it in any state.
    Found,
}

/// What is read or written more than once, or must work when no descriptor is left.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) kill: KeptFile,
    pub(crate) events: KeptFile,
    pub(crate) procs: KeptFile,
    pub(crate) cpu_stat: KeptFile,
    pub(crate) cpuacct: [KeptFile; 3],
    pub(crate) pids_current: KeptFile,
    pub(crate) memory_events: KeptFile,
    pub(crate) oom_control: KeptFile,
    /// v1's out-of-memory event; none inside when the kernel refused to give it.
    pub(crate) oom_eventfd: OnceLock<Option<OwnedFd>>,
}

/// A descriptor to poll, and for what.
#[derive(Debug, Clone, Copy)]
pub struct Watch<'a> {
    /// The descriptor; it belongs to the [`BoxCgroup`].
    pub fd: BorrowedFd<'a>,
    /// `events` of `struct pollfd`: `POLLPRI` for a control file, `POLLIN` for an eventfd.
    pub events: i16,
}

impl Files {
    pub(crate) fn new() -> Self {
        Self {
            kill: KeptFile::new("cgroup.kill"),
            events: KeptFile::new("cgroup.events"),
            procs: KeptFile::new(PROCS),
            cpu_stat: KeptFile::new("cpu.stat"),
            cpuacct: ["cpuacct.usage", "cpuacct.usage_user", "cpuacct.usage_sys"].map(KeptFile::new),
            pids_current: KeptFile::new("pids.current"),
            memory_events: KeptFile::new("memory.events"),
            oom_control: KeptFile::new("memory.oom_control"),
            oom_eventfd: OnceLock::new(),
        }
    }
}

impl BoxCgroup {
    /// The directories that [`Hierarchies::create`] will make for these limits, in order. Touches nothing.
    #[must_use]
    pub fn plan_paths(hierarchies: &Hierarchies, id: &BoxId, limits: &Limits) -> Vec<PathBuf> {
        let layout = &hierarchies.layout;
        let roots = layout.used(limits).into_iter().filter_map(|i| layout.roots.get(i));
        roots.map(|root| root.path.join(id.cgroup_name())).collect()
    }

    /// Whose cgroups these are.
    #[must_use]
    pub fn id(&self) -> &BoxId {
        &self.id
    }

    /// The directories, in the order of creation: the first lists every process of the box and carries its lock.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        self.dirs.iter().map(|dir| dir.path.clone()).collect()
    }

    /// The descriptor of the primary directory, which holds the box's lock as long as any copy of it is open.
    ///
    /// # Panics
    /// Never: a box has at least one directory.
    #[must_use]
    pub fn lock_fd(&self) -> BorrowedFd<'_> {
        self.primary().fd.as_fd()
    }

    /// The descriptors of all directories: each is locked, so that a collector that was configured for another backend,
    /// and takes another directory for the primary, finds the box locked as well.
    #[must_use]
    pub fn lock_fds(&self) -> Vec<BorrowedFd<'_>> {
        self.dirs.iter().map(|dir| dir.fd.as_fd()).collect()
    }

    /// The v2 directory, for `clone3` with `CLONE_INTO_CGROUP`; none on v1.
    #[must_use]
    pub fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        self.v2().map(|dir| dir.fd.as_fd())
    }

    /// v1's `tasks` files, open for writing: the init, which has one thread, writes `0` to each. Empty on v2 and for an
    /// existing box.
    #[must_use]
    pub fn attach_fds(&self) -> Vec<BorrowedFd<'_>> {
        self.attach.iter().map(OwnedFd::as_fd).collect()
    }

    /// The values that the kernel confirmed when the box was created. Empty for an existing box.
    #[must_use]
    pub fn applied(&self) -> &[AppliedControl] {
        &self.applied
    }

    /// Checks that a process is a member in every hierarchy, by our descriptors, not by path.
    ///
    /// `pid` is a process of our PID namespace. One `pread` on v2; open, reads and close on each v1 hierarchy.
    ///
    /// # Errors
    /// [`Error::NotMember`] names the first hierarchy that does not list it.
    pub fn verify_member(&self, pid: u32) -> Result<(), Error> {
        self.verify_members(&[pid])
    }

    /// The same for several processes, with one reading of each hierarchy.
    ///
    /// # Errors
    /// As [`Self::verify_member`], for the first that is not listed.
    pub fn verify_members(&self, pids: &[u32]) -> Result<(), Error> {
        for dir in &self.dirs {
            let members = self.members_of(dir)?;
            if let Some(pid) = pids.iter().find(|pid| !members.contains(pid)) {
                return Err(Error::NotMember { path: dir.path.clone(), pid: *pid });
            }
        }
        Ok(())
    }

    /// The live processes of the box by the primary directory, as our PID namespace numbers them.
    ///
    /// Zombies are not listed; a process that our PID namespace does not see is a 0.
    ///
    /// # Errors
    /// When the list cannot be read; [`Error::is_gone`] when the directory was removed.
    pub fn members(&self) -> Result<Vec<u32>, Error> {
        self.members_of(self.primary())
    }

    pub(crate) fn members_of(&self, dir: &Dir) -> Result<Vec<u32>, Error> {
        match dir.version {
            Version::V1 => dir.procs(),
            // There is one v2 directory, so the kept file is always that one's.
            Version::V2 => dir.procs_open(self.files.procs.open(dir, OFlags::RDONLY)?),
        }
    }

    #[expect(clippy::expect_used, reason = "create and open_existing make no value without a directory")]
    pub(crate) fn primary(&self) -> &Dir {
        self.dirs.first().expect("a box has at least one directory")
    }

    pub(crate) fn v2(&self) -> Option<&Dir> {
        self.dirs.iter().find(|dir| dir.version == Version::V2)
    }

    /// The directory that serves a control, if the box has it.
    pub(crate) fn home(&self, control: Control) -> Option<&Dir> {
        let root = self.layout.home(control)?;
        self.dirs.iter().find(|dir| dir.root == root)
    }

    pub(crate) fn need(&self, control: Control) -> Result<&Dir, Error> {
        self.home(control).ok_or(Error::NoSuchControl { control: control.name() })
    }
}
