//! The box's root as a list of operations, made by the parent: the child only walks it.
//!
//! The new root is a tmpfs. What the box sees of the host is bound into it, one top-level name
//! at a time, so that mount points can always be made without writing to anything of the host's,
//! and no name that a payload could have chosen is ever followed.

use std::ffi::{CString, OsStr};
use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustbox_core::{Bind, BindAccess, RootSource, RunPlan, TmpfsMount};

use crate::error::Error;
use crate::mount_check::{Expected, expected};
use crate::system::{Shown, System};

/// What a bind shows.
#[derive(Debug)]
pub(crate) enum Source {
    /// A path of the host, trusted: the caller named it, or it is a system directory.
    Host(CString),
    /// A name directly below a directory, which must still be the one that was looked at; a symlink of
    /// that name is refused. By path: a descriptor that was opened outside belongs to a mount of the
    /// host's namespace, of which nothing can be bound in this one.
    Below { directory: CString, device: u64, inode: u64, name: CString },
}

/// What a missing source means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The box cannot be built.
    Fail,
    /// The box does without.
    Skip,
}

/// A place in the new root, name by name: whoever goes there can refuse a symlink at each step.
#[derive(Debug)]
pub(crate) struct Place {
    /// The names, from the root down; never empty.
    pub(crate) names: Vec<CString>,
}

/// What a mount point has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// For a directory.
    Directory,
    /// For anything else.
    File,
}

/// One operation on the new root. A `path` is relative to it, and every name on its way is one that the plan
/// itself has made; a `Place` may lead through files of somebody else.
#[derive(Debug)]
pub(crate) enum Op {
    /// A directory in the root tmpfs.
    Directory { path: CString },
    /// A symbolic link in the root tmpfs.
    Symlink { target: CString, path: CString },
    /// A small file in the root tmpfs.
    Text { path: CString, content: Vec<u8> },
    /// A file or directory of the host's system, for programs to work at all.
    System { source: CString, path: CString, kind: Kind, missing: Missing },
    /// The end of what is of the system: all of it becomes read-only.
    SealSystem,
    /// A bind, read-only unless it is id-mapped by a user namespace.
    Bind { source: Source, place: Place, idmap: Option<RawFd> },
    /// A tmpfs at a place that is ours; the options are those of mount(2).
    OwnTmpfs { path: CString, options: CString },
    /// A tmpfs somewhere else.
    Tmpfs { place: Place, size: CString, inodes: CString, mode: CString, owner: CString },
    /// `/dev` with its nodes.
    Dev,
    /// `/proc` of the box's PID namespace.
    Proc,
}

impl Op {
    /// Whether it needs something of the host's mounts.
    pub(crate) fn shows_host(&self) -> bool {
        matches!(self, Self::System { .. } | Self::Bind { .. })
    }
}

/// The list.
#[derive(Debug)]
pub(crate) struct RootPlan {
    pub(crate) ops: Vec<Op>,
    /// What each operation is about, for error texts; as long as `ops`.
    pub(crate) subjects: Vec<String>,
    /// What has to be mounted when all of them were done, and nothing else.
    pub(crate) mounts: Vec<Expected>,
}

/// The item of a mount that none of the operations makes; the one before is the root.
pub(crate) const UNORDERED: u32 = u32::MAX;

/// Names of a `--rootfs` that the box brings along itself.
const OWN_NAMES: [&str; 5] = ["proc", "sys", "dev", "tmp", "box"];
/// Directories in memory of which every name on the way is in `OWN_NAMES`, or made in our own `/dev`.
const OWN_TMPFS: [&str; 3] = ["tmp", "dev/shm", "box"];

pub(crate) fn c(text: impl AsRef<OsStr>) -> Result<CString, Error> {
    CString::new(text.as_ref().as_bytes())
        .map_err(|_| Error::Nul { what: text.as_ref().to_string_lossy().into_owned() })
}

fn path_of(text: &CString) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(text.to_bytes()))
}

impl Place {
    fn new(path: &Path) -> Result<Self, Error> {
        let relative = path.strip_prefix("/").unwrap_or(path);
        Ok(Self { names: relative.components().map(c).collect::<Result<_, _>>()? })
    }
}

