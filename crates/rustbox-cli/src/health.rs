//! `rustbox health`: whether this worker may be given work, and what an operator does about it.

mod gate;
mod object;
mod page;

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use rustbox_core::ExitCode;
use rustbox_health::{
    Cleanliness, Error, Event, Force, Look, Recovery, Refusal, Resources, Status, Store, Survey, Updated, look,
    recover, survey,
};
use rustbox_supervisor::{Host, Places};
use serde_json::json;

pub(crate) use gate::{after_audit, after_run, before_run, count_refusal};

use crate::config::Settings;
use crate::error::{COULD_NOT_LOOK, CliError};
use crate::output::{print, print_styled, say};
use crate::render::escape_text;
use object::Health;

/// The worker is not healthy, or something is left.
const NOT_WELL: u8 = 1;
/// The words of a quarantine without `--reason`.
const NO_WORDS: &str = "manual_quarantine";

const HELP: &str = "\
Without a flag: one JSON object on a pipe, a page on a terminal. Reads the worker's state and changes nothing.

`--verify-clean` counts what is left of boxes and has no live owner, by the locks on boxes and not by names. Living
boxes are not counted, whoever they belong to: stop them first where nothing at all may run (`rustbox cleanup --all`).
What has a box's uid and no other mark is no proof: a process or an IPC object leaves it unknown (2), keys are only counted.

Exit codes: `--check` 0 healthy and accepting, 1 not, 2 cannot tell. `--verify-clean` 0 clean, 1 not clean, 2 could not look.
`--recover` 0 nothing is left, 1 something is left or too little of something (named), 2 could not look. `--unquarantine` 0 lifted, or there was
nothing to lift, 1 the host is not clean, 2 that is not known. 125 misuse.

The runbooks that are named are in share/doc/rustbox/runbooks below the directory that rustbox is installed into, /usr/local by default;
in the sources they are in docs/runbooks.";

/// How much JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum JsonForm {
    /// What every caller needs.
    Brief,
    /// With `--verify-clean`: everything that was counted, and what is left by name.
    Full,
}

/// Arguments of `rustbox health`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
#[command(group = clap::ArgGroup::new("deed").multiple(false))]
#[command(group = clap::ArgGroup::new("worded").multiple(false))]
pub(crate) struct HealthArgs {
    /// One JSON object on stdout; `--json=full` with `--verify-clean` counts everything
    #[arg(long, value_name = "FORM", num_args = 0..=1, require_equals = true, default_missing_value = "brief")]
    json: Option<JsonForm>,
    /// Answers by the exit code alone
    #[arg(long, group = "deed")]
    check: bool,
    /// Looks at the host, and fails unless nothing is left of any dead box
    #[arg(long, group = "deed")]
    verify_clean: bool,
    /// Removes what dead boxes left, verifies, and lifts a quarantine that needs no review
    #[arg(long, group = "deed")]
    recover: bool,
    /// Accepted with `--recover`, which always cleans up
    #[arg(long, requires = "recover")]
    cleanup: bool,
    /// Takes the worker out: `rustbox run` refuses with 120
    #[arg(long, groups = ["deed", "worded"])]
    quarantine: bool,
    /// Puts the worker back, when the host is clean; needs `--reason`
    #[arg(long, groups = ["deed", "worded"])]
    unquarantine: bool,
    /// Refuses runs without a quarantine, as `systemctl stop rustbox` does
    #[arg(long, group = "deed")]
    stop_accepting: bool,
    /// Takes that back
    #[arg(long, group = "deed")]
    start_accepting: bool,
    /// With `--quarantine` or `--unquarantine`: why, kept word for word
    #[arg(long, value_name = "TEXT", requires = "worded")]
    reason: Option<String>,
    /// With `--unquarantine`: although the host is not proved clean; that is remembered
    #[arg(long, requires = "unquarantine")]
    force: bool,
}

