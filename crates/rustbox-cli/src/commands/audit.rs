//! `rustbox audit`.

use std::collections::BTreeSet;
use std::path::Path;

use rustbox_audit::{AuditOptions, AuditReport, Incident, ProcRoot, Registry, Response, audit as look};
use rustbox_core::{BoxId, FindingKind};
use rustbox_health::{audit_event, partial_audit_event};
use rustbox_supervisor::{Host, collect};

use super::host;
use super::watch::watch;
use crate::args::AuditArgs;
use crate::audited::registry;
use crate::config::Settings;
use crate::error::{CliError, chain};
use crate::health::after_audit;
use crate::metrics::TextFile;
use crate::output::{AtomicFile, print, print_styled, say};
use crate::render::{self, escape_text};

/// In which form an incident is written.
#[derive(Clone, Copy)]
enum Form {
    Markdown,
    Html,
    Json,
}

pub(crate) fn audit(settings: &Settings, args: &AuditArgs) -> Result<u8, CliError> {
    if args.watch {
        return watch(settings, args);
    }
    let only = args.box_id.as_deref().map(str::parse::<BoxId>).transpose().map_err(CliError::BoxName)?;
    let incident = args.report.as_deref().map(open_report).transpose()?;
    let textfile = args.textfile.as_deref().map(TextFile::open).transpose()?;
    let host = host::look(settings)?;
    let root = match &args.proc_root {
        Some(path) => ProcRoot::open_tree(path),
        None => ProcRoot::open_host(),
    };
    let root = root.map_err(CliError::Audit)?;
    let response = if args.kill { Response::Kill } else { Response::Report };
    let options = AuditOptions { response, ..AuditOptions::default() };
    let mut read = || narrowed(registry(&host), only.as_ref());
    let mut report = look(&root, &mut read, &options).map_err(CliError::Audit)?;
    if args.kill && collect_dead(&host, &report) {
        let again = look(&root, &mut read, &AuditOptions::default()).map_err(CliError::Audit)?;
        (report.verdict, report.exit_code) = (again.verdict, again.exit_code);
        report.remaining = Some(again.findings);
    }
    // A copy of a process directory says nothing of this worker.
    if !args.no_quarantine && args.proc_root.is_none() {
        let event = match only {
            None => audit_event(&report.findings, report.remaining.as_deref()),
            Some(_) => partial_audit_event(&report.findings),
        };
        after_audit(settings, &event);
    }
    if let Some(file) = textfile {
        file.write(settings)?;
    }
    if let Some((file, form)) = incident {
        write_report(&file, form, &report)?;
    }
    if args.json {
        print(&(to_json(&report)? + "\n"))?;
    } else {
        print_styled(&render::audit(&report))?;
    }
    Ok(report.exit_code)
}

/// Collects the boxes that nobody owns: their records and leases are the supervisor's, and so is removing them.
/// Returns whether there was one. What cannot be collected is still there for the look that follows.
fn collect_dead(host: &Host, report: &AuditReport) -> bool {
    let stale = report.findings.iter().filter(|finding| finding.kind == FindingKind::StaleState);
    let dead: BTreeSet<&BoxId> = stale.filter_map(|finding| finding.box_id.as_ref()).collect();
    for id in &dead {
        if let Err(error) = collect(host, id) {
            say([format!("rustbox: {id}: {}", escape_text(&chain(&error)))]);
        }
    }
    !dead.is_empty()
}

/// With one box, only its own marks are looked for: a uid of the range is then nobody's business here.
fn narrowed(mut registry: Registry, only: Option<&BoxId>) -> Registry {
    if let Some(id) = only {
        registry.boxes.retain(|marks| marks.box_id == *id);
        registry.uids = None;
        registry.stale.clear();
    }
    registry
}

/// Opened before anything is looked at: a report that cannot be written is misuse, not a lost incident.
fn open_report(path: &Path) -> Result<(AtomicFile, Form), CliError> {
    let form = match path.extension().and_then(std::ffi::OsStr::to_str) {
        Some("md") => Form::Markdown,
        Some("html") => Form::Html,
        Some("json") => Form::Json,
        Some(_) | None => return Err(CliError::ReportKind(path.to_owned())),
    };
    let file = AtomicFile::open(path).map_err(|source| CliError::Output { flag: "--report", source })?;
    Ok((file, form))
}

fn write_report(file: &AtomicFile, form: Form, report: &AuditReport) -> Result<(), CliError> {
    let incident = Incident::new(report);
    let text = match form {
        Form::Markdown => incident.markdown(),
        Form::Html => incident.html(),
        Form::Json => to_json(report)? + "\n",
    };
    file.write(text.as_bytes()).map_err(|source| CliError::Output { flag: "--report", source })
}

fn to_json(report: &AuditReport) -> Result<String, CliError> {
    serde_json::to_string_pretty(report).map_err(CliError::Json)
}
