//! What is written down about a box before it exists.

use serde::{Deserialize, Serialize};

use crate::box_id::BoxId;
use crate::process::ProcessKey;

/// The record of one box: by which kernel facts its processes can be recognised.
///
/// It is a hint for whoever collects a dead box and for the audit. Whether the box is alive is
/// said by locks, never by this text; a record that is missing or torn never means dead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// [`Record::SCHEMA`].
    pub schema: String,
    /// The box.
    pub box_id: BoxId,
    /// Pid of the supervisor on the host; the runbooks read it with `jq -r .pid`.
    pub pid: u32,
    /// Start time of the supervisor, in clock ticks since boot.
    pub starttime_ticks: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// When the box was asked for, RFC 3339, UTC.
    pub timestamp: String,
    /// The uid and gid leased to the box.
    pub uid: u32,
    /// The box's cgroup directories, absolute, in the order of creation.
    pub cgroups: Vec<String>,
    /// Inode number of the supervisor's PID namespace.
    pub supervisor_pid_namespace: Option<u64>,
    /// Pid 1 of the box, as the host numbers it; known once it is cloned.
    pub init: Option<ProcessKey>,
    /// Inode number of the box's PID namespace; known once the init is cloned.
    pub pid_namespace: Option<u64>,
    /// The box's audit session id, where the kernel gives one.
    pub audit_session: Option<u32>,
    /// The command, escaped, for people.
    pub argv: Vec<String>,
    /// Memory limit in bytes, for people.
    pub memory_max_bytes: u64,
    /// Task limit of the payload, for people.
    pub pids_max: u32,
}

impl Record {
    /// Value of [`Record::schema`].
    pub const SCHEMA: &'static str = "rustbox.record/v1";
    /// Longest record that is read, in bytes; a longer one is not ours.
    pub const MAX_BYTES: u64 = 64 << 10;
}
