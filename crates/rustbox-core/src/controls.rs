//! The capability report: which controls were asked for, which the kernel confirmed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which cgroup interface the box's controllers live on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CgroupBackend {
    /// Controllers on cgroup v1 mounts, and no v2 directory.
    V1,
    /// Everything on one cgroup v2 tree.
    V2,
    /// Controllers on v1 mounts, and a v2 directory for membership, killing and waiting.
    Hybrid,
}

impl std::fmt::Display for CgroupBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::Hybrid => "hybrid",
        })
    }
}

/// How processes are named to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PidfdMode {
    /// By pidfds, always: a kernel without them is refused.
    Native,
}

/// Whether a missing control refuses the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A missing control refuses the run (exit code 122).
    #[default]
    Strict,
    /// A missing control is reported and the run goes on.
    Permissive,
}

/// One control that the kernel confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppliedControl {
    /// Name of the control: `pid_namespace`, `memory`, `pids`, `pdeathsig`, `seccomp`, ...
    pub control: String,
    /// What was asked for.
    pub requested: String,
    /// What was read back from the kernel afterwards.
    pub read_back: String,
    /// The kernel file or call that it was read from.
    pub source: String,
}

/// One control that is wanted and not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MissingControl {
    /// Name of the control.
    pub control: String,
    /// Why it is missing.
    pub reason: String,
    /// What to do about it.
    pub fix: String,
}

/// The capability report of one run, or of a dry run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Controls {
    /// Names of the controls that this run is to have.
    pub configured_controls: Vec<String>,
    /// Those that the kernel confirmed, with the value read back. Empty in a dry run.
    pub applied_controls: Vec<AppliedControl>,
    /// Those that are missing; empty in strict mode, else the run would have been refused.
    pub missing_controls: Vec<MissingControl>,
    /// Strict or permissive.
    pub mode: Mode,
    /// Where the mode comes from.
    pub mode_decision_reason: String,
    /// Why this run is weaker than the default, if it is.
    pub unsafe_execution_reason: Option<String>,
    /// Which cgroup interface is used.
    pub cgroup_backend: CgroupBackend,
    /// How processes are named to the kernel.
    pub pidfd_mode: PidfdMode,
}
