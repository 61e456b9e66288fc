//! What a supervisor knows of its host before any run.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustbox_cgroup::Hierarchies;
use rustbox_core::CgroupBackend;
use rustbox_ns::{EmptyMounts, System};
use rustix::fs::{CWD, Mode, OFlags, fstat, mkdirat, openat};
use rustix::io::Errno;

use crate::error::Error;
use crate::keepers::Keepers;
use crate::prepared;

/// Where rustbox keeps what must outlive a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Records and locks of boxes, below `boxes/`. Default `/var/lib/rustbox`.
    pub state_dir: PathBuf,
    /// Leases of uids, for the whole host. Default `/run/rustbox`.
    pub runtime_dir: PathBuf,
    /// A delegated cgroup v2 subtree to use instead of the mount's root.
    pub cgroup_root: Option<PathBuf>,
}

impl Default for Places {
    fn default() -> Self {
        Self { state_dir: "/var/lib/rustbox".into(), runtime_dir: "/run/rustbox".into(), cgroup_root: None }
    }
}

/// One host, opened: directories that are ours alone, and the cgroup hierarchies.
#[derive(Debug)]
pub struct Host {
    places: Places,
    boxes: OwnedFd,
    uids: OwnedFd,
    hierarchies: Hierarchies,
    empty: OnceLock<EmptyMounts>,
    system: OnceLock<System>,
    keepers: Keepers,
    boot_id: String,
    pid: u32,
    starttime_ticks: u64,
}

impl Host {
    /// Opens the places, making those that are missing, and finds the cgroup hierarchies.
    ///
    /// # Errors
    /// A place that is not a directory of root's that nobody else can write to; no usable cgroups.
    pub fn open(places: &Places, backend: Option<CgroupBackend>) -> Result<Self, Error> {
        let hierarchies = Hierarchies::detect_at(backend, places.cgroup_root.as_deref())?;
        let owner = rustix::process::geteuid().as_raw();
        let state = trusted_directory(&places.state_dir, owner)?;
        let runtime = trusted_directory(&places.runtime_dir, owner)?;
        Ok(Self {
            boxes: child_directory(state.as_fd(), &places.state_dir, "boxes", owner)?,
            uids: child_directory(runtime.as_fd(), &places.runtime_dir, "uids", owner)?,
            places: places.clone(),
            empty: prepared::find(runtime.as_fd(), places).map_or_else(OnceLock::new, OnceLock::from),
            system: OnceLock::new(),
            keepers: Keepers::default(),
            hierarchies,
            boot_id: read_kernel("/proc/sys/kernel/random/boot_id")?,
            pid: std::process::id(),
            starttime_ticks: own_starttime()?,
        })
    }

    /// The cgroup hierarchies.
    #[must_use]
    pub fn hierarchies(&self) -> &Hierarchies {
        &self.hierarchies
    }

    /// `/proc/sys/kernel/random/boot_id`.
    #[must_use]
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// `uname -r`.
    #[must_use]
    pub fn kernel(&self) -> String {
        rustix::system::uname().release().to_string_lossy().into_owned()
    }

    /// The directory of all boxes' records.
    #[must_use]
    pub fn boxes_path(&self) -> PathBuf {
        self.places.state_dir.join("boxes")
    }

    /// The directory of all leases of uids.
    #[must_use]
    pub fn uids_path(&self) -> PathBuf {
        self.places.runtime_dir.join("uids")
    }

    /// Makes an empty mount namespace for the boxes of this process to begin from, unless the host has one
    /// ([`prepare`](crate::prepare())).
    ///
    /// # Errors
    /// As [`EmptyMounts::make`].
    pub fn keep_empty_mounts(&self) -> Result<(), Error> {
        if self.empty.get().is_none() {
            // Who was faster has made the same.
            let _ = self.empty.set(EmptyMounts::make(None)?);
        }
        Ok(())
    }

