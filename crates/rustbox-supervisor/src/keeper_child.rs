//! Runs in the keeper, a copy of the supervisor without an exec: no allocation, no lock, no
//! `tracing`, no panic.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustbox_ns::{make_network_namespace, receive_fds, send_fds};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, fstat, ftruncate, openat, statat, unlinkat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::keeper::{TAG_CGROUPS, TAG_LEASE, TAG_LOCK, TAG_NETWORK, TAG_RUNS};

/// What there may be to clean, by absolute paths of ours that no payload can have made.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Whether the box gets a network namespace of its own.
    pub(crate) network: bool,
    /// Whether the first cgroup is a v2 one.
    pub(crate) v2: bool,
    /// `cgroup.kill` of the first cgroup.
    pub(crate) kill: CString,
    /// `cgroup.events` of the first cgroup.
    pub(crate) events: CString,
    /// `cgroup.procs` of every cgroup.
    pub(crate) procs: Vec<CString>,
    /// The cgroups, in the order of creation.
    pub(crate) cgroups: Vec<CString>,
    /// The name under which the supervisor writes the lock before it renames it.
    pub(crate) new_lock: CString,
    /// The lock.
    pub(crate) lock: CString,
    /// The mark of a record that somebody must look at first.
    pub(crate) kept: CString,
    /// Other files in the box's directory.
    pub(crate) files: Vec<CString>,
    /// The box's directory.
    pub(crate) directory: CString,
}

/// Locks held at most: the cgroups, the lease, the record.
const LOCKS: usize = 16;
/// How long the keeper tries. What then still lives cannot be killed from user space, and its record
/// stays for whoever looks.
const PATIENCE_NS: u64 = 30_000_000_000;
/// How long the death of the init gets to empty a v1 box before its members are signalled one by one.
const INIT_GRACE_NS: u64 = 100_000_000;
/// Time between two looks where the kernel has no event.
const LOOK_AGAIN_NS: i64 = 2_000_000;

pub(crate) fn run(plan: &Plan, supervisor: BorrowedFd<'_>, socket: BorrowedFd<'_>) -> i32 {
    let _ = send_fds(socket, TAG_RUNS, &[]);
    if plan.network {
        make_network(supervisor, socket);
    }
    wait_for_the_end(supervisor);
    if rustbox_core::planted::is(rustbox_core::planted::Bug::NoDeathGuard) {
        return 0;
    }
    let mut locks = [const { None }; LOCKS];
    let held = take_locks(socket, &mut locks);
    // Cgroups are made after the lock has its name. Without it, what has these names is another's.
    let had_the_name = held.lock.as_ref().is_some_and(|lock| is_named(lock, &plan.lock));
    if !held.cgroups && had_the_name && !lock_by_name(plan, &mut locks) {
        return 1;
    }
    let deadline = now_ns().saturating_add(PATIENCE_NS);
    if !empty(plan, &locks, deadline) {
        return 1;
    }
    // The first one carries the lock, so it goes last.
    let removed = plan.cgroups.iter().rev().all(|path| !is_ours(path, &locks) || remove(path, deadline));
    let kept = had_the_name && statat(CWD, plan.kept.as_c_str(), AtFlags::SYMLINK_NOFOLLOW).is_ok();
    if !removed || kept {
        return 1;
    }
    remove_directory(plan, held.lock.as_ref());
    if let Some(lease) = held.lease {
        let _ = ftruncate(&lease, 0);
    }
    0
}

/// Removes the box's directory, if the lock in it is the one that our supervisor held: another
/// supervisor may have been faster with the same id.
fn remove_directory(plan: &Plan, lock: Option<&OwnedFd>) {
    let _ = unlinkat(CWD, plan.new_lock.as_c_str(), AtFlags::empty());
    if lock.is_some_and(|lock| is_named(lock, &plan.lock)) {
        for file in &plan.files {
            let _ = unlinkat(CWD, file.as_c_str(), AtFlags::empty());
        }
        let _ = unlinkat(CWD, plan.lock.as_c_str(), AtFlags::empty());
    }
    // Fails while somebody else has a file in it.
    let _ = unlinkat(CWD, plan.directory.as_c_str(), AtFlags::REMOVEDIR);
}

/// Whether a path still names the file behind a descriptor: it may have been removed and made anew.
fn is_named(fd: &OwnedFd, path: &CStr) -> bool {
    match (fstat(fd), statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)) {
        (Ok(held), Ok(named)) => (held.st_dev, held.st_ino) == (named.st_dev, named.st_ino),
        _ => false,
    }
}

/// Whether a cgroup is one that our supervisor locked. Another of the same name is a box of somebody else.
fn is_ours(path: &CStr, locks: &[Option<OwnedFd>; LOCKS]) -> bool {
    locks.iter().flatten().any(|lock| is_named(lock, path))
}

/// What the supervisor held.
struct Held {
    lease: Option<OwnedFd>,
    lock: Option<OwnedFd>,
    cgroups: bool,
}

fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// Makes a network namespace and sends it. When that fails the supervisor is told that there is none, and has its init make
/// one.
fn make_network(supervisor: BorrowedFd<'_>, socket: BorrowedFd<'_>) {
    let _ = match make_network_namespace(supervisor) {
        Ok(namespace) => send_fds(socket, TAG_NETWORK, &[namespace.as_fd()]),
        Err(_) => send_fds(socket, TAG_NETWORK, &[]),
    };
}

fn wait_for_the_end(supervisor: BorrowedFd<'_>) {
    loop {
        let mut fds = [PollFd::from_borrowed_fd(supervisor, PollFlags::IN)];
        if poll(&mut fds, None).is_ok() && !fds[0].revents().is_empty() {
            return;
        }
    }
}

/// Takes what the supervisor sent.
fn take_locks(socket: BorrowedFd<'_>, locks: &mut [Option<OwnedFd>; LOCKS]) -> Held {
    let mut held = Held { lease: None, lock: None, cgroups: false };
    let mut slots = locks.iter_mut();
    while let Ok(Some((tag, fds))) = receive_fds(socket) {
        held.cgroups |= tag == TAG_CGROUPS;
        for fd in fds.into_iter().flatten() {
            match tag {
                TAG_LEASE => held.lease = Some(fd),
                TAG_LOCK => held.lock = Some(fd),
                _ => {
                    if let Some(slot) = slots.next() {
                        *slot = Some(fd);
                    }
                }
            }
        }
    }
    held
}

/// The supervisor died before it had handed its cgroups over. If there are any of that name, they are
/// its own or another supervisor's; the lock tells.
fn lock_by_name(plan: &Plan, locks: &mut [Option<OwnedFd>; LOCKS]) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for (path, slot) in plan.cgroups.iter().zip(locks.iter_mut().rev()) {
        let Ok(fd) = openat(CWD, path.as_c_str(), flags, Mode::empty()) else { continue };
        if flock(&fd, FlockOperation::NonBlockingLockExclusive).is_err() {
            return false;
        }
        *slot = Some(fd);
    }
    true
}

/// Kills whatever is left until nothing is.
fn empty(plan: &Plan, locks: &[Option<OwnedFd>; LOCKS], deadline: u64) -> bool {
    let first_signal = now_ns().saturating_add(INIT_GRACE_NS);
    loop {
        if plan.v2 && plan.cgroups.first().is_some_and(|path| is_ours(path, locks)) {
            write(&plan.kill, b"1");
        }
        if !populated(plan, locks) {
            return true;
        }
        let now = now_ns();
        if now > deadline {
            return false;
        }
        if now > first_signal {
            for (path, procs) in plan.cgroups.iter().zip(&plan.procs) {
                if is_ours(path, locks) {
                    signal_members(procs);
                }
            }
        }
        pause();
    }
}

fn pause() {
    let _ = poll(&mut [], Some(&Timespec { tv_sec: 0, tv_nsec: LOOK_AGAIN_NS }));
}

fn write(path: &CStr, bytes: &[u8]) {
    if let Ok(fd) = openat(CWD, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()) {
        let _ = rustix::io::write(&fd, bytes);
    }
}

fn read<'a>(path: &CStr, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    let fd = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let length = rustix::io::read(&fd, &mut *buffer)?;
    Ok(buffer.get(..length).unwrap_or_default())
}

/// Whether anything lives in any cgroup of the box. What cannot be read is alive; what is gone is not.
fn populated(plan: &Plan, locks: &[Option<OwnedFd>; LOCKS]) -> bool {
    let mut buffer = [0; 4096];
    let v2 = plan.v2
        && plan.cgroups.first().is_some_and(|path| is_ours(path, locks))
        && match read(&plan.events, &mut buffer) {
            Ok(text) => !text.windows(11).any(|window| window == b"populated 0"),
            Err(errno) => !is_gone(errno),
        };
    let mut ours = plan.cgroups.iter().zip(&plan.procs).filter(|(path, _)| is_ours(path, locks));
    v2 || ours.any(|(_, procs)| match read(procs, &mut buffer) {
        Ok(text) => !text.is_empty(),
        Err(errno) => !is_gone(errno),
    })
}

fn is_gone(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NODEV)
}

/// Signals every member that is still one after its pidfd was opened: a pid may be another's by then.
fn signal_members(procs: &CStr) {
    let mut buffer = [0; 4096];
    let Ok(text) = read(procs, &mut buffer) else { return };
    for line in text.split(|byte| *byte == b'\n') {
        let Some(pid) = str::from_utf8(line).ok().and_then(|t| t.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        let mut again = [0; 4096];
        let still =
            read(procs, &mut again).is_ok_and(|text| text.split(|byte| *byte == b'\n').any(|other| other == line));
        if still {
            let _ = pidfd_send_signal(pidfd.as_fd(), Signal::KILL);
        }
    }
}

fn remove(path: &CStr, deadline: u64) -> bool {
    loop {
        match unlinkat(CWD, path, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return true,
            Err(Errno::BUSY | Errno::NOTEMPTY | Errno::INTR) if now_ns() < deadline => pause(),
            Err(_) => return false,
        }
    }
}
