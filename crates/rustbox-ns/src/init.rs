//! Runs between `clone3` and the end of the box: no allocation, no lock, no `tracing`, no panic.
//!
//! Pid 1 of the box. It lives for one thing: when it dies, the kernel kills everything else in its
//! PID namespace. So it must die with its supervisor, and two layers see to that, each of which
//! covers the other's failure: the parent-death signal (kernel, works on a wedged init) and a
//! pidfd of the supervisor in every wait (code, works where the signal was lost).
//!
//! 1. Arm: parent-death signal, name, no core dump, close every descriptor that is not needed,
//!    look whether the supervisor still lives, attach to cgroup v1, take an audit session, give up what would be a place
//!    before others, enter
//!    the network namespace if there is one already, make the cgroup namespace, leave the host's mounts if there is an
//!    empty mount namespace to begin from, say *armed*.
//! 2. Build the root, take the host's away, drop the bounding set: in namespaces that nobody else has seen, so that this
//!    need not wait until the supervisor has read back where init is. Then wait for GO. Anything but GO, end-of-file
//!    included, is death. Start the payload's child.
//! 3. Read back what the kernel says of that child. Release it: to execute the program, or, in a box that is prepared
//!    before its program is known, to say *prepared* and to wait for it. Drop all capabilities.
//! 4. Reap until told otherwise: report the main process's end, then wait to be killed, or leave
//!    when nothing is left.
//!
//! Descriptors: one end of the supervisor's socket, the supervisor's pidfd, a signalfd, what
//! cgroup v1 and the mounts need. The payload gets none of them.

use std::convert::Infallible;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustbox_core::planted::{Bug, is};
use rustbox_core::{Actor, Stage};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{DumpableBehavior, Signal, set_dumpable_behavior, set_parent_process_death_signal};
use rustix::thread::{
    CapabilitySet, LinkNameSpaceType, move_into_link_name_space, remove_capability_from_bounding_set,
};
use rustix::time::Timespec;

use crate::blueprint::{Blueprint, PayloadPlan, Program};
use crate::child::{self, Failure, ToInit, cpu_ns};
use crate::later;
use crate::message::Message;
use crate::orders::Orders;
use crate::reap::{Main, Term, reap};
use crate::root::{self, Shown};
use crate::status_file::{STATUS_BYTES, StatusFile};
use crate::sys;

/// What the supervisor sends to release init; anything else is death.
pub(crate) const GO: &[u8; 8] = b"rbx-go!\n";

/// Exit code of an init that gave up before the payload ran.
pub(crate) const GAVE_UP: i32 = 1;
/// Exit code of an init whose supervisor is dead; nobody is left to read it.
pub(crate) const ORPHANED: i32 = 2;

/// Runs the box's init; the value is its exit code.
pub(crate) fn run(plan: &Blueprint, supervisor: BorrowedFd<'_>) -> i32 {
    let prepared = arm(plan, supervisor).and_then(|shown| prepare(plan, shown));
    let released = prepared.and_then(|children| wait_for_go(supervisor).map(|()| children));
    let orders = Orders::of(plan);
    let never = released.and_then(|children| run_payload(plan, &orders, supervisor, children));
    never.map_or_else(|failure| give_up(supervisor, failure), |never| match never {})
}

/// Tells what failed, and leaves: the kernel kills what is left.
pub(crate) fn give_up(supervisor: BorrowedFd<'_>, failure: Failure) -> i32 {
    let _ = sys::send_with_fds(supervisor, &failure.message(Actor::Init).encode(), &[]);
    GAVE_UP
}

pub(crate) fn say(supervisor: BorrowedFd<'_>, message: Message, stage: Stage) -> Result<(), Failure> {
    sys::send_with_fds(supervisor, &message.encode(), &[]).map_err(Failure::at(stage))
}

/// Returns what the box shows of the host, where that is left already.
fn arm(plan: &Blueprint, supervisor: BorrowedFd<'_>) -> Result<Option<Shown>, Failure> {
    arm_death_signal().map_err(Failure::at(Stage::Arm))?;
    rustix::thread::set_name(c"rustbox-init").map_err(Failure::at(Stage::Arm))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Failure::at(Stage::Arm))?;
    for (first, last) in &plan.close_ranges {
        sys::close_range(*first, *last).map_err(Failure::at(Stage::Descriptors))?;
    }
    if !plan.pid_namespace {
        rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1)).map_err(Failure::at(Stage::Arm))?;
    }
    die_if_orphaned(plan);
    let attach_cpu_ns = attach(plan).map_err(Failure::at(Stage::Attach))?;
    let loginuid_errno = take_audit_session(plan).err().map_or(0, Errno::raw_os_error);
    plan.inherited.leave().map_err(Failure::at(Stage::Inherited))?;
    if let Some(network) = &plan.network {
        let entered = move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network));
        entered.map_err(Failure::at(Stage::Network))?;
    }
    if plan.cgroup_namespace {
        // After the attach: the namespace's root is the cgroup that its maker is in.
        sys::unshare(libc::CLONE_NEWCGROUP.unsigned_abs()).map_err(Failure::at(Stage::CgroupNamespace))?;
    }
    let shown = match (&plan.root, plan.empty) {
        (Some(root), Some(empty)) => Some(root::leave_host(root, sys::borrow(empty))?),
        _ => None,
    };
    let pdeathsig = rustix::process::parent_process_death_signal().map_err(Failure::at(Stage::Arm))?;
    let pdeathsig = pdeathsig.map_or(0, |signal| signal.as_raw().unsigned_abs());
    say(supervisor, Message::Armed { pdeathsig, attach_cpu_ns, loginuid_errno }, Stage::Arm)?;
    Ok(shown)
}

