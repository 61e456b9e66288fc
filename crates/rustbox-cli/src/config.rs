//! The configuration: a file, the environment and flags, and which of them said what.
//!
//! ```text
//! file --read--> text --entries--> Vec<Entry> --interpret--> FileSettings --+
//!                                                    flags, environment ----+--> Settings
//! ```
//!
//! A key is looked at by itself, with its line, so that everything that is wrong with a file is
//! told at once and not one mistake a run. Precedence: file < environment < flags.

mod entries;
mod interpret;
mod read;
mod settings;
mod show;

use std::path::{Path, PathBuf};

use rustbox_core::RunSpec;
use rustbox_health::Thresholds;

pub(crate) use settings::{Origin, Settings};
pub(crate) use show::effective;

/// Where the configuration is looked for when nobody names a file.
pub(crate) const DEFAULT_FILE: &str = "/etc/rustbox/config.toml";

/// One thing that is wrong with a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The file.
    pub(crate) file: PathBuf,
    /// Line, from 1; none when the file as a whole is meant.
    pub(crate) line: Option<usize>,
    /// The key, as it is written.
    pub(crate) key: Option<String>,
    /// What is wrong with it.
    pub(crate) reason: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(key) = &self.key {
            write!(f, ": {}", crate::render::escape_text(key))?;
        }
        write!(f, ": {}", crate::render::escape_text(&self.reason))
    }
}

/// What a configuration file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileSettings {
    /// Everything that `rustbox run` takes.
    pub(crate) run: RunSpec,
    /// `state_dir`.
    pub(crate) state_dir: Option<PathBuf>,
    /// `runtime_dir`.
    pub(crate) runtime_dir: Option<PathBuf>,
    /// `cgroup_root`.
    pub(crate) cgroup_root: Option<PathBuf>,
    /// `min_free_disk` and its like.
    pub(crate) thresholds: Thresholds,
    /// Every key with the line on which it stands; aliases under the name that they stand for.
    pub(crate) lines: Vec<(String, usize)>,
}

/// Reads and checks a configuration file.
///
/// # Errors
/// Everything that is wrong with it, in the order of its lines.
pub(crate) fn load(path: &Path) -> Result<FileSettings, Vec<Problem>> {
    let whole = |reason: String| vec![Problem { file: path.to_owned(), line: None, key: None, reason }];
    let text = read::read(path).map_err(|e| whole(crate::error::chain(&e)))?;
    parse(path, &text)
}

/// The file that counts: the named one, which must be there, or the default one if it is there.
pub(crate) fn chosen_file(named: Option<&Path>) -> Option<PathBuf> {
    match named {
        Some(path) => Some(path.to_owned()),
        // A default that cannot be looked at is not a default that is absent: reading it says why.
        None => match rustix::fs::lstat(DEFAULT_FILE) {
            Err(rustix::io::Errno::NOENT) => None,
            _ => Some(PathBuf::from(DEFAULT_FILE)),
        },
    }
}

fn parse(path: &Path, text: &str) -> Result<FileSettings, Vec<Problem>> {
    let entries = entries::entries(path, text)?;
    interpret::interpret(path, &entries)
}

#[cfg(test)]
mod tests;
