//! What is done to boxes from outside a run: list, kill, collect what the dead left.

use std::time::Duration;

use rustbox_cgroup::{BoxCgroup, Lock};
use rustbox_core::planted::{Bug, is};
use rustbox_core::{BoxId, Record};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::Serialize;

use crate::claim::random_u64;
use crate::error::Error;
use crate::host::Host;
use crate::lease;
use crate::leftover;
use crate::lock::{self, BoxLock, Taken};
use crate::teardown::{KILL_LIMIT, chain};

/// How long the removal of an empty cgroup may take.
const REMOVE_LIMIT: Duration = Duration::from_secs(2);
/// How long a dead box may take to be empty, and its cgroup to be removed.
#[derive(Clone, Copy)]
struct Limits {
    empty: Duration,
    remove: Duration,
}

/// For a run that has ended and only looks after others.
const SHORT: Limits = Limits { empty: Duration::from_secs(1), remove: Duration::from_millis(200) };
/// How often a box that is replaced under our eyes is looked at again.
const ATTEMPTS: u32 = 16;

/// A box, as it can be seen from outside.
#[derive(Clone, Debug, Serialize)]
pub struct BoxView {
    /// Its name.
    pub box_id: BoxId,
    /// Whether somebody holds its lock; none when that could not be found out.
    pub alive: Option<bool>,
    /// Its cgroup directories.
    pub cgroups: Vec<String>,
    /// The processes in the first of them; none when it could not be read.
    pub pids: Option<Vec<u32>>,
    /// Its record, where there is one in this state directory.
    pub record: Option<Record>,
}

/// What became of one box.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Collected {
    /// There is no such box, and nothing of one.
    Absent,
    /// It is alive, or somebody else collects it; it was left alone.
    Alive {
        /// Its supervisor, as the record has it.
        owner: Option<u32>,
    },
    /// Everything that was left is gone.
    Removed {
        /// What was done, in order.
        actions: Vec<String>,
    },
    /// Something is left.
    Left {
        /// What was done, in order.
        actions: Vec<String>,
        /// What is left, and why.
        remains: Vec<String>,
    },
}

/// A box, and what became of it.
pub type CollectedBox = (BoxId, Result<Collected, Error>);

/// Every box of this host: those with a cgroup, whatever their state directory, and those with a record here.
///
/// # Errors
/// The cgroup roots or the state directory could not be listed.
pub fn list(host: &Host) -> Result<Vec<BoxView>, Error> {
    let mut ids = host.hierarchies().boxes()?;
    ids.extend(lock::boxes(host)?);
    ids.sort();
    ids.dedup();
    ids.into_iter().map(|id| view(host, id)).collect()
}

fn view(host: &Host, box_id: BoxId) -> Result<BoxView, Error> {
    let group = host.hierarchies().open_existing(&box_id)?;
    let record = lock::peek(host, &box_id);
    let paths = group.as_ref().map(BoxCgroup::paths).unwrap_or_default();
    let pids = group.as_ref().and_then(|group| group.members().ok());
    let alive = is_alive(host, &box_id, group.as_ref());
    let cgroups = paths.iter().map(|path| path.display().to_string()).collect();
    Ok(BoxView { box_id, alive, cgroups, pids, record })
}

/// Whether any lock of the box is held. Takes none: a shared lock that is refused is enough to know.
fn is_alive(host: &Host, id: &BoxId, group: Option<&BoxCgroup>) -> Option<bool> {
    let held = |fd: std::os::fd::BorrowedFd<'_>| lock::is_held(fd);
    let by_cgroup = group.map(|group| group.lock_fds().into_iter().any(held));
    let by_record = lock::record_is_held(host, id);
    match (by_cgroup, by_record) {
        (None, None) => None,
        (cgroup, record) => Some(cgroup.unwrap_or(false) || record.unwrap_or(false)),
    }
}

/// Kills every process of a live box, and leaves word for its supervisor that it was asked for; its
/// supervisor does the rest. A dead box is collected.
///
/// # Errors
/// The box could not be looked at, or not be killed.
pub fn kill(host: &Host, id: &BoxId) -> Result<Collected, Error> {
    lock::request_kill(host, id)?;
    let Some(group) = host.hierarchies().open_existing(id)? else { return collect(host, id) };
    if is_alive(host, id, Some(&group)) != Some(true) {
        drop(group);
        return collect(host, id);
    }
    let mut actions = vec![format!("{:?}", group.kill()?)];
    let emptied = group.wait_empty(KILL_LIMIT)?;
    if !emptied.is_empty() {
        return Ok(Collected::Left { actions, remains: vec![format!("{emptied:?}")] });
    }
    actions.push("empty".to_owned());
    Ok(Collected::Removed { actions })
}

/// Removes everything that a dead box has left: processes first, then cgroups, uid and record. A live
/// box is left alone.
///
/// # Errors
/// It could not be looked at.
pub fn collect(host: &Host, id: &BoxId) -> Result<Collected, Error> {
    match BoxLock::open(host, id)? {
        Some(Taken::Busy { owner }) => Ok(Collected::Alive { owner }),
        Some(Taken::Stale(stale) | Taken::Ours(stale)) => collect_locked(host, id, Some(stale)),
        None => collect_locked(host, id, None),
    }
}

