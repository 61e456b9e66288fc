//! The keeper: a process outside the box that outlives its supervisor, to clean up after it.
//!
//! It is there before anything else of a box. It makes the box's network namespace, which takes long, while the supervisor
//! does what comes before the init; then it waits on a pidfd of the supervisor and does nothing until that is dead. Then it
//! kills the box (whose init should be dead already), waits until it is empty, removes cgroups and directory, gives the uid
//! back, and ends. The supervisor hands it the locks of the box as it takes them, so that a box never looks dead while
//! somebody still cleans it.
//!
//! A supervisor that ends in good order kills its keeper, which has nothing left to do. A pool's keeper, whose box is gone,
//! is told the name of the next one instead: that ends what it held of the last.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustbox_cgroup::BoxCgroup;
use rustbox_core::{BoxId, CgroupBackend, Network, RunPlan};
use rustbox_ns::{Process, receive_fds, send_fds, spawn_helper};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::time::Timespec;

use crate::error::Error;
use crate::host::Host;
use crate::keeper_child::{self, Ends, Plan};
use crate::keeper_path::KeeperPath;
use crate::keepers;
use crate::lock;
use crate::teardown::KILL_LIMIT;

/// Records that the keeper is sent, each with descriptors.
pub(crate) const TAG_LEASE: u8 = b'U';
pub(crate) const TAG_LOCK: u8 = b'L';
pub(crate) const TAG_CGROUPS: u8 = b'C';
/// What follows is of another box, whose name is sent next.
pub(crate) const TAG_NEXT: u8 = b'X';
/// What the keeper sends: that it runs, then a network namespace, or nothing where it could not make one.
pub(crate) const TAG_RUNS: u8 = b'R';
pub(crate) const TAG_NETWORK: u8 = b'N';

/// How long the supervisor waits for a record of its keeper; it can do without either. A network namespace takes half a
/// millisecond, and on a busy host it is as well made by the init.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long a process that dies may be without its sockets, which it loses first (`do_exit` in `kernel/exit.c`), before its
/// end can be seen.
const DYING: Duration = Duration::from_millis(100);

/// The supervisor's side of its keeper.
#[derive(Debug)]
pub(crate) struct Keeper {
    process: Process,
    socket: OwnedFd,
    plan: Plan,
    /// Where a keeper hears of its next box; none for one that has one box.
    names: Option<OwnedFd>,
    /// Whether it has done all that it was asked for: else what comes too late would be taken for its next box's.
    is_prompt: Cell<bool>,
    is_reused: bool,
}

impl Keeper {
    /// The keeper of a box that does not exist yet: one that waits, or a new one.
    pub(crate) fn of_box(host: &Host, id: &BoxId, run: &RunPlan) -> Result<Self, Error> {
        let plan = plan(host, id, run);
        while let Some(mut keeper) = host.keepers().take(&plan) {
            if keeper.begin(&plan) {
                return Ok(keeper);
            }
            // Somebody has killed it.
            keepers::dismiss(keeper);
        }
        Self::spawn(host, plan)
    }

    /// Whether another box's paths are its own, but for the name.
    pub(crate) fn fits(&self, plan: &Plan) -> bool {
        let mut renamed = self.plan.clone();
        renamed.rename(&plan.id) && renamed == *plan
    }

    /// Tells a keeper that waits the name of its next box.
    fn begin(&mut self, plan: &Plan) -> bool {
        self.is_prompt.set(!plan.network);
        self.is_reused = true;
        self.plan.rename(&plan.id)
            && send_fds(self.socket.as_fd(), TAG_NEXT, &[]).is_ok()
            && self.names.as_ref().is_some_and(|names| send(names, &plan.id, SendFlags::NOSIGNAL) == Ok(plan.id.len()))
    }

