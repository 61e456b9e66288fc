//! An empty mount namespace that outlives whoever made it, for the runs of this host to begin from.
//!
//! `RUNTIME_DIR/prepared` is a small tmpfs of its own, since a mount namespace can be bound only where mounts are not
//! shared (`propagate_one` in `fs/pnode.c` copies no file of a mount namespace), and `mnt` in it is the namespace
//! (`namespaces(7)`: a bind keeps it). Nobody lives there, and no box changes it: each begins from a copy.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustbox_ns::EmptyMounts;
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, fstat, openat, unlinkat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount};
use rustix::thread::CpuSet;

use crate::error::Error;
use crate::host::{Places, child_directory, trusted_directory};

const DIRECTORY: &str = "prepared";
const MOUNTS: &str = "mnt";
const PREPARED: &str = "prepared/mnt";
/// Opened without waiting, whatever it is.
const LOOK: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// The namespace that was prepared on this host, if there is one.
pub(crate) fn find(runtime: BorrowedFd<'_>, places: &Places) -> Option<EmptyMounts> {
    let file = openat(runtime, PREPARED, LOOK, Mode::empty()).ok()?;
    EmptyMounts::bound(file.into(), places.runtime_dir.join(PREPARED))
}

/// Where [`prepare`] mounts, below the runtime directory, and what: the types of the file systems.
#[must_use]
pub fn prepared_mounts(places: &Places) -> [(PathBuf, &'static str); 2] {
    let directory = places.runtime_dir.join(DIRECTORY);
    let mounts = directory.join(MOUNTS);
    [(directory, "tmpfs"), (mounts, "nsfs")]
}

/// Whether the boxes of this host begin from an empty mount namespace.
#[must_use]
pub fn is_prepared(places: &Places) -> bool {
    let runtime = openat(CWD, &places.runtime_dir, LOOK | OFlags::DIRECTORY, Mode::empty());
    runtime.is_ok_and(|runtime| find(runtime.as_fd(), places).is_some_and(|empty| empty.is_usable()))
}

/// What [`prepare`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// It was there.
    Before,
    /// It is there now.
    Now,
}

/// Keeps an empty mount namespace below the runtime directory, from which every box of this host begins until
/// [`unprepare`]: then a run costs the same however many mounts and processes there are.
///
/// # Errors
/// The kernel refused (`EPERM` without CAP_SYS_ADMIN and CAP_SYS_CHROOT); a runtime directory that is not trusted, or in which somebody else
/// prepares. What was made until then is taken back.
pub fn prepare(places: &Places) -> Result<Prepared, Error> {
    // First, since who may not do this changes nothing.
    let empty = EmptyMounts::make(None)?;
    let (runtime, path) = lock(places)?;
    if let Some(found) = find(runtime.as_fd(), places) {
        if found.is_usable() {
            return Ok(Prepared::Before);
        }
        take_back(runtime.as_fd(), &path)
            .map_err(|errno| Error::Remove { path: path.clone(), source: errno.into() })?;
    }
    let below = child_directory(runtime.as_fd(), &places.runtime_dir, DIRECTORY, owner())?;
    let made = mount_tmpfs(runtime.as_fd(), below.as_fd(), &path).and_then(|()| bind_any(&path, &empty));
    if let Err(source) = made {
        let _ = take_back(runtime.as_fd(), &path);
        return Err(Error::Write { path: path.join(MOUNTS), source: source.into() });
    }
    Ok(Prepared::Now)
}

fn owner() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The runtime directory, held against others who prepare, and the path of what is prepared.
fn lock(places: &Places) -> Result<(OwnedFd, PathBuf), Error> {
    let runtime = trusted_directory(&places.runtime_dir, owner())?;
    flock(&runtime, FlockOperation::NonBlockingLockExclusive)
        .map_err(|errno| Error::Flock { path: places.runtime_dir.clone(), source: errno.into() })?;
    Ok((runtime, places.runtime_dir.join(DIRECTORY)))
}

/// Unless somebody who was interrupted has mounted one already.
fn mount_tmpfs(parent: BorrowedFd<'_>, child: BorrowedFd<'_>, path: &Path) -> Result<(), Errno> {
    if fstat(parent)?.st_dev == fstat(child)?.st_dev {
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount("rustbox", path, "tmpfs", flags, c"mode=0700,size=4096,nr_inodes=8")?;
    }
    mount_change(path, MountPropagationFlags::PRIVATE)
}

/// Binds this one, or one that was made on another processor: a namespace can be bound in an older one only
/// (`mnt_ns_loop` in `fs/namespace.c`), and Linux 6.18 gives out ages to each processor in batches.
fn bind_any(path: &Path, empty: &EmptyMounts) -> Result<(), Errno> {
    let mut bound = bind(path, empty);
    // Those that there are not are refused at once.
    for number in 0..CpuSet::MAX_CPU {
        if bound != Err(Errno::INVAL) {
            break;
        }
        bound = EmptyMounts::make(Some(number)).map_err(|_| Errno::INVAL).and_then(|other| bind(path, &other));
    }
    bound
}

fn bind(path: &Path, empty: &EmptyMounts) -> Result<(), Errno> {
    let point = path.join(MOUNTS);
    openat(CWD, &point, OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::RUSR)?;
    let source = format!("/proc/self/fd/{}", empty.as_fd().as_raw_fd());
    mount_bind(source, point)
}

/// Takes back what [`prepare`] has made; boxes that live are not affected. Whether there was anything.
///
/// # Errors
/// A runtime directory that is not trusted, or in which somebody else prepares; the kernel refused.
pub fn unprepare(places: &Places) -> Result<bool, Error> {
    let (runtime, path) = lock(places)?;
    take_back(runtime.as_fd(), &path).map_err(|errno| Error::Remove { path, source: errno.into() })
}

fn take_back(runtime: BorrowedFd<'_>, path: &Path) -> Result<bool, Errno> {
    for mounted in [path.join(MOUNTS), path.to_owned()] {
        match unmount(&mounted, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            // Not there, or nothing is mounted on it.
            Ok(()) | Err(Errno::NOENT | Errno::INVAL) => {}
            Err(errno) => return Err(errno),
        }
    }
    match unlinkat(runtime, DIRECTORY, AtFlags::REMOVEDIR) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}
