//! Boxes that are prepared before they are needed.
//!
//! One thread for each box, since the kernel ties a box's life to the thread that made it. A thread prepares a box, puts
//! it into its seat, announces the seat and sleeps until the box is over; then it prepares the next. Who asks for a run
//! takes a seat that was announced and does everything else in its own thread: limits, program, watching, the end and its
//! proof. So between the request and the program nobody has to be woken but the process that waits for it. A run that
//! finds no seat waits until one is announced, and nothing that a payload has touched is used again. When the process
//! dies, so do the boxes that wait.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, bounded};
use parking_lot::Mutex;
use rustbox_core::{RootSource, RunPlan, RunReport};

use crate::clock::Clock;
use crate::controls;
use crate::error::Error;
use crate::host::Host;
use crate::progress::{Progress, RunIo};
use crate::run::{run_in_new_box, run_with};
use crate::seat::{Keeps, Occupied, Seat, Wake};
use crate::streams::Files;
use crate::waiting::{Ready, Waiting, fits};

/// Boxes at most: a pool of more would not find uids and processes for them.
pub const SLOTS_MAX: usize = 256;
/// Reports of boxes that were discarded, kept for the owner at most; more are counted, and their end is logged.
const DISCARDED_MAX: usize = 64;
/// Boxes that one run finds attacked before it makes its own.
const ATTACKED_MAX: usize = 16;

/// A pool of boxes. Dropping it ends the boxes that wait.
#[derive(Debug)]
pub struct Pool {
    free: Receiver<Arc<Seat>>,
    seats: Vec<Arc<Seat>>,
    threads: Vec<JoinHandle<()>>,
    /// For so many keepers there is room.
    slots: usize,
    shared: Arc<Shared>,
}

/// A run for which there is a box. Dropped unfinished, its box is ended like one that no run got.
pub struct Begun<'a> {
    shared: &'a Shared,
    plan: RunPlan,
    clock: Clock,
    /// What was checked and opened for a box of the pool; else what it was given, for a box of its own.
    ready: Option<Result<Ready, Files>>,
    waiting: Option<Waiting>,
    /// Held until the box is over: then its thread prepares the next.
    _occupied: Option<Occupied>,
}

impl std::fmt::Debug for Begun<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Begun").field("clock", &self.clock).field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

impl Begun<'_> {
    /// Gives the box its program, and returns when nothing of it is left.
    ///
    /// # Errors
    /// As [`run`](crate::run()).
    pub fn finish(mut self) -> Result<RunReport, Error> {
        let Shared { host, interrupt, warm, cold, .. } = self.shared;
        let mut nobody = |_: &Progress| {};
        let io = RunIo { interrupt: interrupt.as_ref().map(AsFd::as_fd), observer: &mut nobody };
        match (self.ready.take(), self.waiting.take()) {
            (Some(Ok(ready)), Some(waiting)) => {
                warm.fetch_add(1, Ordering::Relaxed);
                Ok(waiting.serve(host, &self.plan, ready, self.clock, io))
            }
            (Some(Ok(ready)), None) => {
                cold.fetch_add(1, Ordering::Relaxed);
                run_in_new_box(host, &self.plan, io, ready.streams, self.clock)
            }
            (Some(Err(files)), _) => {
                cold.fetch_add(1, Ordering::Relaxed);
                run_with(host, &self.plan, io, files)
            }
            (None, _) => Err(Error::PoolClosed),
        }
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            self.shared.discard(waiting);
        }
    }
}

/// A pool that could not be started.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct NotStarted {
    /// Why.
    pub error: Error,
    /// How the boxes ended that had been made: of each whether anything is left.
    pub reports: Vec<RunReport>,
}

impl From<Error> for NotStarted {
    fn from(error: Error) -> Self {
        Self { error, reports: Vec::new() }
    }
}

/// What a pool has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolCounts {
    /// Boxes that wait for a program now.
    pub waiting: u64,
    /// Runs in a box that was prepared.
    pub warm: u64,
    /// Runs for which a box was made: they asked for something that a prepared one does not have, or none could be made.
    pub cold: u64,
    /// Boxes that were ended unused, or could not be prepared.
    pub discarded: u64,
}

/// What runs and the threads of boxes have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    host: Arc<Host>,
    template: RunPlan,
    /// Read by every run: a record of a signal ends it.
    interrupt: Option<OwnedFd>,
    waiting: AtomicU64,
    warm: AtomicU64,
    cold: AtomicU64,
    discarded: AtomicU64,
    reports: Mutex<Vec<RunReport>>,
}

