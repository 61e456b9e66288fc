//! What was typed: a configuration file, the environment and flags, put together, unchecked.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::box_id::BoxIdError;
use crate::command::Command;
use crate::controls::{CgroupBackend, Mode};
use crate::filesystem::{Bind, BindAccess, RootSource, TmpfsMount};
use crate::isolation::{Namespaces, Network, SeccompMode, WaitFor};
use crate::limits::{CpuRate, CpuSet, Limits, MemoryMax, PidsMax, ResourceLimits};
use crate::plan::RunPlan;
use crate::units::{self, ByteSize, Seconds};

/// A run as it was asked for. Every field that is not given has a documented default.
///
/// The names are those of the configuration file: the long flags with underscores, with the
/// runbooks' names as aliases.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunSpec {
    /// `--box-id`.
    #[serde(skip)]
    pub box_id: Option<String>,
    /// `--wait-for-box`.
    pub wait_for_box: Option<Seconds>,
    /// The program and its arguments.
    #[serde(skip)]
    pub argv: Vec<OsString>,
    /// `--env`, in order; after `PATH`, `HOME` and `LANG`, which it may replace.
    #[serde(skip)]
    pub env: Vec<(OsString, OsString)>,
    /// `--chdir`.
    pub chdir: Option<PathBuf>,
    /// Strict mode; default true.
    pub strict_mode: Option<bool>,
    /// PID namespace; default true.
    pub pid_namespace: Option<bool>,
    /// Mount namespace; default true.
    pub mount_namespace: Option<bool>,
    /// IPC namespace; default true.
    pub ipc_namespace: Option<bool>,
    /// UTS namespace; default true.
    pub uts_namespace: Option<bool>,
    /// Cgroup namespace; default true.
    pub cgroup_namespace: Option<bool>,
    /// Time namespace; default false.
    pub time_namespace: Option<bool>,
    /// `--net`.
    pub net: Option<Network>,
    /// `--seccomp`.
    pub seccomp: Option<SeccompMode>,
    /// `--wait`.
    pub wait: Option<WaitFor>,
    /// `--mem`; default 1G.
    #[serde(alias = "memory_limit")]
    pub mem: Option<ByteSize>,
    /// `--pids`; default 256.
    #[serde(alias = "pids_limit", alias = "process_limit")]
    pub pids: Option<u32>,
    /// `--time`; default none.
    #[serde(alias = "time_limit", alias = "cpu_time_limit")]
    pub time: Option<Seconds>,
    /// `--wall-time`; default none.
    #[serde(alias = "wall_time_limit")]
    pub wall_time: Option<Seconds>,
    /// `--extra-time`; default 0.
    pub extra_time: Option<Seconds>,
    /// `--cpus`.
    #[serde(deserialize_with = "units::text")]
    pub cpus: Option<String>,
    /// `--cpuset`.
    #[serde(deserialize_with = "units::text")]
    pub cpuset: Option<String>,
    /// `--fsize`.
    pub fsize: Option<ByteSize>,
    /// `--open-files`; default 1024.
    pub open_files: Option<u64>,
    /// `--stack`; default: unlimited, so that the memory limit is what counts.
    pub stack: Option<ByteSize>,
    /// `--core`; default 0.
    pub core: Option<ByteSize>,
    /// `--address-space`; default none.
    pub address_space: Option<ByteSize>,
    /// `--output-limit`; default none.
    pub output_limit: Option<ByteSize>,
    /// `--tmp-size`: of `/tmp` and of `/dev/shm`; default 64M.
    pub tmp_size: Option<ByteSize>,
    /// `--box-size`: of `/box`; default 256M.
    pub box_size: Option<ByteSize>,
    /// `--rootfs`.
    pub rootfs: Option<PathBuf>,
    /// `--bind` and `--ro-bind` as `SRC[:DEST]`, in order.
    #[serde(skip)]
    pub binds: Vec<(String, BindAccess)>,
    /// `--tmpfs` as `DEST[:SIZE]`, in order.
    #[serde(skip)]
    pub tmpfs: Vec<String>,
    /// `--hostname`; default `rustbox`.
    pub hostname: Option<String>,
    /// `--stdin`.
    #[serde(skip)]
    pub stdin: Option<PathBuf>,
    /// `--stdout`.
    #[serde(skip)]
    pub stdout: Option<PathBuf>,
    /// `--stderr`.
    #[serde(skip)]
    pub stderr: Option<PathBuf>,
    /// `--pass-fd`.
    #[serde(skip)]
    pub pass_fds: Vec<i32>,
    /// `--cgroup-backend`.
    pub cgroup_backend: Option<CgroupBackend>,
}

