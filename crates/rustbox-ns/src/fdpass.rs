//! Handing descriptors from the supervisor to its keeper.
//!
//! What is sent and not yet received is held by the kernel: a lock that travels this way stays
//! locked when its sender dies, although nobody has read the record.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::RecvFlags;

use crate::sys;

/// Descriptors in one record at most.
pub const FDS_MAX: usize = sys::FDS_MAX;

/// A record that was received: its byte, and the descriptors that came along.
pub(crate) type Received = (u8, [Option<OwnedFd>; FDS_MAX]);

/// Sends a record of one byte with descriptors, at most [`FDS_MAX`]. Never waits.
///
/// # Errors
/// The other end is closed, or there are too many descriptors.
pub fn send_fds(socket: BorrowedFd<'_>, tag: u8, fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    sys::send_with_fds(socket, &[tag], fds)
}

/// Takes a record that is there already; none when there is none. Does not allocate.
///
/// # Errors
/// The socket failed.
pub fn receive_fds(socket: BorrowedFd<'_>) -> Result<Option<Received>, Errno> {
    let mut tag = [0];
    match sys::receive_with_fds(socket, &mut tag, RecvFlags::DONTWAIT) {
        Ok(arrived) if arrived.length == 1 => Ok(Some((tag[0], arrived.fds))),
        Ok(_) | Err(Errno::AGAIN | Errno::CONNRESET) => Ok(None),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    #[test]
    fn what_was_sent_arrives_although_the_sender_closed_its_end_with_a_record_unread() {
        let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let (ours, theirs) = pair.unwrap();
        send_fds(theirs.as_fd(), b'1', &[ours.as_fd()]).unwrap();
        send_fds(theirs.as_fd(), b'2', &[]).unwrap();
        send_fds(ours.as_fd(), b'x', &[]).unwrap();
        drop(theirs);
        let received = || receive_fds(ours.as_fd()).unwrap().map(|(tag, [fd, ..])| (tag, fd.is_some()));
        assert_eq!([received(), received(), received()], [Some((b'1', true)), Some((b'2', false)), None]);
    }
}
