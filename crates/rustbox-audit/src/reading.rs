//! Why something could not be read: gone, forbidden and broken are three different answers.

use rustix::io::Errno;

/// A value, or why there is none.
pub type Reading<T> = Result<T, Unread>;

/// Why a kernel file gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unread {
    /// The process is gone. It left nothing to read, and nothing that runs.
    Vanished,
    /// Access was refused: there is something, and we cannot see it.
    Denied,
    /// Any other error, by its number, or 0 for text that does not parse: we cannot tell.
    Failed(i32),
}

impl Unread {
    /// Text that this version does not understand.
    pub const MALFORMED: Self = Self::Failed(0);
}

impl From<Errno> for Unread {
    fn from(errno: Errno) -> Self {
        match errno {
            // A reaped process answers ESRCH through an open directory, and ENOENT by its path.
            Errno::NOENT | Errno::SRCH => Self::Vanished,
            Errno::ACCESS | Errno::PERM => Self::Denied,
            _ => Self::Failed(errno.raw_os_error()),
        }
    }
}

/// One file of a process's directory. Readers hand out the text of each; who makes up a host for a test does the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProcFile {
    /// Target of `ns/pid`.
    PidNamespace,
    /// `sessionid`.
    SessionId,
    /// Effective uid, in decimal: the owner of the directory itself, which the kernel shows whether the process is
    /// dumpable or not (`task_dump_owner` in fs/proc/base.c).
    Owner,
    /// `stat`.
    Stat,
    /// `status`.
    Status,
    /// `cgroup`.
    Cgroup,
    /// `task/<tid>/cgroup` of any thread that is not on its way out.
    LivingThreadCgroup,
    /// Target of `exe`.
    Exe,
    /// `cmdline`.
    Cmdline,
    /// `wchan`.
    Wchan,
}
