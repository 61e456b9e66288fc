//! Waiting with a deadline, on descriptors.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// One process, by descriptor: what is signalled and waited for through it cannot be another one.
#[derive(Debug)]
pub struct PidFd(OwnedFd);

impl PidFd {
    /// The process with this pid, if there is one. The caller knows that the pid is still its.
    #[must_use]
    pub fn open(pid: u32) -> Option<Self> {
        let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
        pidfd_open(pid, PidfdFlags::empty()).ok().map(Self)
    }

    /// Sends a signal. An already dead process is no error: it is what the caller wants.
    pub fn signal(&self, signal: Signal) {
        let _gone = pidfd_send_signal(&self.0, signal);
    }

    /// Waits until the process has ended, or until the time is over; tells whether it has ended.
    #[must_use]
    pub fn wait(&self, time: Duration) -> bool {
        readable(self.0.as_fd(), PollFlags::IN, time)
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits for one event of a descriptor; false when the time was over first.
pub(crate) fn readable(fd: BorrowedFd<'_>, events: PollFlags, time: Duration) -> bool {
    let until = Instant::now() + time;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left =
            Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::from_borrowed_fd(fd, events)], Some(&left)) {
            Ok(count) => return count > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("poll: {error}"),
        }
    }
}

/// Asks again and again until the condition holds; none when `time` was over first.
///
/// For kernel facts that no descriptor announces (a directory that goes, a state letter that changes).
/// Between two looks it waits on a descriptor that never becomes ready, so that it cannot spin.
pub fn wait_until<T>(time: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let until = Instant::now() + time;
    let (quiet, _open) = rustix::pipe::pipe().expect("pipe");
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= until {
            return None;
        }
        let _never = readable(quiet.as_fd(), PollFlags::IN, Duration::from_millis(2));
    }
}
