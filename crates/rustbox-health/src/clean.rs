//! Whether anything is left of boxes that nobody owns any more.
//!
//! A living box is not dirt, whoever it belongs to: what counts is what has no live owner, by the locks on boxes and never
//! by a name. Nothing is accused on one look, since boxes come and go between two reads: what is not there twice
//! does not count.

use std::collections::BTreeSet;
use std::time::Duration;

use rustbox_core::BoxId;
use rustbox_supervisor::{BoxView, Host, Places, list};
use rustix::event::{Timespec, poll};
use serde::Serialize;

use crate::error::Error;
use crate::host_facts::{ipc, keyrings, mounts, processes, temporary};
use crate::leases;

/// What is left of a box for certain: a lock that nobody holds stands behind each of these.
const PROOF: [&str; 5] = ["mount", "cgroup", "process", "temp_dir", "lease"];
/// What has a uid of our range and no other mark. A uid alone never accuses, and it is no sign of a clean host either.
/// Keys are in neither list: without the system call filter a payload may make some, which the kernel keeps for its uid, and
/// which nobody can reach but the next box of that uid, from behind its own filter. They are counted and shown.
const DOUBT: [&str; 2] = ["unattributed", "ipc"];

/// Time between the two looks: longer than a box needs from its end to its last lock.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// The conclusion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cleanliness {
    /// Everything was looked at, and nothing is left.
    Clean,
    /// Something is left.
    Dirty(String),
    /// Nothing was found, and not everything could be looked at.
    Unknown(String),
}

/// One thing that is left, without a live owner.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Left {
    /// What: `mount`, `cgroup`, `process`, `temp_dir`, `lease`, `ipc`, `keyring`, or `unattributed` for a process that has
    /// a box's uid and no other mark.
    pub what: &'static str,
    /// Which.
    pub which: String,
}

/// A look at the host. What could not be looked at is null.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Survey {
    /// Whether [`Self::cleanliness`] is [`Cleanliness::Clean`].
    pub clean: bool,
    /// Mount points below our directories.
    pub mounts: Option<usize>,
    /// Cgroup directories of boxes.
    pub cgroups: Option<usize>,
    /// Processes in cgroups of boxes.
    pub processes: Option<usize>,
    /// Directories of boxes in the state directory, and directories in the runtime directory.
    pub temp_dirs: Option<usize>,
    /// Uids that are leased to boxes that are dead.
    pub leases: Option<usize>,
    /// Processes with a uid of the range that boxes get, in no box's cgroup: they accuse nobody, and are looked into by
    /// an audit.
    pub unattributed: Option<usize>,
    /// System V objects, POSIX queues and shared memory of the host's own namespace that belong to such a uid.
    pub ipc: Option<usize>,
    /// Such uids that have keys.
    pub keyrings: Option<usize>,
    /// Open file descriptions of the whole host, `/proc/sys/fs/file-nr`: to compare, not to judge.
    pub file_handles: Option<u64>,
    /// Boxes that are alive, and were left out.
    pub live_boxes: usize,
    /// What is left, and what might be: the conclusion says which.
    pub left: Vec<Left>,
    /// What could not be looked at.
    pub unseen: Vec<String>,
}

/// What one look found, by kind.
#[derive(Debug, Default)]
pub(crate) struct Look {
    pub(crate) left: BTreeSet<Left>,
    pub(crate) unseen: Vec<String>,
    pub(crate) blind: BTreeSet<&'static str>,
}

impl Look {
    pub(crate) fn found(&mut self, what: &'static str, which: String) {
        self.left.insert(Left { what, which });
    }

    pub(crate) fn unseen(&mut self, what: &'static str, why: &dyn std::fmt::Display) {
        self.blind.insert(what);
        self.unseen.push(format!("{what}: {why}"));
    }
}

impl Survey {
    /// The conclusion.
    #[must_use]
    pub fn cleanliness(&self) -> Cleanliness {
        if let Some(what) = self.sum(&PROOF) {
            return Cleanliness::Dirty(what);
        }
        let doubts: Vec<String> = self.sum(&DOUBT).into_iter().chain(self.unseen.iter().cloned()).collect();
        if doubts.is_empty() { Cleanliness::Clean } else { Cleanliness::Unknown(doubts.join("; ")) }
    }

    /// The first thing of some kinds, and how many more there are.
    fn sum(&self, kinds: &[&str]) -> Option<String> {
        let mut found = self.left.iter().filter(|left| kinds.contains(&left.what));
        let first = found.next()?;
        let more = match found.count() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Some(format!("{} {}{more}", first.what, first.which))
    }
}

/// Looks at the host; twice, when the first look finds anything.
///
/// # Errors
/// The boxes could not be listed.
pub fn survey(host: &Host, places: &Places) -> Result<Survey, Error> {
    let (mut look, mut live) = look(host, places)?;
    if !look.left.is_empty() {
        // The outcome of the wait is nothing: the second look tells.
        let _ = poll(&mut [], Timespec::try_from(BETWEEN_LOOKS).ok().as_ref());
        let (mut second, now_live) = self::look(host, places)?;
        second.left.retain(|left| look.left.contains(left));
        (look, live) = (second, now_live);
    }
    let count = |what: &'static str| {
        (!look.blind.contains(what)).then(|| look.left.iter().filter(|left| left.what == what).count())
    };
    let mut survey = Survey {
        clean: false,
        mounts: count("mount"),
        cgroups: count("cgroup"),
        processes: count("process"),
        temp_dirs: count("temp_dir"),
        leases: count("lease"),
        unattributed: count("unattributed"),
        ipc: count("ipc"),
        keyrings: count("keyring"),
        file_handles: crate::host_facts::file_handles(),
        live_boxes: live.len(),
        left: look.left.iter().cloned().collect(),
        unseen: look.unseen.clone(),
    };
    survey.clean = survey.cleanliness() == Cleanliness::Clean;
    Ok(survey)
}

fn look(host: &Host, places: &Places) -> Result<(Look, BTreeSet<BoxId>), Error> {
    let mut look = Look::default();
    let boxes = list(host).map_err(Error::Boxes)?;
    let live: BTreeSet<BoxId> = boxes.iter().filter(|found| is_live(found)).map(|found| found.box_id.clone()).collect();
    for dead in boxes.iter().filter(|found| !is_live(found)) {
        for path in &dead.cgroups {
            look.found("cgroup", path.clone());
        }
    }
    let leased = leases::read(host, &live, &mut look);
    processes(&live, &leased, &mut look);
    mounts(places, &live, &mut look);
    temporary(host, places, &live, &mut look);
    ipc(&leased, &mut look);
    keyrings(&leased, &mut look);
    Ok((look, live))
}

/// A box of which nobody can say whether it lives is not counted among the dead (it has no cgroup): its directory is.
fn is_live(found: &BoxView) -> bool {
    found.alive == Some(true)
}