fn arm_death_signal() -> Result<(), Errno> {
    let signal = (!is(Bug::NoDeathSignal) && !is(Bug::NoDeathGuard)).then_some(Signal::KILL);
    set_parent_process_death_signal(signal)
}

/// What is asked of the supervisor's pidfd: whether it has ended.
pub(crate) fn guard() -> PollFlags {
    if is(Bug::NoLifeLine) || is(Bug::NoDeathGuard) { PollFlags::empty() } else { PollFlags::IN }
}

/// The supervisor may have died between `clone3` and the arming of the signal.
fn die_if_orphaned(plan: &Blueprint) {
    let mut supervisor = [PollFd::from_borrowed_fd(plan.supervisor_pidfd.as_fd(), guard())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut supervisor, Some(&now)) != Ok(0) {
        sys::exit_now(ORPHANED);
    }
}

/// Enters the cgroup v1 hierarchies, with the one thread that there is: that waits for nobody (Linux 5.5).
fn attach(plan: &Blueprint) -> Result<u64, Errno> {
    if plan.attach.is_empty() {
        return Ok(0);
    }
    for fd in &plan.attach {
        rustix::io::retry_on_intr(|| rustix::io::write(sys::borrow(*fd), b"0"))?;
    }
    Ok(cpu_ns())
}

/// A new audit session, which every descendant inherits and none can leave: `/proc/self/loginuid`
/// may be written with CAP_AUDIT_CONTROL only, which the payload does not have.
fn take_audit_session(plan: &Blueprint) -> Result<(), Errno> {
    let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC;
    let file = rustix::fs::openat(rustix::fs::CWD, c"/proc/self/loginuid", flags, rustix::fs::Mode::empty())?;
    rustix::io::write(&file, plan.loginuid.to_bytes()).map(|_| ())
}

fn wait_for_go(supervisor: BorrowedFd<'_>) -> Result<(), Failure> {
    let mut order = [0; GO.len()];
    match rustix::io::retry_on_intr(|| rustix::io::read(supervisor, &mut order[..])) {
        Ok(length) if length == GO.len() && order == *GO => Ok(()),
        Ok(_) => sys::exit_now(ORPHANED),
        Err(errno) => Err(Failure::at(Stage::Release)(errno)),
    }
}

/// Everything that does not depend on the program. Returns what tells of children that have ended.
fn prepare(plan: &Blueprint, shown: Option<Shown>) -> Result<OwnedFd, Failure> {
    rustix::process::umask(rustix::fs::Mode::empty());
    if let Some(hostname) = &plan.hostname {
        sys::set_hostname(hostname).map_err(Failure::at(Stage::Hostname))?;
        // The host's own name would tell where the payload is.
        if rustix::system::uname().nodename() != hostname.as_c_str() {
            return Err(Failure::at(Stage::Hostname)(Errno::PERM));
        }
    }
    if plan.loopback {
        loopback().map_err(Failure::at(Stage::Loopback))?;
    }
    if let Some(root) = &plan.root {
        root::enter(root, shown)?;
    }
    drop_bounding_set(plan.bounding).map_err(Failure::at(Stage::Bounding))?;
    let children = sys::signal_fd_for_children().map_err(Failure::at(Stage::Fork))?;
    // Inherited from whoever started us, it would reap behind our back.
    if plan.payload.ignored_signals & (1 << (libc::SIGCHLD - 1)) != 0 {
        sys::set_default(libc::SIGCHLD).map_err(Failure::at(Stage::Fork))?;
    }
    Ok(children)
}

