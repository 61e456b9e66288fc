//! Runs between `clone3` and `execve`: no allocation, no lock, no `tracing`, no panic.
//!
//! Builds the box's root. In order: make every mount of this namespace private (else unmounting
//! the old root would unmount the host's); mount a tmpfs over `/` and go there (an absolute path then
//! still leads to the host, a relative one into the new root); walk the list; make the tmpfs read-only;
//! pivot; detach.
//!
//! An init that begins from an [empty namespace](crate::EmptyMounts) opens what the box shows of the host before it
//! enters that, and there is no host to take away: what lies below its root is the empty directory.
//!
//! Two ways to mount. What lies on names that this process made itself a moment ago, in a tmpfs that nobody
//! else can see, is mounted by its relative path with mount(2): one call, and there is nothing on the way that
//! could be a symlink. Where the way may lead through files of somebody else, nothing is made or mounted but
//! below a directory that was reached name by name, with the descriptor-based calls of Linux 5.2.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustbox_core::Stage;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, mknodat, openat, openat2, statat, symlinkat,
    unlinkat,
};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount, mount_bind, mount_bind_recursive, move_mount,
    open_tree, unmount,
};

use crate::child::Failure;
use crate::empty;
use crate::mount_check;
use crate::proc_mask;
use crate::root_plan::{Kind, Missing, Op, Place, RootPlan, Source};
use crate::sys::{self, MountAttr};

const READ_ONLY: u64 = 0x1;
const NO_SUID: u64 = 0x2;
const NO_DEV: u64 = 0x4;
const ID_MAP: u64 = 0x0010_0000;
/// `MS_PRIVATE`.
const PRIVATE: u64 = 1 << 18;
const EMPTY_PATH: u32 = 0x1000;
const RECURSIVE: u32 = 0x8000;

/// `MS_NOSUID | MS_NODEV` for new mounts.
pub(crate) fn plain() -> MountAttrFlags {
    MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV
}

fn directory_mode() -> Mode {
    Mode::from_raw_mode(0o755)
}

/// Parts of the host that the box shows, opened, in the order of the list. None for one that is not there and need not be.
#[derive(Debug)]
pub(crate) struct Shown {
    trees: [Option<OwnedFd>; SHOWN_MAX],
    taken: usize,
}

/// Parts of the host that an init keeps open at most.
pub(crate) const SHOWN_MAX: usize = 64;

impl Shown {
    fn take(&mut self) -> Option<OwnedFd> {
        let tree = self.trees.get_mut(self.taken).and_then(Option::take);
        self.taken += 1;
        tree
    }
}

/// Opens what the box shows of the host, of which the list has no more than [`SHOWN_MAX`] parts, and leaves the host's
/// mounts for a copy of the empty namespace.
pub(crate) fn leave_host(plan: &RootPlan, empty: BorrowedFd<'_>) -> Result<Shown, Failure> {
    let mut shown = Shown { trees: [const { None }; SHOWN_MAX], taken: 0 };
    let of_host = (0..).zip(&plan.ops).filter(|(_, op)| op.shows_host());
    for ((item, op), place) in of_host.zip(&mut shown.trees) {
        let opened = match op {
            Op::System { source, missing, .. } => match open_tree(CWD, source.as_c_str(), TREE) {
                Err(Errno::NOENT) if *missing == Missing::Skip => Ok(None),
                result => result.map(Some),
            },
            Op::Bind { source, .. } => open_source(source).map(Some),
            Op::Directory { .. } | Op::Symlink { .. } | Op::Text { .. } | Op::SealSystem => Ok(None),
            Op::OwnTmpfs { .. } | Op::Tmpfs { .. } | Op::Dev | Op::Proc => Ok(None),
        };
        *place = opened.map_err(|errno| Failure { stage: Stage::Mount, errno, item })?;
    }
    empty::enter_copy(empty).map_err(Failure::at(Stage::EmptyMounts))?;
    Ok(shown)
}

/// Makes every mount of this namespace private.
pub(crate) fn make_private() -> Result<(), Errno> {
    sys::mount_setattr(CWD, c"/", RECURSIVE, &MountAttr { propagation: PRIVATE, ..MountAttr::default() })
}

/// Makes a mount read-only.
pub(crate) fn seal(mount: BorrowedFd<'_>) -> Result<(), Errno> {
    sys::mount_setattr(mount, c"", EMPTY_PATH, &MountAttr { set: READ_ONLY, ..MountAttr::default() })
}

