//! The process directory: the one place where processes are listed and read.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir};
use rustix::io::Errno;
use rustix::path::DecInt;

use crate::error::AuditError;
use crate::parse::{number, parse_namespace_link, parse_stat, trimmed};
use crate::reading::{ProcFile, Reading, Unread};
use crate::snapshot::Observer;

/// Type of the proc file system, `PROC_SUPER_MAGIC` of linux/magic.h.
const PROC_SUPER_MAGIC: u64 = 0x9fa0;
/// Room for one file: every file read here but `status` of a process in many groups fits at once.
const READ_BYTES: usize = 4096;
/// Longest text that is kept of one file: a process can make its command line megabytes long.
const FILE_BYTES_MAX: usize = 64 << 10;
/// Threads that are tried before a process with a dead main thread counts as dying.
const THREADS_TRIED: usize = 64;

/// A process directory: the host's `/proc`, or a tree of the same shape.
#[derive(Debug)]
pub struct ProcRoot {
    directory: OwnedFd,
    path: PathBuf,
    observer: Observer,
}

/// One process's directory, opened once: everything read through it is of the same process.
pub(crate) struct ProcDirectory {
    directory: OwnedFd,
}

impl ProcRoot {
    /// Opens `/proc` and makes sure that it is one, and that it shows the PID namespace of this process.
    ///
    /// # Errors
    /// When it cannot be opened or read, when something else is mounted there, or when it is the procfs of
    /// another PID namespace: looking there would find nothing and prove nothing.
    pub fn open_host() -> Result<Self, AuditError> {
        let path = PathBuf::from("/proc");
        let directory = open_directory(&path)?;
        let stat = rustix::fs::fstatfs(&directory)
            .map_err(|errno| AuditError::OpenProc { path: path.clone(), source: errno.into() })?;
        if u64::try_from(stat.f_type) != Ok(PROC_SUPER_MAGIC) {
            return Err(AuditError::NotProcfs { path });
        }
        let own = std::process::id();
        let target = rustix::fs::readlinkat(&directory, "self", Vec::new())
            .map_err(|_errno| AuditError::ForeignProcfs { path: path.clone() })?;
        if number::<u32>(target.as_bytes()) != Some(own) {
            return Err(AuditError::ForeignProcfs { path });
        }
        Self::with_observer(directory, path, own)
    }

    /// Opens a tree that looks like `/proc`: a fixture, a copy from another host, or a mount of another procfs.
    /// The observer is whoever the tree says is `self`, or else its process 1.
    ///
    /// # Errors
    /// When it cannot be opened, or does not say which PID namespace it shows.
    pub fn open_tree(path: &Path) -> Result<Self, AuditError> {
        let directory = open_directory(path)?;
        let target = rustix::fs::readlinkat(&directory, "self", Vec::new()).ok();
        let own = target.and_then(|name| number(name.as_bytes())).unwrap_or(1);
        Self::with_observer(directory, path.to_owned(), own)
    }

    fn with_observer(directory: OwnedFd, path: PathBuf, own: u32) -> Result<Self, AuditError> {
        let read_own = |name: &str, source: io::Error| AuditError::ReadOwn { path: path.join(name), source };
        let uname = rustix::system::uname();
        let kernel = uname.release().to_string_lossy().into_owned();
        let mut root = Self {
            directory,
            path: path.clone(),
            observer: Observer { pid: own, pid_namespace: 0, audit_session: None, kernel },
        };
        let own_directory = root.open_process(own).map_err(|_why| read_own("self", Errno::NOENT.into()))?;
        let mut buffer = Vec::new();
        let broken = || io::Error::from(io::ErrorKind::InvalidData);
        own_directory
            .read(ProcFile::PidNamespace, &mut buffer)
            .map_err(|_why| read_own("self/ns/pid", Errno::NOENT.into()))?;
        root.observer.pid_namespace = parse_namespace_link(&buffer).ok_or_else(|| read_own("self/ns/pid", broken()))?;
        buffer.clear();
        if own_directory.read(ProcFile::SessionId, &mut buffer).is_ok() {
            root.observer.audit_session = number(trimmed(&buffer)).filter(|id| *id != u32::MAX);
        }
        Ok(root)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Who looks.
    #[must_use]
    pub fn observer(&self) -> &Observer {
        &self.observer
    }

    /// Every pid listed, in the kernel's order, which is ascending.
    pub(crate) fn list(&self, pids: &mut Vec<u32>) -> Result<(), AuditError> {
        let failed = |errno: Errno| AuditError::ListProc { path: self.path.clone(), source: errno.into() };
        let fresh = rustix::fs::openat(
            &self.directory,
            ".",
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(failed)?;
        list_numbers(fresh.as_fd(), pids).map_err(failed)
    }

    /// Opens the directory of a process.
    pub(crate) fn open_process(&self, pid: u32) -> Reading<ProcDirectory> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(&self.directory, DecInt::new(pid), flags, Mode::empty())?;
        Ok(ProcDirectory { directory })
    }
}

fn open_directory(path: &Path) -> Result<OwnedFd, AuditError> {
    rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| AuditError::OpenProc { path: path.to_owned(), source: errno.into() })
}

