//! User namespaces that serve only as id mappings of writable binds.
//!
//! On disk the files belong to somebody of the host; the box has a uid of its own. The mapping lets
//! the box's uid act as the owner of the bound directory, and nobody else's files become its own.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use rustbox_core::{Bind, BindAccess};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

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
fn user_namespace(owner: (u32, u32), uid: u32) -> std::io::Result<OwnedFd> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let namespaces = u64::from(libc::CLONE_NEWUSER.unsigned_abs());
    let request = CloneRequest { namespaces, exit_signal: 0, cgroup: None };
    let (pid, pidfd) = sys::clone3(&request, || {
        sys::forget_fd(ours.as_fd());
        // Ends with the parent, or when the parent has what it needs.
        let _ = rustix::io::read(&theirs, &mut [0_u8; 1][..]);
        0
    })?;
    drop(theirs);
    // Inside the mapping is the number on disk, outside the uid that the box runs as.
    let opened = fs::write(format!("/proc/{pid}/uid_map"), format!("{} {uid} 1", owner.0))
        .and_then(|()| fs::write(format!("/proc/{pid}/gid_map"), format!("{} {uid} 1", owner.1)))
        .and_then(|()| fs::File::open(format!("/proc/{pid}/ns/user")));
    drop(ours);
    sys::wait_pidfd(pidfd.as_fd())?;
    opened.map(OwnedFd::from)
}
