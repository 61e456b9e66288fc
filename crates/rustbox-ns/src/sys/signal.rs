//! Signal masks and dispositions.

use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::Errno;

use syscalls::{Sysno, syscall};

use super::answer;

/// Size of the kernel's signal set, in bytes.
const SIGSET_BYTES: usize = 8;

fn set_mask(mask: u64) -> Result<(), Errno> {
    let old = std::ptr::null_mut::<u64>();
    // SAFETY: the new mask is a set of the size given; a null old mask is allowed.
    let result = unsafe { syscall!(Sysno::rt_sigprocmask, libc::SIG_SETMASK, &raw const mask, old, SIGSET_BYTES) };
    answer(result).map(|_| ())
}

fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// Lets every signal through.
pub(crate) fn unblock_all() -> Result<(), Errno> {
    set_mask(0)
}

/// Blocks every signal that can be blocked.
pub(crate) fn block_all() -> Result<(), Errno> {
    set_mask(u64::MAX)
}

/// Gives a signal its default disposition.
pub(crate) fn set_default(signal: i32) -> Result<(), Errno> {
    set_disposition(signal, libc::SIG_DFL as u64)
}

/// Lets a signal pass without effect.
pub(crate) fn ignore(signal: i32) -> Result<(), Errno> {
    set_disposition(signal, libc::SIG_IGN as u64)
}

fn set_disposition(signal: i32, handler: u64) -> Result<(), Errno> {
    // Handler, flags, restorer, mask: no flags and an empty mask.
    let action = [handler, 0, 0, 0];
    let old = std::ptr::null_mut::<u64>();
    // SAFETY: the kernel's `sigaction` is at most 32 bytes long, and all zeroes are valid.
    answer(unsafe { syscall!(Sysno::rt_sigaction, signal, &raw const action, old, SIGSET_BYTES) }).map(|_| ())
}

/// The signals that are blocked now.
fn blocked() -> Result<u64, Errno> {
    let (new, mut old) = (std::ptr::null::<u64>(), 0_u64);
    // SAFETY: a null new mask changes nothing; `old` is a set of the size given.
    let result = unsafe { syscall!(Sysno::rt_sigprocmask, libc::SIG_SETMASK, new, &raw mut old, SIGSET_BYTES) };
    answer(result).map(|_| old)
}

/// Blocks SIGCHLD, and returns a descriptor that is readable when one is pending.
///
/// # Errors
/// Also when the signal is not blocked after all: it would be lost, and its reader wait for ever.
pub(crate) fn signal_fd_for_children() -> Result<OwnedFd, Errno> {
    let mask = bit(libc::SIGCHLD);
    set_mask(mask)?;
    if blocked()? & mask == 0 {
        return Err(Errno::PERM);
    }
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: `mask` is a set of the size given; all ones, which is -1, ask for a new descriptor.
    let fd = answer(unsafe { syscall!(Sysno::signalfd4, usize::MAX, &raw const mask, SIGSET_BYTES, flags) })?;
    let fd = i32::try_from(fd).map_err(|_| Errno::BADF)?;
    // SAFETY: the kernel returned `fd` to this call alone, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
