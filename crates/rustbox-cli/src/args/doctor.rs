//! Arguments of `rustbox doctor`.

use clap::Args;

const VERDICTS: &str = "\
One line for each need: PASS (there), LIMITED (boxes run, but something is weaker), FAIL (no box
runs in strict mode), UNKNOWN (could not look). INFO lines are for people and decide nothing.
Exit codes: 0 boxes run here, 1 something fails, 2 could not look, 125 misuse.";

/// Arguments of `rustbox doctor`.
#[derive(Debug, Args)]
#[command(after_help = VERDICTS)]
pub(crate) struct DoctorArgs {
    /// One JSON object on stdout
    #[arg(long)]
    pub(crate) json: bool,
}
