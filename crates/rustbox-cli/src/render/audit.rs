//! The result of an audit, for people.

use anstyle::{AnsiColor, Style};
use rustbox_audit::{Action, ActionOutcome, AuditReport, Verdict};
use rustbox_core::{Finding, Severity};

use super::escape_text;

/// One line for each finding and each action, and the sum of it at the end.
pub(crate) fn audit(report: &AuditReport) -> String {
    let mut out: String = report.findings.iter().map(finding).collect();
    for result in report.actions.iter().flatten() {
        let what = match &result.action {
            Action::End { process, .. } => format!("end process {}", process.pid),
            Action::RemoveCgroup { directory, .. } => format!("remove {directory}"),
        };
        let outcome = match result.outcome {
            ActionOutcome::Done => "done",
            ActionOutcome::NothingToDo => "nothing to do",
            ActionOutcome::Refused => "REFUSED",
        };
        out.push_str(&format!("  {}: {outcome}: {}\n", escape_text(&what), escape_text(&result.detail)));
    }
    if let Some(remaining) = &report.remaining {
        out.push_str(&format!("after that, {} finding(s)\n", remaining.len()));
        out.extend(remaining.iter().map(finding));
    }
    let (colour, word) = match report.verdict {
        Verdict::Clean => (AnsiColor::Green, "clean"),
        Verdict::Findings => (AnsiColor::Red, "FINDINGS"),
        Verdict::NoVerdict => (AnsiColor::Yellow, "NO VERDICT: not everything could be looked at"),
    };
    let style = Style::new().bold().fg_color(Some(colour.into()));
    out.push_str(&format!(
        "{style}{word}{style:#}: {} processes looked at {} times; boxes: {}, processes with a mark of one: {}\n",
        report.processes_listed, report.looks, report.boxes, report.processes_marked
    ));
    out
}

/// One line.
pub(crate) fn finding(finding: &Finding) -> String {
    let colour = if finding.severity == Severity::Critical { AnsiColor::Red } else { AnsiColor::Yellow };
    let style = Style::new().fg_color(Some(colour.into()));
    let what = escape_text(&finding.what);
    let name = finding.comm.as_deref().map(|comm| format!(" [{}]", escape_text(comm))).unwrap_or_default();
    let call = if finding.escalate { "; call somebody now" } else { "" };
    format!("{style}{}{style:#}: {what}{name} (runbook {}{call})\n", finding.kind, finding.runbook)
}
