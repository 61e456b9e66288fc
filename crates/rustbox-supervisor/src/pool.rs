//! Boxes that are prepared before they are needed.
//!
//! One thread for each box, since the kernel ties a box's life to the thread that made it. A thread prepares a box, takes
//! a job from a channel without room, runs it, ends and verifies the box, answers, and prepares the next. So a run that
//! finds a box waiting pays for its program alone, a run that finds none waits until there is one, and nothing that a
//! payload has touched is used again. When the process dies, so do the boxes that wait.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;
use rustbox_core::{RunPlan, RunReport};

use crate::clock::Clock;
use crate::error::Error;
use crate::host::Host;
use crate::progress::{Progress, RunIo};
use crate::run::run_with;
use crate::streams::Files;
use crate::waiting::{Ready, Waiting, fits};

/// How often a box that waits is looked at: a dead one is replaced before somebody needs it.
const LOOK: Duration = Duration::from_secs(1);
/// Boxes at most: a pool of more would not find uids and processes for them.
pub const SLOTS_MAX: usize = 256;
/// Reports of boxes that were discarded, kept for the owner at most; more are counted, and their end is logged.
const DISCARDED_MAX: usize = 64;

/// A pool of boxes. Dropping it ends the boxes that wait, and waits for those that run.
#[derive(Debug)]
pub struct Pool {
    orders: Option<Sender<Order>>,
    threads: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

/// A run that a pool has begun. It goes on, and its box is ended, also when this is dropped.
#[derive(Debug)]
pub struct Begun {
    answered: Receiver<Result<RunReport, Error>>,
}

impl Begun {
    /// Waits for its report.
    ///
    /// # Errors
    /// As [`run`](crate::run()).
    pub fn finish(self) -> Result<RunReport, Error> {
        self.answered.recv().unwrap_or(Err(Error::PoolClosed))
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

#[derive(Debug)]
struct Shared {
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

/// A run that was asked for.
#[derive(Debug)]
struct Order {
    plan: RunPlan,
    files: Files,
    clock: Clock,
    answer: Sender<Result<RunReport, Error>>,
}

impl Pool {
    /// Prepares `slots` boxes for runs like `template`, of which the command and the streams do not count, and returns
    /// when all are there.
    ///
    /// `interrupt` is polled by every run, as [`RunIo::interrupt`] is: one record of a signal, 128 bytes as those of a
    /// signalfd, ends one run.
    ///
    /// # Errors
    /// A box could not be prepared: then none is left.
    pub fn start(host: Arc<Host>, template: RunPlan, slots: usize, interrupt: Option<OwnedFd>) -> Result<Self, Error> {
        // No room: an order that nobody takes stays with the one who has it.
        let (orders, taken) = bounded(0);
        let zero = || AtomicU64::new(0);
        let (waiting, warm, cold, discarded) = (zero(), zero(), zero(), zero());
        let reports = Mutex::new(Vec::new());
        let shared = Arc::new(Shared { host, template, interrupt, waiting, warm, cold, discarded, reports });
        let mut pool = Self { orders: Some(orders), threads: Vec::new(), shared };
        let slots = slots.clamp(1, SLOTS_MAX);
        let (first, firsts) = bounded(slots);
        for _ in 0..slots {
            let (shared, taken, first) = (Arc::clone(&pool.shared), taken.clone(), first.clone());
            let thread = std::thread::Builder::new().name("rustbox-slot".to_owned());
            let spawned = thread.spawn(move || Slot { shared, waiting: None }.work(&taken, &first));
            pool.threads.push(spawned.map_err(|source| Error::Thread { source })?);
        }
        for _ in 0..slots {
            firsts.recv().unwrap_or(Err(Error::PoolClosed))?;
        }
        Ok(pool)
    }

    /// Runs a program, in a box that was prepared if it asks for nothing else; waits for one when none is free.
    ///
    /// # Errors
    /// As [`run`](crate::run()).
    pub fn run(&self, plan: RunPlan, files: Files) -> Result<RunReport, Error> {
        self.begin(plan, files)?.finish()
    }

    /// The first half of [`Pool::run`]: waits until a thread with a box has taken the program.
    ///
    /// # Errors
    /// No thread is left.
    pub fn begin(&self, plan: RunPlan, files: Files) -> Result<Begun, Error> {
        let (answer, answered) = bounded(1);
        let order = Order { plan, files, clock: Clock::start(), answer };
        let sent = self.orders.as_ref().is_some_and(|orders| orders.send(order).is_ok());
        if sent { Ok(Begun { answered }) } else { Err(Error::PoolClosed) }
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
}

impl Pool {
    /// Ends the boxes that wait, waits for those that run, and returns the reports of those that no run got.
    #[must_use]
    pub fn close(mut self) -> Vec<RunReport> {
        self.end();
        self.take_discarded()
    }

    fn end(&mut self) {
        self.orders = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the pool ended by a panic");
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.end();
    }
}

/// One thread, with the box that it has ready.
struct Slot {
    shared: Arc<Shared>,
    waiting: Option<Waiting>,
}

impl Slot {
    fn work(mut self, orders: &Receiver<Order>, first: &Sender<Result<(), Error>>) {
        let prepared = self.prepare();
        let failed = prepared.is_err();
        // The owner waits for one answer of each; it is gone only if another one failed.
        let _ = first.send(prepared);
        if failed {
            return;
        }
        loop {
            match orders.recv_timeout(LOOK) {
                Ok(order) => self.serve(order),
                Err(RecvTimeoutError::Timeout) => {
                    if self.waiting.as_ref().is_some_and(|waiting| !waiting.is_sound()) {
                        self.discard();
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if let Err(error) = self.prepare() {
                tracing::warn!(%error, "no box could be prepared; the next run makes its own");
            }
        }
        self.discard();
    }

    /// Has a box ready, if that is possible.
    fn prepare(&mut self) -> Result<(), Error> {
        if self.waiting.is_some() {
            return Ok(());
        }
        match Waiting::prepare(&self.shared.host, &self.shared.template) {
            Ok(waiting) => {
                self.waiting = Some(waiting);
                self.shared.waiting.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err(Err(error)) => Err(error),
            Err(Ok(report)) => {
                let message = report.message.clone();
                self.keep(*report);
                Err(Error::NotPrepared { message })
            }
        }
    }

    fn take(&mut self) -> Option<Waiting> {
        let taken = self.waiting.take();
        if taken.is_some() {
            self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        taken
    }

    fn discard(&mut self) {
        match self.take().map(|waiting| waiting.discard(&self.shared.host, &self.shared.template)) {
            None => {}
            Some(Ok(report)) => self.keep(report),
            Some(Err(error)) => tracing::error!(%error, "a box that waited could not be ended"),
        }
    }

    fn keep(&self, report: RunReport) {
        self.shared.discarded.fetch_add(1, Ordering::Relaxed);
        let mut reports = self.shared.reports.lock();
        if reports.len() < DISCARDED_MAX {
            reports.push(report);
        } else {
            tracing::warn!(box_id = %report.box_id, verdict = ?report.containment.verdict, "discarded a box");
        }
    }

    fn serve(&mut self, order: Order) {
        let Order { plan, files, clock, answer } = order;
        let result = self.run(&plan, files, clock);
        // Who asked may have gone meanwhile; the box is ended all the same.
        let _ = answer.send(result);
    }

    fn run(&mut self, plan: &RunPlan, mut files: Files, clock: Clock) -> Result<RunReport, Error> {
        let shared = Arc::clone(&self.shared);
        let mut nobody = |_: &Progress| {};
        let io = RunIo { interrupt: shared.interrupt.as_ref().map(AsFd::as_fd), observer: &mut nobody };
        if fits(&shared.template, plan)
            && let Some(ready) = Ready::of(&shared.host, plan, &mut files)?
        {
            if self.waiting.as_ref().is_some_and(|waiting| !waiting.is_sound()) {
                // Attacked, or killed by an operator. Its end is proved before another one takes its place.
                self.discard();
                self.prepare()?;
            }
            if let Some(waiting) = self.take() {
                shared.warm.fetch_add(1, Ordering::Relaxed);
                return Ok(waiting.serve(&shared.host, plan, ready, clock, io));
            }
        }
        shared.cold.fetch_add(1, Ordering::Relaxed);
        run_with(&shared.host, plan, io, files)
    }
}
