//! Writing to a reader who may never read.
//!
//! The signals that end a run stay blocked while its end is told, so that a second one does not cost the report. A reader
//! that has stopped reading would then hold us for ever. So whoever writes here waits for the reader or for a signal,
//! whichever comes first: a signal that finds nobody reading ends the writing. As long as somebody reads, it changes nothing.

use std::cell::Cell;
use std::io;
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, SeekFrom};
use rustix::io::Errno;

use crate::signals::Signals;

/// What a pipe takes without blocking once it is writable (`PIPE_BUF`).
pub(super) const PIECE: usize = 4096;

/// How long what is written waits for its reader.
#[derive(Debug)]
pub(crate) struct Patience<'s> {
    signals: Option<&'s Signals>,
    is_over: Cell<bool>,
}

impl<'s> Patience<'s> {
    /// Until a signal comes. Those that came already were the run's.
    pub(crate) fn until_told(signals: &'s Signals) -> Self {
        while signals.take().is_some() {}
        Self { signals: Some(signals), is_over: Cell::new(false) }
    }

    /// For whom a signal ends anyway, since none is blocked.
    pub(crate) fn endless() -> Self {
        Self { signals: None, is_over: Cell::new(false) }
    }

    /// Writes everything, also to a descriptor that its owner has made non-blocking.
    ///
    /// # Errors
    /// As of `write`; `TimedOut` when a signal came and nobody read.
    pub(super) fn write_all(&self, out: impl AsFd, mut rest: &[u8]) -> io::Result<()> {
        go_to_the_end(&out);
        while !rest.is_empty() {
            self.wait(&out)?;
            match rustix::io::write(&out, rest.get(..PIECE).unwrap_or(rest)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Waits until a write does not block.
    fn wait(&self, out: &impl AsFd) -> io::Result<()> {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        loop {
            let mut fds = vec![PollFd::new(out, PollFlags::OUT)];
            fds.extend(self.signals.map(|signals| PollFd::from_borrowed_fd(signals.fd(), PollFlags::IN)));
            match poll(&mut fds, self.is_over.get().then_some(&at_once)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            // An error or a hang-up is the write's to tell.
            if !fds[0].revents().is_empty() {
                return Ok(());
            }
            if self.is_over.get() || self.signals.and_then(Signals::take).is_some() {
                self.is_over.set(true);
                return Err(io::Error::new(io::ErrorKind::TimedOut, "a signal came, and nobody reads"));
            }
        }
    }
}

/// A file that a payload had too has one position for both: wherever that was left, what follows comes after everything that
/// is there, and nothing after it.
fn go_to_the_end(out: impl AsFd) {
    let is_file =
        rustix::fs::fstat(&out).is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::RegularFile);
    if is_file {
        let _ = rustix::fs::seek(&out, SeekFrom::End(0));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_reader_gets_everything_whatever_signals_come() {
        let signals = Signals::block().unwrap();
        let patience = Patience::until_told(&signals);
        let (mut reader, writer) = io::pipe().unwrap();
        let reads = std::thread::spawn(move || {
            let mut text = Vec::new();
            reader.read_to_end(&mut text).map(|_| text.len())
        });
        patience.write_all(&writer, &[b'x'; 200_000]).unwrap();
        drop(writer);
        assert_eq!(reads.join().unwrap().unwrap(), 200_000);
    }

    #[test]
    fn nobody_is_waited_for_once_a_signal_has_come() {
        let signals = Signals::block().unwrap();
        let patience = Patience::until_told(&signals);
        let (_reader, writer) = io::pipe().unwrap();
        // To this thread, in which it is blocked: it is there when the pipe is full.
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGHUP).unwrap();
        let failed = patience.write_all(&writer, &[b'x'; 200_000]).unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::TimedOut);
        let begun = Instant::now();
        patience.write_all(&writer, b"more").unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}
