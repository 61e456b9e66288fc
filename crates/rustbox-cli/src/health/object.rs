//! A worker's health as programs read it.

use std::path::Path;

use rustbox_health::{Backend, Complaint, ReasonKind, Refused, Resources, Status, Survey, Thresholds, WorkerState};
use serde::Serialize;

/// Status of a worker whose state could not be read.
pub(super) const UNKNOWN: &str = "unknown";

/// The object of `rustbox health`. What is not known, or does not apply, is null.
#[derive(Debug, Serialize)]
pub(super) struct Health {
    schema: &'static str,
    /// `healthy`, `unhealthy`, `quarantined`, or `unknown` where the state cannot be read.
    pub(super) status: &'static str,
    /// Whether a run would be admitted.
    pub(super) can_accept_submissions: Option<bool>,
    /// The operator's words, or one of the closed set.
    pub(super) quarantine_reason: Option<String>,
    /// One of the closed set.
    pub(super) quarantine_kind: Option<&'static str>,
    /// RFC 3339, UTC.
    pub(super) quarantine_timestamp: Option<String>,
    /// What was seen.
    pub(super) quarantine_detail: Option<String>,
    /// Who said so.
    pub(super) quarantine_by: Option<String>,
    /// Whether a person must lift it.
    pub(super) review_required: Option<bool>,
    /// What an operator should look at.
    pub(super) complaints: Vec<Seen>,
    pub(super) failed_cleanup_count: Option<u32>,
    pub(super) last_cleanup_error: Option<String>,
    pub(super) failed_recovery_count: Option<u32>,
    /// Violations since the last review.
    pub(super) recurrence: Option<u32>,
    /// Whether a person must be called now.
    pub(super) escalate: Option<bool>,
    /// When an audit last saw everything and found nothing.
    pub(super) last_clean_audit: Option<String>,
    /// Since when the service has been stopped.
    pub(super) stopped_since: Option<String>,
    pub(super) backend_selection: Option<Backend>,
    /// How much is left of what a worker may run out of.
    resources: Option<Resources>,
    /// What there is too little of: the next run will be refused for it.
    pub(super) shortage: Option<String>,
    pub(super) history_entries: Option<usize>,
    pub(super) history_damaged_lines: Option<usize>,
    /// What to type next.
    pub(super) next: Option<String>,
    pub(super) state_dir: String,
    /// What could not be looked at.
    pub(super) unseen: Vec<String>,
}

/// One thing that an operator should look at.
#[derive(Debug, Serialize)]
pub(super) struct Seen {
    pub(super) kind: &'static str,
    pub(super) detail: String,
    pub(super) since: String,
}

impl From<&Complaint> for Seen {
    fn from(complaint: &Complaint) -> Self {
        Self { kind: complaint.kind.as_str(), detail: complaint.detail.clone(), since: complaint.since.wall.clone() }
    }
}

impl Health {
    /// The health of a worker whose state was read.
    pub(super) fn known(state_dir: &Path, state: &WorkerState) -> Self {
        let held = state.quarantine.as_ref();
        let refused = Refused::by(state);
        let next = refused.map(|refused| refused.way_out.to_owned());
        let next = next.or_else(|| (!state.complaints.is_empty()).then(|| "`rustbox health --recover`".to_owned()));
        Self {
            status: state.status().as_str(),
            can_accept_submissions: Some(state.can_accept_submissions()),
            quarantine_reason: held.map(|held| held.reason.clone()),
            quarantine_kind: held.map(|held| held.kind.as_str()),
            quarantine_timestamp: held.map(|held| held.since.wall.clone()),
            quarantine_detail: held.map(|held| held.detail.clone()),
            quarantine_by: held.map(|held| held.by.clone()),
            review_required: held.map(|held| held.kind.needs_review()),
            complaints: state.complaints.iter().map(Seen::from).collect(),
            failed_cleanup_count: Some(state.failed_cleanup_count),
            last_cleanup_error: state.last_cleanup_error.clone(),
            failed_recovery_count: Some(state.failed_recovery_count),
            recurrence: Some(state.recurrence),
            escalate: Some(state.escalate()),
            last_clean_audit: state.last_clean_audit.as_ref().map(|at| at.wall.clone()),
            stopped_since: state.stop.as_ref().map(|stop| stop.since.wall.clone()),
            next,
            ..Self::nothing(state_dir)
        }
    }

    /// A state that is not as it was written: the next run will set it aside and be refused, and so it is told.
    pub(super) fn damaged(state_dir: &Path, problem: String) -> Self {
        Self {
            status: Status::Quarantined.as_str(),
            can_accept_submissions: Some(false),
            quarantine_reason: Some(ReasonKind::StateCorrupted.as_str().to_owned()),
            quarantine_kind: Some(ReasonKind::StateCorrupted.as_str()),
            quarantine_detail: Some(problem),
            review_required: Some(true),
            next: Some("`rustbox health --recover`, then the runbook worker-quarantine".to_owned()),
            ..Self::nothing(state_dir)
        }
    }

    /// A state that could not be read.
    pub(super) fn unknown(state_dir: &Path, why: String) -> Self {
        let root = rustix::process::geteuid().is_root();
        let next = if root { "`rustbox doctor`" } else { "`sudo rustbox health`" };
        Self { next: Some(next.to_owned()), unseen: vec![why], ..Self::nothing(state_dir) }
    }

    /// Adds how much is left. A worker that is short of something takes no work, although nobody has written that down yet.
    pub(super) fn has(&mut self, left: Resources, thresholds: &Thresholds) {
        self.resources = Some(left);
        self.shortage = left.shortage(thresholds);
        if self.shortage.is_some() && self.can_accept_submissions == Some(true) {
            self.can_accept_submissions = Some(false);
            self.next = Some("free what `shortage` names, then `rustbox health --recover`".to_owned());
        }
    }

    fn nothing(state_dir: &Path) -> Self {
        Self {
            schema: "rustbox.health-view/v1",
            status: UNKNOWN,
            can_accept_submissions: None,
            quarantine_reason: None,
            quarantine_kind: None,
            quarantine_timestamp: None,
            quarantine_detail: None,
            quarantine_by: None,
            review_required: None,
            complaints: Vec::new(),
            failed_cleanup_count: None,
            last_cleanup_error: None,
            failed_recovery_count: None,
            recurrence: None,
            escalate: None,
            last_clean_audit: None,
            stopped_since: None,
            backend_selection: None,
            resources: None,
            shortage: None,
            history_entries: None,
            history_damaged_lines: None,
            next: None,
            state_dir: state_dir.display().to_string(),
            unseen: Vec::new(),
        }
    }
}

/// The object of `--verify-clean`: these fields, in this order, and no others.
#[derive(Debug, Serialize)]
pub(super) struct Clean {
    clean: bool,
    mounts: Option<usize>,
    cgroups: Option<usize>,
    processes: Option<usize>,
    temp_dirs: Option<usize>,
}

impl Clean {
    pub(super) fn of(survey: &Survey) -> Self {
        Self {
            clean: survey.clean,
            mounts: survey.mounts,
            cgroups: survey.cgroups,
            processes: survey.processes,
            temp_dirs: survey.temp_dirs,
        }
    }
}
