//! Every metric: its name, what it says, and the closed set of its label's values.

use rustbox_core::FindingKind;

use crate::event::{Count, RecoveryOutcome};

/// How a family is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// Rises only.
    Counter,
    /// Rises only, and is called what a runbook calls it, which is no counter's name.
    RisingGauge,
    /// Samples, by upper bounds in seconds.
    Histogram(&'static [f64]),
}

/// A family of series that survive the process.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) kind: Kind,
    /// The label and all of its values; every one of them is exported from 0, so that `rate()` sees the first step.
    pub(crate) label: Option<(&'static str, &'static [&'static str])>,
}

const STATUSES: &[&str] = &["OK", "RE", "SIG", "TLE", "MLE", "PLE", "FSE", "OLE", "SV", "XE", "IE", "CV", "INT"];
const VIOLATIONS: &[&str] = &["orphan_detected", "transient_escape", "post_cleanup_leak", "zombie_detected"];
const REASONS: &[&str] = &[
    "cleanup_failure",
    "orphan_process_detected",
    "baseline_equivalence_failed",
    "resource_exhaustion",
    "manual_quarantine",
    "state_corrupted",
];
const REFUSALS: &[&str] = &["quarantined", "control_missing", "other"];

/// A box starts in milliseconds, and one that takes a second is worth a bucket.
const SHORT: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Payloads run for as long as they are allowed to.
const LONG: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

pub(crate) const EXECUTIONS: &str = "rustbox_executions_total";
pub(crate) const BY_STATUS: &str = "rustbox_executions_by_status";
pub(crate) const REFUSED: &str = "rustbox_executions_refused_total";
pub(crate) const CLEANUP: &str = "rustbox_cleanup_total";
pub(crate) const DEGRADED: &str = "rustbox_control_degraded_total";
pub(crate) const VIOLATION: &str = "rustbox_containment_violations_total";
pub(crate) const ORPHANS: &str = "rustbox_orphan_processes_detected_total";
pub(crate) const ORPHANS_GAUGE: &str = "rustbox_orphan_processes_detected";
pub(crate) const QUARANTINED: &str = "rustbox_worker_quarantined_total";
pub(crate) const RECOVERIES: &str = "rustbox_recoveries_total";
pub(crate) const GAPS: &str = "rustbox_audit_coverage_gaps_total";
pub(crate) const EXECUTION_SECONDS: &str = "rustbox_execution_duration_seconds";
pub(crate) const CLEANUP_SECONDS: &str = "rustbox_cleanup_duration_seconds";
pub(crate) const SPAWN_SECONDS: &str = "rustbox_spawn_duration_seconds";
pub(crate) const EMPTY_SECONDS: &str = "rustbox_kill_to_empty_seconds";
pub(crate) const OVERSHOOT_SECONDS: &str = "rustbox_overshoot_seconds";

const fn counter(name: &'static str, help: &'static str) -> Family {
    Family { name, help, kind: Kind::Counter, label: None }
}

const fn labelled(
    name: &'static str,
    help: &'static str,
    label: &'static str,
    values: &'static [&'static str],
) -> Family {
    Family { name, help, kind: Kind::Counter, label: Some((label, values)) }
}

const fn histogram(name: &'static str, help: &'static str, bounds: &'static [f64]) -> Family {
    Family { name, help, kind: Kind::Histogram(bounds), label: None }
}

/// The families that survive the process. Gauges of the moment are made where they are exported.
pub(crate) const FAMILIES: &[Family] = &[
    counter(EXECUTIONS, "Boxes that were run to a report."),
    Family {
        name: BY_STATUS,
        help: "Boxes that were run to a report, by verdict. Rises only.",
        kind: Kind::RisingGauge,
        label: Some(("status", STATUSES)),
    },
    labelled(REFUSED, "Runs, and whole batches, that were refused before anything was created.", "reason", REFUSALS),
    labelled(
        CLEANUP,
        "Cleanups of boxes: success is read back, partial is not known.",
        "outcome",
        &["success", "failure", "partial"],
    ),
    labelled(
        DEGRADED,
        "Runs in permissive mode that lacked a control.",
        "control",
        &["namespace", "cgroup", "capability"],
    ),
    labelled(VIOLATION, "Containment violations, each counted once.", "kind", VIOLATIONS),
    counter(ORPHANS, "Orphan processes that were detected, each counted once."),
    Family {
        name: ORPHANS_GAUGE,
        help: "The same number as rustbox_orphan_processes_detected_total, under the runbook's name. Rises only.",
        kind: Kind::RisingGauge,
        label: None,
    },
    labelled(QUARANTINED, "Quarantines that began.", "reason", REASONS),
    labelled(RECOVERIES, "Recoveries that ended.", "outcome", &["success", "failure"]),
    counter(GAPS, "Audits that could not look at everything."),
    histogram(EXECUTION_SECONDS, "From the payload's exec to its end or its kill.", LONG),
    histogram(CLEANUP_SECONDS, "From the kill to the end of cleanup.", SHORT),
    histogram(SPAWN_SECONDS, "From the request to the payload's exec.", SHORT),
    histogram(EMPTY_SECONDS, "From the kill until the box's cgroup read empty.", SHORT),
    histogram(OVERSHOOT_SECONDS, "How far beyond the limit that ended it a box got.", SHORT),
];

/// The series that one more of something is counted in, as keys of the totals.
pub(crate) fn series_of(count: Count) -> Vec<String> {
    match count {
        Count::Violation(kind) => {
            let mut series = vec![key(VIOLATION, kind.as_str())];
            if kind == FindingKind::OrphanDetected {
                series.push(ORPHANS.to_owned());
                series.push(ORPHANS_GAUGE.to_owned());
            }
            series
        }
        Count::Quarantined(kind) => vec![key(QUARANTINED, kind.as_str())],
        Count::Recovery(RecoveryOutcome::Success) => vec![key(RECOVERIES, "success")],
        Count::Recovery(RecoveryOutcome::Failure) => vec![key(RECOVERIES, "failure")],
        Count::CoverageGap => vec![GAPS.to_owned()],
    }
}

/// Key of one series of a family that has a label.
pub(crate) fn key(name: &str, value: &str) -> String {
    format!("{name}/{value}")
}

/// Whether a key is a series of the table: anything else would be a label that nobody has bounded.
pub(crate) fn is_known(series: &str) -> bool {
    FAMILIES.iter().any(|family| match family.label {
        None => family.name == series,
        Some((_, values)) => values.iter().any(|value| key(family.name, value) == series),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::ReasonKind;

    #[test]
    fn every_word_that_can_be_counted_is_a_label_of_the_table() {
        let violations = FindingKind::ALL.into_iter().filter(|kind| kind.is_violation()).map(Count::Violation);
        let reasons = ReasonKind::ALL.into_iter().map(Count::Quarantined);
        let recoveries = [RecoveryOutcome::Success, RecoveryOutcome::Failure].map(Count::Recovery);
        for count in violations.chain(reasons).chain(recoveries).chain([Count::CoverageGap]) {
            for series in series_of(count) {
                assert!(is_known(&series), "{series}");
            }
        }
    }
}
