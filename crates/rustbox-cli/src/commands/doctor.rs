//! `rustbox doctor`.

use crate::args::DoctorArgs;
use crate::config::Settings;
use crate::doctor::examine;
use crate::error::CliError;
use crate::output::{print, print_styled};

pub(crate) fn doctor(settings: &Settings, args: &DoctorArgs) -> Result<u8, CliError> {
    let diagnosis = examine(settings);
    if args.json {
        let text = serde_json::to_string_pretty(&diagnosis).map_err(CliError::Json)?;
        print(&(text + "\n"))?;
    } else {
        print_styled(&diagnosis.text())?;
    }
    Ok(diagnosis.exit_code())
}