    /// Gives the keeper of a box of which nothing is left to the next one, if there will be one, or ends it.
    pub(crate) fn release(self, host: &Host) -> Result<(), Error> {
        let can_go_on = self.names.is_some() && self.is_prompt.get();
        let left = if can_go_on { host.keepers().keep(self) } else { Some(self) };
        left.map_or(Ok(()), Self::dismiss)
    }

    /// Whether it waited for this box and was killed meanwhile: then another one may do. Asked after something has failed.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_reused && self.process.ends_within(DYING)
    }

    fn spawn(host: &Host, mut plan: Plan) -> Result<Self, Error> {
        let own = i32::try_from(host.pid()).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH);
        let supervisor = own.and_then(|own| pidfd_open(own, PidfdFlags::empty()));
        let supervisor = supervisor.map_err(Error::call("pidfd_open of this process"))?;
        // Its end comes first, next to the pidfd if nothing is in between: then it has one gap less to close.
        let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let (theirs, ours) = pair.map_err(Error::call("socketpair for the keeper"))?;
        let names = host
            .keepers()
            .are_wanted()
            .then(|| socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None))
            .transpose();
        let (hear, names) = names.map_err(Error::call("socketpair for the keeper's next box"))?.unzip();
        let ends =
            Ends { supervisor: supervisor.as_fd(), socket: theirs.as_fd(), names: hear.as_ref().map(AsFd::as_fd) };
        let keep: Vec<BorrowedFd<'_>> = [ends.supervisor, ends.socket].into_iter().chain(ends.names).collect();
        let process = spawn_helper(c"rustbox-keeper", &keep, || keeper_child::run(&mut plan, ends))?;
        let is_prompt = Cell::new(!plan.network);
        let keeper = Self { process, socket: ours, plan, names, is_prompt, is_reused: false };
        keeper.wait_until_it_runs();
        Ok(keeper)
    }

    /// Gives the keeper copies of descriptors, and with them of the locks that they hold.
    pub(crate) fn hand_over(&self, tag: u8, fds: &[BorrowedFd<'_>]) -> Result<(), Error> {
        send_fds(self.socket.as_fd(), tag, fds).map_err(Error::call("hand a lock to the keeper"))
    }

    /// A process that is born may be put behind its parent, on the same processor; who is woken gets one that is idle. So
    /// this waits until the keeper says that it runs, and both are at work at the same time.
    fn wait_until_it_runs(&self) {
        let _ = self.wait_for_record();
    }

    /// A record of the keeper that is there.
    fn record(&self) -> Option<(u8, Option<OwnedFd>)> {
        match receive_fds(self.socket.as_fd()) {
            Ok(Some((tag, [fd, ..]))) => Some((tag, fd)),
            Ok(None) | Err(_) => None,
        }
    }

    /// The next record of the keeper, if it comes in time.
    fn wait_for_record(&self) -> Option<(u8, Option<OwnedFd>)> {
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        let patience = Timespec::try_from(PATIENCE).ok();
        rustix::io::retry_on_intr(|| poll(&mut fds, patience.as_ref())).ok()?;
        self.record()
    }

    /// Takes the network namespace that the keeper has made meanwhile; none when it could not, or is too slow.
    pub(crate) fn take_network(&self) -> Option<OwnedFd> {
        loop {
            let (tag, fd) = self.record().or_else(|| self.wait_for_record())?;
            // Else it says, too late, that it runs.
            if tag == TAG_NETWORK {
                self.is_prompt.set(true);
                return fd;
            }
        }
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

fn plan(host: &Host, id: &BoxId, run: &RunPlan) -> Plan {
    let c = KeeperPath::from;
    let cgroups = BoxCgroup::plan_paths(host.hierarchies(), id, &run.limits);
    let directory = host.boxes_path().join(id.as_str());
    let names = [lock::MARKS, lock::NEW_MARKS, lock::KILL_REQUEST];
    let primary = cgroups.first().cloned().unwrap_or_default();
    Plan {
        id: id.as_str().as_bytes().to_vec(),
        network: run.network == Network::None,
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
