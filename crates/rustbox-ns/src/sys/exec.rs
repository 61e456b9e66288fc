//! `execve(2)` and `_exit(2)`.

use std::ffi::{CStr, CString, c_char};

use rustix::io::Errno;

use super::last_errno;

/// A null-terminated array of C strings that owns what it points to.
#[derive(Debug)]
pub(crate) struct ExecVector {
    pointers: Vec<*const c_char>,
    _strings: Vec<CString>,
}

impl ExecVector {
    pub(crate) fn new(strings: Vec<CString>) -> Self {
        // A CString's bytes are on the heap: moving the CString does not move them.
        let pointers = strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect();
        Self { pointers, _strings: strings }
    }
}

/// Executes a program; returns only if that failed.
pub(crate) fn execve(program: &CStr, argv: &ExecVector, envp: &ExecVector) -> Errno {
    // SAFETY: `program` ends with NUL; both arrays end with null and point to strings that they own.
    unsafe { libc::execve(program.as_ptr(), argv.pointers.as_ptr(), envp.pointers.as_ptr()) };
    last_errno()
}

/// Leaves the process without running anything of the parent's: no destructors, no buffers.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no preconditions.
    unsafe { libc::_exit(code) }
}
