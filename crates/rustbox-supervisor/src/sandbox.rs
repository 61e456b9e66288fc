//! From the claim to the payload's release: cgroups, init, and the reading back of everything that a
//! payload must not run without.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustbox_cgroup::BoxCgroup;
use rustbox_core::planted::{Bug, is};
use rustbox_core::{Actor, AppliedControl, KillReason, Network, ProcessKey, Record, RunPlan, SetupFailure, Stage};
use rustbox_ns::{Blueprint, Init, Job, Resources, namespace_ids, planned_namespaces, spawn};

use crate::claim::Claim;
use crate::host::Host;
use crate::keeper::TAG_CGROUPS;
use crate::leftover;
use crate::progress::{Context, Event};
use crate::streams::Streams;
use crate::told::Told;
use crate::watch;

/// How long the init may take to arm itself; anything near this is a wedged host, or a file system behind one.
const ARM_LIMIT: Duration = Duration::from_secs(10);
/// Signal 9, as `PR_GET_PDEATHSIG` returns it.
const SIGKILL: u32 = 9;

/// A box that exists, or as much of it as could be made.
#[derive(Debug, Default)]
pub(crate) struct Sandbox {
    pub(crate) cgroup: Option<BoxCgroup>,
    /// What a failed creation of it could not remove again.
    pub(crate) left: Vec<String>,
    pub(crate) init: Option<Init>,
    pub(crate) told: Told,
    pub(crate) facts: Facts,
}

/// What was read back before the release.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) applied: Vec<AppliedControl>,
    pub(crate) reads_back: bool,
    pub(crate) supervisor_pid_namespace: Option<u64>,
    pub(crate) pid_namespace: Option<u64>,
    pub(crate) audit_session: Option<u32>,
}

/// Why a box did not come to be.
#[derive(Debug)]
pub(crate) enum Stop {
    /// A step failed.
    Failed(SetupFailure),
    /// Somebody wanted it to end.
    Killed(KillReason),
}

