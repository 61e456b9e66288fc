//! One look at a host: the only reader.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use rustbox_core::ProcessKey;
use rustix::time::{ClockId, clock_gettime};

use crate::cgroup_dir::{read_cgroups, read_paths};
use crate::error::AuditError;
use crate::index::MarkIndex;
use crate::lineage::Lineages;
use crate::observe::{Climb, Observed, ReadFile, observe};
use crate::parse::{escaped, parse_stat};
use crate::proc_root::ProcRoot;
use crate::reading::{ProcFile, Reading, Unread};
use crate::registry::Registry;
use crate::snapshot::{AncestorSeen, CgroupSeen, Observer, PathSeen, ProcSnapshot};

/// Ancestors that are followed: more means a loop that a recycled pid made.
const ANCESTORS_MAX: usize = 64;
/// Room for one file, from the start: no file of an ordinary process makes it grow.
const BUFFER_BYTES: usize = 8 << 10;

impl ProcSnapshot {
    /// Looks at every process once, and at the candidates in detail.
    ///
    /// Members of the boxes' cgroups are listed first, so that a process without any other mark is a candidate too.
    ///
    /// # Errors
    /// When the processes cannot be listed. What cannot be read of one process is noted in the snapshot.
    pub fn take(root: &ProcRoot, registry: &Registry) -> Result<Self, AuditError> {
        let cgroups = read_cgroups(registry);
        let paths = read_paths(registry);
        let mut pids = Vec::new();
        root.list(&mut pids)?;
        Ok(Self::of(root, registry, cgroups, paths, &pids))
    }

    /// Looks at these processes and at no other.
    pub(crate) fn take_of(root: &ProcRoot, registry: &Registry, cgroups: Vec<CgroupSeen>, pids: &[u32]) -> Self {
        Self::of(root, registry, cgroups, Vec::new(), pids)
    }

    fn of(root: &ProcRoot, registry: &Registry, cgroups: Vec<CgroupSeen>, paths: Vec<PathSeen>, pids: &[u32]) -> Self {
        let mut look = SnapshotBuilder::new(root.observer().clone(), registry, cgroups, paths);
        let mut lineages = Lineages::new(root.observer().pid_namespace);
        for pid in pids.iter().copied() {
            let Ok(directory) = root.open_process(pid) else {
                look.vanished(pid);
                continue;
            };
            look.process(pid, &mut |file, buffer| directory.read(file, buffer), &mut |inode| {
                lineages.climb(&directory, inode)
            });
        }
        look.finish(&mut |pid, buffer| root.open_process(pid)?.read(ProcFile::Stat, buffer))
    }
}

/// Puts a snapshot together from the text of kernel files, wherever it comes from.
///
/// [`ProcSnapshot::take`] feeds it from the live host; a test or the replay of an incident feeds it from memory.
/// ```
/// use rustbox_audit::{Observer, ProcFile, Registry, SnapshotBuilder, Unread};
///
/// let observer = Observer { pid: 9, pid_namespace: 1, audit_session: None, kernel: "6.18".into() };
/// let mut builder = SnapshotBuilder::new(observer, &Registry::default(), Vec::new(), Vec::new());
/// let mut read = |file: ProcFile, text: &mut Vec<u8>| match file {
///     ProcFile::PidNamespace => Ok(text.extend_from_slice(b"pid:[1]")),
///     _ => Err(Unread::Vanished),
/// };
/// builder.process(42, &mut read, &mut |_namespace| Ok(Vec::new()));
/// let snapshot = builder.finish(&mut |_pid, _text| Err(Unread::Vanished));
/// assert_eq!((snapshot.pids, snapshot.candidates.len()), (vec![42], 0));
/// ```
#[derive(Debug)]
pub struct SnapshotBuilder {
    index: MarkIndex,
    snapshot: ProcSnapshot,
    buffer: Vec<u8>,
}

impl SnapshotBuilder {
    /// Starts a look.
    #[must_use]
    pub fn new(observer: Observer, registry: &Registry, cgroups: Vec<CgroupSeen>, paths: Vec<PathSeen>) -> Self {
        let members = cgroups.iter().filter_map(|seen| seen.state.as_ref().ok());
        let members = members.flat_map(|state| state.members.iter().copied());
        let index = MarkIndex::new(registry, &observer, members);
        let snapshot = ProcSnapshot {
            observer,
            taken_at: SystemTime::now(),
            since_boot: since_boot(),
            pids: Vec::new(),
            candidates: Vec::new(),
            ancestors: HashMap::new(),
            unread: Vec::new(),
            vanished: 0,
            cgroups,
            paths,
        };
        Self { index, snapshot, buffer: Vec::with_capacity(BUFFER_BYTES) }
    }

    /// Sets the time of the look, where it is not now.
    pub fn set_since_boot(&mut self, since_boot: Duration) {
        self.snapshot.since_boot = since_boot;
    }

    /// Notes a process that was listed and gone before it was opened.
    pub fn vanished(&mut self, pid: u32) {
        self.snapshot.pids.push(pid);
        self.snapshot.vanished += 1;
    }

    /// Looks at one process. `read` appends the text of a file; `climb` is given the number of the process's PID
    /// namespace and returns the numbers from it up to the observer's, the last left out.
    pub fn process(&mut self, pid: u32, read: ReadFile<'_>, climb: Climb<'_>) {
        self.snapshot.pids.push(pid);
        match observe(pid, &self.index, &self.snapshot.observer, &mut self.buffer, read, climb) {
            Observed::Stranger => {}
            Observed::Vanished => self.snapshot.vanished += 1,
            Observed::Candidate(process) => self.snapshot.candidates.push(*process),
            Observed::Unread(unread) => self.snapshot.unread.push(unread),
        }
    }

    /// Ends the look by following the candidates' parents; `read_stat` appends the `stat` of any process.
    #[must_use]
    pub fn finish(mut self, read_stat: &mut dyn FnMut(u32, &mut Vec<u8>) -> Reading<()>) -> ProcSnapshot {
        for process in &self.snapshot.candidates {
            let mut pid = process.stat.ppid;
            for _ in 0..ANCESTORS_MAX {
                if pid == 0 || self.snapshot.ancestors.contains_key(&pid) {
                    break;
                }
                let Ok(ancestor) = read_ancestor(pid, &mut self.buffer, read_stat) else { break };
                pid = ancestor.ppid;
                self.snapshot.ancestors.insert(ancestor.key.pid, ancestor);
            }
        }
        self.snapshot
    }
}

fn read_ancestor(
    pid: u32,
    buffer: &mut Vec<u8>,
    read_stat: &mut dyn FnMut(u32, &mut Vec<u8>) -> Reading<()>,
) -> Reading<AncestorSeen> {
    buffer.clear();
    read_stat(pid, buffer)?;
    let (stat, name) = parse_stat(buffer).ok_or(Unread::MALFORMED)?;
    let key = ProcessKey { pid, starttime_ticks: stat.starttime_ticks };
    Ok(AncestorSeen { key, ppid: stat.ppid, comm: escaped(name) })
}

/// Time since boot, suspends included: the clock of `starttime`.
fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}
