//! Looks at few processes, many times a second: those that the comparison of cgroups and namespaces cannot clear.
//!
//! A glance accuses by the same rules as an audit: two looks that see the same process outside, each judged by the
//! registry that was read before it, or one look that is proof. It concludes nothing from what it does not see; that is
//! the full pass's part.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use rustbox_core::{Finding, ProcessKey, Strength};

use crate::attribute::{Attributor, Placement};
use crate::cgroup_dir::read_cgroups;
use crate::classify::{Look, Patience, classify_processes};
use crate::error::AuditError;
use crate::parse::ProcEvent;
use crate::population::{Population, Reader};
use crate::proc_root::ProcRoot;
use crate::registry::Registry;
use crate::snapshot::{Life, ProcSnapshot};
use crate::suspects::{ByMark, suspects, with_company};

/// Processes that one glance looks at: more are the full pass's.
const SUSPECTS_MAX: usize = 1024;
/// Looks that are remembered while something is unsettled.
const LOOKS_MAX: usize = 6;

/// What a glance came to.
#[derive(Debug, Default)]
pub(crate) struct Glance {
    pub(crate) findings: Vec<Finding>,
    /// Whether another look should follow soon.
    pub(crate) is_unsettled: bool,
    /// Whether there was more to look at than one glance can.
    pub(crate) is_overfull: bool,
}

/// The state of the glances.
#[derive(Debug)]
pub(crate) struct Glances<'r> {
    root: &'r ProcRoot,
    patience: Patience,
    population: Population,
    /// As read last.
    registry: Arc<Registry>,
    looks: Vec<Look>,
    pending: BTreeSet<u32>,
    /// Who was accused and is still there: told once.
    told: HashMap<u32, ProcessKey>,
}

impl<'r> Glances<'r> {
    pub(crate) fn new(root: &'r ProcRoot, patience: Patience) -> Self {
        Self {
            root,
            patience,
            population: Population::default(),
            registry: Arc::default(),
            looks: Vec::new(),
            pending: BTreeSet::new(),
            told: HashMap::new(),
        }
    }

    /// Reads anew who is in which namespace.
    ///
    /// # Errors
    /// When the processes cannot be listed.
    pub(crate) fn walk(&mut self) -> Result<(), AuditError> {
        self.population.walk(self.root)
    }

    /// Takes events in, and looks at once at who began in a known box: he may be gone by the next comparison. Returns
    /// whether somebody was seen outside.
    pub(crate) fn follow(&mut self, events: &[ProcEvent]) -> bool {
        let by_mark = ByMark::new(&self.registry);
        let mut reader = Reader::new(self.root);
        let mut fresh = BTreeSet::new();
        for event in events {
            match *event {
                ProcEvent::Forked { pid } | ProcEvent::Executed { pid } => {
                    if matches!(event, ProcEvent::Forked { .. }) {
                        self.told.remove(&pid);
                    }
                    let marks = self.population.note(&mut reader, pid);
                    if marks.is_some_and(|marks| by_mark.box_of(marks).is_some()) {
                        fresh.insert(pid);
                    }
                }
                ProcEvent::Exited { pid } => self.population.forget_dead(self.root, pid),
            }
        }
        fresh.retain(|pid| !self.told.contains_key(pid) && self.population.get(*pid).is_some());
        if fresh.is_empty() || fresh.len() > SUSPECTS_MAX {
            return false;
        }
        let pids = with_company(&self.registry, &self.population, &fresh);
        let snapshot = ProcSnapshot::take_of(self.root, &self.registry, Vec::new(), &pids);
        let outside: Vec<u32> = outside(&self.registry, &snapshot).filter(|pid| fresh.contains(pid)).collect();
        if outside.is_empty() {
            return false;
        }
        self.pending.extend(outside);
        self.remember(Look { registry: Arc::clone(&self.registry), snapshot });
        true
    }

    /// Compares the boxes' cgroups with their namespaces' members, and looks at whoever is in one and not in the other.
    pub(crate) fn glance(&mut self, registry: Registry) -> Glance {
        self.registry = Arc::new(registry);
        let cgroups = read_cgroups(&self.registry);
        let mut suspects = suspects(&self.registry, &cgroups, &self.population);
        self.told.retain(|pid, _| suspects.contains(pid));
        suspects.retain(|pid| !self.told.contains_key(pid));
        suspects.append(&mut self.pending);
        let is_overfull = suspects.len() > SUSPECTS_MAX;
        if is_overfull {
            suspects = suspects.into_iter().take(SUSPECTS_MAX).collect();
        }
        if suspects.is_empty() {
            self.looks.clear();
            return Glance::default();
        }
        let pids = with_company(&self.registry, &self.population, &suspects);
        let snapshot = ProcSnapshot::take_of(self.root, &self.registry, cgroups, &pids);
        self.learn(&snapshot, &suspects);
        self.remember(Look { registry: Arc::clone(&self.registry), snapshot });
        let judged = classify_processes(&self.looks, &self.patience);
        let is_told = |finding: &Finding| finding.process.is_some_and(|key| self.told.get(&key.pid) == Some(&key));
        let findings: Vec<Finding> = judged.findings.into_iter().filter(|finding| !is_told(finding)).collect();
        self.told.extend(findings.iter().filter_map(|finding| finding.process).map(|key| (key.pid, key)));
        let is_unsettled = !judged.unsettled.is_empty();
        if is_unsettled {
            self.pending = suspects.into_iter().filter(|pid| !self.told.contains_key(pid)).collect();
        } else {
            self.looks.clear();
        }
        Glance { findings, is_unsettled, is_overfull }
    }

    /// Keeps what the look showed of who is where; who is dead is nobody's suspect any more.
    fn learn(&mut self, snapshot: &ProcSnapshot, suspects: &BTreeSet<u32>) {
        let mut reader = Reader::new(self.root);
        for pid in suspects {
            match snapshot.candidates.iter().find(|process| process.key.pid == *pid) {
                Some(process) if process.life == Life::Zombie => self.population.forget(*pid),
                Some(_) if self.population.get(*pid).is_some() => {}
                Some(_) | None => {
                    self.population.note(&mut reader, *pid);
                }
            }
        }
    }

    fn remember(&mut self, look: Look) {
        if self.looks.len() >= LOOKS_MAX {
            self.looks.remove(0);
        }
        self.looks.push(look);
    }
}

fn outside<'l>(registry: &'l Registry, look: &'l ProcSnapshot) -> impl Iterator<Item = u32> + 'l {
    let attributor = Attributor::new(registry, look);
    look.candidates.iter().filter_map(move |process| {
        let found = attributor.attribute(process)?;
        let is_outside = matches!(found.placement, Placement::Outside | Placement::PartlyOutside);
        (is_outside && found.strength == Strength::Primary && !found.is_lone_init).then_some(process.key.pid)
    })
}
