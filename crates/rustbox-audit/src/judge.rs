//! The verdict on one process, by everything that was seen of it. Pure.

use std::time::Duration;

use rustbox_core::{FindingKind, RootCause, Strength};

use crate::attribute::Placement;
use crate::classify::{Look, Patience, Sighting};
use crate::registry::{BoxMarks, Phase};
use crate::snapshot::Life;

/// What is thought of a process.
#[derive(Debug)]
pub(crate) enum Judgement {
    /// It is where it belongs, or nobody's.
    Fine,
    /// Another look is needed; why, in one sentence.
    Unsettled(String),
    /// It is not where it belongs.
    Accused(Accusation),
}

/// What a process is accused of.
#[derive(Debug)]
pub(crate) struct Accusation {
    pub(crate) kind: FindingKind,
    pub(crate) what: String,
    pub(crate) root_cause: Option<RootCause>,
}

/// Sightings of one process as member of one box in one phase, the last ones in a row.
struct Case<'a> {
    sightings: &'a [Sighting<'a>],
    last: &'a Sighting<'a>,
    /// Whether the last look saw it.
    is_there: bool,
    looks: &'a [Look],
    patience: &'a Patience,
}

/// Judges one process.
pub(crate) fn judge(history: &[Sighting<'_>], looks: &[Look], patience: &Patience) -> Judgement {
    let Some(last) = history.last() else { return Judgement::Fine };
    let same = |sighting: &Sighting<'_>| {
        let who = |marks: Option<&BoxMarks>| marks.map(|marks| (marks.box_id.clone(), marks.phase));
        who(sighting.of_box) == who(last.of_box) && sighting.attribution.strength == last.attribution.strength
    };
    let start = history.iter().rposition(|sighting| !same(sighting)).map_or(0, |index| index + 1);
    let case = Case {
        sightings: history.get(start..).unwrap_or_default(),
        last,
        is_there: last.look + 1 == looks.len(),
        looks,
        patience,
    };
    match (last.attribution.strength, last.of_box) {
        (Strength::Primary, Some(marks)) => match marks.phase {
            Phase::Live => judge_live(&case, marks),
            Phase::Abandoned | Phase::Killed | Phase::Closed => judge_unowned(&case, marks),
            Phase::Unknown | Phase::EarlierBoot => case.lasting_gap(format!(
                "process {} belongs to box {}, and it cannot be told whether anybody owns that box",
                last.process.key.pid, marks.box_id
            )),
        },
        (Strength::Secondary, _) | (Strength::Primary, None) => case.lasting_gap(format!(
            "process {} has only a second mark of a box ({}), which accuses nobody and clears nobody",
            last.process.key.pid,
            last.attribution.marks.iter().map(|mark| mark.value.as_str()).collect::<Vec<_>>().join(", ")
        )),
    }
}

impl Case<'_> {
    /// How long it has been seen as it was seen last: time from the first such sighting to the last one.
    fn lasted(&self) -> Duration {
        let life = self.last.process.life;
        let at = |sighting: &Sighting<'_>| self.looks.get(sighting.look).map(|look| look.snapshot.since_boot);
        let first = self.sightings.iter().find(|sighting| sighting.process.life == life).and_then(at);
        at(self.last).unwrap_or_default().saturating_sub(first.unwrap_or_default())
    }

    fn age(&self) -> Duration {
        let now = self.looks.get(self.last.look).map(|look| look.snapshot.since_boot).unwrap_or_default();
        let ticks = self.last.process.key.starttime_ticks;
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        now.saturating_sub(Duration::from_millis(ticks.saturating_mul(1000) / per_second))
    }

    fn lives(&self) -> usize {
        self.sightings.iter().filter(|sighting| sighting.process.life == Life::Alive).count()
    }

    fn unsettled(&self, why: &str) -> Judgement {
        Judgement::Unsettled(format!("process {} {why}", self.last.process.key.pid))
    }

    /// Something that is a gap when it lasts, and nothing when it does not. What runs nothing any more hides nothing.
    fn lasting_gap(&self, what: String) -> Judgement {
        if !self.is_there || matches!(self.last.process.life, Life::Dying | Life::Zombie) {
            return Judgement::Fine;
        }
        if self.lives() < 2 {
            return Judgement::Unsettled(what);
        }
        Judgement::Accused(Accusation { kind: FindingKind::CoverageGap, what, root_cause: None })
    }
}

fn is_outside(sighting: &Sighting<'_>) -> bool {
    matches!(sighting.attribution.placement, Placement::Outside | Placement::PartlyOutside)
}

