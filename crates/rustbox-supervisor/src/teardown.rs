//! The end of a box: take stock, kill, reap, read what the kernel counted, remove, and say what was
//! seen after the kill. What was not seen stays unknown, and unknown is never clean.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustbox_cgroup::{BoxCgroup, CpuUsage, Emptied, KillMethod};
use rustbox_core::planted::{Bug, is};
use rustbox_core::{
    BoxProcess, Containment, ContainmentVerdict, Ending, Finding, FindingKind, InitEnding, KillReason, MemoryPeakSource,
};
use rustbox_ns::Blueprint;
use rustix::event::poll;
use rustix::time::Timespec;

use crate::claim::Claim;
use crate::clock::{nanoseconds, now_rfc3339};
use crate::leftover;
use crate::progress::{Context, Event};
use crate::proof::{Audited, Closed};
use crate::sandbox::Sandbox;
use crate::stat;
use crate::streams::Streams;
use crate::watch;

/// How long a killed box may take to be gone before it is called a violation. 2,000 processes were
/// measured at 126 ms, a fork bomb at 756 ms; a task in uninterruptible sleep takes as long as it likes.
pub(crate) const KILL_LIMIT: Duration = Duration::from_secs(10);
/// How long the removal of an empty cgroup may take.
const REMOVE_LIMIT: Duration = Duration::from_secs(2);
/// How long a dead task may wait to be reaped, and the kernel's count to follow.
const COUNT_LIMIT: Duration = Duration::from_secs(2);
/// Time between two looks at a count.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// Processes that are described at the kill, at most; the count is exact.
const DESCRIBED_MAX: usize = 256;

/// What the end of a box left to judge.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) init: InitEnding,
    pub(crate) killed_at_ns: u64,
    pub(crate) emptied_at_ns: Option<u64>,
    pub(crate) cpu: Option<CpuUsage>,
    pub(crate) payload_cpu_ns: Option<u64>,
    pub(crate) memory_peak: Option<(u64, MemoryPeakSource)>,
    pub(crate) oom_kills: Option<u64>,
    pub(crate) pids_refusals: Option<u64>,
    pub(crate) operator_kill: bool,
    pub(crate) cleanup_failures: Vec<String>,
    pub(crate) containment: Containment,
}

/// Everything that is known of a dead box while its evidence is put together.
struct Autopsy {
    processes: Vec<BoxProcess>,
    process_count: Option<u64>,
    emptied: Option<Duration>,
    survivors: Option<u64>,
    zombies: Option<u64>,
    doubts: Vec<String>,
    proofs: Vec<String>,
    findings: Vec<Finding>,
    failures: Vec<String>,
    init: Option<OwnedFd>,
}

/// Ends the box, whatever there is of it.
pub(crate) fn end(
    context: &mut Context<'_>,
    claim: Claim,
    mut sandbox: Sandbox,
    streams: &mut Streams,
    blueprint: Option<&Blueprint>,
    reason: &KillReason,
) -> (Ended, Sandbox) {
    let mut autopsy = Autopsy::new();
    let existed = sandbox.init.is_some();
    let init_pid = sandbox.init.as_ref().map(|init| init.process().pid());
    autopsy.take_stock(sandbox.cgroup.as_ref(), init_pid);
    autopsy.failures.extend(sandbox.left.iter().cloned());
    let killed = Instant::now();
    let killed_at_ns = context.clock.elapsed_ns();
    kill(context, &sandbox, reason, &mut autopsy);
    let init = end_of_init(&mut sandbox, blueprint, reason, &mut autopsy);
    autopsy.wait_until_empty(sandbox.cgroup.as_ref(), killed);
    let emptied_at_ns = autopsy.emptied.map(|_| context.clock.elapsed_ns());
    context.tell(Event::Emptied);
    streams.drain();
    let counted = sandbox.cgroup.as_ref();
    let cpu = counted.and_then(|cgroup| cgroup.cpu_usage().ok());
    let payload_cpu_ns = counted.and_then(|cgroup| watch::payload_cpu_ns(cgroup, &sandbox.told, cpu.as_ref()?));
    let mut ended = Ended {
        init,
        killed_at_ns,
        emptied_at_ns,
        cpu,
        payload_cpu_ns,
        memory_peak: counted.and_then(BoxCgroup::memory_peak),
        oom_kills: counted.and_then(BoxCgroup::oom_kills),
        pids_refusals: counted.and_then(BoxCgroup::pids_refusals),
        operator_kill: claim.lock.kill_requested(),
        cleanup_failures: Vec::new(),
        containment: autopsy.containment(&sandbox, None),
    };
    let cgroups = sandbox.cgroup.as_ref().map(BoxCgroup::paths).unwrap_or_default();
    let removed = autopsy.remove(sandbox.cgroup.take());
    if existed {
        let init = autopsy.init.take();
        let uid = claim.lease.uid();
        let closed = Closed { facts: &sandbox.facts, uid, init, cgroups, removed: removed == Some(true) };
        autopsy.audited(closed.audit(context));
    }
    let containment = autopsy.containment(&sandbox, removed);
    release(context, claim, &mut autopsy, containment.verdict);
    context.tell(Event::Removed);
    ended.containment = autopsy.containment(&sandbox, removed);
    ended.cleanup_failures = autopsy.failures;
    (ended, sandbox)
}

