//! `seccomp(2)`.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use syscalls::{Sysno, syscall};

use super::answer;

fn install(filter: &'static [libc::sock_filter], flags: libc::c_ulong) -> Result<usize, Errno> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| Errno::INVAL)?,
        // The kernel copies the program and writes nothing there.
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: `program` points to `len` instructions, which live for ever.
    answer(unsafe { syscall!(Sysno::seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) })
}

/// Loads a filter into this thread, for ever.
pub(crate) fn install_filter(filter: &'static [libc::sock_filter]) -> Result<(), Errno> {
    install(filter, 0).map(|_| ())
}

/// Loads a filter into this thread, and returns the descriptor on which its notifications arrive.
pub(crate) fn install_notifying_filter(filter: &'static [libc::sock_filter]) -> Result<OwnedFd, Errno> {
    let fd = install(filter, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER)?;
    let fd = i32::try_from(fd).map_err(|_| Errno::BADF)?;
    // SAFETY: the kernel returned `fd` to this call alone, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes a notification off a listener: the caller's call number and ABI (`AUDIT_ARCH_*`). Blocks.
pub(crate) fn receive_notification(listener: BorrowedFd<'_>) -> Result<(i32, u32), Errno> {
    /// `SECCOMP_IOCTL_NOTIF_RECV`: `_IOWR('!', 0, struct seccomp_notif)`.
    const RECEIVE: libc::c_ulong = 0xc050_2100;
    // SAFETY: `seccomp_notif` is plain data, and the kernel wants all zeroes.
    let mut notification: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the call writes a `seccomp_notif`, whose size is part of its number.
    answer(unsafe { syscall!(Sysno::ioctl, listener.as_raw_fd(), RECEIVE, &raw mut notification) })?;
    Ok((notification.data.nr, notification.data.arch))
}
