//! The verdict: a pure function of the evidence.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::evidence::{ContainmentVerdict, Ending, Evidence, ExecFailure, InitEnding, KillReason};
use crate::exit_code::ExitCode;
use crate::finding::FindingKind;

/// What a run comes to, in two or three letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// Ended with 0.
    Ok,
    /// Ended with another code.
    Re,
    /// Ended by a signal.
    Sig,
    /// A time limit.
    Tle,
    /// The memory limit.
    Mle,
    /// The process limit was hit and the payload failed.
    Ple,
    /// The file size limit.
    Fse,
    /// The output limit.
    Ole,
    /// A denied system call ended it.
    Sv,
    /// The program could not be executed.
    Xe,
    /// Rustbox failed, or evidence is missing or contradictory.
    Ie,
    /// Containment was violated.
    Cv,
    /// A signal to rustbox ended the run.
    Int,
}

/// Why, in a word that does not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are those of the verdict table, and say what they are")]
pub enum Cause {
    NormalExit,
    ReNonzeroExit,
    ReFatalSignal,
    TleCpu,
    TleWall,
    MleKernelOom,
    PlePids,
    FseLimit,
    OleOutputCap,
    SvSeccomp,
    ExecNotFound,
    ExecDenied,
    ExecFormat,
    IeSetup,
    IeMissingEvidence,
    IeContradictoryEvidence,
    IeInitKilled,
    IeCleanupFailure,
    OrphanDetected,
    TransientEscape,
    PostCleanupLeak,
    ZombieDetected,
    Interrupted,
    KilledExternally,
}

impl Cause {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NormalExit => "normal_exit",
            Self::ReNonzeroExit => "re_nonzero_exit",
            Self::ReFatalSignal => "re_fatal_signal",
            Self::TleCpu => "tle_cpu",
            Self::TleWall => "tle_wall",
            Self::MleKernelOom => "mle_kernel_oom",
            Self::PlePids => "ple_pids",
            Self::FseLimit => "fse_limit",
            Self::OleOutputCap => "ole_output_cap",
            Self::SvSeccomp => "sv_seccomp",
            Self::ExecNotFound => "exec_not_found",
            Self::ExecDenied => "exec_denied",
            Self::ExecFormat => "exec_format",
            Self::IeSetup => "ie_setup",
            Self::IeMissingEvidence => "ie_missing_evidence",
            Self::IeContradictoryEvidence => "ie_contradictory_evidence",
            Self::IeInitKilled => "ie_init_killed",
            Self::IeCleanupFailure => "ie_cleanup_failure",
            Self::OrphanDetected => "orphan_detected",
            Self::TransientEscape => "transient_escape",
            Self::PostCleanupLeak => "post_cleanup_leak",
            Self::ZombieDetected => "zombie_detected",
            Self::Interrupted => "interrupted",
            Self::KilledExternally => "killed_externally",
        }
    }
}

impl Status {
    /// The letters.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Re => "RE",
            Self::Sig => "SIG",
            Self::Tle => "TLE",
            Self::Mle => "MLE",
            Self::Ple => "PLE",
            Self::Fse => "FSE",
            Self::Ole => "OLE",
            Self::Sv => "SV",
            Self::Xe => "XE",
            Self::Ie => "IE",
            Self::Cv => "CV",
            Self::Int => "INT",
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The verdict on a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What it comes to.
    pub status: Status,
    /// Why.
    pub cause: Cause,
    /// What `rustbox run` exits with.
    pub exit_code: u8,
    /// The main process's own exit code, where it had one.
    pub payload_exit_code: Option<i32>,
    /// The signal that ended the main process, where one did.
    pub signal: Option<i32>,
}

