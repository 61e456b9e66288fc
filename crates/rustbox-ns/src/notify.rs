//! Denied system calls that end a box.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use crate::seccomp::notified_syscall_name;
use crate::sys;

/// A system call that a payload was stopped in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeniedCall {
    /// The call's number, in the ABI that it was made in.
    pub number: i32,
    /// The call's name, where the tables of this program have it.
    pub name: Option<&'static str>,
}

/// Takes the next denied call off a listener. Poll it first, since this blocks.
///
/// # Errors
/// `ENOENT` when the caller was killed meanwhile; anything else is a defect.
pub fn take_denied_call(listener: BorrowedFd<'_>) -> Result<DeniedCall, Errno> {
    let (number, arch) = sys::receive_notification(listener)?;
    Ok(DeniedCall { number, name: notified_syscall_name(arch, number) })
}
