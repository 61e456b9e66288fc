//! Which hierarchy serves which control: the roots of this host.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::OnceLock;

use rustbox_core::{CgroupBackend, Limits};
use rustix::fs::{FsWord, Mode, OFlags, fstatfs, open};

use crate::error::Error;
use crate::mountinfo::Mounts;

/// A controller that boxes use, by the kernel's word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    Memory,
    Pids,
    Cpu,
    CpuAcct,
    CpuSet,
    Freezer,
}

impl Control {
    pub(crate) const ALL: [Self; 6] = [Self::Memory, Self::Pids, Self::Cpu, Self::CpuAcct, Self::CpuSet, Self::Freezer];

    /// The kernel's name, as in `/proc/cgroups`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
            Self::CpuAcct => "cpuacct",
            Self::CpuSet => "cpuset",
            Self::Freezer => "freezer",
        }
    }
}

/// A set of controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ControlSet(u8);

impl ControlSet {
    pub(crate) const EMPTY: Self = Self(0);

    pub(crate) fn contains(self, control: Control) -> bool {
        self.0 & (1 << control as u8) != 0
    }

    /// The set with the controller of that name, if it is one that boxes use.
    pub(crate) fn with_name(self, name: &[u8]) -> Self {
        let bits = Control::ALL.iter().filter(|c| c.name().as_bytes() == name).fold(0, |bits, c| bits | 1 << *c as u8);
        Self(self.0 | bits)
    }

    /// Reads `cgroup.controllers` or `cgroup.subtree_control`: names with spaces between.
    pub(crate) fn from_words(text: &str) -> Self {
        text.split_ascii_whitespace().fold(Self::EMPTY, |set, word| set.with_name(word.as_bytes()))
    }

    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        Control::ALL.into_iter().filter(move |c| self.contains(*c)).map(Control::name)
    }
}

/// The two interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

impl Version {
    fn file_system(self) -> (&'static str, FsWord) {
        // CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC in linux/magic.h.
        match self {
            Self::V1 => ("cgroup", 0x0027_e0eb),
            Self::V2 => ("cgroup2", 0x6367_7270),
        }
    }

    pub(crate) fn magic(self) -> FsWord {
        self.file_system().1
    }
}

/// The directory below which the boxes of one hierarchy live.
#[derive(Debug)]
pub(crate) struct Root {
    pub(crate) path: PathBuf,
    pub(crate) version: Version,
    pub(crate) controllers: ControlSet,
    dir: OnceLock<OwnedFd>,
}

impl Root {
    pub(crate) fn new(path: PathBuf, version: Version, controllers: ControlSet) -> Self {
        Self { path, version, controllers, dir: OnceLock::new() }
    }

    pub(crate) fn with_controllers(self, controllers: ControlSet) -> Self {
        Self { controllers, ..self }
    }

    /// The open root. Opened at first use, since most boxes need two or three of a host's many hierarchies.
    pub(crate) fn dir(&self) -> Result<BorrowedFd<'_>, Error> {
        if let Some(fd) = self.dir.get() {
            return Ok(fd.as_fd());
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = open(&self.path, flags, Mode::empty())
            .map_err(|e| Error::OpenRoot { path: self.path.clone(), source: e.into() })?;
        let (expected, magic) = self.version.file_system();
        // Whatever is mounted over a root later does not reach what is opened relative to this descriptor.
        let found = fstatfs(&fd).map_err(|e| Error::OpenRoot { path: self.path.clone(), source: e.into() })?;
        if found.f_type != magic {
            return Err(Error::NotCgroup { path: self.path.clone(), expected });
        }
        // Two threads may both have opened it; one descriptor stays, the other is closed here.
        Ok(self.dir.get_or_init(|| fd).as_fd())
    }
}

/// The roots of this host, and how they are used.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) backend: CgroupBackend,
    /// The v2 root first, if it is used; then v1 in the kernel's order.
    pub(crate) roots: Vec<Root>,
    /// Whether the v1 memory hierarchy counts no swap: as the kernel was booted, so it is looked at once.
    pub(crate) lacks_swap_accounting: OnceLock<bool>,
}

impl Layout {
    /// Decides which mounts are used. `v2` is the v2 root with its controllers.
    ///
    /// Without force: everything on v2 unless a controller that boxes use is bound to v1.
    pub(crate) fn decide(force: Option<CgroupBackend>, v2: Option<Root>, mounts: Mounts) -> Result<Self, Error> {
        let v1: Vec<Root> = mounts
            .v1
            .into_iter()
            .filter(|m| m.controllers != ControlSet::EMPTY)
            .map(|m| Root::new(m.path, Version::V1, m.controllers))
            .collect();
        let backend = force.unwrap_or(match (&v2, v1.is_empty()) {
            (Some(_), true) => CgroupBackend::V2,
            (Some(_), false) => CgroupBackend::Hybrid,
            (None, false) => CgroupBackend::V1,
            (None, true) => return Err(Error::NotMounted),
        });
        let absent = |lacking| Error::BackendAbsent { forced: backend, lacking };
        let with_v2 = backend != CgroupBackend::V1;
        let with_v1 = backend != CgroupBackend::V2;
        if with_v2 && v2.is_none() {
            return Err(absent("cgroup2"));
        }
        if with_v1 && v1.is_empty() {
            return Err(absent("cgroup"));
        }
        let roots = v2.into_iter().filter(|_| with_v2).chain(v1.into_iter().filter(|_| with_v1)).collect();
        Ok(Self { backend, roots, lacks_swap_accounting: OnceLock::new() })
    }

    /// The index of the root that serves a control. On hybrid a controller is on v1 or on v2, never on both.
    pub(crate) fn home(&self, control: Control) -> Option<usize> {
        if control == Control::CpuAcct && self.backend != CgroupBackend::V1 {
            // cpu.stat tells the usage in every v2 directory, with or without the cpu controller.
            return Some(0);
        }
        self.roots.iter().position(|root| root.controllers.contains(control))
    }

    /// The root whose directory lists every process of a box and carries its lock.
    pub(crate) fn primary(&self) -> usize {
        match self.backend {
            CgroupBackend::V2 | CgroupBackend::Hybrid => 0,
            CgroupBackend::V1 => self.home(Control::Memory).or_else(|| self.home(Control::Pids)).unwrap_or(0),
        }
    }

    /// The roots in which a box with these limits gets a directory, in the order of creation: the primary first.
    pub(crate) fn used(&self, limits: &Limits) -> Vec<usize> {
        let mut used = vec![self.primary()];
        for root in wanted(limits).filter_map(|control| self.home(control)) {
            if !used.contains(&root) {
                used.push(root);
            }
        }
        used
    }

    /// The roots in which any box of any limits can have a directory, the primary first.
    pub(crate) fn all(&self) -> Vec<usize> {
        let mut all = vec![self.primary()];
        let boxes = [Control::Memory, Control::Pids, Control::CpuAcct, Control::Cpu, Control::CpuSet];
        for root in boxes.into_iter().filter_map(|control| self.home(control)) {
            if !all.contains(&root) {
                all.push(root);
            }
        }
        all
    }
}

/// The controls that limits ask for: memory, pids and CPU accounting always.
pub(crate) fn wanted(limits: &Limits) -> impl Iterator<Item = Control> {
    [Some(Control::Memory), Some(Control::Pids), Some(Control::CpuAcct)]
        .into_iter()
        .chain([limits.cpus.map(|_| Control::Cpu), limits.cpuset.as_ref().map(|_| Control::CpuSet)])
        .flatten()
}
