//! `execve(2)` and `_exit(2)`.

use std::ffi::{CStr, CString, c_char};

use rustix::io::Errno;

use syscalls::{Sysno, syscall};

use super::answer;

/// A null-terminated array of C strings that owns what it points to.
#[derive(Debug)]
pub(crate) struct ExecVector {
    pointers: Vec<*const c_char>,
    _strings: Vec<CString>,
}

// SAFETY: the pointers lead into strings that the value owns and never changes, whichever thread has it.
unsafe impl Send for ExecVector {}

impl ExecVector {
    pub(crate) fn new(strings: Vec<CString>) -> Self {
        // A CString's bytes are on the heap: moving the CString does not move them.
        let pointers = strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect();
        Self { pointers, _strings: strings }
    }
}

/// A null-terminated array of pointers to C strings that live as long as it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExecArray<'a> {
    pointers: &'a [*const c_char],
}

impl ExecVector {
    pub(crate) fn array(&self) -> ExecArray<'_> {
        ExecArray { pointers: &self.pointers }
    }
}

impl<'a> ExecArray<'a> {
    /// The strings that stand one behind the other in `strings`, each with its NUL; none when one has no NUL, or when
    /// `room` is too small. Does not allocate.
    pub(crate) fn of(strings: &'a [u8], room: &'a mut [*const c_char]) -> Option<Self> {
        let mut rest = strings;
        let mut count = 0;
        while !rest.is_empty() {
            let text = CStr::from_bytes_until_nul(rest).ok()?;
            *room.get_mut(count)? = text.as_ptr();
            rest = rest.get(text.count_bytes() + 1..)?;
            count += 1;
        }
        *room.get_mut(count)? = std::ptr::null();
        Some(Self { pointers: room.get(..=count)? })
    }
}

/// Executes a program; returns only if that failed.
pub(crate) fn execve(program: &CStr, argv: ExecArray<'_>, envp: ExecArray<'_>) -> Errno {
    // SAFETY: `program` ends with NUL; both arrays end with null and point to strings that live longer.
    let result = unsafe { syscall!(Sysno::execve, program.as_ptr(), argv.pointers.as_ptr(), envp.pointers.as_ptr()) };
    answer(result).err().unwrap_or(Errno::IO)
}

/// Leaves the process without running anything of the parent's: no destructors, no buffers.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no preconditions.
    unsafe { libc::_exit(code) }
}
