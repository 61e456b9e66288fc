//! How a batch ends before its jobs do.
//!
//! A signal ends every run and lets no other begin; so does a result that cannot be written. A worker that takes no more work
//! lets no other begin.

use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Signal;

use crate::error::CliError;
use crate::signals::Signals;

/// Size of a record that a run takes for a signal: that of `signalfd_siginfo`.
const RECORD: usize = 128;

/// How long the runs have to end, and the results to be read, before a second signal ends the batch.
const TIME_TO_STOP: Duration = Duration::from_secs(5);

/// Why a batch ends early, if it does, and who is told. Held until the end, so that nobody who reads sees an end of file.
pub(super) struct Stop {
    signal: AtomicI32,
    refused: OnceLock<CliError>,
    runs_ended: AtomicBool,
    runs: PipeWriter,
    /// A record for each of so many runs.
    count: usize,
    halt: PipeWriter,
}

/// The ends at which it is heard.
pub(super) struct Heard {
    /// Read by every run: a record ends one.
    pub(super) runs: OwnedFd,
    /// Can be read when no other job is to begin.
    pub(super) halted: OwnedFd,
}

impl Stop {
    pub(super) fn new(runs: usize) -> io::Result<(Self, Heard)> {
        let (reader, writer) = io::pipe()?;
        let (halted, halt) = io::pipe()?;
        let (signal, runs_ended) = (AtomicI32::new(0), AtomicBool::new(false));
        let stop = Self { signal, refused: OnceLock::new(), runs_ended, runs: writer, count: runs, halt };
        Ok((stop, Heard { runs: reader.into(), halted: halted.into() }))
    }

    /// The signal; none as long as there was none.
    pub(super) fn signal(&self) -> Option<i32> {
        Some(self.signal.load(Ordering::Acquire)).filter(|signal| *signal != 0)
    }

    /// Why the worker takes no more work, if it does not.
    pub(super) fn refused(&self) -> Option<&CliError> {
        self.refused.get()
    }

    /// Whether no other job is to begin.
    pub(super) fn is_set(&self) -> bool {
        self.runs_ended.load(Ordering::Acquire) || self.refused.get().is_some()
    }

    /// Results can be written no more.
    pub(super) fn unwritten(&self) {
        self.end_runs(Signal::PIPE.as_raw());
    }

    /// The worker takes no more work.
    pub(super) fn refuse(&self, error: CliError) {
        let _first = self.refused.set(error);
        self.halt();
    }

    fn halt(&self) {
        // Whoever reads it looks whether there is something, and takes nothing out.
        let _ = (&self.halt).write_all(b"x");
    }

    fn end_runs(&self, signal: i32) {
        if self.runs_ended.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut record = [0; RECORD];
        record[..4].copy_from_slice(&signal.to_ne_bytes());
        for _ in 0..self.count {
            // A pipe takes 64 KiB, 512 records, without a reader; there are fewer runs.
            let _ = (&self.runs).write_all(&record);
        }
        self.halt();
    }

    /// Waits for a signal, and then ends the runs; returns when `over` is closed.
    pub(super) fn watch(&self, signals: &Signals, over: &PipeReader) {
        let mut stopped: Option<Instant> = None;
        loop {
            let mut fds = [
                PollFd::from_borrowed_fd(over.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(signals.fd(), PollFlags::IN),
            ];
            if rustix::io::retry_on_intr(|| poll(&mut fds, None)).is_err() || !fds[0].revents().is_empty() {
                return;
            }
            let Some(signal) = signals.take() else { continue };
            match stopped {
                None => {
                    stopped = Some(Instant::now());
                    self.signal.store(signal, Ordering::Release);
                    self.end_runs(signal);
                }
                // It finds nobody who reads the results: this process ends, and with it whatever there may be of boxes.
                Some(at) if at.elapsed() > TIME_TO_STOP => signals.die_of(signal),
                Some(_) => {}
            }
        }
    }
}
