//! Runs in the keeper, a copy of the supervisor without an exec: no allocation, no lock, no
//! `tracing`, no panic.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustbox_core::BoxId;
use rustbox_core::planted::{Bug, is};
use rustbox_ns::{make_network_namespace, receive_fds, send_fds};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, fstat, ftruncate, openat, statat, unlinkat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::keeper::{TAG_CGROUPS, TAG_LEASE, TAG_LOCK, TAG_NETWORK, TAG_NEXT, TAG_RUNS};
use crate::keeper_path::KeeperPath;

/// What there may be to clean, by absolute paths of ours that no payload can have made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The name of the box, which is in every path.
    pub(crate) id: Vec<u8>,
    /// Whether the box gets a network namespace of its own.
    pub(crate) network: bool,
    /// Whether the first cgroup is a v2 one.
    pub(crate) v2: bool,
    /// `cgroup.kill` of the first cgroup.
    pub(crate) kill: KeeperPath,
    /// `cgroup.events` of the first cgroup.
    pub(crate) events: KeeperPath,
    /// `cgroup.procs` of every cgroup.
    pub(crate) procs: Vec<KeeperPath>,
    /// The cgroups, in the order of creation.
    pub(crate) cgroups: Vec<KeeperPath>,
    /// The name under which the supervisor writes the lock before it renames it.
    pub(crate) new_lock: KeeperPath,
    /// The lock.
    pub(crate) lock: KeeperPath,
    /// The mark of a record that somebody must look at first.
    pub(crate) kept: KeeperPath,
    /// Other files in the box's directory.
    pub(crate) files: Vec<KeeperPath>,
    /// The box's directory.
    pub(crate) directory: KeeperPath,
}

impl Plan {
    /// The same for another box whose name is as long; false when it is not, and nothing is changed. Does not allocate.
    pub(crate) fn rename(&mut self, id: &[u8]) -> bool {
        if id.len() != self.id.len() {
            return false;
        }
        let Self { id: old, network: _, v2: _, kill, events, procs, cgroups, new_lock, lock, kept, files, directory } =
            self;
        let single = [kill, events, new_lock, lock, kept, directory];
        let all = single.into_iter().chain(procs).chain(cgroups).chain(files);
        all.for_each(|path| path.rename(old, id));
        self.id.copy_from_slice(id);
        true
    }
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

/// What the keeper has of its supervisor.
#[derive(Clone, Copy)]
pub(crate) struct Ends<'a> {
    /// Its pidfd.
    pub(crate) supervisor: BorrowedFd<'a>,
    /// The socket for locks.
    pub(crate) socket: BorrowedFd<'a>,
    /// Names of boxes that follow, each behind a [`TAG_NEXT`] in the socket; none where one box is all.
    pub(crate) names: Option<BorrowedFd<'a>>,
}