/// Starts the payload, and stays until the end of the box, which is this process's.
///
/// The two share their memory until the program is executed: neither writes what the other uses.
fn run_payload(
    plan: &Blueprint,
    orders: &Orders<'_>,
    supervisor: BorrowedFd<'_>,
    children: OwnedFd,
) -> Result<Infallible, Failure> {
    let at_fork = Failure::at(Stage::Fork);
    // Not sockets: those of a network namespace are in its /proc/net/unix, where the payload would see ours.
    let (told, tell) = pipe_with(PipeFlags::CLOEXEC).map_err(&at_fork)?;
    let (hear, go) = pipe_with(PipeFlags::CLOEXEC).map_err(&at_fork)?;
    let stack = sys::Stack::new().map_err(&at_fork)?;
    let number = |fd: &OwnedFd| sys::borrow(fd.as_raw_fd());
    let (of_init, to_init) = ([number(&told), number(&go)], ToInit { tell: number(&tell), hear: number(&hear) });
    let child = move || {
        // A copy of one would keep the end of the other from ever coming.
        of_init.into_iter().for_each(sys::forget_fd);
        match plan.program {
            Program::Known => child::run(&plan.payload, orders, supervisor, to_init),
            Program::Later => later::run(&plan.payload, supervisor, to_init),
        }
    };
    sys::clone_sharing(stack, child, |cloned| {
        drop((tell, hear));
        let started = cloned.map_err(Failure::at(Stage::Fork)).and_then(|pid| {
            release_payload(plan, pid, &told, &go)?;
            drop(go);
            power_down(plan).map(|()| pid)
        });
        let term = match plan.program {
            Program::Known => Term::known(orders.wait, orders.backstop_ns),
            Program::Later => Term::told_by(told),
        };
        // What is open goes with the process.
        sys::exit_now(match started {
            Ok(pid) => reap(plan, supervisor, &Main { pid, children }, term),
            Err(failure) => give_up(supervisor, failure),
        })
    })
}

/// Gives up everything that only the start of the payload needed.
fn power_down(plan: &Blueprint) -> Result<(), Failure> {
    child::drop_capabilities().map_err(Failure::at(Stage::Capabilities))?;
    arm_death_signal().map_err(Failure::at(Stage::Arm))?;
    die_if_orphaned(plan);
    Ok(())
}

fn loopback() -> Result<(), Errno> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    sys::loopback_up(socket.as_fd())
}

/// Drops what the supervisor's bounding set has. That nothing is left is read back of the payload's process, where that
/// can be.
fn drop_bounding_set(bounding: u64) -> Result<(), Errno> {
    let bits = (0..u64::BITS).map(|number| 1 << number).filter(|bit| bounding & bit != 0);
    bits.map(CapabilitySet::from_bits_retain).try_for_each(remove_capability_from_bounding_set)
}

/// Waits until the child has nothing left to take off, believes the kernel and not the child, and lets it go.
fn release_payload(plan: &Blueprint, pid: i32, told: &OwnedFd, go: &OwnedFd) -> Result<(), Failure> {
    // What the child does meanwhile may take as long as a file system takes.
    let mut fds = [PollFd::new(told, PollFlags::IN), PollFd::from_borrowed_fd(plan.supervisor_pidfd.as_fd(), guard())];
    rustix::io::retry_on_intr(|| poll(&mut fds, None)).map_err(Failure::at(Stage::Release))?;
    if !fds[1].revents().is_empty() {
        sys::exit_now(ORPHANED);
    }
    let mut ready = [0; 8];
    match rustix::io::retry_on_intr(|| rustix::io::read(told, &mut ready[..])) {
        Ok(8) => {}
        // The child has told the supervisor why; its end is reaped and reported like any other.
        _ => return Ok(()),
    }
    // The child's change of uid has changed it, for the memory that both have (`commit_creds` in `kernel/cred.c`).
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Failure::at(Stage::Arm))?;
    if plan.reads_back {
        check_payload(&plan.payload, pid)?;
    }
    rustix::io::write(go, &cpu_ns().to_ne_bytes()).map_err(Failure::at(Stage::Release))?;
    Ok(())
}

/// `/proc/<pid>/status` of the child, against what was ordered. `item` of the failure says which.
fn check_payload(plan: &PayloadPlan, pid: i32) -> Result<(), Failure> {
    let at = Failure::at(Stage::PayloadReadBack);
    let mut path = *b"/proc/0000000000/status\0";
    let mut rest = pid.unsigned_abs();
    for digit in path.iter_mut().skip(6).take(10).rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    // procfs knows no leading zeroes: the digits move to the front.
    let zeroes = path.iter().skip(6).take(9).take_while(|digit| **digit == b'0').count();
    path.copy_within(6 + zeroes.., 6);
    let name = std::ffi::CStr::from_bytes_until_nul(&path).map_err(|_| at(Errno::INVAL))?;
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    let file = rustix::fs::openat(rustix::fs::CWD, name, flags, rustix::fs::Mode::empty()).map_err(&at)?;
    let mut text = [0; STATUS_BYTES];
    let length = rustix::io::read(&file, &mut text[..]).map_err(&at)?;
    let status = StatusFile::parse(text.get(..length).unwrap_or_default()).ok_or_else(|| at(Errno::BADMSG))?;
    let wanted_seccomp = if plan.filter.is_some() { 2 } else { 0 };
    let checks = [
        status.uids == [plan.uid; 4],
        status.gids == [plan.uid; 4],
        !status.groups,
        status.capabilities == [0; 5],
        status.no_new_privs == 1,
        status.seccomp == wanted_seccomp,
        (status.blocked, status.ignored) == (0, 0),
        status.umask == child::UMASK,
    ];
    match (0..).zip(checks).find(|(_, held)| !held) {
        None => Ok(()),
        Some((item, _)) => Err(Failure { stage: Stage::PayloadReadBack, errno: Errno::PERM, item }),
    }
}