fn list_numbers(directory: BorrowedFd<'_>, numbers: &mut Vec<u32>) -> Result<(), Errno> {
    // 32 KiB is what the kernel's own `ls` asks for; more saves nothing measurable.
    let mut space = vec![MaybeUninit::uninit(); 32 << 10];
    let mut entries = RawDir::new(directory, &mut space);
    while let Some(entry) = entries.next() {
        numbers.extend(number::<u32>(entry?.file_name().to_bytes()));
    }
    Ok(())
}

impl ProcDirectory {
    /// The PID namespace itself, to climb from.
    pub(crate) fn open_pid_namespace(&self) -> Reading<OwnedFd> {
        Ok(rustix::fs::openat(&self.directory, c"ns/pid", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// The file that it executes, to read.
    pub(crate) fn open_exe(&self) -> Reading<OwnedFd> {
        Ok(rustix::fs::openat(&self.directory, c"exe", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// Appends the text of a file to the buffer.
    pub(crate) fn read(&self, file: ProcFile, buffer: &mut Vec<u8>) -> Reading<()> {
        match file {
            ProcFile::PidNamespace => read_link(self.directory.as_fd(), c"ns/pid", buffer),
            ProcFile::Exe => read_link(self.directory.as_fd(), c"exe", buffer),
            ProcFile::SessionId => read_file(self.directory.as_fd(), c"sessionid", buffer),
            ProcFile::Stat => read_file(self.directory.as_fd(), c"stat", buffer),
            ProcFile::Status => read_file(self.directory.as_fd(), c"status", buffer),
            ProcFile::Cgroup => read_file(self.directory.as_fd(), c"cgroup", buffer),
            ProcFile::Cmdline => read_file(self.directory.as_fd(), c"cmdline", buffer),
            ProcFile::Wchan => read_file(self.directory.as_fd(), c"wchan", buffer),
            ProcFile::LivingThreadCgroup => self.read_living_thread(buffer),
            ProcFile::Owner => {
                let stat = rustix::fs::statat(&self.directory, c"", AtFlags::EMPTY_PATH)?;
                buffer.extend_from_slice(DecInt::new(stat.st_uid).as_bytes());
                Ok(())
            }
        }
    }

    fn read_living_thread(&self, buffer: &mut Vec<u8>) -> Reading<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let tasks = rustix::fs::openat(&self.directory, c"task", flags, Mode::empty())?;
        let mut threads = Vec::new();
        list_numbers(tasks.as_fd(), &mut threads)?;
        let mut stat = Vec::new();
        for thread in threads.into_iter().take(THREADS_TRIED) {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let Ok(directory) = rustix::fs::openat(&tasks, DecInt::new(thread), flags, Mode::empty()) else { continue };
            buffer.clear();
            stat.clear();
            // The same order as for a main thread: only a later `stat` makes the earlier text believable.
            let read = read_file(directory.as_fd(), c"cgroup", buffer)
                .and_then(|()| read_file(directory.as_fd(), c"stat", &mut stat));
            if read.is_ok() && parse_stat(&stat).is_some_and(|(stat, _)| !stat.is_exiting()) {
                return Ok(());
            }
        }
        Err(Unread::Vanished)
    }
}

fn read_link(directory: BorrowedFd<'_>, name: &CStr, buffer: &mut Vec<u8>) -> Reading<()> {
    buffer.reserve(READ_BYTES);
    rustix::fs::readlinkat_raw(directory, name, rustix::buffer::spare_capacity(buffer))?;
    Ok(())
}

/// Reads a whole file: a sequence file of the kernel gives all it has in one read that is not filled.
fn read_file(directory: BorrowedFd<'_>, name: &CStr, buffer: &mut Vec<u8>) -> Reading<()> {
    let file = rustix::fs::openat(directory, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    loop {
        buffer.reserve(READ_BYTES);
        let space = buffer.capacity() - buffer.len();
        let count = rustix::io::read(&file, rustix::buffer::spare_capacity(buffer))?;
        if count < space || buffer.len() >= FILE_BYTES_MAX {
            return Ok(());
        }
    }
}
