//! The incident report: what the runbook wants written down, from the report of an audit. Pure.
//!
//! Everything that a payload chose was escaped when it was read; it is escaped once more for the document that it goes
//! into, since what is harmless in a terminal is not harmless in HTML.

mod html;
mod markdown;
mod picture;

use rustbox_core::{Finding, ProcessKey, RootCause};

use crate::act::{ActionOutcome, ActionResult};
use crate::decide::Action;
use crate::report::AuditReport;

/// An incident, ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident<'r> {
    report: &'r AuditReport,
}

/// One part of the report: a heading of the runbook, and what there is to say under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// The runbook's heading.
    pub heading: &'static str,
    /// Names with their values; a value is text of the kernel or the payload, not markup.
    pub facts: Vec<(&'static str, String)>,
}

impl<'r> Incident<'r> {
    /// Prepares the report of an audit as an incident.
    #[must_use]
    pub fn new(report: &'r AuditReport) -> Self {
        Self { report }
    }

    /// Everything about one finding, under the runbook's headings and in their order.
    #[must_use]
    pub fn sections(&self, finding: &Finding) -> Vec<Section> {
        vec![
            Section { heading: "Timestamp of detection", facts: times(finding) },
            Section { heading: "Orphan PID and ancestry", facts: ancestry(finding) },
            Section { heading: "Cgroup state at detection", facts: cgroups(finding) },
            Section { heading: "Namespace state at detection", facts: namespaces(finding) },
            Section { heading: "Payload characteristics", facts: payload(finding) },
            Section { heading: "Recovery actions taken", facts: self.actions(finding) },
            Section { heading: "Root cause", facts: vec![("cause", cause(finding.root_cause).to_owned())] },
        ]
    }

    fn actions(&self, finding: &Finding) -> Vec<(&'static str, String)> {
        let Some(actions) = &self.report.actions else {
            return vec![("actions", "none: the audit only looked".to_owned())];
        };
        let of_box = actions.iter().filter(|result| box_of(&result.action) == finding.box_id.as_ref());
        let mut facts: Vec<_> = of_box.map(|result| ("action", told(result))).collect();
        let left = self.report.remaining.as_ref().map_or(0, Vec::len);
        facts.push(("left after the second audit", left.to_string()));
        facts
    }
}

fn box_of(action: &Action) -> Option<&rustbox_core::BoxId> {
    match action {
        Action::End { box_id, .. } | Action::RemoveCgroup { box_id, .. } => Some(box_id),
    }
}

fn told(result: &ActionResult) -> String {
    let what = match &result.action {
        Action::End { process, .. } => format!("end process {}", shown(*process)),
        Action::RemoveCgroup { directory, .. } => format!("remove cgroup {directory}"),
    };
    let outcome = match result.outcome {
        ActionOutcome::Done => "done",
        ActionOutcome::NothingToDo => "nothing to do",
        ActionOutcome::Refused => "REFUSED",
    };
    format!("{what}: {outcome} ({})", result.detail)
}

fn shown(key: ProcessKey) -> String {
    format!("{} (started at tick {})", key.pid, key.starttime_ticks)
}

fn chain(keys: &[ProcessKey]) -> String {
    let shown: Vec<String> = keys.iter().map(|key| shown(*key)).collect();
    if shown.is_empty() { "unknown".to_owned() } else { shown.join(" <- ") }
}

fn or_unknown<T: ToString>(value: Option<T>) -> String {
    value.map_or("unknown".to_owned(), |value| value.to_string())
}

fn times(finding: &Finding) -> Vec<(&'static str, String)> {
    vec![
        ("first seen", finding.first_seen.clone()),
        ("last seen", finding.last_seen.clone()),
        ("kernel", finding.kernel.clone()),
    ]
}

fn ancestry(finding: &Finding) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("process", finding.process.map_or("none".to_owned(), shown)),
        ("box", or_unknown(finding.box_id.as_ref())),
        ("state", or_unknown(finding.state)),
        ("parent", format!("{} ({})", or_unknown(finding.ppid), or_unknown(finding.parent_comm.as_ref()))),
        ("ancestry as seen", chain(&finding.ancestry_now)),
        ("ancestry as recorded", chain(&finding.ancestry_recorded)),
    ];
    facts.extend(finding.wchan.iter().map(|wchan| ("waits in", wchan.clone())));
    facts.extend(finding.path.iter().map(|path| ("path", path.clone())));
    facts
}

fn cgroups(finding: &Finding) -> Vec<(&'static str, String)> {
    let seen = finding.cgroup.iter().map(|line| ("line", line.clone()));
    seen.chain(finding.expected_cgroups.iter().map(|path| ("expected", path.clone()))).collect()
}

fn namespaces(finding: &Finding) -> Vec<(&'static str, String)> {
    let inode = |value: Option<u64>| value.map_or("unknown".to_owned(), |inode| format!("pid:[{inode}]"));
    let mut facts = vec![
        ("PID namespace of the process", inode(finding.pid_namespace)),
        ("PID namespace of the supervisor", inode(finding.supervisor_pid_namespace)),
        ("audit session", or_unknown(finding.audit_session)),
    ];
    facts.extend(
        finding.marks.iter().map(|mark| ("mark", format!("{:?}, {:?}: {}", mark.mark, mark.strength, mark.value))),
    );
    facts
}

fn payload(finding: &Finding) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("name", or_unknown(finding.comm.as_ref())),
        ("arguments", finding.argv.join(" ")),
        ("executable", or_unknown(finding.exe.as_ref())),
        ("sha256", or_unknown(finding.exe_sha256.as_ref())),
        ("uid", or_unknown(finding.uid)),
    ];
    facts.extend(finding.box_notes.iter().map(|note| ("box", note.clone())));
    facts
}

fn cause(cause: Option<RootCause>) -> &'static str {
    match cause {
        Some(RootCause::SpawnToCgroupRace) => "spawn-to-cgroup race: it never was in its cgroup",
        Some(RootCause::CgroupMigration) => "cgroup migration: it is not in the cgroup that its box was given",
        Some(RootCause::DoubleForkEscape) => "double-fork escape from a box without a PID namespace",
        Some(RootCause::PidNamespaceEscape) => "PID namespace escape: its box has a namespace, and it is not in it",
        Some(RootCause::SupervisorCrash) => "supervisor crash: nobody owns the box",
        None => "not told by the evidence",
    }
}
