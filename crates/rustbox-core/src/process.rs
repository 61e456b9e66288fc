//! Names of processes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A process on this host until the next boot: its pid with its start time.
///
/// Good enough to *show* and to compare two looks; never enough to send a signal to, since
/// `clone3(set_tid)` can make a second process with the same pair. Signals go through pidfds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct ProcessKey {
    /// Process id in the host's PID namespace.
    pub pid: u32,
    /// Start time, in clock ticks since boot: field 22 of `/proc/<pid>/stat`.
    pub starttime_ticks: u64,
}

/// One process of a box, as it was seen from the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BoxProcess {
    /// Process id on the host.
    pub pid: u32,
    /// Start time, in clock ticks since boot; null when the process was gone before it was read.
    pub starttime_ticks: Option<u64>,
    /// Name of the main thread, escaped: the payload chooses it. A hint for people, never evidence.
    pub comm: Option<String>,
    /// Session id, as the host numbers it.
    pub session: Option<u32>,
    /// Process group id, as the host numbers it.
    pub process_group: Option<u32>,
    /// State letter of `/proc/<pid>/stat`.
    pub state: Option<char>,
}
