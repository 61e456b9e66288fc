//! A box that is there before its program is.
//!
//! It is made, armed, attached and read back like any other; its init has built the root and waits for a job. A run takes
//! it, sets its own limits and reads them back, looks whether the init is still alive and where it was put, and hands the
//! program over. From then on it is a run like any other, down to the proof at its end. It is used once.

use rustbox_core::{BoxId, KillReason, Network, RunPlan, RunReport};
use rustbox_ns::{Blueprint, Job};

use crate::claim::{Claim, random_id};
use crate::clock::Clock;
use crate::controls;
use crate::error::Error;
use crate::host::Host;
use crate::progress::{Context, RunIo};
use crate::run::{check_passed, conclude};
use crate::sandbox::{Sandbox, Stop};
use crate::streams::{Files, Streams};

/// A box that waits for its program.
#[derive(Debug)]
pub(crate) struct Waiting {
    id: BoxId,
    claim: Claim,
    sandbox: Sandbox,
    blueprint: Blueprint,
}

/// A run that was checked before a box is touched.
pub(crate) struct Ready {
    pub(crate) streams: Streams,
    job: Job,
}

impl Ready {
    /// Opens what the run needs, and puts the program into a record; none when it needs a box of its own.
    pub(crate) fn of(host: &Host, plan: &RunPlan, files: &mut Files) -> Result<Option<Self>, Error> {
        controls::require(host, plan)?;
        check_passed(plan)?;
        let job = match Job::new(plan) {
            Ok(job) => job,
            Err(rustbox_ns::Error::JobTooLarge { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(Some(Self { streams: Streams::open_with(plan, std::mem::take(files))?, job }))
    }
}

/// Whether a box that was prepared by `template` serves a run of `plan`: command, streams, times and the values of limits
/// may differ, and nothing else. The working directory is where the payload's process waits already.
pub(crate) fn fits(template: &RunPlan, plan: &RunPlan) -> bool {
    let kinds = |plan: &RunPlan| (plan.limits.cpus.is_some(), plan.limits.cpuset.is_some());
    let network = |plan: &RunPlan| plan.network == Network::None;
    plan.box_id.is_none()
        && plan.pass_fds.is_empty()
        && kinds(template) == kinds(plan)
        && network(template) == network(plan)
        && (template.mode, template.namespaces, template.seccomp) == (plan.mode, plan.namespaces, plan.seccomp)
        && (&template.root, &template.binds, &template.tmpfs) == (&plan.root, &plan.binds, &plan.tmpfs)
        && template.command.cwd == plan.command.cwd
        && (&template.hostname, template.cgroup_backend) == (&plan.hostname, plan.cgroup_backend)
}

impl Waiting {
    /// Makes a box. What a failed attempt made is killed and removed, and the report says how that went.
    pub(crate) fn prepare(host: &Host, template: &RunPlan) -> Result<Self, Result<Box<RunReport>, Error>> {
        let mut nobody = |_: &crate::progress::Progress| {};
        let io = RunIo { interrupt: None, observer: &mut nobody };
        let id = random_id().map_err(Err)?;
        let mut context = Context { host, plan: template, id, clock: Clock::start(), io, actions: Vec::new() };
        let claim = Claim::take(&mut context).map_err(Err)?;
        let mut sandbox = Sandbox::default();
        match sandbox.prepare(&mut context, &claim) {
            Ok(blueprint) => Ok(Self { id: context.id, claim, sandbox, blueprint }),
            Err(stop) => Err(Ok(Box::new(conclude(&mut context, claim, sandbox, Streams::none(), Err(stop))))),
        }
    }

    /// Whether it is as it was left.
    pub(crate) fn is_sound(&self) -> bool {
        self.sandbox.is_sound()
    }

    /// Runs a program in it. `plan` fits, and `clock` began when the run was asked for.
    pub(crate) fn serve<'a>(
        mut self,
        host: &'a Host,
        plan: &'a RunPlan,
        ready: Ready,
        clock: Clock,
        io: RunIo<'a>,
    ) -> RunReport {
        let Ready { mut streams, job } = ready;
        let mut context = Context { host, plan, id: self.id, clock, io, actions: Vec::new() };
        context.did("took a box that was prepared", "the run asked for nothing that it does not have");
        let started = self.sandbox.start_job(&mut context, &self.claim, &mut streams, &job);
        conclude(&mut context, self.claim, self.sandbox, streams, started.map(|()| self.blueprint))
    }

    /// Ends it unused, with the same proof as any other box.
    pub(crate) fn discard(self, host: &Host, template: &RunPlan) -> RunReport {
        let mut nobody = |_: &crate::progress::Progress| {};
        let io = RunIo { interrupt: None, observer: &mut nobody };
        let mut context = Context { host, plan: template, id: self.id, clock: Clock::start(), io, actions: Vec::new() };
        let unused = Err(Stop::Killed(KillReason::MainEnded));
        conclude(&mut context, self.claim, self.sandbox, Streams::none(), unused)
    }
}