    /// Looks at what boxes show of the host's system, once for all boxes that follow.
    ///
    /// # Errors
    /// As [`System::look`].
    pub fn keep_system(&self) -> Result<(), Error> {
        if self.system.get().is_none() {
            let _ = self.system.set(System::look()?);
        }
        Ok(())
    }

    /// What was seen then; none where each box looks for itself.
    pub(crate) fn system(&self) -> Option<&System> {
        self.system.get()
    }

    /// Keepers of boxes that are over, which wait for the next one of a pool.
    pub(crate) fn keepers(&self) -> &Keepers {
        &self.keepers
    }

    /// What boxes begin from; none where they begin from a copy of this process's mounts.
    #[must_use]
    pub fn empty_mounts(&self) -> Option<&EmptyMounts> {
        self.empty.get()
    }

    pub(crate) fn boxes(&self) -> BorrowedFd<'_> {
        self.boxes.as_fd()
    }

    pub(crate) fn uids(&self) -> BorrowedFd<'_> {
        self.uids.as_fd()
    }

    /// This process, which must be the one that opened the host.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn starttime_ticks(&self) -> u64 {
        self.starttime_ticks
    }
}

fn read_kernel(path: &'static str) -> Result<String, Error> {
    let text = crate::read::text(path).map_err(|source| Error::ReadKernel { path, source })?;
    Ok(text.trim_end().to_owned())
}

/// Field 22 of our own `stat`. The name may hold anything, so counting starts behind the last `)`.
fn own_starttime() -> Result<u64, Error> {
    const PATH: &str = "/proc/self/stat";
    let text = read_kernel(PATH)?;
    let field = text.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(19));
    let broken = || Error::ReadKernel { path: PATH, source: ErrorKind::InvalidData.into() };
    field.and_then(|ticks| ticks.parse().ok()).ok_or_else(broken)
}

const OPEN_DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const PRIVATE_MODE: Mode = Mode::RWXU;

/// Opens a directory that must be root's own; makes it, and its parents, when it is missing.
pub(crate) fn trusted_directory(path: &Path, owner: u32) -> Result<OwnedFd, Error> {
    let failed = |errno: Errno| Error::Open { path: path.to_owned(), source: errno.into() };
    let fd = match openat(CWD, path, OPEN_DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(|source| Error::Open { path: parent.to_owned(), source })?;
            }
            match mkdirat(CWD, path, PRIVATE_MODE) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(failed(errno)),
            }
            openat(CWD, path, OPEN_DIRECTORY, Mode::empty()).map_err(failed)?
        }
        Err(Errno::LOOP | Errno::NOTDIR) => {
            let problem = "is a symbolic link or not a directory; name a directory that only root can write to";
            return Err(Error::Untrusted { path: path.to_owned(), problem });
        }
        result => result.map_err(failed)?,
    };
    check(&fd, path, owner)?;
    Ok(fd)
}

fn check(fd: &OwnedFd, path: &Path, owner: u32) -> Result<(), Error> {
    let found = fstat(fd).map_err(|errno| Error::Open { path: path.to_owned(), source: errno.into() })?;
    let problem = if found.st_uid != owner {
        "belongs to somebody else; it must belong to the user that runs rustbox"
    } else if found.st_mode & 0o022 != 0 {
        "can be written to by others; chmod it to 0700"
    } else {
        return Ok(());
    };
    Err(Error::Untrusted { path: path.to_owned(), problem })
}

pub(crate) fn child_directory(
    parent: BorrowedFd<'_>,
    parent_path: &Path,
    name: &str,
    owner: u32,
) -> Result<OwnedFd, Error> {
    let path = parent_path.join(name);
    let failed = |errno: Errno| Error::Open { path: path.clone(), source: errno.into() };
    let fd = match openat(parent, name, OPEN_DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => {
            match mkdirat(parent, name, PRIVATE_MODE) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(failed(errno)),
            }
            openat(parent, name, OPEN_DIRECTORY, Mode::empty()).map_err(failed)?
        }
        result => result.map_err(failed)?,
    };
    check(&fd, &path, owner)?;
    Ok(fd)
}
