//! Names of the steps that can fail.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which of our processes was at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// The process that called rustbox; outside the box.
    Supervisor,
    /// Pid 1 of the box.
    Init,
    /// The process that becomes the payload, before its exec.
    Payload,
}

macro_rules! stages {
    ($($(#[$doc:meta])+ $name:ident = $number:literal, $text:literal;)+) => {
        /// One step of a run. The number travels from the box to the supervisor; the text is what people read.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        #[repr(u8)]
        pub enum Stage { $($(#[$doc])+ $name = $number,)+ }

        impl Stage {
            /// Every stage, in the order of a run.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The stage with this number, if there is one: the number came through a pipe.
            #[must_use]
            pub fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$name),)+ _ => None }
            }

            /// What was tried, in words that finish the sentence "could not ...".
            #[must_use]
            pub fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

stages! {
    /// Lock and record of the box.
    Lock = 1, "lock the box and write its record";
    /// The process that cleans up after a dead supervisor.
    Keeper = 2, "start the keeper";
    /// Lease of a uid.
    Lease = 3, "lease a uid";
    /// Cgroup directories and limits.
    Cgroup = 4, "create the box's cgroups";
    /// `clone3` of the init.
    Clone = 5, "clone the box's init";
    /// `PR_SET_PDEATHSIG`, `PR_SET_DUMPABLE` and the check that the supervisor lives.
    Arm = 6, "arm the parent-death signal";
    /// Attaching to cgroup v1 hierarchies.
    Attach = 7, "attach to the box's cgroups";
    /// `/proc/self/loginuid`.
    LoginUid = 8, "set the audit login uid";
    /// `unshare(CLONE_NEWCGROUP)` after the attach.
    CgroupNamespace = 9, "create the cgroup namespace";
    /// `oom_score_adj`, scheduling and their limits, where the supervisor's are better than those of everybody.
    Inherited = 37, "give up the supervisor's place before others";
    /// `setns` into the network namespace, where that was made before the init.
    Network = 35, "enter the network namespace";
    /// `setns` into an empty mount namespace, where there is one to begin from, and `unshare(CLONE_NEWNS)`.
    EmptyMounts = 36, "begin from an empty mount namespace";
    /// Reading back membership, limits and namespaces.
    ReadBack = 10, "read back the box's controls";
    /// The GO of the supervisor.
    Release = 11, "release the init";
    /// Host name.
    Hostname = 12, "set the host name";
    /// Loopback of the network namespace.
    Loopback = 13, "bring the loopback up";
    /// Root file system.
    Root = 14, "build the box's root";
    /// Binds and tmpfs.
    Mount = 15, "mount into the box's root";
    /// `/proc`.
    Proc = 16, "mount the box's /proc";
    /// `/dev`.
    Dev = 17, "build the box's /dev";
    /// `pivot_root`.
    Pivot = 18, "pivot into the box's root";
    /// Bounding set.
    Bounding = 19, "drop the capability bounding set";
    /// Fork of the payload.
    Fork = 20, "fork the payload";
    /// Session and keyring.
    Session = 21, "start a session";
    /// rlimits.
    Rlimits = 22, "set resource limits";
    /// Working directory.
    Chdir = 23, "change to the working directory";
    /// Descriptors 0, 1, 2 and closing the rest.
    Descriptors = 24, "set up descriptors";
    /// uid, gid, groups.
    Credentials = 25, "change credentials";
    /// Capability sets.
    Capabilities = 26, "drop capabilities";
    /// `no_new_privs`.
    NoNewPrivs = 27, "set no_new_privs";
    /// seccomp filter.
    Seccomp = 28, "load the seccomp filter";
    /// Reading back the payload's credentials before exec.
    PayloadReadBack = 29, "read back the payload's credentials";
    /// `execve`.
    Exec = 30, "execute the program";
    /// Waiting.
    Wait = 31, "wait for the box";
    /// Killing.
    Kill = 32, "kill the box";
    /// Reaping.
    Reap = 33, "reap the box";
    /// Removing what was created.
    Cleanup = 34, "clean up the box";
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_back_to_their_stage() {
        for stage in Stage::ALL {
            assert_eq!(Stage::from_number(*stage as u8), Some(*stage));
        }
        assert_eq!(Stage::from_number(0), None);
        assert_eq!(Stage::from_number(255), None);
    }
}
