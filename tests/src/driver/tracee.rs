//! One traced process: where it stands, what it has called, what is done to its registers.

use std::collections::HashMap;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::boundary::{Boundary, Call, Role};

/// `CLONE_NEWPID` and `CLONE_THREAD` of `linux/sched.h`.
const CLONE_NEWPID: u64 = 0x2000_0000;
const CLONE_THREAD: u64 = 0x0001_0000;

/// How a traced process goes on from a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// To the next entry or exit of a system call.
    Step,
    /// To the next birth of a child, or its exec.
    Events,
}

/// What a call that is under way still has coming.
#[derive(Clone, Copy, Debug)]
pub(super) enum AtExit {
    /// This result, in place of that of the call that was not made.
    Return(i64),
    /// A delay.
    Delay(Duration),
}

/// A traced process.
#[derive(Debug)]
pub(super) struct Tracee {
    pub(super) pid: Pid,
    pub(super) role: Role,
    pub(super) pace: Pace,
    pub(super) at_exit: Option<AtExit>,
    entering: bool,
    counts: HashMap<Call, u32>,
}

/// A call that is about to be made.
pub(super) struct Entry {
    pub(super) boundary: Boundary,
    pub(super) arguments: [u64; 6],
}

impl Tracee {
    pub(super) fn new(pid: Pid, role: Role, pace: Pace) -> Self {
        Self { pid, role, pace, at_exit: None, entering: true, counts: HashMap::new() }
    }

    /// An exec begins a new life; the next stop is the exit of that call.
    pub(super) fn begin_anew(&mut self) {
        self.counts.clear();
        self.entering = false;
    }

    /// Takes a stop at a system call: an entry is returned, an exit is not.
    pub(super) fn at_call(&mut self) -> Option<Entry> {
        self.entering = !self.entering;
        if self.entering {
            return None;
        }
        let registers = ptrace::getregs(self.pid).ok()?;
        assert_eq!(registers.rax.cast_signed(), -i64::from(libc_enosys()), "a stop that is no entry of a call");
        let call = Call::numbered(registers.orig_rax);
        let nth = self.counts.entry(call).or_insert(0);
        *nth += 1;
        let boundary = Boundary { role: self.role, call, nth: *nth };
        let r = &registers;
        Some(Entry { boundary, arguments: [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9] })
    }

    /// Makes the kernel skip the call at whose entry it stands; at its exit this will be its result.
    pub(super) fn skip(&mut self, result: i64) {
        self.change(|registers| registers.orig_rax = u64::MAX);
        self.at_exit = Some(AtExit::Return(result));
    }

    /// Stores a number in its memory.
    pub(super) fn store(&self, address: u64, number: i32) {
        let address = std::ptr::with_exposed_provenance_mut(usize::try_from(address).unwrap_or(0));
        // The kernel writes whole words: the other half stays what it is.
        let word = ptrace::read(self.pid, address).unwrap_or(0).cast_unsigned();
        let word = word & !u64::from(u32::MAX) | u64::from(number.cast_unsigned());
        let _gone = ptrace::write(self.pid, address, word.cast_signed());
    }

    /// Sets the result of the call at whose exit it stands.
    pub(super) fn set_result(&self, result: i64) {
        self.change(|registers| registers.rax = result.cast_unsigned());
    }

    fn change(&self, change: impl FnOnce(&mut nix::libc::user_regs_struct)) {
        // ESRCH: it was killed meanwhile, which the next wait tells.
        if let Ok(mut registers) = ptrace::getregs(self.pid) {
            change(&mut registers);
            let _gone = ptrace::setregs(self.pid, registers);
        }
    }

    /// Lets it go on.
    pub(super) fn resume(&self, signal: Option<Signal>) {
        let resumed = match self.pace {
            Pace::Step => ptrace::syscall(self.pid, signal),
            Pace::Events => ptrace::cont(self.pid, signal),
        };
        assert!(matches!(resumed, Ok(()) | Err(Errno::ESRCH)), "ptrace: {resumed:?}");
    }

    /// The role of the child that it is giving birth to; none for one that is none of a box's, and for a thread.
    pub(super) fn role_of_child(&self, keeper_is_known: bool) -> Option<Role> {
        let flags = self.clone_flags();
        match self.role {
            Role::Supervisor if flags & CLONE_NEWPID != 0 => Some(Role::Init),
            Role::Supervisor if flags & CLONE_THREAD == 0 && !keeper_is_known => Some(Role::Keeper),
            Role::Init => Some(Role::Child),
            Role::Supervisor | Role::Keeper | Role::Child => None,
        }
    }

    /// The flags of the `clone` or `clone3` that it is in.
    fn clone_flags(&self) -> u64 {
        let Ok(registers) = ptrace::getregs(self.pid) else { return 0 };
        match Call::numbered(registers.orig_rax).name().as_str() {
            "clone" => registers.rdi,
            "clone3" => {
                let address = std::ptr::with_exposed_provenance_mut(usize::try_from(registers.rdi).unwrap_or(0));
                ptrace::read(self.pid, address).unwrap_or(0).cast_unsigned()
            }
            _ => 0,
        }
    }
}

fn libc_enosys() -> i32 {
    Errno::ENOSYS as i32
}
