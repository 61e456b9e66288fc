//! The host, as the commands open it.

use rustbox_supervisor::{Error, Host};

use crate::config::Settings;
use crate::error::CliError;

/// Opens rustbox's places and the cgroup hierarchies, for a run.
pub(crate) fn open(settings: &Settings) -> Result<Host, CliError> {
    try_open(settings).map_err(CliError::Supervisor)
}

/// The same for looking at boxes: there a failure means that nothing is known.
pub(super) fn look(settings: &Settings) -> Result<Host, CliError> {
    try_open(settings).map_err(CliError::CouldNotLook)
}

fn try_open(settings: &Settings) -> Result<Host, Error> {
    Host::open(&settings.places(), settings.run.cgroup_backend)
}
