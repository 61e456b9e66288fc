//! One run, from plan to report.

use rustbox_core::{KillReason, RunPlan, RunReport};

use crate::claim::{Claim, random_id, random_u64};
use crate::clock::Clock;
use crate::controls;
use crate::error::Error;
use crate::host::Host;
use crate::progress::{Context, RunIo};
use crate::report::Remains;
use crate::sandbox::{Sandbox, Stop};
use crate::streams::Streams;
use crate::{collect, teardown, watch};

/// Runs one program in a box of its own, and returns when nothing of it is left, or when what is left
/// is in the report.
///
/// The calling thread is the box's life line: when it ends, the kernel kills the box.
///
/// # Errors
/// Only for a run that did not take place: a missing control, a busy name, a file that cannot be opened.
/// Nothing is left on the host then. Once the names are taken, every failure is in the report.
pub fn run<'a>(host: &'a Host, plan: &'a RunPlan, io: RunIo<'a>) -> Result<RunReport, Error> {
    let missing = controls::refusing(host, plan);
    if !missing.is_empty() {
        return Err(Error::ControlMissing(missing));
    }
    check_passed(plan)?;
    let mut streams = Streams::open(plan)?;
    let id = plan.box_id.clone().map_or_else(random_id, Ok)?;
    let mut context = Context { host, plan, id, clock: Clock::start(), io, actions: Vec::new() };
    let claim = Claim::take(&mut context)?;
    let uid = claim.lease.uid();
    let mut sandbox = Sandbox::default();
    let (blueprint, reason, mut failure) = match sandbox.build(&mut context, &claim, &mut streams) {
        Ok(blueprint) => {
            let reason = watch::until_over(&mut context, &mut sandbox, &mut streams, &blueprint);
            (Some(blueprint), reason, None)
        }
        Err(Stop::Failed(failure)) => (None, KillReason::SetupFailed, Some(failure)),
        Err(Stop::Killed(reason)) => (None, reason, None),
    };
    streams.close_given();
    let (ended, mut sandbox) = teardown::end(&mut context, claim, sandbox, &mut streams, blueprint.as_ref(), &reason);
    failure = failure.or_else(|| sandbox.told.failure.take());
    let report = Remains { sandbox, ended, streams, failure, reason, uid }.into_report(&context);
    tracing::info!(
        box_id = %report.box_id,
        status = %report.status,
        cause = %report.cause,
        wall_ns = report.wall_ns,
        "run ended"
    );
    if let Err(error) = random_u64().and_then(|random| collect::sweep(host, random)) {
        tracing::warn!(%error, "could not look for what dead supervisors left");
    }
    Ok(report)
}

/// A descriptor that is to be passed must be open, and must not be one of ours.
fn check_passed(plan: &RunPlan) -> Result<(), Error> {
    match plan.pass_fds.iter().find(|fd| std::fs::symlink_metadata(format!("/proc/self/fd/{fd}")).is_err()) {
        Some(fd) => Err(Error::PassFd { fd: *fd }),
        None => Ok(()),
    }
}
