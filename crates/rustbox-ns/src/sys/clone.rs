//! `clone3(2)` and `clone(2)`.

use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use syscalls::{Sysno, syscall};

use super::{Stack, answer, exit_now};

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

/// Makes a copy of this process that runs `child` on a copy of the address space. Its end raises no signal, and waiting for it
/// needs `__WALL`.
///
/// When other threads exist they may hold any lock, the allocator's included, for ever in the
/// copy: `child` must not allocate, lock or panic. It is left by `_exit` even if it returns.
pub(crate) fn clone3(request: &CloneRequest<'_>, child: impl FnOnce() -> i32) -> Result<(i32, OwnedFd), Errno> {
    let mut pidfd: libc::c_int = -1;
    let flags = request.namespaces | u64::from(libc::CLONE_PIDFD.unsigned_abs()) | CLONE_CLEAR_SIGHAND;
    let mut args = CloneArgs {
        flags: flags | if request.cgroup.is_some() { CLONE_INTO_CGROUP } else { 0 },
        pidfd: (&raw mut pidfd) as u64,
        cgroup: request.cgroup.map_or(0, |fd| u64::from(fd.as_raw_fd().unsigned_abs())),
        ..CloneArgs::default()
    };
    // SAFETY: `args` is a `clone_args` of the size given, and `pidfd` outlives the call. Without
    // CLONE_VM the child has its own copy of the stack, so returning twice from here is sound.
    let pid = answer(unsafe { syscall!(Sysno::clone3, &raw mut args, size_of::<CloneArgs>()) })?;
    match i32::try_from(pid) {
        Ok(0) => {
            // Should the child panic after all, it must not unwind into what is the parent's code.
            let _guard = ExitOnUnwind;
            exit_now(child())
        }
        // SAFETY: the kernel stored a descriptor there that nothing else owns.
        Ok(pid) => Ok((pid, unsafe { OwnedFd::from_raw_fd(pidfd) })),
        Err(_) => Err(Errno::IO),
    }
}

/// Makes a process that runs `child` on a stack of its own, in the *same* memory as this one, and goes on with `parent`,
/// which gets its pid. Its end raises SIGCHLD. This process ends when `parent` returns, by its exit code: so whatever
/// `child` borrows lasts for as long as there is anybody who could change it. Neither may write what the other uses.
///
/// No page table is copied for it, no page that either writes is copied a second time, and its exec has none to give
/// back. It shares nothing else: descriptors, directories and handlers of signals are copies.
pub(crate) fn clone_sharing<F: FnOnce() -> i32>(
    stack: Stack,
    child: F,
    parent: impl FnOnce(Result<i32, Errno>) -> i32,
) -> ! {
    let _guard = ExitOnUnwind;
    let child = stack.push(child);
    let flags = libc::CLONE_VM | libc::SIGCHLD;
    // SAFETY: everything below `child` is a stack that nobody else uses, and `child` is what `enter` takes. It is on that
    // stack, where no call of the parent's writes; what it borrows is not given back, since this function never returns.
    let pid = unsafe { libc::clone(enter::<F>, child.cast(), flags, child.cast()) };
    // The C library's clone has set `errno` only if there is no second process.
    let failed = || Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO);
    exit_now(parent(if pid > 0 { Ok(pid) } else { Err(failed()) }))
}

extern "C" fn enter<F: FnOnce() -> i32>(child: *mut c_void) -> c_int {
    let _guard = ExitOnUnwind;
    // SAFETY: `clone_sharing` wrote an `F` there for this one call.
    let child = unsafe { child.cast::<F>().read() };
    exit_now(child())
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
        let request = CloneRequest { namespaces: 0, cgroup: None };
        // Without the hook's output: only the way out is of interest.
        let (_, pidfd) = clone3(&request, || std::panic::resume_unwind(Box::new(()))).unwrap();
        let reaped = crate::sys::wait_pidfd(std::os::fd::AsFd::as_fd(&pidfd)).unwrap().unwrap();
        assert_eq!(reaped.ending, rustbox_core::Ending::Exited(PANICKED));
    }

    #[test]
    fn a_process_that_shares_memory_has_a_stack_of_its_own_and_is_seen_to_end() {
        let request = CloneRequest { namespaces: 0, cgroup: None };
        let written = std::sync::atomic::AtomicI32::new(0);
        let (_, pidfd) = clone3(&request, || {
            let Ok(stack) = Stack::new() else { return 99 };
            let child = || {
                written.store(7, std::sync::atomic::Ordering::SeqCst);
                4
            };
            clone_sharing(stack, child, |cloned| match (cloned, crate::sys::wait_any()) {
                (Ok(pid), Ok(Some(ended))) if ended.pid == pid => match ended.ending {
                    // Its exit code, and what it wrote into the memory of both.
                    rustbox_core::Ending::Exited(code) => code + written.load(std::sync::atomic::Ordering::SeqCst),
                    rustbox_core::Ending::Signaled(_) => 98,
                },
                _ => 97,
            })
        })
        .unwrap();
        let reaped = crate::sys::wait_pidfd(std::os::fd::AsFd::as_fd(&pidfd)).unwrap().unwrap();
        assert_eq!(reaped.ending, rustbox_core::Ending::Exited(11));
        // That was the memory of the copy, and not this one.
        assert_eq!(written.into_inner(), 0);
    }

    #[test]
    fn clone_args_has_the_size_of_linux_5_7() {
        assert_eq!(size_of::<CloneArgs>(), 88);
    }
}
