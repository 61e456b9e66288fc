//! What is remembered of a worker from one process to the next.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::counters::Delta;
use crate::history::Entry;
use crate::moment::Moment;

/// Whether a worker may be given work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nothing is known against it.
    Healthy,
    /// It runs boxes, and an operator should look.
    Unhealthy,
    /// It runs nothing until this was lifted.
    Quarantined,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Healthy, Self::Unhealthy, Self::Quarantined];

    /// The word of reports and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Quarantined => "quarantined",
        }
    }
}

/// The kinds of reason for a quarantine: a closed set, unlike the words of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonKind {
    /// Three cleanups failed, one after the other.
    CleanupFailure,
    /// Something of a box was where it must not be.
    OrphanProcessDetected,
    /// The host is not as it was before the boxes.
    BaselineEquivalenceFailed,
    /// Disk, inodes, descriptors or memory are used up.
    ResourceExhaustion,
    /// An operator said so.
    ManualQuarantine,
    /// The state of the worker was damaged: what it said before is not known.
    StateCorrupted,
}

impl ReasonKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::CleanupFailure,
        Self::OrphanProcessDetected,
        Self::BaselineEquivalenceFailed,
        Self::ResourceExhaustion,
        Self::ManualQuarantine,
        Self::StateCorrupted,
    ];

    /// The word of reports and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CleanupFailure => "cleanup_failure",
            Self::OrphanProcessDetected => "orphan_process_detected",
            Self::BaselineEquivalenceFailed => "baseline_equivalence_failed",
            Self::ResourceExhaustion => "resource_exhaustion",
            Self::ManualQuarantine => "manual_quarantine",
            Self::StateCorrupted => "state_corrupted",
        }
    }

    /// The kind that an operator's words stand for: one of the words of this list, or else a manual one.
    #[must_use]
    pub fn of_words(words: &str) -> Self {
        Self::ALL.into_iter().find(|kind| kind.as_str() == words).unwrap_or(Self::ManualQuarantine)
    }

    /// Whether a person has to lift it. A recovery proves that nothing is left now; it does not explain how something
    /// got out, nor what a damaged state said, nor what an operator had in mind.
    #[must_use]
    pub fn needs_review(self) -> bool {
        match self {
            Self::OrphanProcessDetected | Self::ManualQuarantine | Self::StateCorrupted => true,
            Self::CleanupFailure | Self::BaselineEquivalenceFailed | Self::ResourceExhaustion => false,
        }
    }
}

/// Why a worker runs nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// Which kind of reason.
    pub kind: ReasonKind,
    /// The reason: an operator's words as they were said, else the kind's.
    pub reason: String,
    /// What was seen.
    pub detail: String,
    /// Since when.
    pub since: Moment,
    /// Who said so.
    pub by: String,
}

/// The kinds of thing that an operator should look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComplaintKind {
    /// Something without a live owner.
    StaleState,
    /// Something cannot be looked at, and that lasts.
    CoverageGap,
    /// One or two cleanups failed.
    CleanupFailure,
    /// A zombie, seen for less than two seconds so far.
    ZombieSuspected,
}

impl ComplaintKind {
    /// The word of reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StaleState => "stale_state",
            Self::CoverageGap => "coverage_gap",
            Self::CleanupFailure => "cleanup_failure",
            Self::ZombieSuspected => "zombie_suspected",
        }
    }
}

/// One thing that an operator should look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complaint {
    /// Which kind.
    pub kind: ComplaintKind,
    /// What was seen.
    pub detail: String,
    /// Since when.
    pub since: Moment,
}

/// Something that counts only if it is still there later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspicion {
    /// What it is, so that it can be recognised.
    pub key: String,
    /// Since when.
    pub since: Moment,
}

/// That the service was stopped: nothing is wrong, and nothing runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// Since when.
    pub since: Moment,
    /// Who said so.
    pub by: String,
}

/// What one change of the state adds to the other files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    /// Generation of the state that it came with.
    pub generation: u64,
    /// Entries of the history, all of that generation.
    pub entries: Vec<Entry>,
    /// What is counted. It bears a mark, so that adding it again changes nothing.
    pub counts: Delta,
}

/// The state of a worker, as it is written.
///
/// Whether it is healthy is not a field: it follows from the others ([`Self::status`]), so that they cannot disagree.
/// Fields that a newer rustbox has added are kept as they are when an older one writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerState {
    /// [`WorkerState::SCHEMA`].
    pub schema: String,
    /// How often the state was written. A copy that is older than the history's last entry was rolled back.
    pub generation: u64,
    /// Why nothing runs, if so.
    pub quarantine: Option<Quarantine>,
    /// What an operator should look at.
    #[serde(default)]
    pub complaints: Vec<Complaint>,
    /// What may become a complaint or a violation.
    #[serde(default)]
    pub suspicions: Vec<Suspicion>,
    /// Cleanups that failed since the last one that did not.
    #[serde(default)]
    pub failed_cleanup_count: u32,
    /// What the last of them said.
    #[serde(default)]
    pub last_cleanup_error: Option<String>,
    /// Recoveries that failed since the last one that did not.
    #[serde(default)]
    pub failed_recovery_count: u32,
    /// Containment violations since a person last lifted a quarantine.
    #[serde(default)]
    pub recurrence: u32,
    /// Violations that are counted in it, so that a second look at one is not a second one. Bounded.
    #[serde(default)]
    pub counted: Vec<String>,
    /// When an audit last ended with everything looked at and nothing found.
    #[serde(default)]
    pub last_clean_audit: Option<Moment>,
    /// Whether the service was stopped.
    #[serde(default)]
    pub stop: Option<Stop>,
    /// What the last change of this state adds to history and counters: what a killed process could not add is added
    /// by the next one.
    #[serde(default)]
    pub last: Option<Last>,
    /// What a newer rustbox wrote and this one does not know.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

impl Default for WorkerState {
    fn default() -> Self {
        Self {
            schema: Self::SCHEMA.to_owned(),
            generation: 0,
            quarantine: None,
            complaints: Vec::new(),
            suspicions: Vec::new(),
            failed_cleanup_count: 0,
            last_cleanup_error: None,
            failed_recovery_count: 0,
            recurrence: 0,
            counted: Vec::new(),
            last_clean_audit: None,
            stop: None,
            last: None,
            unknown: Map::new(),
        }
    }
}

impl WorkerState {
    /// Value of [`WorkerState::schema`].
    pub const SCHEMA: &'static str = "rustbox.health/v1";
    /// Longest state that is read, in bytes; a longer one is not ours.
    pub const MAX_BYTES: u64 = 1 << 20;
    /// From this many violations since the last review a person must be called.
    pub const ESCALATE_AT: u32 = 2;

    /// Whether the worker may be given work.
    #[must_use]
    pub fn status(&self) -> Status {
        if self.quarantine.is_some() {
            Status::Quarantined
        } else if self.complaints.is_empty() {
            Status::Healthy
        } else {
            Status::Unhealthy
        }
    }

    /// Whether a run would be admitted.
    #[must_use]
    pub fn can_accept_submissions(&self) -> bool {
        self.quarantine.is_none() && self.stop.is_none()
    }

    /// Whether a person must be called now.
    #[must_use]
    pub fn escalate(&self) -> bool {
        self.recurrence >= Self::ESCALATE_AT
    }
}
