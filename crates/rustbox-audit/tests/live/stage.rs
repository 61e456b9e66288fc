//! Boxes and bystanders on the live host, made without rustbox: a shell, `unshare`, and cgroup directories.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustbox_audit::{BoxMarks, CgroupMark, Phase, PidNamespaceMark, Registry, parse_cgroup_mounts, parse_stat};
use rustbox_core::ProcessKey;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FlockOperation;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, pidfd_send_signal, waitpid};

/// Anything here takes milliseconds; a host that needs longer is broken.
const PATIENCE: Duration = Duration::from_secs(20);

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Whether this host lets the test run. Without root it is a skip, told, and a failure in CI.
pub(crate) fn is_possible() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "this test needs root, and CI must not skip it");
    println!("SKIPPED: needs root to make PID namespaces and cgroups");
    false
}

pub(crate) fn pause(length: Duration) {
    let timeout = Timespec::try_from(length).expect("a short time");
    let _early = poll(&mut [], Some(&timeout));
}

/// Asks again and again until there is an answer.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        pause(Duration::from_millis(2));
    }
}

pub(crate) fn key_of(pid: u32) -> Option<ProcessKey> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let (stat, _) = parse_stat(&text)?;
    Some(ProcessKey { pid, starttime_ticks: stat.starttime_ticks })
}

pub(crate) fn state_of(pid: u32) -> Option<u8> {
    parse_stat(&fs::read(format!("/proc/{pid}/stat")).ok()?).map(|(stat, _)| stat.state)
}

pub(crate) fn pidfd_of(pid: u32) -> OwnedFd {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("not 0");
    pidfd_open(pid, PidfdFlags::empty()).expect("the process is there")
}

/// Waits for the end of a process.
pub(crate) fn wait_for_end(pidfd: &OwnedFd) {
    let mut waiting = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
    let timeout = Timespec::try_from(PATIENCE).expect("a short time");
    assert_eq!(poll(&mut waiting, Some(&timeout)), Ok(1), "it ends in time");
}

pub(crate) fn children_of(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// A box: a shell that joins the cgroups and becomes `unshare`, whose child is pid 1 of a new PID namespace.
pub(crate) struct TestBox {
    pub(crate) marks: BoxMarks,
    pub(crate) init: u32,
    pub(crate) init_pidfd: OwnedFd,
    /// The locks that say that somebody owns the box: else a cleanup that runs beside the test would collect it.
    locks: Vec<File>,
    supervisor: Child,
}

impl TestBox {
    /// Runs the shell script as the box's init.
    pub(crate) fn spawn(script: &str, phase: Phase) -> Self {
        Self::made(script, phase, true)
    }

    /// The same, with an init that nobody attached: its cgroups are there, and empty.
    pub(crate) fn spawn_unattached(script: &str, phase: Phase) -> Self {
        Self::made(script, phase, false)
    }

    fn made(script: &str, phase: Phase, is_attached: bool) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("at{}-{number}", std::process::id());
        let mut marks = BoxMarks::new(name.parse().expect("a box id"), phase);
        let mounts = parse_cgroup_mounts(&fs::read("/proc/self/mountinfo").expect("mountinfo"));
        let (mut join, mut locks) = (String::new(), Vec::new());
        for mount in mounts.iter().filter(|mount| is_wanted(&mount.mount_point)) {
            let directory = mount.mount_point.join(marks.box_id.cgroup_name());
            fs::create_dir(&directory).expect("make a cgroup");
            if phase != Phase::Abandoned {
                let lock = File::open(&directory).expect("open a cgroup");
                rustix::fs::flock(&lock, FlockOperation::LockExclusive).expect("lock a cgroup");
                locks.push(lock);
            }
            if is_attached {
                join.push_str(&format!("echo $$ > {}/cgroup.procs; ", directory.display()));
            }
            marks.cgroups.push(CgroupMark::locate(&directory, &mounts).expect("it is in a cgroup mount"));
        }
        let line = format!("{join} exec unshare --pid --fork -- sh -c '{script}'");
        let mut command = Command::new("sh");
        command.args(["-c", &line]).stdin(Stdio::null()).stdout(Stdio::null());
        let supervisor = command.spawn().expect("start a shell");
        let init = until("the init of the namespace", || children_of(supervisor.id()).first().copied());
        let inode = until("its namespace", || {
            let link = fs::read_link(format!("/proc/{init}/ns/pid")).ok()?;
            rustbox_audit::parse_namespace_link(link.as_os_str().as_encoded_bytes())
        });
        marks.pid_namespace = Some(PidNamespaceMark::recorded(inode));
        marks.init = key_of(init);
        marks.supervisor = key_of(supervisor.id());
        let init_pidfd = pidfd_of(init);
        Self { marks, init, init_pidfd, locks, supervisor }
    }

    pub(crate) fn registry(&self) -> Registry {
        Registry { boxes: vec![self.marks.clone()], ..Registry::default() }
    }

    /// The first child of the init.
    pub(crate) fn payload(&self) -> u32 {
        until("a child of the init", || children_of(self.init).first().copied())
    }

    /// Moves a process to the root of every hierarchy that the box has a cgroup in, as a root helper would.
    pub(crate) fn move_out(&self, pid: u32) {
        for mark in &self.marks.cgroups {
            let root = mark.directory.parent().expect("below a mount").join("cgroup.procs");
            let mut file = fs::OpenOptions::new().write(true).open(root).expect("open the root cgroup");
            file.write_all(pid.to_string().as_bytes()).expect("move a process");
        }
    }

    /// Moves a process out of the first hierarchy that the box has a cgroup in; returns when that was done.
    pub(crate) fn move_out_partly(&self, pid: u32) -> Instant {
        let mark = self.marks.cgroups.first().expect("a cgroup");
        let root = mark.directory.parent().expect("below a mount").join("cgroup.procs");
        fs::write(root, pid.to_string()).expect("move a process");
        Instant::now()
    }

    /// Ends a process that a test has put into the box's namespace.
    pub(crate) fn end(&self, pid: u32) {
        let pidfd = pidfd_of(pid);
        let link = fs::read_link(format!("/proc/{pid}/ns/pid")).expect("its namespace");
        let own = self.marks.pid_namespace.as_ref().map(PidNamespaceMark::inode);
        assert_eq!(rustbox_audit::parse_namespace_link(link.as_os_str().as_encoded_bytes()), own, "it is the box's");
        pidfd_send_signal(&pidfd, Signal::KILL).expect("end a process");
    }

    /// Ends the box as its supervisor would: init, then the cgroups.
    pub(crate) fn close(&mut self) {
        let _gone = pidfd_send_signal(&self.init_pidfd, Signal::KILL);
        wait_for_end(&self.init_pidfd);
        let _gone = self.supervisor.kill();
        let _status = self.supervisor.wait();
        self.locks.clear();
        for mark in &self.marks.cgroups {
            until("an empty cgroup", || match fs::remove_dir(&mark.directory) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => None,
                _ => Some(()),
            });
        }
    }
}

