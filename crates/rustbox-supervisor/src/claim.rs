//! What makes a box's names ours, before anything exists: keeper, uid, lock and record.

use std::time::{Duration, Instant};

use rustbox_cgroup::BoxCgroup;
use rustbox_core::{BoxId, Record, RunPlan};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::Timespec;

use crate::clock::now_rfc3339;
use crate::collect;
use crate::error::Error;
use crate::keeper::{Keeper, TAG_LEASE};
use crate::lease::{self, Lease};
use crate::lock::{self, BoxLock, Taken};
use crate::progress::{Context, Event};
use crate::watch;

/// How often a waiting run looks whether its name has become free.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The names of one box, held.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) keeper: Keeper,
    pub(crate) lease: Lease,
    pub(crate) lock: BoxLock,
    pub(crate) record: Record,
}

/// Random bits from the kernel; they never repeat an id, whatever the clock does.
pub(crate) fn random_u64() -> Result<u64, Error> {
    let mut bytes = [0; 8];
    let flags = rustix::rand::GetRandomFlags::empty();
    rustix::io::retry_on_intr(|| rustix::rand::getrandom(&mut bytes, flags)).map_err(Error::call("getrandom"))?;
    Ok(u64::from_ne_bytes(bytes))
}

impl Claim {
    /// Takes the names, or gives everything back.
    pub(crate) fn take(context: &mut Context<'_>) -> Result<Self, Error> {
        let deadline = context.plan.wait_for_box.map(|wait| Instant::now() + wait);
        loop {
            let error = match Self::attempt(context, deadline) {
                Ok(claim) => return Ok(claim),
                Err(error) => error,
            };
            let waits = deadline.is_some_and(|at| Instant::now() < at);
            if !matches!(error, Error::Busy { .. }) || !waits {
                return Err(error);
            }
            wait_a_little(context)?;
        }
    }

    /// One attempt. Who waits looks at the lock first: a keeper for each look would be a process every few
    /// milliseconds.
    fn attempt(context: &mut Context<'_>, deadline: Option<Instant>) -> Result<Self, Error> {
        if deadline.is_some() && lock::record_is_held(context.host, &context.id) == Some(true) {
            let owner = lock::peek(context.host, &context.id).map(|record| record.pid);
            return Err(Error::Busy { id: context.id.clone(), owner });
        }
        loop {
            let keeper = Keeper::of_box(context.host, &context.id, context.plan)?;
            context.tell(Event::KeeperStarted);
            let error = match Self::with(context, &keeper) {
                Ok((lease, lock, record)) => {
                    context.tell(Event::Locked { uid: lease.uid() });
                    return Ok(Self { keeper, lease, lock, record });
                }
                Err(error) => error,
            };
            // Of those that wait there are only so many, and a new one is never lost.
            let is_lost = keeper.is_lost();
            if let Err(second) = keeper.dismiss() {
                tracing::warn!(error = %second, "the keeper of a box that was not started");
            }
            if !is_lost {
                return Err(error);
            }
        }
    }

    /// The record for a run that takes this box.
    pub(crate) fn record_of(&self, plan: &RunPlan) -> Record {
        Record {
            timestamp: now_rfc3339(),
            argv: argv(plan),
            memory_max_bytes: plan.limits.memory.bytes(),
            pids_max: plan.limits.pids.tasks(),
            ..self.record.clone()
        }
    }

    fn with(context: &Context<'_>, keeper: &Keeper) -> Result<(Lease, BoxLock, Record), Error> {
        let lease = match Lease::find(context.host, random_u64()?) {
            Err(Error::NoUid { .. }) if !lease::reclaim(context.host)?.is_empty() => {
                Lease::find(context.host, random_u64()?)?
            }
            found => found?,
        };
        keeper.hand_over(TAG_LEASE, &[lease.fd()])?;
        lease.begin(context.host, &context.id)?;
        let record = record(context, lease.uid());
        match take_lock(context, &record, keeper) {
            Ok(lock) => Ok((lease, lock, record)),
            Err(error) => {
                lease.end(context.host)?;
                Err(error)
            }
        }
    }
}

fn take_lock(context: &Context<'_>, record: &Record, keeper: &Keeper) -> Result<BoxLock, Error> {
    let id = &context.id;
    match BoxLock::take(context.host, record, keeper)? {
        Taken::Ours(lock) => return Ok(lock),
        Taken::Busy { owner } => return Err(Error::Busy { id: id.clone(), owner }),
        // What is kept for somebody to look at is not a run's to remove.
        Taken::Stale(stale) if stale.is_kept() => return Err(Error::Kept { id: id.clone() }),
        // Somebody died here and took the keeper along: what is left is collected first.
        Taken::Stale(stale) => collect::collect_locked(context.host, id, Some(stale))?,
    };
    match BoxLock::take(context.host, record, keeper)? {
        Taken::Ours(lock) => Ok(lock),
        Taken::Busy { owner } => Err(Error::Busy { id: id.clone(), owner }),
        Taken::Stale(_) => Err(Error::Busy { id: id.clone(), owner: None }),
    }
}

/// Waits before the next attempt, unless a signal ends the whole run.
fn wait_a_little(context: &Context<'_>) -> Result<(), Error> {
    let timeout = Timespec::try_from(LOOK_AGAIN).ok();
    let mut fds: Vec<_> = context.io.interrupt.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    match poll(&mut fds, timeout.as_ref()) {
        // A handler of the calling program ran.
        Ok(0) | Err(Errno::INTR) => Ok(()),
        Ok(_) => Err(Error::Interrupted { signal: watch::signal_number(context) }),
        Err(errno) => Err(Error::call("poll")(errno)),
    }
}

fn record(context: &Context<'_>, uid: u32) -> Record {
    let (host, plan) = (context.host, context.plan);
    let cgroups = BoxCgroup::plan_paths(host.hierarchies(), &context.id, &plan.limits);
    Record {
        schema: Record::SCHEMA.to_owned(),
        box_id: context.id.clone(),
        pid: host.pid(),
        starttime_ticks: host.starttime_ticks(),
        boot_id: host.boot_id().to_owned(),
        timestamp: now_rfc3339(),
        uid,
        cgroups: cgroups.iter().map(|path| path.display().to_string()).collect(),
        supervisor_pid_namespace: None,
        init: None,
        pid_namespace: None,
        audit_session: None,
        argv: argv(plan),
        memory_max_bytes: plan.limits.memory.bytes(),
        pids_max: plan.limits.pids.tasks(),
    }
}

fn argv(plan: &RunPlan) -> Vec<String> {
    plan.command.argv.iter().take(SHOWN_ARGS).map(|arg| shown(arg)).collect()
}

/// Arguments that are written down at most; records are small.
const SHOWN_ARGS: usize = 32;
/// Longest argument that is written down, in characters.
const SHOWN_MAX: usize = 256;

/// A text that a payload may have chosen, made safe to show.
pub(crate) fn shown(text: &std::ffi::OsStr) -> String {
    text.to_string_lossy().chars().take(SHOWN_MAX).flat_map(char::escape_default).collect()
}

/// A name for a box that did not get one.
pub(crate) fn random_id() -> Result<BoxId, Error> {
    random_u64().map(BoxId::from_random)
}