fn kill(context: &mut Context<'_>, sandbox: &Sandbox, reason: &KillReason, autopsy: &mut Autopsy) {
    let why = reason_text(reason);
    context.tell(Event::Killing { reason: why.clone() });
    if let Some(cgroup) = &sandbox.cgroup {
        match cgroup.kill() {
            Ok(method) => context.did(method_text(method), why.clone()),
            Err(error) => autopsy.doubts.push(chain("the box's cgroup could not be killed", &error)),
        }
    }
    if let Some(init) = &sandbox.init {
        match init.process().kill() {
            Ok(()) => context.did("SIGKILL to the box's init through its pidfd", why),
            Err(error) => autopsy.doubts.push(chain("the box's init could not be killed", &error)),
        }
    }
}

fn method_text(method: KillMethod) -> String {
    match method {
        KillMethod::CgroupKill => "cgroup.kill".to_owned(),
        KillMethod::FreezeAndPidfds { signals } => format!("freeze, SIGKILL to {signals} processes, thaw"),
        KillMethod::PidfdLoop { signals } => format!("SIGKILL to {signals} processes"),
        KillMethod::Gone => "nothing: the cgroup was gone already".to_owned(),
    }
}

/// Why the box was killed, in words.
pub(crate) fn reason_text(reason: &KillReason) -> String {
    match reason {
        KillReason::MainEnded => "the main process ended".to_owned(),
        KillReason::CpuTime => "CPU time limit".to_owned(),
        KillReason::WallTime => "wall time limit".to_owned(),
        KillReason::OutOfMemory => "out of memory".to_owned(),
        KillReason::Output => "output limit".to_owned(),
        KillReason::Seccomp { number, name } => {
            format!("denied system call {}", name.clone().unwrap_or_else(|| number.to_string()))
        }
        KillReason::Interrupted { signal } => format!("rustbox received signal {signal}"),
        KillReason::Operator => "an operator asked for it".to_owned(),
        KillReason::SetupFailed => "the box could not be set up".to_owned(),
        KillReason::InitEnded => "the box's init had ended".to_owned(),
    }
}

/// An error with all of its causes, in one line.
pub(crate) fn chain(what: &str, error: &dyn std::error::Error) -> String {
    format!("{what}: {}", chain_of(error))
}

/// An error with all of its causes.
pub(crate) fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}

/// Waits for the init, hears its last words, and reaps it.
fn end_of_init(
    sandbox: &mut Sandbox,
    blueprint: Option<&Blueprint>,
    reason: &KillReason,
    autopsy: &mut Autopsy,
) -> InitEnding {
    let Some(init) = &sandbox.init else { return InitEnding::AsTold };
    if !init.process().ends_within(KILL_LIMIT) {
        let state = stat::describe(init.process().pid());
        autopsy.doubts.push(format!(
            "{}: the box's init, process {} in state {}, did not die within {} s",
            leftover::TIMEOUT,
            state.pid,
            state.state.unwrap_or('?'),
            KILL_LIMIT.as_secs()
        ));
        return InitEnding::Unknown;
    }
    if let Some(blueprint) = blueprint {
        watch::hear_the_rest(sandbox, blueprint);
    }
    let Some(init) = sandbox.init.take() else { return InitEnding::Unknown };
    let reaped = init.into_process().reap();
    let ending = reaped.map(|reaped| {
        autopsy.init = Some(reaped.pidfd);
        reaped.ending
    });
    match ending {
        Ok(Ending::Signaled(9)) if *reason == KillReason::InitEnded => InitEnding::KilledByOther,
        Ok(Ending::Signaled(9)) => InitEnding::AsTold,
        Ok(Ending::Exited(0)) if sandbox.told.last.is_some_and(|last| last.empty) => InitEnding::AsTold,
        Ok(Ending::Exited(1)) if sandbox.told.failure.is_some() || sandbox.told.backstop => InitEnding::AsTold,
        Ok(Ending::Exited(1)) if *reason == KillReason::SetupFailed => InitEnding::AsTold,
        Ok(Ending::Exited(code)) => {
            autopsy.failures.push(format!("the box's init ended by itself with code {code}"));
            InitEnding::Unexpected
        }
        Ok(Ending::Signaled(signal)) => {
            autopsy.failures.push(format!("the box's init was ended by signal {signal}"));
            InitEnding::Unexpected
        }
        Err(error) => {
            autopsy.doubts.push(chain(leftover::REAP, &error));
            InitEnding::Unknown
        }
    }
}

