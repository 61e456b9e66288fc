//! The oracle: what the kernel shows of a box, from outside, without asking rustbox.

use std::path::Path;
use std::time::Duration;

use crate::host::{self, CgroupLayout};
use crate::pidfd::wait_until;
use crate::process::{SeenProcess, in_cgroup, pids};

/// Within this time after the supervisor's death everything of its box is gone.
pub const BOUND: Duration = Duration::from_secs(2);

/// Everything that is left of a box, one sentence each; empty when nothing is.
///
/// A process counts when the kernel shows the box's cgroup for it, when it carries the environment mark
/// that [`BoxCommand`](crate::BoxCommand) sets, or when its arguments name the box: those of supervisor,
/// keeper and init do. The last two can be forged, which here would only make a test red.
#[must_use]
pub fn residue(box_id: &str, state_dir: &Path) -> Vec<String> {
    let mut left: Vec<String> = processes_of(box_id).iter().map(tell).collect();
    let name = format!("rustbox-{box_id}");
    left.extend(CgroupLayout::read().directories(&name).iter().map(|d| format!("cgroup {}", d.display())));
    left.extend(host::mountinfo().lines().filter(|l| l.contains(box_id)).map(|l| format!("mount {l}")));
    let directory = state_dir.join("boxes").join(box_id);
    if directory.symlink_metadata().is_ok() {
        left.push(format!("directory {}", directory.display()));
    }
    left
}

/// Waits until nothing is left of a box whose supervisor was killed, for [`BOUND`] at most; returns what is left then.
///
/// A dead process that was handed to the host's pid 1 is that one's to reap, whenever it likes; some take seconds. It
/// is no process that runs, and nothing in user space can hurry its parent, so it is not waited for here.
#[must_use]
pub fn wait_clean(box_id: &str, state_dir: &Path) -> Vec<String> {
    wait_for_rest(box_id, state_dir, &[])
}

/// As [`wait_clean`], for a box whose keeper was killed too: what does not run, and nobody is there to remove, stays.
#[must_use]
pub fn wait_dead(box_id: &str, state_dir: &Path) -> Vec<String> {
    wait_for_rest(box_id, state_dir, &["directory ", "cgroup "])
}

/// What is left when nothing is but lines that begin like these, or when the time is over.
fn wait_for_rest(box_id: &str, state_dir: &Path, may_stay: &[&str]) -> Vec<String> {
    let mut left = Vec::new();
    let _waited = wait_until(BOUND, || {
        crate::orphans::reap_orphans();
        left = residue(box_id, state_dir);
        left.retain(|line| !line.starts_with(HANDED_OVER));
        left.iter().all(|line| may_stay.iter().any(|start| line.starts_with(start))).then_some(())
    });
    left
}

/// How the line of a zombie begins whose parent is the host's pid 1.
const HANDED_OVER: &str = "zombie for pid 1 to reap: ";

/// The box's processes, its supervisor and keeper among them.
///
/// Three files are read for each process of the host, all of them only for a hit: this runs after each of thousands of
/// boxes.
#[must_use]
pub fn processes_of(box_id: &str) -> Vec<SeenProcess> {
    let name = format!("rustbox-{box_id}");
    let (mark, canary) = (format!("RUSTBOX_TEST_BOX={box_id}"), format!("RUSTBOX_CANARY={box_id}"));
    let has = |text: &[u8], part: &str| text.split(|b| *b == 0).any(|word| word == part.as_bytes());
    let is_of = |pid: &u32| {
        let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        if in_cgroup(&String::from_utf8_lossy(&read("cgroup")), &name) {
            return true;
        }
        let environ = read("environ");
        has(&environ, &mark) || (has(&read("cmdline"), box_id) && !has(&environ, &canary))
    };
    pids().into_iter().filter(is_of).filter_map(SeenProcess::read).collect()
}

fn tell(process: &SeenProcess) -> String {
    let SeenProcess { pid, ppid, state, comm, uid, exe, .. } = process;
    let kind = if process.is_zombie() && *ppid == 1 { HANDED_OVER } else { "process " };
    format!("{kind}{pid} (parent {ppid}, state {state}, name {comm:?}, uid {uid}, executes {exe:?})")
}
