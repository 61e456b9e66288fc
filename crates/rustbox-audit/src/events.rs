//! One log event per finding.

use rustbox_core::{Finding, FindingKind, Severity};

/// Identifies a kind of event in the journal (`journalctl MESSAGE_ID=...`): fixed for ever, one per kind of finding.
#[must_use]
pub fn message_id(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::OrphanDetected => "4f1d5f2bc0a94ad5a61f0f6f7e0c1a01",
        FindingKind::TransientEscape => "4f1d5f2bc0a94ad5a61f0f6f7e0c1a02",
        FindingKind::PostCleanupLeak => "4f1d5f2bc0a94ad5a61f0f6f7e0c1a03",
        FindingKind::ZombieDetected => "4f1d5f2bc0a94ad5a61f0f6f7e0c1a04",
        FindingKind::StaleState => "4f1d5f2bc0a94ad5a61f0f6f7e0c1a05",
        FindingKind::CoverageGap => "4f1d5f2bc0a94ad5a61f0f6f7e0c1a06",
    }
}

/// The word that the report has, too.
fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}

/// Emits the event of a finding. The runbook's literals `containment_violation` and the kind are in every line of a
/// violation, and in its message too, which is all that `journalctl` shows; what a payload chose is escaped already, so
/// one finding is one line.
pub fn emit(finding: &Finding) {
    let box_id = finding.box_id.as_ref().map_or("", |id| id.as_str());
    let key = finding.process;
    macro_rules! event {
        ($level:ident, $message:literal) => {
            tracing::$level!(
                MESSAGE_ID = message_id(finding.kind),
                kind = finding.kind.as_str(),
                severity = severity(finding.severity),
                box_id,
                pid = key.map(|key| key.pid),
                starttime_ticks = key.map(|key| key.starttime_ticks),
                ppid = finding.ppid,
                comm = finding.comm.as_deref(),
                state = finding.state.map(tracing::field::display),
                uid = finding.uid,
                pid_namespace = finding.pid_namespace,
                supervisor_pid_namespace = finding.supervisor_pid_namespace,
                cgroup = finding.cgroup.join(" "),
                path = finding.path.as_deref(),
                first_seen = finding.first_seen,
                last_seen = finding.last_seen,
                kernel = finding.kernel,
                runbook = finding.runbook,
                escalate = finding.escalate,
                what = finding.what,
                concat!($message, " {}: {}"),
                finding.kind,
                finding.what
            );
        };
    }
    if finding.kind.is_violation() {
        event!(error, "containment_violation");
    } else {
        event!(warn, "audit_finding");
    }
}
