//! How far a run has come, by what the host shows of it.

use std::path::Path;

use crate::host::CgroupLayout;
use crate::process::SeenProcess;

/// How far a supervisor has come, by what the host shows. Later is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Progress {
    /// Nothing of the box exists.
    Nothing,
    /// The box's directory is there, its record is not.
    Locking,
    /// The record is written, no cgroup is there.
    Recorded,
    /// A cgroup of the box is there, without processes.
    Cgroups,
    /// The init is there and has not been released, or builds the root.
    Held,
    /// The payload is executing.
    Running,
    /// The payload has run, and its cgroup is there still.
    Killing,
    /// The cgroups are gone, the directory is there still.
    Removing,
    /// Everything is gone; only the report is outstanding.
    Removed,
}

impl Progress {
    /// Every stage, in order.
    pub const ALL: [Self; 9] = [
        Self::Nothing,
        Self::Locking,
        Self::Recorded,
        Self::Cgroups,
        Self::Held,
        Self::Running,
        Self::Killing,
        Self::Removing,
        Self::Removed,
    ];

    /// Looks at the host. `before` is the last answer for the same box: nothing goes back.
    #[must_use]
    pub fn look(box_id: &str, state_dir: &Path, layout: &CgroupLayout, before: Self) -> Self {
        let directory = state_dir.join("boxes").join(box_id);
        let name = format!("rustbox-{box_id}");
        let groups = layout.roots().map(|root| root.join(&name)).filter(|d| d.is_dir());
        let mut grouped = false;
        let mut members = Vec::new();
        for group in groups {
            grouped = true;
            let procs = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            members.extend(procs.lines().filter_map(|l| l.parse::<u32>().ok()));
        }
        let attacks = |pid: &u32| SeenProcess::read(*pid).is_some_and(|p| is_payload(&p));
        let now = if members.iter().any(attacks) {
            Self::Running
        } else if grouped && before >= Self::Running {
            Self::Killing
        } else if !members.is_empty() {
            Self::Held
        } else if grouped {
            Self::Cgroups
        } else if before >= Self::Running {
            if directory.exists() { Self::Removing } else { Self::Removed }
        } else if directory.join("lock").exists() {
            Self::Recorded
        } else if directory.exists() {
            Self::Locking
        } else {
            Self::Nothing
        };
        now.max(before)
    }
}

fn is_payload(process: &SeenProcess) -> bool {
    let name = process.exe.as_deref().and_then(Path::file_name).and_then(|n| n.to_str());
    name.is_some_and(|n| n.starts_with("contain_"))
}