impl Pool {
    /// Prepares `slots` boxes for runs like `template`, of which the command and the streams do not count, and returns
    /// when all are there.
    ///
    /// `interrupt` is polled by every run, as [`RunIo::interrupt`] is: one record of a signal, 128 bytes as those of a
    /// signalfd, ends one run.
    ///
    /// # Errors
    /// A control is missing that the template's mode needs, or a box could not be prepared: then all are ended, and the
    /// reports say whether anything is left of one.
    pub fn start(
        host: Arc<Host>,
        template: RunPlan,
        slots: usize,
        interrupt: Option<OwnedFd>,
    ) -> Result<Self, NotStarted> {
        controls::require(&host, &template)?;
        if template.namespaces.mount && template.root == RootSource::Host {
            host.keep_system()?;
        }
        if template.namespaces.mount
            && let Err(error) = host.keep_empty_mounts()
        {
            tracing::debug!(%error, "boxes begin from a copy of this process's mounts");
        }
        let slots = slots.clamp(1, SLOTS_MAX);
        // Room for every seat: whoever announces one never waits.
        let (announce, free) = bounded(slots);
        let zero = || AtomicU64::new(0);
        let (waiting, warm, cold, discarded) = (zero(), zero(), zero(), zero());
        let reports = Mutex::new(Vec::new());
        let shared = Arc::new(Shared { host, template, interrupt, waiting, warm, cold, discarded, reports });
        shared.host.keepers().open(slots);
        let mut pool = Self { free, seats: Vec::new(), threads: Vec::new(), slots, shared };
        let (first, firsts) = bounded(slots);
        for _ in 0..slots {
            let (seat, wakes) = Seat::new();
            pool.seats.push(Arc::clone(&seat));
            let keeps = Keeps { shared: Arc::clone(&pool.shared), seat, wakes, announce: announce.clone() };
            let first = first.clone();
            let thread = std::thread::Builder::new().name("rustbox-slot".to_owned());
            let spawned = thread.spawn(move || keeps.work(&first));
            match spawned {
                Ok(thread) => pool.threads.push(thread),
                Err(source) => return Err(pool.not_started(Error::Thread { source })),
            }
        }
        match (0..slots).try_for_each(|_| firsts.recv().unwrap_or(Err(Error::PoolClosed))) {
            Ok(()) => Ok(pool),
            Err(error) => Err(pool.not_started(error)),
        }
    }

    fn not_started(self, error: Error) -> NotStarted {
        NotStarted { error, reports: self.close() }
    }

    /// Runs a program, in a box that was prepared if it asks for nothing else; waits for one when none is free.
    ///
    /// # Errors
    /// As [`run`](crate::run()).
    pub fn run(&self, plan: RunPlan, files: Files) -> Result<RunReport, Error> {
        self.begin(plan, files)?.finish()
    }

    /// The first half of [`Pool::run`]: waits until there is a box.
    ///
    /// # Errors
    /// As [`run`](crate::run()), for a run that cannot take place.
    pub fn begin(&self, plan: RunPlan, mut files: Files) -> Result<Begun<'_>, Error> {
        let clock = Clock::start();
        let shared = &*self.shared;
        let ready = if fits(&shared.template, &plan) { Ready::of(&shared.host, &plan, &mut files)? } else { None };
        let (ready, occupied, waiting) = match ready {
            None => (Err(files), None, None),
            Some(ready) => {
                let (occupied, waiting) = self.take()?;
                (Ok(ready), Some(occupied), waiting)
            }
        };
        Ok(Begun { shared, plan, clock, ready: Some(ready), waiting, _occupied: occupied })
    }

    /// Waits for a seat. Its box is as it was left; none where none could be made.
    fn take(&self) -> Result<(Occupied, Option<Waiting>), Error> {
        let mut attacked = 0;
        loop {
            let seat = self.free.recv().map_err(|_| Error::PoolClosed)?;
            let occupied = Occupied::of(seat);
            match self.shared.taken(occupied.take()) {
                // Attacked, or killed by an operator. Its end is proved, and its thread makes another one.
                Some(waiting) if !waiting.is_sound() && attacked < ATTACKED_MAX => {
                    attacked += 1;
                    self.shared.discard(waiting);
                }
                Some(waiting) if attacked == ATTACKED_MAX => {
                    self.shared.discard(waiting);
                    return Ok((occupied, None));
                }
                waiting => return Ok((occupied, waiting)),
            }
        }
    }

    /// What it has done so far.
    #[must_use]
    pub fn counts(&self) -> PoolCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Shared { waiting, warm, cold, discarded, .. } = &*self.shared;
        PoolCounts { waiting: read(waiting), warm: read(warm), cold: read(cold), discarded: read(discarded) }
    }

    /// Takes the reports of the boxes that no run got: whether anything was left of them counts like a run's.
    #[must_use]
    pub fn take_discarded(&self) -> Vec<RunReport> {
        std::mem::take(&mut *self.shared.reports.lock())
    }

    /// Ends the boxes that wait, and returns the reports of those that no run got.
    #[must_use]
    pub fn close(mut self) -> Vec<RunReport> {
        self.end();
        self.take_discarded()
    }

    fn end(&mut self) {
        for seat in &self.seats {
            seat.wake(Wake::Close);
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the pool ended by a panic");
            }
        }
        self.shared.host.keepers().close(std::mem::take(&mut self.slots));
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    /// Makes a box that waits.
    pub(crate) fn prepare(&self) -> Result<Waiting, Error> {
        match Waiting::prepare(&self.host, &self.template) {
            Ok(waiting) => {
                self.waiting.fetch_add(1, Ordering::Relaxed);
                Ok(waiting)
            }
            Err(Err(error)) => Err(error),
            Err(Ok(report)) => {
                let message = report.message.clone();
                self.keep(*report);
                Err(Error::NotPrepared { message })
            }
        }
    }

    /// Counts that a box does not wait any more.
    pub(crate) fn taken(&self, waiting: Option<Waiting>) -> Option<Waiting> {
        waiting.inspect(|_| {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        })
    }

    /// Ends a box that no run got.
    pub(crate) fn discard(&self, waiting: Waiting) {
        self.keep(waiting.discard(&self.host, &self.template));
    }

    fn keep(&self, report: RunReport) {
        self.discarded.fetch_add(1, Ordering::Relaxed);
        let mut reports = self.reports.lock();
        if reports.len() < DISCARDED_MAX {
            reports.push(report);
        } else {
            tracing::warn!(box_id = %report.box_id, verdict = ?report.containment.verdict, "discarded a box");
        }
    }
}