/// Judges a run. The same evidence always gives the same verdict.
///
/// The order of the rules is the order of trust. First what makes every other number worthless
/// (something is left over, the payload never ran, or nobody looked), then what we did ourselves, then
/// what the kernel counted, then what the payload chose to return, and last that nobody knows.
#[must_use]
pub fn judge(evidence: &Evidence) -> Outcome {
    let (status, cause) = violation(evidence)
        .or_else(|| setup(evidence))
        .or_else(|| distrust(evidence))
        .or_else(|| exec(evidence))
        .or_else(|| interrupted(evidence))
        .or_else(|| limit(evidence))
        .or_else(|| external(evidence))
        .unwrap_or_else(|| ended(evidence));
    let (payload_exit_code, signal) = match evidence.main {
        Some(Ending::Exited(code)) if evidence.exec_failure.is_none() => (Some(code), None),
        Some(Ending::Signaled(signal)) => (None, Some(signal)),
        Some(Ending::Exited(_)) | None => (None, None),
    };
    Outcome { status, cause, exit_code: exit_code(status, cause, evidence), payload_exit_code, signal }
}

type Verdict = (Status, Cause);

/// Something of the box was where it must not be. Nothing outranks this.
fn violation(evidence: &Evidence) -> Option<Verdict> {
    let worst = evidence.containment.findings.iter().map(|f| f.kind).filter(|k| k.is_violation()).min();
    let cause = match worst {
        Some(FindingKind::OrphanDetected) => Cause::OrphanDetected,
        Some(FindingKind::TransientEscape) => Cause::TransientEscape,
        Some(FindingKind::ZombieDetected) => Cause::ZombieDetected,
        Some(FindingKind::PostCleanupLeak) => Cause::PostCleanupLeak,
        Some(FindingKind::StaleState | FindingKind::CoverageGap) | None => {
            return (evidence.containment.verdict == ContainmentVerdict::Violated)
                .then_some((Status::Cv, Cause::PostCleanupLeak));
        }
    };
    Some((Status::Cv, cause))
}

/// The payload never ran, because of us. A step that fails while a signal to rustbox ends the box is no failure.
fn setup(evidence: &Evidence) -> Option<Verdict> {
    (evidence.setup_failure.is_some() && interrupted(evidence).is_none()).then_some((Status::Ie, Cause::IeSetup))
}

/// What was told or measured cannot be believed, or the host is not as it was before. An init that failed comes
/// first: it is also among what could not be cleaned up.
fn distrust(evidence: &Evidence) -> Option<Verdict> {
    let cause = if evidence.init == InitEnding::Unexpected {
        Cause::IeContradictoryEvidence
    } else if !evidence.cleanup_failures.is_empty() {
        Cause::IeCleanupFailure
    } else if evidence.containment.verdict == ContainmentVerdict::Unknown || evidence.init == InitEnding::Unknown {
        Cause::IeMissingEvidence
    } else {
        return None;
    };
    Some((Status::Ie, cause))
}

/// The payload never ran, because of what was to be executed: the caller's affair.
fn exec(evidence: &Evidence) -> Option<Verdict> {
    evidence.exec_failure.map(|ExecFailure { errno }| (Status::Xe, exec_cause(errno)))
}

/// `ENOENT`, `ENOTDIR`: not found. `ENOEXEC`, `ELIBBAD`, `EINVAL`: not a program. The rest: denied.
fn exec_cause(errno: i32) -> Cause {
    match errno {
        2 | 20 => Cause::ExecNotFound,
        8 | 22 | 80 => Cause::ExecFormat,
        _ => Cause::ExecDenied,
    }
}

fn interrupted(evidence: &Evidence) -> Option<Verdict> {
    matches!(evidence.kill_reason, Some(KillReason::Interrupted { .. })).then_some((Status::Int, Cause::Interrupted))
}