/// Collects every dead box of this host.
///
/// # Errors
/// The boxes could not be listed.
pub fn collect_all(host: &Host) -> Result<Vec<CollectedBox>, Error> {
    let mut ids = host.hierarchies().boxes()?;
    ids.extend(lock::boxes(host)?);
    ids.sort();
    ids.dedup();
    let collected = ids.into_iter().map(|id| {
        let result = collect(host, &id);
        (id, result)
    });
    let collected = collected.collect();
    // After the boxes: what is still leased then, and to nobody, was never recorded.
    let uids = lease::reclaim(host)?;
    if !uids.is_empty() {
        tracing::warn!(?uids, "gave uids back that nobody held");
    }
    Ok(collected)
}

/// Dead boxes that one run looks for at most: enough to catch up, too few to be felt.
const SWEEP_MAX: usize = 8;

/// Collects what others left when everything of theirs was killed at once, their keepers too. What is
/// kept for somebody to look at stays.
pub(crate) fn sweep(host: &Host) -> Result<(), Error> {
    let ids = lock::boxes(host)?;
    if ids.is_empty() {
        return Ok(());
    }
    let start = usize::try_from(random_u64()?).unwrap_or(0) % ids.len();
    for id in ids.iter().cycle().skip(start).take(ids.len().min(SWEEP_MAX)) {
        if let Some(Taken::Stale(stale)) = BoxLock::open(host, id)?
            && !stale.is_kept()
        {
            let collected = collect_within(host, id, Some(stale), SHORT)?;
            tracing::warn!(box_id = %id, ?collected, "collected what a dead supervisor left");
            // Else every run to come would try it again, and wait.
            if let Collected::Left { remains, .. } = collected
                && let Some(Taken::Stale(stale)) = BoxLock::open(host, id)?
            {
                stale.keep(host, &remains.join("; "))?;
            }
        }
    }
    Ok(())
}

/// Collects a box whose lock in the state directory is held here, or which has none there.
pub(crate) fn collect_locked(host: &Host, id: &BoxId, stale: Option<BoxLock>) -> Result<Collected, Error> {
    collect_within(host, id, stale, Limits { empty: KILL_LIMIT, remove: REMOVE_LIMIT })
}

fn collect_within(host: &Host, id: &BoxId, stale: Option<BoxLock>, limits: Limits) -> Result<Collected, Error> {
    let mut actions = Vec::new();
    let mut remains = Vec::new();
    for _ in 0..ATTEMPTS {
        let Some(mut group) = host.hierarchies().open_existing(id)? else { break };
        match group.lock()? {
            // Another state directory's box of the same name, alive.
            Lock::Busy => return Ok(Collected::Alive { owner: None }),
            Lock::Replaced => continue,
            Lock::Acquired => {
                empty(group, limits, &mut actions, &mut remains);
                break;
            }
        }
    }
    if remains.is_empty()
        && let Some(mut stale) = stale
    {
        if is(Bug::KillByPid)
            && let Some(pid) = stale.record().and_then(|record| i32::try_from(record.pid).ok()).and_then(Pid::from_raw)
            && let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty())
        {
            let _whoever = pidfd_send_signal(pidfd, Signal::KILL);
        }
        // The record goes next, and with it the only word of the lease.
        match stale.record() {
            Some(record) => lease::end_of(host, record.uid, id)?,
            None => lease::end_unrecorded(host, id)?,
        }
        stale.remove(host)?;
        actions.push("removed its record, and gave its uid back".to_owned());
    }
    Ok(match (actions.is_empty(), remains.is_empty()) {
        (_, false) => Collected::Left { actions, remains },
        (true, true) => Collected::Absent,
        (false, true) => Collected::Removed { actions },
    })
}

/// Thaws, kills, waits and removes.
fn empty(group: BoxCgroup, limits: Limits, actions: &mut Vec<String>, remains: &mut Vec<String>) {
    if let Err(error) = group.thaw() {
        remains.push(chain("its cgroup could not be thawed", &error));
    }
    match group.kill() {
        Ok(method) => actions.push(format!("killed its processes ({method:?})")),
        Err(error) => remains.push(chain("its processes could not be killed", &error)),
    }
    match group.wait_empty(limits.empty) {
        Ok(emptied) if emptied.is_empty() => actions.push("saw it empty".to_owned()),
        Ok(populated) => remains.push(format!("{}: {populated:?}", leftover::TIMEOUT)),
        Err(error) => remains.push(chain("whether it is empty could not be read", &error)),
    }
    let paths = group.paths();
    match group.remove(limits.remove) {
        Ok(()) => actions.extend(paths.iter().map(|path| format!("removed {}", path.display()))),
        Err(error) => {
            remains.extend(error.failures.iter().map(leftover::cgroup));
        }
    }
}
