//! The oracle: what the kernel shows of a box, from outside, without asking rustbox.

use std::path::Path;
use std::time::Duration;

use crate::host::{self, CgroupLayout};
use crate::pidfd::wait_until;
use crate::process::{SeenProcess, scan};

/// Within this time after the supervisor's death everything of its box is gone.
pub const BOUND: Duration = Duration::from_secs(2);

/// Everything that is left of a box, one sentence each; empty when nothing is.
///
/// A process counts when the kernel shows the box's cgroup for it, when it carries the environment mark
/// that [`BoxCommand`](crate::BoxCommand) sets, or when its arguments name the box: those of supervisor,
/// keeper and init do. The last two can be forged, which here would only make a test red.
#[must_use]
pub fn residue(box_id: &str, state_dir: &Path) -> Vec<String> {
    let mut left: Vec<String> = scan().iter().filter(|p| is_of(p, box_id)).map(tell).collect();
    let name = format!("rustbox-{box_id}");
    left.extend(CgroupLayout::read().directories(&name).iter().map(|d| format!("cgroup {}", d.display())));
    left.extend(host::mountinfo().lines().filter(|l| l.contains(box_id)).map(|l| format!("mount {l}")));
    let directory = state_dir.join("boxes").join(box_id);
    if directory.symlink_metadata().is_ok() {
        left.push(format!("directory {}", directory.display()));
    }
    left
}

/// Waits until nothing is left of a box, for [`BOUND`] at most; returns what is left then.
#[must_use]
pub fn wait_clean(box_id: &str, state_dir: &Path) -> Vec<String> {
    let mut left = Vec::new();
    let clean = wait_until(BOUND, || {
        left = residue(box_id, state_dir);
        left.is_empty().then_some(())
    });
    if clean.is_some() { Vec::new() } else { left }
}

/// Whether this process belongs to the box.
pub(crate) fn is_of(process: &SeenProcess, box_id: &str) -> bool {
    let mark = format!("RUSTBOX_TEST_BOX={box_id}");
    let has = |text: &[u8], part: &str| text.split(|b| *b == 0).any(|word| word == part.as_bytes());
    process.is_in_cgroup(&format!("rustbox-{box_id}"))
        || has(&process.environ, &mark)
        || (has(&process.cmdline, box_id) && !has(&process.environ, &format!("RUSTBOX_CANARY={box_id}")))
}

fn tell(process: &SeenProcess) -> String {
    let SeenProcess { pid, ppid, state, comm, uid, exe, .. } = process;
    format!("process {pid} (parent {ppid}, state {state}, name {comm:?}, uid {uid}, executes {exe:?})")
}
