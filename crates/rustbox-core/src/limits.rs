//! What a box may use.

use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::ByteSize;

/// Ceiling on the memory of all processes of a box together, in bytes, without swap.
///
/// `memory.max` and `memory.swap.max` on cgroup v2, `memory.limit_in_bytes` and
/// `memory.memsw.limit_in_bytes` on v1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct MemoryMax(u64);

impl MemoryMax {
    /// Smallest accepted ceiling: 4 MiB. The box's own init is charged too, and below this it
    /// may be what the kernel kills.
    pub const MIN_BYTES: u64 = 4 << 20;

    /// A ceiling of so many bytes, or nothing when it is too small.
    #[must_use]
    pub fn new(size: ByteSize) -> Option<Self> {
        (size.0 >= Self::MIN_BYTES).then_some(Self(size.0))
    }

    /// The ceiling in bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.0
    }
}

/// Ceiling on the number of processes and threads of the payload (`pids.max`, less the box's init).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct PidsMax(u32);

impl PidsMax {
    /// Largest accepted ceiling: the kernel's `PID_MAX_LIMIT` on 64-bit machines, less one for init.
    pub const MAX: u32 = (1 << 22) - 1;

    /// A ceiling of so many tasks, or nothing when it is 0 or beyond [`Self::MAX`].
    #[must_use]
    pub fn new(tasks: u32) -> Option<Self> {
        (1..=Self::MAX).contains(&tasks).then_some(Self(tasks))
    }

    /// What the payload may have.
    #[must_use]
    pub fn tasks(self) -> u32 {
        self.0
    }

    /// What is written to `pids.max`: the payload's tasks and the init.
    #[must_use]
    pub fn with_init(self) -> u32 {
        self.0 + 1
    }
}

/// CPU bandwidth: how many CPUs' worth of time the box may use, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct CpuRate {
    /// Thousandths of a CPU; 1500 is one and a half.
    pub milli_cpus: u32,
}

impl CpuRate {
    /// Smallest rate: the kernel refuses a quota below 1 ms in a period of 100 ms.
    pub const MIN_MILLI: u32 = 10;
    /// Period over which the quota is counted, in microseconds: the kernel's default.
    pub const PERIOD_US: u64 = 100_000;

    /// The quota for one period, in microseconds.
    #[must_use]
    pub fn quota_us(self) -> u64 {
        u64::from(self.milli_cpus) * Self::PERIOD_US / 1000
    }
}

impl FromStr for CpuRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("{text:?} is not a number of CPUs between 0.01 and 1024, such as 1.5");
        let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let cpus: f64 = text.parse().ok().filter(|_| plain).ok_or_else(refuse)?;
        if !(0.01..=1024.0).contains(&cpus) {
            return Err(refuse());
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in 10..=1024000, checked above")]
        let milli_cpus = (cpus * 1000.0).round() as u32;
        Ok(Self { milli_cpus })
    }
}

/// The CPUs that a box may run on, in the kernel's list format: `0-2,5`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
pub struct CpuSet(String);

impl CpuSet {
    /// The list as it is written to `cpuset.cpus`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How many CPUs the list names.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.split(',').filter_map(Self::range).map(|(first, last)| last - first + 1).sum()
    }

    fn range(part: &str) -> Option<(usize, usize)> {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |t: &str| t.parse::<u16>().ok().filter(|_| t.bytes().all(|b| b.is_ascii_digit())).map(usize::from);
        let (first, last) = (number(first)?, number(last)?);
        (first <= last).then_some((first, last))
    }
}

impl FromStr for CpuSet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut last_seen = None;
        for part in text.split(',') {
            let range = Self::range(part).filter(|(first, _)| last_seen.is_none_or(|seen| *first > seen));
            let (_, last) = range.ok_or_else(|| format!("{text:?} is not an ascending list of CPUs such as 0-2,5"))?;
            last_seen = Some(last);
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for CpuSet {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Limits of a single process, set with `prlimit(2)` on the payload and inherited from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceLimits {
    /// `RLIMIT_FSIZE`, in bytes: beyond it `SIGXFSZ`.
    pub file_size: Option<u64>,
    /// `RLIMIT_NOFILE`: one more than the highest descriptor.
    pub open_files: u64,
    /// `RLIMIT_STACK`, in bytes; none for unlimited.
    pub stack: Option<u64>,
    /// `RLIMIT_CORE`, in bytes.
    pub core: u64,
    /// `RLIMIT_AS`, in bytes; opt-in, since it breaks runtimes that reserve address space.
    pub address_space: Option<u64>,
    /// `RLIMIT_CPU`, in whole seconds: not the limit itself but what still holds while the supervisor is stopped.
    pub cpu_seconds: Option<u64>,
}

/// Everything that bounds a box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory of the whole box.
    pub memory: MemoryMax,
    /// Tasks of the whole box.
    pub pids: PidsMax,
    /// CPU time of the whole box, short-lived children included, from the payload's exec.
    pub cpu_time: Option<Duration>,
    /// Wall-clock time from the payload's exec.
    pub wall_time: Option<Duration>,
    /// How much longer than `cpu_time` a box runs before it is killed; the verdict is TLE all the same.
    pub extra_time: Duration,
    /// CPU bandwidth.
    pub cpus: Option<CpuRate>,
    /// CPUs to run on.
    pub cpuset: Option<CpuSet>,
    /// Standard output and standard error together, in bytes.
    pub output: Option<u64>,
    /// Limits of each process.
    pub process: ResourceLimits,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_set_is_an_ascending_list() {
        assert_eq!("0-2,5".parse::<CpuSet>().map(|s| s.count()), Ok(4));
        for bad in ["", "a", "2-1", "1,1", "-1", "1-", "+1", "1,,2", "99999999"] {
            assert!(bad.parse::<CpuSet>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_cpu_rate_is_at_least_a_hundredth() {
        assert_eq!("1.5".parse::<CpuRate>().map(CpuRate::quota_us), Ok(150_000));
        for bad in ["", "0", "0.001", "-1", "inf", "NaN", "1e2", "2000"] {
            assert!(bad.parse::<CpuRate>().is_err(), "{bad:?}");
        }
    }
}