fn failed(stage: Stage) -> impl Fn(&(dyn std::error::Error + 'static)) -> Stop {
    move |error| Stop::Failed(failure(stage, error))
}

/// A failure of the supervisor's own, with the whole chain of causes in one line.
fn failure(stage: Stage, error: &(dyn std::error::Error + 'static)) -> SetupFailure {
    let mut detail = format!("could not {stage}: {error}");
    // A cgroup that exists already has no cause of its own, and an errno all the same.
    let mut errno = error.downcast_ref::<rustbox_cgroup::Error>().and_then(rustbox_cgroup::Error::raw_os_error);
    let mut cause = error.source();
    while let Some(source) = cause {
        detail.push_str(": ");
        detail.push_str(&source.to_string());
        let io = source.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
        errno = io.or_else(|| source.downcast_ref::<rustix::io::Errno>().map(|e| e.raw_os_error())).or(errno);
        cause = source.source();
    }
    SetupFailure { stage, actor: Actor::Supervisor, errno, detail }
}

fn refused(stage: Stage, detail: String) -> Stop {
    Stop::Failed(SetupFailure { stage, actor: Actor::Supervisor, errno: None, detail })
}

impl Sandbox {
    /// Makes the box up to the release of its init. What exists when a step fails stays in `self`, to
    /// be killed and removed like any other box.
    pub(crate) fn build(
        &mut self,
        context: &mut Context<'_>,
        claim: &Claim,
        streams: &mut Streams,
    ) -> Result<Blueprint, Stop> {
        let blueprint = self.make(context, claim, streams.given(), Blueprint::new)?;
        streams.close_given();
        Ok(blueprint)
    }

    /// Makes a box whose program comes later, up to where its init waits for that.
    pub(crate) fn prepare(&mut self, context: &mut Context<'_>, claim: &Claim) -> Result<Blueprint, Stop> {
        let blueprint = self.make(context, claim, [None; 3], Blueprint::waiting)?;
        let gone = || refused(Stage::Release, "the init is gone".to_owned());
        watch::until_prepared(context, self.init.as_ref().ok_or_else(gone)?, &mut self.told, &blueprint)?;
        // What the run polls is opened at the first call, which is no business of the run's.
        let _event = self.cgroup.as_ref().and_then(BoxCgroup::oom_event_fd);
        Ok(blueprint)
    }

    /// Makes the box, reads everything back, and lets its init go.
    fn make(
        &mut self,
        context: &mut Context<'_>,
        claim: &Claim,
        stdio: [Option<BorrowedFd<'_>>; 3],
        draw: impl FnOnce(&RunPlan, &Resources<'_>) -> Result<Blueprint, rustbox_ns::Error>,
    ) -> Result<Blueprint, Stop> {
        let plan = context.plan;
        let created = context.host.hierarchies().create(&context.id, &plan.limits, plan.mode);
        let cgroup = created.map_err(|error| {
            self.left = left_by(&error);
            failed(Stage::Cgroup)(&error)
        })?;
        let cgroup = self.cgroup.insert(cgroup);
        claim.keeper.hand_over(TAG_CGROUPS, &cgroup.lock_fds()).map_err(|error| failed(Stage::Cgroup)(&error))?;
        context.tell(Event::CgroupsCreated);
        let (uid, system) = (claim.lease.uid(), context.host.system());
        let resources = Resources { uid, stdio, attach: attach_fds(cgroup), system };
        let mut blueprint = draw(plan, &resources).map_err(|error| failed(Stage::Root)(&error))?;
        if plan.network == Network::None {
            match claim.keeper.take_network() {
                Some(network) => blueprint = blueprint.with_network(network),
                None => tracing::debug!("the keeper made no network namespace; the init makes one"),
            }
        }
        if let Some(empty) = context.host.empty_mounts() {
            blueprint = blueprint.with_mounts(empty);
        }
        self.facts.reads_back = blueprint.reads_back();
        let (init, blueprint) = spawn(blueprint, cgroup.clone_into().filter(|_| !is(Bug::AttachAfterExec)))
            .map_err(|error| failed(Stage::Clone)(&error))?;
        context.tell(Event::Cloned { init_pid: init.process().pid() });
        let init = self.init.insert(init);
        // An init that leaves the host's mounts opens what it shows of them first.
        let limit = if blueprint.leaves_host() { watch::START_LIMIT } else { ARM_LIMIT };
        watch::until_armed(context, init, &mut self.told, &blueprint, Instant::now() + limit)?;
        context.tell(Event::Armed);
        let read = self.read_back(context, &blueprint);
        let read = read.and_then(|()| self.write_marks(context, claim, claim.record.clone()));
        // The init goes on meanwhile. Of one that has failed nothing can be read: what it said is the reason.
        read.and_then(|()| self.release(context)).map_err(|stop| self.told_instead(stop, &blueprint))?;
        Ok(blueprint)
    }

    /// Why a box did not come to be: what its init has told, else what was seen from here.
    fn told_instead(&mut self, stop: Stop, blueprint: &Blueprint) -> Stop {
        watch::hear_the_rest(self, blueprint);
        self.told.failure.take().map_or(stop, Stop::Failed)
    }

    /// Writes the record down once more, with the marks of the box.
    fn write_marks(&self, context: &Context<'_>, claim: &Claim, record: Record) -> Result<(), Stop> {
        let init = self.init.as_ref().ok_or_else(|| refused(Stage::Lock, "the init is gone".to_owned()))?;
        let record = self.facts.marks(record, init.process().pid());
        claim.lock.write_marks(context.host, &record).map_err(|error| failed(Stage::Lock)(&error))
    }

    fn release(&self, context: &mut Context<'_>) -> Result<(), Stop> {
        let init = self.init.as_ref().ok_or_else(|| refused(Stage::Release, "the init is gone".to_owned()))?;
        init.release().map_err(|error| failed(Stage::Release)(&error))?;
        if is(Bug::AttachAfterExec) {
            self.attach_late();
        }
        context.tell(Event::Released);
        Ok(())
    }

    /// Whether a box that waits is as it was left: its init alive, and init and the payload's process members of every
    /// cgroup.
    pub(crate) fn is_sound(&self) -> bool {
        let (Some(init), Some(cgroup)) = (&self.init, &self.cgroup) else { return false };
        let Some(payload) = self.told.prepared.and_then(|prepared| prepared.pid) else { return false };
        !init.process().ends_within(Duration::ZERO) && cgroup.verify_members(&[init.process().pid(), payload]).is_ok()
    }

    /// Gives a box that waits, and is sound, the limits of a run, reads them back, and gives it the program.
    pub(crate) fn start_job(
        &mut self,
        context: &mut Context<'_>,
        claim: &Claim,
        streams: &mut Streams,
        job: &Job,
    ) -> Result<(), Stop> {
        let plan = context.plan;
        let (Some(init), Some(cgroup)) = (&self.init, &mut self.cgroup) else {
            return Err(refused(Stage::Release, "there is no box".to_owned()));
        };
        let old = cgroup.applied().len();
        cgroup.set_limits(&plan.limits, plan.mode).map_err(|error| failed(Stage::Cgroup)(&error))?;
        self.facts.applied.splice(..old.min(self.facts.applied.len()), cgroup.applied().iter().cloned());
        init.give(job, streams.given()).map_err(|error| failed(Stage::Release)(&error))?;
        streams.close_given();
        context.tell(Event::Released);
        // The record is for people, and the payload runs already.
        self.write_marks(context, claim, claim.record_of(plan))
    }

    /// A defect on purpose: the init is attached when its payload is there already.
    fn attach_late(&self) {
        let (Some(init), Some(cgroup)) = (&self.init, &self.cgroup) else { return };
        let mut fds = [rustix::event::PollFd::from_borrowed_fd(init.socket(), rustix::event::PollFlags::IN)];
        let _ready = rustix::event::poll(&mut fds, None);
        for path in cgroup.paths() {
            let _late = std::fs::write(path.join("cgroup.procs"), init.process().pid().to_string());
        }
    }

    /// Asks the kernel whether what was ordered is so. A call that lied is found here.
    fn read_back(&mut self, context: &Context<'_>, blueprint: &Blueprint) -> Result<(), Stop> {
        let (Some(init), Some(cgroup)) = (&self.init, &self.cgroup) else {
            return Err(refused(Stage::ReadBack, "there is no box to read back".to_owned()));
        };
        let pid = init.process().pid();
        if !is(Bug::AttachAfterExec) {
            cgroup.verify_member(pid).map_err(|error| failed(Stage::Attach)(&error))?;
        }
        self.facts.applied = cgroup.applied().to_vec();
        for path in cgroup.paths() {
            self.facts.applied.push(applied(
                "cgroup_membership",
                "init",
                &pid.to_string(),
                path.join("cgroup.procs").display().to_string(),
            ));
        }
        let names = planned_namespaces(context.plan);
        self.facts.read_namespaces(pid, &names)?;
        self.facts.read_guards(&self.told)?;
        self.facts.read_lifeline(context.host, pid, blueprint)?;
        self.facts.read_audit_session(pid, &self.told)
    }
}

/// The directories that a failed creation has left, each with the reason.
fn left_by(error: &rustbox_cgroup::Error) -> Vec<String> {
    let rustbox_cgroup::Error::UndoCreate { undo, .. } = error else { return Vec::new() };
    undo.failures.iter().map(leftover::cgroup).collect()
}

fn attach_fds(cgroup: &BoxCgroup) -> Vec<std::os::fd::BorrowedFd<'_>> {
    if is(Bug::AttachAfterExec) { Vec::new() } else { cgroup.attach_fds() }
}

pub(crate) fn applied(control: &str, requested: &str, read_back: &str, source: impl Into<String>) -> AppliedControl {
    AppliedControl {
        control: control.to_owned(),
        requested: requested.to_owned(),
        read_back: read_back.to_owned(),
        source: source.into(),
    }
}

/// The name of a namespace's control in reports and in configuration.
fn control_name(namespace: &str) -> String {
    let name = match namespace {
        "mnt" => "mount",
        "net" => "network",
        other => other,
    };
    format!("{name}_namespace")
}

impl Facts {
    /// Each namespace of the init must be another one than ours.
    fn read_namespaces(&mut self, pid: u32, names: &[&'static str]) -> Result<(), Stop> {
        let ours = namespace_ids("self", names).map_err(|error| failed(Stage::ReadBack)(&error))?;
        let theirs = namespace_ids(&pid.to_string(), names).map_err(|error| failed(Stage::ReadBack)(&error))?;
        for ((name, ours), theirs) in names.iter().zip(&ours).zip(&theirs) {
            if ours == theirs {
                let detail = format!("the box's init is still in the supervisor's {name} namespace, {ours}");
                return Err(refused(Stage::ReadBack, detail));
            }
            let source = format!("/proc/{pid}/ns/{name}");
            self.applied.push(applied(&control_name(name), "its own", &format!("{name}:[{theirs}]"), source));
            if *name == "pid" {
                (self.supervisor_pid_namespace, self.pid_namespace) = (Some(*ours), Some(*theirs));
            }
        }
        Ok(())
    }

    /// The signal that ties the init's life to ours.
    fn read_guards(&mut self, told: &Told) -> Result<(), Stop> {
        let Some(armed) = told.armed else {
            return Err(refused(Stage::Arm, "the init never said that it is armed".to_owned()));
        };
        if armed.pdeathsig != SIGKILL && !is(Bug::NoDeathGuard) && !is(Bug::NoDeathSignal) {
            let detail = format!("the init's parent-death signal reads {} instead of {SIGKILL}", armed.pdeathsig);
            return Err(refused(Stage::Arm, detail));
        }
        let signal = armed.pdeathsig.to_string();
        self.applied.push(applied("pdeathsig", "9", &signal, "prctl(PR_GET_PDEATHSIG) of the init"));
        Ok(())
    }

    /// The descriptor that the init polls must be a pidfd of this process. The init says that it is armed only after a
    /// first poll of it.
    fn read_lifeline(&mut self, host: &Host, pid: u32, blueprint: &Blueprint) -> Result<(), Stop> {
        let path = format!("/proc/{pid}/fdinfo/{}", blueprint.lifeline_number());
        let text = crate::read::text(&path).map_err(|error| failed(Stage::ReadBack)(&error))?;
        let named = text.lines().find_map(|line| line.strip_prefix("Pid:")).map_or("nobody", str::trim);
        let ours = host.pid().to_string();
        if named != ours {
            let detail = format!("the init's life line is a pidfd of {named}, by {path}, and not of process {ours}");
            return Err(refused(Stage::ReadBack, detail));
        }
        self.applied.push(applied("lifeline", &format!("pidfd of {ours}"), &format!("pidfd of {named}"), path));
        Ok(())
    }

    /// The audit session, where the kernel gives one; it must not be ours.
    fn read_audit_session(&mut self, pid: u32, told: &Told) -> Result<(), Stop> {
        if told.armed.is_none_or(|armed| armed.loginuid_errno != 0) {
            tracing::debug!(errno = told.armed.map(|a| a.loginuid_errno), "no audit session for this box");
            return Ok(());
        }
        let path = format!("/proc/{pid}/sessionid");
        let text = crate::read::text(&path).map_err(|error| failed(Stage::LoginUid)(&error))?;
        let ours = crate::read::text("/proc/self/sessionid").map_err(|error| failed(Stage::LoginUid)(&error))?;
        match text.trim().parse::<u32>() {
            // 4294967295 is "unset" (linux/audit.h).
            Ok(session) if session != u32::MAX && text != ours => {
                self.audit_session = Some(session);
                self.applied.push(applied("audit_session", "its own", text.trim(), path));
                Ok(())
            }
            _ => Err(refused(Stage::LoginUid, format!("{path} reads {:?} after loginuid was written", text.trim()))),
        }
    }

    /// The record with the marks by which the box's processes are recognised.
    fn marks(&self, record: Record, init_pid: u32) -> Record {
        Record {
            supervisor_pid_namespace: self.supervisor_pid_namespace,
            init: starttime(init_pid).map(|starttime_ticks| ProcessKey { pid: init_pid, starttime_ticks }),
            pid_namespace: self.pid_namespace,
            audit_session: self.audit_session,
            ..record
        }
    }
}

/// Field 22 of a process's `stat`.
fn starttime(pid: u32) -> Option<u64> {
    crate::stat::of(pid).map(|stat| stat.starttime_ticks)
}
