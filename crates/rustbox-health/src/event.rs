//! What can happen to a worker, and what follows from it.

use rustbox_core::FindingKind;

use crate::clean::Cleanliness;
use crate::history::Entry;
use crate::state::ReasonKind;

/// One thing that was found, by a run or by an audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// What kind of thing.
    pub kind: FindingKind,
    /// What it is, so that a second look at it is known for one.
    pub key: String,
    /// One sentence.
    pub what: String,
    /// How long it has been seen, in milliseconds.
    pub seen_for_ms: u64,
}

/// What became of a run's cleanup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cleanup {
    /// Everything was removed, and that was read back.
    Done,
    /// Something could not be removed.
    Failed {
        /// What, with the literal of the failed step before it.
        error: String,
    },
    /// It is not known: neither a failure nor an end of failures.
    Unknown,
}

/// Whether an operator insists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// Refuse where the host is not proved clean.
    No,
    /// Lift it all the same; that is remembered.
    Yes,
}

/// What a recovery came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryOutcome {
    /// Nothing is left.
    Success,
    /// Something is left, or could not be looked at.
    Failure,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A run ended.
    RunEnded {
        /// What its end found.
        sightings: Vec<Sighting>,
        /// What became of its cleanup.
        cleanup: Cleanup,
    },
    /// An audit ended.
    AuditEnded {
        /// Everything that it found: what is not in it was not there.
        sightings: Vec<Sighting>,
    },
    /// A recovery ended.
    Recovered {
        /// What the look after it saw.
        clean: Cleanliness,
        /// What the worker is short of, if anything.
        shortage: Option<String>,
    },
    /// Disk, inodes, descriptors or memory are used up beyond the configured thresholds.
    Exhausted {
        /// What, and how much is left.
        detail: String,
    },
    /// An operator takes the worker out.
    Quarantine {
        /// The operator's words.
        reason: String,
    },
    /// An operator puts the worker back.
    Unquarantine {
        /// The operator's words.
        reason: String,
        /// What a look at the host saw just now.
        clean: Cleanliness,
        /// Whether it is lifted although the host is not clean.
        force: Force,
    },
    /// The service was stopped: runs are refused until it is started.
    Stopped,
    /// The service was started.
    Started,
    /// The state could not be read; what it was is not known.
    StateDamaged {
        /// What is wrong with it, and where it was put.
        detail: String,
    },
}

/// One more of something, by the closed sets that metrics have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// A containment violation of this kind, that was not known before.
    Violation(FindingKind),
    /// A quarantine began.
    Quarantined(ReasonKind),
    /// A recovery ended.
    Recovery(RecoveryOutcome),
    /// Something could not be looked at.
    CoverageGap,
}

/// Why an operator's wish was not granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is nothing to lift.
    #[error("the worker is not quarantined; nothing was changed")]
    NotQuarantined,
    /// A reason is required, so that the next one can read why.
    #[error("a reason is required: say it with --reason TEXT")]
    NoReason,
    /// The host is not clean.
    #[error("the host is not clean ({0}); run `rustbox health --recover`, or insist with --force")]
    NotClean(String),
    /// It could not be found out whether the host is clean.
    #[error(
        "it is not known whether the host is clean ({0}); run `rustbox health --verify-clean`, or insist with --force"
    )]
    Unknown(String),
}

/// The literals of a worker's log events, each with what identifies it in the journal (`journalctl MESSAGE_ID=...`): fixed for
/// ever, and explained in the message catalogue.
pub const LOG_EVENTS: [(&str, &str); 5] = [
    ("containment_violation", "4f1d5f2bc0a94ad5a61f0f6f7e0c1b01"),
    ("worker_quarantined", "4f1d5f2bc0a94ad5a61f0f6f7e0c1b02"),
    ("cleanup_failure", "4f1d5f2bc0a94ad5a61f0f6f7e0c1b03"),
    ("baseline_equivalence_failed", "4f1d5f2bc0a94ad5a61f0f6f7e0c1b04"),
    ("resource_exhaustion", "4f1d5f2bc0a94ad5a61f0f6f7e0c1b05"),
];

/// What identifies a log event in the journal.
pub(crate) fn event_id(literal: &str) -> &'static str {
    debug_assert!(LOG_EVENTS.iter().any(|(name, _)| *name == literal), "{literal} is in no list");
    LOG_EVENTS.iter().find(|(name, _)| *name == literal).map_or("", |(_, id)| id)
}

/// What follows from an event, besides the new state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Append to the history.
    Remember(Entry),
    /// Count.
    Count(Count),
    /// Tell an operator: a literal of the logs, and what is to be said.
    Warn {
        /// The literal.
        event: &'static str,
        /// What.
        detail: String,
    },
    /// Tell who asked that it is not done.
    Refuse(Refusal),
}
