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
