//! What an audit can find, in the words that the run's report and the audit share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::box_id::BoxId;
use crate::process::ProcessKey;

/// The kinds of finding, with the names that logs and runbooks use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Ours and alive, but its supervisor is gone, its box is closed, or it is outside its cgroup.
    OrphanDetected,
    /// Seen outside its cgroup, then gone or back.
    TransientEscape,
    /// Alive, or its cgroup, mount or directory present, after cleanup was reported done.
    PostCleanupLeak,
    /// Dead and not reaped.
    ZombieDetected,
    /// A record, lock, cgroup, mount or directory without a live owner.
    StaleState,
    /// Something could not be looked at.
    CoverageGap,
}

impl FindingKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::OrphanDetected,
        Self::TransientEscape,
        Self::PostCleanupLeak,
        Self::ZombieDetected,
        Self::StaleState,
        Self::CoverageGap,
    ];

    /// The literal of logs, reports and runbooks.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OrphanDetected => "orphan_detected",
            Self::TransientEscape => "transient_escape",
            Self::PostCleanupLeak => "post_cleanup_leak",
            Self::ZombieDetected => "zombie_detected",
            Self::StaleState => "stale_state",
            Self::CoverageGap => "coverage_gap",
        }
    }

    /// Whether this kind breaks the promise of containment (verdict CV).
    #[must_use]
    pub fn is_violation(self) -> bool {
        match self {
            Self::OrphanDetected | Self::TransientEscape | Self::PostCleanupLeak | Self::ZombieDetected => true,
            Self::StaleState | Self::CoverageGap => false,
        }
    }

    /// How bad it is.
    #[must_use]
    pub fn severity(self) -> Severity {
        if self.is_violation() { Severity::Critical } else { Severity::Warning }
    }
}

impl std::fmt::Display for FindingKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// To know.
    Info,
    /// An operator should look.
    Warning,
    /// A security boundary is breached.
    Critical,
}

/// Which kernel fact ties a process to a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MarkKind {
    /// Its PID namespace is the box's, or climbs to it by `NS_GET_PARENT`.
    PidNamespace,
    /// Its audit session id (`/proc/<pid>/sessionid`) is the box's.
    AuditSession,
    /// It is a member of the box's cgroup.
    Cgroup,
    /// Its uid is the box's.
    Uid,
}

/// What a mark is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Strength {
    /// Corroborates only; never accuses and never kills by itself.
    Secondary,
    /// Inherited by every descendant, cannot be forged or shed from inside the box.
    Primary,
}

impl MarkKind {
    /// What this kind of mark is worth.
    #[must_use]
    pub fn strength(self) -> Strength {
        match self {
            Self::PidNamespace | Self::AuditSession | Self::Cgroup => Strength::Primary,
            Self::Uid => Strength::Secondary,
        }
    }
}

/// One mark that matched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mark {
    /// Which fact.
    pub mark: MarkKind,
    /// What it is worth.
    pub strength: Strength,
    /// The value that matched, as the kernel shows it.
    pub value: String,
}

/// Why it happened: the five root causes that the runbook names. Given only where the evidence tells which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RootCause {
    /// It never was in its cgroup: created before it was attached.
    SpawnToCgroupRace,
    /// It is in another cgroup than its box's: attaching failed, or somebody moved it.
    CgroupMigration,
    /// Its box has no PID namespace, and it left its parents by forking twice.
    DoubleForkEscape,
    /// It belongs to a box that has a PID namespace, and is not in it.
    PidNamespaceEscape,
    /// Its supervisor is gone.
    SupervisorCrash,
}

/// One thing that is not where it belongs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// What kind of thing.
    pub kind: FindingKind,
    /// How bad.
    pub severity: Severity,
    /// One sentence: what was seen, and why that is wrong.
    pub what: String,
    /// The box that it belongs to, where that is known.
    pub box_id: Option<BoxId>,
    /// The process, if it is one.
    pub process: Option<ProcessKey>,
    /// State letter of `/proc/<pid>/stat`.
    pub state: Option<char>,
    /// Where in the kernel it sleeps, for what refuses to die.
    pub wchan: Option<String>,
    /// Parent, as seen now.
    pub ppid: Option<u32>,
    /// Name of the parent's main thread, escaped: who has to reap a zombie.
    pub parent_comm: Option<String>,
    /// Name of its main thread, escaped; a hint for people only.
    pub comm: Option<String>,
    /// The executable, escaped.
    pub exe: Option<String>,
    /// SHA-256 of the executable, in hexadecimal; null when it was gone, too long or unreadable.
    pub exe_sha256: Option<String>,
    /// The command line, escaped, at most its beginning; a hint for people only.
    pub argv: Vec<String>,
    /// Real uid on the host.
    pub uid: Option<u32>,
    /// Every line of its `/proc/<pid>/cgroup`.
    pub cgroup: Vec<String>,
    /// The cgroup directories in which it should be.
    pub expected_cgroups: Vec<String>,
    /// Its audit session id.
    pub audit_session: Option<u32>,
    /// Inode number of its PID namespace.
    pub pid_namespace: Option<u64>,
    /// Inode number of the PID namespace of the box's supervisor, or else the auditor's.
    pub supervisor_pid_namespace: Option<u64>,
    /// Parents up to pid 1, as seen now.
    pub ancestry_now: Vec<ProcessKey>,
    /// Supervisor, init and payload as the box's record has them.
    pub ancestry_recorded: Vec<ProcessKey>,
    /// What is recorded of the box for people: its command, its limits.
    pub box_notes: Vec<String>,
    /// Which marks matched.
    pub marks: Vec<Mark>,
    /// The path, for what is not a process.
    pub path: Option<String>,
    /// First time seen, RFC 3339, UTC.
    pub first_seen: String,
    /// Last time seen, RFC 3339, UTC.
    pub last_seen: String,
    /// `uname -r`.
    pub kernel: String,
    /// Name of the runbook to follow.
    pub runbook: String,
    /// Why it happened, where the evidence tells.
    pub root_cause: Option<RootCause>,
    /// Whether a person must be called now.
    pub escalate: bool,
}

impl Finding {
    /// Name of the runbook that every kind of finding leads to, unless its maker knows a better one.
    pub const RUNBOOK: &'static str = "orphan-process";

    /// Makes a finding with nothing but its kind and its sentence, and the severity of its kind.
    ///
    /// The times and the kernel are empty, since this crate reads neither clock nor host: fill them in.
    #[must_use]
    pub fn new(kind: FindingKind, what: String) -> Self {
        Self {
            kind,
            severity: kind.severity(),
            what,
            box_id: None,
            process: None,
            state: None,
            wchan: None,
            ppid: None,
            parent_comm: None,
            comm: None,
            exe: None,
            exe_sha256: None,
            argv: Vec::new(),
            uid: None,
            cgroup: Vec::new(),
            expected_cgroups: Vec::new(),
            audit_session: None,
            pid_namespace: None,
            supervisor_pid_namespace: None,
            ancestry_now: Vec::new(),
            ancestry_recorded: Vec::new(),
            box_notes: Vec::new(),
            marks: Vec::new(),
            path: None,
            first_seen: String::new(),
            last_seen: String::new(),
            kernel: String::new(),
            runbook: Self::RUNBOOK.to_owned(),
            root_cause: None,
            escalate: false,
        }
    }
}
