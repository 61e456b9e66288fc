//! Descriptors and credentials through a local socket, on buffers of fixed size.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

/// Descriptors in one record at most.
pub(crate) const FDS_MAX: usize = 8;

/// What came with a record.
#[derive(Debug)]
pub(crate) struct Arrived {
    /// Bytes of the record; 0 at the end.
    pub(crate) length: usize,
    /// The descriptors.
    pub(crate) fds: [Option<OwnedFd>; FDS_MAX],
    /// The sender, as the kernel numbers it for the receiver; with `SO_PASSCRED` only.
    pub(crate) sender: Option<u32>,
}

/// Sends one record with its descriptors. Does not wait when nobody reads.
pub(crate) fn send_with_fds(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::MSGSIZE);
    }
    let sent = rustix::io::retry_on_intr(|| {
        sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
    })?;
    if sent == bytes.len() { Ok(()) } else { Err(Errno::MSGSIZE) }
}

/// Receives one record, and what came with it.
///
/// That the other end was closed with a record of ours unread is told once (`ECONNRESET`), ahead of what it had sent before:
/// that is received then.
pub(crate) fn receive_with_fds(socket: impl AsFd, bytes: &mut [u8], flags: RecvFlags) -> Result<Arrived, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8), ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let mut receive =
        || rustix::io::retry_on_intr(|| recvmsg(&socket, &mut [IoSliceMut::new(bytes)], &mut control, flags));
    let received = match receive() {
        Err(Errno::CONNRESET) => receive(),
        received => received,
    }?;
    let mut arrived = Arrived { length: received.bytes, fds: [const { None }; FDS_MAX], sender: None };
    for message in control.drain() {
        match message {
            RecvAncillaryMessage::ScmRights(fds) => {
                for (slot, fd) in arrived.fds.iter_mut().zip(fds) {
                    *slot = Some(fd);
                }
            }
            RecvAncillaryMessage::ScmCredentials(credentials) => {
                arrived.sender = u32::try_from(credentials.pid.as_raw_nonzero().get()).ok();
            }
            _ => {}
        }
    }
    Ok(arrived)
}
