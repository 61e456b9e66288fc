//! What of the host is looked at: processes, mounts, directories, IPC, keys, and which interfaces boxes use.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustbox_cgroup::Hierarchies;
use rustbox_core::{BoxId, CgroupBackend};
use rustbox_supervisor::{FIRST_UID, Host, Places, UIDS, prepared_mounts};
use rustix::process::{PidfdFlags, getpid, pidfd_open};
use serde::Serialize;

use crate::clean::Look;

/// Which interfaces boxes use on this host. What could not be found out is null.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Backend {
    /// `v1`, `v2` or `hybrid`.
    pub cgroup_backend: Option<CgroupBackend>,
    /// `native` where `pidfd_open` works; there is no fallback, such kernels are refused.
    pub pidfd_mode: Option<&'static str>,
    /// `full` when the kernel has every namespace that a box needs, else those that are missing.
    pub namespace_support: String,
}

/// Finds out which interfaces boxes use, without making anything: cheap enough for every call.
#[must_use]
pub fn backend(force: Option<CgroupBackend>, cgroup_root: Option<&Path>) -> Backend {
    let hierarchies = Hierarchies::detect_at(force, cgroup_root);
    const NAMESPACES: [&str; 6] = ["pid", "mnt", "ipc", "uts", "net", "cgroup"];
    let missing: Vec<&str> =
        NAMESPACES.into_iter().filter(|name| fs::symlink_metadata(format!("/proc/self/ns/{name}")).is_err()).collect();
    Backend {
        cgroup_backend: hierarchies.ok().map(|found| found.backend()),
        pidfd_mode: pidfd_open(getpid(), PidfdFlags::empty()).is_ok().then_some("native"),
        namespace_support: if missing.is_empty() {
            "full".to_owned()
        } else {
            format!("missing: {}", missing.join(", "))
        },
    }
}

fn is_box_uid(uid: u32) -> bool {
    (FIRST_UID..FIRST_UID + UIDS).contains(&uid)
}

/// Processes that are members of a box's cgroup, and those that have a uid of our range and are not.
pub(crate) fn processes(live: &BTreeSet<BoxId>, leased: &BTreeSet<u32>, look: &mut Look) {
    let entries = match fs::read_dir("/proc") {
        Ok(entries) => entries,
        Err(error) => return look.unseen("process", &error),
    };
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let text = match fs::read_to_string(format!("/proc/{pid}/cgroup")) {
            Ok(text) => text,
            // Ended since it was listed.
            Err(error) if error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(3) => continue,
            Err(error) => {
                look.unseen("process", &format!("{pid}: {error}"));
                continue;
            }
        };
        let boxes: BTreeSet<BoxId> = text.lines().filter_map(box_of).collect();
        if boxes.iter().any(|id| !live.contains(id)) {
            look.found("process", format!("{pid} started at {}", starttime(pid)));
        } else if boxes.is_empty()
            && let Ok(uid) = entry.metadata().map(|found| found.uid())
            && is_box_uid(uid)
            && !leased.contains(&uid)
        {
            look.found("unattributed", format!("{pid} with uid {uid}, started at {}", starttime(pid)));
        }
    }
}

/// The box in whose cgroup a line of `/proc/<pid>/cgroup` lies.
fn box_of(line: &str) -> Option<BoxId> {
    line.splitn(3, ':').nth(2)?.split('/').find_map(BoxId::from_cgroup_name)
}

/// Field 22 of `stat`, so that a recycled pid is not taken for the same process.
fn starttime(pid: u32) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let field = text.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(19));
    field.unwrap_or("an unknown time").to_owned()
}

/// Mount points below the directories of boxes and the runtime directory. Rustbox makes none there but what it has
/// prepared, which is of no box.
pub(crate) fn mounts(places: &Places, live: &BTreeSet<BoxId>, look: &mut Look) {
    let boxes = places.state_dir.join("boxes");
    let text = match fs::read("/proc/self/mountinfo") {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => return look.unseen("mount", &error),
    };
    let prepared = prepared_mounts(places);
    for (point, kind) in text.lines().filter_map(|line| mount_point(line).zip(file_system(line))) {
        // What else is mounted over it is not ours. A service with a mount namespace of its own sees it twice.
        if prepared.iter().any(|(ours, its)| *ours == point && *its == kind) {
            continue;
        }
        let of_box = point.strip_prefix(&boxes).ok().filter(|rest| rest.components().next().is_some());
        let of_runtime = point.strip_prefix(&places.runtime_dir).ok().filter(|rest| rest.components().next().is_some());
        let Some(below) = of_box.or(of_runtime) else { continue };
        let id = below.components().next().and_then(|first| first.as_os_str().to_str()?.parse::<BoxId>().ok());
        if !(of_box.is_some() && id.is_some_and(|id| live.contains(&id))) {
            look.found("mount", point.display().to_string());
        }
    }
}

/// Field 5 of a line of `mountinfo`, with its octal escapes taken back.
fn mount_point(line: &str) -> Option<PathBuf> {
    let field = line.split(' ').nth(4)?;
    let mut text = field.to_owned();
    for (escaped, plain) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        text = text.replace(escaped, plain);
    }
    Some(text.into())
}

/// The type of the file system in a line of `mountinfo`.
fn file_system(line: &str) -> Option<&str> {
    line.split_once(" - ")?.1.split(' ').next()
}

