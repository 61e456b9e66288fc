//! System calls without a safe wrapper elsewhere: one call per function, no policy.

#![expect(unsafe_code, reason = "the only module of this crate that calls libc")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// `NS_GET_PARENT` of `linux/nsfs.h`, since Linux 4.9: `_IO(0xb7, 2)`.
const NS_GET_PARENT: libc::Ioctl = 0xb702;
/// `NS_GET_TGID_FROM_PIDNS`, since Linux 6.11: `_IOR(0xb7, 7, int)`.
const NS_GET_TGID_FROM_PIDNS: libc::Ioctl = 0x8004_b707_u32 as libc::Ioctl;

/// Opens the PID namespace that this one was created in.
///
/// # Errors
/// `EPERM` when the parent is outside what the caller can see: the caller's own namespace is the top.
pub(crate) fn ns_parent(namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: `namespace` is open for the call by its lifetime; this request takes no argument and
    // touches no memory of ours.
    let fd: RawFd = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_PARENT) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel returned `fd` to this call alone, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The pid, as the caller sees it, of the process that is `pid` inside `namespace`.
///
/// # Errors
/// `ESRCH` when the namespace has no such process, `ENOTTY` before Linux 6.11.
pub(crate) fn tgid_from_pid_namespace(namespace: BorrowedFd<'_>, pid: libc::c_int) -> io::Result<u32> {
    // SAFETY: `namespace` is open for the call by its lifetime; the argument is a number, not a
    // pointer (fs/nsfs.c takes it as a pid).
    let found = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_TGID_FROM_PIDNS, pid) };
    u32::try_from(found).map_err(|_negative| io::Error::last_os_error())
}

/// Asks whether a signal could be sent: succeeds for a process that lives or is not yet reaped.
///
/// # Errors
/// `ESRCH` once the process is reaped.
pub(crate) fn pidfd_probe(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    const NO_SIGNAL: libc::c_int = 0;
    // SAFETY: `pidfd` is open for the call by its lifetime; a null `siginfo` asks for the default,
    // and signal 0 has no effect on the target.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            NO_SIGNAL,
            std::ptr::null::<libc::siginfo_t>(),
            0_u32,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
