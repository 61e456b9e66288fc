//! SIGKILL, or an error, at a chosen system call of the supervisor.
//!
//! Theory of operation: a shell stops itself and then executes rustbox. This process seizes it, lets it
//! go on to the exec, and from there from one system call to the next. Only this one thread is traced:
//! its children run free. Before the system call that the caller chose, while the supervisor stands
//! still, it is killed, or the call is skipped and an error put in its place. What it had done by then is read from the host, so the hits can be told by stage.
//!
//! The death of a traced process is the death of any other: its parent-death signals, its descriptors
//! and its pidfd go the same way. The tracer only chooses the moment.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::host::CgroupLayout;
use crate::lab::BoxCommand;
use crate::process::SeenProcess;

/// How far a supervisor has come, by what the host shows. Later is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Progress {
    /// Nothing of the box exists.
    Nothing,
    /// The box's directory is there, its record is not.
    Locking,
    /// The record is written, no cgroup is there.
    Recorded,
    /// A cgroup of the box is there, without processes.
    Cgroups,
    /// The init is there and has not been released, or builds the root.
    Held,
    /// The payload is executing.
    Running,
    /// The payload has run, and its cgroup is there still.
    Killing,
    /// The cgroups are gone, the directory is there still.
    Removing,
    /// Everything is gone; only the report is outstanding.
    Removed,
}

impl Progress {
    /// Every stage, in order.
    pub const ALL: [Self; 9] = [
        Self::Nothing,
        Self::Locking,
        Self::Recorded,
        Self::Cgroups,
        Self::Held,
        Self::Running,
        Self::Killing,
        Self::Removing,
        Self::Removed,
    ];

    /// Looks at the host. `before` is the last answer for the same box: nothing goes back.
    #[must_use]
    pub fn look(box_id: &str, state_dir: &Path, layout: &CgroupLayout, before: Self) -> Self {
        let directory = state_dir.join("boxes").join(box_id);
        let name = format!("rustbox-{box_id}");
        let groups = layout.roots().map(|root| root.join(&name)).filter(|d| d.is_dir());
        let mut grouped = false;
        let mut members = Vec::new();
        for group in groups {
            grouped = true;
            let procs = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            members.extend(procs.lines().filter_map(|l| l.parse::<u32>().ok()));
        }
        let attacks = |pid: &u32| SeenProcess::read(*pid).is_some_and(|p| is_payload(&p));
        let now = if members.iter().any(attacks) {
            Self::Running
        } else if grouped && before >= Self::Running {
            Self::Killing
        } else if !members.is_empty() {
            Self::Held
        } else if grouped {
            Self::Cgroups
        } else if before >= Self::Running {
            if directory.exists() { Self::Removing } else { Self::Removed }
        } else if directory.join("lock").exists() {
            Self::Recorded
        } else if directory.exists() {
            Self::Locking
        } else {
            Self::Nothing
        };
        now.max(before)
    }
}

fn is_payload(process: &SeenProcess) -> bool {
    let name = process.exe.as_deref().and_then(Path::file_name).and_then(|n| n.to_str());
    name.is_some_and(|n| n.starts_with("contain_"))
}

/// What one trial came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    /// The supervisor was killed at its chosen system call, when it had come this far.
    Killed(Progress),
    /// It ended before it made that many system calls.
    Ended,
}

/// Runs a box and kills the supervisor when it is about to make system call number `boundary`, counted
/// from its exec.
///
/// # Panics
/// When the tracing itself fails.
#[must_use]
pub fn sweep_trial(command: &BoxCommand<'_>, state_dir: &Path, boundary: usize) -> Trial {
    let Some((mut child, progress)) = step_to(command, state_dir, boundary) else { return Trial::Ended };
    child.kill().expect("kill the supervisor");
    let status = child.wait().expect("reap the supervisor");
    assert_eq!(status.signal(), Some(9), "the supervisor outlived SIGKILL");
    Trial::Killed(progress)
}

/// What an injected error led to.
#[derive(Clone, Debug)]
pub struct Injected {
    /// Number of the system call that failed.
    pub call: u64,
    /// How far the supervisor had come.
    pub progress: Progress,
    /// How it ended; none when it hung, and was killed for it.
    pub status: Option<ExitStatus>,
}

