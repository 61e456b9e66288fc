//! One run, from plan to report.

use rustbox_core::{KillReason, RunPlan, RunReport};
use rustbox_ns::Blueprint;

use crate::claim::{Claim, random_id};
use crate::clock::Clock;
use crate::controls;
use crate::error::Error;
use crate::host::Host;
use crate::progress::{Context, RunIo};
use crate::report::Remains;
use crate::sandbox::{Sandbox, Stop};
use crate::streams::{Files, Streams};
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
    run_with(host, plan, io, Files::default())
}

/// The same with streams that are open already.
///
/// # Errors
/// As [`run`].
pub fn run_with<'a>(host: &'a Host, plan: &'a RunPlan, io: RunIo<'a>, files: Files) -> Result<RunReport, Error> {
    controls::require(host, plan)?;
    check_passed(plan)?;
    let clock = Clock::start();
    run_in_new_box(host, plan, io, Streams::open_with(plan, files)?, clock)
}

/// Makes a box for a run that was checked, and runs it. `clock` began when the run was asked for.
pub(crate) fn run_in_new_box<'a>(
    host: &'a Host,
    plan: &'a RunPlan,
    io: RunIo<'a>,
    mut streams: Streams,
    clock: Clock,
) -> Result<RunReport, Error> {
    let id = plan.box_id.clone().map_or_else(random_id, Ok)?;
    let mut context = Context { host, plan, id, clock, io, actions: Vec::new() };
    let claim = Claim::take(&mut context)?;
    let mut sandbox = Sandbox::default();
    let built = sandbox.build(&mut context, &claim, &mut streams);
    Ok(conclude(&mut context, claim, sandbox, streams, built))
}

/// Watches a box that was released, if it was; ends it, and reports.
pub(crate) fn conclude(
    context: &mut Context<'_>,
    claim: Claim,
    mut sandbox: Sandbox,
    mut streams: Streams,
    built: Result<Blueprint, Stop>,
) -> RunReport {
    let (host, uid) = (context.host, claim.lease.uid());
    let (blueprint, reason, mut failure) = match built {
        Ok(blueprint) => {
            let reason = watch::until_over(context, &mut sandbox, &mut streams, &blueprint);
            (Some(blueprint), reason, None)
        }
        Err(Stop::Failed(failure)) => (None, KillReason::SetupFailed, Some(failure)),
        Err(Stop::Killed(reason)) => (None, reason, None),
    };
    streams.close_given();
    let (ended, mut sandbox) = teardown::end(context, claim, sandbox, &mut streams, blueprint.as_ref(), &reason);
    failure = failure.or_else(|| sandbox.told.failure.take());
    let report = Remains { sandbox, ended, streams, failure, reason, uid }.into_report(context);
    tracing::info!(
        box_id = %report.box_id,
        status = %report.status,
        cause = %report.cause,
        wall_ns = report.wall_ns,
        "run ended"
    );
    if let Err(error) = collect::sweep(host) {
        tracing::warn!(%error, "could not look for what dead supervisors left");
    }
    report
}

/// A descriptor that is to be passed must be the caller's: open, and inherited. Everything of our own is
/// close-on-exec, which tells them apart. None may be a directory, the streams included: it would lead past
/// the box's root.
pub(crate) fn check_passed(plan: &RunPlan) -> Result<(), Error> {
    for fd in &plan.pass_fds {
        match inherited(*fd) {
            Some(true) => {}
            Some(false) => return Err(Error::PassFdOurs { fd: *fd }),
            None => return Err(Error::PassFd { fd: *fd }),
        }
    }
    let streams = [(0, &plan.stdin), (1, &plan.stdout), (2, &plan.stderr)];
    let streams = streams.iter().filter(|(_, file)| file.is_none()).map(|(fd, _)| fd);
    let is_directory = |fd: &&i32| std::fs::metadata(format!("/proc/self/fd/{fd}")).is_ok_and(|found| found.is_dir());
    match streams.chain(&plan.pass_fds).find(is_directory) {
        Some(fd) => Err(Error::DirectoryFd { fd: *fd }),
        None => Ok(()),
    }
}

/// Whether a descriptor stays open across `execve`, by `flags` of `/proc/self/fdinfo`; none when it is not open.
fn inherited(fd: i32) -> Option<bool> {
    const CLOSE_ON_EXEC: u32 = 0o2_000_000;
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"))?;
    Some(u32::from_str_radix(flags.trim(), 8).ok()? & CLOSE_ON_EXEC == 0)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use rustbox_core::RunSpec;

    use super::*;

    fn passing(fd: i32) -> RunPlan {
        RunSpec { argv: vec!["true".into()], pass_fds: vec![fd], ..RunSpec::default() }.validate().unwrap()
    }

    #[test]
    fn only_what_the_caller_left_open_is_passed() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let ours = check_passed(&passing(file.as_raw_fd()));
        assert!(matches!(ours, Err(Error::PassFdOurs { .. })), "{ours:?}");
        rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).unwrap();
        check_passed(&passing(file.as_raw_fd())).unwrap();
        let closed = check_passed(&passing(999_999));
        assert!(matches!(closed, Err(Error::PassFd { .. })), "{closed:?}");
    }

    #[test]
    fn a_directory_is_never_passed() {
        let root = std::fs::File::open("/").unwrap();
        rustix::io::fcntl_setfd(&root, rustix::io::FdFlags::empty()).unwrap();
        let refused = check_passed(&passing(root.as_raw_fd()));
        assert!(matches!(refused, Err(Error::DirectoryFd { .. })), "{refused:?}");
    }
}
