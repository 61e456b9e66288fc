//! `rustbox prepare`.

use rustbox_supervisor::{Prepared, unprepare};

use crate::config::Settings;
use crate::error::CliError;
use crate::output::print;

/// Keeps an empty mount namespace for runs to begin from, or takes it back.
pub(crate) fn prepare(settings: &Settings, undo: bool) -> Result<u8, CliError> {
    let places = settings.places();
    let said = if undo {
        match unprepare(&places).map_err(CliError::Prepare)? {
            true => "taken back: a run begins from a copy of the host's mounts\n",
            false => "nothing was prepared\n",
        }
    } else {
        match rustbox_supervisor::prepare(&places).map_err(CliError::Prepare)? {
            Prepared::Now => "prepared: a run begins from an empty mount namespace\n",
            Prepared::Before => "prepared already\n",
        }
    };
    print(said)?;
    Ok(0)
}
