//! What the host has, and what must be the same after a run as before.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Where cgroups are mounted, found by the tests without asking rustbox.
#[derive(Clone, Debug)]
pub struct CgroupLayout {
    /// The cgroup2 mount.
    pub unified: Option<PathBuf>,
    /// The cgroup v1 mounts, with their controllers.
    pub v1: Vec<(String, PathBuf)>,
}

impl CgroupLayout {
    /// Reads `/proc/self/mountinfo`.
    #[must_use]
    pub fn read() -> Self {
        let mut layout = Self { unified: None, v1: Vec::new() };
        for line in mountinfo().lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(point) = left.split(' ').nth(4).map(PathBuf::from) else { continue };
            let mut right = right.split(' ');
            match right.next() {
                Some("cgroup2") if layout.unified.is_none() => layout.unified = Some(point),
                Some("cgroup") => layout.v1.push((right.nth(1).unwrap_or_default().to_owned(), point)),
                Some(_) | None => {}
            }
        }
        layout
    }

    /// Every mount in which a box may have a directory.
    pub fn roots(&self) -> impl Iterator<Item = &Path> {
        self.unified.iter().map(PathBuf::as_path).chain(self.v1.iter().map(|(_, path)| path.as_path()))
    }

    /// The mount of one v1 controller.
    #[must_use]
    pub fn controller(&self, name: &str) -> Option<&Path> {
        let has = |options: &str| options.split(',').any(|o| o == name);
        self.v1.iter().find(|(options, _)| has(options)).map(|(_, path)| path.as_path())
    }

    /// Every cgroup directory of this name.
    #[must_use]
    pub fn directories(&self, name: &str) -> Vec<PathBuf> {
        self.roots().map(|root| root.join(name)).filter(|directory| directory.is_dir()).collect()
    }

    /// Every cgroup directory whose name begins like this.
    #[must_use]
    pub fn directories_beginning(&self, start: &str) -> Vec<PathBuf> {
        let entries = self.roots().filter_map(|root| std::fs::read_dir(root).ok()).flatten().filter_map(Result::ok);
        let named = entries.filter(|e| e.file_name().to_str().is_some_and(|n| n.starts_with(start)));
        named.map(|e| e.path()).filter(|path| path.is_dir()).collect()
    }
}

/// The text of `/proc/self/mountinfo`.
pub(crate) fn mountinfo() -> String {
    std::fs::read_to_string("/proc/self/mountinfo").expect("/proc/self/mountinfo")
}

/// What one can list of a host, to be compared with a later look.
///
/// Boxes and pens are left out, since others may be at work on the same host: those of a test are named, and asked
/// for, one by one ([`residue`](crate::residue)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostState {
    /// Lines of `/proc/self/mountinfo`.
    pub mounts: BTreeSet<String>,
    /// Directories of every cgroup hierarchy.
    pub cgroups: BTreeSet<PathBuf>,
    /// Rows of the three tables of `/proc/sysvipc`.
    pub sysv_objects: usize,
}

impl HostState {
    /// Looks at the host.
    #[must_use]
    pub fn read() -> Self {
        let layout = CgroupLayout::read();
        let rows =
            |name: &str| std::fs::read_to_string(format!("/proc/sysvipc/{name}")).map_or(0, |t| t.lines().count());
        let mut cgroups = BTreeSet::new();
        layout.roots().for_each(|root| list_directories(root, &mut cgroups));
        Self {
            mounts: mountinfo().lines().map(str::to_owned).collect(),
            cgroups,
            sysv_objects: ["shm", "sem", "msg"].into_iter().map(rows).sum(),
        }
    }
}

fn list_directories(root: &Path, found: &mut BTreeSet<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(root) else { return };
    let directories = entries.filter_map(Result::ok).filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
    for directory in directories {
        let name = directory.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("rustbox-") && !name.starts_with("containment-pen-") {
            list_directories(&directory.path(), found);
            found.insert(directory.path());
        }
    }
}
