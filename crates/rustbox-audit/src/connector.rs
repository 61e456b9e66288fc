//! The kernel's own word of every process that begins, executes and ends, as it happens.
//!
//! The kernel drops what a listener does not fetch in time, and says so once, by `ENOBUFS`: then nobody can tell what
//! was missed, and only a look at the whole host is an answer.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::parse::{CN_IDX_PROC, ProcEvent, listen_request, parse_proc_events};

/// Longest datagram: one event is 76 bytes.
const DATAGRAM_BYTES: usize = 4096;
/// `PROC_PID_INIT_INO` and `PROC_USER_INIT_INO` of include/linux/proc_ns.h.
const INITIAL_PID_NAMESPACE: u64 = 0xefff_fffc;
const INITIAL_USER_NAMESPACE: u64 = 0xefff_fffd;
/// How long the kernel may take to answer a subscription: it does so within the call.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);
/// Events that are fetched before anything else is done: a storm of forks must not hold up the comparison of trees.
const BATCH_MAX: usize = 4096;

/// A subscription.
#[derive(Debug)]
pub(crate) struct ProcConnector {
    socket: OwnedFd,
}

/// What was fetched.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) events: Vec<ProcEvent>,
    /// Whether events were lost before these.
    pub(crate) lost: bool,
}

impl ProcConnector {
    /// Subscribes. Needs the PID namespace and the network namespace that the host booted with, and before Linux 6.6
    /// `CAP_NET_ADMIN`; since then only a buffer above `net.core.rmem_max` needs that.
    ///
    /// # Errors
    /// What the kernel says, or that it says nothing: whoever is in another PID namespace or user namespace is passed over
    /// in silence (`cn_proc_mcast_ctl` in drivers/connector/cn_proc.c). When somebody else listens, he gets the events all
    /// the same, with pids that mean nothing where he is.
    pub(crate) fn open(pid_namespace: u64, buffer_bytes: usize) -> io::Result<Self> {
        let user_namespace = std::fs::metadata("/proc/self/ns/user")?.ino();
        if (pid_namespace, user_namespace) != (INITIAL_PID_NAMESPACE, INITIAL_USER_NAMESPACE) {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "only the host's first PID and user namespace has them",
            ));
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let protocol = Some(netlink::CONNECTOR);
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, protocol)?;
        // Above the host's limit where we may, below it where we may not: how much it was shows when events are lost.
        if rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, buffer_bytes).is_err() {
            rustix::net::sockopt::set_socket_recv_buffer_size(&socket, buffer_bytes)?;
        }
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, CN_IDX_PROC))?;
        rustix::net::send(&socket, &listen_request(std::process::id()), SendFlags::empty())?;
        let mut waiting = [PollFd::new(&socket, PollFlags::IN)];
        let limit = Timespec::try_from(ANSWER_LIMIT).map_err(|_| Errno::INVAL)?;
        if rustix::io::retry_on_intr(|| poll(&mut waiting, Some(&limit)))? == 0 {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the kernel does not answer"));
        }
        Ok(Self { socket })
    }

    /// Fetches what there is, without waiting.
    ///
    /// # Errors
    /// What the kernel says, other than that there is nothing, or that something was lost.
    pub(crate) fn fetch(&self, batch: &mut Batch) -> io::Result<()> {
        batch.events.clear();
        batch.lost = false;
        let mut space = [0; DATAGRAM_BYTES];
        while batch.events.len() < BATCH_MAX {
            match rustix::net::recv(&self.socket, space.as_mut_slice(), RecvFlags::empty()) {
                Ok((0, _)) | Err(Errno::AGAIN) => break,
                Ok((length, _)) => match space.get(..length).and_then(parse_proc_events) {
                    Some(events) => batch.events.extend(events),
                    // A datagram that is not understood may have said anything.
                    None => batch.lost = true,
                },
                Err(Errno::NOBUFS) => batch.lost = true,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}

impl AsFd for ProcConnector {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
