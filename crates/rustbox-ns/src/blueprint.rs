//! Everything that the box's processes need, made by the parent before the clone: the children
//! only walk it.

use std::ffi::{CString, OsStr, OsString};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

use rustbox_core::{Limits, Network, RunPlan, SeccompMode, WaitFor};
use rustix::process::{PidfdFlags, Resource, getrlimit, pidfd_open};

use crate::empty::EmptyMounts;
use crate::error::Error;
use crate::idmap::IdMaps;
use crate::inherited::Inherited;
use crate::root::SHOWN_MAX;
use crate::root_plan::{RootPlan, c};
use crate::seccomp;
use crate::status_file::{STATUS_BYTES, StatusFile};
use crate::sys::ExecVector;
use crate::system::System;

/// What the supervisor adds to a plan.
#[derive(Debug)]
pub struct Resources<'a> {
    /// The uid and gid leased to the box.
    pub uid: u32,
    /// Standard input, output and error; none for the supervisor's own.
    pub stdio: [Option<BorrowedFd<'a>>; 3],
    /// `tasks` of every cgroup v1 directory of the box, open for writing.
    pub attach: Vec<BorrowedFd<'a>>,
    /// What the host's system was when somebody looked; none to look now.
    pub system: Option<&'a System>,
}

/// One resource limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    /// Its number in the list of all of them, for error texts.
    pub(crate) item: u32,
    pub(crate) resource: Resource,
    pub(crate) soft: Option<u64>,
    pub(crate) hard: Option<u64>,
}

/// What the process needs that becomes the payload.
#[derive(Debug)]
pub(crate) struct PayloadPlan {
    pub(crate) uid: u32,
    pub(crate) stdio: [Option<RawFd>; 3],
    pub(crate) pass_fds: Vec<RawFd>,
    pub(crate) rlimits: Vec<Limit>,
    pub(crate) ignored_signals: u64,
    pub(crate) cwd: CString,
    pub(crate) filter: Option<&'static [libc::sock_filter]>,
    pub(crate) notify: bool,
    pub(crate) candidates: Vec<u8>,
    pub(crate) argv: ExecVector,
    pub(crate) envp: ExecVector,
}

/// When the init learns what it is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// It knows from the start.
    Known,
    /// By a [`Job`](crate::Job), for which it waits with everything else done.
    Later,
}

/// A box that is ready to be spawned.
///
/// Owns the descriptors that only the box needs, and names by number those that belong to the
/// supervisor: they must stay open until [`spawn`](crate::spawn()) returns.
#[derive(Debug)]
pub struct Blueprint {
    pub(crate) namespaces: u64,
    pub(crate) pid_namespace: bool,
    pub(crate) cgroup_namespace: bool,
    pub(crate) network: Option<OwnedFd>,
    pub(crate) empty: Option<RawFd>,
    pub(crate) loopback: bool,
    pub(crate) hostname: Option<CString>,
    pub(crate) root: Option<RootPlan>,
    pub(crate) reads_back: bool,
    pub(crate) attach: Vec<RawFd>,
    pub(crate) loginuid: CString,
    pub(crate) bounding: u64,
    pub(crate) inherited: Inherited,
    pub(crate) wait: WaitFor,
    pub(crate) backstop_ns: Option<u64>,
    pub(crate) payload: PayloadPlan,
    pub(crate) program: Program,
    pub(crate) supervisor_pidfd: OwnedFd,
    pub(crate) close_ranges: Vec<(u32, u32)>,
    owned: Vec<OwnedFd>,
    idmaps: IdMaps,
}

/// How long after the wall limit init ends the box by itself, should the supervisor be stopped.
const BACKSTOP_GRACE: Duration = Duration::from_millis(500);

