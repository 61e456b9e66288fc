//! Why a run was refused, or could not be reported.

use std::path::PathBuf;

use rustbox_core::{BoxId, MissingControl};

/// A run that did not take place, or a command that could not look.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A directory of ours is not fit to be trusted.
    #[error("{} {problem}", path.display())]
    Untrusted {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: &'static str,
    },
    /// A directory of ours could not be made or opened.
    #[error("open {}", path.display())]
    Open {
        /// The path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file of ours could not be read.
    #[error("read {}", path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file of ours could not be written.
    #[error("write {}", path.display())]
    Write {
        /// The path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A box of this name was not clean when it ended.
    #[error(
        "box {id}: what it left is kept until somebody has looked: `rustbox audit --box {id}`, then `rustbox cleanup {id}`"
    )]
    Kept {
        /// Its name.
        id: BoxId,
    },
    /// A file of ours could not be locked.
    #[error("lock {}", path.display())]
    Flock {
        /// The path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something of ours could not be removed.
    #[error("remove {}", path.display())]
    Remove {
        /// The path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file of the kernel's could not be read.
    #[error("read {path}")]
    ReadKernel {
        /// The file.
        path: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A system call failed.
    #[error("{call}")]
    Call {
        /// Which.
        call: &'static str,
        /// Why.
        source: rustix::io::Errno,
    },
    /// A control that strict mode needs is missing on this host.
    #[error("a control is missing on this host: {}", .0.iter().map(|m| m.control.as_str()).collect::<Vec<_>>().join(", "))]
    ControlMissing(Vec<MissingControl>),
    /// A box of this name is alive.
    #[error(
        "box {id} is busy: its lock is held{} (--wait-for-box=TIME waits for it)",
        owner.map(|pid| format!(" by process {pid}")).unwrap_or_default()
    )]
    Busy {
        /// Which box.
        id: BoxId,
        /// The supervisor, as its record has it.
        owner: Option<u32>,
    },
    /// A signal to the program came while it waited for the box's name.
    #[error("signal {signal} ended the wait for the box")]
    Interrupted {
        /// Which one.
        signal: i32,
    },
    /// Every uid of the range is leased.
    #[error("every uid of the range {first}-{last} is leased to a box; end some, or run `rustbox cleanup --all`")]
    NoUid {
        /// First uid of the range.
        first: u32,
        /// Last uid of the range.
        last: u32,
    },
    /// The cgroup layer refused.
    #[error("cgroups")]
    Cgroup(#[from] rustbox_cgroup::Error),
    /// The namespace layer refused.
    #[error("namespaces")]
    Namespace(#[from] rustbox_ns::Error),
    /// A keeper that was killed did not end; it will, with this process, and finds nothing to do.
    #[error("the keeper, process {pid}, did not end when it was killed")]
    KeeperStays {
        /// Its pid.
        pid: u32,
    },
    /// A thread could not be started.
    #[error("start a thread for a box")]
    Thread {
        /// Why.
        source: std::io::Error,
    },
    /// A box could not be prepared.
    #[error("prepare a box: {message}")]
    NotPrepared {
        /// What its report says.
        message: String,
    },
    /// The pool has ended.
    #[error("the pool of boxes has ended")]
    PoolClosed,
    /// A file named for the payload's input or output could not be opened.
    #[error("{flag} {}", path.display())]
    Stream {
        /// The flag.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A descriptor that is to be passed is not open.
    #[error("--pass-fd {fd}: descriptor {fd} is not open")]
    PassFd {
        /// The number.
        fd: i32,
    },
    /// A descriptor that is to be passed is one of this program's own.
    #[error("--pass-fd {fd}: descriptor {fd} is close-on-exec, so it belongs to rustbox and not to its caller")]
    PassFdOurs {
        /// The number.
        fd: i32,
    },
    /// A descriptor that the payload would get is a directory.
    #[error("descriptor {fd} is a directory: through it the program would see the host's files")]
    DirectoryFd {
        /// The number.
        fd: i32,
    },
}

impl Error {
    pub(crate) fn call(call: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |source| Self::Call { call, source }
    }
}
