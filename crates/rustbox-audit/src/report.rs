//! The report of an audit: plain data, as it is written.

use rustbox_core::{Finding, FindingKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::act::ActionResult;

/// What an audit comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything was looked at, and everything is where it belongs.
    Clean,
    /// Something is not where it belongs.
    Findings,
    /// Nothing was found, and not everything could be looked at.
    NoVerdict,
}

impl Verdict {
    /// What findings come to. A gap never hides a finding, and never passes for clean.
    #[must_use]
    pub fn of(findings: &[Finding]) -> Self {
        if findings.iter().any(|finding| finding.kind != FindingKind::CoverageGap) {
            Self::Findings
        } else if findings.is_empty() {
            Self::Clean
        } else {
            Self::NoVerdict
        }
    }

    /// Exit code of `rustbox audit`: 0 clean, 1 findings, 2 no verdict.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Findings => 1,
            Self::NoVerdict => 2,
        }
    }
}

/// The report of one audit. Numbers that were not measured are null; no field is a constant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditReport {
    /// [`AuditReport::SCHEMA`].
    pub schema: String,
    /// What it comes to: by `remaining` where something was done, else by `findings`.
    pub verdict: Verdict,
    /// What `rustbox audit` exits with.
    pub exit_code: u8,
    /// When the first look began, RFC 3339, UTC.
    pub started_at: String,
    /// When everything was done, RFC 3339, UTC.
    pub ended_at: String,
    /// From the first to the last, in nanoseconds, by the monotonic clock.
    pub duration_ns: u64,
    /// `uname -r`.
    pub kernel: String,
    /// Inode number of the PID namespace that was looked at.
    pub pid_namespace: u64,
    /// How many looks it took.
    pub looks: usize,
    /// Boxes in the registry, at the last look.
    pub boxes: usize,
    /// Processes that the last look listed.
    pub processes_listed: usize,
    /// Processes with a mark of a box, in the last look.
    pub processes_marked: usize,
    /// Processes that ended between being listed and being looked at, in all looks.
    pub processes_vanished: usize,
    /// What was found.
    pub findings: Vec<Finding>,
    /// What was done about it; null when nothing was to be done.
    pub actions: Option<Vec<ActionResult>>,
    /// What a second audit found after that; null when nothing was to be done.
    pub remaining: Option<Vec<Finding>>,
    /// Whether a person must be called now.
    pub escalate: bool,
}

impl AuditReport {
    /// Value of [`AuditReport::schema`].
    pub const SCHEMA: &'static str = "rustbox.audit/v1";
}
