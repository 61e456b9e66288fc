//! Runs in the keeper, a copy of the supervisor without an exec: no allocation, no lock, no `tracing`, no panic.
//!
//! A network namespace takes the kernel longer than all the others together (`setup_net`, 0.5 ms), and whoever asks
//! for one waits. The keeper has nothing to do while its supervisor prepares the box.

use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use crate::sys;

/// That of the caller, whichever thread of a process it is.
const OWN: &CStr = c"/proc/thread-self/ns/net";

/// Makes a network namespace in which nobody stays: it lasts for as long as the descriptor, or as long as who enters it.
///
/// The calling thread is in it for a moment, and then in that of the process behind `back`, a pidfd: a process of its own
/// network (`setns` with a pidfd, Linux 5.8).
///
/// # Errors
/// The kernel refused (`EPERM` without CAP_SYS_ADMIN), or the caller could not go back: then it must do nothing that
/// needs the network it had.
pub fn make_network_namespace(back: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    sys::unshare(libc::CLONE_NEWNET.unsigned_abs())?;
    let made = openat(CWD, OWN, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    move_into_thread_name_spaces(back, ThreadNameSpaceType::NETWORK)?;
    made
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn the_caller_is_where_it_was_and_the_namespace_is_another_one() -> std::io::Result<()> {
        let own = || std::fs::metadata("/proc/thread-self/ns/net").map(|found| found.ino());
        let before = own()?;
        let this = rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty())?;
        match make_network_namespace(this.as_fd()) {
            Ok(made) => assert_ne!(std::fs::File::from(made).metadata()?.ino(), before),
            Err(Errno::PERM) if std::env::var_os("RUSTBOX_CI").is_none() => {
                eprintln!("SKIPPED: network namespaces need root");
            }
            Err(errno) => return Err(errno.into()),
        }
        assert_eq!(own()?, before);
        Ok(())
    }
}
