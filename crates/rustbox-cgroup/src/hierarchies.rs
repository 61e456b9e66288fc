//! The cgroup hierarchies of this host.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustbox_core::{CgroupBackend, Limits, MissingControl};
use rustix::fs::{Access, AtFlags, Mode, OFlags, accessat, openat, statfs};
use rustix::io::{Errno, read};

use crate::error::Error;
use crate::layout::{Control, ControlSet, Layout, Root, Version, wanted};
use crate::mountinfo::Mounts;

/// Where every distribution mounts its cgroups.
const USUAL_ROOT: &str = "/sys/fs/cgroup";

/// Longest `/proc/self/mountinfo` that is read, in bytes: room for the kernel's default limit of 100,000 mounts.
const MOUNTINFO_BYTES: usize = 64 << 20;

/// The cgroup hierarchies of this host, as boxes use them. Cheap to clone, safe to share between threads.
#[derive(Debug, Clone)]
pub struct Hierarchies {
    pub(crate) layout: Arc<Layout>,
}

impl Hierarchies {
    /// Finds what this host has.
    ///
    /// Costs one `statfs` and the opening of the root on a pure v2 host, and else one reading of
    /// `/proc/self/mountinfo`. Roots are opened when they are first used.
    ///
    /// `force` restricts the choice: `V1` ignores a v2 mount, `V2` ignores v1 mounts.
    ///
    /// # Errors
    /// When nothing is mounted, or not what is forced, or when it cannot be read.
    pub fn detect(force: Option<CgroupBackend>) -> Result<Self, Error> {
        Self::detect_at(force, None)
    }

    /// Finds what this host has, with boxes below `v2_root` (a delegated subtree) instead of the v2 mount itself.
    ///
    /// # Errors
    /// As [`Self::detect`], and when `v2_root` is not a cgroup v2 directory.
    pub fn detect_at(force: Option<CgroupBackend>, v2_root: Option<&Path>) -> Result<Self, Error> {
        let wants_v1 = matches!(force, Some(CgroupBackend::V1 | CgroupBackend::Hybrid));
        let is_v2 = !wants_v1 && statfs(USUAL_ROOT).is_ok_and(|fs| fs.f_type == Version::V2.magic());
        let mut mounts = if is_v2 { Mounts::default() } else { find_mounts()? };
        let mounted = if is_v2 { Some(PathBuf::from(USUAL_ROOT)) } else { mounts.v2.take().map(|m| m.path) };
        let v2_path = v2_root.map(Path::to_owned).or(mounted).filter(|_| force != Some(CgroupBackend::V1));
        let v2 = v2_path.map(open_v2).transpose()?;
        let layout = Layout::decide(force, v2, mounts)?;
        tracing::debug!(backend = %layout.backend, "cgroup hierarchies found");
        Ok(Self { layout: Arc::new(layout) })
    }

    /// Which interface boxes use.
    #[must_use]
    pub fn backend(&self) -> CgroupBackend {
        self.layout.backend
    }

    /// The directories below which boxes can have a cgroup. In the first one `rustbox-<id>/cgroup.procs` lists every
    /// process of a box: the v2 root on v2 and hybrid, the memory hierarchy on v1.
    #[must_use]
    pub fn roots(&self) -> Vec<PathBuf> {
        self.layout.all().into_iter().filter_map(|i| self.layout.roots.get(i)).map(|r| r.path.clone()).collect()
    }

