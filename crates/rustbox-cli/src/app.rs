//! From the program's arguments to its exit code.

use std::process::ExitCode;

use crate::args::{Cli, Command, Lazy};
use crate::config::Settings;
use crate::error::CliError;
use crate::{args, commands, log, output};

/// Runs the command that the program's arguments ask for, and returns what to exit with.
pub fn main() -> ExitCode {
    let code = match refuse_set_uid() {
        Ok(()) => match args::parse(std::env::args_os()) {
            Ok(cli) => dispatch(cli).unwrap_or_else(|error| output::fail(&error)),
            Err(error) => output::usage(&error),
        },
        Err(error) => output::fail(&error),
    };
    ExitCode::from(code)
}

/// A set-uid rustbox would run any program with root's rights for anybody: nothing else happens first.
fn refuse_set_uid() -> Result<(), CliError> {
    use nix::unistd::{getresgid, getresuid};
    let failed = |errno: nix::Error| CliError::Ids(errno.into());
    let (uid, gid) = (getresuid().map_err(failed)?, getresgid().map_err(failed)?);
    if uid.real == uid.effective && gid.real == gid.effective { Ok(()) } else { Err(CliError::SetUid) }
}

fn dispatch(cli: Cli) -> Result<u8, CliError> {
    let Cli { global, command } = cli;
    log::install(&global)?;
    if global.dry_run && !matches!(command, Command::Run(_)) {
        return Err(CliError::NoDryRun);
    }
    let settings = || Settings::resolve(&global).map_err(CliError::Config);
    match command {
        Command::Schema => commands::schema(),
        Command::Completions { shell } => commands::completions(shell),
        Command::Man { directory } => commands::man(directory.as_deref()),
        Command::Config { action } => commands::config(&global, &action),
        Command::Run(Lazy(args)) if global.dry_run => commands::dry_run(&settings()?, *args),
        Command::Run(Lazy(args)) => commands::run(&settings()?, *args),
        Command::Batch(Lazy(args)) => crate::batch::batch(&settings()?, &args),
        Command::Prepare { undo } => commands::prepare(&settings()?, undo),
        Command::CgroupRoot => commands::cgroup_root(&settings()?),
        Command::Doctor(Lazy(args)) => commands::doctor(&settings()?, &args),
        Command::Health(Lazy(args)) => crate::health::health(&settings()?, &args),
        Command::Metrics(Lazy(args)) => crate::metrics::metrics(&settings()?, &args),
        Command::Audit(Lazy(args)) => commands::audit(&settings()?, &args),
        Command::Tree => commands::tree(&settings()?),
        Command::Ps { json } => commands::ps(&settings()?, json),
        Command::Kill { box_id } => commands::kill(&settings()?, &box_id),
        Command::Cleanup(Lazy(args)) => commands::cleanup(&settings()?, &args),
    }
}
