//! From evidence to report.

use std::time::Duration;

use rustbox_core::{
    Actor, Cause, Evidence, KillReason, MemoryPeakSource, Outcome, RUN_SCHEMA, RunReport, SetupFailure, Stage, Timings,
    judge,
};

use crate::clock::{nanoseconds, now_rfc3339};
use crate::controls;
use crate::progress::Context;
use crate::sandbox::Sandbox;
use crate::streams::Streams;
use crate::teardown::{Ended, complete, reason_text};
use crate::told::{MainEnded, Started};

/// Everything that a run left.
pub(crate) struct Remains {
    pub(crate) sandbox: Sandbox,
    pub(crate) ended: Ended,
    pub(crate) streams: Streams,
    pub(crate) failure: Option<SetupFailure>,
    pub(crate) reason: KillReason,
    pub(crate) uid: u32,
}

impl Remains {
    fn evidence(&self, context: &Context<'_>) -> Evidence {
        let told = &self.sandbox.told;
        let limits = &context.plan.limits;
        let over = |limit: Option<Duration>, used: Option<u64>| Some(used? > nanoseconds(limit?));
        let mut containment = self.ended.containment.clone();
        complete(&mut containment.findings, context);
        Evidence {
            setup_failure: self.failure.clone().or_else(|| self.silent_start()),
            exec_failure: told.exec_failure,
            main: told.main.map(|main| main.ending),
            init: self.ended.init,
            kill_reason: Some(self.reason.clone()),
            cpu_over_limit: over(limits.cpu_time, self.cpu_ns()),
            wall_over_limit: over(limits.wall_time, self.wall_ns(context)),
            oom_kills: self.ended.oom_kills,
            pids_refusals: self.ended.pids_refusals,
            file_size_limited: limits.process.file_size.is_some(),
            cpu_limited: limits.cpu_time.is_some(),
            output_over_limit: self.streams.over_limit(),
            operator_kill: self.ended.operator_kill,
            cleanup_failures: self.ended.cleanup_failures.clone(),
            containment,
        }
    }

    /// A child that ended before its exec and could not say why. Where the kernel killed for memory, that is why.
    fn silent_start(&self) -> Option<SetupFailure> {
        let told = &self.sandbox.told;
        let silent = told.main.is_some() && told.started.is_none() && self.ended.oom_kills.unwrap_or(0) == 0;
        silent.then(|| SetupFailure {
            stage: Stage::Exec,
            actor: Actor::Payload,
            errno: None,
            detail: "the payload's process ended before its exec, and did not say why".to_owned(),
        })
    }

    /// When the program began to run; none when it never did.
    fn started(&self) -> Option<Started> {
        let told = &self.sandbox.told;
        told.started.filter(|_| told.exec_failure.is_none())
    }

    /// The main process's end, where it was the program's.
    fn program_ended(&self) -> Option<MainEnded> {
        self.sandbox.told.main.filter(|_| self.started().is_some())
    }

    /// CPU time of a program that ran.
    fn cpu_ns(&self) -> Option<u64> {
        self.started().and(self.ended.payload_cpu_ns)
    }

    /// From the exec to the end of the main process, or to the kill.
    fn wall_ns(&self, context: &Context<'_>) -> Option<u64> {
        let started = context.clock.since_start_ns(self.started()?.at_ns);
        let ended = self.sandbox.told.main.map(|main| context.clock.since_start_ns(main.at_ns));
        let ended = ended.unwrap_or(u64::MAX).min(self.ended.killed_at_ns);
        Some(ended.saturating_sub(started))
    }

    /// How far the box got beyond the limit that ended it, until it was seen empty.
    fn overshoot_ns(&self, context: &Context<'_>, cause: Cause) -> Option<u64> {
        let limits = &context.plan.limits;
        let (limit, used) = if cause == Cause::TleCpu {
            (limits.cpu_time? + limits.extra_time, self.ended.payload_cpu_ns?)
        } else if cause == Cause::TleWall {
            let started = context.clock.since_start_ns(self.sandbox.told.started?.at_ns);
            (limits.wall_time?, self.ended.emptied_at_ns?.saturating_sub(started))
        } else {
            return None;
        };
        Some(used.saturating_sub(nanoseconds(limit)))
    }

    fn memory_peak(&self) -> Option<(u64, MemoryPeakSource)> {
        let resident = self.program_ended().map(|main| (main.max_rss_kib * 1024, MemoryPeakSource::Rusage));
        self.ended.memory_peak.or(resident).filter(|(bytes, _)| *bytes > 0)
    }

    fn timings(&self, context: &Context<'_>) -> Timings {
        let started = self.started().map(|started| context.clock.since_start_ns(started.at_ns));
        let total_ns = context.clock.elapsed_ns();
        Timings {
            setup_ns: started,
            run_ns: self.wall_ns(context),
            teardown_ns: Some(total_ns.saturating_sub(self.ended.killed_at_ns)),
            total_ns,
        }
    }

