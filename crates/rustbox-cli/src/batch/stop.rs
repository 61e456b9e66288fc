//! How a batch is stopped: by a signal, which ends every run and lets no other begin.

use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use crate::signals::Signals;

/// Size of a record that a run takes for a signal: that of `signalfd_siginfo`.
const RECORD: usize = 128;

/// How long the runs have to end, and the results to be read, before a second signal ends the batch.
const TIME_TO_STOP: Duration = Duration::from_secs(5);

/// Whether a signal came, and which.
#[derive(Clone, Debug, Default)]
pub(super) struct Stop(Arc<AtomicI32>);

impl Stop {
    /// The signal; none as long as there was none.
    pub(super) fn signal(&self) -> Option<i32> {
        Some(self.0.load(Ordering::Acquire)).filter(|signal| *signal != 0)
    }

    fn set(&self, signal: i32) {
        self.0.store(signal, Ordering::Release);
    }
}

/// The two ends of the pipe that ends runs.
pub(super) struct Interrupts {
    pub(super) runs: OwnedFd,
    writer: PipeWriter,
}

impl Interrupts {
    pub(super) fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        Ok(Self { runs: reader.into(), writer })
    }

    /// Waits for a signal, and then ends `runs` runs at most; returns when `over` is closed without one.
    pub(super) fn watch(self, signals: &Signals, over: &PipeReader, stop: &Stop, runs: usize) {
        let mut writer = self.writer;
        loop {
            let mut fds = [
                PollFd::from_borrowed_fd(signals.fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(over.as_fd(), PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return,
                Ok(_) => {}
            }
            if fds[0].revents().is_empty() {
                return;
            }
            let Some(signal) = signals.take() else { continue };
            stop.set(signal);
            let mut record = [0; RECORD];
            record[..4].copy_from_slice(&signal.to_ne_bytes());
            for _ in 0..runs {
                // A pipe takes 64 KiB, 512 records, without a reader; there are fewer runs.
                let _ = writer.write_all(&record);
            }
            // Held until the end, so that the readers see no end of file.
            wait_for(signals, over);
            return;
        }
    }
}

/// Waits for the end of the batch. Another signal, when there has been time enough for it, finds nobody who reads the
/// results: this process ends, and with it whatever there may be of boxes.
fn wait_for(signals: &Signals, over: &PipeReader) {
    let stopped = Instant::now();
    loop {
        let mut fds = [
            PollFd::from_borrowed_fd(over.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(signals.fd(), PollFlags::IN),
        ];
        let _ready = poll(&mut fds, None);
        if !fds[0].revents().is_empty() {
            return;
        }
        if let Some(signal) = signals.take()
            && stopped.elapsed() > TIME_TO_STOP
        {
            signals.die_of(signal);
        }
    }
}
