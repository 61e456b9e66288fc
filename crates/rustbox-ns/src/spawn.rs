//! The parent's side: clone the init, listen to it, release it, wait for it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, socketpair};

use crate::blueprint::Blueprint;
use crate::error::Error;
use crate::init;
use crate::message::{MESSAGE_BYTES, Message};
use crate::process::Process;
use crate::sys::{self, CloneRequest};

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
    /// Who sent it, as this PID namespace numbers processes: the kernel's word, not the sender's.
    pub sender: Option<u32>,
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
    // The init's end comes first, next to what it keeps besides: then it has one gap less to close.
    let (theirs, ours) = pair.map_err(Error::call("socketpair for the box's init"))?;
    rustix::net::sockopt::set_socket_passcred(&ours, true).map_err(Error::call("SO_PASSCRED"))?;
    blueprint.plan_closing(theirs.as_fd());
    let request = CloneRequest { namespaces: blueprint.namespaces, cgroup };
    let cloned = sys::clone3(&request, || {
        // The init's own copy of the supervisor's end would keep end-of-file from ever coming. It may be one of 0, 1 and 2.
        sys::forget_fd(ours.as_fd());
        init::run(&blueprint, theirs.as_fd())
    });
    let (pid, pidfd) = cloned.map_err(Error::call("clone3 of the box's init"))?;
    let process = Process { pid: pid.unsigned_abs(), pidfd };
    // It is the init's now, and ends with it.
    blueprint.network = None;
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
        let arrived = sys::receive_with_fds(&self.socket, &mut bytes, RecvFlags::empty());
        let arrived = arrived.map_err(Error::call("receive from the box's init"))?;
        if arrived.length == 0 {
            return Ok(None);
        }
        let message = Message::decode(bytes.get(..arrived.length).unwrap_or_default()).map_err(Error::Malformed)?;
        let [fd, ..] = arrived.fds;
        Ok(Some(Received { message, fd, sender: arrived.sender }))
    }

    /// Lets the init go on.
    ///
    /// # Errors
    /// The init is dead.
    pub fn release(&self) -> Result<(), Error> {
        sys::send_with_fds(self.socket.as_fd(), init::GO, &[]).map_err(Error::call("release the box's init"))
    }

    /// Gives up the socket: what the init says from now on goes nowhere.
    #[must_use]
    pub fn into_process(self) -> Process {
        self.process
    }
}
