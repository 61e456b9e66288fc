//! What we promise to do: a spec that was checked.

use std::path::PathBuf;
use std::time::Duration;

use crate::box_id::BoxId;
use crate::command::Command;
use crate::controls::{CgroupBackend, Mode};
use crate::filesystem::{Bind, RootSource, TmpfsMount};
use crate::isolation::{Namespaces, Network, SeccompMode, WaitFor};
use crate::limits::Limits;

/// A run that was checked; only [`RunSpec::validate`](crate::RunSpec::validate) makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunPlan {
    /// The box's name; none for one that the supervisor makes up.
    pub box_id: Option<BoxId>,
    /// How long to wait for a box of this name that is busy.
    pub wait_for_box: Option<Duration>,
    /// The program.
    pub command: Command,
    /// Strict or permissive.
    pub mode: Mode,
    /// Where the mode comes from, for the report.
    pub mode_reason: String,
    /// Namespaces.
    pub namespaces: Namespaces,
    /// Network.
    pub network: Network,
    /// System call filter.
    pub seccomp: SeccompMode,
    /// When the run is over.
    pub wait: WaitFor,
    /// Limits.
    pub limits: Limits,
    /// The root.
    pub root: RootSource,
    /// Binds, in the order given.
    pub binds: Vec<Bind>,
    /// Directories in memory: `/tmp`, `/dev/shm`, `/box` and what was asked for.
    pub tmpfs: Vec<TmpfsMount>,
    /// Host name in the box.
    pub hostname: String,
    /// Standard input from a file of the host instead of ours.
    pub stdin: Option<PathBuf>,
    /// Standard output to a file of the host instead of ours.
    pub stdout: Option<PathBuf>,
    /// Standard error to a file of the host instead of ours.
    pub stderr: Option<PathBuf>,
    /// Our descriptors that the payload keeps, by number, besides 0, 1 and 2.
    pub pass_fds: Vec<i32>,
    /// Forces a cgroup interface.
    pub cgroup_backend: Option<CgroupBackend>,
}