/// Directories of boxes that nobody owns, and directories in the runtime directory that are not ours.
pub(crate) fn temporary(host: &Host, places: &Places, live: &BTreeSet<BoxId>, look: &mut Look) {
    let [(prepared, _), _] = prepared_mounts(places);
    for (directory, is_box_directory) in [(host.boxes_path(), true), (places.runtime_dir.clone(), false)] {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) => {
                look.unseen("temp_dir", &format!("{}: {error}", directory.display()));
                continue;
            }
        };
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.parse::<BoxId>().ok());
            let is_ours = || name == "uids" || entry.path() == prepared;
            let is_owned = if is_box_directory { id.is_some_and(|id| live.contains(&id)) } else { is_ours() };
            if !is_owned {
                look.found("temp_dir", entry.path().display().to_string());
            }
        }
    }
}

/// Objects in the host's own IPC namespace that belong to a uid of our range, and to no living box.
pub(crate) fn ipc(leased: &BTreeSet<u32>, look: &mut Look) {
    let is_left = |uid: u32| is_box_uid(uid) && !leased.contains(&uid);
    for table in ["shm", "sem", "msg"] {
        match fs::read_to_string(format!("/proc/sysvipc/{table}")) {
            Ok(text) => {
                for (id, uids) in sysv(&text) {
                    if uids.iter().any(|uid| is_left(*uid)) {
                        look.found("ipc", format!("{table} {id}"));
                    }
                }
            }
            // A kernel without System V IPC has none to leave.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => look.unseen("ipc", &error),
        }
    }
    for directory in ["/dev/shm", "/dev/mqueue"] {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => {
                look.unseen("ipc", &error);
                continue;
            }
        };
        for entry in entries.flatten() {
            if entry.metadata().is_ok_and(|found| is_left(found.uid())) {
                look.found("ipc", entry.path().display().to_string());
            }
        }
    }
}

/// Id, and owner and creator, of each row of a table of `/proc/sysvipc`; the head of the table names the columns.
fn sysv(text: &str) -> Vec<(String, Vec<u32>)> {
    let mut lines = text.lines();
    let head: Vec<&str> = lines.next().unwrap_or_default().split_ascii_whitespace().collect();
    let rows = lines.map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let uids = |row: &[&str]| {
        let named = head.iter().zip(row).filter(|(name, _)| ["uid", "cuid"].contains(name));
        named.filter_map(|(_, value)| value.parse().ok()).collect::<Vec<u32>>()
    };
    rows.map(|row| (row.get(1).map_or_else(String::new, |id| (*id).to_owned()), uids(&row))).collect()
}

/// Uids of our range that have keys and belong to no living box.
pub(crate) fn keyrings(leased: &BTreeSet<u32>, look: &mut Look) {
    match fs::read_to_string("/proc/key-users") {
        Ok(text) => {
            for uid in key_users(&text).into_iter().filter(|uid| is_box_uid(*uid) && !leased.contains(uid)) {
                look.found("keyring", format!("uid {uid}"));
            }
        }
        // A kernel without keys has none to leave.
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => look.unseen("keyring", &error),
    }
}

/// Uids with at least one key: `<uid>: <usage> <keys>/<instantiated> ...`.
fn key_users(text: &str) -> Vec<u32> {
    let user = |line: &str| {
        let (uid, rest) = line.split_once(':')?;
        let keys = rest.split_ascii_whitespace().nth(1)?.split_once('/')?.0;
        (keys != "0").then(|| uid.trim().parse().ok()).flatten()
    };
    text.lines().filter_map(user).collect()
}

/// Open file descriptions of the whole host.
pub(crate) fn file_handles() -> Option<u64> {
    let text = fs::read_to_string("/proc/sys/fs/file-nr").ok()?;
    text.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_that_is_called_like_us_is_no_box() {
        assert_eq!(box_of("0::/rustbox-a1/deep").map(|id| id.to_string()).as_deref(), Some("a1"));
        assert_eq!(box_of("4:memory:/rustbox-b").map(|id| id.to_string()).as_deref(), Some("b"));
        for none in ["0::/system.slice/rustbox-audit.service", "0::/", "1:name=systemd:/rustbox", ""] {
            assert_eq!(box_of(none), None, "{none}");
        }
    }

    #[test]
    fn owners_are_found_by_the_names_of_the_columns() {
        let shm = "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      ctime                   rss                  swap\n         0          3   666                  4096   881   881      1 70004 70004     0     0 1763944000          0 1763944000                  4096                     0\n";
        assert_eq!(sysv(shm), vec![("3".to_owned(), vec![70_004, 0])]);
        let msg = "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime      ctime\n";
        assert!(sysv(msg).is_empty());
    }

    #[test]
    fn users_without_keys_are_not_counted() {
        let text = "    0:    43 42/42 39/1000000 842/25000000\n70012:     2 2/2 2/200 18/20000\n70013:     1 0/0 0/200 0/20000\n";
        assert_eq!(key_users(text), vec![0, 70_012]);
    }

    #[test]
    fn a_mount_point_with_a_blank_is_read_whole() {
        let line = "36 35 98:0 /mnt1 /run/rust\\040box/x rw,noatime master:1 - ext3 /dev/root rw";
        assert_eq!(mount_point(line), Some(PathBuf::from("/run/rust box/x")));
    }
}
