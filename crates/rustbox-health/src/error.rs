//! What can go wrong with the files that a worker's state lives in.

use std::path::PathBuf;

/// A state that could not be read or written, or a host that could not be looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A directory or file of ours is not fit to be trusted.
    #[error("{} {problem}", path.display())]
    Untrusted {
        /// The path.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: &'static str,
    },
    /// A directory or file could not be made or opened.
    #[error("open {}", path.display())]
    Open {
        /// The path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file could not be read.
    #[error("read {}", path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file could not be written; what was there before is there still.
    #[error("write {}", path.display())]
    Write {
        /// The path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The lock could not be taken.
    #[error("lock {}", path.display())]
    Lock {
        /// The path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Somebody else holds the lock for too long.
    #[error("another rustbox has held {} for {seconds} s", path.display())]
    Busy {
        /// The lock.
        path: PathBuf,
        /// How long we waited.
        seconds: u64,
    },
    /// There is no file left in which one more batch could say how many of its jobs wait.
    #[error("{most} batches of this worker run already")]
    TooManyBatches {
        /// How many there may be.
        most: u32,
    },
    /// A damaged file could not be set aside.
    #[error("set {} aside", path.display())]
    SetAside {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The state was written by a rustbox whose format this one does not know.
    #[error("{} has the schema {schema:?}, which this rustbox does not know: use the one that wrote it", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// What it says.
        schema: String,
    },
    /// Something could not be put into JSON.
    #[error("put the state into JSON")]
    Json(#[source] serde_json::Error),
    /// A file of the kernel's could not be read.
    #[error("read {path}")]
    ReadKernel {
        /// The file.
        path: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// Boxes could not be listed or collected.
    #[error("look at the boxes of this host")]
    Boxes(#[source] rustbox_supervisor::Error),
    /// The metrics could not be put into text.
    #[error("put the metrics into text")]
    Exposition(#[source] prometheus::Error),
}
