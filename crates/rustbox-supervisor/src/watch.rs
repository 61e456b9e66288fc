//! The one poll loop of a run: what the init tells, limits, output, signals.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustbox_cgroup::{BoxCgroup, CpuUsage};
use rustbox_core::{Actor, CpuSet, KillReason, Limits, SetupFailure, Stage, WaitFor};
use rustbox_ns::{Blueprint, Init, take_denied_call};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::Timespec;

use crate::clock::monotonic_ns;
use crate::error::Error;
use crate::progress::{Context, Event};
use crate::sandbox::{Sandbox, Stop};
use crate::streams::Streams;
use crate::told::Told;

/// How long the init and the payload's child may take from the release to the exec.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(60);
/// Shortest time between two looks at the CPU time used: the kernel's own account of a running
/// process is no finer than a tick.
const CPU_LOOK: Duration = Duration::from_millis(1);
/// Longest time between two looks.
const CPU_LOOK_MAX: Duration = Duration::from_secs(5);

/// Waits until the init is armed.
pub(crate) fn until_armed(
    context: &Context<'_>,
    init: &Init,
    told: &mut Told,
    blueprint: &Blueprint,
    deadline: Instant,
) -> Result<(), Stop> {
    until_told(context, init, told, blueprint, deadline, Stage::Arm, |told| told.armed.is_some())
}

/// Waits until a box whose program comes later has done all that it can without it.
pub(crate) fn until_prepared(
    context: &Context<'_>,
    init: &Init,
    told: &mut Told,
    blueprint: &Blueprint,
) -> Result<(), Stop> {
    let deadline = Instant::now() + START_LIMIT;
    until_told(context, init, told, blueprint, deadline, Stage::Release, |told| told.prepared.is_some())
}

