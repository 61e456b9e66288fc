//! The words that the system call policy is written in.
//!
//! The build script compiles the same text: what `describe` prints and what the kernel enforces
//! cannot differ.

/// The error that a denied call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errno {
    /// Operation not permitted: what an unprivileged caller expects of a privileged call.
    Eperm,
    /// No such call: the C library or the runtime takes its older path.
    Enosys,
    /// No such address family, as on a kernel that was built without it.
    Eafnosupport,
    /// No such socket type, as on a kernel that was built without it.
    Esocktnosupport,
    /// No such protocol, as on a kernel that was built without it.
    Eprotonosupport,
}

impl Errno {
    /// Number of the error, the same on x86_64 and aarch64 (`asm-generic/errno.h`).
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::Eperm => 1,
            Self::Enosys => 38,
            Self::Eprotonosupport => 93,
            Self::Esocktnosupport => 94,
            Self::Eafnosupport => 97,
        }
    }

    /// Name of the error, as in errno(3).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eperm => "EPERM",
            Self::Enosys => "ENOSYS",
            Self::Eprotonosupport => "EPROTONOSUPPORT",
            Self::Esocktnosupport => "ESOCKTNOSUPPORT",
            Self::Eafnosupport => "EAFNOSUPPORT",
        }
    }
}

/// What `--seccomp kill` makes of a denied call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnKill {
    /// The call never returns: the supervisor is told its number and ends the box.
    EndsRun,
    /// The call returns its error: ordinary programs try it and carry on without it.
    SameError,
}

/// What a call gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The kernel handles it.
    Allow,
    /// The kernel never sees it.
    Deny(Errno, OnKill),
}

/// One condition on one argument. Arguments are counted from 0.
///
/// The kernel reads most of these arguments as 32-bit integers, while a caller can fill all 64 bits
/// of the register. A condition looks at exactly the bits that the kernel looks at; one bit more
/// and a caller escapes it (`TIOCSTI` with a high bit set), one bit less and it catches nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The low 32 bits are this value.
    Is(u8, u32),
    /// The low 32 bits are not this value.
    IsNot(u8, u32),
    /// Of the low 32 bits, those in the mask (second) have this value (third).
    Masked(u8, u32, u32),
    /// Of all 64 bits, those in the mask (second) have this value (third).
    MaskedLong(u8, u64, u64),
}

/// What happens when all conditions of a case hold.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// All of them must hold.
    pub when: &'static [Condition],
    /// The same in words.
    pub text: &'static str,
    /// What the call gets then.
    pub then: Answer,
}

/// What the policy says about a few calls that share their arguments' meaning.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Names, as in the kernel's table. Not every architecture has all of them.
    pub calls: &'static [&'static str],
    /// Tried in order; the first whose conditions hold decides.
    pub cases: &'static [Case],
    /// What the calls get when no case holds.
    pub otherwise: Answer,
    /// When that is, in words.
    pub otherwise_text: &'static str,
    /// Why.
    pub reason: &'static str,
}

impl Rule {
    /// The calls get one answer, whatever their arguments.
    pub(super) const fn always(calls: &'static [&'static str], answer: Answer, reason: &'static str) -> Self {
        Self { calls, cases: &[], otherwise: answer, otherwise_text: "always", reason }
    }
}
