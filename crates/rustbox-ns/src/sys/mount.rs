//! `mount_setattr(2)`, since Linux 5.12.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use syscalls::{Sysno, syscall};

use super::answer;

/// `struct mount_attr` of `linux/mount.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MountAttr {
    /// `MOUNT_ATTR_*` to set.
    pub(crate) set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub(crate) clear: u64,
    /// `MS_PRIVATE` and its like, or 0 to leave the propagation alone.
    pub(crate) propagation: u64,
    /// A user namespace, for `MOUNT_ATTR_IDMAP`.
    pub(crate) userns_fd: u64,
}

/// Changes a mount, or with `AT_RECURSIVE` in `flags` a tree of mounts.
pub(crate) fn mount_setattr(at: BorrowedFd<'_>, path: &CStr, flags: u32, attr: &MountAttr) -> Result<(), Errno> {
    // SAFETY: `path` ends with NUL, and `attr` has the size given.
    let result = unsafe {
        syscall!(
            Sysno::mount_setattr,
            at.as_raw_fd(),
            path.as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>()
        )
    };
    answer(result).map(|_| ())
}
