//! A report with fixed numbers, for tests.

use rustbox_core::{
    Cause, CgroupBackend, Containment, ContainmentVerdict, Controls, MemoryPeakSource, Mode, OutputIntegrity,
    PidfdMode, RUN_SCHEMA, RunReport, Status, Timings,
};

/// A payload that ended well and left three processes behind, which were killed.
pub(crate) fn report() -> RunReport {
    RunReport {
        schema: RUN_SCHEMA.to_owned(),
        box_id: "demo".parse().unwrap(),
        status: Status::Ok,
        cause: Cause::NormalExit,
        message: "the program ended with exit code 0".to_owned(),
        exit_code: 0,
        payload_exit_code: Some(0),
        signal: None,
        killed_by: None,
        started_at: "2026-01-02T03:04:05.000000006Z".to_owned(),
        ended_at: "2026-01-02T03:04:05.130000006Z".to_owned(),
        wall_ns: Some(123_456_789),
        cpu_user_ns: Some(60_000_000),
        cpu_system_ns: Some(20_400_000),
        cpu_total_ns: Some(80_400_000),
        overshoot_ns: None,
        memory_peak_bytes: Some(14_889_779),
        memory_peak_source: Some(MemoryPeakSource::MemoryPeak),
        max_rss_bytes: Some(9_437_184),
        voluntary_switches: Some(12),
        involuntary_switches: Some(3),
        oom_kills: Some(0),
        pids_refusals: Some(0),
        stdout_bytes: None,
        stderr_bytes: None,
        output_integrity: OutputIntegrity::NotCaptured,
        kill_reason: Some(rustbox_core::KillReason::MainEnded),
        setup_failure: None,
        cleanup_failures: Vec::new(),
        controls: controls(),
        kernel: "6.1.0-test".to_owned(),
        uid: Some(70_001),
        containment: containment(),
        timings: Timings { setup_ns: Some(2_000_000), total_ns: 130_000_000, ..Timings::default() },
        actions: Vec::new(),
    }
}

pub(crate) fn controls() -> Controls {
    Controls {
        configured_controls: ["pid_namespace", "memory", "pids"].map(str::to_owned).to_vec(),
        applied_controls: Vec::new(),
        missing_controls: Vec::new(),
        mode: Mode::Strict,
        mode_decision_reason: "the default".to_owned(),
        unsafe_execution_reason: None,
        cgroup_backend: CgroupBackend::Hybrid,
        pidfd_mode: PidfdMode::Native,
    }
}

fn containment() -> Containment {
    Containment {
        verdict: ContainmentVerdict::Contained,
        doubts: Vec::new(),
        processes_at_kill: Vec::new(),
        processes_at_kill_count: Some(3),
        left_session: Some(1),
        survivors: Some(0),
        zombies: Some(0),
        reaped_descendants: Some(2),
        populated_zero_ns: Some(400_000),
        cgroup_removed: Some(true),
        supervisor_pid_namespace: Some(4_026_531_836),
        pid_namespace: Some(4_026_532_000),
        audit_session: None,
        proofs: vec!["the init is reaped".to_owned()],
        findings: Vec::new(),
    }
}