    /// Judges, and writes everything down.
    pub(crate) fn into_report(self, context: &Context<'_>) -> RunReport {
        let evidence = self.evidence(context);
        let outcome = judge(&evidence);
        let told = &self.sandbox.told;
        let [stdout_bytes, stderr_bytes] = self.streams.bytes();
        let memory = self.memory_peak();
        let cpu_total_ns = self.cpu_ns();
        let program = self.program_ended();
        // What setting up has cost was spent in the kernel; it is taken off there.
        let cpu_user_ns = self.ended.cpu.zip(cpu_total_ns).map(|(cpu, total)| cpu.user_ns.min(total));
        let external = matches!(outcome.cause, Cause::KilledExternally | Cause::IeInitKilled);
        RunReport {
            schema: RUN_SCHEMA.to_owned(),
            box_id: context.id.clone(),
            status: outcome.status,
            cause: outcome.cause,
            message: message(&outcome, &evidence),
            exit_code: outcome.exit_code,
            payload_exit_code: outcome.payload_exit_code,
            signal: outcome.signal,
            killed_by: external.then(|| "external".to_owned()),
            started_at: context.clock.started_at(),
            ended_at: now_rfc3339(),
            wall_ns: self.wall_ns(context),
            cpu_user_ns,
            cpu_system_ns: cpu_total_ns.zip(cpu_user_ns).map(|(total, user)| total - user),
            cpu_total_ns,
            overshoot_ns: self.overshoot_ns(context, outcome.cause),
            memory_peak_bytes: memory.map(|(bytes, _)| bytes),
            memory_peak_source: memory.map(|(_, source)| source),
            max_rss_bytes: program.map(|main| main.max_rss_kib * 1024),
            voluntary_switches: program.map(|main| main.voluntary),
            involuntary_switches: program.map(|main| main.involuntary),
            oom_kills: evidence.oom_kills,
            pids_refusals: evidence.pids_refusals,
            stdout_bytes,
            stderr_bytes,
            output_integrity: self.streams.integrity(),
            controls: controls::of_run(context.host, context.plan, &self.sandbox.facts, told, self.uid),
            kernel: context.host.kernel(),
            uid: told.started.map(|_| self.uid),
            timings: self.timings(context),
            actions: context.actions.clone(),
            kill_reason: evidence.kill_reason,
            setup_failure: evidence.setup_failure,
            cleanup_failures: evidence.cleanup_failures,
            containment: evidence.containment,
        }
    }
}

/// What happened, in one sentence for people.
fn message(outcome: &Outcome, evidence: &Evidence) -> String {
    let errno = evidence.exec_failure.map(|failure| std::io::Error::from_raw_os_error(failure.errno));
    match outcome.cause {
        Cause::NormalExit => "the program ended with 0".to_owned(),
        Cause::ReNonzeroExit => format!("the program ended with {}", outcome.payload_exit_code.unwrap_or_default()),
        Cause::ReFatalSignal => format!("signal {} ended the program", outcome.signal.unwrap_or_default()),
        Cause::TleCpu => "the box used more CPU time than allowed".to_owned(),
        Cause::TleWall => "the box ran longer than allowed".to_owned(),
        Cause::MleKernelOom => "the box used more memory than allowed".to_owned(),
        Cause::PlePids => "the box was refused a process beyond its limit, and the program failed".to_owned(),
        Cause::FseLimit => "the program wrote a file beyond the size allowed".to_owned(),
        Cause::OleOutputCap => "the program wrote more output than allowed".to_owned(),
        Cause::SvSeccomp => evidence.kill_reason.as_ref().map(reason_text).unwrap_or_default(),
        Cause::ExecNotFound => "the program was not found in the box".to_owned(),
        Cause::ExecDenied | Cause::ExecFormat => {
            format!("the program could not be executed: {}", errno.map(|e| e.to_string()).unwrap_or_default())
        }
        Cause::IeSetup => evidence.setup_failure.as_ref().map(|f| f.detail.clone()).unwrap_or_default(),
        Cause::IeMissingEvidence => {
            let doubts = evidence.containment.doubts.join("; ");
            format!("rustbox does not know how the run ended{}{doubts}", if doubts.is_empty() { "" } else { ": " })
        }
        Cause::IeContradictoryEvidence | Cause::IeCleanupFailure => evidence.cleanup_failures.join("; "),
        Cause::IeInitKilled => "somebody else killed the box's init with SIGKILL".to_owned(),
        Cause::OrphanDetected | Cause::TransientEscape | Cause::PostCleanupLeak | Cause::ZombieDetected => {
            let found = evidence.containment.findings.iter().map(|finding| finding.what.as_str());
            format!("containment_violation: {}", found.collect::<Vec<_>>().join("; "))
        }
        Cause::Interrupted => evidence.kill_reason.as_ref().map(reason_text).unwrap_or_default(),
        Cause::KilledExternally => "an operator killed the box".to_owned(),
    }
}
