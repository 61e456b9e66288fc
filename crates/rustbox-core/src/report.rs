//! The report of a run: plain data, as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::box_id::BoxId;
use crate::controls::Controls;
use crate::evidence::{Containment, KillReason, SetupFailure};
use crate::outcome::{Cause, Status};

/// Value of [`RunReport::schema`].
pub const RUN_SCHEMA: &str = "rustbox.run/v1";

/// Where the memory peak was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MemoryPeakSource {
    /// cgroup v2, since Linux 5.19.
    #[serde(rename = "memory.peak")]
    MemoryPeak,
    /// cgroup v1.
    #[serde(rename = "memory.max_usage_in_bytes")]
    MemoryMaxUsage,
    /// Largest resident set of a single process.
    #[serde(rename = "rusage")]
    Rusage,
}

/// What became of the payload's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputIntegrity {
    /// Inherited untouched: we did not see it, and cannot say.
    NotCaptured,
    /// Every byte that was written was passed on.
    Complete,
    /// Cut at the limit.
    TruncatedByLimit,
    /// Cut because the box was killed while a pipe still held bytes that could not be passed on.
    TruncatedByKill,
    /// Cut because the reader went away or an output file could not be written.
    WriteError,
}

/// What the supervisor did to the box, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Action {
    /// Nanoseconds since the box was asked for.
    pub at_ns: u64,
    /// What was done.
    pub action: String,
    /// Why.
    pub reason: String,
}

/// Times of a run, in nanoseconds, by the monotonic clock. What did not happen is null.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Timings {
    /// From the request to the payload's exec.
    pub setup_ns: Option<u64>,
    /// From the payload's exec to the kill, or to the end of the main process.
    pub run_ns: Option<u64>,
    /// From the kill to the end of cleanup.
    pub teardown_ns: Option<u64>,
    /// The whole.
    pub total_ns: u64,
}

/// The report of one run. Numbers that were not measured are null; no field is a constant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunReport {
    /// [`RUN_SCHEMA`].
    pub schema: String,
    /// The box.
    pub box_id: BoxId,
    /// What the run comes to.
    pub status: Status,
    /// Why.
    pub cause: Cause,
    /// One sentence for people.
    pub message: String,
    /// What `rustbox run` exits with.
    pub exit_code: u8,
    /// The main process's own exit code; null when a signal ended it or nobody saw the end.
    pub payload_exit_code: Option<i32>,
    /// The signal that ended the main process.
    pub signal: Option<i32>,
    /// `external` when somebody else than rustbox or the kernel's limits killed it.
    pub killed_by: Option<String>,
    /// When the box was asked for, RFC 3339, UTC.
    pub started_at: String,
    /// When everything was removed, RFC 3339, UTC.
    pub ended_at: String,
    /// Wall time from the payload's exec to the end of the main process, or to the kill.
    pub wall_ns: Option<u64>,
    /// CPU time of the box in user mode, from the exec.
    pub cpu_user_ns: Option<u64>,
    /// CPU time of the box in kernel mode, from the exec.
    pub cpu_system_ns: Option<u64>,
    /// CPU time of the box in all, from the exec.
    pub cpu_total_ns: Option<u64>,
    /// How far beyond the limit that ended it the box got.
    pub overshoot_ns: Option<u64>,
    /// Highest memory use of the box.
    pub memory_peak_bytes: Option<u64>,
    /// Where that was read.
    pub memory_peak_source: Option<MemoryPeakSource>,
    /// Largest resident set of the main process, from its rusage.
    pub max_rss_bytes: Option<u64>,
    /// Voluntary context switches of the main process and its waited-for children.
    pub voluntary_switches: Option<u64>,
    /// Involuntary context switches, likewise.
    pub involuntary_switches: Option<u64>,
    /// Processes that the kernel killed for memory; may over-count, never a number of processes.
    pub oom_kills: Option<u64>,
    /// Forks refused for the process limit.
    pub pids_refusals: Option<u64>,
    /// Bytes of standard output; null when inherited.
    pub stdout_bytes: Option<u64>,
    /// Bytes of standard error; null when inherited.
    pub stderr_bytes: Option<u64>,
    /// What became of the output.
    pub output_integrity: OutputIntegrity,
    /// Why the supervisor killed the box.
    pub kill_reason: Option<KillReason>,
    /// The step that failed before the exec.
    pub setup_failure: Option<SetupFailure>,
    /// What could not be cleaned up.
    pub cleanup_failures: Vec<String>,
    /// The capability report.
    pub controls: Controls,
    /// `uname -r`.
    pub kernel: String,
    /// The uid and gid that the payload had.
    pub uid: Option<u32>,
    /// Whether anything is left.
    pub containment: Containment,
    /// Times of the run.
    pub timings: Timings,
    /// What the supervisor did.
    pub actions: Vec<Action>,
}
