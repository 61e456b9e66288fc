//! Children of the supervisor.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustbox_core::Ending;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, pidfd_send_signal};
use rustix::time::Timespec;

use crate::blueprint::gaps;
use crate::error::Error;
use crate::sys::{self, CloneRequest};

/// A child of this process, named by its pidfd.
#[derive(Debug)]
pub struct Process {
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
}

/// A child that has ended and was reaped.
#[derive(Debug)]
pub struct Reaped {
    /// How it ended.
    pub ending: Ending,
    /// What proves it: readable for ever, and no other process can have it.
    pub pidfd: OwnedFd,
}

impl Process {
    /// Its pid in this PID namespace; for display and for `/proc`, never for signals.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its pidfd: readable once the process has ended.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Sends SIGKILL. A process that has ended already is no error.
    ///
    /// # Errors
    /// Whatever `pidfd_send_signal` says besides `ESRCH`.
    pub fn kill(&self) -> Result<(), Error> {
        match pidfd_send_signal(&self.pidfd, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(errno) => Err(Error::call("pidfd_send_signal(SIGKILL)")(errno)),
        }
    }

    /// Waits until the process has ended, at most for `limit`; false when it has not. Does not reap.
    #[must_use]
    pub fn ends_within(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).ok();
            let mut fds = [PollFd::from_borrowed_fd(self.pidfd.as_fd(), PollFlags::IN)];
            match poll(&mut fds, timeout.as_ref()) {
                Ok(0) => return false,
                Ok(_) => return true,
                Err(_) if left.is_zero() => return false,
                Err(_) => {}
            }
        }
    }

    /// Waits for the end and reaps. Blocks: ask [`Self::ends_within`] first where there is a deadline.
    ///
    /// # Errors
    /// `ECHILD` when somebody else has reaped it: that is missing evidence, not an end.
    pub fn wait(self) -> Result<Ending, Error> {
        self.reap().map(|reaped| reaped.ending)
    }

    /// Waits for the end and reaps, and keeps the pidfd as the proof.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn reap(self) -> Result<Reaped, Error> {
        match sys::wait_pidfd(self.pidfd.as_fd()) {
            Ok(Some(reaped)) => Ok(Reaped { ending: reaped.ending, pidfd: self.pidfd }),
            Ok(None) => Err(Error::call("waitid")(rustix::io::Errno::CHILD)),
            Err(errno) => Err(Error::call("waitid")(errno)),
        }
    }
}

/// Runs `child` in a copy of this process, in the same namespaces, with no descriptor but `keep`.
///
/// For the supervisor's keeper. `child` runs after a fork of what may be a program with threads: it
/// must not allocate, lock or panic. All signals are blocked in it, it has a session of its own and
/// the name given, and it is left by `_exit`. Its end raises no signal here.
///
/// # Errors
/// `clone3` refused.
pub fn spawn_helper(
    name: &'static CStr,
    keep: &[BorrowedFd<'_>],
    child: impl FnOnce() -> i32,
) -> Result<Process, Error> {
    let close = gaps(keep.iter().map(AsRawFd::as_raw_fd).collect());
    let request = CloneRequest { namespaces: 0, cgroup: None };
    let cloned = sys::clone3(&request, || {
        let _ = sys::block_all();
        let _ = rustix::thread::set_name(name);
        let _ = rustix::process::setsid();
        for (first, last) in &close {
            let _ = sys::close_range(*first, *last);
        }
        child()
    });
    let (pid, pidfd) = cloned.map_err(Error::call("clone3 of a helper"))?;
    Ok(Process { pid: pid.unsigned_abs(), pidfd })
}

/// Lets this process survive its own file size limit: a write beyond it fails with `EFBIG`, and is
/// reported, instead of ending the process by SIGXFSZ. For programs, not for libraries; what a box runs
/// gets every signal with its default disposition, whatever its supervisor ignores.
///
/// # Errors
/// `rt_sigaction` refused.
pub fn ignore_file_size_signal() -> Result<(), Error> {
    sys::ignore(libc::SIGXFSZ).map_err(Error::call("ignore SIGXFSZ"))
}