/// Why a spec is not a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// The box id has another form.
    #[error("--box-id")]
    BoxId(#[source] BoxIdError),
    /// A value is outside its range or of another form.
    #[error("{field}: {reason}")]
    Value {
        /// The flag, as it is written on the command line.
        field: &'static str,
        /// What is wrong with it, and what is accepted.
        reason: String,
    },
    /// A control is switched off while strict mode is on: exit code 122, not 125.
    #[error("{key} is switched off, and strict mode does not run without it (--permissive runs weaker, and says so)")]
    ControlOff {
        /// The configuration key.
        key: &'static str,
    },
}

fn value<T>(field: &'static str, reason: impl Into<String>) -> Result<T, SpecError> {
    Err(SpecError::Value { field, reason: reason.into() })
}

/// What the payload finds in `PATH` unless `--env` says otherwise.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const DEFAULT_MEMORY: ByteSize = ByteSize(1 << 30);
const DEFAULT_PIDS: u32 = 256;
const DEFAULT_OPEN_FILES: u64 = 1024;
const DEFAULT_TMP_SIZE: ByteSize = ByteSize(64 << 20);
const DEFAULT_BOX_SIZE: ByteSize = ByteSize(256 << 20);
/// Files in one tmpfs: enough for an unpacked source tree, far below what hurts the host.
const TMPFS_INODES: u64 = 65_536;
/// Smallest tmpfs: one page.
const TMPFS_MIN: u64 = 4096;
/// `sysctl_nr_open` on every distribution; a higher `RLIMIT_NOFILE` is EPERM.
const OPEN_FILES_MAX: u64 = 1 << 20;
/// Descriptors passed to a payload at most.
const PASS_FDS_MAX: usize = 64;
/// Longest host name (`__NEW_UTS_LEN`).
const HOSTNAME_MAX: usize = 64;
/// Binds and tmpfs mounts at most.
const MOUNTS_MAX: usize = 256;

impl RunSpec {
    /// Checks the spec without looking at the host.
    ///
    /// # Errors
    /// The first field that is wrong, by the name of its flag; [`SpecError::ControlOff`] for a
    /// namespace that is switched off in strict mode.
    pub fn validate(self) -> Result<RunPlan, SpecError> {
        let namespaces = self.namespaces();
        let (mode, mode_reason) = self.mode();
        if mode == Mode::Strict {
            self.refuse_switched_off(namespaces)?;
        }
        let box_id = self.box_id.as_deref().map(str::parse).transpose().map_err(SpecError::BoxId)?;
        let limits = self.limits()?;
        Ok(RunPlan {
            box_id,
            wait_for_box: self.wait_for_box.map(|s| s.0),
            command: self.command()?,
            mode,
            mode_reason,
            namespaces,
            network: self.net.unwrap_or_default(),
            seccomp: self.seccomp.unwrap_or_default(),
            wait: self.wait.unwrap_or_default(),
            limits,
            root: self.root()?,
            binds: self.binds()?,
            tmpfs: self.tmpfs()?,
            hostname: self.hostname()?,
            pass_fds: self.pass_fds()?,
            stdin: self.stdin,
            stdout: self.stdout,
            stderr: self.stderr,
            cgroup_backend: self.cgroup_backend,
        })
    }

    fn namespaces(&self) -> Namespaces {
        Namespaces {
            pid: self.pid_namespace.unwrap_or(true),
            mount: self.mount_namespace.unwrap_or(true),
            ipc: self.ipc_namespace.unwrap_or(true),
            uts: self.uts_namespace.unwrap_or(true),
            cgroup: self.cgroup_namespace.unwrap_or(true),
            time: self.time_namespace.unwrap_or(false),
        }
    }

    fn mode(&self) -> (Mode, String) {
        match self.strict_mode {
            None => (Mode::Strict, "the default".to_owned()),
            Some(true) => (Mode::Strict, "strict_mode is true".to_owned()),
            Some(false) => (Mode::Permissive, "strict_mode is false, or --permissive was given".to_owned()),
        }
    }

