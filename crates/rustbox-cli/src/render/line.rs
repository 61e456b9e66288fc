//! The line that people read after a run.

use anstyle::{AnsiColor, Style};
use rustbox_core::{Cause, ContainmentVerdict, KillReason, RunReport, SetupFailure, Stage, Status};

use super::{escape_text, signal_name};

const GOOD: Style = AnsiColor::Green.on_default().bold();
const WEAK: Style = AnsiColor::Yellow.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// Findings, doubts and failures that are printed; the report has all of them.
const DETAILS_MAX: usize = 16;

/// One line: what happened, time, memory, how many processes were killed, whether anything is left.
pub(crate) fn summary(report: &RunReport) -> String {
    let style = status_style(report.status);
    let mut head = format!("{style}{}{style:#}", report.status);
    if let Some(why) = why(report) {
        head.push_str(&format!(" ({why})"));
    }
    let mut parts = Vec::new();
    if let Some(ns) = report.wall_ns {
        parts.push(format!("{} wall", seconds(ns)));
    }
    if let Some(ns) = report.cpu_total_ns {
        parts.push(format!("{} CPU", seconds(ns)));
    }
    if let Some(bytes) = report.memory_peak_bytes {
        parts.push(format!("{} peak", memory(bytes)));
    }
    parts.push(killed(report.containment.processes_at_kill_count));
    parts.push(verdict(report.containment.verdict));
    let link = if report.wall_ns.is_some() { " in " } else { ", " };
    format!("rustbox: {head}{link}{}", parts.join(", "))
}

/// Lines under it: what failed, what is left, what is weaker than it could be, and what to do next.
pub(crate) fn details(report: &RunReport) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(report.setup_failure.iter().map(|failure| failure.detail.clone()));
    lines.extend(report.cleanup_failures.iter().map(|text| format!("not cleaned up: {text}")));
    lines.extend(report.containment.doubts.iter().map(|text| format!("doubt: {text}")));
    let found = |f: &rustbox_core::Finding| format!("{}: {}", f.kind, f.what);
    lines.extend(report.containment.findings.iter().map(found));
    let missing = |m: &rustbox_core::MissingControl| format!("without {}: {} ({})", m.control, m.reason, m.fix);
    lines.extend(report.controls.missing_controls.iter().map(missing));
    lines.extend(report.controls.unsafe_execution_reason.iter().map(|text| format!("weaker than the default: {text}")));
    let more = lines.len().saturating_sub(DETAILS_MAX);
    lines.truncate(DETAILS_MAX);
    if more > 0 {
        lines.push(format!("and {more} more; --json=FILE has all of them"));
    }
    lines.extend(next_step(report));
    lines.iter().map(|line| format!("rustbox:   {}", escape_text(line))).collect()
}

fn status_style(status: Status) -> Style {
    match status {
        Status::Ok => GOOD,
        Status::Ie | Status::Cv => BAD,
        Status::Re
        | Status::Sig
        | Status::Tle
        | Status::Mle
        | Status::Ple
        | Status::Fse
        | Status::Ole
        | Status::Sv
        | Status::Xe
        | Status::Int => WEAK,
    }
}

fn why(report: &RunReport) -> Option<String> {
    let limit = |name: &str| match report.overshoot_ns {
        Some(ns) => format!("{name}, {} over", seconds(ns)),
        None => name.to_owned(),
    };
    match report.status {
        Status::Ok => None,
        Status::Re => report.payload_exit_code.map(|code| format!("exit code {code}")),
        Status::Sig => {
            let signal = report.signal.map_or_else(|| "killed".to_owned(), signal_name);
            let outside = report.killed_by.is_some() || report.cause == Cause::KilledExternally;
            Some(if outside { format!("{signal}, sent from outside the box") } else { signal })
        }
        Status::Tle if report.cause == Cause::TleCpu => Some(limit("CPU time limit")),
        Status::Tle => Some(limit("wall time limit")),
        Status::Mle => Some("memory limit".to_owned()),
        Status::Ple => Some(format!("process limit, {}", ending(report))),
        Status::Fse => Some("file size limit".to_owned()),
        Status::Ole => Some("output limit".to_owned()),
        Status::Sv => Some(match &report.kill_reason {
            Some(KillReason::Seccomp { name: Some(name), .. }) => format!("denied system call {}", escape_text(name)),
            Some(KillReason::Seccomp { number, .. }) => format!("denied system call number {number}"),
            _ => "denied system call".to_owned(),
        }),
        Status::Xe | Status::Ie | Status::Cv => Some(escape_text(&report.message)),
        Status::Int => Some(match report.kill_reason {
            Some(KillReason::Interrupted { signal }) => format!("{} to rustbox", signal_name(signal)),
            _ => "signal to rustbox".to_owned(),
        }),
    }
}

fn ending(report: &RunReport) -> String {
    match (report.signal, report.payload_exit_code) {
        (Some(signal), _) => signal_name(signal),
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => "killed".to_owned(),
    }
}

fn killed(count: Option<u64>) -> String {
    match count {
        Some(1) => "1 process killed".to_owned(),
        Some(count) => format!("{count} processes killed"),
        None => "processes killed: unknown".to_owned(),
    }
}

fn verdict(verdict: ContainmentVerdict) -> String {
    match verdict {
        ContainmentVerdict::Contained => format!("{GOOD}contained{GOOD:#}"),
        ContainmentVerdict::Violated => format!("{BAD}NOT CONTAINED{BAD:#}"),
        ContainmentVerdict::Unknown => format!("{BAD}containment unknown{BAD:#}"),
    }
}

fn next_step(report: &RunReport) -> Option<String> {
    let id = &report.box_id;
    match report.status {
        Status::Cv => Some(format!("next: `rustbox ps` shows what is left, `rustbox kill {id}` kills and removes it")),
        Status::Ie if !report.cleanup_failures.is_empty() => Some(format!("next: `rustbox cleanup {id}`")),
        Status::Ie if report.setup_failure.as_ref().is_some_and(is_taken) => {
            Some(format!("next: `rustbox cleanup {id}` removes what a dead box left there, or choose another --box-id"))
        }
        Status::Ie if report.setup_failure.is_some() => {
            Some("next: `rustbox doctor` tries what a box needs".to_owned())
        }
        Status::Ok
        | Status::Re
        | Status::Sig
        | Status::Tle
        | Status::Mle
        | Status::Ple
        | Status::Fse
        | Status::Ole
        | Status::Sv
        | Status::Xe
        | Status::Ie
        | Status::Int => None,
    }
}

/// Whether a cgroup of that name is there already, and nobody holds its lock.
fn is_taken(failure: &SetupFailure) -> bool {
    failure.stage == Stage::Cgroup && failure.errno == Some(rustix::io::Errno::EXIST.raw_os_error())
}

/// Hundredths of a second, or thousandths of what is shorter than a tenth.
#[expect(clippy::cast_precision_loss, reason = "a rounded number for people")]
fn seconds(ns: u64) -> String {
    let seconds = ns as f64 / 1e9;
    if seconds < 0.1 { format!("{seconds:.3} s") } else { format!("{seconds:.2} s") }
}

#[expect(clippy::cast_precision_loss, reason = "a rounded number for people")]
fn memory(bytes: u64) -> String {
    match bytes {
        0..=0xf_ffff => format!("{} KiB", bytes >> 10),
        0x10_0000..=0x3fff_ffff => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
        _ => format!("{:.2} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}

#[cfg(test)]
mod tests;
