//! Who is in which PID namespace below ours, or has an audit session: kept by events, and read anew where they fail.

use std::collections::HashMap;

use crate::error::AuditError;
use crate::lineage::Lineages;
use crate::parse::{number, parse_namespace_link, parse_stat, trimmed};
use crate::proc_root::{ProcDirectory, ProcRoot};
use crate::reading::{ProcFile, Reading, Unread};

/// The marks that a process inherits and cannot change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Inherited {
    /// Its PID namespace and those it lies in, the observer's left out.
    pub(crate) lineage: Vec<u64>,
    pub(crate) audit_session: Option<u32>,
}

/// Every process that could be of a box. Strangers in the observer's own namespace are not kept.
#[derive(Debug, Default)]
pub(crate) struct Population {
    members: HashMap<u32, Inherited>,
}

impl Population {
    /// Reads the whole host anew.
    ///
    /// # Errors
    /// When the processes cannot be listed.
    pub(crate) fn walk(&mut self, root: &ProcRoot) -> Result<(), AuditError> {
        let mut pids = Vec::new();
        root.list(&mut pids)?;
        self.members.clear();
        let mut reader = Reader::new(root);
        for pid in pids {
            self.note(&mut reader, pid);
        }
        Ok(())
    }

    /// Reads the marks of one process.
    pub(crate) fn note(&mut self, reader: &mut Reader<'_>, pid: u32) -> Option<&Inherited> {
        // What cannot be read here is a gap that the full pass tells.
        match reader.read(pid) {
            Ok(marks) if !marks.lineage.is_empty() || marks.audit_session.is_some() => {
                self.members.insert(pid, marks);
                self.members.get(&pid)
            }
            Ok(_) | Err(_) => {
                self.members.remove(&pid);
                None
            }
        }
    }

    /// Forgets a process if it has ended, or is about to.
    pub(crate) fn forget_dead(&mut self, root: &ProcRoot, pid: u32) {
        if !self.members.contains_key(&pid) {
            return;
        }
        let mut text = Vec::new();
        let read = root.open_process(pid).and_then(|directory| directory.read(ProcFile::Stat, &mut text));
        let is_over = match read {
            Ok(()) => parse_stat(&text).is_some_and(|(stat, _)| stat.is_exiting() && stat.num_threads <= 1),
            Err(why) => why == Unread::Vanished,
        };
        if is_over {
            self.members.remove(&pid);
        }
    }

    pub(crate) fn forget(&mut self, pid: u32) {
        self.members.remove(&pid);
    }

    pub(crate) fn get(&self, pid: u32) -> Option<&Inherited> {
        self.members.get(&pid)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Inherited)> {
        self.members.iter().map(|(pid, marks)| (*pid, marks))
    }
}

/// Reads marks; what it knows of namespaces is good for one batch.
pub(crate) struct Reader<'r> {
    root: &'r ProcRoot,
    lineages: Lineages,
    buffer: Vec<u8>,
}

impl<'r> Reader<'r> {
    pub(crate) fn new(root: &'r ProcRoot) -> Self {
        Self { root, lineages: Lineages::new(root.observer().pid_namespace), buffer: Vec::new() }
    }

    fn read(&mut self, pid: u32) -> Reading<Inherited> {
        let directory = self.root.open_process(pid)?;
        let inode = self.namespace(&directory)?;
        let observer = self.root.observer();
        let lineage =
            if inode == observer.pid_namespace { Vec::new() } else { self.lineages.climb(&directory, inode)? };
        self.buffer.clear();
        // A kernel without audit sessions has no such file.
        let session = match directory.read(ProcFile::SessionId, &mut self.buffer) {
            Ok(()) => number(trimmed(&self.buffer)).filter(|id| *id != u32::MAX),
            Err(_) => None,
        };
        Ok(Inherited { lineage, audit_session: session.filter(|id| Some(*id) != observer.audit_session) })
    }

    fn namespace(&mut self, directory: &ProcDirectory) -> Reading<u64> {
        self.buffer.clear();
        directory.read(ProcFile::PidNamespace, &mut self.buffer)?;
        parse_namespace_link(&self.buffer).ok_or(Unread::MALFORMED)
    }
}
