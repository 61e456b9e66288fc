//! The history of a worker: `quarantine-history.json`, one JSON object a line.
//!
//! Lines and not one array, because appending to an array means writing the whole of it anew, and what is written anew can
//! be lost. A line that a power cut has torn is ended by the next line's writer; readers skip and count it. `jq` reads
//! a file of several objects as it is.

use std::io::Write;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::directory::{ANOTHER_NAME, Directory};
use crate::error::Error;
use crate::moment::Moment;
use crate::seal::{seal, unseal};

/// Name of the file.
pub(crate) const HISTORY: &str = "quarantine-history.json";
/// Longest history that is read, in bytes: the newest part counts.
const MAX_BYTES: u64 = 16 << 20;

/// What an entry tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A quarantine began, or got a graver reason.
    Quarantined,
    /// A containment violation was found on a worker that was quarantined already.
    Violation,
    /// A recovery lifted a quarantine.
    Recovered,
    /// A recovery left something.
    RecoveryFailed,
    /// A person lifted a quarantine.
    Unquarantined,
}

/// One entry of the history. What does not apply is null.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// [`Entry::SCHEMA`].
    pub schema: String,
    /// The state's generation at this entry.
    pub generation: u64,
    /// When.
    pub at: Moment,
    /// What.
    pub what: What,
    /// The reason: of the quarantine, or of the one who lifted it.
    pub reason: String,
    /// What was seen.
    pub detail: String,
    /// Who: the command, and the uid that called it.
    pub by: String,
    /// Since when the worker had been quarantined.
    pub quarantined_since: Option<Moment>,
    /// From then to the end of the quarantine, in milliseconds.
    pub time_to_recovery_ms: Option<u64>,
    /// Whether somebody insisted although the host was not proved clean.
    pub forced: Option<bool>,
    /// Containment violations since the last review.
    pub recurrence: u32,
    /// Whether a person must be called.
    pub escalate: bool,
}

impl Entry {
    /// Value of [`Entry::schema`].
    pub const SCHEMA: &'static str = "rustbox.quarantine-history/v1";
}

/// What could be read of the history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The entries, oldest first.
    pub entries: Vec<Entry>,
    /// Lines that are not as they were written.
    pub damaged_lines: usize,
}

impl History {
    /// Parses what a history file holds.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let mut history = Self::default();
        for line in bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| *line != b"\n") {
            let entry = unseal(line).and_then(|text| serde_json::from_str(&text).ok());
            match entry {
                Some(entry) => history.entries.push(entry),
                None => history.damaged_lines += 1,
            }
        }
        history
    }

    /// How many entries are of one generation.
    pub(crate) fn of_generation(&self, generation: u64) -> usize {
        self.entries.iter().filter(|entry| entry.generation == generation).count()
    }

    /// Generation of the newest entry.
    pub(crate) fn generation(&self) -> u64 {
        self.entries.iter().map(|entry| entry.generation).max().unwrap_or(0)
    }
}

/// Reads the history; an absent one is empty.
pub(crate) fn read(directory: &Directory) -> Result<History, Error> {
    Ok(directory.read(HISTORY, MAX_BYTES)?.map_or_else(History::default, |bytes| History::parse(&bytes)))
}

/// Appends entries and waits until they are on the disk. The caller holds the lock.
pub(crate) fn append(directory: &Directory, entries: &[Entry]) -> Result<(), Error> {
    if entries.is_empty() {
        return Ok(());
    }
    let path = directory.path_of(HISTORY);
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = openat(directory.as_fd(), HISTORY, flags, Mode::RUSR | Mode::WUSR);
    let fd = opened.map_err(|errno: Errno| Error::Open { path: path.clone(), source: errno.into() })?;
    let failed = |source| Error::Write { path: path.clone(), source };
    let mut file = std::fs::File::from(fd);
    if file.metadata().map_err(failed)?.nlink() > 1 {
        return Err(failed(std::io::Error::other(ANOTHER_NAME)));
    }
    let mut text = String::new();
    if !ends_with_newline(&file).map_err(failed)? {
        text.push('\n');
    }
    for entry in entries {
        text.push_str(&seal(&serde_json::to_string(entry).map_err(Error::Json)?));
    }
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    directory.sync()
}

fn ends_with_newline(file: &std::fs::File) -> std::io::Result<bool> {
    use std::os::unix::fs::FileExt;
    let length = file.metadata()?.len();
    let mut last = [b'\n'];
    if let Some(offset) = length.checked_sub(1) {
        file.read_exact_at(&mut last, offset)?;
    }
    Ok(last == *b"\n")
}
