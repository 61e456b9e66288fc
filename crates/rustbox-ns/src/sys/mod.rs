//! System calls that have no safe wrapper elsewhere: one call a function, no policy.
//!
//! Everything here may run between `clone3` and `execve`: nothing allocates, locks or panics.
#![expect(unsafe_code, reason = "the one place in this crate where system calls are made by hand")]

mod clone;
mod exec;
mod mount;
mod process;
mod sched;
mod seccomp;
mod signal;
mod socket;
mod stack;
mod wait;

pub(crate) use clone::{CloneRequest, clone_sharing, clone3};
pub(crate) use exec::{ExecArray, ExecVector, execve, exit_now};
pub(crate) use mount::{MountAttr, mount_setattr};
pub(crate) use process::{
    borrow, close_range, close_range_on_exec, duplicate_onto, forget_fd, join_session_keyring, keep_on_exec,
    loopback_up, namespace_kind, new_session, set_hostname, unshare,
};
pub(crate) use sched::{Scheduling, scheduling, set_scheduling};
pub(crate) use seccomp::{install_filter, install_notifying_filter, receive_notification};
pub(crate) use signal::{block_all, ignore, set_default, signal_fd_for_children, unblock_all};
pub(crate) use socket::{FDS_MAX, receive_with_fds, send_with_fds};
pub(crate) use stack::Stack;
#[cfg(test)]
pub(crate) use wait::wait_any;
pub(crate) use wait::{wait_any_nohang, wait_pidfd};

use rustix::io::Errno;

/// What the kernel answered. Not by way of the C library's `errno`: the init and the process that becomes the payload share
/// their memory, and with it that variable. (A `close` whose answer nobody looks at may go that way.)
fn answer(result: Result<usize, syscalls::Errno>) -> Result<usize, Errno> {
    result.map_err(|errno| Errno::from_raw_os_error(errno.into_raw()))
}
