//! The parent's side: clone the init, listen to it, release it, wait for it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustbox_core::{Ending, RunPlan};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Signal, pidfd_send_signal};

use crate::blueprint::{Blueprint, gaps, wanted_namespaces};
use crate::error::Error;
use crate::init;
use crate::message::{MESSAGE_BYTES, Message};
use crate::sys::{self, CloneRequest};

/// A child of this process, named by its pidfd.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    pidfd: OwnedFd,
}

impl Process {
    /// Its pid in this PID namespace; for display and for `/proc`, never for signals.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its pidfd: readable once the process has ended.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Sends SIGKILL. A process that has ended already is no error.
    ///
    /// # Errors
    /// Whatever `pidfd_send_signal` says besides `ESRCH`.
    pub fn kill(&self) -> Result<(), Error> {
        match pidfd_send_signal(&self.pidfd, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(errno) => Err(Error::call("pidfd_send_signal(SIGKILL)")(errno)),
        }
    }

    /// Waits for the end and reaps. Blocks: poll [`Self::pidfd`] first where there is a deadline.
    ///
    /// # Errors
    /// `ECHILD` when somebody else has reaped it: that is missing evidence, not an end.
    pub fn wait(self) -> Result<Ending, Error> {
        match sys::wait_pidfd(self.pidfd.as_fd()) {
            Ok(Some(reaped)) => Ok(reaped.ending),
            Ok(None) => Err(Error::call("waitid")(rustix::io::Errno::CHILD)),
            Err(errno) => Err(Error::call("waitid")(errno)),
        }
    }
}

/// The init of a box.
#[derive(Debug)]
pub struct Init {
    process: Process,
    socket: OwnedFd,
}

/// A record of the init, and what came with it.
#[derive(Debug)]
pub struct Received {
    /// What it says.
    pub message: Message,
    /// The seccomp listener, with [`Message::Listener`].
    pub fd: Option<OwnedFd>,
}

/// Clones the init of a box, which stops at a barrier until [`Init::release`].
///
/// The init dies with this process, and with the *thread* that calls this: that thread must live as
/// long as the box. Where `cgroup` is given, a cgroup v2 directory, init is born in it
/// (`CLONE_INTO_CGROUP`, Linux 5.7).
///
/// # Errors
/// `clone3` or `socketpair` refused; nothing was created.
pub fn spawn(mut blueprint: Blueprint, cgroup: Option<BorrowedFd<'_>>) -> Result<(Init, Blueprint), Error> {
    let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
    let (ours, theirs) = pair.map_err(Error::call("socketpair for the box's init"))?;
    blueprint.plan_closing(theirs.as_fd());
    let request = CloneRequest { namespaces: blueprint.namespaces, exit_signal: 0, cgroup };
    let cloned = sys::clone3(&request, || {
        // The init's own copy of the supervisor's end would keep end-of-file from ever coming.
        sys::forget_fd(ours.as_fd());
        init::run(&blueprint, theirs.as_fd())
    });
    let (pid, pidfd) = cloned.map_err(Error::call("clone3 of the box's init"))?;
    let process = Process { pid: pid.unsigned_abs(), pidfd };
    Ok((Init { process, socket: ours }, blueprint))
}

impl Init {
    /// The process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Readable when there is a record, or the end.
    #[must_use]
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Takes the next record; none at the end. Blocks: poll [`Self::socket`] first.
    ///
    /// # Errors
    /// The socket failed, or the record is not one of ours.
    pub fn receive(&self) -> Result<Option<Received>, Error> {
        let mut bytes = [0; MESSAGE_BYTES + 1];
        let (length, fd) =
            sys::receive_with_fd(&self.socket, &mut bytes).map_err(Error::call("receive from the box's init"))?;
        if length == 0 {
            return Ok(None);
        }
        let message = Message::decode(bytes.get(..length).unwrap_or_default()).map_err(Error::Malformed)?;
        Ok(Some(Received { message, fd }))
    }

    /// Lets the init go on.
    ///
    /// # Errors
    /// The init is dead.
    pub fn release(&self) -> Result<(), Error> {
        sys::send_with_fd(self.socket.as_fd(), init::GO, None).map_err(Error::call("release the box's init"))
    }

    /// Gives up the socket: what the init says from now on goes nowhere.
    #[must_use]
    pub fn into_process(self) -> Process {
        self.process
    }
}

/// Inode numbers of a process's namespaces, in the order asked for.
///
/// # Errors
/// `/proc/<pid>/ns` could not be read, or holds something else than namespaces.
pub fn namespace_ids(pid: &str, names: &[&'static str]) -> Result<Vec<u64>, Error> {
    let read = |name: &&'static str| {
        let failed = |source| Error::ReadNamespace { pid: pid.to_owned(), name, source };
        let link = std::fs::read_link(format!("/proc/{pid}/ns/{name}")).map_err(failed)?;
        let text = link.to_string_lossy();
        let number = text.split_once(":[").and_then(|(_, rest)| rest.strip_suffix(']'));
        number.and_then(|n| n.parse().ok()).ok_or_else(|| failed(std::io::ErrorKind::InvalidData.into()))
    };
    names.iter().map(read).collect()
}

/// The namespaces that a plan asks for, by their names below `/proc/<pid>/ns`.
#[must_use]
pub fn planned_namespaces(plan: &RunPlan) -> Vec<&'static str> {
    wanted_namespaces(plan).collect()
}

/// Runs `child` in a copy of this process, in the same namespaces, with no descriptor but `keep`.
///
/// For the supervisor's keeper. `child` runs after a fork of what may be a program with threads: it
/// must not allocate, lock or panic. All signals are blocked in it, it has a session of its own and
/// the name given, and it is left by `_exit`. Its end raises no signal here.
///
/// # Errors
/// `clone3` refused.
pub fn spawn_helper(
    name: &'static std::ffi::CStr,
    keep: &[BorrowedFd<'_>],
    child: impl FnOnce() -> i32,
) -> Result<Process, Error> {
    use std::os::fd::AsRawFd;
    let close = gaps(keep.iter().map(AsRawFd::as_raw_fd).collect());
    let request = CloneRequest { namespaces: 0, exit_signal: 0, cgroup: None };
    let cloned = sys::clone3(&request, || {
        let _ = sys::block_all();
        let _ = rustix::thread::set_name(name);
        let _ = rustix::process::setsid();
        for (first, last) in &close {
            let _ = sys::close_range(*first, *last);
        }
        child()
    });
    let (pid, pidfd) = cloned.map_err(Error::call("clone3 of a helper"))?;
    Ok(Process { pid: pid.unsigned_abs(), pidfd })
}
