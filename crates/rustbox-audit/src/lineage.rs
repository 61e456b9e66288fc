//! From a process's PID namespace up to the observer's, by `NS_GET_PARENT`.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};

use crate::proc_root::ProcDirectory;
use crate::reading::{Reading, Unread};
use crate::sys;

/// Namespaces lie in one another 32 deep at most (`MAX_PID_NS_LEVEL` of kernel/pid_namespace.c); one more shows a bug.
const LEVELS_MAX: usize = 33;
/// Namespaces that are held open during one look, so that their numbers cannot be given away within it.
/// Beyond that each process is climbed from anew: a host with more namespaces pays for its descriptors elsewhere.
const HELD_MAX: usize = 256;

/// The lineages found in one look.
pub(crate) struct Lineages {
    top: u64,
    known: HashMap<u64, Known>,
}

struct Known {
    lineage: Vec<u64>,
    /// While this is open, the inode number belongs to this namespace.
    _held: OwnedFd,
}

impl Lineages {
    /// Starts a look from the observer's namespace.
    pub(crate) fn new(top: u64) -> Self {
        Self { top, known: HashMap::new() }
    }

    /// The numbers from `inode`, the namespace of that process, up to the observer's, which is left out.
    pub(crate) fn climb(&mut self, process: &ProcDirectory, inode: u64) -> Reading<Vec<u64>> {
        if let Some(known) = self.known.get(&inode) {
            return Ok(known.lineage.clone());
        }
        let namespace = process.open_pid_namespace()?;
        let lineage = climb_from(&namespace, self.top)?;
        if lineage.first() != Some(&inode) {
            // A process never changes its PID namespace, so the first reading was of another process.
            return Err(Unread::Vanished);
        }
        if self.known.len() < HELD_MAX {
            self.known.insert(inode, Known { lineage: lineage.clone(), _held: namespace });
        }
        Ok(lineage)
    }
}

fn climb_from(namespace: &OwnedFd, top: u64) -> Reading<Vec<u64>> {
    let mut lineage = vec![rustix::fs::fstat(namespace)?.st_ino];
    let mut step = parent_of(namespace)?;
    while let Some(parent) = step {
        let inode = rustix::fs::fstat(&parent)?.st_ino;
        if inode == top || lineage.len() >= LEVELS_MAX {
            break;
        }
        lineage.push(inode);
        step = parent_of(&parent)?;
    }
    Ok(lineage)
}

/// The namespace above; none above the highest that the caller can see.
fn parent_of(namespace: &OwnedFd) -> Reading<Option<OwnedFd>> {
    match sys::ns_parent(namespace.as_fd()) {
        Ok(parent) => Ok(Some(parent)),
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(None),
        Err(error) => Err(Unread::Failed(error.raw_os_error().unwrap_or(0))),
    }
}
