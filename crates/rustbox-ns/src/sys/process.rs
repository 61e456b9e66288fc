//! Calls that change this process: descriptors, session, keyring, host name, loopback.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use syscalls::{Sysno, syscall};

use super::answer;

/// Closes every descriptor from `first` to `last`, since Linux 5.9.
pub(crate) fn close_range(first: u32, last: u32) -> Result<(), Errno> {
    // SAFETY: takes numbers only. The caller is a cloned child that owns none of these descriptors
    // through a Rust value that is used again.
    answer(unsafe { syscall!(Sysno::close_range, first, last, 0) }).map(|_| ())
}

/// Marks every descriptor from `first` up as close-on-exec, since Linux 5.11.
pub(crate) fn close_range_on_exec(first: u32) -> Result<(), Errno> {
    // SAFETY: takes numbers only, and closes nothing now.
    answer(unsafe { syscall!(Sysno::close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) }).map(|_| ())
}

/// Closes a descriptor that the parent's copy of a Rust value owns: in a cloned child only.
pub(crate) fn forget_fd(fd: BorrowedFd<'_>) {
    // SAFETY: the child shares no descriptor table with its parent and never drops the owner.
    let _ = unsafe { syscall!(Sysno::close, fd.as_raw_fd()) };
}

/// Makes a session of this process's own, and reads it back: a call that lied would leave the caller's terminal within
/// the payload's reach.
pub(crate) fn new_session() -> Result<(), Errno> {
    // SAFETY: takes nothing, and touches no memory of ours.
    let made = answer(unsafe { syscall!(Sysno::setsid) })?;
    // SAFETY: takes a number only; 0 is the caller.
    let session = answer(unsafe { syscall!(Sysno::getsid, 0) })?;
    // In a new PID namespace a session that began outside of it is 0, and so is the answer of a call that was not made.
    if made > 0 && session == made { Ok(()) } else { Err(Errno::PERM) }
}

/// Joins a new session keyring without a name.
pub(crate) fn join_session_keyring() -> Result<(), Errno> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    let no_name = std::ptr::null::<libc::c_char>();
    // SAFETY: a null name is documented to mean "a new, anonymous keyring".
    answer(unsafe { syscall!(Sysno::keyctl, KEYCTL_JOIN_SESSION_KEYRING, no_name) }).map(|_| ())
}

/// Sets the host name of this UTS namespace.
pub(crate) fn set_hostname(name: &CStr) -> Result<(), Errno> {
    rustix::system::sethostname(name.to_bytes())
}

/// Brings the interface `lo` of this network namespace up.
pub(crate) fn loopback_up(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: `ifreq` is plain data, and all zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    #[expect(clippy::cast_possible_truncation, reason = "0x41 fits")]
    let flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    request.ifr_ifru.ifru_flags = flags;
    // SAFETY: SIOCSIFFLAGS reads an `ifreq`, and `request` is one.
    answer(unsafe { syscall!(Sysno::ioctl, socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }).map(|_| ())
}

/// A descriptor by its number: in a cloned child, for a number that the parent's plan keeps open.
pub(crate) fn borrow(number: i32) -> BorrowedFd<'static> {
    // SAFETY: the numbers come from descriptors that the plan owns, which are in the list of those
    // kept open, and the child never returns from the scope in which they are.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// Makes descriptor `target` another name of `source`, open across `execve`.
pub(crate) fn duplicate_onto(source: BorrowedFd<'_>, target: i32) -> Result<(), Errno> {
    // SAFETY: takes numbers only; what `target` was is owned by no Rust value of this cloned child.
    let made = answer(unsafe { syscall!(Sysno::dup3, source.as_raw_fd(), target, 0) })?;
    if i32::try_from(made) == Ok(target) { Ok(()) } else { Err(Errno::BADF) }
}

/// Leaves a descriptor open across `execve`.
pub(crate) fn keep_on_exec(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())
}

/// Which `CLONE_NEW*` a descriptor of a namespace is about: `NS_GET_NSTYPE` of `linux/nsfs.h`, since Linux 4.11.
pub(crate) fn namespace_kind(namespace: BorrowedFd<'_>) -> Result<u32, Errno> {
    // SAFETY: takes no argument but the request.
    let kind = answer(unsafe { syscall!(Sysno::ioctl, namespace.as_raw_fd(), libc::NS_GET_NSTYPE) })?;
    u32::try_from(kind).map_err(|_| Errno::INVAL)
}

/// Leaves namespaces behind for new ones.
pub(crate) fn unshare(flags: u32) -> Result<(), Errno> {
    // SAFETY: takes flags only; the caller passes none that would unshare memory or descriptors.
    answer(unsafe { syscall!(Sysno::unshare, flags) }).map(|_| ())
}