/// Waits until something was told; `stage` is where the box is until then.
fn until_told(
    context: &Context<'_>,
    init: &Init,
    told: &mut Told,
    blueprint: &Blueprint,
    deadline: Instant,
    stage: Stage,
    is_told: impl Fn(&Told) -> bool,
) -> Result<(), Stop> {
    while !is_told(told) {
        let mut fds = vec![PollFd::from_borrowed_fd(init.socket(), PollFlags::IN)];
        fds.extend(context.io.interrupt.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let ready = wait(&mut fds, Some(deadline)).map_err(|error| broken(stage, &error))?;
        if happened(&ready, 1) {
            return Err(Stop::Killed(interrupted(context)));
        }
        if !happened(&ready, 0) {
            // Nothing happened: a signal handler of the calling program ran, or the time is over.
            if Instant::now() < deadline {
                continue;
            }
            return Err(late(stage, &format!("the box's init did not {stage} in time")));
        }
        listen(init, told, blueprint).map_err(|error| broken(stage, &error))?;
        if let Some(failure) = told.failure.take() {
            return Err(Stop::Failed(failure));
        }
        if told.over {
            return Err(late(stage, &format!("the box's init died before it could {stage}")));
        }
    }
    Ok(())
}

fn broken(stage: Stage, error: &Error) -> Stop {
    late(stage, &describe(error))
}

fn describe(error: &Error) -> String {
    crate::teardown::chain_of(error)
}

fn late(stage: Stage, detail: &str) -> Stop {
    Stop::Failed(failed(stage, Actor::Init, detail.to_owned()))
}

fn failed(stage: Stage, actor: Actor, detail: String) -> SetupFailure {
    SetupFailure { stage, actor, errno: None, detail }
}

/// Polls; says of each descriptor what happened to it. Nothing at all at the deadline.
fn wait(fds: &mut [PollFd<'_>], deadline: Option<Instant>) -> Result<Vec<PollFlags>, Error> {
    let timeout = deadline.map(|at| at.saturating_duration_since(Instant::now()));
    let timeout = timeout.and_then(|left| Timespec::try_from(left).ok());
    match poll(fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(fds.iter().map(PollFd::revents).collect()),
        Err(errno) => Err(Error::call("poll")(errno)),
    }
}

fn happened(ready: &[PollFlags], index: usize) -> bool {
    ready.get(index).is_some_and(|flags| !flags.is_empty())
}

/// Takes one record, which is there.
fn listen(init: &Init, told: &mut Told, blueprint: &Blueprint) -> Result<(), Error> {
    match init.receive()? {
        Some(received) => told.hear(received, blueprint),
        None => told.over = true,
    }
    Ok(())
}

fn interrupted(context: &Context<'_>) -> KillReason {
    KillReason::Interrupted { signal: signal_number(context) }
}

/// Which signal it was: the first word of a `signalfd_siginfo`.
pub(crate) fn signal_number(context: &Context<'_>) -> i32 {
    let mut record = [0_u8; 128];
    let read = context.io.interrupt.map(|fd| rustix::io::read(fd, &mut record[..]));
    let number = match read {
        Some(Ok(_)) => record.first_chunk().map_or(0, |word| u32::from_ne_bytes(*word)),
        _ => 0,
    };
    number.cast_signed()
}

/// When the limits are reached, as far as is known.
struct Deadlines {
    wall: Option<Instant>,
    start: Instant,
    look_at_cpu: Option<Instant>,
    /// An announced kill for memory that the kernel has not counted yet: when to look again, and until when.
    look_at_memory: Option<(Instant, Instant)>,
    cpus: u32,
}

impl Deadlines {
    fn new(limits: &Limits) -> Self {
        // Counting the CPUs costs calls, and only the CPU limit asks for it.
        let cpus = if limits.cpu_time.is_some() { usable_cpus(limits) } else { 1 };
        Self { wall: None, start: Instant::now() + START_LIMIT, look_at_cpu: None, look_at_memory: None, cpus }
    }

    /// The payload is being executed: the clocks start.
    fn begin(&mut self, limits: &Limits, started_ns: u64) {
        let ago = Duration::from_nanos(monotonic_ns().saturating_sub(started_ns));
        let start = Instant::now().checked_sub(ago).unwrap_or_else(Instant::now);
        self.wall = limits.wall_time.map(|limit| start + limit);
        self.look_at_cpu = limits.cpu_time.map(|limit| self.next_look(limit + limits.extra_time));
    }

    /// All CPUs together cannot use up what is left before this.
    fn next_look(&self, left: Duration) -> Instant {
        Instant::now() + (left / self.cpus).clamp(CPU_LOOK, CPU_LOOK_MAX)
    }

    fn next(&self, started: bool) -> Option<Instant> {
        let memory = self.look_at_memory.map(|(at, _)| at);
        let start = (!started).then_some(self.start);
        [start, self.wall, self.look_at_cpu, memory].into_iter().flatten().min()
    }

    /// The kernel has announced a kill for memory. On cgroup v1 that comes before the kill, which may take its time
    /// on a busy host; nothing else is announced when it happens.
    fn expect_memory_kill(&mut self) {
        let now = Instant::now();
        self.look_at_memory = Some((now + OOM_LOOK, now + OOM_LAG));
    }

    /// Whether to look at the kernel's count of kills now.
    fn is_memory_due(&mut self, now: Instant) -> bool {
        let Some((at, until)) = self.look_at_memory else { return false };
        if now < at {
            return false;
        }
        // An announcement without a kill is no end.
        self.look_at_memory = (now < until).then_some((now + OOM_LOOK, until));
        true
    }
}

/// CPUs assumed where the kernel does not tell: looking too often costs little.
const CPUS_ASSUMED: usize = 64;

/// How many CPUs the box can keep busy at once. Those that are online, not those that this process may
/// use: a payload can widen an affinity that it inherited.
fn usable_cpus(limits: &Limits) -> u32 {
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online").ok();
    let online = online.and_then(|list| list.trim_end().parse::<CpuSet>().ok()).map_or(CPUS_ASSUMED, |set| set.count());
    let set = limits.cpuset.as_ref().map_or(online, CpuSet::count);
    let rate = limits.cpus.map_or(usize::MAX, |rate| usize::try_from(rate.milli_cpus.div_ceil(1000)).unwrap_or(1));
    u32::try_from(set.min(rate).max(1)).unwrap_or(1)
}

/// CPU time that the payload has used so far.
fn payload_cpu_now(cgroup: &BoxCgroup, told: &Told) -> Option<u64> {
    payload_cpu_ns(cgroup, told, &cgroup.cpu_usage().ok()?)
}

/// CPU time of the payload: the box's, less what setting it up cost.
pub(crate) fn payload_cpu_ns(cgroup: &BoxCgroup, told: &Told, used: &CpuUsage) -> Option<u64> {
    let started = told.started?;
    let attach = told.armed.map_or(0, |armed| armed.attach_cpu_ns);
    // Where CPU time is counted in a v2 directory, init was born there and nothing is left out.
    let uncounted = if cgroup.clone_into().is_some() { 0 } else { attach };
    Some(used.total_ns.saturating_sub(started.setup_cpu_ns.saturating_sub(uncounted)))
}

/// Watches a released box until there is a reason to kill it.
pub(crate) fn until_over(
    context: &mut Context<'_>,
    sandbox: &mut Sandbox,
    streams: &mut Streams,
    blueprint: &Blueprint,
) -> KillReason {
    let limits = &context.plan.limits;
    let mut deadlines = Deadlines::new(limits);
    let mut started = false;
    loop {
        if let Some(reason) = settled(context, &sandbox.told) {
            return reason;
        }
        if let (false, Some(start)) = (started, sandbox.told.started) {
            started = true;
            deadlines.begin(limits, start.at_ns);
            context.tell(Event::Started { payload_pid: start.pid });
        }
        match step(context, sandbox, streams, blueprint, &mut deadlines) {
            Ok(Some(reason)) => return reason,
            Ok(None) => {}
            Err(error) => {
                sandbox.told.failure.get_or_insert_with(|| failed(Stage::Wait, Actor::Supervisor, describe(&error)));
                return KillReason::SetupFailed;
            }
        }
        if let Some(reason) = overdue(sandbox, limits, &mut deadlines, started) {
            if reason == KillReason::SetupFailed {
                let detail = format!("the program was not executed within {} s", START_LIMIT.as_secs());
                sandbox.told.failure.get_or_insert_with(|| failed(Stage::Wait, Actor::Init, detail));
            }
            // What happened before the limit may not be heard yet, if we were not scheduled for a while.
            hear_the_rest(sandbox, blueprint);
            return settled(context, &sandbox.told).unwrap_or(reason);
        }
    }
}

/// Whether what was told ends the run.
fn settled(context: &Context<'_>, told: &Told) -> Option<KillReason> {
    if told.failure.is_some() {
        return Some(KillReason::SetupFailed);
    }
    let empty = told.last.is_some_and(|last| last.empty);
    let main_over = told.main.is_some() && told.last.is_some() && context.plan.wait == WaitFor::Main;
    if empty || main_over {
        return Some(KillReason::MainEnded);
    }
    if told.backstop {
        return Some(KillReason::WallTime);
    }
    told.over.then_some(KillReason::InitEnded)
}

/// Which descriptor is which in the list that is polled.
const SOCKET: usize = 0;
const INIT: usize = 1;
const FIXED: usize = 2;

#[derive(Clone, Copy)]
enum Extra {
    Interrupt,
    Memory,
    Seccomp,
}

/// Waits once, and deals with what happened.
fn step(
    context: &Context<'_>,
    sandbox: &mut Sandbox,
    streams: &mut Streams,
    blueprint: &Blueprint,
    deadlines: &mut Deadlines,
) -> Result<Option<KillReason>, Error> {
    let deadline = deadlines.next(sandbox.told.started.is_some());
    let (Some(init), Some(cgroup)) = (&sandbox.init, &sandbox.cgroup) else { return Ok(Some(KillReason::SetupFailed)) };
    let mut extras: Vec<(Extra, BorrowedFd<'_>, PollFlags)> = Vec::with_capacity(3);
    extras.extend(context.io.interrupt.map(|fd| (Extra::Interrupt, fd, PollFlags::IN)));
    if let Some(watch) = cgroup.oom_event_fd() {
        extras.push((Extra::Memory, watch.fd, PollFlags::from_bits_retain(watch.events.cast_unsigned())));
    }
    let listener = sandbox.told.listener.as_ref();
    extras.extend(listener.map(|fd| (Extra::Seccomp, std::os::fd::AsFd::as_fd(fd), PollFlags::IN)));
    let ready = {
        let init_fds = [init.socket(), init.process().pidfd()];
        let mut fds: Vec<_> = init_fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).into();
        fds.extend(extras.iter().map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)));
        fds.extend(streams.watched());
        wait(&mut fds, deadline)?
    };
    for (index, (extra, fd, flags)) in extras.iter().enumerate() {
        // Not on a hang-up: taking from a listener whose last process is gone would wait for ever.
        if ready.get(FIXED + index).is_some_and(|got| got.intersects(*flags))
            && let Some(reason) = extra_reason(context, cgroup, *extra, *fd, deadlines)
        {
            return Ok(Some(reason));
        }
    }
    if streams.pump() {
        return Ok(Some(KillReason::Output));
    }
    if happened(&ready, SOCKET) {
        listen(init, &mut sandbox.told, blueprint)?;
    } else if happened(&ready, INIT) {
        // Dead, and nothing more to hear.
        sandbox.told.over = true;
    }
    Ok(None)
}