/// `rustbox health`.
pub(crate) fn health(settings: &Settings, args: &HealthArgs) -> Result<u8, CliError> {
    let reason = args.reason.as_deref();
    if args.check {
        Ok(read(settings).check())
    } else if args.verify_clean {
        verify_clean(settings, args.json)
    } else if args.recover {
        recovery(settings, args.json)
    } else if args.quarantine {
        let event = Event::Quarantine { reason: reason.unwrap_or(NO_WORDS).to_owned() };
        Ok(told(&update(settings, &event, "rustbox health --quarantine")?))
    } else if args.unquarantine {
        let force = if args.force { Force::Yes } else { Force::No };
        unquarantine(settings, reason.unwrap_or_default(), force)
    } else if args.stop_accepting {
        Ok(told(&update(settings, &Event::Stopped, "rustbox health --stop-accepting")?))
    } else if args.start_accepting {
        Ok(told(&update(settings, &Event::Started, "rustbox health --start-accepting")?))
    } else {
        show(settings, args.json)
    }
}

fn show(settings: &Settings, form: Option<JsonForm>) -> Result<u8, CliError> {
    let health = read(settings);
    if form.is_some() || !std::io::stdout().is_terminal() {
        print(&(serde_json::to_string_pretty(&health).map_err(CliError::Json)? + "\n"))?;
    } else {
        print_styled(&page::page(&health))?;
    }
    Ok(if health.status == object::UNKNOWN { COULD_NOT_LOOK } else { 0 })
}

/// Whether runs are admitted, and the object of `rustbox health` with it; none when that is not known.
pub(crate) fn view(settings: &Settings) -> Result<(Option<bool>, String), CliError> {
    let health = read(settings);
    let text = serde_json::to_string(&health).map_err(CliError::Json)?;
    Ok((health.can_accept_submissions, text))
}

/// What can be said of this worker, without changing anything.
fn read(settings: &Settings) -> Health {
    let backend = rustbox_health::backend(settings.run.cgroup_backend, settings.cgroup_root.as_deref());
    let mut health = Health::of(&settings.state_dir, look(&settings.state_dir), backend);
    match Resources::read(&settings.state_dir) {
        Ok(left) => health.has(left, &settings.thresholds),
        Err(error) => health.unseen.push(crate::error::chain(&error)),
    }
    health
}

fn verify_clean(settings: &Settings, form: Option<JsonForm>) -> Result<u8, CliError> {
    let places = settings.places();
    let survey = survey(&open(settings, &places)?, &places).map_err(CliError::HealthUnknown)?;
    let text = match form {
        Some(JsonForm::Full) => serde_json::to_string(&survey),
        Some(JsonForm::Brief) | None => serde_json::to_string(&object::Clean::of(&survey)),
    };
    print(&(text.map_err(CliError::Json)? + "\n"))?;
    Ok(name_left(&survey))
}

/// Names what is left, and returns the exit code for it.
fn name_left(survey: &Survey) -> u8 {
    // Keys accuse nobody, and are in the full JSON.
    let left = survey.left.iter().filter(|left| left.what != "keyring");
    let left = left.map(|left| format!("rustbox: left: {} {}", left.what, escape_text(&left.which)));
    let unseen = survey.unseen.iter().map(|what| format!("rustbox: could not look: {}", escape_text(what)));
    say(left.chain(unseen));
    match survey.cleanliness() {
        Cleanliness::Clean => 0,
        Cleanliness::Dirty(_) => NOT_WELL,
        Cleanliness::Unknown(_) => COULD_NOT_LOOK,
    }
}

