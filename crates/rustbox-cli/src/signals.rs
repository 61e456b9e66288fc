//! The signals that end a run, as a descriptor.
//!
//! They are blocked and read through a signalfd, so that the supervisor's poll loop sees them
//! between two steps and never in the middle of one. The payload starts with a mask of its own.
//!
//! They stay blocked for as long as the process lives. One that comes when the run is over, the second of an
//! impatient user or of a service manager, would else end us before the report is written, or contradict it. It ends only
//! the waiting for a reader who does not read ([`Patience`](crate::output::Patience)).

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::error::CliError;

/// SIGTERM always; SIGINT and SIGHUP unless the caller ignores them, as `nohup` and a shell's `&` do.
const ALWAYS: Signal = Signal::SIGTERM;
const UNLESS_IGNORED: [Signal; 2] = [Signal::SIGINT, Signal::SIGHUP];

/// Blocked signals and the descriptor on which they arrive.
#[derive(Debug)]
pub(crate) struct Signals(SignalFd);

impl Signals {
    /// Blocks the signals in this thread.
    ///
    /// # Errors
    /// The kernel refuses, or does not tell which signals are ignored.
    pub(crate) fn block() -> Result<Self, CliError> {
        let ignored = ignored_mask(&own_status().map_err(CliError::Signals)?);
        let mut set = SigSet::empty();
        set.add(ALWAYS);
        for signal in UNLESS_IGNORED {
            if ignored & bit(signal) == 0 {
                set.add(signal);
            }
        }
        set.thread_block().map_err(|e| CliError::Signals(e.into()))?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let fd = SignalFd::with_flags(&set, flags).map_err(|e| CliError::Signals(e.into()))?;
        Ok(Self(fd))
    }

    /// Readable when one of the signals came.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Signals {
    /// The number of one signal that came; none when none is there.
    pub(crate) fn take(&self) -> Option<i32> {
        let signal = self.0.read_signal().ok().flatten()?;
        i32::try_from(signal.ssi_signo).ok()
    }

    /// Ends this process by a signal that came, as if it had never been blocked.
    pub(crate) fn die_of(&self, signal: i32) {
        let Ok(signal) = Signal::try_from(signal) else { return };
        let _ = SigSet::from(signal).thread_unblock();
        let _ = nix::sys::signal::raise(signal);
    }
}

/// Our own status file. The kernel makes all of it for one `read`, and it has about 1,500 bytes.
fn own_status() -> std::io::Result<String> {
    let mut text = vec![0; 4096];
    let length = std::fs::File::open("/proc/self/status")?.read(&mut text)?;
    text.truncate(length);
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn bit(signal: Signal) -> u64 {
    1 << (i32::from(signal as u8) - 1)
}

/// `SigIgn` of `/proc/self/status`.
fn ignored_mask(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ignored_signals_are_read_from_the_status_file() {
        let status = "Name:\tcat\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0\n";
        assert_eq!(ignored_mask(status), 0x1001);
        assert_ne!(ignored_mask(status) & bit(Signal::SIGHUP), 0);
        assert_eq!(ignored_mask(status) & bit(Signal::SIGINT), 0);
    }
}
