//! Which processes are worth a look, by comparing the boxes' cgroups with what is known of their namespaces. Pure.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::population::Population;
use crate::registry::{BoxMarks, Phase, Registry};
use crate::snapshot::CgroupSeen;

/// Other processes of a namespace that are looked at together with its init, to see that it is not alone.
const MATES: usize = 2;

/// The boxes of a registry, by what their processes inherit.
pub(crate) struct ByMark {
    namespaces: HashMap<u64, usize>,
    sessions: HashMap<u32, usize>,
}

impl ByMark {
    pub(crate) fn new(registry: &Registry) -> Self {
        let boxes = || registry.boxes.iter().enumerate().filter(|(_, marks)| is_watched(marks));
        Self {
            namespaces: boxes()
                .filter_map(|(index, marks)| Some((marks.pid_namespace.as_ref()?.inode(), index)))
                .collect(),
            sessions: boxes().filter_map(|(index, marks)| Some((marks.audit_session?, index))).collect(),
        }
    }

    /// The box of a process, the innermost namespace first.
    pub(crate) fn box_of(&self, marks: &crate::population::Inherited) -> Option<usize> {
        let by_namespace = marks.lineage.iter().find_map(|inode| self.namespaces.get(inode));
        by_namespace.or_else(|| self.sessions.get(&marks.audit_session?)).copied()
    }
}

fn is_watched(marks: &BoxMarks) -> bool {
    marks.phase != Phase::EarlierBoot
}

/// Everybody who is not provably where he belongs: of an owned box whoever is not a member of all its cgroups, or a member
/// of one and not known to be of its namespace; of any other box, everybody.
pub(crate) fn suspects(registry: &Registry, cgroups: &[CgroupSeen], population: &Population) -> BTreeSet<u32> {
    let by_mark = ByMark::new(registry);
    let mut known: Vec<HashSet<u32>> = vec![HashSet::new(); registry.boxes.len()];
    for (pid, marks) in population.iter() {
        if let Some(set) = by_mark.box_of(marks).and_then(|index| known.get_mut(index)) {
            set.insert(pid);
        }
    }
    let mut out = BTreeSet::new();
    for (index, (marks, known)) in registry.boxes.iter().zip(&known).enumerate() {
        if !is_watched(marks) {
            continue;
        }
        let states = cgroups.iter().filter(|seen| seen.box_index == index).filter_map(|seen| seen.state.as_ref().ok());
        let members: Vec<HashSet<u32>> = states.map(|state| state.members.iter().copied().collect()).collect();
        if marks.phase == Phase::Live {
            let is_inside = |pid: &&u32| !members.is_empty() && members.iter().all(|set| set.contains(*pid));
            out.extend(known.iter().filter(|pid| !is_inside(pid)));
            out.extend(members.iter().flatten().filter(|pid| !known.contains(pid)));
        } else {
            out.extend(known.iter().chain(members.iter().flatten()));
        }
    }
    out
}

/// Whom to look at to judge these: the inits of their boxes, by which a namespace's number is believed, and mates of
/// inits, since an init that is alone may be being born.
pub(crate) fn with_company(registry: &Registry, population: &Population, pids: &BTreeSet<u32>) -> Vec<u32> {
    let by_mark = ByMark::new(registry);
    let mut out = pids.clone();
    let boxes: BTreeSet<usize> =
        pids.iter().filter_map(|pid| population.get(*pid)).filter_map(|marks| by_mark.box_of(marks)).collect();
    for marks in boxes.iter().filter_map(|index| registry.boxes.get(*index)) {
        let Some(init) = marks.init else { continue };
        out.insert(init.pid);
        if pids.contains(&init.pid)
            && let Some(inode) = marks.pid_namespace.as_ref().map(|mark| mark.inode())
        {
            let mates = population.iter().filter(|(pid, marks)| *pid != init.pid && marks.lineage.contains(&inode));
            out.extend(mates.map(|(pid, _)| pid).take(MATES));
        }
    }
    out.into_iter().collect()
}
