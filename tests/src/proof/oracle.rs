//! The outside oracle of a whole proof: what the kernel shows of the host before and after, without asking rustbox.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::report::HostComparison;
use crate::host::{CgroupLayout, HostState};
use crate::pidfd::wait_until;
use crate::process::scan;

/// Uids that boxes get.
const BOX_UIDS: std::ops::RangeInclusive<u32> = 70_000..=70_999;

/// Files of the host whose content no attack may change.
const FILES: [&str; 8] = [
    "/etc/passwd",
    "/etc/shadow",
    "/etc/group",
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/hotplug",
    "/proc/sys/fs/binfmt_misc/status",
];

/// Directories in which a payload may have left something that belongs to a box's uid.
const OPEN_DIRECTORIES: [&str; 4] = ["/dev/shm", "/dev/mqueue", "/tmp", "/var/tmp"];

/// What the runner itself has open.
const DESCRIPTORS: &str = "descriptors of the harness";

/// Gone boxes may take the kernel a moment.
const SETTLE: Duration = Duration::from_secs(2);

/// What was read, by kind: each line is one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSight(BTreeMap<&'static str, BTreeSet<String>>);

impl HostSight {
    /// Looks at the host.
    #[must_use]
    pub fn read(binary: &Path) -> Self {
        let host = HostState::read();
        let mut seen: BTreeMap<&'static str, BTreeSet<String>> = BTreeMap::new();
        seen.insert("mounts", host.mounts);
        seen.insert("cgroups", host.cgroups.iter().map(|path| path.display().to_string()).collect());
        seen.insert("processes of box uids outside a box", strays());
        seen.insert("System V objects of box uids", sysv());
        seen.insert("keys and keyrings of box uids", keys());
        seen.insert("files of box uids in open directories", files_of_boxes());
        let mut files: BTreeSet<String> =
            FILES.iter().map(|path| format!("{path} {}", digest(Path::new(path)))).collect();
        files.insert(format!("the program under test {}", digest(binary)));
        files.extend(release_agents());
        seen.insert("contents of guarded files", files);
        seen.insert(DESCRIPTORS, descriptors());
        Self(seen)
    }

    /// Compares with the host as it is now; what differs gets a moment to go.
    #[must_use]
    pub fn compare(&self, binary: &Path) -> HostComparison {
        let mut now = Self::read(binary);
        // Waiting opens descriptors of its own.
        let own = now.0.get(DESCRIPTORS).cloned().unwrap_or_default();
        let _same = wait_until(SETTLE, || {
            now = Self::read(binary);
            now.0.insert(DESCRIPTORS, own.clone());
            (now == *self).then_some(())
        });
        let mut comparison = HostComparison::default();
        for (kind, before) in &self.0 {
            let after = now.0.get(kind).cloned().unwrap_or_default();
            comparison.compared.insert((*kind).to_owned(), after.len());
            let new = after.difference(before).map(|object| format!("{kind}: new: {object}"));
            let gone = before.difference(&after).map(|object| format!("{kind}: gone: {object}"));
            comparison.differences.extend(new.chain(gone));
        }
        comparison
    }
}

/// Live processes with a uid of the range that are in no box's cgroup. Boxes of others on this host are in theirs.
fn strays() -> BTreeSet<String> {
    let is_stray = |p: &crate::process::SeenProcess| {
        BOX_UIDS.contains(&p.uid)
            && !p.is_zombie()
            && !p.cgroup.contains("rustbox-")
            && !p.cgroup.contains("containment-pen-")
    };
    scan().into_iter().filter(is_stray).map(|p| format!("{} {:?} uid {} {}", p.pid, p.comm, p.uid, p.cgroup)).collect()
}

/// Rows of `/proc/sysvipc/*` with a uid of the range among their numbers.
fn sysv() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for table in ["shm", "sem", "msg"] {
        let text = std::fs::read_to_string(format!("/proc/sysvipc/{table}")).unwrap_or_default();
        let ours =
            |row: &&str| row.split_ascii_whitespace().skip(2).any(|n| n.parse().is_ok_and(|n| BOX_UIDS.contains(&n)));
        found.extend(text.lines().skip(1).filter(ours).map(|row| format!("{table} {row}")));
    }
    found
}

/// Rows of `/proc/keys` whose owner is of the range. Keys of controls are of uids outside it.
fn keys() -> BTreeSet<String> {
    let text = std::fs::read_to_string("/proc/keys").unwrap_or_default();
    let owner = |row: &str| row.split_ascii_whitespace().nth(5).and_then(|n| n.parse().ok());
    let ours = |row: &&str| owner(row).is_some_and(|uid: u32| BOX_UIDS.contains(&uid));
    let name = |row: &str| row.split_ascii_whitespace().skip(7).collect::<Vec<_>>().join(" ");
    text.lines().filter(ours).map(name).collect()
}

fn files_of_boxes() -> BTreeSet<String> {
    let entries = OPEN_DIRECTORIES.iter().filter_map(|d| std::fs::read_dir(d).ok()).flatten().filter_map(Result::ok);
    let ours = entries.filter(|e| e.path().symlink_metadata().is_ok_and(|m| BOX_UIDS.contains(&m.uid())));
    ours.map(|e| e.path().display().to_string()).collect()
}

/// `release_agent` and `notify_on_release` at the root of each v1 hierarchy.
fn release_agents() -> Vec<String> {
    let layout = CgroupLayout::read();
    let mut found = Vec::new();
    for root in layout.roots() {
        for file in ["release_agent", "notify_on_release"] {
            let path = root.join(file);
            found.extend(path.is_file().then(|| format!("{} {}", path.display(), digest(&path))));
        }
    }
    found
}

/// What the runner itself has open, by target; sockets and pipes only by kind.
fn descriptors() -> BTreeSet<String> {
    let entries = std::fs::read_dir("/proc/self/fd").expect("/proc/self/fd").filter_map(Result::ok);
    let target = |e: std::fs::DirEntry| Some((e.file_name().into_string().ok()?, std::fs::read_link(e.path()).ok()?));
    let list = entries.filter_map(target).filter(|(_, to)| !to.ends_with("fd"));
    list.map(|(fd, to)| format!("{fd} {}", to.display())).collect()
}

fn digest(path: &Path) -> String {
    std::fs::read(path).map_or_else(|_| "unreadable".to_owned(), |bytes| hex(&bytes))
}

/// SHA-256 in hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