/// A limit was reached. The kernel's count of memory kills comes first: it cannot have been caused
/// by our own kill, while a payload that waits for a killed helper runs into its deadline.
fn limit(evidence: &Evidence) -> Option<Verdict> {
    if let Some(KillReason::Seccomp { .. }) = evidence.kill_reason {
        return Some((Status::Sv, Cause::SvSeccomp));
    }
    // Even if the program returned 0: on cgroup v1 the kernel kills one task, and whether the rest returns before we
    // kill it is a race.
    if evidence.kill_reason == Some(KillReason::OutOfMemory) || evidence.oom_kills.unwrap_or(0) > 0 {
        return Some((Status::Mle, Cause::MleKernelOom));
    }
    if evidence.output_over_limit {
        return Some((Status::Ole, Cause::OleOutputCap));
    }
    let cpu_signal = evidence.cpu_limited && evidence.main == Some(Ending::Signaled(SIGXCPU));
    if evidence.kill_reason == Some(KillReason::CpuTime) || evidence.cpu_over_limit == Some(true) || cpu_signal {
        return Some((Status::Tle, Cause::TleCpu));
    }
    if evidence.kill_reason == Some(KillReason::WallTime) || evidence.wall_over_limit == Some(true) {
        return Some((Status::Tle, Cause::TleWall));
    }
    if evidence.file_size_limited && evidence.main == Some(Ending::Signaled(SIGXFSZ)) {
        return Some((Status::Fse, Cause::FseLimit));
    }
    let failed = evidence.main.is_some_and(|ending| ending != Ending::Exited(0));
    (evidence.pids_refusals.unwrap_or(0) > 0 && failed).then_some((Status::Ple, Cause::PlePids))
}

/// Somebody asked for the kill, and left word of it.
fn external(evidence: &Evidence) -> Option<Verdict> {
    let killed = evidence.main.is_none() || evidence.main == Some(Ending::Signaled(SIGKILL));
    (evidence.kill_reason == Some(KillReason::Operator) || (evidence.operator_kill && killed))
        .then_some((Status::Sig, Cause::KilledExternally))
}

fn ended(evidence: &Evidence) -> Verdict {
    match evidence.main {
        // Whether it kept the limit is not known.
        Some(_) if evidence.cpu_limited && evidence.cpu_over_limit.is_none() => (Status::Ie, Cause::IeMissingEvidence),
        Some(Ending::Exited(0)) => (Status::Ok, Cause::NormalExit),
        Some(Ending::Exited(_)) => (Status::Re, Cause::ReNonzeroExit),
        Some(Ending::Signaled(_)) => (Status::Sig, Cause::ReFatalSignal),
        // No limit and no memory kill was found, so the kernel did not do it, and we did not either.
        None if evidence.init == InitEnding::KilledByOther => (Status::Ie, Cause::IeInitKilled),
        None => (Status::Ie, Cause::IeMissingEvidence),
    }
}

const SIGKILL: i32 = 9;
const SIGXCPU: i32 = 24;
const SIGXFSZ: i32 = 25;
const SIGSYS: i32 = 31;

fn exit_code(status: Status, cause: Cause, evidence: &Evidence) -> u8 {
    let signal = |number: i32| ExitCode::SIGNAL_BASE.saturating_add(u8::try_from(number).unwrap_or(0));
    let own = match evidence.main {
        Some(Ending::Exited(code)) => u8::try_from(code & 0xff).unwrap_or(u8::MAX),
        Some(Ending::Signaled(number)) => signal(number),
        None => signal(SIGKILL),
    };
    match status {
        Status::Ok | Status::Re | Status::Sig | Status::Ple => own,
        Status::Tle => ExitCode::LIMIT,
        Status::Ole if evidence.kill_reason == Some(KillReason::Output) => ExitCode::LIMIT,
        Status::Ole => own,
        Status::Mle => signal(SIGKILL),
        Status::Fse => signal(SIGXFSZ),
        Status::Sv => signal(SIGSYS),
        Status::Xe if cause == Cause::ExecNotFound => ExitCode::NOT_FOUND,
        Status::Xe => ExitCode::NOT_EXECUTABLE,
        Status::Ie => ExitCode::INTERNAL,
        Status::Cv => ExitCode::CONTAINMENT_VIOLATION,
        Status::Int => match evidence.kill_reason {
            Some(KillReason::Interrupted { signal: number }) => signal(number),
            _ => ExitCode::INTERNAL,
        },
    }
}
