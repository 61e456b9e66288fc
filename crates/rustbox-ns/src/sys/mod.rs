//! System calls that have no safe wrapper elsewhere: one call a function, no policy.
//!
//! Everything here may run between `clone3` and `execve`: nothing allocates, locks or panics.
#![expect(unsafe_code, reason = "the one place in this crate where system calls are made by hand")]

mod clone;
mod exec;
mod mount;
mod process;
mod seccomp;
mod signal;
mod socket;
mod wait;

pub(crate) use clone::{CloneRequest, clone3};
pub(crate) use exec::{ExecArray, ExecVector, execve, exit_now};
pub(crate) use mount::{MountAttr, mount_setattr};
pub(crate) use process::{
    borrow, close_range, close_range_on_exec, duplicate_onto, forget_fd, join_session_keyring, keep_on_exec,
    loopback_up, new_session, set_hostname, unshare,
};
pub(crate) use seccomp::{install_filter, install_notifying_filter, receive_notification};
pub(crate) use signal::{block_all, ignore, set_default, signal_fd_for_children, unblock_all};
pub(crate) use socket::{FDS_MAX, receive_with_fds, send_with_fds};
pub(crate) use wait::{wait_any_nohang, wait_pidfd};

use rustix::io::Errno;

/// The error of the `libc::syscall` that just returned -1.
fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