/// Builds the root and makes it this process's own. `shown` is there if the host is not.
pub(crate) fn enter(plan: &RootPlan, mut shown: Option<Shown>) -> Result<(), Failure> {
    make_private().map_err(Failure::at(Stage::Root))?;
    let root = tmpfs(&[(c"mode", c"0755"), (c"size", c"1048576"), (c"nr_inodes", c"1024")], plain())
        .map_err(Failure::at(Stage::Root))?;
    move_mount(root.as_fd(), c"", CWD, c"/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(Failure::at(Stage::Root))?;
    go_to(root.as_fd()).map_err(Failure::at(Stage::Root))?;
    for (item, op) in (0..).zip(&plan.ops) {
        let stage = match op {
            Op::Directory { .. } | Op::Symlink { .. } | Op::Text { .. } => Stage::Root,
            Op::System { .. } | Op::SealSystem | Op::Bind { .. } | Op::OwnTmpfs { .. } | Op::Tmpfs { .. } => {
                Stage::Mount
            }
            Op::Dev => Stage::Dev,
            Op::Proc => Stage::Proc,
        };
        let failed = |errno| Failure { stage, errno, item };
        let skipped = apply(root.as_fd(), op, shown.as_mut()).map_err(failed)?;
        for part in (0..PARTS).filter(|part| skipped & (1 << part) != 0) {
            mount_check::skip(&plan.mounts, item, part);
        }
    }
    seal(root.as_fd()).map_err(Failure::at(Stage::Root))?;
    if shown.is_none() { pivot() } else { stay() }.map_err(Failure::at(Stage::Pivot))?;
    mount_check::verify(&plan.mounts)
}

/// Mounts that one operation makes at most: `/proc` and its covers.
const PARTS: u32 = 32;
/// Every mount of an operation was made: the bits are those of the parts that had nothing to mount.
const ALL_MADE: u32 = 0;
/// An operation of one mount had nothing to mount.
const NOT_THERE: u32 = 1;

/// Every relative path that follows depends on it: in the caller's directory, which it would be otherwise, they would
/// be the host's.
fn go_to(root: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::process::fchdir(root)?;
    let (wanted, found) = (fstat(root)?, statat(CWD, c"", AtFlags::EMPTY_PATH)?);
    if (wanted.st_dev, wanted.st_ino) == (found.st_dev, found.st_ino) { Ok(()) } else { Err(Errno::PERM) }
}

/// `pivot_root(".", ".")` puts the old root on top of the new one, from where it is detached. Until then `..` of the new
/// root leads into the old one: nobody else may be there yet.
pub(crate) fn pivot() -> Result<(), Errno> {
    rustix::process::pivot_root(c".", c".")?;
    unmount(c".", UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")
}

/// Makes the root, which is the working directory and lies on top of an empty one, this process's own: the way in from
/// outside leads there as well (`mntns_install` in `fs/namespace.c` follows what is mounted on `/`).
fn stay() -> Result<(), Errno> {
    rustix::process::chroot(c".")?;
    rustix::process::chdir(c"/")
}

pub(crate) fn tmpfs(options: &[(&CStr, &CStr)], attributes: MountAttrFlags) -> Result<OwnedFd, Errno> {
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(context.as_fd(), *key, *value)?;
    }
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Does one operation, and tells which of its mounts it left out because there is nothing to mount.
fn apply(root: BorrowedFd<'_>, op: &Op, shown: Option<&mut Shown>) -> Result<u32, Errno> {
    let done = match op {
        Op::Directory { path } => mkdirat(CWD, path.as_c_str(), directory_mode()),
        Op::Symlink { target, path } => symlinkat(target.as_c_str(), CWD, path.as_c_str()),
        Op::Text { path, content } => text(path, content),
        Op::System { source, path, kind, missing } => {
            return match shown {
                None => system(source, path, *kind, *missing),
                Some(shown) => shown.take().map_or(Ok(NOT_THERE), |tree| opened_system(tree.as_fd(), path)),
            };
        }
        Op::SealSystem => seal_system(root),
        Op::OwnTmpfs { path, options } => {
            existing(mkdirat(CWD, path.as_c_str(), directory_mode()))?;
            mount(c"tmpfs", path.as_c_str(), c"tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str())
        }
        Op::Bind { source, place, idmap } => {
            let tree = match shown {
                None => open_source(source)?,
                Some(shown) => shown.take().ok_or(Errno::BADF)?,
            };
            bind(root, tree.as_fd(), place, *idmap)
        }
        Op::Tmpfs { place, size, inodes, mode, owner } => {
            let options = [
                (c"size", size.as_c_str()),
                (c"nr_inodes", inodes.as_c_str()),
                (c"mode", mode.as_c_str()),
                (c"uid", owner.as_c_str()),
                (c"gid", owner.as_c_str()),
            ];
            attach(root, tmpfs(&options, plain())?.as_fd(), place, FileType::Directory)
        }
        Op::Dev => dev(),
        Op::Proc => return proc(),
    };
    done.map(|()| ALL_MADE)
}

/// Shows a file or directory of the host at a place that is ours; what it may do is settled by
/// [`seal_system`] for all of them at once, before anything else is mounted.
fn system(source: &CStr, path: &CStr, kind: Kind, missing: Missing) -> Result<u32, Errno> {
    make_point(path, kind)?;
    let other = match mount_bind_recursive(source, path) {
        // The kind was a guess where the source is a symlink of the host.
        Err(Errno::NOTDIR) => {
            if kind == Kind::Directory {
                Kind::File
            } else {
                Kind::Directory
            }
        }
        Err(Errno::NOENT) if missing == Missing::Skip => return unmake_point(path, kind).map(|()| NOT_THERE),
        result => return result.map(|()| ALL_MADE),
    };
    unmake_point(path, kind)?;
    make_point(path, other)?;
    mount_bind_recursive(source, path).map(|()| ALL_MADE)
}

/// The same with what was opened before.
fn opened_system(tree: BorrowedFd<'_>, path: &CStr) -> Result<u32, Errno> {
    let is_directory = FileType::from_raw_mode(fstat(tree)?.st_mode) == FileType::Directory;
    make_point(path, if is_directory { Kind::Directory } else { Kind::File })?;
    move_mount(tree, c"", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).map(|()| ALL_MADE)
}

fn make_point(path: &CStr, kind: Kind) -> Result<(), Errno> {
    match kind {
        Kind::Directory => mkdirat(CWD, path, directory_mode()),
        Kind::File => mknodat(CWD, path, FileType::RegularFile, Mode::from_raw_mode(0o444), 0),
    }
}

fn unmake_point(path: &CStr, kind: Kind) -> Result<(), Errno> {
    let flags = if kind == Kind::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    unlinkat(CWD, path, flags)
}

/// Makes everything that is mounted so far read-only, without set-uid and devices; only the tmpfs at the root
/// stays writable, for what comes next.
fn seal_system(root: BorrowedFd<'_>) -> Result<(), Errno> {
    let all = MountAttr { set: READ_ONLY | NO_SUID | NO_DEV, propagation: PRIVATE, ..MountAttr::default() };
    sys::mount_setattr(root, c"", EMPTY_PATH | RECURSIVE, &all)?;
    let writable = MountAttr { clear: READ_ONLY, ..MountAttr::default() };
    sys::mount_setattr(root, c"", EMPTY_PATH, &writable)
}

fn text(path: &CStr, content: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = openat(CWD, path, flags, Mode::from_raw_mode(0o644))?;
    if rustix::io::write(&file, content)? == content.len() { Ok(()) } else { Err(Errno::NOSPC) }
}

/// A copy of a mount, and of what is mounted below.
const TREE: OpenTreeFlags =
    OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC).union(OpenTreeFlags::AT_RECURSIVE);

fn open_source(source: &Source) -> Result<OwnedFd, Errno> {
    match source {
        Source::Host(path) => open_tree(CWD, path.as_c_str(), TREE),
        Source::Below { directory, device, inode, name } => {
            let wanted = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let directory = openat(CWD, directory.as_c_str(), wanted, Mode::empty())?;
            let found = fstat(&directory)?;
            if (found.st_dev, found.st_ino) != (*device, *inode) {
                return Err(Errno::STALE);
            }
            open_tree(step(directory.as_fd(), name)?.as_fd(), c"", TREE | OpenTreeFlags::AT_EMPTY_PATH)
        }
    }
}

fn bind(root: BorrowedFd<'_>, tree: BorrowedFd<'_>, place: &Place, idmap: Option<i32>) -> Result<(), Errno> {
    let kind = FileType::from_raw_mode(fstat(tree)?.st_mode);
    let mut attributes = MountAttr { set: NO_SUID | NO_DEV, propagation: PRIVATE, ..MountAttr::default() };
    match idmap {
        None => attributes.set |= READ_ONLY,
        Some(userns) => {
            attributes.set |= ID_MAP;
            attributes.userns_fd = u64::from(userns.unsigned_abs());
        }
    }
    sys::mount_setattr(tree, c"", EMPTY_PATH | RECURSIVE, &attributes)?;
    attach(root, tree, place, kind)
}

/// One name further down, whatever is mounted there, and never through a symlink.
fn step(at: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(at, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// Makes the mount point, and mounts there. The way may lead through a bind of somebody's files or a
/// symlink of a `--rootfs`, and until the pivot an absolute symlink leads to the *host*: so nothing is
/// made but by one name below a directory that was reached without any symlink.
fn attach(root: BorrowedFd<'_>, mount: BorrowedFd<'_>, place: &Place, kind: FileType) -> Result<(), Errno> {
    let Some((last, parents)) = place.names.split_last() else { return Err(Errno::INVAL) };
    let mut reached: Option<OwnedFd> = None;
    for name in parents {
        let at = reached.as_ref().map_or(root, AsFd::as_fd);
        existing(mkdirat(at, name.as_c_str(), directory_mode()))?;
        let next = step(at, name)?;
        reached = Some(next);
    }
    let at = reached.as_ref().map_or(root, AsFd::as_fd);
    let made = if kind == FileType::Directory {
        mkdirat(at, last.as_c_str(), directory_mode())
    } else {
        mknodat(at, last.as_c_str(), FileType::RegularFile, Mode::from_raw_mode(0o444), 0)
    };
    if made.is_ok() {
        // A name that was free until now, in a directory that was reached without a symlink: it needs no second look.
        return move_mount(mount, c"", at, last.as_c_str(), MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH);
    }
    existing(made)?;
    let point = step(at, last)?;
    let both = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", point.as_fd(), c"", both)
}

/// A mount point that is there already, or that cannot be made in a read-only bind, may serve;
/// whether it does, the mount itself will say.
fn existing(made: Result<(), Errno>) -> Result<(), Errno> {
    match made {
        Err(Errno::EXIST | Errno::ROFS) => Ok(()),
        result => result,
    }
}

/// The devices every program expects, by major and minor number (`Documentation/admin-guide/devices.txt`).
const DEVICES: [(&CStr, u32, u32); 6] = [
    (c"dev/null", 1, 3),
    (c"dev/zero", 1, 5),
    (c"dev/full", 1, 7),
    (c"dev/random", 1, 8),
    (c"dev/urandom", 1, 9),
    (c"dev/tty", 5, 0),
];
const DEVICE_LINKS: [(&CStr, &CStr); 4] = [
    (c"/proc/self/fd", c"dev/fd"),
    (c"/proc/self/fd/0", c"dev/stdin"),
    (c"/proc/self/fd/1", c"dev/stdout"),
    (c"/proc/self/fd/2", c"dev/stderr"),
];

/// A tmpfs with nodes of our own making: nothing of the host's `/dev` is looked at.
fn dev() -> Result<(), Errno> {
    mkdirat(CWD, c"dev", directory_mode())?;
    let options = c"mode=0755,size=65536,nr_inodes=32";
    mount(c"tmpfs", c"dev", c"tmpfs", MountFlags::NOSUID | MountFlags::NOEXEC, options)?;
    for (path, major, minor) in DEVICES {
        let device = rustix::fs::makedev(major, minor);
        mknodat(CWD, path, FileType::CharacterDevice, Mode::from_raw_mode(0o666), device)?;
    }
    for (target, path) in DEVICE_LINKS {
        symlinkat(target, CWD, path)?;
    }
    mkdirat(CWD, c"dev/shm", directory_mode())?;
    let sealed = MountAttr { set: READ_ONLY, ..MountAttr::default() };
    sys::mount_setattr(CWD, c"dev", 0, &sealed)
}

/// `/proc` of this PID namespace, in which a process sees only its own, with what it must not see covered.
fn proc() -> Result<u32, Errno> {
    mkdirat(CWD, c"proc", directory_mode())?;
    let sealed = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
    mount(c"proc", c"proc", c"proc", sealed, c"hidepid=invisible")?;
    // What is missing below must be the covered and not the cover.
    let null = statat(CWD, c"dev/null", AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(null.st_mode) != FileType::CharacterDevice {
        return Err(Errno::NODEV);
    }
    let mut skipped = ALL_MADE;
    for (mask, part) in proc_mask::MASKS.iter().zip(1..PARTS) {
        match mount_bind(c"dev/null", mask.path) {
            Ok(()) => {}
            // This kernel has no such file.
            Err(Errno::NOENT) => skipped |= 1 << part,
            Err(errno) => return Err(errno),
        }
    }
    Ok(skipped)
}