impl Blueprint {
    /// Prepares a box; nothing is created that outlives the value.
    ///
    /// # Errors
    /// A root, a bind or a command that cannot be prepared: [`Error`] says which.
    pub fn new(plan: &RunPlan, resources: &Resources<'_>) -> Result<Self, Error> {
        let idmaps = IdMaps::new(&plan.binds, resources.uid)?;
        let root = plan
            .namespaces
            .mount
            .then(|| RootPlan::new(plan, resources.uid, resources.system, &idmaps.fds()))
            .transpose()?;
        let own = rustix::process::getpid();
        let mut owned = Vec::new();
        let own_status = own_status()?;
        let payload = payload(plan, resources, &own_status, &mut owned)?;
        let [_, _, _, bounding, _] = own_status.capabilities;
        Ok(Self {
            namespaces: clone_flags(plan),
            pid_namespace: plan.namespaces.pid,
            cgroup_namespace: plan.namespaces.cgroup,
            network: None,
            empty: None,
            loopback: plan.network == Network::None,
            hostname: plan.namespaces.uts.then(|| c(&plan.hostname)).transpose()?,
            root,
            // Without a /proc of its own PID namespace, init cannot name its child there.
            reads_back: plan.namespaces.mount == plan.namespaces.pid,
            attach: resources.attach.iter().map(AsRawFd::as_raw_fd).collect(),
            loginuid: c(resources.uid.to_string())?,
            bounding,
            inherited: Inherited::read()?,
            wait: plan.wait,
            backstop_ns: backstop(&plan.limits),
            payload,
            program: Program::Known,
            supervisor_pidfd: pidfd_open(own, PidfdFlags::empty())
                .map_err(Error::call("pidfd_open of this process"))?,
            close_ranges: Vec::new(),
            owned,
            idmaps,
        })
    }

    /// Prepares a box whose init goes as far as it can without knowing the program, says
    /// [`Message::Prepared`](crate::Message::Prepared), and waits for a [`Job`](crate::Job). Of the plan's command,
    /// streams and limits nothing is used.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn waiting(plan: &RunPlan, resources: &Resources<'_>) -> Result<Self, Error> {
        Self::new(plan, resources).map(|blueprint| Self { program: Program::Later, ..blueprint })
    }

    /// Lets the init enter a network namespace that was [made](crate::make_network_namespace()) already, and is
    /// nobody else's, instead of making one at its birth.
    #[must_use]
    pub fn with_network(self, namespace: OwnedFd) -> Self {
        let namespaces = self.namespaces & !u64::from(libc::CLONE_NEWNET.unsigned_abs());
        Self { namespaces, network: Some(namespace), ..self }
    }

    /// Lets the init begin from a copy of an empty mount namespace, which must stay open until [`spawn`](crate::spawn())
    /// returns, instead of a copy of the supervisor's. Without effect on a box that keeps the mounts of its supervisor,
    /// shows more of them than an init can keep open, or shows a place where mount namespaces are bound (`/run`, `/`).
    #[must_use]
    pub fn with_mounts(self, empty: &EmptyMounts) -> Self {
        let can_leave =
            |root: &RootPlan| root.shown() <= SHOWN_MAX && !root.sources().any(|path| empty.may_be_below(&path));
        if !self.root.as_ref().is_some_and(can_leave) {
            return self;
        }
        let namespaces = self.namespaces & !u64::from(libc::CLONE_NEWNS.unsigned_abs());
        Self { namespaces, empty: Some(empty.as_fd().as_raw_fd()), ..self }
    }

    /// Whether init opens what the box shows of the host, and leaves that, before it says that it is armed.
    #[must_use]
    pub fn leaves_host(&self) -> bool {
        self.empty.is_some()
    }

    /// Whether init compares the payload's `/proc/<pid>/status` with what was ordered.
    #[must_use]
    pub fn reads_back(&self) -> bool {
        self.reads_back
    }

    /// The number, in the init, of the pidfd of this process that it polls for the end of its supervisor:
    /// `/proc/<pid>/fdinfo` tells whose it is.
    #[must_use]
    pub fn lifeline_number(&self) -> RawFd {
        self.supervisor_pidfd.as_raw_fd()
    }

    /// What operation `item` of the mount list is about, for error texts.
    #[must_use]
    pub fn mount_subject(&self, item: u32) -> &str {
        self.root.as_ref().map_or("", |root| root.subject(item))
    }

    /// What to do when operation `item` of the mount list failed with this errno, where that can be told.
    #[must_use]
    pub fn mount_advice(&self, item: u32, errno: i32) -> Option<&'static str> {
        // fs/namespace.c, `do_move_mount`.
        if errno == libc::ELOOP && self.leaves_host() {
            return Some(
                "a mount namespace is bound below it, which a box that begins from an empty one cannot show: bind less, or \
                 use `rustbox run` after `rustbox prepare --undo`",
            );
        }
        // fs/namespace.c, `can_idmap_mount`: EINVAL without FS_ALLOW_IDMAP, which tmpfs has since Linux 6.3.
        let is_refused = errno == libc::EINVAL && self.root.as_ref().is_some_and(|root| root.is_id_mapped(item));
        is_refused.then_some(
            "this kernel cannot map owners on that file system: bind it with --ro-bind, or from ext4, XFS, Btrfs, or a \
             tmpfs of Linux 6.3 or later",
        )
    }

    /// The gaps between the descriptors that init keeps, for `close_range`.
    pub(crate) fn plan_closing(&mut self, socket: BorrowedFd<'_>) {
        let mut keep: Vec<RawFd> = vec![0, 1, 2, socket.as_raw_fd(), self.supervisor_pidfd.as_raw_fd()];
        keep.extend(self.payload.stdio.iter().flatten());
        keep.extend(&self.payload.pass_fds);
        keep.extend(&self.attach);
        keep.extend(self.network.iter().map(AsRawFd::as_raw_fd));
        keep.extend(self.empty);
        keep.extend(self.owned.iter().map(AsRawFd::as_raw_fd));
        keep.extend(self.idmaps.fds().iter().flatten().map(AsRawFd::as_raw_fd));
        self.close_ranges = gaps(keep);
    }
}

