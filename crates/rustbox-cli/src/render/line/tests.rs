use rustbox_core::{
    Actor, Cause, ContainmentVerdict, KillReason, MissingControl, Mode, RunReport, SetupFailure, Stage, Status,
};

use super::*;
use crate::render::fixture::report;

fn plain(report: &RunReport) -> String {
    let mut lines = vec![summary(report)];
    lines.extend(details(report));
    anstream::adapter::strip_str(&lines.join("\n")).to_string()
}

/// The fixture with another ending.
fn ended(status: Status, cause: Cause, signal: Option<i32>, code: Option<i32>, reason: KillReason) -> RunReport {
    RunReport { status, cause, signal, payload_exit_code: code, kill_reason: Some(reason), ..report() }
}

fn interrupted() -> RunReport {
    ended(Status::Int, Cause::Interrupted, None, None, KillReason::Interrupted { signal: 15 })
}

fn not_found() -> RunReport {
    let message = "could not execute \"no\\nsuch\": No such file or directory".to_owned();
    let mut xe = ended(Status::Xe, Cause::ExecNotFound, None, None, KillReason::MainEnded);
    xe.message = message;
    xe.wall_ns = None;
    xe.cpu_total_ns = None;
    xe.memory_peak_bytes = None;
    xe
}

fn setup_failed() -> RunReport {
    let mut ie = ended(Status::Ie, Cause::IeSetup, None, None, KillReason::SetupFailed);
    ie.message = "the box could not be set up".to_owned();
    ie.wall_ns = None;
    ie.containment.processes_at_kill_count = None;
    ie.setup_failure = Some(SetupFailure {
        stage: Stage::Mount,
        actor: Actor::Init,
        errno: Some(2),
        detail: "the box's init could not mount into the box's root: /no/such: No such file or directory".to_owned(),
    });
    ie
}

fn violated() -> RunReport {
    let mut cv = ended(Status::Cv, Cause::PostCleanupLeak, None, Some(0), KillReason::MainEnded);
    cv.message = "2 processes are left after cleanup".to_owned();
    cv.containment.verdict = ContainmentVerdict::Violated;
    cv.containment.doubts = vec!["cgroup.procs still lists 2 processes after 2 s".to_owned()];
    cv
}

fn permissive() -> RunReport {
    let mut weak = report();
    weak.controls.mode = Mode::Permissive;
    weak.controls.unsafe_execution_reason = Some("no system call filter".to_owned());
    weak.controls.missing_controls = vec![MissingControl {
        control: "cpuset".to_owned(),
        reason: "no cpuset controller".to_owned(),
        fix: "mount the cpuset hierarchy".to_owned(),
    }];
    weak
}

#[test]
fn every_status_has_its_line() {
    let killed = KillReason::MainEnded;
    let seccomp = KillReason::Seccomp { number: 101, name: Some("ptrace".to_owned()) };
    let mut tle = ended(Status::Tle, Cause::TleCpu, Some(9), None, KillReason::CpuTime);
    tle.overshoot_ns = Some(7_000_000);
    let mut outside = ended(Status::Sig, Cause::KilledExternally, Some(9), None, KillReason::Operator);
    outside.killed_by = Some("external".to_owned());
    let reports = [
        report(),
        ended(Status::Re, Cause::ReNonzeroExit, None, Some(3), killed.clone()),
        ended(Status::Sig, Cause::ReFatalSignal, Some(11), None, killed.clone()),
        outside,
        tle,
        ended(Status::Tle, Cause::TleWall, Some(9), None, KillReason::WallTime),
        ended(Status::Mle, Cause::MleKernelOom, Some(9), None, KillReason::OutOfMemory),
        ended(Status::Ple, Cause::PlePids, None, Some(1), killed.clone()),
        ended(Status::Fse, Cause::FseLimit, Some(25), None, killed),
        ended(Status::Ole, Cause::OleOutputCap, Some(9), None, KillReason::Output),
        ended(Status::Sv, Cause::SvSeccomp, Some(31), None, seccomp),
        not_found(),
        setup_failed(),
        violated(),
        interrupted(),
        permissive(),
    ];
    let text: Vec<String> = reports.iter().map(plain).collect();
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn the_meta_file_of_every_status_is_what_isolate_would_write() {
    let killed = KillReason::MainEnded;
    let seccomp = KillReason::Seccomp { number: 101, name: None };
    let reports = [
        report(),
        ended(Status::Re, Cause::ReNonzeroExit, None, Some(3), killed.clone()),
        ended(Status::Sig, Cause::ReFatalSignal, Some(11), None, killed.clone()),
        ended(Status::Tle, Cause::TleCpu, Some(9), None, KillReason::CpuTime),
        ended(Status::Tle, Cause::TleWall, None, None, KillReason::WallTime),
        ended(Status::Mle, Cause::MleKernelOom, None, None, KillReason::OutOfMemory),
        ended(Status::Mle, Cause::MleKernelOom, None, Some(1), killed.clone()),
        ended(Status::Ple, Cause::PlePids, None, Some(1), killed.clone()),
        ended(Status::Fse, Cause::FseLimit, Some(25), None, killed),
        ended(Status::Ole, Cause::OleOutputCap, Some(9), None, KillReason::Output),
        RunReport { exit_code: 159, ..ended(Status::Sv, Cause::SvSeccomp, None, None, seccomp) },
        RunReport { exit_code: 127, ..not_found() },
        setup_failed(),
        violated(),
        interrupted(),
    ];
    let text: Vec<String> =
        reports.iter().map(|r| format!("# {} {}\n{}", r.status, r.cause, crate::render::meta(r))).collect();
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn what_the_payload_chose_cannot_write_to_the_terminal() {
    let mut hostile = violated();
    hostile.message = "\u{1b}]0;owned\u{7}".to_owned();
    hostile.containment.doubts = vec!["\u{1b}[2Jcomm\r\u{202e}".to_owned()];
    let text = plain(&hostile);
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    let meta = crate::render::meta(&hostile);
    assert!(meta.contains("message:\\u{1b}]0;owned\\u{7}\n"), "{meta}");
}
