//! What a run asks before it begins, and tells when it has ended.

use rustbox_core::RunReport;
use rustbox_health::{
    Admission, Counters, Delta, Error, Event, Refused, Resources, Store, WorkerState, admit, count_run, run_event,
};

use crate::config::Settings;
use crate::error::{CliError, chain};
use crate::output::say;
use crate::render::escape_text;

/// Asks whether this worker takes work. Returns its state as it was read; none for a new worker.
pub(crate) fn before_run(settings: &Settings) -> Result<Option<Box<WorkerState>>, CliError> {
    let state = match admit(&settings.state_dir).map_err(CliError::Health)? {
        Admission::Open(state) => state,
        Admission::Refused(refused) => return Err(CliError::Quarantined(refused)),
    };
    let left = Resources::read(&settings.state_dir).map_err(CliError::Health)?;
    match left.shortage(&settings.thresholds) {
        None => Ok(state),
        Some(detail) => Err(exhausted(settings, detail)),
    }
}

/// Quarantines for a shortage. Refused is the run in any case: where there is no room to write it down, the next run finds
/// the same shortage.
fn exhausted(settings: &Settings, detail: String) -> CliError {
    let event = Event::Exhausted { detail: detail.clone() };
    match Store::open(&settings.state_dir).and_then(|store| store.update(&event, "rustbox run")) {
        Ok(updated) => match Refused::by(&updated.state) {
            Some(refused) => CliError::Quarantined(refused),
            None => CliError::Quarantined(Refused::short(detail)),
        },
        Err(error) => {
            lost("the worker's state could not be written", &error);
            CliError::Quarantined(Refused::short(detail))
        }
    }
}

/// Tells the worker how a run ended. The report is delivered whatever becomes of this: a quarantine that cannot be
/// written is said on stderr, and the violation has its own exit code.
pub(crate) fn after_run(settings: &Settings, before: Option<&WorkerState>, report: &RunReport) {
    let event = run_event(report);
    let is_clear = before.is_none_or(|state| state.failed_cleanup_count == 0 && state.complaints.is_empty());
    if !(event.is_ordinary() && is_clear) {
        tell(settings, &event, "rustbox run");
    }
    count(settings, &count_run(report));
}

/// Tells the worker what an audit found. The report is delivered whatever becomes of this.
pub(crate) fn after_audit(settings: &Settings, event: &Event) {
    tell(settings, event, "rustbox audit");
}

fn tell(settings: &Settings, event: &Event, command: &str) {
    match Store::open(&settings.state_dir).and_then(|store| store.update(event, command)) {
        Ok(updated) if updated.state.quarantine.is_some() => {
            say(["rustbox: THE WORKER IS QUARANTINED: see `rustbox health`".to_owned()]);
        }
        Ok(_) => {}
        Err(error) => lost("the worker's state could not be written", &error),
    }
}

/// Counts a run that was refused.
pub(crate) fn count_refusal(settings: &Settings, error: &CliError) {
    // Without root's rights the counters are out of reach, and nobody is surprised.
    if rustix::process::geteuid().is_root() {
        count(settings, &Delta::refused(error.cause()));
    }
}

fn count(settings: &Settings, delta: &Delta) {
    if let Err(error) = Counters::open(&settings.state_dir).and_then(|counters| counters.add(delta)) {
        lost("this run is not counted", &error);
    }
}

fn lost(what: &str, error: &Error) {
    say([format!("rustbox: {what}: {}", escape_text(&chain(error)))]);
}
