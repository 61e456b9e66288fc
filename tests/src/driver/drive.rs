//! One drive: a command is run, its processes are followed, and faults are made where they were asked for.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::boundary::{Boundary, Fault, How, Role};
use super::site;
use super::tracee::{AtExit, Entry, Pace, Tracee};
use super::turns::Turns;
use crate::pidfd::{PidFd, wait_until};
use crate::watchdog::Watchdog;

/// What is to be done to whom.
#[derive(Clone, Debug, Default)]
pub struct Drive {
    /// Faults, each made once its boundary is reached. Kills are made in this order: who comes to his before it is his
    /// turn is held there for a while.
    pub faults: Vec<(Boundary, Fault)>,
    /// Whose calls are written down.
    pub record: Vec<Role>,
    /// Nobody is killed before everybody who is to be killed has come to his call: for somebody whose death the others
    /// would notice on their way.
    pub together: bool,
}

/// A call that was written down.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Which.
    pub boundary: Boundary,
    /// What it worked on.
    pub operand: String,
}

impl std::fmt::Display for Recorded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.boundary, self.operand)
    }
}

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum End {
    /// With this code.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
    /// Not at all within the time that nothing legitimate takes; it was killed.
    Hung,
}

/// What a drive came to.
#[derive(Clone, Debug)]
pub struct Driven {
    /// How the command ended.
    pub end: End,
    /// For each fault of the drive, where it was made; none when its boundary was not reached.
    pub made: Vec<Option<Recorded>>,
    /// The calls that were written down, in their order.
    pub calls: Vec<Recorded>,
}

impl Driven {
    /// Whether every fault was made: else the drive proves nothing about them.
    #[must_use]
    pub fn reached(&self) -> bool {
        self.made.iter().all(Option::is_some)
    }
}

impl Drive {
    /// One fault.
    #[must_use]
    pub fn fault(boundary: Boundary, fault: Fault) -> Self {
        Self { faults: vec![(boundary, fault)], ..Self::default() }
    }

    /// Writes down the calls of these, and makes no fault.
    #[must_use]
    pub fn record(roles: &[Role]) -> Self {
        Self { record: roles.to_vec(), ..Self::default() }
    }