fn recovery(settings: &Settings, form: Option<JsonForm>) -> Result<u8, CliError> {
    let places = settings.places();
    let store = Store::open(&settings.state_dir).map_err(CliError::HealthUnknown)?;
    let recovered = recover(&open(settings, &places)?, &places, &store, &settings.thresholds);
    let Recovery { done, failed, survey, shortage, updated, .. } = recovered.map_err(CliError::HealthUnknown)?;
    let health = Health::known(&settings.state_dir, &updated.state);
    if form.is_some() {
        let object = json!({
            "schema": "rustbox.recovery/v1", "done": done, "failed": failed, "survey": survey, "shortage": shortage,
            "status": health.status, "quarantine_reason": health.quarantine_reason, "next": health.next,
        });
        print(&format!("{object}\n"))?;
    } else {
        say(done.iter().map(|what| format!("rustbox: done: {}", escape_text(what))));
    }
    say(failed.iter().map(|what| format!("rustbox: SOMETHING IS LEFT: {}", escape_text(what))));
    let code = name_left(&survey);
    say(shortage.iter().map(|what| format!("rustbox: too little is left: {what}")));
    told(&updated);
    Ok(if failed.is_empty() && shortage.is_none() { code } else { code.max(NOT_WELL) })
}

fn unquarantine(settings: &Settings, reason: &str, force: Force) -> Result<u8, CliError> {
    let places = settings.places();
    let survey = open(settings, &places).and_then(|host| survey(&host, &places).map_err(CliError::HealthUnknown));
    let clean = match &survey {
        Ok(survey) => survey.cleanliness(),
        Err(error) => Cleanliness::Unknown(crate::error::chain(error)),
    };
    let event = Event::Unquarantine { reason: reason.to_owned(), clean, force };
    let updated = update(settings, &event, "rustbox health --unquarantine")?;
    Ok(match &updated.refusal {
        None => told(&updated),
        Some(refusal) => {
            say([format!("rustbox: {}", escape_text(&refusal.to_string()))]);
            match refusal {
                Refusal::NotQuarantined => 0,
                Refusal::NotClean(_) => NOT_WELL,
                Refusal::Unknown(_) => COULD_NOT_LOOK,
                Refusal::NoReason => ExitCode::INTERNAL,
            }
        }
    })
}

fn update(settings: &Settings, event: &Event, command: &str) -> Result<Updated, CliError> {
    let update = || -> Result<Updated, Error> { Store::open(&settings.state_dir)?.update(event, command) };
    update().map_err(CliError::HealthUnknown)
}

/// Says in one line what the worker is now.
fn told(updated: &Updated) -> u8 {
    let state = &updated.state;
    let refused = rustbox_health::Refused::by(state);
    let runs = match refused {
        Some(refused) => format!("runs are refused: {refused}"),
        None => "runs are admitted".to_owned(),
    };
    let escalate = if state.escalate() { "; CALL SOMEBODY: it happened before" } else { "" };
    say([format!("rustbox: the worker is {}; {}{escalate}", state.status().as_str(), escape_text(&runs))]);
    0
}

fn open(settings: &Settings, places: &Places) -> Result<Host, CliError> {
    Host::open(places, settings.run.cgroup_backend).map_err(CliError::CouldNotLook)
}

impl Health {
    /// Exit code of a probe.
    fn check(&self) -> u8 {
        match self.can_accept_submissions {
            None => COULD_NOT_LOOK,
            Some(true) if self.status == Status::Healthy.as_str() => 0,
            Some(_) => NOT_WELL,
        }
    }

    fn of(
        state_dir: &std::path::Path,
        found: Result<(Look, rustbox_health::History), Error>,
        backend: rustbox_health::Backend,
    ) -> Self {
        let (look, history) = match found {
            Ok(found) => found,
            Err(error) => {
                let mut health = Self::unknown(state_dir, crate::error::chain(&error));
                health.backend_selection = Some(backend);
                return health;
            }
        };
        let mut health = match look {
            Look::New => Self::known(state_dir, &rustbox_health::WorkerState::default()),
            Look::Known(state) => Self::known(state_dir, &state),
            Look::Damaged { problem } => Self::damaged(state_dir, problem),
        };
        health.backend_selection = Some(backend);
        health.history_entries = Some(history.entries.len());
        health.history_damaged_lines = Some(history.damaged_lines);
        health
    }
}
