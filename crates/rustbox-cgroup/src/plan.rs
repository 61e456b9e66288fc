//! Which values go into which control files: a pure list, made before anything is touched.

use rustbox_core::{CpuRate, Limits};

use crate::layout::{Control, Layout, Version};
use crate::parse;

/// One value for one control file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// Index of the root whose directory has the file.
    pub(crate) root: usize,
    /// Name in the capability report; none for what only prepares another setting.
    pub(crate) control: Option<&'static str>,
    pub(crate) attr: &'static str,
    pub(crate) value: String,
    pub(crate) expect: Expect,
    /// What it means when the file is not there.
    pub(crate) absent: Absent,
}

/// What the kernel should say after the value was written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// The same text.
    Same,
    /// A number of bytes, rounded down to whole pages.
    Pages,
    /// The same set of CPUs or memory nodes, however it is written.
    List,
}

/// What a missing control file means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// The control does not work.
    Refuse,
    /// Nothing, as long as the host has no swap.
    SwapAccounting,
}

/// The settings for these limits, in the order of writing. `mems` are the memory nodes of the v1 cpuset root.
pub(crate) fn settings(layout: &Layout, limits: &Limits, mems: Option<String>) -> Vec<Setting> {
    let mut settings = Vec::with_capacity(6);
    let homes = |control| layout.home(control).and_then(|i| layout.roots.get(i).map(|root| (i, root.version)));
    if let Some((root, version)) = homes(Control::Memory) {
        memory(&mut settings, root, version, limits.memory.bytes());
    }
    if let Some((root, _)) = homes(Control::Pids) {
        settings.push(setting(root, "pids", "pids.max", limits.pids.with_init().to_string()));
    }
    if let Some((rate, (root, version))) = limits.cpus.zip(homes(Control::Cpu)) {
        cpu(&mut settings, root, version, rate);
    }
    if let Some((set, (root, version))) = limits.cpuset.as_ref().zip(homes(Control::CpuSet)) {
        let list =
            |control, attr, value| Setting { control, expect: Expect::List, ..setting(root, "cpuset", attr, value) };
        settings.push(list(Some("cpuset"), "cpuset.cpus", set.as_str().to_owned()));
        // On v1 a process cannot be attached while either file is empty; on v2 an empty one inherits.
        if let Some(mems) = mems.filter(|_| version == Version::V1) {
            settings.push(list(None, "cpuset.mems", mems));
        }
    }
    settings
}

fn memory(settings: &mut Vec<Setting>, root: usize, version: Version, bytes: u64) {
    let pages = |control, attr| Setting { expect: Expect::Pages, ..setting(root, control, attr, bytes.to_string()) };
    match version {
        Version::V1 => {
            settings.push(pages("memory", "memory.limit_in_bytes"));
            // Memory and swap together, which may never be less than memory alone: hence the second.
            let swap = pages("swap", "memory.memsw.limit_in_bytes");
            settings.push(Setting { absent: Absent::SwapAccounting, ..swap });
            // What sockets buffer is counted apart on v1, and not at all until it has a limit (`mem_cgroup_sk_alloc` in
            // `mm/memcontrol.c`); on v2 it is memory like any other.
            settings.push(pages("socket_memory", "memory.kmem.tcp.limit_in_bytes"));
        }
        Version::V2 => {
            settings.push(pages("memory", "memory.max"));
            let swap = setting(root, "swap", "memory.swap.max", "0".to_owned());
            settings.push(Setting { absent: Absent::SwapAccounting, ..swap });
            // Out of memory ends the box as a whole: a payload that lost one process proves nothing (Linux 4.19).
            settings.push(setting(root, "memory_oom_group", "memory.oom.group", "1".to_owned()));
        }
    }
}

fn cpu(settings: &mut Vec<Setting>, root: usize, version: Version, rate: CpuRate) {
    let (quota, period) = (rate.quota_us(), CpuRate::PERIOD_US);
    match version {
        Version::V1 => {
            let set_period = setting(root, "cpus", "cpu.cfs_period_us", period.to_string());
            settings.push(Setting { control: None, ..set_period });
            settings.push(setting(root, "cpus", "cpu.cfs_quota_us", quota.to_string()));
        }
        Version::V2 => settings.push(setting(root, "cpus", "cpu.max", format!("{quota} {period}"))),
    }
}

fn setting(root: usize, control: &'static str, attr: &'static str, value: String) -> Setting {
    Setting { root, control: Some(control), attr, value, expect: Expect::Same, absent: Absent::Refuse }
}

impl Expect {
    /// Whether what was read back means what was written.
    pub(crate) fn holds(&self, written: &str, read_back: &str, page_size: u64) -> bool {
        match self {
            Self::Same => written == read_back,
            Self::List => {
                let ranges = parse::cpu_ranges(written);
                ranges.is_some() && ranges == parse::cpu_ranges(read_back)
            }
            Self::Pages => {
                let whole_pages = written.parse::<u64>().ok().map(|bytes| bytes - bytes % page_size);
                whole_pages.is_some() && whole_pages == read_back.parse().ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_the_kernel_changed_does_not_hold() {
        assert!(Expect::Pages.holds("16777217", "16777216", 4096));
        assert!(!Expect::Pages.holds("16777216", "9223372036854771712", 4096));
        assert!(!Expect::Pages.holds("16777216", "max", 4096));
        assert!(!Expect::Same.holds("9", "max", 4096));
        assert!(Expect::List.holds("0,1", "0-1", 4096));
        assert!(!Expect::List.holds("0", "", 4096));
    }
}
