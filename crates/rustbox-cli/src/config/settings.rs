//! The file, the environment and the flags of every command, put together.

use std::path::PathBuf;

use clap::parser::ValueSource;
use rustbox_core::{RunSpec, SpecError};
use rustbox_health::Thresholds;
use rustbox_supervisor::Places;

use super::{FileSettings, Problem, chosen_file, load};
use crate::args::GlobalArgs;
use crate::error::CliError;

const DEFAULT_STATE_DIR: &str = "/var/lib/rustbox";
const DEFAULT_RUNTIME_DIR: &str = "/run/rustbox";

/// Who said what a setting is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nobody.
    Default,
    /// The configuration file.
    File {
        /// Which.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
    },
    /// An environment variable.
    Environment(String),
    /// A flag.
    Flag(String),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { file, line } => write!(f, "{}:{line}", file.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// The settings of every command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// What a run is, before the flags of `rustbox run`.
    pub(crate) run: RunSpec,
    /// Where the records of boxes live.
    pub(crate) state_dir: PathBuf,
    /// Where leases live.
    pub(crate) runtime_dir: PathBuf,
    /// A delegated cgroup to make boxes in.
    pub(crate) cgroup_root: Option<PathBuf>,
    /// Below what the worker quarantines itself.
    pub(crate) thresholds: Thresholds,
    /// The file that was read, if one was.
    pub(crate) file: Option<PathBuf>,
    lines: Vec<(String, usize)>,
    globals: Vec<(&'static str, ValueSource)>,
}

impl Settings {
    /// Reads the configuration file, if there is one, and lays environment and flags over it.
    ///
    /// # Errors
    /// Everything that is wrong with the file.
    pub(crate) fn resolve(args: &GlobalArgs) -> Result<Self, Vec<Problem>> {
        let file = chosen_file(args.config.as_deref());
        let said = file.as_deref().map(load).transpose()?.unwrap_or_default();
        Ok(Self::merge(args, file, said))
    }

    fn merge(args: &GlobalArgs, file: Option<PathBuf>, said: FileSettings) -> Self {
        let pick = |flag: &Option<PathBuf>, said: Option<PathBuf>| flag.clone().or(said);
        let mut run = said.run;
        run.cgroup_backend = args.cgroup_backend.or(run.cgroup_backend);
        Self {
            run,
            state_dir: pick(&args.state_dir, said.state_dir).unwrap_or_else(|| DEFAULT_STATE_DIR.into()),
            runtime_dir: pick(&args.runtime_dir, said.runtime_dir).unwrap_or_else(|| DEFAULT_RUNTIME_DIR.into()),
            cgroup_root: pick(&args.cgroup_root, said.cgroup_root),
            thresholds: said.thresholds,
            file,
            lines: said.lines,
            globals: args.sources.clone(),
        }
    }

    /// The places, as the supervisor takes them.
    pub(crate) fn places(&self) -> Places {
        Places {
            state_dir: self.state_dir.clone(),
            runtime_dir: self.runtime_dir.clone(),
            cgroup_root: self.cgroup_root.clone(),
        }
    }

    /// Who said what this key is; flags of `rustbox run` are not known here.
    pub(crate) fn origin(&self, key: &str) -> Origin {
        let flag = format!("--{}", key.replace('_', "-"));
        match self.globals.iter().find(|(name, _)| *name == key).map(|(_, source)| source) {
            Some(ValueSource::CommandLine) => return Origin::Flag(flag),
            Some(ValueSource::EnvVariable) => {
                return Origin::Environment(format!("RUSTBOX_{}", key.to_ascii_uppercase()));
            }
            _ => {}
        }
        self.file_line(key).unwrap_or(Origin::Default)
    }

    /// The line of the file on which a key stands, if it does.
    pub(crate) fn line(&self, key: &str) -> Option<usize> {
        self.lines.iter().find(|(name, _)| name == key).map(|(_, line)| *line)
    }

    fn file_line(&self, key: &str) -> Option<Origin> {
        Some(Origin::File { file: self.file.clone()?, line: self.line(key)? })
    }

    /// The error for settings that are no plan, with the place in the file where the cause stands.
    pub(crate) fn refusal(&self, source: SpecError) -> CliError {
        let origin = if let SpecError::ControlOff { key } = &source { self.file_line(key) } else { None };
        CliError::Spec { source, origin }
    }
}
