//! Runs between `clone3` and `execve`: no allocation, no lock, no `tracing`, no panic.
//!
//! The process that becomes the payload. It takes off everything that a payload must not have, in
//! the order in which each step still has the power it needs, tells init that it is ready, waits
//! until init has read back what the kernel says of it, and executes the program.

use std::ffi::CStr;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, RawFd};

use rustbox_core::{Actor, Stage};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, fstat, openat2, statat};
use rustix::io::Errno;
use rustix::process::{Rlimit, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, Uid, set_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};
use rustix::time::{ClockId, clock_gettime};

use crate::blueprint::{Limit, PayloadPlan};
use crate::message::Message;
use crate::orders::Orders;
use crate::sys;

/// A step that failed, and on which of its items.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    pub(crate) stage: Stage,
    pub(crate) errno: Errno,
    pub(crate) item: u32,
}

impl Failure {
    pub(crate) fn at(stage: Stage) -> impl Fn(Errno) -> Self {
        move |errno| Self { stage, errno, item: 0 }
    }

    pub(crate) fn message(self, actor: Actor) -> Message {
        Message::Failed { actor, stage: self.stage, errno: self.errno.raw_os_error(), item: self.item }
    }
}

/// The child's ends of two pipes to its init.
#[derive(Clone, Copy)]
pub(crate) struct ToInit<'a> {
    pub(crate) tell: BorrowedFd<'a>,
    pub(crate) hear: BorrowedFd<'a>,
}

/// What the payload starts with.
pub(crate) const UMASK: u32 = 0o022;

/// Exit code of a child that did not become the payload; the message says why, this is never judged.
pub(crate) const NOT_STARTED: i32 = 127;

pub(crate) fn monotonic_ns() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

/// CPU time of this process.
pub(crate) fn cpu_ns() -> u64 {
    nanoseconds(ClockId::ProcessCPUTime)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec.cast_unsigned().wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec.cast_unsigned())
}

/// Becomes the payload, or returns the exit code of a child that could not.
pub(crate) fn run(plan: &PayloadPlan, orders: &Orders<'_>, supervisor: BorrowedFd<'_>, init: ToInit<'_>) -> i32 {
    // The limits last: the steps before them need a descriptor more than a payload that may have three.
    let powerless = become_powerless(plan, orders.stdio, orders.cwd, supervisor).and_then(|()| limit(orders.rlimits));
    if let Err(failure) = powerless {
        return give_up(failure, supervisor);
    }
    let Some(init_cpu_ns) = wait_for_go(init) else { return NOT_STARTED };
    start(orders, supervisor, init_cpu_ns)
}

/// Tells what failed.
pub(crate) fn give_up(failure: Failure, supervisor: BorrowedFd<'_>) -> i32 {
    let _ = sys::send_with_fds(supervisor, &failure.message(Actor::Payload).encode(), &[]);
    NOT_STARTED
}

/// Tells that the program begins, and executes it; returns only when that failed.
pub(crate) fn start(orders: &Orders<'_>, supervisor: BorrowedFd<'_>, init_cpu_ns: u64) -> i32 {
    let started = Message::Started { at_ns: monotonic_ns(), setup_cpu_ns: init_cpu_ns + cpu_ns() };
    if sys::send_with_fds(supervisor, &started.encode(), &[]).is_err() {
        return NOT_STARTED;
    }
    let errno = execute(orders);
    let _ = sys::send_with_fds(supervisor, &Message::ExecFailed { errno: errno.raw_os_error() }.encode(), &[]);
    NOT_STARTED
}

/// Takes off everything that a payload must not have.
pub(crate) fn become_powerless(
    plan: &PayloadPlan,
    stdio: [Option<RawFd>; 3],
    cwd: &CStr,
    supervisor: BorrowedFd<'_>,
) -> Result<(), Failure> {
    sys::new_session().map_err(Failure::at(Stage::Session))?;
    match sys::join_session_keyring() {
        // A kernel without keyrings has none to share.
        Ok(()) | Err(Errno::NOSYS) => {}
        Err(errno) => return Err(Failure::at(Stage::Session)(errno)),
    }
    descriptors(plan, stdio).map_err(Failure::at(Stage::Descriptors))?;
    rustix::process::umask(Mode::from_raw_mode(UMASK));
    credentials(plan)?;
    change_directory(cwd).map_err(Failure::at(Stage::Chdir))?;
    for signal in 1..=64 {
        if plan.ignored_signals & (1 << (signal - 1)) != 0 {
            sys::set_default(signal).map_err(Failure::at(Stage::Session))?;
        }
    }
    sys::unblock_all().map_err(Failure::at(Stage::Session))?;
    seccomp(plan, supervisor).map_err(Failure::at(Stage::Seccomp))
}

