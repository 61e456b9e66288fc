//! Names for a moment in the life of a box, for what happens there, for who it happens to.

use std::time::Duration;

use syscalls::Sysno;

/// One of the processes of a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// The command that was started: `rustbox run`, or another verb.
    Supervisor,
    /// The process outside the box that cleans up after a dead supervisor.
    Keeper,
    /// Pid 1 of the box.
    Init,
    /// The init's child, until it executes the payload.
    Child,
}

/// A system call by its number; what the table does not know is shown as one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Call(u64);

impl Call {
    /// By its number, as `orig_rax` has it.
    #[must_use]
    pub const fn numbered(number: u64) -> Self {
        Self(number)
    }

    /// By its name.
    ///
    /// # Panics
    /// When there is none of that name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let known = name.parse::<Sysno>().unwrap_or_else(|()| panic!("no system call {name}"));
        Self(u64::from(known.id().unsigned_abs()))
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> String {
        let known = usize::try_from(self.0).ok().and_then(Sysno::new);
        known.map_or_else(|| format!("number {}", self.0), |call| call.name().to_owned())
    }
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name())
    }
}

/// The moment at which a process is about to make a call for the k-th time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Boundary {
    /// Who.
    pub role: Role,
    /// What it is about to call.
    pub call: Call,
    /// For the how manieth time since its birth or its exec; the first is 1.
    pub nth: u32,
}

impl std::fmt::Display for Boundary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?} #{}", self.role, self.call, self.nth)
    }
}

/// What happens at a boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL, before the call is made. "After call N" is "before call N + 1".
    Kill,
    /// The call is not made, and returns this errno.
    Fail(i32, How),
    /// The call is not made, and returns 0.
    Lie(How),
    /// The call is not made, returns 0, and leaves this number where its second argument points: a lie of a getter.
    Tell(i32),
    /// The call is made so much later.
    DelayEntry(Duration),
    /// The call returns so much later.
    DelayExit(Duration),
}

/// How often a call fails or lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// This time.
    Once,
    /// This time, and each later call of that name by that process.
    ForEver,
}
