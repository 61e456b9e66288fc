//! `waitid(2)` with resource usage.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustbox_core::Ending;
use rustix::io::Errno;

use syscalls::{Sysno, syscall};

use super::answer;

/// A process that was reaped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reaped {
    /// Its pid, in this PID namespace.
    pub(crate) pid: i32,
    /// How it ended.
    pub(crate) ending: Ending,
    /// Largest resident set, in KiB.
    pub(crate) max_rss_kib: u64,
    /// Voluntary context switches.
    pub(crate) voluntary: u64,
    /// Involuntary context switches.
    pub(crate) involuntary: u64,
}

fn wait(kind: libc::c_uint, id: libc::c_long, flags: libc::c_int) -> Result<Option<Reaped>, Errno> {
    // SAFETY: `siginfo_t` is plain data, and all zeroes are valid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `rusage` is plain data, and all zeroes are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let flags = flags | libc::WEXITED | libc::__WALL;
    loop {
        // SAFETY: both pointers are to structures of the kernel's type. The C library's waitid
        // has no rusage, the system call does.
        match answer(unsafe { syscall!(Sysno::waitid, kind, id, &raw mut info, flags, &raw mut usage) }) {
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    // SAFETY: waitid fills the SIGCHLD members, or leaves the zeroes from above.
    let pid = unsafe { info.si_pid() };
    if pid == 0 {
        return Ok(None);
    }
    // SAFETY: as above.
    let status = unsafe { info.si_status() };
    let ending = if info.si_code == libc::CLD_EXITED { Ending::Exited(status) } else { Ending::Signaled(status) };
    Ok(Some(Reaped {
        pid,
        ending,
        max_rss_kib: usage.ru_maxrss.cast_unsigned(),
        voluntary: usage.ru_nvcsw.cast_unsigned(),
        involuntary: usage.ru_nivcsw.cast_unsigned(),
    }))
}

/// Reaps any child that has ended; none when there are children but all are alive, `ECHILD` when
/// there are none.
pub(crate) fn wait_any_nohang() -> Result<Option<Reaped>, Errno> {
    wait(libc::P_ALL, 0, libc::WNOHANG)
}

/// Waits until the process behind a pidfd has ended, and reaps it.
pub(crate) fn wait_pidfd(pidfd: BorrowedFd<'_>) -> Result<Option<Reaped>, Errno> {
    wait(libc::P_PIDFD, libc::c_long::from(pidfd.as_raw_fd()), 0)
}

/// Waits until any child has ended, and reaps it.
#[cfg(test)]
pub(crate) fn wait_any() -> Result<Option<Reaped>, Errno> {
    wait(libc::P_ALL, 0, 0)
}
