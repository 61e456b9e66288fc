//! Runs between `clone3` and the end of the box: no allocation, no lock, no `tracing`, no panic.
//!
//! Pid 1 of the box. It lives for one thing: when it dies, the kernel kills everything else in its
//! PID namespace. So it must die with its supervisor, and two layers see to that, each of which
//! covers the other's failure: the parent-death signal (kernel, works on a wedged init) and a
//! pidfd of the supervisor in every wait (code, works where the signal was lost).
//!
//! 1. Arm: parent-death signal, name, no core dump, close every descriptor that is not needed,
//!    look whether the supervisor still lives, attach to cgroup v1, take an audit session, make
//!    the cgroup namespace, say *armed*, wait for GO. Anything but GO, end-of-file included, is death.
//! 2. Build the root. Drop the bounding set. Fork the payload's child.
//! 3. Read back what the kernel says of that child. Release it. Drop all capabilities.
//! 4. Reap until told otherwise: report the main process's end, then wait to be killed, or leave
//!    when nothing is left.
//!
//! Descriptors: one end of the supervisor's socket, the supervisor's pidfd, a signalfd, what
//! cgroup v1 and the mounts need. The payload gets none of them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustbox_core::{Actor, Stage, WaitFor};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, socketpair};
use rustix::process::{DumpableBehavior, Signal, set_dumpable_behavior, set_parent_process_death_signal};
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
use rustix::time::Timespec;

use crate::blueprint::{Blueprint, PayloadPlan};
use crate::child::{self, Failure, cpu_ns, monotonic_ns};
use crate::message::Message;
use crate::root;
use crate::status_file::{STATUS_BYTES, StatusFile};
use crate::sys::{self, CloneRequest};

/// What the supervisor sends to release init; anything else is death.
pub(crate) const GO: &[u8; 8] = b"rbx-go!\n";

/// Exit code of an init that gave up before the payload ran.
const GAVE_UP: i32 = 1;
/// Exit code of an init whose supervisor is dead; nobody is left to read it.
const ORPHANED: i32 = 2;

/// Runs the box's init; the value is its exit code.
pub(crate) fn run(plan: &Blueprint, supervisor: BorrowedFd<'_>) -> i32 {
    match arm(plan, supervisor).and_then(|()| start(plan, supervisor)) {
        Ok(main) => reap(plan, supervisor, &main),
        Err(failure) => give_up(supervisor, failure),
    }
}

fn say(supervisor: BorrowedFd<'_>, message: Message, stage: Stage) -> Result<(), Failure> {
    sys::send_with_fds(supervisor, &message.encode(), &[]).map_err(Failure::at(stage))
}

fn arm(plan: &Blueprint, supervisor: BorrowedFd<'_>) -> Result<(), Failure> {
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
    if plan.cgroup_namespace {
        // After the attach: the namespace's root is the cgroup that its maker is in.
        sys::unshare(libc::CLONE_NEWCGROUP.unsigned_abs()).map_err(Failure::at(Stage::CgroupNamespace))?;
    }
    let pdeathsig = rustix::process::parent_process_death_signal().map_err(Failure::at(Stage::Arm))?;
    let pdeathsig = pdeathsig.map_or(0, |signal| signal.as_raw().unsigned_abs());
    say(supervisor, Message::Armed { pdeathsig, attach_cpu_ns, loginuid_errno }, Stage::Arm)?;
    wait_for_go(supervisor)
}

#[cfg(not(feature = "planted-no-death-guard"))]
fn arm_death_signal() -> Result<(), Errno> {
    set_parent_process_death_signal(Some(Signal::KILL))
}

#[cfg(feature = "planted-no-death-guard")]
fn arm_death_signal() -> Result<(), Errno> {
    set_parent_process_death_signal(None::<Signal>)
}

#[cfg(not(feature = "planted-no-death-guard"))]
const GUARD: PollFlags = PollFlags::IN;
#[cfg(feature = "planted-no-death-guard")]
const GUARD: PollFlags = PollFlags::empty();

/// The supervisor may have died between `clone3` and the arming of the signal.
fn die_if_orphaned(plan: &Blueprint) {
    let mut supervisor = [PollFd::from_borrowed_fd(plan.supervisor_pidfd.as_fd(), GUARD)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut supervisor, Some(&now)) != Ok(0) {
        sys::exit_now(ORPHANED);
    }
}

