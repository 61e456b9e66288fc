//! Names of `/proc` that a box does not see, and why.

use std::ffi::CStr;

/// One hidden file.
#[derive(Clone, Copy, Debug)]
pub struct ProcMask {
    /// Where it is in the box, without the first slash.
    pub path: &'static CStr,
    /// Why it is hidden.
    pub reason: &'static str,
}

const fn file(path: &'static CStr, reason: &'static str) -> ProcMask {
    ProcMask { path, reason }
}

/// The list. What runtimes read to size themselves (`cpuinfo`, `meminfo`, `stat`, `loadavg`) stays.
///
/// `/proc` is mounted read-only besides, and the payload has no capability: what only root may touch
/// is not repeated here, but for two files that would cost the host.
pub const MASKS: [ProcMask; 8] = [
    file(c"proc/kcore", "physical memory; guarded by file mode alone"),
    file(c"proc/keys", "descriptions of kernel keys, those of other users too"),
    file(c"proc/key-users", "which uids of the host hold keys"),
    file(c"proc/kallsyms", "names of kernel symbols"),
    file(c"proc/modules", "which modules the host has loaded"),
    file(c"proc/interrupts", "a side channel on keystrokes and other tenants"),
    file(c"proc/timer_list", "timers of every process of the host, by name"),
    file(c"proc/sysrq-trigger", "reboots or crashes the host; guarded by file mode alone"),
];