/// Gives the names back, if nothing is left that they stand for.
fn release(context: &Context<'_>, claim: Claim, autopsy: &mut Autopsy, verdict: ContainmentVerdict) {
    let host = context.host;
    let before = autopsy.failures.len();
    if verdict == ContainmentVerdict::Contained {
        if let Err(error) = claim.lock.remove(host) {
            let path = host.boxes_path().join(context.id.as_str());
            let failure = chain("the box's directory was not removed", &error);
            autopsy.failures.push(leftover::directory(&path, failure));
        }
        if let Err(error) = claim.lease.end(host) {
            autopsy.failures.push(chain("the uid was not given back", &error));
        }
    } else {
        autopsy
            .failures
            .push("the box's record and uid are kept until somebody has looked: rustbox cleanup".to_owned());
        let found = autopsy.findings.iter().map(|finding| finding.what.as_str());
        let why: Vec<&str> = found.chain(autopsy.doubts.iter().map(String::as_str)).collect();
        if let Err(error) = claim.lock.keep(host, &why.join("\n")) {
            autopsy.failures.push(chain("the record could not be marked", &error));
        }
    }
    let is_over = autopsy.failures.len() == before;
    let keeper = claim.keeper;
    if let Err(error) = if is_over { keeper.release(host) } else { keeper.dismiss() } {
        autopsy.failures.push(chain("the keeper could not be dismissed", &error));
    }
}

impl Autopsy {
    fn new() -> Self {
        Self {
            processes: Vec::new(),
            process_count: None,
            emptied: None,
            survivors: None,
            zombies: None,
            doubts: Vec::new(),
            proofs: Vec::new(),
            findings: Vec::new(),
            failures: Vec::new(),
            init: None,
        }
    }

    /// Adds what the audit of the box came to.
    fn audited(&mut self, audited: Audited) {
        self.proofs = audited.proofs;
        self.findings.extend(audited.findings);
        self.doubts.extend(audited.doubts);
    }

    /// Who is in the box now, its init left out.
    fn take_stock(&mut self, cgroup: Option<&BoxCgroup>, init_pid: Option<u32>) {
        let Some(Ok(mut members)) = cgroup.map(BoxCgroup::members) else { return };
        members.retain(|pid| Some(*pid) != init_pid);
        self.process_count = u64::try_from(members.len()).ok();
        self.processes = members.into_iter().take(DESCRIBED_MAX).map(stat::describe).collect();
    }

    fn wait_until_empty(&mut self, cgroup: Option<&BoxCgroup>, killed: Instant) {
        let Some(cgroup) = cgroup else { return };
        if is(Bug::ReportWithoutReading) {
            (self.emptied, self.survivors, self.zombies) = (Some(killed.elapsed()), Some(0), Some(0));
            return;
        }
        match cgroup.wait_empty(KILL_LIMIT) {
            Ok(Emptied::Empty { .. } | Emptied::Removed { .. }) => self.emptied = Some(killed.elapsed()),
            Ok(Emptied::Populated { members, .. }) => {
                for pid in members.unwrap_or_default() {
                    self.survivor(pid);
                }
            }
            Err(error) => self.doubts.push(chain("whether the box is empty could not be read", &error)),
        }
        self.survivors = match cgroup.members() {
            Ok(members) => u64::try_from(members.len()).ok(),
            Err(error) if error.is_gone() => Some(0),
            Err(error) => {
                self.doubts.push(chain("the box's members could not be read", &error));
                None
            }
        };
        self.count_zombies(cgroup);
    }