/// Enters the cgroup v1 hierarchies: all writes wait for one RCU grace period together.
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

/// The payload's child, and what is needed to see it end.
struct Main {
    pid: i32,
    children: OwnedFd,
}

fn start(plan: &Blueprint, supervisor: BorrowedFd<'_>) -> Result<Main, Failure> {
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
        root::enter(root)?;
    }
    drop_bounding_set().map_err(Failure::at(Stage::Bounding))?;
    let children = sys::signal_fd_for_children().map_err(Failure::at(Stage::Fork))?;
    // An ignored SIGCHLD, inherited from whoever started us, would reap behind our back.
    sys::set_default(libc::SIGCHLD).map_err(Failure::at(Stage::Fork))?;
    let pid = fork_payload(&plan.payload, supervisor, plan.reads_back)?;
    child::drop_capabilities().map_err(Failure::at(Stage::Capabilities))?;
    arm_death_signal().map_err(Failure::at(Stage::Arm))?;
    die_if_orphaned(plan);
    Ok(Main { pid, children })
}

fn loopback() -> Result<(), Errno> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    sys::loopback_up(socket.as_fd())
}

/// Highest capability number that is tried, far above `CAP_LAST_CAP`; `EINVAL` ends the loop.
const CAPABILITY_MAX: u32 = 63;