/// The ranges of descriptor numbers between those in `keep`, and after the last.
pub(crate) fn gaps(keep: Vec<RawFd>) -> Vec<(u32, u32)> {
    let mut keep: Vec<u32> = keep.into_iter().filter_map(|fd| u32::try_from(fd).ok()).collect();
    keep.sort_unstable();
    let mut next = 0;
    let mut gaps = Vec::new();
    for fd in keep {
        if fd > next {
            gaps.push((next, fd - 1));
        }
        next = next.max(fd + 1);
    }
    gaps.push((next, u32::MAX));
    gaps
}

fn clone_flags(plan: &RunPlan) -> u64 {
    let wanted = [
        (plan.namespaces.pid, libc::CLONE_NEWPID),
        (plan.namespaces.mount, libc::CLONE_NEWNS),
        (plan.namespaces.ipc, libc::CLONE_NEWIPC),
        (plan.namespaces.uts, libc::CLONE_NEWUTS),
        (plan.network == Network::None, libc::CLONE_NEWNET),
        (plan.namespaces.time, libc::CLONE_NEWTIME),
    ];
    wanted.iter().filter(|(on, _)| *on).fold(0, |flags, (_, flag)| flags | u64::from(flag.unsigned_abs()))
}

pub(crate) fn backstop(limits: &Limits) -> Option<u64> {
    limits.wall_time.and_then(|limit| u64::try_from((limit + BACKSTOP_GRACE).as_nanos()).ok())
}

fn payload(
    plan: &RunPlan,
    resources: &Resources<'_>,
    own_status: &StatusFile,
    owned: &mut Vec<OwnedFd>,
) -> Result<PayloadPlan, Error> {
    let mut stdio = [None; 3];
    for (slot, given) in stdio.iter_mut().zip(resources.stdio) {
        *slot = given.map(|fd| above_streams(fd, owned)).transpose()?;
    }
    Ok(PayloadPlan {
        uid: resources.uid,
        stdio,
        pass_fds: plan.pass_fds.clone(),
        rlimits: rlimits(&plan.limits),
        ignored_signals: own_status.ignored,
        cwd: working_directory(plan)?,
        filter: seccomp::filter(plan.seccomp),
        notify: plan.seccomp == SeccompMode::Kill,
        candidates: candidates(plan)?,
        argv: ExecVector::new(arguments(plan)?),
        envp: ExecVector::new(environment(plan)?),
    })
}

/// A descriptor that is itself 0, 1 or 2 would be overwritten while the streams are put in place.
fn above_streams(fd: BorrowedFd<'_>, owned: &mut Vec<OwnedFd>) -> Result<RawFd, Error> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd.as_raw_fd());
    }
    let copy = rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(Error::call("duplicate a standard stream"))?;
    let number = copy.as_raw_fd();
    owned.push(copy);
    Ok(number)
}