pub(crate) fn run(plan: &mut Plan, ends: Ends<'_>) -> i32 {
    let _ = send_fds(ends.socket, TAG_RUNS, &[]);
    loop {
        if plan.network {
            make_network(ends.supervisor, ends.socket);
        }
        if !another_box(plan, ends) {
            break;
        }
    }
    if is(Bug::NoDeathGuard) {
        return 0;
    }
    let mut locks = [const { None }; LOCKS];
    let held = take_locks(plan, ends, &mut locks);
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
    let kept = had_the_name && statat(CWD, &*plan.kept, AtFlags::SYMLINK_NOFOLLOW).is_ok();
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
    let _ = unlinkat(CWD, &*plan.new_lock, AtFlags::empty());
    if lock.is_some_and(|lock| is_named(lock, &plan.lock)) {
        for file in &plan.files {
            let _ = unlinkat(CWD, &**file, AtFlags::empty());
        }
        let _ = unlinkat(CWD, &*plan.lock, AtFlags::empty());
    }
    // Fails while somebody else has a file in it.
    let _ = unlinkat(CWD, &*plan.directory, AtFlags::REMOVEDIR);
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

/// Waits until the supervisor is dead, or names another box: then what was held of the last one is let go, and the names
/// are those of the next.
fn another_box(plan: &mut Plan, ends: Ends<'_>) -> bool {
    let mut names = ends.names;
    loop {
        let told = names.unwrap_or(ends.supervisor);
        let mut fds = [ends.supervisor, told].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        // Of a keeper with one box the second is the first.
        let of_interest = if names.is_some() { &mut fds[..] } else { &mut fds[..1] };
        if poll(of_interest, None).is_err() {
            continue;
        }
        if !fds[0].revents().is_empty() {
            return false;
        }
        if fds[1].revents().is_empty() {
            continue;
        }
        if take_name(plan, told) {
            // It was sent before its name was.
            while let Ok(Some((tag, _))) = receive_fds(ends.socket) {
                if tag == TAG_NEXT {
                    return true;
                }
            }
        }
        // Nobody names boxes any more.
        names = None;
    }
}

/// Reads the name of the next box, and takes it.
fn take_name(plan: &mut Plan, names: BorrowedFd<'_>) -> bool {
    let mut id = [0; BoxId::MAX_LEN];
    let Some(room) = id.get_mut(..plan.id.len()) else { return false };
    matches!(rustix::io::retry_on_intr(|| rustix::io::read(names, &mut *room)), Ok(length) if length == room.len())
        && (is(Bug::KeeperKeepsItsNames) || plan.rename(room))
}

/// Takes what the supervisor sent. Of two boxes the locks of the first are none of the second's.
fn take_locks(plan: &mut Plan, ends: Ends<'_>, locks: &mut [Option<OwnedFd>; LOCKS]) -> Held {
    let mut held = Held { lease: None, lock: None, cgroups: false };
    let mut used = 0;
    while let Ok(Some((tag, fds))) = receive_fds(ends.socket) {
        if tag == TAG_NEXT {
            held = Held { lease: None, lock: None, cgroups: false };
            locks.fill_with(|| None);
            used = 0;
            // A name that was not sent any more is that of a box of which nothing was sent either.
            let _ = ends.names.is_some_and(|names| is_readable(names) && take_name(plan, names));
        }
        held.cgroups |= tag == TAG_CGROUPS;
        for fd in fds.into_iter().flatten() {
            match tag {
                TAG_LEASE => held.lease = Some(fd),
                TAG_LOCK => held.lock = Some(fd),
                _ => {
                    if let Some(slot) = locks.get_mut(used) {
                        *slot = Some(fd);
                        used += 1;
                    }
                }
            }
        }
    }
    held
}

fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)) == Ok(1) && fds[0].revents().contains(PollFlags::IN)
}

