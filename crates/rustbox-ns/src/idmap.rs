//! User namespaces that serve only as id mappings of writable binds.
//!
//! On disk the files belong to somebody of the host; the box has a uid of its own. The mapping lets
//! the box's uid act as the owner of the bound directory, and nobody else's files become its own.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use rustbox_core::{Bind, BindAccess};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Signal, pidfd_send_signal};

use crate::blueprint::gaps;
use crate::error::Error;
use crate::sys::{self, CloneRequest};

/// One user namespace for each owner, and which bind uses which.
#[derive(Debug)]
pub(crate) struct IdMaps {
    namespaces: BTreeMap<(u32, u32), OwnedFd>,
    owners: Vec<Option<(u32, u32)>>,
}

impl IdMaps {
    pub(crate) fn new(binds: &[Bind], uid: u32) -> Result<Self, Error> {
        let mut maps = Self { namespaces: BTreeMap::new(), owners: Vec::with_capacity(binds.len()) };
        for bind in binds {
            if bind.access == BindAccess::ReadOnly {
                maps.owners.push(None);
                continue;
            }
            let failed = |source| Error::IdMap { path: bind.source.clone(), source };
            let found = fs::metadata(&bind.source).map_err(failed)?;
            let owner = (found.uid(), found.gid());
            if let std::collections::btree_map::Entry::Vacant(vacant) = maps.namespaces.entry(owner) {
                vacant.insert(user_namespace(owner, uid).map_err(failed)?);
            }
            maps.owners.push(Some(owner));
        }
        Ok(maps)
    }

    /// For each bind its user namespace, if it is a writable one.
    pub(crate) fn fds(&self) -> Vec<Option<BorrowedFd<'_>>> {
        let find = |owner: &Option<(u32, u32)>| owner.as_ref().and_then(|o| self.namespaces.get(o)).map(AsFd::as_fd);
        self.owners.iter().map(find).collect()
    }
}

/// A namespace lives as long as a descriptor of it: the process that was born in it ends at once.
///
/// That process keeps one end of a socket and nothing else, so that it ends with its parent, and is killed
/// when it has served. It must not wait for end-of-file alone, nor keep what it inherited: of two boxes that
/// are prepared at the same time, each helper would hold the other's end of the socket, for ever.
fn user_namespace(owner: (u32, u32), uid: u32) -> std::io::Result<OwnedFd> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let namespaces = u64::from(libc::CLONE_NEWUSER.unsigned_abs());
    let request = CloneRequest { namespaces, cgroup: None };
    let close = gaps(vec![theirs.as_raw_fd()]);
    let (pid, pidfd) = sys::clone3(&request, || {
        let _ = sys::block_all();
        for (first, last) in &close {
            let _ = sys::close_range(*first, *last);
        }
        let _ = rustix::io::read(&theirs, &mut [0_u8; 1][..]);
        0
    })?;
    drop(theirs);
    // Inside the mapping is the number on disk, outside the uid that the box runs as.
    let opened = fs::write(format!("/proc/{pid}/uid_map"), format!("{} {uid} 1", owner.0))
        .and_then(|()| fs::write(format!("/proc/{pid}/gid_map"), format!("{} {uid} 1", owner.1)))
        .and_then(|()| fs::File::open(format!("/proc/{pid}/ns/user")));
    drop(ours);
    match pidfd_send_signal(&pidfd, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(errno) => return Err(errno.into()),
    }
    sys::wait_pidfd(pidfd.as_fd())?;
    opened.map(OwnedFd::from)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    #[test]
    fn namespaces_made_by_many_threads_at_once_do_not_wait_for_each_other() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: making id mappings needs root");
            return;
        }
        let (done, all_done) = channel();
        for _ in 0..8 {
            let done = done.clone();
            std::thread::spawn(move || {
                for _ in 0..25 {
                    user_namespace((0, 0), 70_999).unwrap();
                }
                done.send(()).unwrap();
            });
        }
        for _ in 0..8 {
            all_done.recv_timeout(Duration::from_secs(60)).expect("a helper waits for ever");
        }
    }
}
