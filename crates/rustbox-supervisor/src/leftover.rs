//! The words by which logs, reports and runbooks call what of a box could not be undone.

use std::path::Path;

use rustbox_cgroup::RemoveFailure;

/// Something is mounted in the box's directory, which therefore stays.
const MOUNT: &str = "mount_unmount_failed";
/// The kernel did not let a cgroup go.
const CGROUP: &str = "cgroup_removal_failed";
/// A dead process was not reaped.
pub(crate) const REAP: &str = "process_reap_failed";
/// A killed box was not empty in time.
pub(crate) const TIMEOUT: &str = "cleanup_timeout";

/// What to say of a cgroup that was not removed.
pub(crate) fn cgroup(failure: &RemoveFailure) -> String {
    format!("{CGROUP}: {}: {}", failure.path.display(), failure.source)
}

/// What to say of a box's directory that was not removed. Rustbox mounts nothing there, so what is mounted is named: it is
/// what somebody else has to undo.
pub(crate) fn directory(path: &Path, failure: String) -> String {
    let mounted = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    // A path of ours has no character that the kernel escapes, and what lies below it is not compared.
    let points = mounted.lines().filter_map(|line| line.split(' ').nth(4));
    match points.filter(|point| Path::new(point).starts_with(path)).max_by_key(|point| point.len()) {
        Some(point) => format!("{MOUNT}: {point}: {failure}"),
        None => failure,
    }
}
