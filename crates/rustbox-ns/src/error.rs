//! What can go wrong before the box tells its own story.

use std::path::PathBuf;

use rustix::io::Errno;

/// Why a box could not be prepared, spawned or waited for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A text that the kernel takes as a C string has a NUL byte.
    #[error("{what:?} contains a NUL byte")]
    Nul {
        /// The text.
        what: String,
    },
    /// A root file system could not be read.
    #[error("read --rootfs {}", path.display())]
    Rootfs {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What the host has could not be seen.
    #[error("look at {}", path.display())]
    Look {
        /// The directory or the link.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A root file system has something else where we mount.
    #[error("--rootfs is refused: {} is not {wanted}", path.display())]
    RootfsTrap {
        /// What was found.
        path: PathBuf,
        /// What must be there, or nothing.
        wanted: &'static str,
    },
    /// A writable bind without an id mapping.
    #[error("writable bind of {}: no id mapping was prepared", path.display())]
    NoIdMap {
        /// The source.
        path: PathBuf,
    },
    /// A user namespace for an id-mapped bind could not be made.
    #[error("make an id mapping for the writable bind of {}", path.display())]
    IdMap {
        /// The source.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// This process's own state could not be read.
    #[error("read {path}")]
    ReadSelf {
        /// The file.
        path: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A namespace of a process could not be read.
    #[error("read /proc/{pid}/ns/{name}")]
    ReadNamespace {
        /// The process.
        pid: String,
        /// Which namespace.
        name: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A system call of the supervisor failed.
    #[error("{call}")]
    Call {
        /// What was tried.
        call: &'static str,
        /// Why.
        source: Errno,
    },
    /// A thread could not be started.
    #[error("start a thread")]
    Thread {
        /// Why.
        source: std::io::Error,
    },
    /// A command line or environment is too large for a waiting box.
    #[error("a command of {bytes} bytes in {strings} strings is too large for a waiting box")]
    JobTooLarge {
        /// Its size as a record.
        bytes: usize,
        /// Arguments and variables.
        strings: usize,
    },
    /// The init sent something that no init of ours sends.
    #[error("read a record of the box's init")]
    Malformed(#[source] crate::message::MalformedMessage),
}

impl Error {
    pub(crate) fn call(call: &'static str) -> impl FnOnce(Errno) -> Self {
        move |source| Self::Call { call, source }
    }
}