/// Ceilings: never above the hard limit that this process has itself, since raising one needs
/// CAP_SYS_RESOURCE.
pub(crate) fn rlimits(limits: &Limits) -> Vec<Limit> {
    let process = &limits.process;
    let wanted = [
        (Resource::Fsize, process.file_size),
        (Resource::Nofile, Some(process.open_files)),
        (Resource::Stack, process.stack),
        (Resource::Core, Some(process.core)),
        (Resource::As, process.address_space),
        (Resource::Cpu, process.cpu_seconds),
    ];
    let lower = |(item, (resource, limit)): (u32, (Resource, Option<u64>))| {
        let ours = getrlimit(resource);
        let value = match (limit, ours.maximum) {
            (Some(limit), Some(hard)) => Some(limit.min(hard)),
            (limit, hard) => limit.or(hard),
        };
        // What is inherited as it should be need not be set.
        let differs = (ours.current, ours.maximum) != (value, value);
        differs.then_some(Limit { item, resource, soft: value, hard: value })
    };
    (0..).zip(wanted).filter_map(lower).collect()
}

/// What the kernel says of the calling thread, of which the init is a copy.
fn own_status() -> Result<StatusFile, Error> {
    const PATH: &str = "/proc/thread-self/status";
    let failed = |source| Error::ReadSelf { path: PATH, source };
    // One read: the kernel makes the whole text for it, and the buffer is as large as the parser accepts.
    let mut text = [0; STATUS_BYTES];
    let length = std::fs::File::open(PATH).and_then(|mut file| file.read(&mut text)).map_err(failed)?;
    let status = StatusFile::parse(text.get(..length).unwrap_or_default());
    status.ok_or_else(|| failed(std::io::ErrorKind::InvalidData.into()))
}

/// Where the program may be: the path itself, or every directory of the box's `PATH`; each with its NUL.
pub(crate) fn candidates(plan: &RunPlan) -> Result<Vec<u8>, Error> {
    let program = plan.command.argv.first().map_or(OsStr::new(""), OsString::as_os_str);
    if program.as_bytes().contains(&b'/') {
        return Ok(c(program)?.into_bytes_with_nul());
    }
    let path = plan.command.env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_bytes());
    let directories = path.unwrap_or_default().split(|byte| *byte == b':').filter(|dir| !dir.is_empty());
    let mut packed = Vec::new();
    for directory in directories {
        let joined = c(OsString::from_vec([directory, b"/", program.as_bytes()].concat()))?;
        packed.extend_from_slice(joined.as_bytes_with_nul());
    }
    Ok(packed)
}

/// The environment as `execve` takes it.
pub(crate) fn environment(plan: &RunPlan) -> Result<Vec<CString>, Error> {
    let pair = |(name, value): &(OsString, OsString)| {
        let mut pair = name.clone();
        pair.push("=");
        pair.push(value);
        c(pair)
    };
    plan.command.env.iter().map(pair).collect()
}

/// The working directory of the program.
pub(crate) fn working_directory(plan: &RunPlan) -> Result<CString, Error> {
    if plan.namespaces.mount { c(&plan.command.cwd) } else { Ok(c"/".to_owned()) }
}

/// The program's arguments.
pub(crate) fn arguments(plan: &RunPlan) -> Result<Vec<CString>, Error> {
    plan.command.argv.iter().map(c).collect()
}

/// The namespaces that a plan asks for, by their names below `/proc/<pid>/ns`.
pub(crate) fn wanted_namespaces(plan: &RunPlan) -> impl Iterator<Item = &'static str> {
    let wanted = [
        (plan.namespaces.pid, "pid"),
        (plan.namespaces.mount, "mnt"),
        (plan.network == Network::None, "net"),
        (plan.namespaces.ipc, "ipc"),
        (plan.namespaces.uts, "uts"),
        (plan.namespaces.cgroup, "cgroup"),
        (plan.namespaces.time, "time"),
    ];
    wanted.into_iter().filter(|(on, _)| *on).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_is_closed() {
        assert_eq!(gaps(vec![0, 1, 2]), [(3, u32::MAX)]);
        assert_eq!(gaps(vec![7, 0, 2, 7, 4]), [(1, 1), (3, 3), (5, 6), (8, u32::MAX)]);
    }
}
