//! The one call that the tests need and no crate wraps.

#![expect(unsafe_code, reason = "clone3 with a chosen pid has no safe wrapper")]

use std::io;

/// Makes a child with exactly this pid, which does nothing until it is killed.
pub(crate) fn child_with_pid(pid: i32) -> io::Result<u32> {
    #[repr(C, align(8))]
    #[derive(Default)]
    struct CloneArgs([u64; 11]);
    const EXIT_SIGNAL: usize = 4;
    const SET_TID: usize = 8;
    const SET_TID_SIZE: usize = 9;
    let wanted = [pid];
    let mut arguments = CloneArgs::default();
    arguments.0[EXIT_SIGNAL] = u64::try_from(libc::SIGCHLD).expect("a signal number");
    arguments.0[SET_TID] = wanted.as_ptr().addr() as u64;
    arguments.0[SET_TID_SIZE] = 1;
    // SAFETY: the arguments and the pid they point to outlive the call, and the size is theirs.
    let child = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<CloneArgs>()) };
    match child {
        0 => loop {
            // SAFETY: takes no argument; async-signal-safe, as everything in this child must be.
            unsafe { libc::pause() };
        },
        1.. => Ok(u32::try_from(child).expect("a pid")),
        _ => Err(io::Error::last_os_error()),
    }
}