/// The supervisor died before it had handed its cgroups over. If there are any of that name, they are
/// its own or another supervisor's; the lock tells.
fn lock_by_name(plan: &Plan, locks: &mut [Option<OwnedFd>; LOCKS]) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for (path, slot) in plan.cgroups.iter().zip(locks.iter_mut().rev()) {
        let Ok(fd) = openat(CWD, &**path, flags, Mode::empty()) else { continue };
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::process::{Child, Command, Stdio};

    use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
    }

    fn plan(id: &str) -> Plan {
        let path = |rest: &str| KeeperPath::from(PathBuf::from(format!("/nowhere/{id}/{rest}")));
        Plan {
            id: id.as_bytes().to_vec(),
            network: false,
            v2: true,
            kill: path("kill"),
            events: path("events"),
            procs: vec![path("procs")],
            cgroups: vec![path("")],
            new_lock: path("lock.1"),
            lock: path("lock"),
            kept: path("kept"),
            files: vec![path("marks")],
            directory: path("."),
        }
    }

    /// A supervisor that lives until it is killed.
    struct Supervisor(Child, OwnedFd);

    impl Supervisor {
        fn start() -> Self {
            let child = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
            let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
            Self(child, pidfd)
        }

        fn end(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    impl Drop for Supervisor {
        fn drop(&mut self) {
            self.end();
        }
    }

    /// What a supervisor sends, in order: the locks of one box, the next box, its locks.
    const SENT: [&str; 8] = ["U", "L", "C", "X", "name", "U", "L", "C"];

    fn send_step(step: &str, socket: &OwnedFd, names: &OwnedFd) {
        match step {
            "name" => assert_eq!(send(names, b"bbb", SendFlags::NOSIGNAL), Ok(3)),
            "X" => send_fds(socket.as_fd(), TAG_NEXT, &[]).unwrap(),
            tag => send_fds(socket.as_fd(), tag.as_bytes()[0], &[socket.as_fd()]).unwrap(),
        }
    }

    /// The names and locks with which a keeper cleans when its supervisor has died after so many of these steps.
    fn cleans(steps: usize, looked_at: usize, is_closed: bool) -> (Plan, [bool; 3], usize) {
        let ((ours, theirs), (names, hear)) = (pair(), pair());
        let mut supervisor = Supervisor::start();
        let (mut plan, mut locks) = (plan("aaa"), [const { None }; LOCKS]);
        let pidfd = supervisor.1.try_clone().unwrap();
        let ends = Ends { supervisor: pidfd.as_fd(), socket: theirs.as_fd(), names: Some(hear.as_fd()) };
        for (number, step) in SENT.iter().enumerate().take(steps) {
            send_step(step, &ours, &names);
            // The keeper was awake here: it has heard of the next box while its supervisor lived.
            if number + 1 == looked_at {
                assert!(another_box(&mut plan, ends));
            }
        }
        if is_closed {
            drop((ours, names));
        }
        supervisor.end();
        assert!(!another_box(&mut plan, ends), "nobody lives who could name another box");
        let held = take_locks(&mut plan, ends, &mut locks);
        let taken = locks.iter().flatten().count();
        (plan, [held.lease.is_some(), held.lock.is_some(), held.cgroups], taken)
    }

    #[test]
    fn whenever_its_supervisor_dies_a_keeper_has_the_locks_of_one_box_and_its_names() {
        for is_closed in [false, true] {
            for steps in 0..=SENT.len() {
                // Either it slept all the time, or it had been told of the next box at once.
                let told = if steps >= 5 { vec![0, 5] } else { vec![0] };
                for looked_at in told {
                    let (found, held, taken) = cleans(steps, looked_at, is_closed);
                    let of_this = if steps > 3 { steps.saturating_sub(5) } else { steps };
                    let wanted = [of_this > 0, of_this > 1, of_this > 2];
                    let case = format!("after {steps} steps, {looked_at}, {is_closed}");
                    assert_eq!(held, wanted, "{case}");
                    assert_eq!(taken, usize::from(of_this > 2), "{case}");
                    // Between the record and the name nothing is held, so the old names harm nobody.
                    let name = if steps > 4 { "bbb" } else { "aaa" };
                    assert_eq!(found, plan(name), "{case}");
                }
            }
        }
    }

    #[test]
    fn a_name_of_another_length_and_the_end_of_names_are_no_next_box() {
        let ((_ours, theirs), (names, hear)) = (pair(), pair());
        let mut supervisor = Supervisor::start();
        let pidfd = supervisor.1.try_clone().unwrap();
        let ends = Ends { supervisor: pidfd.as_fd(), socket: theirs.as_fd(), names: Some(hear.as_fd()) };
        let mut found = plan("aaa");
        assert_eq!(send(&names, b"bb", SendFlags::NOSIGNAL), Ok(2));
        drop(names);
        supervisor.end();
        assert!(!another_box(&mut found, ends));
        assert!(!take_name(&mut found, hear.as_fd()) && !take_name(&mut found, hear.as_fd()));
        assert_eq!(found, plan("aaa"));
    }
}
