//! `rustbox audit --watch`.

use std::cell::Cell;
use std::time::Duration;

use rustbox_audit::{AuditOptions, AuditReport, ProcRoot, Response, Verdict, WatchOptions, Watched, watch as look_on};
use rustbox_core::{Finding, FindingKind};
use rustbox_health::{audit_event, partial_audit_event};
use serde_json::json;

use super::host;
use crate::args::AuditArgs;
use crate::audited::registry;
use crate::config::Settings;
use crate::error::{CliError, chain};
use crate::health::after_audit;
use crate::metrics::TextFile;
use crate::output::{print, print_styled, say};
use crate::render::{self, escape_text};
use crate::signals::Signals;

/// Steps that a watch asks to be preferred by: who looks on should not wait for those whom it looks at.
const NICE: i32 = -10;

/// Watches until a signal ends it, and returns what the worst of it was.
pub(super) fn watch(settings: &Settings, args: &AuditArgs) -> Result<u8, CliError> {
    let textfile = args.textfile.as_deref().map(TextFile::open).transpose()?;
    let host = host::look(settings)?;
    let root = ProcRoot::open_host().map_err(CliError::Audit)?;
    let signals = Signals::block()?;
    if let Err(errno) = rustix::process::setpriority_process(None, NICE) {
        tracing::info!(%errno, "the watch runs with the priority of everybody");
    }
    let response = if args.kill { Response::Kill } else { Response::Report };
    let options = WatchOptions {
        interval: Duration::from_secs(args.interval),
        audit: AuditOptions { response, ..AuditOptions::default() },
        ..WatchOptions::default()
    };
    let teller = Teller { settings, args, textfile, worst: Cell::new(Verdict::Clean) };
    teller.tell_metrics();
    let mut tell = |watched: Watched<'_>| match watched {
        Watched::Finding(finding) => teller.finding(finding),
        Watched::Pass(report) => teller.pass(report),
        Watched::PassFailed(error) => {
            teller.note(Verdict::NoVerdict);
            say([format!("rustbox: NO VERDICT: {}", escape_text(&chain(error)))]);
        }
    };
    look_on(&root, &|| registry(&host), &options, signals.fd(), &mut tell).map_err(CliError::Audit)?;
    Ok(teller.worst.get().exit_code())
}

/// Passes on what the watch tells: to the worker's state, to the metrics, to stdout.
struct Teller<'w> {
    settings: &'w Settings,
    args: &'w AuditArgs,
    textfile: Option<TextFile>,
    worst: Cell<Verdict>,
}

impl Teller<'_> {
    fn finding(&self, finding: &Finding) {
        self.note(Verdict::of(std::slice::from_ref(finding)));
        if !self.args.no_quarantine && finding.kind != FindingKind::CoverageGap {
            after_audit(self.settings, &partial_audit_event(std::slice::from_ref(finding)));
        }
        self.tell_metrics();
        self.print(&json!({ "watch": "finding", "finding": finding }), || render::finding(finding));
    }

    fn pass(&self, report: &AuditReport) {
        self.note(Verdict::of(&report.findings));
        if !self.args.no_quarantine {
            after_audit(self.settings, &audit_event(&report.findings, report.remaining.as_deref()));
        }
        self.tell_metrics();
        self.print(&json!({ "watch": "pass", "report": report }), || {
            // An hour of silence is the good case.
            if report.findings.is_empty() { String::new() } else { render::audit(report) }
        });
    }

    /// A finding outweighs a gap, and a gap outweighs nothing found.
    fn note(&self, verdict: Verdict) {
        let weight = |verdict| match verdict {
            Verdict::Clean => 0,
            Verdict::NoVerdict => 1,
            Verdict::Findings => 2,
        };
        if weight(verdict) > weight(self.worst.get()) {
            self.worst.set(verdict);
        }
    }

    /// What cannot be written is told, and watching goes on: the file's age shows it too.
    fn tell_metrics(&self) {
        if let Some(file) = &self.textfile
            && let Err(error) = file.write(self.settings)
        {
            say([format!("rustbox: {}", escape_text(&chain(&error)))]);
        }
    }

    fn print(&self, object: &serde_json::Value, styled: impl FnOnce() -> String) {
        let printed = if self.args.json { print(&format!("{object}\n")) } else { print_styled(&styled()) };
        if let Err(error) = printed {
            tracing::debug!(%error, "nobody reads what the watch prints");
        }
    }
}