    /// The kernel's names of the controllers that boxes can use here, sorted by hierarchy.
    #[must_use]
    pub fn controllers(&self) -> Vec<&'static str> {
        self.layout.roots.iter().flat_map(|root| root.controllers.names()).collect()
    }

    /// What these limits need and this host does not have.
    ///
    /// Memory, pids and CPU accounting are always needed; `cpu` and `cpuset` when they are asked for. On v1 the lack of
    /// swap accounting is an item of its own, unless the host has no swap. On v2 `memory.swap.max` shows only in a
    /// cgroup that exists, so [`Self::create`] is what finds it missing there.
    ///
    /// No system call on v2; one on v1 and hybrid, the first time.
    #[must_use]
    pub fn missing(&self, limits: &Limits) -> Vec<MissingControl> {
        let mut missing: Vec<MissingControl> = wanted(limits)
            .filter(|control| self.layout.home(*control).is_none())
            .map(|control| self.describe(control))
            .collect();
        let memory = self.layout.home(Control::Memory).and_then(|i| self.layout.roots.get(i));
        if let Some(root) = memory.filter(|root| root.version == Version::V1)
            && root.dir().is_ok_and(|dir| {
                *self.layout.lacks_swap_accounting.get_or_init(|| lacks(dir, "memory.memsw.limit_in_bytes"))
            })
            && host_has_swap()
        {
            missing.push(swap_missing());
        }
        missing
    }

    fn describe(&self, control: Control) -> MissingControl {
        let name = control.name();
        let file_system = match self.layout.backend {
            CgroupBackend::V2 => "cgroup.controllers of the cgroup v2 root does not name it",
            CgroupBackend::V1 => "no cgroup v1 hierarchy is mounted with it",
            CgroupBackend::Hybrid => {
                "no cgroup v1 hierarchy is mounted with it, and the cgroup v2 root does not have it"
            }
        };
        let v2_fix = "delegate it to this cgroup (systemd: `Delegate=cpu cpuset memory pids`), or check the kernel's \
                      configuration and command line (cgroup_disable=)";
        let v1_fix = "mount -t cgroup -o it /sys/fs/cgroup/it, or boot with systemd.unified_cgroup_hierarchy=1";
        MissingControl {
            control: report_name(control).to_owned(),
            reason: format!("the {name} controller is not available: {file_system}"),
            fix: if self.layout.backend == CgroupBackend::V2 { v2_fix.to_owned() } else { v1_fix.replace("it", name) },
        }
    }
}

/// The name of a control in the capability report.
pub(crate) fn report_name(control: Control) -> &'static str {
    match control {
        Control::Memory => "memory",
        Control::Pids => "pids",
        Control::Cpu => "cpus",
        Control::CpuAcct => "cpu_accounting",
        Control::CpuSet => "cpuset",
        Control::Freezer => "freezer",
    }
}

/// Swap that is not accounted would let a box have more memory than its limit.
pub(crate) fn swap_missing() -> MissingControl {
    MissingControl {
        control: "swap".to_owned(),
        reason: "the host has swap, and the kernel does not account it per cgroup".to_owned(),
        fix: "boot with swapaccount=1, or turn swap off (swapoff -a)".to_owned(),
    }
}

/// Whether any swap is in use. When that cannot be read, swap is assumed.
pub(crate) fn host_has_swap() -> bool {
    // One line of headings, then one per swap area.
    std::fs::read_to_string("/proc/swaps").map_or(true, |text| text.lines().count() > 1)
}

fn lacks(dir: std::os::fd::BorrowedFd<'_>, attr: &str) -> bool {
    accessat(dir, attr, Access::EXISTS, AtFlags::empty()) == Err(Errno::NOENT)
}

/// Opens the v2 root and reads its controllers.
fn open_v2(path: PathBuf) -> Result<Root, Error> {
    const CONTROLLERS: &str = "cgroup.controllers";
    // Of the kernel's fourteen names the longest list has about 100 bytes.
    let mut buffer = [0_u8; 512];
    let closed = Root::new(path, Version::V2, ControlSet::EMPTY);
    let length = openat(closed.dir()?, CONTROLLERS, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .and_then(|file| read(&file, &mut buffer))
        .map_err(|e| Error::ReadAttr { path: closed.path.clone(), attr: CONTROLLERS, source: e.into() })?;
    let text = str::from_utf8(buffer.get(..length).unwrap_or_default()).unwrap_or_default();
    let controllers = ControlSet::from_words(text);
    Ok(closed.with_controllers(controllers))
}

/// Reads mounts until every control is found: those of a host with thousands come after its cgroups, as a rule.
fn find_mounts() -> Result<Mounts, Error> {
    use std::io::BufRead as _;
    let mut mounts = Mounts::default();
    for line in std::io::BufReader::new(open_mountinfo()?).split(b'\n') {
        mounts.add(&line.map_err(|source| Error::ReadMountinfo { source })?);
        if mounts.is_complete() {
            break;
        }
    }
    Ok(mounts)
}

pub(crate) fn read_mountinfo() -> Result<Vec<u8>, Error> {
    let mut text = Vec::with_capacity(16 << 10);
    open_mountinfo()?.read_to_end(&mut text).map_err(|source| Error::ReadMountinfo { source })?;
    Ok(text)
}

fn open_mountinfo() -> Result<std::io::Take<std::fs::File>, Error> {
    let file = std::fs::File::open("/proc/self/mountinfo").map_err(|source| Error::ReadMountinfo { source })?;
    Ok(file.take(MOUNTINFO_BYTES as u64))
}
