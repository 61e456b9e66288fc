//! The marks of a registry, turned round: from what a process shows to whether anybody cares.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use crate::registry::{Phase, Registry};
use crate::snapshot::Observer;

/// What makes a process worth reading in detail.
///
/// A host has thousands of processes and a handful of boxes, so the sorted lists are short.
#[derive(Debug, Default)]
pub(crate) struct MarkIndex {
    namespaces: Vec<u64>,
    sessions: Vec<u32>,
    uids: Vec<u32>,
    uid_range: Option<RangeInclusive<u32>>,
    lent_uids: Vec<u32>,
    members: HashSet<u32>,
}

impl MarkIndex {
    /// Collects the marks of all boxes whose marks mean something on this boot.
    pub(crate) fn new(registry: &Registry, observer: &Observer, members: impl Iterator<Item = u32>) -> Self {
        let mut index = Self {
            uid_range: registry.uids.clone(),
            lent_uids: registry.lent_uids.clone(),
            members: members.collect(),
            ..Self::default()
        };
        for marks in registry.boxes.iter().filter(|marks| marks.phase != Phase::EarlierBoot) {
            // The observer's own namespace or session would make half the host a candidate, and proves nothing.
            let namespace = marks.pid_namespace.as_ref().map(|mark| mark.inode());
            index.namespaces.extend(namespace.filter(|inode| *inode != observer.pid_namespace));
            index.sessions.extend(marks.audit_session.filter(|id| Some(*id) != observer.audit_session));
            index.uids.extend(marks.uid);
        }
        index.namespaces.sort_unstable();
        index.sessions.sort_unstable();
        index.uids.sort_unstable();
        index.lent_uids.sort_unstable();
        index
    }

    pub(crate) fn wants_sessions(&self) -> bool {
        !self.sessions.is_empty()
    }

    pub(crate) fn wants_owners(&self) -> bool {
        self.uid_range.is_some() || !self.uids.is_empty()
    }

    pub(crate) fn has_lineage(&self, lineage: &[u64]) -> bool {
        lineage.iter().any(|inode| self.namespaces.binary_search(inode).is_ok())
    }

    pub(crate) fn has_session(&self, session: Option<u32>) -> bool {
        session.is_some_and(|id| self.sessions.binary_search(&id).is_ok())
    }

    pub(crate) fn has_uid(&self, uid: u32) -> bool {
        let in_range = self.uid_range.as_ref().is_some_and(|range| range.contains(&uid));
        self.uids.binary_search(&uid).is_ok() || (in_range && self.lent_uids.binary_search(&uid).is_err())
    }

    pub(crate) fn has_member(&self, pid: u32) -> bool {
        self.members.contains(&pid)
    }
}
