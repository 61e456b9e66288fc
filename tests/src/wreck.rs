//! What a defect on purpose has left is the test's own to remove.

use std::time::Duration;

use rustix::process::Signal;

use crate::host::CgroupLayout;
use crate::lab::Lab;
use crate::orphans::reap_orphans;
use crate::pidfd::{PidFd, wait_until};
use crate::residue::{processes_of, residue};

/// Sends every process of a box SIGKILL and removes its cgroups and its directory, without asking rustbox.
///
/// # Panics
/// When that does not help.
pub fn clear_wreck(box_id: &str, lab: &Lab) {
    let layout = CgroupLayout::read();
    let gone = wait_until(Duration::from_secs(10), || {
        for process in processes_of(box_id) {
            let _gone = PidFd::open(process.pid).map(|fd| fd.signal(Signal::KILL));
        }
        reap_orphans();
        layout.directories(&format!("rustbox-{box_id}")).iter().for_each(|d| _ = std::fs::remove_dir(d));
        _ = std::fs::remove_dir_all(lab.state_dir().join("boxes").join(box_id));
        let left = residue(box_id, &lab.state_dir());
        left.iter().all(|line| line.starts_with("zombie for pid 1")).then_some(())
    });
    assert!(gone.is_some(), "cannot clean up: {:?}", residue(box_id, &lab.state_dir()));
}
