//! The system calls that a box may make.
//!
//! # Theory of operation
//!
//! The policy is data (`seccomp/policy.rs`). The build script compiles it into one program of
//! classic BPF for each architecture and mode, and the programs are static arrays in the binary: a
//! run builds nothing and allocates nothing. The payload's process loads the program with seccomp(2)
//! after it has set `no_new_privs` and dropped everything else, as its last act but exec.
//!
//! With [`SeccompMode::Errno`] a denied call returns its error. With [`SeccompMode::Kill`] the same
//! calls answer `SECCOMP_RET_USER_NOTIF`: the caller stops inside the call, the holder of the
//! listener (`SECCOMP_FILTER_FLAG_NEW_LISTENER`) receives the call's number and ABI, and ends the box.
//! Nobody ever lets such a call continue, so it does not matter that the caller can change memory
//! behind the supervisor's back. If the listener is closed, the call returns `ENOSYS`: a dead
//! supervisor denies. Calls that ordinary programs try in vain keep their error in this mode.
//!
//! The filter never answers `SECCOMP_RET_KILL_PROCESS` or `SECCOMP_RET_TRAP`. So a death by SIGSYS is
//! always of the payload's own making, and never a verdict on the filter.
//!
//! A filter is for the process and all that descend from it, cannot be removed, and a payload's own
//! filters can only deny more. A payload of the kill mode cannot have a listener of its own (`EBUSY`).

mod policy;
mod programs;
mod rule;

use rustbox_core::SeccompMode;

pub use policy::{FOREIGN_ABI, RULES, UNKNOWN_CALL};
pub use rule::{Answer, Case, Condition, Errno, OnKill, Rule};

/// An architecture that rustbox has a filter for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// `AUDIT_ARCH_X86_64`.
    X86_64,
    /// `AUDIT_ARCH_AARCH64`.
    Aarch64,
}

impl Architecture {
    /// The one that this program was built for.
    #[cfg(target_arch = "x86_64")]
    pub const NATIVE: Self = Self::X86_64;
    /// The one that this program was built for.
    #[cfg(target_arch = "aarch64")]
    pub const NATIVE: Self = Self::Aarch64;

    /// The kernel's mark of its native ABI: `arch` in `struct seccomp_data` (`linux/audit.h`).
    #[must_use]
    pub const fn audit_arch(self) -> u32 {
        match self {
            Self::X86_64 => programs::X86_64_AUDIT_ARCH,
            Self::Aarch64 => programs::AARCH64_AUDIT_ARCH,
        }
    }

    /// The program for this architecture: what [`filter`] gives for the native one.
    #[must_use]
    pub const fn program(self, mode: SeccompMode) -> Option<&'static [libc::sock_filter]> {
        match (self, mode) {
            (_, SeccompMode::Off) => None,
            (Self::X86_64, SeccompMode::Errno) => Some(programs::X86_64_ERRNO),
            (Self::X86_64, SeccompMode::Kill) => Some(programs::X86_64_KILL),
            (Self::Aarch64, SeccompMode::Errno) => Some(programs::AARCH64_ERRNO),
            (Self::Aarch64, SeccompMode::Kill) => Some(programs::AARCH64_KILL),
        }
    }

    /// The calls that the filter knows, number and name, by number.
    #[must_use]
    pub const fn syscalls(self) -> &'static [(u32, &'static str)] {
        match self {
            Self::X86_64 => programs::X86_64_NAMES,
            Self::Aarch64 => programs::AARCH64_NAMES,
        }
    }
}

/// The program that a payload loads before exec, and nothing if the filter is off.
///
/// At most `BPF_MAXINSNS` instructions, in the layout of `struct sock_filter` (`linux/filter.h`). To
/// be loaded with `SECCOMP_SET_MODE_FILTER`; for [`SeccompMode::Kill`] with
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`, and the listener belongs to the supervisor.
#[must_use]
pub const fn filter(mode: SeccompMode) -> Option<&'static [libc::sock_filter]> {
    Architecture::NATIVE.program(mode)
}

/// Name of a native system call by its number, and nothing for a number that the kernel's table
/// (Linux 6.18) does not have.
#[must_use]
pub fn syscall_name(number: i32) -> Option<&'static str> {
    let number = u32::try_from(number).ok()?;
    let calls = Architecture::NATIVE.syscalls();
    let index = calls.binary_search_by_key(&number, |(known, _)| *known).ok()?;
    calls.get(index).map(|(_, name)| *name)
}

/// Name of the system call in a notification, and nothing if the call came through a foreign ABI:
/// number 26 is `msync` on x86_64 and `ptrace` on i386.
#[must_use]
pub fn notified_syscall_name(audit_arch: u32, number: i32) -> Option<&'static str> {
    if audit_arch == Architecture::NATIVE.audit_arch() { syscall_name(number) } else { None }
}

/// One way in which a call is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Names of the calls; some exist on one architecture only.
    pub calls: &'static [&'static str],
    /// With which arguments: `always`, or words for a table.
    pub when: &'static str,
    /// What the call returns.
    pub errno: Errno,
    /// What `--seccomp kill` makes of it.
    pub on_kill: OnKill,
    /// Why, in a sentence or two.
    pub reason: &'static str,
}

/// Everything that the filter denies, for the documentation and for help texts.
///
/// [`FOREIGN_ABI`] and [`UNKNOWN_CALL`] are not about a named call and are not in the list.
pub fn describe() -> impl Iterator<Item = Denial> {
    RULES.iter().flat_map(|rule| {
        let cases = rule.cases.iter().map(|case| (case.text, case.then));
        let answers = cases.chain([(rule.otherwise_text, rule.otherwise)]);
        let denials = answers.filter_map(|(when, answer)| match answer {
            Answer::Allow => None,
            Answer::Deny(errno, on_kill) => {
                Some(Denial { calls: rule.calls, when, errno, on_kill, reason: rule.reason })
            }
        });
        // Two cases that differ only in the bits they look at read alike.
        let mut last = None;
        denials.filter(move |denial| last.replace(*denial) != Some(*denial))
    })
}
