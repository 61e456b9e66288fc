//! Whose process is it, by which marks, and is it where it belongs? Pure.

use std::collections::HashMap;

use rustbox_core::{Mark, MarkKind, ProcessKey, Strength};

use crate::parse::CgroupLine;
use crate::reading::Unread;
use crate::registry::{BoxMarks, Phase, Registry};
use crate::snapshot::{Life, ProcSnapshot, ProcessSeen};

/// Where a process is, seen from its box's cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// In the box's cgroup, in every hierarchy that the box has one in.
    Inside,
    /// In none of the box's cgroups.
    Outside,
    /// In some of the box's cgroups and not in others.
    PartlyOutside,
    /// Not to be told: it is on its way out, the file was unreadable, or the box has no cgroup.
    Unknown,
}

/// What ties a process to a box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribution {
    /// Index of the box in the registry; none for a uid that no box has leased.
    pub box_index: Option<usize>,
    /// The marks that matched.
    pub marks: Vec<Mark>,
    /// The strongest of them. A secondary mark accuses nobody.
    pub strength: Strength,
    /// Whether it is where it belongs.
    pub placement: Placement,
    /// Whether it is the box's init, alone in its namespace: not attached yet, perhaps, and nothing
    /// untrusted exists before it is.
    pub is_lone_init: bool,
}

impl Attribution {
    /// Whether a process of a box with its own PID namespace is provably in another one. The kernel lets nobody leave, so
    /// this shows a setup that failed. Membership in the cgroup alone does not: an administrator may have joined it.
    #[must_use]
    pub fn left_namespace(&self, process: &ProcessSeen, marks: &BoxMarks) -> bool {
        let has = |kind: MarkKind| self.marks.iter().any(|mark| mark.mark == kind);
        marks.pid_namespace.is_some()
            && process.pid_namespace.is_some()
            && !has(MarkKind::PidNamespace)
            && (has(MarkKind::AuditSession) || (has(MarkKind::Cgroup) && has(MarkKind::Uid)))
    }
}

/// Attributes the candidates of one look.
#[derive(Debug)]
pub struct Attributor<'a> {
    registry: &'a Registry,
    snapshot: &'a ProcSnapshot,
    /// Per box: what the number of its PID namespace means in this look.
    namespaces: Vec<Number>,
    /// Processes seen per PID namespace, those in namespaces below it included.
    population: HashMap<u64, usize>,
}

impl<'a> Attributor<'a> {
    /// Prepares the attribution of one look, by the registry that was read before it.
    #[must_use]
    pub fn new(registry: &'a Registry, snapshot: &'a ProcSnapshot) -> Self {
        let mut population = HashMap::new();
        let mut namespaces: HashMap<ProcessKey, u64> = HashMap::new();
        for process in &snapshot.candidates {
            for inode in &process.lineage {
                *population.entry(*inode).or_insert(0) += 1;
            }
            namespaces.extend(process.pid_namespace.map(|inode| (process.key, inode)));
        }
        let number = |marks: &BoxMarks| {
            let Some(mark) = marks.pid_namespace.as_ref() else { return Number::Void };
            if mark.inode() == snapshot.observer.pid_namespace {
                return Number::Void;
            }
            if mark.descriptor().is_some() {
                return Number::Sure;
            }
            match marks.init {
                None => Number::Unsure,
                Some(init) if namespaces.get(&init) == Some(&mark.inode()) => Number::Sure,
                // It is there and could not be read, so it may be the init.
                Some(init) if snapshot.unread.iter().any(|unread| unread.pid == init.pid) => Number::Unsure,
                // Without its pid 1 a namespace is empty, and its number is another one's now.
                Some(_) => Number::Void,
            }
        };
        Self { registry, snapshot, namespaces: registry.boxes.iter().map(number).collect(), population }
    }

    /// Finds the box of a process. With several, the innermost namespace wins, then the session, then the cgroup.
    #[must_use]
    pub fn attribute(&self, process: &ProcessSeen) -> Option<Attribution> {
        let mut best: Option<(Rank, usize, Vec<Mark>)> = None;
        for (index, marks) in self.registry.boxes.iter().enumerate() {
            if marks.phase == Phase::EarlierBoot {
                continue;
            }
            let (rank, matched) = self.matches(index, marks, process);
            if rank < Rank::NONE && best.as_ref().is_none_or(|(other, ..)| rank < *other) {
                best = Some((rank, index, matched));
            }
        }
        if let Some((_, index, marks)) = best {
            let of_box = self.registry.boxes.get(index)?;
            let strength = marks.iter().map(|mark| mark.strength).max()?;
            let placement = placement(of_box, process);
            let is_lone_init = self.is_lone_init(of_box, process);
            return Some(Attribution { box_index: Some(index), marks, strength, placement, is_lone_init });
        }
        let is_free = |uid: &u32| {
            self.registry.uids.as_ref().is_some_and(|range| range.contains(uid))
                && !self.registry.lent_uids.contains(uid)
        };
        let uid = process.uid.filter(is_free)?;
        Some(Attribution {
            box_index: None,
            marks: vec![mark(MarkKind::Uid, Strength::Secondary, uid.to_string())],
            strength: Strength::Secondary,
            placement: Placement::Unknown,
            is_lone_init: false,
        })
    }

