//! The file of jobs, a line at a time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;

use super::results::digest;
use crate::error::CliError;

/// Longest line, in bytes: a job that needs more names files.
const LINE_MAX: usize = 16 << 20;
/// What is said of a longer one.
pub(super) const TOO_LONG: &str = "the line is no job: it is longer than 16 MiB; name files instead";

/// What is to be run.
pub(super) struct Jobs {
    lines: BufReader<Input>,
    /// Lines that were read.
    number: u64,
    is_file: bool,
}

/// One line without its end.
pub(super) struct Line {
    /// From 1.
    pub(super) number: u64,
    pub(super) text: Vec<u8>,
    /// Whether it is longer than any job, and this its beginning.
    pub(super) is_cut: bool,
}

/// What lines are read from, until somebody says that it is enough.
struct Input {
    file: File,
    halted: OwnedFd,
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            // A FIFO that nobody has opened for writing is not ready; a file always is.
            let mut fds = [PollFd::new(&self.halted, PollFlags::IN), PollFd::new(&self.file, PollFlags::IN)];
            rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
            if !fds[0].revents().is_empty() {
                return Ok(0);
            }
            match self.file.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }
}

impl Jobs {
    /// Opens them; when `halted` can be read there are no more.
    pub(super) fn open(path: &Path, halted: OwnedFd) -> Result<Self, CliError> {
        let failed = |source| CliError::Jobs { path: path.to_owned(), source };
        let file = if path.as_os_str() == "-" {
            File::from(io::stdin().as_fd().try_clone_to_owned().map_err(failed)?)
        } else {
            let flags = OFlags::NONBLOCK.bits().cast_signed();
            File::options().read(true).custom_flags(flags).open(path).map_err(failed)?
        };
        let kind = file.metadata().map_err(failed)?.file_type();
        if kind.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        let is_file = kind.is_file() && path.as_os_str() != "-";
        Ok(Self { lines: BufReader::new(Input { file, halted }), number: 0, is_file })
    }

    /// How many there are, where that can be told before they are run; none of a pipe. Refuses a file in which a job is
    /// another one than that whose result is in `done`.
    pub(super) fn check(&mut self, done: &BTreeMap<u64, String>) -> Result<Option<u64>, CliError> {
        if !self.is_file {
            return Ok(None);
        }
        let (mut total, mut known) = (0, 0);
        while let Some(line) = self.next()? {
            known += u64::from(line.is_done(done)?);
            total += u64::from(!line.text.is_empty());
        }
        if known < u64::try_from(done.len()).unwrap_or(u64::MAX) {
            let number = done.keys().copied().find(|number| *number > self.number).unwrap_or(self.number);
            return Err(CliError::OtherJob { number });
        }
        self.lines.get_mut().file.rewind().map_err(CliError::ReadJobs)?;
        self.number = 0;
        Ok(Some(total))
    }

    /// The next line; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<Line>, CliError> {
        let mut text = Vec::new();
        let limit = u64::try_from(LINE_MAX).unwrap_or(u64::MAX);
        let read = (&mut self.lines).take(limit).read_until(b'\n', &mut text).map_err(CliError::ReadJobs)?;
        if read == 0 {
            return Ok(None);
        }
        let is_cut = read == LINE_MAX && text.last() != Some(&b'\n');
        if is_cut {
            self.lines.skip_until(b'\n').map_err(CliError::ReadJobs)?;
        }
        self.number += 1;
        Ok(Some(Line { number: self.number, text: text.trim_ascii().to_vec(), is_cut }))
    }
}

impl Line {
    /// Whether this job has a result; refuses if that is of another one.
    pub(super) fn is_done(&self, done: &BTreeMap<u64, String>) -> Result<bool, CliError> {
        match done.get(&self.number) {
            None => Ok(false),
            Some(known) if *known == digest(&self.text) => Ok(true),
            Some(_) => Err(CliError::OtherJob { number: self.number }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs(text: &[u8]) -> (tempfile::TempDir, io::PipeWriter, Jobs) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("jobs");
        std::fs::write(&path, text).unwrap();
        let (halted, halt) = io::pipe().unwrap();
        (directory, halt, Jobs::open(&path, halted.into()).unwrap())
    }

    fn read(jobs: &mut Jobs) -> Vec<(u64, usize, bool)> {
        std::iter::from_fn(|| jobs.next().unwrap()).map(|line| (line.number, line.text.len(), line.is_cut)).collect()
    }

    #[test]
    fn lines_have_numbers_and_one_that_is_too_long_costs_itself_alone() {
        let long = vec![b'x'; LINE_MAX + 5];
        let (_directory, _halt, mut jobs) = jobs(&[b"a\n\n", &long[..], b"\nlast"].concat());
        assert_eq!(jobs.check(&BTreeMap::new()).unwrap(), Some(3));
        assert_eq!(read(&mut jobs), [(1, 1, false), (2, 0, false), (3, LINE_MAX, true), (4, 4, false)]);
    }

    #[test]
    fn a_job_that_is_not_the_one_that_was_run_is_refused_before_any_is_run() {
        let done = |number, text: &[u8]| BTreeMap::from([(number, digest(text))]);
        for (number, text, refused) in [(1, "a", None), (2, "a", Some(2)), (2, "", None), (9, "a", Some(9))] {
            let (_directory, _halt, mut jobs) = jobs(b"a\n\nb\n");
            match (jobs.check(&done(number, text.as_bytes())), refused) {
                (Ok(Some(2)), None) => {}
                (Err(CliError::OtherJob { number }), Some(wanted)) => assert_eq!(number, wanted),
                (other, _) => panic!("{number} {text:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn who_is_halted_waits_for_nobody() {
        let (halted, mut halt) = io::pipe().unwrap();
        let (silent, _held) = io::pipe().unwrap();
        let input = Input { file: File::from(OwnedFd::from(silent)), halted: halted.into() };
        let mut jobs = Jobs { lines: BufReader::new(input), number: 0, is_file: false };
        assert_eq!(jobs.check(&BTreeMap::new()).unwrap(), None);
        io::Write::write_all(&mut halt, b"x").unwrap();
        assert!(jobs.next().unwrap().is_none());
    }
}
