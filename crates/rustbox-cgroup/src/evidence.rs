//! What the kernel counted: read after the run, and while it lasts.

use rustbox_core::MemoryPeakSource;

use crate::error::Error;
use crate::group::BoxCgroup;
use crate::layout::{Control, Version};
use crate::parse;

/// CPU time of all processes of the box, those that ended included, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuUsage {
    /// User and system time. On v2 in steps of a microsecond.
    pub total_ns: u64,
    /// In user mode.
    pub user_ns: u64,
    /// In the kernel.
    pub system_ns: u64,
}

impl BoxCgroup {
    /// CPU time so far: `cpu.stat` on v2 and hybrid, `cpuacct.usage` and its two parts on v1.
    ///
    /// One `pread` on v2 and hybrid, three on v1; the first call opens the files.
    ///
    /// # Errors
    /// When it cannot be read, or nothing counts it.
    pub fn cpu_usage(&self) -> Result<CpuUsage, Error> {
        let dir = self.need(Control::CpuAcct)?;
        if dir.version == Version::V2 {
            return self.files.cpu_stat.text(dir, |text| {
                let ns = |key| parse::keyed(text, key)?.checked_mul(1000);
                Some(CpuUsage { total_ns: ns("usage_usec")?, user_ns: ns("user_usec")?, system_ns: ns("system_usec")? })
            });
        }
        let [total, user, system] = &self.files.cpuacct;
        Ok(CpuUsage {
            total_ns: total.text(dir, parse::single)?,
            user_ns: user.text(dir, parse::single)?,
            system_ns: system.text(dir, parse::single)?,
        })
    }

    /// The most memory that the box had at one time, in bytes, with the file that tells it.
    ///
    /// None where the kernel does not tell (v2 before Linux 5.19), or it cannot be read. Open, read, close.
    #[must_use]
    pub fn memory_peak(&self) -> Option<(u64, MemoryPeakSource)> {
        let dir = self.home(Control::Memory)?;
        let (attr, source) = match dir.version {
            Version::V1 => ("memory.max_usage_in_bytes", MemoryPeakSource::MemoryMaxUsage),
            Version::V2 => ("memory.peak", MemoryPeakSource::MemoryPeak),
        };
        Some((dir.read(attr, parse::single).ok()?, source))
    }

    /// How often the kernel killed for memory in this box: `oom_kill` of `memory.events`, on v1 of `memory.oom_control`.
    ///
    /// More than 0 means that it happened. It is no count of processes: v2 counts a group kill once for each thread
    /// group it tried. None when it cannot be read. One `pread` once the file is open.
    #[must_use]
    pub fn oom_kills(&self) -> Option<u64> {
        let dir = self.home(Control::Memory)?;
        let file = match dir.version {
            Version::V1 => &self.files.oom_control,
            Version::V2 => &self.files.memory_events,
        };
        file.text(dir, |text| parse::keyed(text, "oom_kill")).ok()
    }

    /// How many forks the kernel refused for `pids.max`: `max` of `pids.events`. None when it cannot be read.
    /// Open, read, close.
    #[must_use]
    pub fn pids_refusals(&self) -> Option<u64> {
        self.home(Control::Pids)?.read("pids.events", |text| parse::keyed(text, "max")).ok()
    }

    /// Tasks of the box, zombies included until they are reaped: `pids.current`. None when it cannot be read.
    /// One `pread` once the file is open.
    #[must_use]
    pub fn pids_current(&self) -> Option<u64> {
        self.files.pids_current.text(self.home(Control::Pids)?, parse::single).ok()
    }
}