    fn matches(&self, index: usize, of_box: &BoxMarks, process: &ProcessSeen) -> (Rank, Vec<Mark>) {
        let mut rank = Rank::NONE;
        let mut matched = Vec::new();
        // Nobody is older than the first process of his box: whoever is has a number that was given away again.
        let old_enough = process.key.starttime_ticks >= of_box.not_before_ticks();
        let inode = of_box.pid_namespace.as_ref().map(|mark| mark.inode());
        let depth = inode.and_then(|inode| process.lineage.iter().position(|level| *level == inode));
        let number = self.namespaces.get(index).copied().unwrap_or(Number::Void);
        if let (Some(inode), Some(depth), true) = (inode, depth, old_enough && number != Number::Void) {
            let is_sure = number == Number::Sure;
            let strength = if is_sure { Strength::Primary } else { Strength::Secondary };
            rank = if is_sure { Rank::namespace(depth) } else { Rank::UNSURE_NAMESPACE };
            matched.push(mark(MarkKind::PidNamespace, strength, format!("pid:[{inode}]")));
        }
        let session = of_box.audit_session.filter(|id| {
            old_enough && process.audit_session == Some(*id) && self.snapshot.observer.audit_session != Some(*id)
        });
        if let Some(id) = session {
            rank = rank.min(Rank::SESSION);
            matched.push(mark(MarkKind::AuditSession, Strength::Primary, id.to_string()));
        }
        if let Some(line) = cgroup_mark(of_box, process) {
            rank = rank.min(Rank::CGROUP);
            matched.push(mark(MarkKind::Cgroup, Strength::Primary, line));
        } else if self.is_listed_member(index, process) {
            rank = rank.min(Rank::CGROUP);
            matched.push(mark(MarkKind::Cgroup, Strength::Primary, "cgroup.procs".to_owned()));
        }
        if let Some(uid) = of_box.uid.filter(|uid| process.uid == Some(*uid)) {
            rank = rank.min(Rank::UID);
            matched.push(mark(MarkKind::Uid, Strength::Secondary, uid.to_string()));
        }
        (rank, matched)
    }

    /// For a process whose own `cgroup` file is forbidden: whether the directory lists it.
    fn is_listed_member(&self, index: usize, process: &ProcessSeen) -> bool {
        matches!(process.cgroup, Err(Unread::Denied | Unread::Failed(_)))
            && self.snapshot.cgroups.iter().any(|seen| {
                seen.box_index == index
                    && seen.state.as_ref().is_ok_and(|state| state.members.contains(&process.key.pid))
            })
    }

    /// A box that has just been written down has no namespace in its record yet, and one of another state directory has no
    /// record here: then whoever is pid 1 of any PID namespace below ours counts.
    fn is_lone_init(&self, of_box: &BoxMarks, process: &ProcessSeen) -> bool {
        let recorded = of_box.pid_namespace.as_ref().map(|mark| mark.inode());
        let Some(inode) = recorded.or_else(|| process.lineage.first().copied()) else { return false };
        let is_first = process.lineage.first() == Some(&inode) && process.pid_in_namespace == Some(1);
        (is_first || of_box.init == Some(process.key)) && self.population.get(&inode) == Some(&1)
    }
}

/// What the inode number of a box's PID namespace means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    /// The box's namespace: a descriptor holds it, or the box's init was seen in it.
    Sure,
    /// Perhaps the box's namespace.
    Unsure,
    /// Some other namespace, or none.
    Void,
}

/// How closely a process belongs to a box; smaller is closer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank(usize);

impl Rank {
    /// Above the deepest nesting of namespaces, which is 32.
    const SESSION: Self = Self(100);
    const CGROUP: Self = Self(101);
    const UNSURE_NAMESPACE: Self = Self(102);
    const UID: Self = Self(103);
    const NONE: Self = Self(104);

    fn namespace(depth: usize) -> Self {
        Self(depth.min(99))
    }
}

fn mark(mark: MarkKind, strength: Strength, value: String) -> Mark {
    Mark { mark, strength, value }
}

fn line_of<'p>(lines: &'p [CgroupLine], of_box: &BoxMarks, index: usize) -> Option<(&'p CgroupLine, bool)> {
    let wanted = of_box.cgroups.get(index)?;
    let line = lines.iter().find(|line| line.hierarchies.contains(&wanted.hierarchy))?;
    Some((line, line.is_within(&wanted.path)))
}

/// The line that shows membership. On v1 a dead task's line reads `/`, so only a match means anything here.
fn cgroup_mark(of_box: &BoxMarks, process: &ProcessSeen) -> Option<String> {
    let lines = process.cgroup.as_ref().ok()?;
    let mut within = (0..of_box.cgroups.len()).filter_map(|index| line_of(lines, of_box, index));
    within.find(|(_, is_within)| *is_within).map(|(line, _)| line.text.escape_ascii().to_string())
}

fn placement(of_box: &BoxMarks, process: &ProcessSeen) -> Placement {
    let (Life::Alive, Ok(lines)) = (process.life, process.cgroup.as_ref()) else { return Placement::Unknown };
    let known: Vec<bool> =
        (0..of_box.cgroups.len()).filter_map(|index| line_of(lines, of_box, index)).map(|(_, within)| within).collect();
    match (known.contains(&true), known.contains(&false)) {
        (true, false) => Placement::Inside,
        (false, true) => Placement::Outside,
        (true, true) => Placement::PartlyOutside,
        (false, false) => Placement::Unknown,
    }
}