    fn refuse_switched_off(&self, namespaces: Namespaces) -> Result<(), SpecError> {
        let required = [
            (namespaces.pid, "pid_namespace"),
            (namespaces.mount, "mount_namespace"),
            (namespaces.ipc, "ipc_namespace"),
            (namespaces.uts, "uts_namespace"),
            (namespaces.cgroup, "cgroup_namespace"),
        ];
        match required.into_iter().find(|(on, _)| !on) {
            Some((_, key)) => Err(SpecError::ControlOff { key }),
            None => Ok(()),
        }
    }

    fn command(&self) -> Result<Command, SpecError> {
        let program = self.argv.first();
        if program.is_none_or(|p| p.is_empty()) {
            return value("CMD", "name a program to run: rustbox run -- CMD [ARG...]");
        }
        let has_nul = |text: &OsString| text.as_encoded_bytes().contains(&0);
        if self.argv.iter().any(has_nul) {
            return value("CMD", "an argument contains a NUL byte");
        }
        let mut env: Vec<(OsString, OsString)> =
            [("PATH", DEFAULT_PATH), ("HOME", "/box"), ("LANG", "C.UTF-8")].map(|(k, v)| (k.into(), v.into())).into();
        for (name, text) in &self.env {
            let bytes = name.as_encoded_bytes();
            if bytes.is_empty() || bytes.contains(&b'=') || has_nul(name) || has_nul(text) {
                return value("--env", format!("{name:?} is not a variable name: write NAME=VALUE"));
            }
            env.retain(|(known, _)| known != name);
            env.push((name.clone(), text.clone()));
        }
        let cwd = self.chdir.clone().unwrap_or_else(|| PathBuf::from("/box"));
        check_box_path("--chdir", &cwd)?;
        Ok(Command { argv: self.argv.clone(), env, cwd })
    }

    fn limits(&self) -> Result<Limits, SpecError> {
        let memory = self.mem.unwrap_or(DEFAULT_MEMORY);
        let Some(memory) = MemoryMax::new(memory) else {
            return value("--mem", format!("{memory} is below the smallest limit, {}", ByteSize(MemoryMax::MIN_BYTES)));
        };
        let pids = self.pids.unwrap_or(DEFAULT_PIDS);
        let Some(pids) = PidsMax::new(pids) else {
            return value("--pids", format!("{pids} is not between 1 and {}", PidsMax::MAX));
        };
        let cpu_time = positive("--time", self.time)?;
        let output = self.output_limit.map(|s| s.0);
        let cpus = self.cpus.as_deref().map(str::parse::<CpuRate>).transpose();
        let cpuset = self.cpuset.as_deref().map(str::parse::<CpuSet>).transpose();
        Ok(Limits {
            memory,
            pids,
            cpu_time,
            wall_time: positive("--wall-time", self.wall_time)?,
            extra_time: self.extra_time.map_or(Duration::ZERO, |s| s.0),
            cpus: cpus.or_else(|reason| value("--cpus", reason))?,
            cpuset: cpuset.or_else(|reason| value("--cpuset", reason))?,
            output,
            process: self.process_limits(cpu_time)?,
        })
    }

    fn process_limits(&self, cpu_time: Option<Duration>) -> Result<ResourceLimits, SpecError> {
        let open_files = self.open_files.unwrap_or(DEFAULT_OPEN_FILES);
        if !(3..=OPEN_FILES_MAX).contains(&open_files) {
            return value("--open-files", format!("{open_files} is not between 3 and {OPEN_FILES_MAX}"));
        }
        // Two seconds of grace: the box's own accounting, which sees all processes, comes first.
        let cpu_seconds = cpu_time.map(|t| t.as_secs() + self.extra_time.map_or(0, |s| s.0.as_secs()) + 2);
        Ok(ResourceLimits {
            file_size: self.fsize.map(|s| s.0),
            open_files,
            stack: self.stack.map(|s| s.0),
            core: self.core.map_or(0, |s| s.0),
            address_space: self.address_space.map(|s| s.0),
            cpu_seconds,
        })
    }

    fn root(&self) -> Result<RootSource, SpecError> {
        match &self.rootfs {
            None => Ok(RootSource::Host),
            Some(dir) if dir.is_absolute() => Ok(RootSource::Directory(dir.clone())),
            Some(dir) => value("--rootfs", format!("{} is not an absolute path", dir.display())),
        }
    }

