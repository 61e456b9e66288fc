//! `sched_getattr(2)` and `sched_setattr(2)`, since Linux 3.14.

use rustix::io::Errno;
use syscalls::{Sysno, syscall};

use super::answer;

/// `struct sched_attr` of `linux/sched/types.h`, as of Linux 3.14 (`SCHED_ATTR_SIZE_VER0`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scheduling {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

const SIZE: u32 = 48;
/// Policies that come after everybody else, or in turn: SCHED_OTHER, SCHED_BATCH, SCHED_IDLE.
const IN_TURN: [u32; 3] = [0, 3, 5];

impl Scheduling {
    /// Whether the scheduler prefers it to an ordinary process.
    pub(crate) fn is_before_others(&self) -> bool {
        !IN_TURN.contains(&self.policy) || self.nice < 0
    }

    /// An ordinary place.
    pub(crate) fn behind(self) -> Self {
        let policy = if IN_TURN.contains(&self.policy) { self.policy } else { 0 };
        Self { size: SIZE, policy, nice: self.nice.max(0), ..Self::default() }
    }
}

/// How the calling thread is scheduled.
pub(crate) fn scheduling() -> Result<Scheduling, Errno> {
    let mut found = Scheduling::default();
    // SAFETY: the kernel writes at most `SIZE` bytes, which is the size of the value.
    answer(unsafe { syscall!(Sysno::sched_getattr, 0, &raw mut found, SIZE, 0) })?;
    Ok(found)
}

/// Changes that.
pub(crate) fn set_scheduling(wanted: Scheduling) -> Result<(), Errno> {
    // SAFETY: the kernel reads `size` bytes, which is the size of the value.
    answer(unsafe { syscall!(Sysno::sched_setattr, 0, &raw const wanted, 0) }).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_fills_in_what_is_asked_of_it() {
        assert_eq!(u32::try_from(size_of::<Scheduling>()), Ok(SIZE));
        assert_eq!(scheduling().unwrap().size, SIZE);
    }

    #[test]
    fn only_who_is_before_others_is_put_behind() {
        let at = |policy, nice| Scheduling { policy, nice, ..Scheduling::default() };
        for (policy, nice, before) in
            [(0, 0, false), (0, 5, false), (5, 0, false), (0, -1, true), (1, 0, true), (6, 0, true)]
        {
            assert_eq!(at(policy, nice).is_before_others(), before, "{policy} {nice}");
            assert!(!at(policy, nice).behind().is_before_others(), "{policy} {nice}");
        }
        assert_eq!(at(3, 7).behind().nice, 7);
    }
}
