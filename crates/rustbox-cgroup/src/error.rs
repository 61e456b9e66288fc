//! What can fail, one variant per operation.

use std::io;
use std::path::PathBuf;

use rustbox_core::{CgroupBackend, MissingControl};
use rustix::io::Errno;

/// An operation on a box's cgroups that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `/proc/self/mountinfo` could not be read.
    #[error("read /proc/self/mountinfo")]
    ReadMountinfo {
        /// The cause.
        source: io::Error,
    },
    /// No cgroup file system is mounted that this crate could use.
    #[error("no cgroup file system is mounted: mount cgroup2 at /sys/fs/cgroup")]
    NotMounted,
    /// A backend was forced that this host does not have.
    #[error("cgroup backend {forced} is forced, and this host has no {lacking} mount")]
    BackendAbsent {
        /// What was asked for.
        forced: CgroupBackend,
        /// The mount that it needs: `cgroup` or `cgroup2`.
        lacking: &'static str,
    },
    /// The root of a hierarchy could not be opened.
    #[error("open the cgroup root {}", path.display())]
    OpenRoot {
        /// The root.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A root is not on the file system that it should be on: something is mounted over it, or it is misconfigured.
    #[error("{} is not on a {expected} file system", path.display())]
    NotCgroup {
        /// The root.
        path: PathBuf,
        /// `cgroup` or `cgroup2`.
        expected: &'static str,
    },
    /// Controls are wanted that this host does not have, and the mode is strict.
    #[error("the host lacks: {}", names(controls))]
    ControlsMissing {
        /// Which, with reason and fix.
        controls: Vec<MissingControl>,
    },
    /// The kernel did not let us hand controllers to the boxes below a v2 root.
    #[error("write `{controllers}` to cgroup.subtree_control in {}", path.display())]
    EnableControllers {
        /// The v2 root.
        path: PathBuf,
        /// What was written, such as `+memory +pids`.
        controllers: String,
        /// The cause: EACCES without delegation, EBUSY when the root has processes of its own, EROFS in a container.
        source: io::Error,
    },
    /// A directory of that box is already there: the box lives, or a dead one was not collected.
    #[error("{} exists already", path.display())]
    Exists {
        /// The directory.
        path: PathBuf,
    },
    /// A directory could not be made.
    #[error("create {}", path.display())]
    MakeDir {
        /// The directory.
        path: PathBuf,
        /// The cause; EAGAIN is `cgroup.max.descendants` of an ancestor.
        source: io::Error,
    },
    /// A directory could not be opened.
    #[error("open {}", path.display())]
    OpenDir {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A directory or its name could not be looked at.
    #[error("look at {}", path.display())]
    StatDir {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A directory could not be listed.
    #[error("list {}", path.display())]
    ListDir {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// `flock` failed for another reason than somebody holding the lock.
    #[error("lock {}", path.display())]
    Lock {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Somebody locked a directory between its creation and our lock: a collector is about to remove it.
    #[error("{} is locked by somebody else", path.display())]
    LockBusy {
        /// The directory.
        path: PathBuf,
    },
    /// A control file could not be opened.
    #[error("open `{attr}` in {}", path.display())]
    OpenAttr {
        /// The directory.
        path: PathBuf,
        /// The file in it.
        attr: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// A control file could not be read.
    #[error("read `{attr}` in {}", path.display())]
    ReadAttr {
        /// The directory.
        path: PathBuf,
        /// The file in it.
        attr: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// A control file could not be written.
    #[error("write `{value}` to `{attr}` in {}", path.display())]
    WriteAttr {
        /// The directory.
        path: PathBuf,
        /// The file in it.
        attr: &'static str,
        /// What was written.
        value: String,
        /// The cause.
        source: io::Error,
    },
    /// A control file holds a text that this crate does not know.
    #[error("`{attr}` in {} reads {text:?}, which is not of the known form", path.display())]
    ParseAttr {
        /// The directory.
        path: PathBuf,
        /// The file in it.
        attr: &'static str,
        /// The beginning of what was read.
        text: String,
    },
    /// The kernel took a value and then told another: the limit does not hold.
    #[error("`{attr}` in {} reads {read_back:?} after {requested:?} was written", path.display())]
    ReadBackDiffers {
        /// The directory.
        path: PathBuf,
        /// The file in it.
        attr: &'static str,
        /// What was written.
        requested: String,
        /// What was read.
        read_back: String,
    },
    /// A process is not where it should be.
    #[error("process {pid} is not a member of {}", path.display())]
    NotMember {
        /// The directory.
        path: PathBuf,
        /// The process, as our PID namespace numbers it.
        pid: u32,
    },
    /// A cgroup has no directory that could answer: the control was missing when the box was created.
    #[error("no cgroup of the box has the control `{control}`")]
    NoSuchControl {
        /// The control.
        control: &'static str,
    },
    /// A member could not be opened or signalled.
    #[error("kill process {pid} of {}", path.display())]
    KillMember {
        /// The directory.
        path: PathBuf,
        /// The process.
        pid: u32,
        /// The cause.
        source: io::Error,
    },
    /// `poll` failed.
    #[error("poll a cgroup's events")]
    Poll {
        /// The cause.
        source: io::Error,
    },
    /// A creation failed, and what it had made could not all be removed again.
    #[error("create the box's cgroups, and undo it: {undo}")]
    UndoCreate {
        /// Why the creation failed.
        #[source]
        first: Box<Error>,
        /// What is left over.
        undo: RemoveError,
    },
}

impl Error {
    /// Whether the cause is that the directory is gone: somebody removed it, which the kernel allows only when no process is in it.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        // A file below a removed directory cannot be opened (ENOENT); one that was open before reads as ENODEV.
        [Errno::NOENT, Errno::NODEV].iter().any(|errno| self.raw_os_error() == Some(errno.raw_os_error()))
    }

    /// `errno` of the system call that failed, where one did.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        if matches!(self, Self::Exists { .. }) {
            return Some(Errno::EXIST.raw_os_error());
        }
        if let Self::UndoCreate { first, .. } = self {
            return first.raw_os_error();
        }
        std::error::Error::source(self)?.downcast_ref::<io::Error>()?.raw_os_error()
    }

    /// What an operator can do about it, where this crate knows.
    #[must_use]
    pub fn fix(&self) -> Option<&'static str> {
        let errno = self.raw_os_error().map(Errno::from_raw_os_error);
        match (self, errno) {
            (Self::UndoCreate { first, .. }, _) => first.fix(),
            (Self::EnableControllers { .. }, Some(Errno::BUSY)) => Some(
                "processes sit in that cgroup itself: move them to a child, or give rustbox a delegated cgroup without any",
            ),
            (Self::EnableControllers { .. }, _) => {
                Some("run as root, or delegate the cgroup: systemd `Delegate=cpu cpuset memory pids`")
            }
            (Self::MakeDir { .. }, Some(Errno::AGAIN)) => Some("raise cgroup.max.descendants of an ancestor"),
            (Self::MakeDir { .. }, Some(Errno::ROFS)) => Some("mount the cgroup file system read-write"),
            (Self::MakeDir { .. }, Some(Errno::ACCESS | Errno::PERM)) => {
                Some("run as root, or use a delegated cgroup v2 subtree")
            }
            (Self::Exists { .. }, _) => Some("run `rustbox cleanup`, or choose another box id"),
            _ => None,
        }
    }
}

/// Directories of a box that could not be removed; each is named.
#[derive(Debug, thiserror::Error)]
#[error("{}", lines(failures))]
pub struct RemoveError {
    /// One entry per directory, never empty.
    pub failures: Vec<RemoveFailure>,
}

/// One directory that could not be removed.
#[derive(Debug, thiserror::Error)]
#[error("remove {}: {source}", path.display())]
pub struct RemoveFailure {
    /// The directory.
    pub path: PathBuf,
    /// The last cause; EBUSY means that a process or a child directory was in it until the deadline.
    // Its text is part of the message: several failures side by side have no single `source` to follow.
    pub source: io::Error,
}

fn names(controls: &[MissingControl]) -> String {
    controls.iter().map(|c| c.control.as_str()).collect::<Vec<_>>().join(", ")
}

fn lines(failures: &[RemoveFailure]) -> String {
    failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
