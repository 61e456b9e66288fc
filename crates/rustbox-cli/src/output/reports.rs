//! The reports that were asked for, from the moment before the run until after it.

use std::path::PathBuf;

use rustbox_core::{ExitCode, MissingControl, RunReport, Status};
use serde::Serialize;

use super::{AtomicFile, Patience, StatusStream, error_lines, say_patiently};
use crate::args::RunArgs;
use crate::error::CliError;
use crate::render;

/// What the meta file says while the run lasts, and for ever if rustbox is killed.
const UNFINISHED: &str = "rustbox did not live to see the end of this run";

/// Where the JSON report goes.
#[derive(Debug)]
enum Json {
    Nowhere,
    /// The stdout that the payload wrote to as well.
    SharedStdout,
    /// Our own: the payload's goes into a file.
    Stdout,
    File(AtomicFile),
}

/// Every place to which the end of a run is told.
#[derive(Debug)]
pub(crate) struct Reports {
    json: Json,
    meta: Option<AtomicFile>,
    status: Option<StatusStream>,
    quiet: bool,
}

/// What is written instead of a report when there was no run.
#[derive(Debug, Serialize)]
struct Refusal<'e> {
    schema: &'static str,
    status: Option<Status>,
    cause: &'static str,
    exit_code: u8,
    message: String,
    missing_controls: &'e [MissingControl],
}

impl Reports {
    /// Opens every place, and creates nothing.
    ///
    /// # Errors
    /// A place that cannot be written to, by its flag.
    pub(crate) fn open(args: &RunArgs) -> Result<Self, CliError> {
        let file = |flag: &'static str, path: &PathBuf| {
            AtomicFile::open(path).map_err(|source| CliError::Output { flag, source })
        };
        let json = match &args.json {
            None => Json::Nowhere,
            Some(path) if path.as_os_str() == "-" && args.stdout.is_none() => Json::SharedStdout,
            Some(path) if path.as_os_str() == "-" => Json::Stdout,
            Some(path) => Json::File(file("--json", path)?),
        };
        let meta = args.meta.as_ref().map(|path| file("--meta", path)).transpose()?;
        let status = args.status_fd.map(StatusStream::open).transpose();
        let status = status.map_err(|source| CliError::Output { flag: "--status-fd", source })?;
        Ok(Self { json, meta, status, quiet: args.quiet })
    }

    /// Leaves a meta file that is true if nothing is written after it.
    ///
    /// # Errors
    /// It cannot be written: the run is better not started.
    pub(crate) fn begin(&self) -> Result<(), CliError> {
        self.write_meta(&render::meta_refused(UNFINISHED))
    }

    /// Tells of a step of the run, to those who listen.
    pub(crate) fn step(&mut self, step: &impl Serialize) {
        if let Some(status) = &mut self.status {
            status.send(step);
        }
    }

    /// Tells of a run, everywhere, and returns what to exit with.
    ///
    /// A report that was asked for and could not be delivered is our failure, and outranks the payload's own code.
    pub(crate) fn deliver(self, report: &RunReport, patience: &Patience<'_>) -> u8 {
        let serious = matches!(report.status, Status::Ie | Status::Cv);
        if !self.quiet || serious {
            say_patiently(std::iter::once(render::summary(report)).chain(render::details(report)), patience);
        }
        let failures = self.tell(&render::meta(report), "report", report, patience);
        say_patiently(failures.iter().flat_map(error_lines), patience);
        let delivered = failures.is_empty() || report.exit_code == ExitCode::CONTAINMENT_VIOLATION;
        if delivered { report.exit_code } else { ExitCode::INTERNAL }
    }

    /// Tells of a run that did not take place, everywhere, and returns what to exit with.
    pub(crate) fn refuse(self, error: &CliError, patience: &Patience<'_>) -> u8 {
        let exit_code = error.exit_code();
        say_patiently(error_lines(error), patience);
        let refused = [ExitCode::CONTROL_MISSING, ExitCode::QUARANTINED].contains(&exit_code);
        let refusal = Refusal {
            schema: "rustbox.refusal/v1",
            status: if error.is_interrupted() { Some(Status::Int) } else { (!refused).then_some(Status::Ie) },
            cause: error.cause(),
            exit_code,
            message: error.line(),
            missing_controls: error.missing_controls(),
        };
        let meta = render::meta_refused(&refusal.message);
        let failures = self.tell(&meta, "refused", &refusal, patience);
        // A place that could not be written is what was just told, if that is why there was no run.
        if !matches!(error, CliError::Output { .. }) {
            say_patiently(failures.iter().flat_map(error_lines), patience);
        }
        exit_code
    }

    /// Writes to every place, whatever becomes of the others; the JSON on stdout comes last.
    fn tell(self, meta: &str, event: &'static str, report: &impl Serialize, patience: &Patience<'_>) -> Vec<CliError> {
        let mut failures = Vec::new();
        failures.extend(self.write_meta(meta).err());
        if let Some(status) = self.status {
            failures.extend(status.finish(event, report, patience).map_err(CliError::StatusFd).err());
        }
        let written = match &self.json {
            Json::Nowhere => Ok(()),
            // The payload need not have ended its last line, and the report is to be a line of its own.
            Json::SharedStdout => print_line("\n", report, patience),
            Json::Stdout => print_line("", report, patience),
            Json::File(file) => {
                let text = serde_json::to_string_pretty(report).map_err(CliError::Json);
                let write = |text: String| {
                    let written = file.write((text + "\n").as_bytes());
                    written.map_err(|source| CliError::Output { flag: "--json", source })
                };
                text.and_then(write)
            }
        };
        failures.extend(written.err());
        failures
    }

    fn write_meta(&self, text: &str) -> Result<(), CliError> {
        let written = self.meta.as_ref().map_or(Ok(()), |file| file.write(text.as_bytes()));
        written.map_err(|source| CliError::Output { flag: "--meta", source })
    }
}

fn print_line(before: &str, report: &impl Serialize, patience: &Patience<'_>) -> Result<(), CliError> {
    let text = serde_json::to_string(report).map_err(CliError::Json)?;
    let line = format!("{before}{text}\n");
    patience.write_all(std::io::stdout(), line.as_bytes()).map_err(CliError::Stdout)
}