fn extra_reason(
    context: &Context<'_>,
    cgroup: &BoxCgroup,
    extra: Extra,
    fd: BorrowedFd<'_>,
    deadlines: &mut Deadlines,
) -> Option<KillReason> {
    match extra {
        Extra::Interrupt => Some(interrupted(context)),
        Extra::Memory if !cgroup.oom_happened().unwrap_or(false) => None,
        Extra::Memory if has_killed_for_memory(cgroup) => Some(KillReason::OutOfMemory),
        Extra::Memory => {
            deadlines.expect_memory_kill();
            None
        }
        Extra::Seccomp => match take_denied_call(fd) {
            Ok(call) => Some(KillReason::Seccomp { number: call.number, name: call.name.map(str::to_owned) }),
            // The caller was killed meanwhile.
            Err(_) => None,
        },
    }
}

/// How long the kernel's kill may lag behind the event that announces it (cgroup v1).
const OOM_LAG: Duration = Duration::from_secs(2);
/// Time between two looks at the kernel's count meanwhile.
const OOM_LOOK: Duration = Duration::from_millis(1);

/// Whether the kernel has killed for memory: its count, which is the only evidence; one that cannot be read is no no.
fn has_killed_for_memory(cgroup: &BoxCgroup) -> bool {
    cgroup.oom_kills() != Some(0)
}

