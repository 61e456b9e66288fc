//! A mount namespace with nothing in it, for boxes to begin from.
//!
//! `CLONE_NEWNS` copies every mount of the host, which are taken away again when the box has a root of its own, and
//! `pivot_root` looks at every process of the host (`chroot_fs_refs` in `fs/fs_struct.c`). A box that begins from a copy of
//! an empty namespace pays for neither: what it shows of the host its init opens before it leaves it (`open_tree`).

use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, StatVfsMountFlags, StatxFlags, fstatfs, fstatvfs, openat, statx};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, move_mount};
use rustix::thread::{
    CapabilitySet, CpuSet, LinkNameSpaceType, capabilities, move_into_link_name_space, sched_setaffinity,
};

use crate::error::Error;
use crate::root;
use crate::sys;

const NEW: u32 = libc::CLONE_NEWNS.unsigned_abs();
/// `NSFS_MAGIC` and `TMPFS_MAGIC` of `linux/magic.h`.
const NSFS: i64 = 0x6e73_6673;
const TMPFS: i64 = 0x0102_1994;

/// A mount namespace in which there is nothing but an empty read-only tmpfs at the root. It lasts for as long as the
/// value, or as long as something else holds it.
#[derive(Debug)]
pub struct EmptyMounts {
    namespace: OwnedFd,
    /// Where it is bound.
    at: Option<PathBuf>,
}

impl AsFd for EmptyMounts {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }
}

impl EmptyMounts {
    /// Makes one, by a thread that is in it for a moment; on this processor, if one is given.
    ///
    /// # Errors
    /// No thread; the kernel refused (`EPERM` without CAP_SYS_ADMIN and CAP_SYS_CHROOT).
    pub fn make(processor: Option<usize>) -> Result<Self, Error> {
        let made = in_thread(move || make(processor))?.map_err(Error::call("make an empty mount namespace"))?;
        Ok(Self { namespace: made, at: None })
    }

    /// Takes a file that is bound somewhere for one, if it is a mount namespace; that it is empty each box sees for itself.
    /// None for another file, and for who may not enter one: that takes CAP_SYS_CHROOT.
    #[must_use]
    pub fn bound(file: File, at: PathBuf) -> Option<Self> {
        let namespace = OwnedFd::from(file);
        let is_namespace = fstatfs(&namespace).is_ok_and(|found| found.f_type == NSFS);
        let may_enter = || capabilities(None).is_ok_and(|own| own.effective.contains(CapabilitySet::SYS_CHROOT));
        let is_one = is_namespace && sys::namespace_kind(namespace.as_fd()) == Ok(NEW) && may_enter();
        is_one.then_some(Self { namespace, at: Some(at) })
    }

    /// Whether a box could begin from it, tried by a thread.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        let Ok(namespace) = self.namespace.try_clone() else { return false };
        let entered = in_thread(move || {
            sys::unshare(libc::CLONE_FS.unsigned_abs())?;
            enter_copy(namespace.as_fd())
        });
        matches!(entered, Ok(Ok(())))
    }

    /// Whether a copy of what is below this path of the host could have a mount namespace in it: that cannot be mounted in a
    /// copy of an empty one (`check_for_nsfs_mounts` in `fs/namespace.c`). They are bound below `/run` (snapd does), and
    /// where this one is.
    pub(crate) fn may_be_below(&self, path: &Path) -> bool {
        let run = [Path::new("/run"), Path::new("/var/run")];
        run.iter().any(|run| path.starts_with(run) || run.starts_with(path))
            || self.at.as_ref().is_some_and(|at| at.starts_with(path))
    }
}

/// Does something in a thread that ends with it.
fn in_thread<T: Send + 'static>(
    what: impl FnOnce() -> Result<T, Errno> + Send + 'static,
) -> Result<Result<T, Errno>, Error> {
    let thread = std::thread::Builder::new().name("rustbox-mounts".to_owned()).spawn(what);
    Ok(thread.map_err(|source| Error::Thread { source })?.join().unwrap_or(Err(Errno::CANCELED)))
}

