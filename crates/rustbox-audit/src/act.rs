//! Doing what was decided: the only writer.
//!
//! ```text
//! a round:  look (registry read again) -> targets -> per target: pidfd, read again through one directory, signal
//!           -> wait on the pidfds -> next round, until a look finds no target or the deadline has passed
//! ```
//!
//! A look and a signal are never of two processes: the pidfd is opened first, then identity and marks are read again,
//! then the pidfd is asked whether its process still lives. If it does, its pid was not given away in between, and what
//! was read is its own.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustbox_core::{BoxId, ProcessKey, Strength};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::attribute::{Attribution, Attributor, Placement};
use crate::classify::Look;
use crate::decide::Action;
use crate::error::AuditError;
use crate::index::MarkIndex;
use crate::lineage::Lineages;
use crate::observe::{Observed, observe};
use crate::proc_root::ProcRoot;
use crate::registry::{BoxMarks, Phase, Registry};
use crate::remove::remove_cgroup;
use crate::snapshot::{Life, ProcSnapshot, ProcessSeen};

/// What became of an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ActionResult {
    /// What was to be done; an `end` of a process that was found only on the way is told as well.
    pub action: Action,
    /// What became of it.
    pub outcome: ActionOutcome,
    /// For people: state and kernel function of what refuses to die, or the error.
    pub detail: String,
}

/// How an action ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActionOutcome {
    /// The signal was sent, or the directory removed, and it is gone.
    Done,
    /// It was gone, or where it belongs, before anything was done.
    NothingToDo,
    /// It is still there.
    Refused,
}

/// Longest wait for the processes of one round, before looking for what they left.
const ROUND_WAIT: Duration = Duration::from_millis(500);
/// Rounds at most: a fork bomb outside any limit is named, not chased for ever.
const ROUNDS_MAX: usize = 1000;

/// A process that was signalled, and has not ended yet.
struct Signalled {
    box_id: BoxId,
    key: ProcessKey,
    pidfd: OwnedFd,
}

/// Does everything that was decided, within `limit`.
///
/// # Errors
/// When the processes cannot be listed.
pub fn act(
    root: &ProcRoot,
    read_registry: &mut dyn FnMut() -> Registry,
    actions: &[Action],
    limit: Duration,
) -> Result<Vec<ActionResult>, AuditError> {
    let deadline = Instant::now() + limit;
    let mut results = end_processes(root, read_registry, actions, deadline)?;
    let registry = read_registry();
    for action in actions {
        if let Action::RemoveCgroup { box_id, directory } = action {
            let marks = registry.boxes.iter().find(|marks| marks.box_id == *box_id && is_unowned(marks));
            let (outcome, detail) = match marks {
                Some(marks) => remove_cgroup(marks, directory, deadline),
                None => (ActionOutcome::NothingToDo, "somebody owns the box now".to_owned()),
            };
            results.push(ActionResult { action: action.clone(), outcome, detail });
        }
    }
    Ok(results)
}

fn is_unowned(marks: &BoxMarks) -> bool {
    marks.phase.is_unowned()
}

fn end_processes(
    root: &ProcRoot,
    read_registry: &mut dyn FnMut() -> Registry,
    actions: &[Action],
    deadline: Instant,
) -> Result<Vec<ActionResult>, AuditError> {
    let mut accused: BTreeSet<(BoxId, ProcessKey)> = BTreeSet::new();
    for action in actions {
        if let Action::End { box_id, process } = action {
            accused.insert((box_id.clone(), *process));
        }
    }
    let mut results: BTreeMap<(BoxId, ProcessKey), (ActionOutcome, String)> = BTreeMap::new();
    let mut signalled = Vec::new();
    for _ in 0..ROUNDS_MAX {
        if accused.is_empty() {
            break;
        }
        let registry = read_registry();
        let snapshot = ProcSnapshot::take(root, &registry)?;
        let look = Look { registry: registry.into(), snapshot };
        let targets = targets(&look, &accused);
        if targets.is_empty() && signalled.is_empty() {
            break;
        }
        for (box_id, process) in targets {
            // A mate of an accused process of an owned box is accused by being outside in two rounds.
            let name = (box_id, process.key);
            if !accused.contains(&name) && !is_unowned_box(&look.registry, &name.0) {
                accused.insert(name);
                continue;
            }
            match signal(root, &look, &name.0, process) {
                Ok(pidfd) => {
                    results.insert(name.clone(), (ActionOutcome::Refused, shown_state(process)));
                    signalled.push(Signalled { box_id: name.0, key: name.1, pidfd });
                }
                Err(Spared::Gone) => {}
                Err(Spared::NotPermitted(why)) => {
                    results.insert(name, (ActionOutcome::Refused, why));
                }
            }
        }
        for ended in wait(&mut signalled, deadline) {
            results.insert(ended, (ActionOutcome::Done, "ended by SIGKILL".to_owned()));
        }
        if Instant::now() >= deadline {
            break;
        }
    }
    for name in accused {
        results.entry(name).or_insert((ActionOutcome::NothingToDo, "gone, or where it belongs".to_owned()));
    }
    let told = |((box_id, process), (outcome, detail))| ActionResult {
        action: Action::End { box_id, process },
        outcome,
        detail,
    };
    Ok(results.into_iter().map(told).collect())
}

fn is_unowned_box(registry: &Registry, box_id: &BoxId) -> bool {
    registry.boxes.iter().any(|marks| marks.box_id == *box_id && is_unowned(marks))
}

