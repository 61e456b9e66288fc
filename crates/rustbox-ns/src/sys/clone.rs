//! `clone3(2)`.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use super::{exit_now, last_errno};

/// `CLONE_INTO_CGROUP`, since Linux 5.7. The libc crate's constant of this name is 0: the value
/// does not fit the `c_int` that it is declared with.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// `CLONE_CLEAR_SIGHAND`, since Linux 5.5: handlers become defaults, ignored signals stay ignored.
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;

/// `struct clone_args` of `linux/sched.h`, as of Linux 5.7.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// What is asked of `clone3`.
#[derive(Debug)]
pub(crate) struct CloneRequest<'a> {
    /// `CLONE_NEW*`.
    pub(crate) namespaces: u64,
    /// Signal that the parent gets at the end; 0 for none, and then waiting needs `__WALL`.
    pub(crate) exit_signal: u64,
    /// A cgroup v2 directory in which the child is born.
    pub(crate) cgroup: Option<BorrowedFd<'a>>,
}

/// Ends the process when it is dropped, which only a panic can bring about.
struct ExitOnUnwind;

impl Drop for ExitOnUnwind {
    fn drop(&mut self) {
        exit_now(PANICKED);
    }
}

/// Exit code of a child that panicked: that of a Rust program.
const PANICKED: i32 = 101;

/// Makes a copy of this process that runs `child` on a copy of the address space.
///
/// When other threads exist they may hold any lock, the allocator's included, for ever in the
/// copy: `child` must not allocate, lock or panic. It is left by `_exit` even if it returns.
pub(crate) fn clone3(request: &CloneRequest<'_>, child: impl FnOnce() -> i32) -> Result<(i32, OwnedFd), Errno> {
    let mut pidfd: libc::c_int = -1;
    let flags = request.namespaces | u64::from(libc::CLONE_PIDFD.unsigned_abs()) | CLONE_CLEAR_SIGHAND;
    let mut args = CloneArgs {
        flags: flags | if request.cgroup.is_some() { CLONE_INTO_CGROUP } else { 0 },
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: request.exit_signal,
        cgroup: request.cgroup.map_or(0, |fd| u64::from(fd.as_raw_fd().unsigned_abs())),
        ..CloneArgs::default()
    };
    // SAFETY: `args` is a `clone_args` of the size given, and `pidfd` outlives the call. Without
    // CLONE_VM the child has its own copy of the stack, so returning twice from here is sound.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) };
    match i32::try_from(pid) {
        Ok(0) => {
            // Should the child panic after all, it must not unwind into what is the parent's code.
            let _guard = ExitOnUnwind;
            exit_now(child())
        }
        // SAFETY: the kernel stored a descriptor there that nothing else owns.
        Ok(pid) if pid > 0 => Ok((pid, unsafe { OwnedFd::from_raw_fd(pidfd) })),
        _ => Err(last_errno()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn into_cgroup_is_not_the_zero_of_libc() {
        assert_eq!(CLONE_INTO_CGROUP, 1 << 33);
    }

    #[test]
    fn a_child_that_panics_never_returns_into_its_parent() {
        let request = CloneRequest { namespaces: 0, exit_signal: 0, cgroup: None };
        // Without the hook's output: only the way out is of interest.
        let (_, pidfd) = clone3(&request, || std::panic::resume_unwind(Box::new(()))).unwrap();
        let reaped = crate::sys::wait_pidfd(std::os::fd::AsFd::as_fd(&pidfd)).unwrap().unwrap();
        assert_eq!(reaped.ending, rustbox_core::Ending::Exited(PANICKED));
    }

    #[test]
    fn clone_args_has_the_size_of_linux_5_7() {
        assert_eq!(size_of::<CloneArgs>(), 88);
    }
}
