//! From looks to findings. Pure: the same looks give the same findings, on any host.
//!
//! Nothing is accused on one look. A process is accused of being alive or outside when two looks saw the same
//! process (pid and start time) so, each judged by the registry that was read before it. Where a single look is proof
//! (its cgroup was read while it lived, and it is gone or back now), the finding says `transient_escape`.
//! What may be an ordinary birth or death is *unsettled*: it asks for another look, and is a coverage gap when there is none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rustbox_core::{Finding, FindingKind, ProcessKey};

use crate::attribute::{Attribution, Attributor};
use crate::describe::{describe_box_gap, describe_process};
use crate::gaps::find_gaps;
use crate::judge::{Accusation, Judgement, judge};
use crate::registry::{BoxMarks, Phase, Registry};
use crate::residue::find_residue;
use crate::snapshot::{Life, ProcSnapshot, ProcessSeen};

/// A look, with the registry that was read before it.
#[derive(Clone, Debug)]
pub struct Look {
    /// What should exist.
    pub registry: Arc<Registry>,
    /// What was seen.
    pub snapshot: ProcSnapshot,
}

/// How long ordinary things may take before they are accused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// A zombie may wait this long to be reaped, and a dying process to be dead.
    pub zombie: Duration,
    /// An init may be alone and outside its cgroup this long.
    pub birth: Duration,
}

impl Default for Patience {
    /// Two seconds for zombies: the promise of the runbook. Five for a birth: an
    /// init attaches itself to cgroup v1, and a host may be busy.
    fn default() -> Self {
        Self { zombie: Duration::from_secs(2), birth: Duration::from_secs(5) }
    }
}

/// What the looks come to.
#[derive(Clone, Debug, Default)]
pub struct Classification {
    /// What is certain.
    pub findings: Vec<Finding>,
    /// What another look may settle, one sentence each.
    pub unsettled: Vec<String>,
}

/// A process in one look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sighting<'a> {
    pub(crate) look: usize,
    pub(crate) process: &'a ProcessSeen,
    pub(crate) attribution: &'a Attribution,
    pub(crate) of_box: Option<&'a BoxMarks>,
}

/// Everything that was seen of one process, in the order of the looks.
pub(crate) type History<'a> = Vec<Sighting<'a>>;

/// Judges every candidate, every leftover and every gap.
#[must_use]
pub fn classify(looks: &[Look], patience: &Patience) -> Classification {
    let mut out = classify_processes(looks, patience);
    find_residue(looks, &mut out);
    find_gaps(looks, &mut out);
    out
}

/// Judges the candidates alone: for looks that were at these processes and at nothing else.
pub(crate) fn classify_processes(looks: &[Look], patience: &Patience) -> Classification {
    let attributed: Vec<Vec<(&ProcessSeen, Attribution)>> = looks.iter().map(attributed).collect();
    let histories = histories(looks, &attributed);
    let mut out = Classification::default();
    let mut accused_boxes = BTreeSet::new();
    for (key, history) in &histories {
        if is_exempt(looks, *key) {
            continue;
        }
        match judge(history, looks, patience) {
            Judgement::Fine => {}
            Judgement::Unsettled(why) => out.unsettled.push(why),
            Judgement::Accused(accusation) => {
                accused_boxes.extend(history.last().and_then(|sighting| sighting.of_box).map(|marks| &marks.box_id));
                out.findings.push(describe_process(&accusation, history, looks));
            }
        }
    }
    for (history, accusation) in fleeting(looks, &histories, &accused_boxes) {
        out.findings.push(describe_process(&accusation, history, looks));
    }
    out
}

/// Turns what stayed unsettled into coverage gaps: an audit that must stop now cannot call them clean.
#[must_use]
pub fn conclude(classification: Classification, looks: &[Look]) -> Vec<Finding> {
    let mut findings = classification.findings;
    findings.extend(classification.unsettled.into_iter().map(|why| describe_box_gap(why, None, looks)));
    findings
}

fn attributed(look: &Look) -> Vec<(&ProcessSeen, Attribution)> {
    let attributor = Attributor::new(&look.registry, &look.snapshot);
    let candidates = look.snapshot.candidates.iter();
    candidates.filter_map(|process| attributor.attribute(process).map(|found| (process, found))).collect()
}

fn histories<'a>(
    looks: &'a [Look],
    attributed: &'a [Vec<(&'a ProcessSeen, Attribution)>],
) -> BTreeMap<ProcessKey, History<'a>> {
    let mut histories: BTreeMap<ProcessKey, History<'a>> = BTreeMap::new();
    for (index, (look, found)) in looks.iter().zip(attributed).enumerate() {
        for (process, attribution) in found {
            let of_box = attribution.box_index.and_then(|index| look.registry.boxes.get(index));
            histories.entry(process.key).or_default().push(Sighting { look: index, process, attribution, of_box });
        }
    }
    histories
}

/// Whether a process belongs outside by its role, or is the auditor.
fn is_exempt(looks: &[Look], key: ProcessKey) -> bool {
    looks.iter().any(|look| {
        let live = look.registry.boxes.iter().filter(|marks| marks.phase == Phase::Live);
        look.snapshot.observer.pid == key.pid
            || look.registry.exempt.contains(&key)
            || live.filter_map(|marks| marks.supervisor).any(|supervisor| supervisor == key)
    })
}

/// Looks in a row that must each have seen *some* life in a box that nobody owns, when none saw the same process twice.
const FLEETING_LOOKS: usize = 3;

/// Boxes that nobody owns and whose processes fork and die faster than two looks can catch one of them.
fn fleeting<'h, 'a>(
    looks: &[Look],
    histories: &'h BTreeMap<ProcessKey, History<'a>>,
    accused: &BTreeSet<&rustbox_core::BoxId>,
) -> Vec<(&'h History<'a>, Accusation)> {
    let mut lives: BTreeMap<&rustbox_core::BoxId, BTreeMap<usize, &'h History<'a>>> = BTreeMap::new();
    for history in histories.values() {
        for sighting in history {
            if let Some(marks) = sighting.of_box
                && marks.phase.is_unowned()
                && sighting.attribution.strength == rustbox_core::Strength::Primary
                && sighting.process.life == Life::Alive
                && !accused.contains(&marks.box_id)
            {
                lives.entry(&marks.box_id).or_default().insert(sighting.look, history);
            }
        }
    }
    let wanted = looks.len().saturating_sub(FLEETING_LOOKS)..looks.len();
    let caught = lives
        .into_values()
        .filter(|seen| looks.len() >= FLEETING_LOOKS && wanted.clone().all(|look| seen.contains_key(&look)));
    caught
        .filter_map(|seen| seen.into_values().next_back())
        .filter_map(|history| {
            let marks = history.last()?.of_box?;
            let kind = if marks.phase.was_ended() { FindingKind::PostCleanupLeak } else { FindingKind::OrphanDetected };
            let what = format!("box {} has living processes in every look, although nobody owns it", marks.box_id);
            Some((history, Accusation { kind, what, root_cause: None }))
        })
        .collect()
}
