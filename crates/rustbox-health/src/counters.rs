//! Counts that outlive the process which counted.
//!
//! One file, `counters.log`: totals in its first line, then a line for each run, appended under a lock. It is read only
//! by who exports, and folded into a new file when it is long, so that a run pays for one short line. All in one file,
//! since then one rename replaces totals and lines together, and nothing can be counted twice or not at all by a process
//! that is killed between two steps. There is no `fsync` for a line: a power cut may lose the last ones, a kill does not.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, openat};
use serde::{Deserialize, Serialize};

use crate::directory::{ANOTHER_NAME, Directory, wait_for_lock};
use crate::error::Error;
use crate::event::Count;
use crate::families::{is_known, series_of};
use crate::seal::{seal, unseal};

/// Name of the file.
const COUNTERS: &str = "counters.log";
/// From this length on the file is folded: some thousand runs, a few milliseconds' work.
const FOLD_BYTES: u64 = 1 << 20;
/// How often a file that is replaced under our eyes is opened again.
const ATTEMPTS: u32 = 64;

/// What one process adds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// Set where it may be added more than once by those who cannot know: only the first time counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mark: Option<String>,
    counts: BTreeMap<String, u64>,
    /// In microseconds.
    samples: Vec<(String, u64)>,
}

/// Everything that was ever added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Counts by series.
    pub(crate) counts: BTreeMap<String, u64>,
    /// Samples by series. Buckets are made of them when they are exported, so that another version may have other bounds.
    pub(crate) samples: BTreeMap<String, Samples>,
    /// Lines that were not as they were written, and are not counted.
    pub(crate) lost_lines: u64,
    /// The newest mark. One is enough: marked deltas are added in order, and only the newest may come again.
    #[serde(default)]
    pub(crate) marked: Option<String>,
}

/// The samples of one series.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Samples {
    /// In microseconds.
    pub(crate) sum_us: u64,
    /// How often each value was seen; microseconds, rounded up to two significant digits. That bounds how many there are,
    /// and no value crosses a bucket's bound, since bounds have two digits at most.
    pub(crate) seen: BTreeMap<u64, u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Totals(Totals),
    Delta(Delta),
}

impl Delta {
    /// Adds one of something.
    pub fn count(&mut self, count: Count) {
        for series in series_of(count) {
            self.add(series);
        }
    }

    /// Makes it one that counts once, however often it is added.
    pub(crate) fn mark(&mut self, mark: String) {
        self.mark = Some(mark);
    }

    pub(crate) fn add(&mut self, series: String) {
        debug_assert!(is_known(&series), "{series} is not in the table of families");
        *self.counts.entry(series).or_default() += 1;
    }

    pub(crate) fn sample(&mut self, series: &str, nanoseconds: Option<u64>) {
        if let Some(nanoseconds) = nanoseconds {
            self.samples.push((series.to_owned(), nanoseconds.div_ceil(1000)));
        }
    }

    fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.samples.is_empty()
    }
}

impl Totals {
    /// The count of one series.
    #[must_use]
    pub fn count(&self, series: &str) -> u64 {
        self.counts.get(series).copied().unwrap_or(0)
    }

    /// Lines that were not as they were written, and are not counted.
    #[must_use]
    pub fn lost_lines(&self) -> u64 {
        self.lost_lines
    }

    fn add(&mut self, delta: Delta) {
        if delta.mark.is_some() {
            if self.marked == delta.mark {
                return;
            }
            self.marked.clone_from(&delta.mark);
        }
        for (series, more) in delta.counts {
            let count = self.counts.entry(series).or_default();
            *count = count.saturating_add(more);
        }
        for (series, microseconds) in delta.samples {
            let samples = self.samples.entry(series).or_default();
            samples.sum_us = samples.sum_us.saturating_add(microseconds);
            *samples.seen.entry(round_up(microseconds)).or_default() += 1;
        }
    }

    fn of(bytes: &[u8]) -> Self {
        let mut totals = Self::default();
        for (number, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            if line == b"\n" {
                continue;
            }
            match unseal(line).and_then(|text| serde_json::from_str(&text).ok()) {
                // Only the first line is where totals are written.
                Some(Line::Totals(first)) if number == 0 => totals = first,
                Some(Line::Delta(delta)) => totals.add(delta),
                Some(Line::Totals(_)) | None => totals.lost_lines += 1,
            }
        }
        totals
    }
}

/// Rounds up to two significant digits.
fn round_up(value: u64) -> u64 {
    let mut unit: u64 = 1;
    while value / unit >= 100 {
        unit *= 10;
    }
    value.div_ceil(unit).saturating_mul(unit)
}

/// The counters of a worker.
#[derive(Debug)]
pub struct Counters {
    directory: Directory,
}

impl Counters {
    /// Opens their directory, and makes it when it is not there.
    ///
    /// # Errors
    /// It cannot be made, or is not fit to be trusted.
    pub fn open(state_dir: &Path) -> Result<Self, Error> {
        Ok(Self { directory: Directory::create(state_dir)? })
    }

    /// Adds what one process has counted, whole or not at all.
    ///
    /// # Errors
    /// It could not be written.
    pub fn add(&self, delta: &Delta) -> Result<(), Error> {
        if delta.is_empty() {
            return Ok(());
        }
        let line = seal(&serde_json::to_string(&Line::Delta(delta.clone())).map_err(Error::Json)?);
        for _ in 0..ATTEMPTS {
            if self.try_append(&line)? {
                return Ok(());
            }
        }
        Err(Error::Busy { path: self.path(), seconds: 0 })
    }

