//! What the command itself can fail at, and the exit code of each.

use rustbox_core::{ExitCode, SpecError};

use crate::config::{Origin, Problem};

/// A command that could not be carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CliError {
    /// Started through a set-uid or set-gid file: the environment and descriptors are the caller's, the rights are not.
    #[error("real and effective ids differ: rustbox is not made to be set-uid or set-gid (chmod a-s FILE)")]
    SetUid,
    /// The configuration file is wrong.
    #[error("the configuration is not used")]
    Config(Vec<Problem>),
    /// A flag or a setting is wrong.
    #[error("{}", said_by(origin))]
    Spec {
        /// What is wrong.
        #[source]
        source: SpecError,
        /// Where it was said, when that was the configuration file.
        origin: Option<Origin>,
    },
    /// The global `--dry-run` with a command that would act.
    #[error("--dry-run: only `rustbox run` has a dry run; nothing was done")]
    NoDryRun,
    /// `cleanup` without a choice.
    #[error("name a BOX, or say --all for every box of this state directory")]
    NothingNamed,
    /// A file that was asked for cannot be written.
    #[error("{flag}")]
    Output {
        /// The flag that names the file.
        flag: &'static str,
        /// Why.
        #[source]
        source: crate::output::OutputError,
    },
    /// Standard output cannot be written.
    #[error("write to standard output")]
    Stdout(#[source] std::io::Error),
    /// A result cannot be put into JSON.
    #[error("put the result into JSON")]
    Json(#[source] serde_json::Error),
    /// Manual pages cannot be written.
    #[error("write the manual pages")]
    Man(#[source] std::io::Error),
    /// Signals cannot be taken.
    #[error("take signals by descriptor")]
    Signals(#[source] std::io::Error),
}

fn said_by(origin: &Option<Origin>) -> String {
    match origin {
        Some(origin) => format!("{origin}"),
        None => "the run is not started".to_owned(),
    }
}

impl CliError {
    /// What the program exits with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Spec { source: SpecError::ControlOff { .. }, .. } => ExitCode::CONTROL_MISSING,
            _ => ExitCode::INTERNAL,
        }
    }

    /// Lines for people, without the program's name.
    pub(crate) fn lines(&self) -> Vec<String> {
        match self {
            Self::Config(problems) => problems.iter().map(ToString::to_string).collect(),
            other => vec![chain(other)],
        }
    }
}

/// An error with its causes, joined by colons.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
