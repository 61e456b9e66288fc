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
/// (something is left over, or nobody looked), then what we did ourselves, then what the kernel
/// counted, and last what the payload chose to return.
#[must_use]
pub fn judge(evidence: &Evidence) -> Outcome {
    let (status, cause) = violation(evidence)
        .or_else(|| setup(evidence))
        .or_else(|| missing(evidence))
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

/// The payload never ran. An exec that failed is the caller's affair, anything before it ours.
fn setup(evidence: &Evidence) -> Option<Verdict> {
    if interrupted(evidence).is_some() && evidence.setup_failure.is_some() {
        return None;
    }
    if evidence.setup_failure.is_some() {
        return Some((Status::Ie, Cause::IeSetup));
    }
    if evidence.containment.verdict == ContainmentVerdict::Unknown || !evidence.cleanup_failures.is_empty() {
        return None;
    }
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

/// Evidence that a truthful verdict needs and does not have.
fn missing(evidence: &Evidence) -> Option<Verdict> {
    if !evidence.cleanup_failures.is_empty() {
        return Some((Status::Ie, Cause::IeCleanupFailure));
    }
    if evidence.containment.verdict == ContainmentVerdict::Unknown || evidence.init == InitEnding::Unknown {
        return Some((Status::Ie, Cause::IeMissingEvidence));
    }
    if evidence.init == InitEnding::Unexpected {
        return Some((Status::Ie, Cause::IeContradictoryEvidence));
    }
    let told = evidence.main.is_some() || evidence.setup_failure.is_some();
    let killed_by_us = !matches!(evidence.kill_reason, None | Some(KillReason::MainEnded | KillReason::InitEnded));
    if told || killed_by_us || evidence.operator_kill {
        return None;
    }
    match (evidence.init, evidence.oom_kills) {
        // The kernel kills a whole group for memory, its init with it.
        (InitEnding::KilledByOther, Some(kills)) if kills > 0 => None,
        (InitEnding::KilledByOther, Some(_)) => Some((Status::Ie, Cause::IeInitKilled)),
        _ => Some((Status::Ie, Cause::IeMissingEvidence)),
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
    let failed = evidence.main != Some(Ending::Exited(0));
    if evidence.kill_reason == Some(KillReason::OutOfMemory) || (evidence.oom_kills.unwrap_or(0) > 0 && failed) {
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
    (evidence.pids_refusals.unwrap_or(0) > 0 && failed && evidence.main.is_some())
        .then_some((Status::Ple, Cause::PlePids))
}

/// Somebody asked for the kill, and left word of it.
fn external(evidence: &Evidence) -> Option<Verdict> {
    let killed = evidence.main.is_none() || evidence.main == Some(Ending::Signaled(SIGKILL));
    (evidence.kill_reason == Some(KillReason::Operator) || (evidence.operator_kill && killed))
        .then_some((Status::Sig, Cause::KilledExternally))
}

fn ended(evidence: &Evidence) -> Verdict {
    match evidence.main {
        Some(Ending::Exited(0)) => (Status::Ok, Cause::NormalExit),
        Some(Ending::Exited(_)) => (Status::Re, Cause::ReNonzeroExit),
        Some(Ending::Signaled(_)) => (Status::Sig, Cause::ReFatalSignal),
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
