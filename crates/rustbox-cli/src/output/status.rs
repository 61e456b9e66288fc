//! JSON lines on a descriptor of the caller, as the run proceeds.
//!
//! The run is supervised by this very thread, so a reader that does not read must never make it
//! wait: a line that would block is dropped and counted, and the last line says how many were. Only
//! that last line, the report, waits for its reader: by then the box is gone.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use serde::Serialize;

use super::patience::PIECE;
use super::{OutputError, Patience};

/// A longer line might block.
const LINE_MAX: usize = PIECE;

/// The caller's descriptor.
#[derive(Debug)]
pub(crate) struct StatusStream {
    out: File,
    dropped: u64,
}

#[derive(Serialize)]
struct Last<'r, R> {
    event: &'static str,
    report: &'r R,
    dropped_lines: u64,
}

impl StatusStream {
    /// Takes a copy of the descriptor with this number.
    ///
    /// # Errors
    /// It is not open, or not for writing.
    pub(crate) fn open(fd: i32) -> Result<Self, OutputError> {
        let out = duplicate(fd).map_err(|e| OutputError::NotOpen { fd, source: Some(e.into()) })?;
        let flags = rustix::fs::fcntl_getfl(&out).map_err(|e| OutputError::NotOpen { fd, source: Some(e.into()) })?;
        let access = flags & rustix::fs::OFlags::RWMODE;
        if access == rustix::fs::OFlags::RDONLY {
            return Err(OutputError::NotOpen { fd, source: None });
        }
        Ok(Self { out: out.into(), dropped: 0 })
    }

    /// Writes one line, if that is possible without waiting.
    pub(crate) fn send(&mut self, line: &impl Serialize) {
        let text = serde_json::to_string(line).map(|text| text + "\n");
        let sent = match text {
            Ok(text) if text.len() <= LINE_MAX && self.is_writable() => self.out.write_all(text.as_bytes()).is_ok(),
            _ => false,
        };
        if !sent {
            self.dropped += 1;
        }
    }

    /// Writes the report as the last line, and waits for its reader.
    pub(crate) fn finish(
        self,
        event: &'static str,
        report: &impl Serialize,
        patience: &Patience<'_>,
    ) -> io::Result<()> {
        let last = Last { event, report, dropped_lines: self.dropped };
        let text = serde_json::to_string(&last)? + "\n";
        patience.write_all(&self.out, text.as_bytes())
    }

    fn is_writable(&self) -> bool {
        let mut fds = [PollFd::new(&self.out, PollFlags::OUT)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&now)).is_ok() && fds[0].revents() == PollFlags::OUT
    }
}

/// A number is not proof that a descriptor is open. `pidfd_getfd` (Linux 5.6) on ourselves looks it up and
/// hands out a copy that is ours to close, without a raw descriptor ever being believed.
fn duplicate(fd: i32) -> rustix::io::Result<OwnedFd> {
    let own = pidfd_open(getpid(), PidfdFlags::empty())?;
    pidfd_getfd(own, fd, PidfdGetfdFlags::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_reader_that_does_not_read_loses_lines_and_never_blocks_the_run() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut stream = StatusStream::open(writer.as_raw_fd()).unwrap();
        drop(writer);
        let sent = 20_000_u64;
        for number in 0..sent {
            stream.send(&number);
        }
        assert!(stream.dropped > 0, "a pipe holds less than {sent} lines");
        let dropped = stream.dropped;
        let collect = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        stream.finish("report", &"x".repeat(100_000), &Patience::endless()).unwrap();
        let text = collect.join().unwrap();
        let last: serde_json::Value = serde_json::from_str(text.lines().next_back().unwrap()).unwrap();
        assert_eq!(last["dropped_lines"], dropped);
        assert_eq!(text.lines().count() as u64, sent - dropped + 1);
    }

    #[test]
    fn a_descriptor_that_is_closed_or_only_for_reading_is_refused() {
        assert!(matches!(StatusStream::open(999), Err(OutputError::NotOpen { source: Some(_), .. })));
        let (reader, _writer) = io::pipe().unwrap();
        assert!(matches!(StatusStream::open(reader.as_raw_fd()), Err(OutputError::NotOpen { source: None, .. })));
    }
}
