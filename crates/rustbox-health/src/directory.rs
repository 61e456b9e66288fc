//! The directory `<state_dir>/health`: root's own, reached through nothing that others can change.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, poll};
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, fstat, fsync, linkat, mkdirat, openat, renameat};
use rustix::io::Errno;
use rustix::process::{Uid, geteuid};

use crate::error::Error;

/// Name of the directory inside the state directory.
pub(crate) const HEALTH: &str = "health";
/// Name of the lock that writers hold. It is never replaced, so that two writers never hold two locks.
const LOCK: &str = "lock";
/// Longest wait for the lock: a writer holds it for a few `fsync`s, and 64 may stand in line on a slow disk.
const LOCK_LIMIT: Duration = Duration::from_secs(30);
/// How often a lock that is held is tried again.
const LOOK_AGAIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };

/// Why nothing is appended to a file: what is written into it would be in somebody else's as well.
pub(crate) const ANOTHER_NAME: &str = "the file has another name elsewhere";

const OPEN_DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The directory, opened and checked.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

/// The writers' lock, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    _file: OwnedFd,
}

impl Directory {
    /// Opens the directory; none when it is not there.
    pub(crate) fn open(state_dir: &Path) -> Result<Option<Self>, Error> {
        let owner = geteuid();
        let Some(state) = open_directory(CWD, state_dir, state_dir, owner)? else { return Ok(None) };
        let path = state_dir.join(HEALTH);
        let health = open_directory(state.as_fd(), Path::new(HEALTH), &path, owner)?;
        Ok(health.map(|fd| Self { fd, path }))
    }

    /// Opens the directory, and makes it when it is not there.
    pub(crate) fn create(state_dir: &Path) -> Result<Self, Error> {
        if let Some(there) = Self::open(state_dir)? {
            return Ok(there);
        }
        let path = state_dir.join(HEALTH);
        if let Some(parent) = state_dir.parent() {
            std::fs::create_dir_all(parent).map_err(|source| Error::Open { path: parent.to_owned(), source })?;
        }
        let state = made_directory(CWD, state_dir, state_dir)?;
        let fd = made_directory(state.as_fd(), Path::new(HEALTH), &path)?;
        Ok(Self { fd, path })
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Waits for the writers' lock.
    pub(crate) fn lock(&self) -> Result<Held, Error> {
        let path = self.path_of(LOCK);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.fd, LOCK, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| Error::Open { path: path.clone(), source: errno.into() })?;
        wait_for_lock(file.as_fd(), FlockOperation::NonBlockingLockExclusive, &path)?;
        Ok(Held { _file: file })
    }

    /// The content of a file, its last `max` bytes where there are more; none when it is not there.
    pub(crate) fn read(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>, Error> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let failed = |source| Error::Read { path: self.path_of(name), source };
        let mut file = match openat(&self.fd, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(Error::Open { path: self.path_of(name), source: errno.into() }),
            Ok(fd) => File::from(fd),
        };
        let length = file.metadata().map_err(failed)?.len();
        let skipped = length.saturating_sub(max);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(skipped))
            .and_then(|_| (&mut file).take(max).read_to_end(&mut bytes))
            .map_err(failed)?;
        Ok(Some(bytes))
    }

    /// Replaces a file: a reader sees the old content or the new one, also after a power cut.
    pub(crate) fn replace(&self, name: &str, content: &[u8]) -> Result<(), Error> {
        let failed = |source| Error::Write { path: self.path_of(name), source };
        let temporary = format!("{name}.new");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(&self.fd, temporary.as_str(), flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| failed(errno.into()))?;
        let mut file = File::from(fd);
        file.write_all(content).and_then(|()| file.sync_all()).map_err(failed)?;
        renameat(&self.fd, temporary.as_str(), &self.fd, name).map_err(|errno| failed(errno.into()))?;
        self.sync()
    }

    /// Gives a file a second name under which its content stays when the first one is replaced.
    pub(crate) fn keep_as(&self, name: &str, second: &str) -> Result<(), Error> {
        match linkat(&self.fd, name, &self.fd, second, AtFlags::empty()) {
            Ok(()) | Err(Errno::EXIST) => self.sync(),
            Err(errno) => Err(Error::SetAside { path: self.path_of(name), source: errno.into() }),
        }
    }

    pub(crate) fn sync(&self) -> Result<(), Error> {
        fsync(&self.fd).map_err(|errno| Error::Write { path: self.path.clone(), source: errno.into() })
    }
}

/// Waits for a lock, with a bound: a process that was stopped while it held one must not stop everybody for ever.
pub(crate) fn wait_for_lock(fd: BorrowedFd<'_>, operation: FlockOperation, path: &Path) -> Result<(), Error> {
    let deadline = Instant::now() + LOCK_LIMIT;
    loop {
        match flock(fd, operation) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => {
                // The outcome of the wait is nothing: the next attempt tells.
                let _ = poll(&mut [], Some(&LOOK_AGAIN));
            }
            Err(Errno::WOULDBLOCK) => {
                return Err(Error::Busy { path: path.to_owned(), seconds: LOCK_LIMIT.as_secs() });
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::Lock { path: path.to_owned(), source: errno.into() }),
        }
    }
}

fn open_directory(parent: BorrowedFd<'_>, name: &Path, path: &Path, owner: Uid) -> Result<Option<OwnedFd>, Error> {
    match openat(parent, name, OPEN_DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::LOOP | Errno::NOTDIR) => {
            let problem = "is a symbolic link or not a directory; name a directory that only root can write to";
            Err(Error::Untrusted { path: path.to_owned(), problem })
        }
        Err(errno) => Err(Error::Open { path: path.to_owned(), source: errno.into() }),
        Ok(fd) => check(&fd, path, owner).map(|()| Some(fd)),
    }
}

fn made_directory(parent: BorrowedFd<'_>, name: &Path, path: &Path) -> Result<OwnedFd, Error> {
    let failed = |errno: Errno| Error::Open { path: path.to_owned(), source: errno.into() };
    if let Some(fd) = open_directory(parent, name, path, geteuid())? {
        return Ok(fd);
    }
    match mkdirat(parent, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(failed(errno)),
    }
    open_directory(parent, name, path, geteuid())?.ok_or_else(|| failed(Errno::NOENT))
}

fn check(fd: &OwnedFd, path: &Path, owner: Uid) -> Result<(), Error> {
    let found = fstat(fd).map_err(|errno| Error::Open { path: path.to_owned(), source: errno.into() })?;
    let problem = if found.st_uid != owner.as_raw() {
        "belongs to somebody else; it must belong to the user that runs rustbox"
    } else if found.st_mode & 0o022 != 0 {
        "can be written to by others; chmod it to 0700"
    } else {
        return Ok(());
    };
    Err(Error::Untrusted { path: path.to_owned(), problem })
}