    /// Runs a command in this directory under this drive until it has ended and every traced process is gone or let go.
    ///
    /// # Panics
    /// When the tracing itself fails.
    #[must_use]
    pub fn run(&self, words: &[OsString], directory: &Path, (stdout, stderr): (File, File)) -> Driven {
        // A tracer is a thread, and waits for what is its own: tests that run beside it keep their children.
        std::thread::scope(|scope| {
            let driver = scope.spawn(|| Engine::start(self, words, directory, stdout, stderr).drive());
            driver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn pace(&self, role: Role) -> Option<Pace> {
        let wanted = |role| self.faults.iter().any(|(b, _)| b.role == role) || self.record.contains(&role);
        let parents: &[Role] = match role {
            Role::Supervisor => &[Role::Keeper, Role::Init, Role::Child],
            Role::Init => &[Role::Child],
            Role::Keeper | Role::Child => &[],
        };
        if wanted(role) { Some(Pace::Step) } else { parents.iter().any(|child| wanted(*child)).then_some(Pace::Events) }
    }
}

/// `PTRACE_EVENT_STOP` of `linux/ptrace.h`: the first stop of a child that is traced from birth, and group stops.
const EVENT_STOP: i32 = 128;

struct Engine<'a> {
    plan: &'a Drive,
    command: Pid,
    /// Not waited for through this: the drive's own waits reap it.
    _child: Child,
    traced: HashMap<Pid, Tracee>,
    /// Children that have stopped before their parent's stop told who they are.
    early: HashSet<Pid>,
    /// Children that were told of and have not stopped yet; none for those that are let go.
    expected: HashMap<Pid, Option<Role>>,
    turns: Turns,
    executed: bool,
    keeper_is_known: bool,
    end: Option<End>,
    driven: Driven,
    watchdog: Watchdog,
}

impl<'a> Engine<'a> {
    /// Starts a shell that stops itself, and seizes it.
    fn start(plan: &'a Drive, words: &[OsString], directory: &Path, stdout: File, stderr: File) -> Self {
        let mut shell = Command::new("/bin/sh");
        shell.current_dir(directory);
        shell.args(["-c", "kill -STOP $$; exec \"$@\"", "sh"]).args(words);
        let child = crate::orphans::start(shell.stdin(Stdio::null()).stdout(stdout).stderr(stderr));
        let child = child.expect("start a shell");
        let command = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
        let stopped = waitpid(command, Some(WaitPidFlag::WUNTRACED)).expect("wait for the shell");
        assert!(matches!(stopped, WaitStatus::Stopped(..)), "{stopped:?}");
        let options = ptrace::Options::PTRACE_O_TRACESYSGOOD
            | ptrace::Options::PTRACE_O_TRACEEXEC
            | ptrace::Options::PTRACE_O_EXITKILL
            | ptrace::Options::PTRACE_O_TRACECLONE
            | ptrace::Options::PTRACE_O_TRACEFORK
            | ptrace::Options::PTRACE_O_TRACEVFORK;
        ptrace::seize(command, options).expect("seize the shell");
        let watchdog = Watchdog::start(PidFd::open(child.id()).expect("pidfd of the shell"));
        watchdog.signal(rustix::process::Signal::CONT);
        let pace = plan.pace(Role::Supervisor).unwrap_or(Pace::Events);
        let driven = Driven { end: End::Hung, made: vec![None; plan.faults.len()], calls: Vec::new() };
        let traced = HashMap::from([(command, Tracee::new(command, Role::Supervisor, pace))]);
        Self {
            plan,
            command,
            _child: child,
            traced,
            early: HashSet::new(),
            expected: HashMap::new(),
            turns: Turns::new(plan),
            executed: false,
            keeper_is_known: false,
            end: None,
            driven,
            watchdog,
        }
    }

    fn drive(mut self) -> Driven {
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        while self.end.is_none() || !self.traced.is_empty() || !self.expected.is_empty() {
            // Somebody who is held goes on in time, also when nobody else moves.
            let patience = if self.turns.is_anybody_held() { WaitPidFlag::WNOHANG } else { WaitPidFlag::empty() };
            match waitpid(Pid::from_raw(-1), Some(flags | patience)) {
                Ok(WaitStatus::StillAlive) if self.turns.nobody_moved() => std::thread::yield_now(),
                Ok(WaitStatus::StillAlive) => idle(Duration::from_millis(1)),
                Ok(status) => {
                    self.turns.moved();
                    self.happened(status);
                }
                // Nobody is left who could tell anything.
                Err(nix::errno::Errno::ECHILD) => break,
                Err(error) => panic!("wait for traced processes: {error}"),
            }
            self.release();
        }
        crate::orphans::command_ended(self.command.as_raw().unsigned_abs());
        let hung = self.watchdog.has_bitten();
        self.driven.end = if hung { End::Hung } else { self.end.expect("the end of the command") };
        self.driven
    }

    fn happened(&mut self, status: WaitStatus) {
        match status {
            WaitStatus::Exited(pid, code) => self.ended(pid, End::Exited(code)),
            WaitStatus::Signaled(pid, signal, _) => self.ended(pid, End::Signaled(signal as i32)),
            WaitStatus::PtraceSyscall(pid) => self.at_call(pid),
            WaitStatus::PtraceEvent(pid, _, EVENT_STOP) => self.stopped(pid),
            WaitStatus::PtraceEvent(pid, _, event) if event == ptrace::Event::PTRACE_EVENT_EXEC as i32 => {
                self.executes(pid);
            }
            WaitStatus::PtraceEvent(pid, ..) => self.gives_birth(pid),
            WaitStatus::Stopped(pid, signal) => match self.traced.get(&pid) {
                Some(tracee) => tracee.resume(Some(signal)),
                None => let_go(pid, Some(signal)),
            },
            WaitStatus::Continued(_) | WaitStatus::StillAlive => {}
        }
    }

    fn ended(&mut self, pid: Pid, end: End) {
        self.traced.remove(&pid);
        self.expected.remove(&pid);
        self.early.remove(&pid);
        if let Some(held) = self.turns.take_of(pid)
            && let Some(fault) = Turns::kill_at(self.plan, held.entry.boundary)
            && !self.turns.is_early(self.plan, held.entry.boundary, &self.turns.boundaries())
            && end == End::Signaled(Signal::SIGKILL as i32)
        {
            // It was its turn, and the kernel was faster: an init has its supervisor's death for a SIGKILL.
            self.driven.made[fault] = Some(held.recorded());
        }
        if pid == self.command {
            self.end = Some(end);
            self.watchdog.command_ended();
        }
    }

    /// Whether there is nothing more to do to, or to learn from, anybody.
    fn is_done(&self) -> bool {
        let for_ever = |fault: &Fault| matches!(fault, Fault::Fail(_, How::ForEver) | Fault::Lie(How::ForEver));
        self.plan.record.is_empty()
            && self.driven.reached()
            && !self.plan.faults.iter().any(|(_, fault)| for_ever(fault))
            && self.traced.values().all(|tracee| tracee.at_exit.is_none())
    }

    /// Lets a stopped process go on, or go.
    fn resume(&mut self, pid: Pid) {
        if self.executed && self.is_done() {
            self.traced.remove(&pid);
            let_go(pid, None);
        } else if let Some(tracee) = self.traced.get(&pid) {
            tracee.resume(None);
        }
    }

    fn executes(&mut self, pid: Pid) {
        let Some(tracee) = self.traced.get_mut(&pid) else { return let_go(pid, None) };
        if tracee.role == Role::Child {
            // From here on it is the payload, which is left alone.
            self.traced.remove(&pid);
            return let_go(pid, None);
        }
        tracee.begin_anew();
        self.executed = true;
        self.resume(pid);
    }

    fn gives_birth(&mut self, pid: Pid) {
        let child = ptrace::getevent(pid).ok().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
        if let (Some(tracee), Some(child)) = (self.traced.get(&pid), child) {
            // The shell's children, if it ever has any, are nobody's.
            let role = if self.executed { tracee.role_of_child(self.keeper_is_known) } else { None };
            self.keeper_is_known |= role == Some(Role::Keeper);
            self.expected.insert(child, role);
            if self.early.remove(&child) {
                self.stopped(child);
            }
        }
        self.resume(pid);
    }

    fn stopped(&mut self, pid: Pid) {
        if let Some(role) = self.expected.remove(&pid) {
            match role.and_then(|role| self.plan.pace(role).map(|pace| (role, pace))) {
                Some((role, pace)) => {
                    self.watchdog.watch(PidFd::open(pid.as_raw().unsigned_abs()));
                    self.traced.insert(pid, Tracee::new(pid, role, pace));
                    self.resume(pid);
                }
                None => let_go(pid, None),
            }
        } else if self.traced.contains_key(&pid) {
            self.resume(pid);
        } else {
            self.early.insert(pid);
        }
    }

    fn at_call(&mut self, pid: Pid) {
        let Some(tracee) = self.traced.get_mut(&pid) else { return let_go(pid, None) };
        if !self.executed {
            // Until the exec it is the shell.
            return self.resume(pid);
        }
        if let Some(entry) = tracee.at_call() {
            if self.turns.is_early(self.plan, entry.boundary, &self.turns.boundaries()) {
                return self.turns.hold(pid, entry);
            }
            self.enters(pid, &entry);
        } else {
            match tracee.at_exit.take() {
                Some(AtExit::Return(result)) => tracee.set_result(result),
                Some(AtExit::Delay(time)) => idle(time),
                None => {}
            }
        }
        self.resume(pid);
    }

    /// Lets those go on whose turn it is, and those who have been held for too long: they are not killed.
    fn release(&mut self) {
        let boundaries = self.turns.boundaries();
        for held in self.turns.take() {
            if !self.turns.is_early(self.plan, held.entry.boundary, &boundaries) {
                self.enters(held.pid, &held.entry);
                self.resume(held.pid);
            } else if self.turns.are_given_up() {
                self.resume(held.pid);
            } else {
                self.turns.keep(held);
            }
        }
    }

    fn enters(&mut self, pid: Pid, entry: &Entry) {
        let Entry { boundary, arguments } = *entry;
        if self.plan.record.contains(&boundary.role) {
            let operand = site::operand(pid, boundary.call, arguments);
            self.driven.calls.push(Recorded { boundary, operand });
        }
        for (index, (at, fault)) in self.plan.faults.iter().enumerate() {
            let again = matches!(fault, Fault::Fail(_, How::ForEver) | Fault::Lie(How::ForEver));
            let meets = at.role == boundary.role && at.call == boundary.call;
            if !meets || !(at.nth == boundary.nth || again && at.nth < boundary.nth) {
                continue;
            }
            if self.driven.made[index].is_none() {
                let operand = site::operand(pid, boundary.call, arguments);
                self.driven.made[index] = Some(Recorded { boundary, operand });
            }
            let Some(tracee) = self.traced.get_mut(&pid) else { return };
            match *fault {
                Fault::Kill => self.turns.kill(index, pid),
                Fault::Fail(errno, _) => tracee.skip(-i64::from(errno)),
                Fault::Lie(_) => tracee.skip(0),
                Fault::Tell(number) => {
                    tracee.store(arguments[1], number);
                    tracee.skip(0);
                }
                Fault::DelayEntry(time) => idle(time),
                Fault::DelayExit(time) => tracee.at_exit = Some(AtExit::Delay(time)),
            }
        }
    }
}

/// Ends the tracing of a process that stands still. ESRCH: it was killed meanwhile.
fn let_go(pid: Pid, signal: Option<Signal>) {
    let _gone = ptrace::detach(pid, signal);
}

/// A delay that was asked for, while everybody else who is traced runs on to its next stop.
fn idle(time: Duration) {
    let _over = wait_until(time, || None::<()>);
}
