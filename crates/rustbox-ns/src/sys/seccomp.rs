//! `seccomp(2)`.

use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::Errno;

use super::last_errno;

fn install(filter: &'static [libc::sock_filter], flags: libc::c_ulong) -> Result<libc::c_long, Errno> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| Errno::INVAL)?,
        // The kernel copies the program and writes nothing there.
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: `program` points to `len` instructions, which live for ever.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    if result >= 0 { Ok(result) } else { Err(last_errno()) }
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
