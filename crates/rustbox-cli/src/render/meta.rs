//! isolate's meta file: lines of `key:value` that judges have read for years.

use rustbox_core::{Cause, KillReason, MemoryPeakSource, RunReport, Status};

use super::escape_text;

const NS_PER_MS: u64 = 1_000_000;
const SIGKILL: i32 = 9;

/// The file of a run that is not over, or that never was: a reader never takes it for a result.
pub(crate) fn meta_refused(message: &str) -> String {
    format!("status:XX\nmessage:{}\n", escape_text(message))
}

/// The file of a run that is over. What was not measured is left out.
pub(crate) fn meta(report: &RunReport) -> String {
    let mut lines = Lines(String::new());
    lines.seconds("time", report.cpu_total_ns);
    lines.seconds("time-wall", report.wall_ns);
    lines.put("max-rss", report.max_rss_bytes.map(|bytes| bytes / 1024));
    lines.put("csw-voluntary", report.voluntary_switches);
    lines.put("csw-forced", report.involuntary_switches);
    // isolate's cg-mem is the group's peak, which a single process's rusage is not.
    let of_group = report.memory_peak_source != Some(MemoryPeakSource::Rusage);
    lines.put("cg-mem", report.memory_peak_bytes.filter(|_| of_group).map(|bytes| bytes / 1024));
    if report.status == Status::Mle {
        lines.put("cg-oom-killed", Some(1));
    }
    verdict(report, &mut lines);
    lines.0
}

struct Lines(String);

impl Lines {
    fn put(&mut self, key: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.0.push_str(&format!("{key}:{value}\n"));
        }
    }

    fn seconds(&mut self, key: &str, ns: Option<u64>) {
        let text = ns.map(|ns| {
            let ms = ns / NS_PER_MS;
            format!("{}.{:03}", ms / 1000, ms % 1000)
        });
        self.put(key, text);
    }
}

/// isolate knows four endings: RE, SG, TO, and XX for its own failures.
fn verdict(report: &RunReport, lines: &mut Lines) {
    let message = escape_text(&report.message);
    match report.status {
        Status::Ok => lines.put("exitcode", report.payload_exit_code),
        Status::Tle => {
            lines.put("killed", Some(1));
            lines.put("status", Some("TO"));
            let wall = report.cause == Cause::TleWall;
            lines.put("message", Some(if wall { "Time limit exceeded (wall clock)" } else { "Time limit exceeded" }));
        }
        Status::Xe => {
            lines.put("exitcode", Some(report.exit_code));
            lines.put("status", Some("RE"));
            lines.put("message", Some(message));
        }
        Status::Re | Status::Sig | Status::Mle | Status::Ple | Status::Fse | Status::Ole | Status::Sv => {
            ending(report, lines);
        }
        Status::Ie | Status::Cv | Status::Int => {
            lines.put("status", Some("XX"));
            lines.put("message", Some(message));
        }
    }
}

/// What became of the main process; killed together with its init, it had no time to tell.
fn ending(report: &RunReport, lines: &mut Lines) {
    let killed = !matches!(report.kill_reason, None | Some(KillReason::MainEnded | KillReason::InitEnded));
    lines.put("killed", killed.then_some(1));
    match (report.signal, report.payload_exit_code) {
        (Some(signal), _) => signalled(signal, lines),
        (None, Some(code)) => {
            lines.put("exitcode", Some(code));
            lines.put("status", Some("RE"));
            // A payload that ends well can still have lost output to its limit.
            let text = format!("Exited with error status {code}");
            lines.put("message", Some(if code == 0 { escape_text(&report.message) } else { text }));
        }
        (None, None) if report.status == Status::Sv => signalled(i32::from(report.exit_code) - 128, lines),
        (None, None) => signalled(SIGKILL, lines),
    }
}

fn signalled(signal: i32, lines: &mut Lines) {
    lines.put("exitsig", Some(signal));
    lines.put("status", Some("SG"));
    lines.put("message", Some(format!("Caught fatal signal {signal}")));
}
