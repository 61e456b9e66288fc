//! What a run tells while it lasts, and what it did.

use std::os::fd::BorrowedFd;

use rustbox_core::{Action, BoxId, RunPlan};
use serde::Serialize;

use crate::clock::Clock;
use crate::host::Host;

/// One step of a run that has just been done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// The keeper runs.
    KeeperStarted,
    /// The box's lock is held, and its record written.
    Locked {
        /// The uid leased to the box.
        uid: u32,
    },
    /// The cgroups exist, with their limits.
    CgroupsCreated,
    /// The init exists, and waits at its barrier.
    Cloned {
        /// Its pid on the host.
        init_pid: u32,
    },
    /// The init will die with its supervisor, and is in its cgroups.
    Armed,
    /// Everything was read back, and the init let go.
    Released,
    /// The payload's credentials were read back; it is being executed.
    Started {
        /// Its pid on the host.
        payload_pid: Option<u32>,
    },
    /// The box is being killed.
    Killing {
        /// Why.
        reason: String,
    },
    /// Nothing lives in it any more.
    Emptied,
    /// Cgroups, directory and lease are gone.
    Removed,
}

/// An [`Event`] with its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// The box.
    pub box_id: BoxId,
    /// Nanoseconds since the box was asked for.
    pub at_ns: u64,
    /// What was done.
    #[serde(flatten)]
    pub event: Event,
}

/// What a run is given besides its plan.
pub struct RunIo<'a> {
    /// A signalfd: the first signal that it has ends the run. The caller blocks the signals.
    pub interrupt: Option<BorrowedFd<'a>>,
    /// Is told of each step.
    pub observer: &'a mut dyn FnMut(&Progress),
}

impl std::fmt::Debug for RunIo<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunIo").field("interrupt", &self.interrupt).finish_non_exhaustive()
    }
}

/// One run: what it is given, and the log of what it did.
pub(crate) struct Context<'a> {
    pub(crate) host: &'a Host,
    pub(crate) plan: &'a RunPlan,
    pub(crate) id: BoxId,
    pub(crate) clock: Clock,
    pub(crate) io: RunIo<'a>,
    pub(crate) actions: Vec<Action>,
}

impl Context<'_> {
    pub(crate) fn tell(&mut self, event: Event) {
        tracing::debug!(box_id = %self.id, ?event, "step");
        let progress = Progress { box_id: self.id.clone(), at_ns: self.clock.elapsed_ns(), event };
        (self.io.observer)(&progress);
    }

    /// Writes down something that was done to the payload.
    pub(crate) fn did(&mut self, action: impl Into<String>, reason: impl Into<String>) {
        let at_ns = self.clock.elapsed_ns();
        self.actions.push(Action { at_ns, action: action.into(), reason: reason.into() });
    }
}
