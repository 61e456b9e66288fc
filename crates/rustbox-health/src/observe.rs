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
