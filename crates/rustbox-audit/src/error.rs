//! What can go wrong so badly that there is no verdict at all.

use std::io;
use std::path::PathBuf;

/// Why an audit could not be made. What could not be seen of one process is no error: it is a
/// coverage gap in the report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The process directory cannot be opened.
    #[error("open process directory {}", path.display())]
    OpenProc {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else than procfs is mounted there.
    #[error("{} is not a proc file system: something is mounted over it", path.display())]
    NotProcfs {
        /// Which.
        path: PathBuf,
    },
    /// It is the procfs of another PID namespace: it would list other processes than ours.
    #[error("{} belongs to another PID namespace than this process", path.display())]
    ForeignProcfs {
        /// Which.
        path: PathBuf,
    },
    /// The process directory cannot be listed.
    #[error("list process directory {}", path.display())]
    ListProc {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that says who we are cannot be read or does not parse.
    #[error("read {}", path.display())]
    ReadOwn {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The watch has no descriptor to be woken by.
    #[error("make a descriptor for the watch")]
    Watch {
        /// Why.
        source: io::Error,
    },
    /// A namespace descriptor does not behave as one.
    #[error("identify a PID namespace by its descriptor")]
    IdentifyNamespace {
        /// Why.
        source: io::Error,
    },
}