fn drop_bounding_set() -> Result<(), Errno> {
    for number in 0..=CAPABILITY_MAX {
        let one = CapabilitySet::from_bits_retain(1 << number);
        match remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            Err(Errno::INVAL) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Forks, waits until the child has nothing left to take off, believes the kernel and not the
/// child, and lets it go.
fn fork_payload(plan: &PayloadPlan, supervisor: BorrowedFd<'_>, reads_back: bool) -> Result<i32, Failure> {
    let at_fork = Failure::at(Stage::Fork);
    let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
    let (ours, theirs) = pair.map_err(&at_fork)?;
    let request = CloneRequest { namespaces: 0, exit_signal: libc::SIGCHLD.unsigned_abs().into(), cgroup: None };
    let cloned = sys::clone3(&request, || {
        sys::forget_fd(ours.as_fd());
        child::run(plan, supervisor, theirs.as_fd())
    });
    let (pid, _pidfd) = cloned.map_err(&at_fork)?;
    drop(theirs);
    let mut ready = [0; 8];
    match rustix::io::retry_on_intr(|| rustix::io::read(&ours, &mut ready[..])) {
        Ok(8) => {}
        // The child has told the supervisor why; its end is reaped and reported like any other.
        _ => return Ok(pid),
    }
    if reads_back {
        check_payload(plan, pid)?;
    }
    rustix::io::write(&ours, &cpu_ns().to_ne_bytes()).map_err(Failure::at(Stage::Release))?;
    Ok(pid)
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

/// What init has seen so far.
struct Count {
    main_ended: bool,
    descendants: u64,
}

fn reap(plan: &Blueprint, supervisor: BorrowedFd<'_>, main: &Main) -> i32 {
    let deadline = plan.backstop_ns.map(|limit| monotonic_ns().saturating_add(limit));
    let mut count = Count { main_ended: false, descendants: 0 };
    loop {
        let round = match reap_some(supervisor, main, &mut count) {
            Ok(round) => round,
            Err(failure) => return give_up(supervisor, failure),
        };
        let empty = round == Round::Childless;
        if empty {
            // Nothing is left but this process; the supervisor waits for its end.
            let last = Message::Reaped { descendants: count.descendants, init_cpu_ns: cpu_ns(), empty };
            let _ = say(supervisor, last, Stage::Reap);
            return 0;
        }
        if count.main_ended && plan.wait == WaitFor::Main {
            let last = Message::Reaped { descendants: count.descendants, init_cpu_ns: cpu_ns(), empty };
            if say(supervisor, last, Stage::Reap).is_err() {
                return ORPHANED;
            }
            return linger(plan, supervisor, main, deadline);
        }
        match pause(plan, main, deadline, round) {
            Ok(Pause::Child) => {}
            Ok(Pause::Deadline) => {
                let _ = say(supervisor, Message::Backstop, Stage::Wait);
                return GAVE_UP;
            }
            Err(errno) => return give_up(supervisor, Failure::at(Stage::Wait)(errno)),
        }
    }
}

/// Tells what failed, and leaves: the kernel kills what is left.
fn give_up(supervisor: BorrowedFd<'_>, failure: Failure) -> i32 {
    let _ = sys::send_with_fds(supervisor, &failure.message(Actor::Init).encode(), &[]);
    GAVE_UP
}

/// Children that are reaped between two looks at the supervisor and at the clock. A payload can make dead orphans
/// faster than anybody reaps them; a loop until none is left would then never look again.
const REAPED_AT_ONCE: u32 = 64;

/// What a round of reaping left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    /// No children at all.
    Childless,
    /// Children that are alive; the next one that ends is announced.
    Quiet,
    /// Perhaps more that have ended.
    Unfinished,
}

/// Reaps what has ended, so many at most.
fn reap_some(supervisor: BorrowedFd<'_>, main: &Main, count: &mut Count) -> Result<Round, Failure> {
    for _ in 0..REAPED_AT_ONCE {
        match sys::wait_any_nohang() {
            Ok(Some(reaped)) if reaped.pid == main.pid && !count.main_ended => {
                count.main_ended = true;
                let ended = Message::MainEnded {
                    at_ns: monotonic_ns(),
                    ending: reaped.ending,
                    max_rss_kib: reaped.max_rss_kib,
                    voluntary: reaped.voluntary,
                    involuntary: reaped.involuntary,
                };
                say(supervisor, ended, Stage::Reap)?;
            }
            Ok(Some(_)) => count.descendants += 1,
            Ok(None) => return Ok(Round::Quiet),
            // Without the main process's end that is no end, but missing evidence.
            Err(Errno::CHILD) if count.main_ended => return Ok(Round::Childless),
            Err(errno) => return Err(Failure::at(Stage::Reap)(errno)),
        }
    }
    Ok(Round::Unfinished)
}

enum Pause {
    Child,
    Deadline,
}

/// Looks at the supervisor and at the clock, and waits for a child's end unless there may be more to reap.
fn pause(plan: &Blueprint, main: &Main, deadline: Option<u64>, round: Round) -> Result<Pause, Errno> {
    let mut fds = [
        PollFd::from_borrowed_fd(main.children.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(plan.supervisor_pidfd.as_fd(), GUARD),
    ];
    let left = match round {
        Round::Unfinished => Some(0),
        Round::Childless | Round::Quiet => deadline.map(|at| at.saturating_sub(monotonic_ns())),
    };
    let timeout = left.map(|ns| Timespec {
        tv_sec: i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(ns % 1_000_000_000).unwrap_or(0),
    });
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(errno),
    }
    if !fds[1].revents().is_empty() && !GUARD.is_empty() {
        sys::exit_now(ORPHANED);
    }
    // Also when a child has ended: there may always be one.
    if deadline.is_some_and(|at| monotonic_ns() >= at) {
        return Ok(Pause::Deadline);
    }
    let mut record = [0_u8; 128];
    match rustix::io::read(&main.children, &mut record[..]) {
        Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(Pause::Child),
        Err(errno) => Err(errno),
    }
}

/// The main process is gone and others are alive: the supervisor takes stock of them and kills
/// everything, this process included. Reaping goes on, so that what dies meanwhile is no zombie.
///
/// A supervisor that is stopped does neither, and then the deadline holds all the same.
fn linger(plan: &Blueprint, supervisor: BorrowedFd<'_>, main: &Main, deadline: Option<u64>) -> i32 {
    let mut round = Round::Unfinished;
    loop {
        match pause(plan, main, deadline, round) {
            Ok(Pause::Deadline) => {
                let _ = say(supervisor, Message::Backstop, Stage::Wait);
                return GAVE_UP;
            }
            Ok(Pause::Child) => {}
            Err(errno) => return give_up(supervisor, Failure::at(Stage::Wait)(errno)),
        }
        round = Round::Unfinished;
        for _ in 0..REAPED_AT_ONCE {
            if !matches!(sys::wait_any_nohang(), Ok(Some(_))) {
                round = Round::Quiet;
                break;
            }
        }
    }
}