fn shown_state(process: &ProcessSeen) -> String {
    let wchan = process.wchan.as_deref().unwrap_or("?");
    format!("did not end after SIGKILL: state {}, in {wchan}", char::from(process.stat.state))
}

/// Everything of the condemned boxes that lives where it must not; the boxes' inits first, since all else dies with them.
fn targets<'l>(look: &'l Look, accused: &BTreeSet<(BoxId, ProcessKey)>) -> Vec<(BoxId, &'l ProcessSeen)> {
    let attributor = Attributor::new(&look.registry, &look.snapshot);
    let mut targets = Vec::new();
    for process in &look.snapshot.candidates {
        let Some(found) = attributor.attribute(process) else { continue };
        let Some(marks) = found.box_index.and_then(|index| look.registry.boxes.get(index)) else { continue };
        let condemned = accused.iter().any(|(box_id, _)| *box_id == marks.box_id);
        if condemned && may_be_ended(look, marks, &found, process) {
            targets.push((marks.init != Some(process.key), marks.box_id.clone(), process));
        }
    }
    targets.sort_by_key(|(is_late, _, process)| (*is_late, process.key));
    targets.into_iter().map(|(_, box_id, process)| (box_id, process)).collect()
}

fn may_be_ended(look: &Look, marks: &BoxMarks, found: &Attribution, process: &ProcessSeen) -> bool {
    let is_exempt = process.key.pid == look.snapshot.observer.pid
        || look.registry.exempt.contains(&process.key)
        || look.registry.boxes.iter().any(|other| other.phase == Phase::Live && other.supervisor == Some(process.key));
    let is_misplaced = match marks.phase {
        Phase::Abandoned | Phase::Killed | Phase::Closed => true,
        Phase::Live => {
            let is_outside = matches!(found.placement, Placement::Outside | Placement::PartlyOutside);
            (is_outside && !found.is_lone_init) || found.left_namespace(process, marks)
        }
        Phase::EarlierBoot | Phase::Unknown => false,
    };
    found.strength == Strength::Primary
        && is_misplaced
        && !is_exempt
        && process.key.pid > 1
        && !process.stat.is_kernel_thread()
        && process.life != Life::Zombie
}

/// Why no signal was sent.
enum Spared {
    /// It is gone, or not what it was.
    Gone,
    /// The kernel refused.
    NotPermitted(String),
}

fn signal(root: &ProcRoot, look: &Look, box_id: &BoxId, process: &ProcessSeen) -> Result<OwnedFd, Spared> {
    let pid = i32::try_from(process.key.pid).ok().and_then(Pid::from_raw).ok_or(Spared::Gone)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|_gone| Spared::Gone)?;
    if !is_still(root, look, box_id, process.key) || has_ended(&pidfd) {
        return Err(Spared::Gone);
    }
    match pidfd_send_signal(&pidfd, Signal::KILL) {
        Ok(()) => {
            tracing::warn!(box_id = %box_id, pid = process.key.pid, "ended a process that was not where it belongs");
            Ok(pidfd)
        }
        Err(rustix::io::Errno::SRCH) => Err(Spared::Gone),
        Err(errno) => Err(Spared::NotPermitted(format!("SIGKILL was refused: {errno}"))),
    }
}

/// Reads the process again, and judges it again by the same rules.
fn is_still(root: &ProcRoot, look: &Look, box_id: &BoxId, key: ProcessKey) -> bool {
    let Ok(directory) = root.open_process(key.pid) else { return false };
    let mut lineages = Lineages::new(root.observer().pid_namespace);
    let index = MarkIndex::new(&look.registry, root.observer(), std::iter::once(key.pid));
    let observed = observe(
        key.pid,
        &index,
        root.observer(),
        &mut Vec::new(),
        &mut |file, buffer| directory.read(file, buffer),
        &mut |inode| lineages.climb(&directory, inode),
    );
    let Observed::Candidate(process) = observed else { return false };
    let Some(found) = Attributor::new(&look.registry, &look.snapshot).attribute(&process) else { return false };
    let Some(marks) = found.box_index.and_then(|index| look.registry.boxes.get(index)) else { return false };
    process.key == key && marks.box_id == *box_id && may_be_ended(look, marks, &found, &process)
}

fn has_ended(pidfd: &OwnedFd) -> bool {
    let mut ready = [PollFd::new(pidfd, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    // An error here means that we do not know; then no signal is sent.
    poll(&mut ready, Some(&now)) != Ok(0)
}

/// Waits until all have ended, or the round or the deadline is over; takes out and returns those that have.
fn wait(signalled: &mut Vec<Signalled>, deadline: Instant) -> Vec<(BoxId, ProcessKey)> {
    let until = deadline.min(Instant::now() + ROUND_WAIT);
    let mut ended = Vec::new();
    while !signalled.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 0, tv_nsec: 0 });
        let mut waiting: Vec<_> =
            signalled.iter().map(|one| PollFd::from_borrowed_fd(one.pidfd.as_fd(), PollFlags::IN)).collect();
        match poll(&mut waiting, Some(&timeout)) {
            Ok(0) => break,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_cannot_wait) => break,
        }
        let ready: Vec<bool> = waiting.iter().map(|one| !one.revents().is_empty()).collect();
        let mut ready = ready.into_iter();
        signalled.retain(|one| {
            let is_ready = ready.next() == Some(true);
            if is_ready {
                ended.push((one.box_id.clone(), one.key));
            }
            !is_ready
        });
    }
    ended
}