fn make(processor: Option<usize>) -> Result<OwnedFd, Errno> {
    if let Some(number) = processor {
        let mut one = CpuSet::new();
        one.set(number);
        sched_setaffinity(None, &one)?;
    }
    sys::unshare(NEW)?;
    // From here on this thread, and only it, is there.
    let made = openat(CWD, c"/proc/thread-self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    root::make_private()?;
    let empty = root::tmpfs(&[(c"mode", c"0555"), (c"size", c"4096"), (c"nr_inodes", c"1")], root::plain())?;
    move_mount(empty.as_fd(), c"", CWD, c"/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    rustix::process::fchdir(&empty)?;
    root::seal(empty.as_fd())?;
    root::pivot()?;
    // Each box does, so who may not has no use for it.
    rustix::process::chroot(c"/")?;
    Ok(made)
}

/// Runs in the init, without allocation. Leaves the mount namespace of its supervisor for a copy of an empty one.
pub(crate) fn enter_copy(empty: BorrowedFd<'_>) -> Result<(), Errno> {
    move_into_link_name_space(empty, Some(LinkNameSpaceType::Mount))?;
    let original = mount_of_root()?;
    sys::unshare(NEW)?;
    // Whoever mounted into the original would spoil it for all that come.
    if mount_of_root()? == original {
        return Err(Errno::PERM);
    }
    let root = openat(CWD, c"/", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let sealed = fstatvfs(&root)?.f_flag.contains(StatVfsMountFlags::RDONLY);
    if sealed && fstatfs(&root)?.f_type == TMPFS && is_empty(root.as_fd())? { Ok(()) } else { Err(Errno::NOTEMPTY) }
}

/// The number of the mount at the root, which no other mount has at the same time (Linux 5.8).
fn mount_of_root() -> Result<u64, Errno> {
    let found = statx(CWD, c"/", AtFlags::empty(), StatxFlags::MNT_ID)?;
    let told = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::MNT_ID);
    if told { Ok(found.stx_mnt_id) } else { Err(Errno::NOSYS) }
}

/// Where there is no name there is no place for a mount either.
fn is_empty(directory: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut space = [MaybeUninit::uninit(); 512];
    let mut entries = RawDir::new(directory, &mut space);
    while let Some(entry) = entries.next() {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    /// In a thread that shares no directories with another, as no process does.
    fn alone<T: Send>(enter: impl FnOnce() -> Result<T, Errno> + Send) -> Result<T, Errno> {
        let alone = || sys::unshare(libc::CLONE_FS.unsigned_abs()).and_then(|()| enter());
        std::thread::scope(|scope| scope.spawn(alone).join()).unwrap()
    }

    fn id(file: &File) -> std::io::Result<u64> {
        file.metadata().map(|found| found.ino())
    }

    #[test]
    fn the_caller_stays_and_a_thread_can_begin_from_it_more_than_once() -> Result<(), Box<dyn std::error::Error>> {
        let own = || File::open("/proc/thread-self/ns/mnt").and_then(|file| id(&file));
        let before = own()?;
        let empty = match EmptyMounts::make(None) {
            Ok(empty) => empty,
            Err(Error::Call { source: Errno::PERM, .. }) if std::env::var_os("RUSTBOX_CI").is_none() => {
                eprintln!("SKIPPED: mount namespaces need root");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        assert_eq!(own()?, before);
        assert!(empty.is_usable());
        for _ in 0..2 {
            let entered = alone(|| {
                enter_copy(empty.as_fd())?;
                // Nothing of the host is here, and what is made here is not in the next one.
                assert!(File::open("/proc/self/mountinfo").is_err());
                let mount = root::tmpfs(&[], root::plain())?;
                move_mount(mount.as_fd(), c"", CWD, c"/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
                rustix::fs::mkdirat(&mount, "name", Mode::RWXU)
            });
            assert_eq!(entered, Ok(()));
        }
        Ok(())
    }

    #[test]
    fn a_namespace_with_something_in_it_is_refused() -> std::io::Result<()> {
        let host = File::open("/proc/self/ns/mnt")?;
        let Some(host) = EmptyMounts::bound(host, PathBuf::from("/x")) else {
            assert!(std::env::var_os("RUSTBOX_CI").is_none(), "this needs root");
            return Ok(());
        };
        assert!(!host.is_usable());
        let entered = alone(|| enter_copy(host.as_fd()));
        if entered != Err(Errno::PERM) || std::env::var_os("RUSTBOX_CI").is_some() {
            assert_eq!(entered, Err(Errno::NOTEMPTY));
        }
        Ok(())
    }

    #[test]
    fn what_may_have_a_namespace_below_is_known_by_its_path() {
        let namespace = OwnedFd::from(File::open("/dev/null").unwrap());
        let empty = EmptyMounts { namespace, at: Some(PathBuf::from("/srv/runtime/prepared/mnt")) };
        for path in ["/", "/run", "/run/snapd", "/var", "/srv", "/srv/runtime/", "/srv/runtime/prepared"] {
            assert!(empty.may_be_below(Path::new(path)), "{path}");
        }
        for path in ["/usr", "/runs", "/srv/runtime/uids", "/srv/other", "/var/lib"] {
            assert!(!empty.may_be_below(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn other_files_are_no_mount_namespace() -> std::io::Result<()> {
        for path in ["/proc/self/ns/net", "/proc/self/stat", "/dev/null"] {
            assert!(EmptyMounts::bound(File::open(path)?, PathBuf::new()).is_none(), "{path}");
        }
        Ok(())
    }
}
