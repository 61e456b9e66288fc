//! The pool of a batch, which its first job that can have one starts: its boxes are like that one's.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rustbox_core::{ContainmentVerdict, RunReport};
use rustbox_supervisor::{Begun, Files, Host, NotStarted, Pool, PoolCounts, Progress, RunIo, run_with};

use super::job::Job;
use crate::commands::host;
use crate::config::Settings;
use crate::error::{CliError, chain};

pub(super) struct Start {
    host: Arc<Host>,
    slots: usize,
    interrupt: OwnedFd,
    pool: OnceLock<Pool>,
    /// Held by who starts it: how the boxes ended of pools that could not be started.
    ended: Mutex<Vec<RunReport>>,
}

impl Start {
    pub(super) fn new(settings: &Settings, slots: usize, interrupt: OwnedFd) -> Result<Self, CliError> {
        let host = Arc::new(host::open(settings)?);
        Ok(Self { host, slots, interrupt, pool: OnceLock::new(), ended: Mutex::default() })
    }

    /// The pool, if there is one.
    pub(super) fn started(&self) -> Option<&Pool> {
        self.pool.get()
    }

    /// Ends the boxes that wait, and returns the reports of all that no job got, with what the pool has done.
    pub(super) fn end(self) -> (Option<PoolCounts>, Vec<RunReport>) {
        let mut ended = self.ended.into_inner();
        let counts = self.pool.into_inner().map(|pool| {
            let counts = pool.counts();
            ended.extend(pool.close());
            counts
        });
        (counts, ended)
    }

    /// Runs a job; `has_box` is called when there is a box for it, or none is to be waited for.
    ///
    /// A pool that cannot be started for this job may be for the next: what this one asks for need not be what that asks
    /// for, and what was lacking may be there again. The job gets a box of its own, or hears why there is none.
    pub(super) fn run(&self, job: &Job, files: Files, has_box: impl FnOnce()) -> Result<RunReport, CliError> {
        match self.pool(job) {
            Ok(pool) => {
                let begun = pool.begin(job.plan.clone(), files);
                has_box();
                begun.and_then(Begun::finish).map_err(CliError::Supervisor)
            }
            Err(error) => {
                tracing::warn!(error = chain(&error), "no boxes could be prepared; the job gets one of its own");
                has_box();
                let mut nobody = |_: &Progress| {};
                let io = RunIo { interrupt: Some(self.interrupt.as_fd()), observer: &mut nobody };
                run_with(&self.host, &job.plan, io, files).map_err(CliError::Supervisor)
            }
        }
    }

    fn pool(&self, job: &Job) -> Result<&Pool, CliError> {
        if let Some(pool) = self.pool.get() {
            return Ok(pool);
        }
        let mut ended = self.ended.lock();
        if let Some(pool) = self.pool.get() {
            return Ok(pool);
        }
        let interrupt = self.interrupt.try_clone().map_err(CliError::Signals)?;
        match Pool::start(Arc::clone(&self.host), job.plan.clone(), self.slots, Some(interrupt)) {
            Ok(pool) => Ok(self.pool.get_or_init(|| pool)),
            Err(NotStarted { error, reports }) => {
                // Those of which nothing is left are of no interest, and there may be many.
                let is_proved = |report: &RunReport| report.containment.verdict == ContainmentVerdict::Contained;
                ended.extend(reports.into_iter().filter(|report| !is_proved(report)));
                Err(CliError::Supervisor(error))
            }
        }
    }
}
