//! The program that a box runs.

use std::ffi::OsString;
use std::path::PathBuf;

/// The program that a box runs, as it is seen from inside the box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The program and its arguments; never empty. Without a `/` it is looked up in the box's `PATH`.
    pub argv: Vec<OsString>,
    /// The whole environment, in order; nothing is inherited.
    pub env: Vec<(OsString, OsString)>,
    /// Working directory inside the box; absolute.
    pub cwd: PathBuf,
}