    fn binds(&self) -> Result<Vec<Bind>, SpecError> {
        if self.binds.len() + self.tmpfs.len() > MOUNTS_MAX {
            return value("--bind", format!("more than {MOUNTS_MAX} mounts"));
        }
        let one = |(text, access): &(String, BindAccess)| {
            let field = match access {
                BindAccess::ReadOnly => "--ro-bind",
                BindAccess::Writable => "--bind",
            };
            let (source, target) = text.split_once(':').unwrap_or((text, text));
            let (source, target) = (PathBuf::from(source), PathBuf::from(target));
            if !source.is_absolute() {
                return value(field, format!("{} is not an absolute path; write SRC[:DEST]", source.display()));
            }
            check_box_path(field, &target)?;
            if target == Path::new("/") {
                return value(field, "the root itself comes from --rootfs");
            }
            Ok(Bind { source, target, access: *access })
        };
        self.binds.iter().map(one).collect()
    }

    fn tmpfs(&self) -> Result<Vec<TmpfsMount>, SpecError> {
        let tmp = self.tmp_size.unwrap_or(DEFAULT_TMP_SIZE);
        let work = self.box_size.unwrap_or(DEFAULT_BOX_SIZE);
        for (field, size) in [("--tmp-size", tmp), ("--box-size", work)] {
            if size.0 < TMPFS_MIN {
                return value(field, format!("{size} is below one page, {TMPFS_MIN} bytes"));
            }
        }
        let mount = |target: &str, size| TmpfsMount { target: target.into(), size, inodes: TMPFS_INODES };
        let mut mounts = vec![mount("/tmp", tmp), mount("/dev/shm", tmp), mount("/box", work)];
        for text in &self.tmpfs {
            let (target, size) = text.split_once(':').unwrap_or((text, ""));
            let size =
                if size.is_empty() { Ok(tmp) } else { size.parse().or_else(|e| value("--tmpfs", format!("{e}"))) }?;
            check_box_path("--tmpfs", Path::new(target))?;
            if target == "/" || size.0 < TMPFS_MIN {
                return value("--tmpfs", format!("{text:?}: write DEST[:SIZE], at least one page, and not on /"));
            }
            mounts.retain(|m| m.target != Path::new(target));
            mounts.push(mount(target, size));
        }
        Ok(mounts)
    }

    fn hostname(&self) -> Result<String, SpecError> {
        let name = self.hostname.clone().unwrap_or_else(|| "rustbox".to_owned());
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
        if name.is_empty() || name.len() > HOSTNAME_MAX || !name.bytes().all(allowed) {
            return value(
                "--hostname",
                format!("{name:?} is not 1 to {HOSTNAME_MAX} letters, digits, hyphens or dots"),
            );
        }
        Ok(name)
    }

    fn pass_fds(&self) -> Result<Vec<i32>, SpecError> {
        if self.pass_fds.len() > PASS_FDS_MAX {
            return value("--pass-fd", format!("more than {PASS_FDS_MAX} descriptors"));
        }
        match self.pass_fds.iter().find(|fd| **fd < 3) {
            Some(fd) => value("--pass-fd", format!("{fd}: 0, 1 and 2 are passed anyway; name a descriptor from 3 up")),
            None => Ok(self.pass_fds.clone()),
        }
    }
}

fn positive(field: &'static str, given: Option<Seconds>) -> Result<Option<Duration>, SpecError> {
    match given {
        Some(Seconds(time)) if time.is_zero() => value(field, "a limit of zero time; leave the flag out for no limit"),
        other => Ok(other.map(|s| s.0)),
    }
}

/// A path in the box: absolute, and without `.`, `..` and NUL, so that it cannot lead out.
fn check_box_path(field: &'static str, path: &Path) -> Result<(), SpecError> {
    let plain = path.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
    let dots = path.as_os_str().as_encoded_bytes().split(|b| *b == b'/').any(|part| part == b".");
    if !path.is_absolute() || !plain || dots || path.as_os_str().as_encoded_bytes().contains(&0) {
        return value(field, format!("{:?} is not an absolute path without . and ..", path.display().to_string()));
    }
    Ok(())
}
