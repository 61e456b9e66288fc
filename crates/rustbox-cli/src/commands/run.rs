//! `rustbox run`: from flags to a plan, to the supervisor, to reports.

use std::mem::ManuallyDrop;

use rustbox_core::{Controls, ExitCode, Mode, RunPlan, RunReport};
use rustbox_supervisor::{Progress, RunIo};

use super::host;
use crate::args::RunArgs;
use crate::config::Settings;
use crate::error::CliError;
use crate::health;
use crate::output::{Patience, Reports, print};
use crate::render::capabilities;
use crate::signals::Signals;

/// Runs a program in a box.
///
/// Everything that can be wrong with what was typed is found before anything is created.
pub(crate) fn run(settings: &Settings, args: RunArgs) -> Result<u8, CliError> {
    let reports = Reports::open(&args)?;
    match plan(settings, args) {
        Ok(plan) => supervise(settings, plan, reports),
        // A control that is switched off is a refusal of a run, not a mistake in the typing: reports tell of it.
        Err(error) if error.exit_code() == ExitCode::CONTROL_MISSING => {
            Ok(reports.refuse(&error, &Patience::endless()))
        }
        Err(error) => Err(error),
    }
}

/// Prints what a run would get on this host.
pub(crate) fn dry_run(settings: &Settings, args: RunArgs) -> Result<u8, CliError> {
    let json = args.json.is_some();
    let plan = plan(settings, args)?;
    need_root()?;
    let controls = rustbox_supervisor::preflight(&host::open(settings)?, &plan);
    let text = if json {
        serde_json::to_string_pretty(&controls).map_err(CliError::Json)? + "\n"
    } else {
        capabilities(&controls)
    };
    print(&text)?;
    Ok(if refused(&controls) { ExitCode::CONTROL_MISSING } else { 0 })
}

fn refused(controls: &Controls) -> bool {
    controls.mode == Mode::Strict && !controls.missing_controls.is_empty()
}

fn plan(settings: &Settings, args: RunArgs) -> Result<RunPlan, CliError> {
    let mut spec = settings.run.clone();
    args.apply(&mut spec);
    spec.validate().map_err(|source| settings.refusal(source))
}

fn supervise(settings: &Settings, plan: RunPlan, mut reports: Reports) -> Result<u8, CliError> {
    let signals = match ready(&reports) {
        Ok(signals) => ManuallyDrop::new(signals),
        Err(error) => {
            health::count_refusal(settings, &error);
            return Ok(reports.refuse(&error, &Patience::endless()));
        }
    };
    let report = in_a_box(settings, &plan, &signals, &mut reports);
    Ok(match report {
        Ok(report) => reports.deliver(&report, &Patience::until_told(&signals)),
        Err(error) => {
            health::count_refusal(settings, &error);
            reports.refuse(&error, &Patience::until_told(&signals))
        }
    })
}

/// What must have worked before the box exists.
fn ready(reports: &Reports) -> Result<Signals, CliError> {
    need_root()?;
    // The limit may be the caller's; ours is to say so rather than to die of it.
    rustbox_ns::ignore_file_size_signal().map_err(|error| CliError::Supervisor(error.into()))?;
    reports.begin()?;
    Signals::block()
}

/// D41: boxes without root's rights are not made, weaker ones least of all.
fn need_root() -> Result<(), CliError> {
    if rustix::process::geteuid().is_root() { Ok(()) } else { Err(CliError::Unprivileged) }
}

fn in_a_box(
    settings: &Settings,
    plan: &RunPlan,
    signals: &Signals,
    reports: &mut Reports,
) -> Result<RunReport, CliError> {
    let worker = health::before_run(settings)?;
    // What is open goes with the process, which this run is.
    let host = ManuallyDrop::new(host::open(settings)?);
    let mut observer = |progress: &Progress| reports.step(progress);
    let io = RunIo { interrupt: Some(signals.fd()), observer: &mut observer };
    let report = rustbox_supervisor::run(&host, plan, io).map_err(CliError::Supervisor)?;
    health::after_run(settings, worker.as_deref(), &report);
    Ok(report)
}