impl RootPlan {
    /// Plans the root of one box.
    ///
    /// # Errors
    /// A `--rootfs` that cannot be read, or in which `/proc`, `/sys`, `/dev` or `/dev/null` is not
    /// what it must be; a path with a NUL byte.
    pub(crate) fn new(
        plan: &RunPlan,
        uid: u32,
        system: Option<&System>,
        idmaps: &[Option<BorrowedFd<'_>>],
    ) -> Result<Self, Error> {
        let (ops, subjects) = (Vec::with_capacity(48), Vec::with_capacity(48));
        let mut root = Self { ops, subjects, mounts: Vec::new() };
        match &plan.root {
            RootSource::Host => match system {
                Some(system) => root.host(system)?,
                None => root.host(&System::look()?)?,
            },
            RootSource::Directory(dir) => root.directory(dir)?,
        }
        root.push("/dev", Op::Dev);
        for mount in &plan.tmpfs {
            root.tmpfs(mount, uid)?;
        }
        root.push("/sys", Op::Directory { path: c("sys")? });
        root.push("/proc", Op::Proc);
        if plan.root == RootSource::Host {
            root.accounts(uid, &plan.hostname)?;
        }
        // Last, so that a bind may cover anything that the box brings along.
        for (index, bind) in plan.binds.iter().enumerate() {
            root.bind(bind, idmaps.get(index).copied().flatten())?;
        }
        root.mounts = expected(&root.ops);
        Ok(root)
    }

    fn push(&mut self, subject: impl Into<String>, op: Op) {
        self.subjects.push(subject.into());
        self.ops.push(op);
    }

    /// A path of the host at the same path in the box.
    fn system(&mut self, path: &Path, kind: Kind, missing: Missing) -> Result<(), Error> {
        let relative = c(path.strip_prefix("/").unwrap_or(path))?;
        self.push(path.display().to_string(), Op::System { source: c(path)?, path: relative, kind, missing });
        Ok(())
    }

    fn host(&mut self, system: &System) -> Result<(), Error> {
        for (name, target) in &system.links {
            self.push(*name, Op::Symlink { target: target.clone(), path: c(name)? });
        }
        self.push("/etc", Op::Directory { path: c("etc")? });
        for Shown { path, kind, missing } in &system.shown {
            self.system(path, *kind, *missing)?;
        }
        self.push("the system", Op::SealSystem);
        for name in ["var", "run"] {
            self.push(name, Op::Directory { path: c(name)? });
        }
        self.push("/var/tmp", Op::Symlink { target: c("../tmp")?, path: c("var/tmp")? });
        Ok(())
    }

    /// The accounts that programs look up: root, nobody, and the box's own uid with its home.
    fn accounts(&mut self, uid: u32, hostname: &str) -> Result<(), Error> {
        let passwd = format!(
            "root:x:0:0:root:/:/usr/sbin/nologin\nbox:x:{uid}:{uid}:box:/box:/bin/sh\n\
             nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n"
        );
        let group = format!("root:x:0:\nbox:x:{uid}:\nnogroup:x:65534:\n");
        let hosts = format!("127.0.0.1 localhost {hostname}\n::1 localhost\n");
        let nsswitch = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n".to_owned();
        for (path, text) in
            [("etc/passwd", passwd), ("etc/group", group), ("etc/hosts", hosts), ("etc/nsswitch.conf", nsswitch)]
        {
            self.push(format!("/{path}"), Op::Text { path: c(path)?, content: text.into_bytes() });
        }
        Ok(())
    }

    /// Every top-level name of a root file system, but for those that the box brings along.
    fn directory(&mut self, dir: &Path) -> Result<(), Error> {
        check_rootfs(dir)?;
        let failed = |source| Error::Rootfs { path: dir.to_owned(), source };
        let found = fs::metadata(dir).map_err(failed)?;
        for entry in fs::read_dir(dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let kind = entry.file_type().map_err(failed)?;
            if OWN_NAMES.iter().any(|own| name.as_bytes() == own.as_bytes()) {
                continue;
            }
            let subject = entry.path().display().to_string();
            if kind.is_symlink() {
                let target = fs::read_link(entry.path()).map_err(failed)?;
                self.push(subject, Op::Symlink { target: c(target)?, path: c(&name)? });
            } else if kind.is_dir() || kind.is_file() {
                let (device, inode) = (found.dev(), found.ino());
                let source = Source::Below { directory: c(dir)?, device, inode, name: c(&name)? };
                let place = Place::new(Path::new(&name))?;
                self.push(subject, Op::Bind { source, place, idmap: None });
            }
        }
        Ok(())
    }

    fn tmpfs(&mut self, mount: &TmpfsMount, uid: u32) -> Result<(), Error> {
        // /tmp and /dev/shm are open to every uid, as everywhere; the others belong to the box.
        let shared = [Path::new("/tmp"), Path::new("/dev/shm")].contains(&mount.target.as_path());
        let owner = if shared { 0 } else { uid };
        let mode = if shared { "1777" } else { "0700" };
        // The way to these names is made by this plan, whatever the root is made of: see `OWN_NAMES`.
        if let Some(path) = OWN_TMPFS.iter().find(|path| Path::new("/").join(path) == mount.target) {
            let (size, inodes) = (mount.size.0, mount.inodes);
            let options = c(format!("size={size},nr_inodes={inodes},mode={mode},uid={owner},gid={owner}"))?;
            self.push(mount.target.display().to_string(), Op::OwnTmpfs { path: c(path)?, options });
            return Ok(());
        }
        let op = Op::Tmpfs {
            place: Place::new(&mount.target)?,
            size: c(mount.size.0.to_string())?,
            inodes: c(mount.inodes.to_string())?,
            mode: c(mode)?,
            owner: c(owner.to_string())?,
        };
        self.push(mount.target.display().to_string(), op);
        Ok(())
    }

    fn bind(&mut self, bind: &Bind, idmap: Option<BorrowedFd<'_>>) -> Result<(), Error> {
        let idmap = match bind.access {
            BindAccess::ReadOnly => None,
            BindAccess::Writable => Some(idmap.ok_or(Error::NoIdMap { path: bind.source.clone() })?.as_raw_fd()),
        };
        let source = Source::Host(c(&bind.source)?);
        let op = Op::Bind { source, place: Place::new(&bind.target)?, idmap };
        self.push(format!("{} on {}", bind.source.display(), bind.target.display()), op);
        Ok(())
    }

    /// How many of its operations need something of the host's mounts.
    pub(crate) fn shown(&self) -> usize {
        self.ops.iter().filter(|op| op.shows_host()).count()
    }

    /// Paths of the host that binds show.
    pub(crate) fn sources(&self) -> impl Iterator<Item = PathBuf> {
        self.ops.iter().filter_map(|op| {
            let Op::Bind { source, .. } = op else { return None };
            Some(match source {
                Source::Host(path) => path_of(path),
                Source::Below { directory, name, .. } => path_of(directory).join(path_of(name)),
            })
        })
    }

    /// What was operated on when operation `item` failed.
    pub(crate) fn subject(&self, item: u32) -> &str {
        if item >= UNORDERED - 1 {
            return if item == UNORDERED { "a mount that nobody ordered" } else { "/" };
        }
        usize::try_from(item).ok().and_then(|index| self.subjects.get(index)).map_or("", String::as_str)
    }

    /// Whether operation `item` mounts somebody's files through an id mapping.
    pub(crate) fn is_id_mapped(&self, item: u32) -> bool {
        let op = usize::try_from(item).ok().and_then(|index| self.ops.get(index));
        matches!(op, Some(Op::Bind { idmap: Some(_), .. }))
    }
}

/// Refuses a root in which a name that we mount on is a trap. Nothing below would follow it, but
/// a root that has one was made to deceive.
fn check_rootfs(dir: &Path) -> Result<(), Error> {
    for name in ["proc", "sys", "dev"] {
        match fs::symlink_metadata(dir.join(name)) {
            Ok(found) if !found.is_dir() => {
                return Err(Error::RootfsTrap { path: dir.join(name), wanted: "a directory" });
            }
            _ => {}
        }
    }
    match fs::symlink_metadata(dir.join("dev/null")) {
        Ok(found) if !found.file_type().is_char_device() => {
            Err(Error::RootfsTrap { path: dir.join("dev/null"), wanted: "a character device" })
        }
        _ => Ok(()),
    }
}
