//! What a box is cut off from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What network the box sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// A network namespace of its own with a loopback and nothing else.
    #[default]
    None,
    /// The host's network: a degradation that the report names.
    Host,
}

/// What happens to a system call that programs do not need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SeccompMode {
    /// The call fails with `EPERM` (`ENOSYS` where the C library has a fallback).
    #[default]
    Errno,
    /// The first denied call ends the run: verdict SV, with the call's name.
    Kill,
    /// No filter: a degradation that the report names.
    Off,
}

/// How long a box lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WaitFor {
    /// Until the main process ends; everything else is then killed.
    #[default]
    Main,
    /// Until every process has ended, or a limit is reached.
    All,
}

/// Which namespaces a box gets. All of them, unless somebody switched one off in permissive mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Namespaces {
    /// PID namespace: without it nothing guarantees that a double fork dies with the box.
    pub pid: bool,
    /// Mount namespace.
    pub mount: bool,
    /// IPC namespace: System V IPC and POSIX message queues.
    pub ipc: bool,
    /// UTS namespace: host name.
    pub uts: bool,
    /// Cgroup namespace: the payload reads `/` as its own cgroup.
    pub cgroup: bool,
    /// Time namespace; optional, off by default.
    pub time: bool,
}

impl Default for Namespaces {
    fn default() -> Self {
        Self { pid: true, mount: true, ipc: true, uts: true, cgroup: true, time: false }
    }
}