/// Runs a box and lets system call number `boundary` of the supervisor fail, once, without being made.
/// `errno` chooses the error by the call's number; none leaves that call alone. Returns none when the
/// supervisor ended before, or the call was left alone.
///
/// # Panics
/// When the tracing itself fails.
#[must_use]
pub fn inject_trial(
    command: &BoxCommand<'_>,
    state_dir: &Path,
    boundary: usize,
    errno: impl Fn(u64) -> Option<i32>,
) -> InjectTrial {
    let Some((mut child, progress)) = step_to(command, state_dir, boundary) else { return InjectTrial::Ended };
    let pid = pid_of(&child);
    let mut registers = ptrace::getregs(pid).expect("registers");
    let call = registers.orig_rax;
    let Some(error) = errno(call) else {
        child.kill().expect("kill the supervisor");
        let _status = child.wait().expect("reap the supervisor");
        return InjectTrial::LeftAlone;
    };
    // No such call: the kernel skips it. At its exit the result is replaced.
    registers.orig_rax = u64::MAX;
    ptrace::setregs(pid, registers).expect("skip the call");
    resume(pid, None);
    let stopped = waitpid(pid, Some(WaitPidFlag::__WALL)).expect("wait for the skipped call");
    assert!(matches!(stopped, WaitStatus::PtraceSyscall(_)), "{stopped:?}");
    let mut registers = ptrace::getregs(pid).expect("registers");
    registers.rax = i64::from(-error).cast_unsigned();
    ptrace::setregs(pid, registers).expect("set the result");
    ptrace::detach(pid, None).expect("let it go");
    let pidfd = crate::pidfd::PidFd::open(child.id()).expect("pidfd of the supervisor");
    let ended = pidfd.wait(HANG);
    if !ended {
        pidfd.signal(rustix::process::Signal::KILL);
    }
    let status = child.wait().expect("reap the supervisor");
    InjectTrial::Failed(Injected { call, progress, status: ended.then_some(status) })
}

/// What a trial with an injected error came to.
#[derive(Clone, Debug)]
pub enum InjectTrial {
    /// The call failed.
    Failed(Injected),
    /// The call is one that is left alone.
    LeftAlone,
    /// The supervisor ended before it made that many system calls.
    Ended,
}

/// A supervisor that has not ended this long after one failed call hangs.
const HANG: Duration = Duration::from_secs(15);

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("a pid"))
}

/// Starts a box and stops its supervisor at the entry of system call number `boundary`; none when it ended before.
#[expect(clippy::zombie_processes, reason = "where the supervisor ended by itself, waitpid has reaped it")]
fn step_to(command: &BoxCommand<'_>, state_dir: &Path, boundary: usize) -> Option<(Child, Progress)> {
    let layout = CgroupLayout::read();
    let child = start_stopped(command);
    let pid = pid_of(&child);
    let mut progress = Progress::Nothing;
    let mut calls = 0;
    let mut entering = true;
    loop {
        match waitpid(pid, Some(WaitPidFlag::__WALL)).expect("wait for the traced supervisor") {
            WaitStatus::PtraceSyscall(_) => {
                if entering {
                    // Not at every call: a look costs more than the call. Every stage spans many.
                    if calls % 4 == 0 || calls >= boundary {
                        progress = Progress::look(command.box_id(), state_dir, &layout, progress);
                    }
                    if calls >= boundary {
                        return Some((child, progress));
                    }
                    calls += 1;
                }
                entering = !entering;
                resume(pid, None);
            }
            // After an exec the next stop is the exit of that call, not an entry.
            WaitStatus::PtraceEvent(_, _, event) if event == ptrace::Event::PTRACE_EVENT_EXEC as i32 => {
                (calls, entering) = (0, false);
                resume(pid, None);
            }
            WaitStatus::PtraceEvent(..) => resume(pid, None),
            WaitStatus::Stopped(_, signal) => resume(pid, Some(signal)),
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => return None,
            WaitStatus::Continued(_) | WaitStatus::StillAlive => {}
        }
    }
}

fn resume(pid: Pid, signal: Option<Signal>) {
    // ESRCH: killed in between. The next wait tells.
    match ptrace::syscall(pid, signal) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
        Err(error) => panic!("ptrace: {error}"),
    }
}

/// Starts a shell that stops itself, seizes it, and lets it go on to the exec of rustbox.
fn start_stopped(command: &BoxCommand<'_>) -> Child {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "kill -STOP $$; exec \"$@\"", "sh"]).args(command.words());
    let (stdout, stderr) = command.outputs();
    let child = shell.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn().expect("start a shell");
    let pid = pid_of(&child);
    let stopped = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).expect("wait for the shell");
    assert!(matches!(stopped, WaitStatus::Stopped(..)), "{stopped:?}");
    let options = ptrace::Options::PTRACE_O_TRACESYSGOOD | ptrace::Options::PTRACE_O_TRACEEXEC;
    ptrace::seize(pid, options).expect("seize the shell");
    signal_continue(&child);
    child
}

fn signal_continue(child: &Child) {
    crate::pidfd::PidFd::open(child.id()).expect("pidfd of the shell").signal(rustix::process::Signal::CONT);
}
