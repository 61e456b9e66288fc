//! What was seen of a run: the only input of the verdict.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::finding::Finding;
use crate::process::BoxProcess;
use crate::stage::{Actor, Stage};

/// A step before the payload's exec that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SetupFailure {
    /// Which step.
    pub stage: Stage,
    /// In which process.
    pub actor: Actor,
    /// `errno`, where a system call failed.
    pub errno: Option<i32>,
    /// What was tried on what, in words.
    pub detail: String,
}

/// `execve` failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExecFailure {
    /// `errno` of the last `execve` tried.
    pub errno: i32,
}

/// How a process ended, as `waitid` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// `CLD_EXITED`.
    Exited(i32),
    /// `CLD_KILLED` or `CLD_DUMPED`.
    Signaled(i32),
}

/// How the box's init ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InitEnding {
    /// We killed it, or it left after it had reported everything.
    AsTold,
    /// SIGKILL that we did not send: an operator, or the kernel out of memory.
    KilledByOther,
    /// Anything else: a defect of ours.
    Unexpected,
    /// Its end was never seen.
    Unknown,
}

/// Why the supervisor killed the box; the first reason is the one kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KillReason {
    /// The main process had ended (or, with `--wait all`, all had).
    MainEnded,
    /// CPU time of the box went beyond its limit.
    CpuTime,
    /// The wall clock went beyond its limit.
    WallTime,
    /// The kernel reported that the box ran out of memory.
    OutOfMemory,
    /// More output than allowed.
    Output,
    /// A denied system call in `--seccomp kill`.
    Seccomp {
        /// The call's number.
        number: i32,
        /// The call's name, where this program knows it.
        name: Option<String>,
    },
    /// A signal to rustbox itself.
    Interrupted {
        /// Which.
        signal: i32,
    },
    /// Somebody asked for it with `rustbox kill`.
    Operator,
    /// Setup failed.
    SetupFailed,
    /// The init ended before we killed anything.
    InitEnded,
}

/// Whether nothing is left, by what was read after the kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ContainmentVerdict {
    /// Everything was looked at and nothing is left.
    Contained,
    /// Something is left, or was outside.
    Violated,
    /// Something could not be looked at.
    Unknown,
}

/// The evidence that nothing of the box is left. What was not read is null.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Containment {
    /// The conclusion.
    pub verdict: ContainmentVerdict,
    /// Why the verdict is not `contained`, one sentence each.
    pub doubts: Vec<String>,
    /// Members of the box's cgroup when it was killed, the init left out; at most 256 in detail.
    pub processes_at_kill: Vec<BoxProcess>,
    /// How many there were.
    pub processes_at_kill_count: Option<u64>,
    /// How many of those in detail had left the payload's session.
    pub left_session: Option<u64>,
    /// Members of the box's cgroups after the kill.
    pub survivors: Option<u64>,
    /// Dead and unreaped tasks after the kill: `pids.current` less the living.
    pub zombies: Option<u64>,
    /// Descendants that the init reaped besides the main process.
    pub reaped_descendants: Option<u64>,
    /// From the kill until the cgroup read empty, in nanoseconds.
    pub populated_zero_ns: Option<u64>,
    /// Whether every cgroup directory of the box is gone.
    pub cgroup_removed: Option<bool>,
    /// Inode number of the supervisor's PID namespace.
    pub supervisor_pid_namespace: Option<u64>,
    /// Inode number of the box's PID namespace.
    pub pid_namespace: Option<u64>,
    /// The box's audit session id; null where the kernel gives none.
    pub audit_session: Option<u32>,
    /// The kernel facts by which the audit of the box excluded that anything is left of it.
    pub proofs: Vec<String>,
    /// What the audit of the box found.
    pub findings: Vec<Finding>,
}

/// Everything that the verdict is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// A step before the exec that failed.
    pub setup_failure: Option<SetupFailure>,
    /// A failed exec.
    pub exec_failure: Option<ExecFailure>,
    /// How the main process ended; none when nobody told.
    pub main: Option<Ending>,
    /// How the init ended.
    pub init: InitEnding,
    /// Why the supervisor killed the box.
    pub kill_reason: Option<KillReason>,
    /// Whether CPU time read at the end was beyond the limit; none when there is no limit, or it could not be read.
    pub cpu_over_limit: Option<bool>,
    /// Whether wall time at the end was beyond the limit; none when there is no limit.
    pub wall_over_limit: Option<bool>,
    /// Processes that the kernel killed for memory; none when it could not be read.
    pub oom_kills: Option<u64>,
    /// Forks that the kernel refused for `pids.max`; none when it could not be read.
    pub pids_refusals: Option<u64>,
    /// Whether a file size limit was set.
    pub file_size_limited: bool,
    /// Whether a CPU limit was set, so that `SIGXCPU` is the kernel's.
    pub cpu_limited: bool,
    /// Whether output went beyond its limit.
    pub output_over_limit: bool,
    /// Whether an operator's kill request was found.
    pub operator_kill: bool,
    /// What could not be cleaned up, one sentence each.
    pub cleanup_failures: Vec<String>,
    /// Whether anything is left.
    pub containment: Containment,
}