fn judge_live(case: &Case<'_>, marks: &BoxMarks) -> Judgement {
    let pid = case.last.process.key.pid;
    let is_birth = |sighting: &&Sighting<'_>| sighting.attribution.is_lone_init && case.age() < case.patience.birth;
    let outside: Vec<_> =
        case.sightings.iter().filter(|sighting| is_outside(sighting) && !is_birth(sighting)).collect();
    if let Some(worst) = outside.last() {
        let root_cause = Some(root_cause(worst, marks));
        if !(case.is_there && is_outside(case.last)) {
            let what = format!("process {pid} of box {} was outside its cgroup, and is gone or back now", marks.box_id);
            return Judgement::Accused(Accusation { kind: FindingKind::TransientEscape, what, root_cause });
        }
        if outside.len() < 2 {
            return case.unsettled("is outside its cgroup, seen once");
        }
        let what = format!("process {pid} of box {} is alive outside its cgroup", marks.box_id);
        return Judgement::Accused(Accusation { kind: FindingKind::OrphanDetected, what, root_cause });
    }
    if !case.is_there {
        return Judgement::Fine;
    }
    if case.last.process.life == Life::Zombie && is_reaped_by_us(case.last, marks) {
        return judge_zombie(case, marks);
    }
    if case.last.process.life == Life::Alive && case.last.attribution.left_namespace(case.last.process, marks) {
        if case.lives() < 2 {
            return case.unsettled("is in its cgroup and not in its PID namespace, seen once");
        }
        let what = format!("process {pid} of box {} is not in the box's PID namespace", marks.box_id);
        let root_cause = Some(RootCause::PidNamespaceEscape);
        return Judgement::Accused(Accusation { kind: FindingKind::OrphanDetected, what, root_cause });
    }
    Judgement::Fine
}

/// Whether the box's init or supervisor is the one who has to reap it. What a payload's own processes leave unreaped
/// while the box runs is the payload's business, and ends with its init.
fn is_reaped_by_us(sighting: &Sighting<'_>, marks: &BoxMarks) -> bool {
    let reapers = [marks.init, marks.supervisor];
    reapers.into_iter().flatten().any(|key| key.pid == sighting.process.stat.ppid)
}

fn judge_unowned(case: &Case<'_>, marks: &BoxMarks) -> Judgement {
    let pid = case.last.process.key.pid;
    let closed = marks.phase.was_ended();
    let kind = if closed { FindingKind::PostCleanupLeak } else { FindingKind::OrphanDetected };
    let root_cause = (!closed).then_some(RootCause::SupervisorCrash);
    if !case.is_there {
        if closed && case.lives() > 0 {
            let what = format!("process {pid} of box {} was alive after cleanup, and is gone now", marks.box_id);
            return Judgement::Accused(Accusation { kind, what, root_cause });
        }
        return Judgement::Fine;
    }
    match case.last.process.life {
        Life::Zombie => judge_zombie(case, marks),
        Life::Dying if case.lasted() < case.patience.zombie => case.unsettled("is dying"),
        Life::Newborn => case.unsettled("is being born in a box that nobody owns"),
        Life::Alive if case.lives() < 2 => case.unsettled("is alive in a box that nobody owns, seen once"),
        Life::Alive | Life::Dying => {
            let why = if closed { "after its cleanup was reported done" } else { "and nobody owns the box" };
            let what = format!("process {pid} of box {} is alive, {why}", marks.box_id);
            Judgement::Accused(Accusation { kind, what, root_cause })
        }
    }
}

fn judge_zombie(case: &Case<'_>, marks: &BoxMarks) -> Judgement {
    let zombies = case.sightings.iter().filter(|sighting| sighting.process.life == Life::Zombie).count();
    if zombies < 2 || case.lasted() < case.patience.zombie {
        return case.unsettled("is dead and not reaped yet");
    }
    let parent = case.last.process.stat.ppid;
    let ancestors = case.looks.get(case.last.look).map(|look| &look.snapshot.ancestors);
    let name = ancestors.and_then(|seen| seen.get(&parent)).map_or("?", |ancestor| &ancestor.comm);
    let what = format!(
        "process {} of box {} is dead, and its parent {parent} ({name}) does not reap it",
        case.last.process.key.pid, marks.box_id
    );
    Judgement::Accused(Accusation { kind: FindingKind::ZombieDetected, what, root_cause: None })
}

/// Which of the runbook's causes the evidence tells of a process outside the cgroup of a box that is owned.
fn root_cause(sighting: &Sighting<'_>, marks: &BoxMarks) -> RootCause {
    if sighting.attribution.left_namespace(sighting.process, marks) {
        return RootCause::PidNamespaceEscape;
    }
    let is_init = marks.init == Some(sighting.process.key);
    match (&marks.pid_namespace, sighting.attribution.placement) {
        // An init that is in none of its cgroups was let go before it was attached: children are born where it is.
        (Some(_), Placement::Outside) if is_init => RootCause::SpawnToCgroupRace,
        (None, Placement::Outside) if sighting.process.stat.ppid == 1 => RootCause::DoubleForkEscape,
        _ => RootCause::CgroupMigration,
    }
}
