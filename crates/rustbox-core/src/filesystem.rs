//! What a box sees as its file system.

use std::path::PathBuf;

use crate::units::ByteSize;

/// What the box's root is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootSource {
    /// Read-only binds of the host's `/usr`, `/bin`, `/lib*` and selected files of `/etc`.
    Host,
    /// A directory that holds a whole root file system, mounted read-only.
    Directory(PathBuf),
}

/// Whether the payload may write through a bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindAccess {
    /// `MOUNT_ATTR_RDONLY`, for the whole tree.
    ReadOnly,
    /// Writable and id-mapped: what the payload writes belongs to the owner of the source.
    Writable,
}

/// A file or directory of the host that the box sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Absolute path on the host.
    pub source: PathBuf,
    /// Absolute path in the box, without `.` and `..`.
    pub target: PathBuf,
    /// Whether the payload may write.
    pub access: BindAccess,
}

/// An empty, private, writable directory in memory, charged to the box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TmpfsMount {
    /// Absolute path in the box, without `.` and `..`.
    pub target: PathBuf,
    /// Size limit.
    pub size: ByteSize,
    /// Limit on the number of files.
    pub inodes: u64,
}