/// Sets the limits of each process, and reads every one back.
pub(crate) fn limit(rlimits: &[Limit]) -> Result<(), Failure> {
    for limit in rlimits {
        let (value, item) = (Rlimit { current: limit.soft, maximum: limit.hard }, limit.item);
        let failed = |errno| Failure { stage: Stage::Rlimits, errno, item };
        setrlimit(limit.resource, value).map_err(failed)?;
        if getrlimit(limit.resource) != value {
            return Err(failed(Errno::PERM));
        }
    }
    Ok(())
}

/// With the payload's own rights, and never through `/proc/self/fd`: what this process still has open
/// would lead out of the box (CVE-2024-21626), and a symlink in a bind can name it.
fn change_directory(path: &CStr) -> Result<(), Errno> {
    let wanted = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // Closed by the exec, like everything else.
    let directory = ManuallyDrop::new(openat2(CWD, path, wanted, Mode::empty(), ResolveFlags::NO_MAGICLINKS)?);
    rustix::process::fchdir(&*directory)?;
    let (wanted, found) = (fstat(&*directory)?, statat(CWD, c"", AtFlags::EMPTY_PATH)?);
    if (wanted.st_dev, wanted.st_ino) == (found.st_dev, found.st_ino) { Ok(()) } else { Err(Errno::PERM) }
}

/// Puts the three streams in place and marks everything else close-on-exec, but what was asked for.
/// The sources are 3 or higher, so no stream overwrites another's source.
fn descriptors(plan: &PayloadPlan, stdio: [Option<RawFd>; 3]) -> Result<(), Errno> {
    sys::close_range_on_exec(3)?;
    for (target, source) in (0..).zip(stdio) {
        match source {
            Some(source) => sys::duplicate_onto(sys::borrow(source), target)?,
            None => sys::keep_on_exec(sys::borrow(target))?,
        }
    }
    for fd in &plan.pass_fds {
        sys::keep_on_exec(sys::borrow(*fd))?;
    }
    Ok(())
}

/// The change of uid clears the permitted, effective and ambient sets; `capset` the inheritable one.
fn credentials(plan: &PayloadPlan) -> Result<(), Failure> {
    let at = Failure::at(Stage::Credentials);
    let (uid, gid) = (Uid::from_raw(plan.uid), Gid::from_raw(plan.uid));
    set_thread_groups(&[]).map_err(&at)?;
    set_thread_res_gid(gid, gid, gid).map_err(&at)?;
    set_thread_res_uid(uid, uid, uid).map_err(&at)?;
    drop_capabilities().map_err(Failure::at(Stage::Capabilities))?;
    set_no_new_privs(true).map_err(Failure::at(Stage::NoNewPrivs))
}

pub(crate) fn drop_capabilities() -> Result<(), Errno> {
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
}

fn seccomp(plan: &PayloadPlan, supervisor: BorrowedFd<'_>) -> Result<(), Errno> {
    let Some(filter) = plan.filter else { return Ok(()) };
    if !plan.notify {
        return sys::install_filter(filter);
    }
    let listener = sys::install_notifying_filter(filter)?;
    sys::send_with_fds(supervisor, &Message::Listener.encode(), &[listener.as_fd()])
}

/// Tells init that everything is off, and waits. Init answers with its CPU time so far.
pub(crate) fn wait_for_go(init: ToInit<'_>) -> Option<u64> {
    rustix::io::retry_on_intr(|| rustix::io::write(init.tell, &[0; 8])).ok()?;
    let mut answer = [0_u8; 8];
    match rustix::io::retry_on_intr(|| rustix::io::read(init.hear, &mut answer[..])) {
        Ok(8) => Some(u64::from_ne_bytes(answer)),
        _ => None,
    }
}

/// Tries each place in `PATH`. Something that is there but may not be executed is the better answer
/// than that the next place does not have it.
fn execute(orders: &Orders<'_>) -> Errno {
    let mut result = Errno::NOENT;
    let mut rest = orders.candidates;
    while let Ok(candidate) = CStr::from_bytes_until_nul(rest) {
        match sys::execve(candidate, orders.argv, orders.envp) {
            Errno::NOENT | Errno::NOTDIR => {}
            Errno::ACCESS => result = Errno::ACCESS,
            errno => return errno,
        }
        rest = rest.get(candidate.count_bytes() + 1..).unwrap_or_default();
    }
    result
}
