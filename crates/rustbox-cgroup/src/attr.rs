//! Control files relative to an open directory: one open, and no path that could lead elsewhere.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::OnceLock;

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, pread, write};

use crate::error::Error;
use crate::layout::Version;
use crate::parse;

/// Longest control file that is read at once, in bytes: the longest one here, `cpu.stat`, has about 300.
const ATTR_BYTES: usize = 4096;

/// More than any line of `cgroup.procs` has.
const LINE_BYTES: usize = 16;

/// Longest `cgroup.procs` that is read, in bytes: eight for every process that Linux can have.
const PROCS_BYTES: usize = 8 << 22;

/// Lists the members of a cgroup, and takes new ones; the same on v1 and v2.
pub(crate) const PROCS: &str = "cgroup.procs";

/// The threads of a v1 cgroup. A thread that moves itself, by a 0, waits for nobody: `cgroup_procs_write_start` in
/// `kernel/cgroup/cgroup.c` leaves `cgroup_threadgroup_rwsem` alone since Linux 5.5. A process that moves itself through
/// [`PROCS`] takes it, and for that waits until the RCU grace period is over, up to 20 ms.
pub(crate) const TASKS: &str = "tasks";

/// One directory of a box.
#[derive(Debug)]
pub(crate) struct Dir {
    /// Index of its root in the layout.
    pub(crate) root: usize,
    pub(crate) version: Version,
    pub(crate) path: PathBuf,
    pub(crate) fd: OwnedFd,
}

/// A control file that is opened once and then read again and again with `pread`.
///
/// Not for v1's `cgroup.procs`: see [`Dir::procs`].
#[derive(Debug)]
pub(crate) struct KeptFile {
    attr: &'static str,
    fd: OnceLock<OwnedFd>,
}

impl KeptFile {
    pub(crate) const fn new(attr: &'static str) -> Self {
        Self { attr, fd: OnceLock::new() }
    }

    /// The open file in `dir`, which must be the same at each call.
    pub(crate) fn open(&self, dir: &Dir, access: OFlags) -> Result<BorrowedFd<'_>, Error> {
        if let Some(fd) = self.fd.get() {
            return Ok(fd.as_fd());
        }
        let fd = dir.open(self.attr, access)?;
        Ok(self.fd.get_or_init(|| fd).as_fd())
    }

    pub(crate) fn text<T>(&self, dir: &Dir, read: impl FnOnce(&str) -> Option<T>) -> Result<T, Error> {
        dir.read_open(self.open(dir, OFlags::RDONLY)?, self.attr, read)
    }

    /// Writes a word to a file that is kept open for writing.
    pub(crate) fn put(&self, dir: &Dir, value: &str) -> Result<(), Error> {
        dir.write_open(self.open(dir, OFlags::WRONLY)?, self.attr, value)
    }
}

impl Dir {
    /// Opens a file of the directory. Never follows a symbolic link, of which cgroupfs has none.
    pub(crate) fn open(&self, attr: &'static str, access: OFlags) -> Result<OwnedFd, Error> {
        openat(&self.fd, attr, access | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
            .map_err(|e| Error::OpenAttr { path: self.path.clone(), attr, source: e.into() })
    }

    /// Opens, reads and closes a file.
    pub(crate) fn read<T>(&self, attr: &'static str, read: impl FnOnce(&str) -> Option<T>) -> Result<T, Error> {
        self.read_open(self.open(attr, OFlags::RDONLY)?.as_fd(), attr, read)
    }

    /// Reads an open file from its beginning.
    pub(crate) fn read_open<T>(
        &self,
        fd: BorrowedFd<'_>,
        attr: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Error> {
        let mut buffer = [0_u8; ATTR_BYTES];
        let length = pread(fd, &mut buffer, 0).map_err(|e| Error::ReadAttr {
            path: self.path.clone(),
            attr,
            source: e.into(),
        })?;
        let bytes = buffer.get(..length).unwrap_or_default();
        str::from_utf8(bytes).ok().and_then(read).ok_or_else(|| self.unknown_form(attr, bytes))
    }

    /// Opens, writes and closes a file.
    pub(crate) fn write(&self, attr: &'static str, value: &str) -> Result<(), Error> {
        self.write_open(self.open(attr, OFlags::WRONLY)?.as_fd(), attr, value)
    }

    fn write_open(&self, fd: BorrowedFd<'_>, attr: &'static str, value: &str) -> Result<(), Error> {
        let failed =
            |e: Errno| Error::WriteAttr { path: self.path.clone(), attr, value: value.to_owned(), source: e.into() };
        // The kernel takes a control file's value from a single write: part of one would be another value.
        let written = write(fd, value.as_bytes()).map_err(failed)?;
        if written == value.len() { Ok(()) } else { Err(failed(Errno::IO)) }
    }

    /// Writes a value, if it is not there already, and returns what the kernel then says, through one descriptor.
    pub(crate) fn write_and_read_back(
        &self,
        attr: &'static str,
        value: &str,
        is_there: Option<impl FnOnce(&str) -> bool>,
    ) -> Result<String, Error> {
        let file = self.open(attr, OFlags::RDWR)?;
        let read = || self.read_open(file.as_fd(), attr, |text| Some(text.trim_end().to_owned()));
        if let Some(is_there) = is_there {
            let found = read()?;
            if is_there(&found) {
                return Ok(found);
            }
        }
        self.write_open(file.as_fd(), attr, value)?;
        read()
    }

    /// The processes of `cgroup.procs` as our PID namespace numbers them; 0 for one that it does not see.
    ///
    /// The file is opened anew each time. On v1 the kernel keeps the list of an open file for a second after its last
    /// use (`cgroup_pidlist_start`, `CGROUP_PIDLIST_DESTROY_DELAY`), so that a descriptor that is read often enough
    /// never sees a change; only the first read after an open makes the list anew.
    pub(crate) fn procs(&self) -> Result<Vec<u32>, Error> {
        self.procs_open(self.open(PROCS, OFlags::RDONLY)?.as_fd())
    }

    /// The same from a descriptor that the caller keeps: on v2 only, where each read from the beginning lists anew.
    pub(crate) fn procs_open(&self, file: BorrowedFd<'_>) -> Result<Vec<u32>, Error> {
        let mut text = Vec::new();
        let mut buffer = [0_u8; ATTR_BYTES];
        while text.len() < PROCS_BYTES {
            let length = pread(file, &mut buffer, text.len() as u64).map_err(|e| Error::ReadAttr {
                path: self.path.clone(),
                attr: PROCS,
                source: e.into(),
            })?;
            text.extend_from_slice(buffer.get(..length).unwrap_or_default());
            // The kernel fills the buffer as far as whole lines fit (`seq_read_iter` in fs/seq_file.c).
            if length + LINE_BYTES < ATTR_BYTES {
                break;
            }
        }
        str::from_utf8(&text).ok().and_then(parse::pids).ok_or_else(|| self.unknown_form(PROCS, &text))
    }

    fn unknown_form(&self, attr: &'static str, bytes: &[u8]) -> Error {
        let beginning = bytes.get(..bytes.len().min(80)).unwrap_or_default();
        let text = String::from_utf8_lossy(beginning).into_owned();
        Error::ParseAttr { path: self.path.clone(), attr, text }
    }
}
