//! Pictures for the HTML report: the process tree, and the course of events.

use std::fmt::Write;

use rustbox_core::{Finding, ProcessKey};

use super::html::escape;
use crate::report::AuditReport;

const ROW: usize = 34;
const STEP: usize = 26;
const WIDTH: usize = 760;

/// The chain from the oldest ancestor down to the accused process, which is red.
pub(super) fn tree(finding: &Finding) -> String {
    let Some(process) = finding.process else { return String::new() };
    let mut rows: Vec<(ProcessKey, String)> = Vec::new();
    for key in finding.ancestry_now.iter().rev() {
        let role = if finding.ancestry_recorded.first() == Some(key) {
            " supervisor"
        } else if finding.ancestry_recorded.get(1) == Some(key) {
            " init of the box"
        } else {
            ""
        };
        let name =
            if Some(key.pid) == finding.ppid { finding.parent_comm.clone().unwrap_or_default() } else { String::new() };
        rows.push((*key, format!("{name}{role}")));
    }
    rows.push((process, finding.comm.clone().unwrap_or_default()));
    let height = rows.len() * ROW + 10;
    let mut out = format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"process tree\">\n");
    for (index, (key, label)) in rows.iter().enumerate() {
        let (x, y) = (10 + index * STEP, 20 + index * ROW);
        let colour = if *key == process { "#b00020" } else { "#3a6ea5" };
        if index > 0 {
            let (left, top) = (x - STEP + 6, y - ROW + 7);
            let _ = writeln!(out, "<path d=\"M{left} {top} V{y} H{x}\" fill=\"none\" stroke=\"#888\"/>");
        }
        let text = escape(&format!("{} {label}", key.pid));
        let _ = writeln!(
            out,
            "<circle cx=\"{x}\" cy=\"{y}\" r=\"6\" fill=\"{colour}\"/><text x=\"{}\" y=\"{}\">{text}</text>",
            x + 12,
            y + 4
        );
    }
    out.push_str("</svg>\n");
    out
}

/// When what was seen, in the order of the times, which sort as text.
pub(super) fn timeline(report: &AuditReport) -> String {
    let mut events: Vec<(&str, String)> = vec![(&report.started_at, "audit begins".to_owned())];
    for finding in &report.findings {
        let who = finding.process.map_or("-".to_owned(), |key| key.pid.to_string());
        events.push((&finding.first_seen, format!("{} {who} first seen", finding.kind)));
        events.push((&finding.last_seen, format!("{} {who} last seen", finding.kind)));
    }
    let done = report
        .actions
        .as_ref()
        .map_or("audit ends".to_owned(), |actions| format!("{} actions done, audit ends", actions.len()));
    events.push((&report.ended_at, done));
    events.sort();
    let height = events.len() * STEP + 10;
    let mut out = format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"timeline\">\n");
    let _ = writeln!(out, "<path d=\"M14 12 V{}\" stroke=\"#888\"/>", height.saturating_sub(16));
    for (index, (time, what)) in events.iter().enumerate() {
        let y = 16 + index * STEP;
        let text = escape(&format!("{time}  {what}"));
        let _ = writeln!(
            out,
            "<circle cx=\"14\" cy=\"{y}\" r=\"4\" fill=\"#3a6ea5\"/><text x=\"28\" y=\"{}\">{text}</text>",
            y + 4
        );
    }
    out.push_str("</svg>\n");
    out
}
