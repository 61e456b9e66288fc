//! Findings, with everything that was seen. Pure.

use rustbox_core::{Finding, FindingKind, ProcessKey};

use crate::classify::{Look, Sighting};
use crate::clock::rfc3339;
use crate::judge::Accusation;
use crate::registry::BoxMarks;
use crate::snapshot::{ProcSnapshot, ProcessSeen};

/// Runbook of what is left of a box that nobody owns.
const RUNBOOK_STALE_STATE: &str = "stale-state";
/// Runbook of what cleanup left.
const RUNBOOK_CLEANUP_FAILURE: &str = "cleanup-failure";

/// The finding about a process.
pub(crate) fn describe_process(accusation: &Accusation, history: &[Sighting<'_>], looks: &[Look]) -> Finding {
    let mut finding = Finding::new(accusation.kind, accusation.what.clone());
    finding.root_cause = accusation.root_cause;
    finding.escalate = accusation.kind.is_violation() && accusation.kind != FindingKind::ZombieDetected;
    // A transient escape is described as it was when it was outside, the others as they were seen last.
    let outside = history.iter().rev().find(|sighting| {
        use crate::attribute::Placement;
        matches!(sighting.attribution.placement, Placement::Outside | Placement::PartlyOutside)
    });
    let transient = accusation.kind == FindingKind::TransientEscape;
    let Some(shown) = outside.filter(|_| transient).or(history.last()) else { return finding };
    if let Some(look) = looks.get(shown.look) {
        describe_seen(&mut finding, shown.process, &look.snapshot);
    }
    if let Some(marks) = shown.of_box {
        describe_marks(&mut finding, marks);
    }
    finding.marks.clone_from(&shown.attribution.marks);
    stamp(
        &mut finding,
        history.first().map(|sighting| sighting.look),
        history.last().map(|sighting| sighting.look),
        looks,
    );
    finding
}

/// A finding about a path of a box.
pub(crate) fn describe_path(
    kind: FindingKind,
    what: String,
    path: String,
    marks: Option<&BoxMarks>,
    looks: &[Look],
) -> Finding {
    let mut finding = Finding::new(kind, what);
    finding.path = Some(path);
    finding.escalate = kind.is_violation();
    let runbook = if kind == FindingKind::PostCleanupLeak { RUNBOOK_CLEANUP_FAILURE } else { RUNBOOK_STALE_STATE };
    runbook.clone_into(&mut finding.runbook);
    if let Some(marks) = marks {
        describe_marks(&mut finding, marks);
    }
    stamp(&mut finding, looks.len().checked_sub(2), looks.len().checked_sub(1), looks);
    finding
}

/// Something that could not be looked at.
pub(crate) fn describe_box_gap(what: String, marks: Option<&BoxMarks>, looks: &[Look]) -> Finding {
    let mut finding = Finding::new(FindingKind::CoverageGap, what);
    if let Some(marks) = marks {
        describe_marks(&mut finding, marks);
    }
    stamp(&mut finding, Some(0), looks.len().checked_sub(1), looks);
    finding
}

fn describe_marks(finding: &mut Finding, marks: &BoxMarks) {
    finding.box_id = Some(marks.box_id.clone());
    finding.box_notes.clone_from(&marks.notes);
    finding.expected_cgroups = marks.cgroups.iter().map(|mark| shown_path(&mark.directory)).collect();
    finding.ancestry_recorded = marks.supervisor.into_iter().chain(marks.init).collect();
    finding.supervisor_pid_namespace = marks.supervisor_pid_namespace.or(finding.supervisor_pid_namespace);
}

fn describe_seen(finding: &mut Finding, process: &ProcessSeen, snapshot: &ProcSnapshot) {
    finding.process = Some(process.key);
    finding.state = Some(char::from(process.stat.state));
    finding.wchan.clone_from(&process.wchan);
    finding.ppid = Some(process.stat.ppid);
    finding.parent_comm = snapshot.ancestors.get(&process.stat.ppid).map(|parent| parent.comm.clone());
    finding.comm = Some(process.comm.clone());
    finding.exe.clone_from(&process.exe);
    finding.argv.clone_from(&process.argv);
    finding.uid = process.uid;
    let lines = process.cgroup.as_deref().unwrap_or_default();
    finding.cgroup = lines.iter().map(|line| line.text.escape_ascii().to_string()).collect();
    finding.audit_session = process.audit_session;
    finding.pid_namespace = process.pid_namespace;
    finding.supervisor_pid_namespace = Some(snapshot.observer.pid_namespace);
    finding.ancestry_now = ancestry(process, snapshot);
}

/// Parents, as seen now. A parent that is younger than its child has a pid that was given away again: there the chain ends.
fn ancestry(process: &ProcessSeen, snapshot: &ProcSnapshot) -> Vec<ProcessKey> {
    let mut chain: Vec<ProcessKey> = Vec::new();
    let mut child = process.key;
    let mut ppid = process.stat.ppid;
    while let Some(parent) = snapshot.ancestors.get(&ppid) {
        if parent.key.starttime_ticks > child.starttime_ticks || chain.contains(&parent.key) {
            break;
        }
        chain.push(parent.key);
        (child, ppid) = (parent.key, parent.ppid);
    }
    chain
}

fn stamp(finding: &mut Finding, first: Option<usize>, last: Option<usize>, looks: &[Look]) {
    let time =
        |index: Option<usize>| index.and_then(|index| looks.get(index)).map(|look| rfc3339(look.snapshot.taken_at));
    finding.first_seen = time(first).unwrap_or_default();
    finding.last_seen = time(last).unwrap_or_default();
    finding.kernel = looks.last().map(|look| look.snapshot.observer.kernel.clone()).unwrap_or_default();
}

/// A path as it is shown: whoever made a directory chose its bytes.
pub(crate) fn shown_path(path: &std::path::Path) -> String {
    path.as_os_str().as_encoded_bytes().escape_ascii().to_string()
}