/// Whether a limit is reached; moves the next look at the CPU time on.
fn overdue(sandbox: &Sandbox, limits: &Limits, deadlines: &mut Deadlines, started: bool) -> Option<KillReason> {
    let now = Instant::now();
    if deadlines.is_memory_due(now) && sandbox.cgroup.as_ref().is_some_and(has_killed_for_memory) {
        return Some(KillReason::OutOfMemory);
    }
    if !started {
        return (now >= deadlines.start).then_some(KillReason::SetupFailed);
    }
    if deadlines.wall.is_some_and(|at| now >= at) {
        return Some(KillReason::WallTime);
    }
    let limit = limits.cpu_time.filter(|_| deadlines.look_at_cpu.is_some_and(|at| now >= at))? + limits.extra_time;
    let used = sandbox.cgroup.as_ref().and_then(|cgroup| payload_cpu_now(cgroup, &sandbox.told));
    let left = used.map_or(Duration::ZERO, |used| limit.saturating_sub(Duration::from_nanos(used)));
    if used.is_some() && left.is_zero() {
        return Some(KillReason::CpuTime);
    }
    deadlines.look_at_cpu = Some(deadlines.next_look(left));
    None
}

/// Takes everything that the init still said before it died.
pub(crate) fn hear_the_rest(sandbox: &mut Sandbox, blueprint: &Blueprint) {
    let Some(init) = &sandbox.init else { return };
    while !sandbox.told.over {
        let mut fds = [PollFd::from_borrowed_fd(init.socket(), PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if !matches!(poll(&mut fds, Some(&now)), Ok(1)) || listen(init, &mut sandbox.told, blueprint).is_err() {
            return;
        }
    }
}
