//! A run's report, as the worker sees it: what happened, and what is to be counted. Pure.

use rustbox_core::{ContainmentVerdict, Finding, FindingKind, RunReport, Status};

use crate::counters::Delta;
use crate::event::{Cleanup, Event, Sighting};
use crate::families::{
    BY_STATUS, CLEANUP, CLEANUP_SECONDS, DEGRADED, EMPTY_SECONDS, EXECUTION_SECONDS, EXECUTIONS, OVERSHOOT_SECONDS,
    SPAWN_SECONDS, key,
};

/// What a run's report tells the worker. Whoever has a state on which it would change nothing need not write it.
#[must_use]
pub fn run_event(report: &RunReport) -> Event {
    let found = report.containment.findings.iter().filter(|finding| finding.kind.is_violation());
    let mut sightings: Vec<Sighting> = found.map(|finding| sighting(report, finding)).collect();
    if sightings.is_empty() && report.status == Status::Cv {
        // A verdict without a finding to go with it: the verdict stands.
        let kind = FindingKind::PostCleanupLeak;
        let doubts = report.containment.doubts.join("; ");
        sightings.push(Sighting { kind, key: of_run(report, kind.as_str()), what: doubts, seen_for_ms: 0 });
    }
    Event::RunEnded { sightings, cleanup: cleanup(report) }
}

/// A run that had nothing to report: the state need not be written, if it holds nothing that a good run takes back.
impl Event {
    /// Whether this is a run that ended well in every respect.
    #[must_use]
    pub fn is_ordinary(&self) -> bool {
        matches!(self, Self::RunEnded { sightings, cleanup: Cleanup::Done } if sightings.is_empty())
    }
}

/// What an audit tells the worker: violations as they were found, and everything else as it was left after the audit's
/// own deeds.
///
/// An audit accuses a zombie only after two seconds, so each that it reports has been there that long.
#[must_use]
pub fn audit_event(findings: &[Finding], remaining: Option<&[Finding]>) -> Event {
    let violations = findings.iter().filter(|finding| finding.kind.is_violation());
    let rest = remaining.unwrap_or(findings).iter().filter(|finding| !finding.kind.is_violation());
    Event::AuditEnded { sightings: violations.chain(rest).map(audited).collect() }
}

/// The same for an audit that looked for one box only: what it did not find may be there all the same.
#[must_use]
pub fn partial_audit_event(findings: &[Finding]) -> Event {
    let violations = findings.iter().filter(|finding| finding.kind.is_violation());
    Event::RunEnded { sightings: violations.map(audited).collect(), cleanup: Cleanup::Unknown }
}

fn audited(finding: &Finding) -> Sighting {
    let thing = match (finding.process, &finding.path, &finding.box_id) {
        (Some(process), _, _) => format!("{}:{}", process.pid, process.starttime_ticks),
        (None, Some(path), _) => path.clone(),
        (None, None, Some(id)) => id.to_string(),
        (None, None, None) => finding.what.clone(),
    };
    let seen_for_ms = if finding.kind == FindingKind::ZombieDetected { 2000 } else { 0 };
    Sighting { kind: finding.kind, key: format!("{}:{thing}", finding.kind), what: finding.what.clone(), seen_for_ms }
}

fn sighting(report: &RunReport, finding: &Finding) -> Sighting {
    let key = match finding.process {
        Some(process) => format!("{}:{}:{}", finding.kind, process.pid, process.starttime_ticks),
        None => of_run(report, finding.kind.as_str()),
    };
    let what = format!("box {}: {}", report.box_id, finding.what);
    // The supervisor waits two seconds for the dead to be reaped before it reports them.
    let seen_for_ms = if finding.kind == FindingKind::ZombieDetected { 2000 } else { 0 };
    Sighting { kind: finding.kind, key, what, seen_for_ms }
}

fn of_run(report: &RunReport, kind: &str) -> String {
    format!("{kind}:{}:{}", report.box_id, report.started_at)
}

fn cleanup(report: &RunReport) -> Cleanup {
    if !report.cleanup_failures.is_empty() {
        return Cleanup::Failed { error: report.cleanup_failures.join("; ") };
    }
    match report.containment.verdict {
        ContainmentVerdict::Contained => Cleanup::Done,
        ContainmentVerdict::Violated => Cleanup::Failed { error: "something of the box is left".to_owned() },
        ContainmentVerdict::Unknown => Cleanup::Unknown,
    }
}

/// What is counted of a run.
#[must_use]
pub fn count_run(report: &RunReport) -> Delta {
    let mut delta = Delta::default();
    delta.add(EXECUTIONS.to_owned());
    delta.add(key(BY_STATUS, report.status.as_str()));
    let outcome = match cleanup(report) {
        Cleanup::Done => "success",
        Cleanup::Failed { .. } => "failure",
        Cleanup::Unknown => "partial",
    };
    delta.add(key(CLEANUP, outcome));
    let mut degraded: Vec<&str> = report.controls.missing_controls.iter().map(|m| class_of(&m.control)).collect();
    degraded.sort_unstable();
    degraded.dedup();
    for control in degraded {
        delta.add(key(DEGRADED, control));
    }
    delta.sample(EXECUTION_SECONDS, report.wall_ns);
    delta.sample(CLEANUP_SECONDS, report.timings.teardown_ns);
    delta.sample(SPAWN_SECONDS, report.timings.setup_ns);
    delta.sample(EMPTY_SECONDS, report.containment.populated_zero_ns);
    delta.sample(OVERSHOOT_SECONDS, report.overshoot_ns);
    delta
}

/// The class that a missing control is counted in.
fn class_of(control: &str) -> &'static str {
    if control.contains("namespace") {
        "namespace"
    } else if ["cap", "no_new_privs", "seccomp"].iter().any(|word| control.contains(word)) {
        "capability"
    } else {
        "cgroup"
    }
}

impl Delta {
    /// A run that was refused before anything was created.
    #[must_use]
    pub fn refused(cause: &str) -> Self {
        let reason = match cause {
            "worker_quarantined" => "quarantined",
            "control_missing" => "control_missing",
            _ => "other",
        };
        let mut delta = Self::default();
        delta.add(key(crate::families::REFUSED, reason));
        delta
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audit_that_removed_what_is_stale_tells_of_the_violation_and_not_of_the_rest() {
        let orphan = Finding::new(FindingKind::OrphanDetected, "a process".to_owned());
        let stale = Finding::new(FindingKind::StaleState, "a directory".to_owned());
        let found = [orphan, stale];
        let kinds = |event| {
            let Event::AuditEnded { sightings } = event else { return Vec::new() };
            sightings.iter().map(|seen| seen.kind).collect::<Vec<_>>()
        };
        let (orphan, stale) = (FindingKind::OrphanDetected, FindingKind::StaleState);
        assert_eq!(kinds(audit_event(&found, None)), [orphan, stale]);
        assert_eq!(kinds(audit_event(&found, Some(&[]))), [orphan]);
    }
}