impl Drop for TestBox {
    fn drop(&mut self) {
        self.close();
    }
}

/// Two hierarchies are enough to be in one and not in the other.
fn is_wanted(mount_point: &Path) -> bool {
    let wanted = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/memory"];
    wanted.iter().any(|path| *path == mount_point.as_os_str())
}

/// Somebody who must never be accused, and must be alive at the end.
pub(crate) struct Canary {
    child: Child,
    pub(crate) what: &'static str,
}

impl Canary {
    /// A stranger that calls itself what our own processes are called.
    pub(crate) fn named() -> Self {
        let mut command = Command::new("sleep");
        command.arg("1000").arg0("rustbox-init");
        Self { child: command.spawn().expect("start sleep"), what: "a stranger called rustbox-init" }
    }

    /// A stranger in a PID namespace of its own.
    pub(crate) fn contained() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "sleep", "1000"]);
        let child = command.spawn().expect("start unshare");
        until("its child", || children_of(child.id()).first().copied());
        Self { child, what: "a stranger in a container" }
    }

    /// A stranger with this uid.
    pub(crate) fn with_uid(uid: u32) -> Self {
        let mut command = Command::new("sleep");
        command.arg("1000").uid(uid);
        Self { child: command.spawn().expect("start sleep"), what: "a stranger with a leased uid" }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        let children = children_of(self.pid());
        let _gone = self.child.kill();
        let _status = self.child.wait();
        for child in children {
            // `--kill-child` has done it already, unless the host is odd.
            until("the canary's child ends", || state_of(child).is_none_or(|state| state == b'Z').then_some(()));
        }
    }
}

/// A process that has the pid of one that is gone.
pub(crate) struct Recycled(Pid);

impl Recycled {
    pub(crate) fn spawn(pid: u32) -> Self {
        Self::try_spawn(pid).expect("a process with that pid")
    }

    /// None while somebody else has the pid.
    pub(crate) fn try_spawn(pid: u32) -> Option<Self> {
        let wanted = i32::try_from(pid).expect("a pid");
        let child = crate::sys::child_with_pid(wanted).ok()?;
        assert_eq!(child, pid);
        Pid::from_raw(wanted).map(Self)
    }

    pub(crate) fn pid(&self) -> u32 {
        u32::try_from(self.0.as_raw_nonzero().get()).expect("a pid")
    }
}

impl Drop for Recycled {
    fn drop(&mut self) {
        let _gone = kill_process(self.0, Signal::KILL);
        let _gone = waitpid(Some(self.0), WaitOptions::empty());
    }
}

/// Paths of the box's directories that are left.
pub(crate) fn left(marks: &BoxMarks) -> Vec<PathBuf> {
    marks.cgroups.iter().map(|mark| mark.directory.clone()).filter(|path| path.exists()).collect()
}
