//! The keeper: a process outside the box that outlives its supervisor, to clean up after it.
//!
//! It is there before anything else of a box. It waits on a pidfd of the supervisor and does nothing
//! until that is dead. Then it kills the box (whose init should be dead already), waits until it is
//! empty, removes cgroups and directory, gives the uid back, and ends. The supervisor hands it the
//! locks of the box as it takes them, so that a box never looks dead while somebody still cleans it.
//!
//! A supervisor that ends in good order kills its keeper, which has nothing left to do.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustbox_cgroup::BoxCgroup;
use rustbox_core::{BoxId, CgroupBackend, Limits};
use rustbox_ns::{Process, send_fds, spawn_helper};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{PidfdFlags, getpid, pidfd_open};

use crate::error::Error;
use crate::host::Host;
use crate::keeper_child::{self, Plan};
use crate::lock;
use crate::teardown::KILL_LIMIT;

/// Records that the keeper is sent, each with descriptors.
pub(crate) const TAG_LEASE: u8 = b'U';
pub(crate) const TAG_LOCK: u8 = b'L';
pub(crate) const TAG_CGROUPS: u8 = b'C';

/// The supervisor's side of its keeper.
#[derive(Debug)]
pub(crate) struct Keeper {
    process: Process,
    socket: OwnedFd,
}

impl Keeper {
    /// Starts the keeper of a box that does not exist yet.
    pub(crate) fn spawn(host: &Host, id: &BoxId, limits: &Limits) -> Result<Self, Error> {
        let plan = plan(host, id, limits);
        let supervisor =
            pidfd_open(getpid(), PidfdFlags::empty()).map_err(Error::call("pidfd_open of this process"))?;
        let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let (ours, theirs) = pair.map_err(Error::call("socketpair for the keeper"))?;
        let process = spawn_helper(c"rustbox-keeper", &[supervisor.as_fd(), theirs.as_fd()], || {
            keeper_child::run(&plan, supervisor.as_fd(), theirs.as_fd())
        })?;
        Ok(Self { process, socket: ours })
    }

    /// Gives the keeper copies of descriptors, and with them of the locks that they hold.
    pub(crate) fn hand_over(&self, tag: u8, fds: &[BorrowedFd<'_>]) -> Result<(), Error> {
        send_fds(self.socket.as_fd(), tag, fds).map_err(Error::call("hand a lock to the keeper"))
    }

    /// Ends a keeper that is not needed any more, and reaps it.
    pub(crate) fn dismiss(self) -> Result<(), Error> {
        self.process.kill()?;
        // A busy disk holds it up as it does a box.
        if !self.process.ends_within(KILL_LIMIT) {
            return Err(Error::KeeperStays { pid: self.process.pid() });
        }
        self.process.wait()?;
        Ok(())
    }
}

fn plan(host: &Host, id: &BoxId, limits: &Limits) -> Plan {
    // Our own paths have no NUL bytes: they were opened already, or are made of a checked id.
    let c = |path: std::path::PathBuf| CString::new(path.as_os_str().as_bytes()).unwrap_or_default();
    let cgroups = BoxCgroup::plan_paths(host.hierarchies(), id, limits);
    let directory = host.boxes_path().join(id.as_str());
    let names = [lock::MARKS, lock::NEW_MARKS, lock::KILL_REQUEST];
    let primary = cgroups.first().cloned().unwrap_or_default();
    Plan {
        v2: host.hierarchies().backend() != CgroupBackend::V1,
        kill: c(primary.join("cgroup.kill")),
        events: c(primary.join("cgroup.events")),
        procs: cgroups.iter().map(|path| c(path.join("cgroup.procs"))).collect(),
        cgroups: cgroups.into_iter().map(c).collect(),
        new_lock: c(directory.join(lock::new_lock_name(host))),
        lock: c(directory.join(lock::LOCK)),
        kept: c(directory.join(lock::KEPT)),
        files: names.iter().map(|name| c(directory.join(name))).collect(),
        directory: c(directory),
    }
}
