//! Orphans of dead supervisors, which this process adopts: whether one is left is then ours to see, and a
//! zombie ours to reap, instead of the host's pid 1's whenever it likes.

use std::collections::BTreeSet;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Pid, WaitOptions};

use crate::process::SeenProcess;

/// Commands that somebody in this process waits for.
static COMMANDS: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Whether this process has adopted anybody: else a dead rustbox among its children is a test's own command.
static ADOPTS: AtomicBool = AtomicBool::new(false);

/// Makes this process the reaper of whatever its descendants leave behind.
///
/// # Panics
/// When the kernel refuses.
pub fn adopt_orphans() {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).expect("become a subreaper");
    ADOPTS.store(true, Ordering::Release);
}

/// Reaps the dead among the adopted.
pub fn reap_orphans() {
    if !ADOPTS.load(Ordering::Acquire) {
        return;
    }
    for orphan in adopted().into_iter().filter(SeenProcess::is_zombie) {
        let pid = i32::try_from(orphan.pid).ok().and_then(Pid::from_raw);
        let _reaped = rustix::process::waitpid(pid, WaitOptions::NOHANG);
    }
}

/// The adopted that are left, dead or alive, one sentence each.
#[must_use]
pub fn children_left() -> Vec<String> {
    let tell =
        |p: SeenProcess| format!("process {} (name {:?}, state {}) has no parent but us", p.pid, p.comm, p.state);
    adopted().into_iter().map(tell).collect()
}

/// Starts a command of ours. Nobody else can look before it is known: by the time that we are scheduled again, it
/// may be dead, and look like an orphan.
pub(crate) fn start(command: &mut Command) -> std::io::Result<Child> {
    let mut commands = COMMANDS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let child = command.spawn()?;
    commands.insert(child.id());
    Ok(child)
}

/// Runs a command of ours to its end.
pub(crate) fn output_of(mut command: Command) -> std::io::Result<Output> {
    let child = start(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    let pid = child.id();
    let output = child.wait_with_output();
    command_ended(pid);
    output
}

pub(crate) fn command_ended(pid: u32) {
    COMMANDS.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&pid);
}

/// Our children that execute rustbox, or are dead and did, and are no commands of ours. A new process has the
/// name of what it was copied from, so nothing of rustbox has another.
fn adopted() -> Vec<SeenProcess> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().filter_map(Result::ok);
    let listed = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let pids: Vec<u32> = listed
        .flat_map(|text| text.split_ascii_whitespace().filter_map(|p| p.parse().ok()).collect::<Vec<_>>())
        .collect();
    // Looked up last: a command is known before it can be seen with the name of rustbox.
    let seen: Vec<SeenProcess> = pids.into_iter().filter_map(SeenProcess::read).collect();
    let commands = COMMANDS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    seen.into_iter().filter(|p| p.comm.starts_with("rustbox") && !commands.contains(&p.pid)).collect()
}