    /// Tasks that are dead and not reaped: those that the pids controller still counts. Its count may
    /// lag for a moment.
    fn count_zombies(&mut self, cgroup: &BoxCgroup) {
        let deadline = Instant::now() + COUNT_LIMIT;
        loop {
            let living = self.survivors.unwrap_or(0);
            self.zombies = cgroup.pids_current().map(|tasks| tasks.saturating_sub(living));
            if self.zombies.unwrap_or(0) == 0 {
                return;
            }
            if Instant::now() >= deadline {
                break;
            }
            let _ = poll(&mut [], Timespec::try_from(LOOK_AGAIN).ok().as_ref());
        }
        let what = format!("{}: {} tasks of the box are dead", leftover::REAP, self.zombies.unwrap_or(0));
        self.findings.push(Finding::new(FindingKind::ZombieDetected, what));
    }

    fn survivor(&mut self, pid: u32) {
        let seen = stat::describe(pid);
        let what = format!("{}: process {pid} is alive {} s after the kill", leftover::TIMEOUT, KILL_LIMIT.as_secs());
        let mut finding = Finding::new(FindingKind::PostCleanupLeak, what);
        (finding.comm, finding.state) = (seen.comm, seen.state);
        finding.process = seen.starttime_ticks.map(|starttime_ticks| rustbox_core::ProcessKey { pid, starttime_ticks });
        self.findings.push(finding);
    }

    /// Removes the cgroups; the kernel refuses that while anything is in them.
    fn remove(&mut self, cgroup: Option<BoxCgroup>) -> Option<bool> {
        match cgroup?.remove(REMOVE_LIMIT) {
            Ok(()) => Some(true),
            Err(error) => {
                self.failures.extend(error.failures.iter().map(leftover::cgroup));
                Some(false)
            }
        }
    }

    /// The evidence as it stands.
    fn containment(&mut self, sandbox: &Sandbox, cgroup_removed: Option<bool>) -> Containment {
        let existed = self.process_count.is_some() || self.survivors.is_some();
        let mut doubts = self.doubts.clone();
        if existed && cgroup_removed != Some(true) {
            doubts.push("the box's cgroups were not removed".to_owned());
        }
        // Nothing was ever in a cgroup whose creation failed, but it is there.
        if !sandbox.left.is_empty() {
            doubts.push("what was made of the box's cgroups was not removed".to_owned());
        }
        if existed && self.emptied.is_none() {
            doubts.push("the box was not seen empty".to_owned());
        }
        if existed && self.survivors.is_none() {
            doubts.push("the box's members are unknown".to_owned());
        }
        let violated = !self.findings.is_empty() || self.survivors.unwrap_or(0) > 0;
        let verdict = match (violated, doubts.is_empty()) {
            (true, _) => ContainmentVerdict::Violated,
            (false, true) => ContainmentVerdict::Contained,
            (false, false) => ContainmentVerdict::Unknown,
        };
        let session = sandbox.told.started.and_then(|started| started.pid);
        let left = session.map(|main| self.processes.iter().filter(|p| p.session.is_some_and(|s| s != main)).count());
        Containment {
            verdict,
            doubts,
            processes_at_kill: self.processes.clone(),
            processes_at_kill_count: self.process_count,
            left_session: left.and_then(|count| u64::try_from(count).ok()),
            survivors: self.survivors,
            zombies: self.zombies,
            reaped_descendants: sandbox.told.last.map(|last| last.descendants),
            populated_zero_ns: self.emptied.map(nanoseconds),
            cgroup_removed,
            supervisor_pid_namespace: sandbox.facts.supervisor_pid_namespace,
            pid_namespace: sandbox.facts.pid_namespace,
            audit_session: sandbox.facts.audit_session,
            proofs: self.proofs.clone(),
            findings: self.findings.clone(),
        }
    }
}

/// Fills in what every finding of one run has in common.
pub(crate) fn complete(findings: &mut [Finding], context: &Context<'_>) {
    for finding in findings {
        finding.box_id = Some(context.id.clone());
        finding.kernel = context.host.kernel();
        finding.first_seen = now_rfc3339();
        finding.last_seen.clone_from(&finding.first_seen);
        finding.escalate = true;
    }
}