    /// Everything that was ever added; nothing was where there is no file.
    ///
    /// # Errors
    /// The file could not be read.
    pub fn read(state_dir: &Path) -> Result<Totals, Error> {
        let Some(directory) = Directory::open(state_dir)? else { return Ok(Totals::default()) };
        Ok(directory.read(COUNTERS, u64::MAX)?.map_or_else(Totals::default, |bytes| Totals::of(&bytes)))
    }

    /// Appends a line; false when the file was replaced before we had its lock.
    fn try_append(&self, line: &str) -> Result<bool, Error> {
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let fd = openat(self.directory.as_fd(), COUNTERS, flags, mode)
            .map_err(|errno| Error::Open { path: self.path(), source: errno.into() })?;
        wait_for_lock(fd.as_fd(), FlockOperation::NonBlockingLockExclusive, &self.path())?;
        let mut file = File::from(fd);
        let failed = |source| Error::Write { path: self.path(), source };
        let found = file.metadata().map_err(failed)?;
        match found.nlink() {
            0 => return Ok(false),
            1 => {}
            _ => return Err(failed(std::io::Error::other(ANOTHER_NAME))),
        }
        let mut last = [b'\n'];
        if let Some(offset) = found.len().checked_sub(1) {
            file.read_exact_at(&mut last, offset).map_err(failed)?;
        }
        // One write: a killed writer leaves the whole line, or a torn one that ends here.
        let text = if last == *b"\n" { line.to_owned() } else { format!("\n{line}") };
        file.write_all(text.as_bytes()).map_err(failed)?;
        if found.len() >= FOLD_BYTES {
            self.fold(&mut file)?;
        }
        Ok(true)
    }

    /// Replaces the file by its sum. The caller holds the lock of the file that is replaced.
    fn fold(&self, file: &mut File) -> Result<(), Error> {
        let mut bytes = Vec::new();
        let read = std::io::Seek::rewind(file).and_then(|()| file.read_to_end(&mut bytes));
        read.map_err(|source| Error::Read { path: self.path(), source })?;
        let line = serde_json::to_string(&Line::Totals(Totals::of(&bytes))).map_err(Error::Json)?;
        self.directory.replace(COUNTERS, seal(&line).as_bytes())
    }

    fn path(&self) -> PathBuf {
        self.directory.path_of(COUNTERS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::families::{EXECUTIONS, SPAWN_SECONDS};

    fn one_run() -> Delta {
        let mut delta = Delta::default();
        delta.add(EXECUTIONS.to_owned());
        delta.sample(SPAWN_SECONDS, Some(1_234_000));
        delta
    }

    #[test]
    fn a_folded_file_says_what_the_lines_said() {
        let dir = tempfile::tempdir().unwrap();
        let counters = Counters::open(dir.path()).unwrap();
        let path = counters.path();
        let mut runs = 0;
        let mut shrank = false;
        while !shrank {
            let before = std::fs::metadata(&path).map_or(0, |found| found.len());
            counters.add(&one_run()).unwrap();
            runs += 1;
            shrank = std::fs::metadata(&path).unwrap().len() < before;
            assert!(runs < 100_000, "it is never folded");
        }
        counters.add(&one_run()).unwrap();
        let totals = Counters::read(dir.path()).unwrap();
        assert_eq!(totals.count(EXECUTIONS), runs + 1);
        let samples = &totals.samples[SPAWN_SECONDS];
        assert_eq!(samples.seen, BTreeMap::from([(1300, runs + 1)]));
        assert_eq!(samples.sum_us, (runs + 1) * 1234);
        assert_eq!(totals.lost_lines, 0);
    }

    #[test]
    fn a_torn_line_costs_itself_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let counters = Counters::open(dir.path()).unwrap();
        counters.add(&one_run()).unwrap();
        let whole = std::fs::read(counters.path()).unwrap();
        for length in 1..whole.len() {
            std::fs::write(counters.path(), [&whole[..], &whole[..length]].concat()).unwrap();
            counters.add(&one_run()).unwrap();
            let totals = Counters::read(dir.path()).unwrap();
            // Without its line feed alone the torn line is whole once the next writer has ended it.
            let torn = u64::from(length != whole.len() - 1);
            assert_eq!((totals.count(EXECUTIONS), totals.lost_lines), (3 - torn, torn), "cut to {length}");
        }
    }

    #[test]
    fn what_is_marked_counts_once_however_often_it_is_added() {
        let dir = tempfile::tempdir().unwrap();
        let counters = Counters::open(dir.path()).unwrap();
        let marked = |mark: &str| Delta { mark: Some(mark.to_owned()), ..one_run() };
        for delta in [marked("a"), one_run(), marked("a"), marked("b"), one_run(), marked("b"), marked("b")] {
            counters.add(&delta).unwrap();
        }
        assert_eq!(Counters::read(dir.path()).unwrap().count(EXECUTIONS), 4);
        let bytes = std::fs::read(counters.path()).unwrap();
        let folded = Line::Totals(Totals::of(&bytes));
        let text = seal(&serde_json::to_string(&folded).unwrap())
            + &seal(&serde_json::to_string(&Line::Delta(marked("b"))).unwrap());
        assert_eq!(Totals::of(text.as_bytes()).count(EXECUTIONS), 4, "also after the file was folded");
    }

    #[test]
    fn rounding_up_never_crosses_a_bound_of_two_digits() {
        for (value, rounded) in [(0, 0), (9, 9), (99, 99), (100, 100), (101, 110), (999, 1000), (1001, 1100)] {
            assert_eq!(round_up(value), rounded);
        }
        assert!(round_up(u64::MAX) >= u64::MAX / 2);
    }
}
