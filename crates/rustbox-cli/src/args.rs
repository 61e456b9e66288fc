//! The command line, as it is typed.

mod audit;
mod batch;
mod doctor;
mod lazy;
mod run;
mod values;

use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use rustbox_core::CgroupBackend;

pub(crate) use audit::AuditArgs;
pub(crate) use batch::BatchArgs;
pub(crate) use doctor::DoctorArgs;
pub(crate) use lazy::Lazy;
pub(crate) use run::RunArgs;
pub(crate) use values::{EnvArg, LogChoice, LogFormat};

use values::cgroup_backend;

/// Heading of the flags that every command takes.
const GLOBAL: &str = "Options of every command";

const COLLECT_HELP: &str = "\
Works without a state file, and as often as you like: what is gone already is no error.
Exit codes: 0 nothing is left, 1 something is left (named on stderr), 2 could not look, 125 misuse.";

const PREPARE_HELP: &str = "\
Keeps an empty mount namespace, bound to RUNTIME_DIR/prepared/mnt, until `--undo` or the next start of the host. \
Every run begins from a copy of it. Without it each copies the mounts of the host, takes them away again, and has the \
kernel look at every process: some milliseconds where there are thousands. `rustbox batch` keeps one for itself.

Exit codes: 0 done, or nothing to do; 125 refused, and nothing is changed.";

/// Runs a program that nobody trusts in a box, and proves afterwards that nothing of it is left.
#[derive(Debug, Parser)]
#[command(name = "rustbox", version, max_term_width = 100, arg_required_else_help = true, subcommand_required = true)]
#[command(after_help = "Exit codes of `run` are listed by `rustbox run --help`.")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command. Their long names are the configuration file's keys.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = GLOBAL)]
pub(crate) struct GlobalArgs {
    /// Configuration file, TOML or (when it begins with `{`) JSON [default: /etc/rustbox/config.toml if it is there]
    #[arg(long, global = true, value_name = "FILE", env = "RUSTBOX_CONFIG", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,
    /// Where the records of boxes live [default: /var/lib/rustbox]
    #[arg(long, global = true, value_name = "DIR", env = "RUSTBOX_STATE_DIR", hide_env_values = true)]
    pub(crate) state_dir: Option<PathBuf>,
    /// Where leases and temporary files live [default: /run/rustbox]
    #[arg(long, global = true, value_name = "DIR", env = "RUSTBOX_RUNTIME_DIR", hide_env_values = true)]
    pub(crate) runtime_dir: Option<PathBuf>,
    /// A delegated cgroup v2 directory to make boxes in [default: the root of each cgroup mount]
    #[arg(long, global = true, value_name = "DIR", env = "RUSTBOX_CGROUP_ROOT", hide_env_values = true)]
    pub(crate) cgroup_root: Option<PathBuf>,
    /// Forces a cgroup interface [default: what the host has]
    #[arg(long, global = true, value_name = "KIND", value_parser = cgroup_backend())]
    #[arg(env = "RUSTBOX_CGROUP_BACKEND", hide_env_values = true)]
    pub(crate) cgroup_backend: Option<CgroupBackend>,
    /// With `run`: prints what the box would get on this host, and runs and creates nothing
    #[arg(long, global = true)]
    pub(crate) dry_run: bool,
    /// What to log on stderr: off, error, warn, info, debug or trace; with `json` one object a line (`debug,json`), with
    /// `journal` to the journal, where it goes by itself when systemd has connected stderr to it
    #[arg(long, global = true, value_name = "LEVEL|json|journal", env = "RUSTBOX_LOG", hide_env_values = true)]
    #[arg(default_value = "warn")]
    pub(crate) log: LogChoice,
    /// Which of these flags were given, and how, by the keys of the configuration file.
    #[arg(skip)]
    pub(crate) sources: Vec<(&'static str, ValueSource)>,
}

/// The flags that are keys of the configuration file too.
const KEYS: [&str; 4] = ["state_dir", "runtime_dir", "cgroup_root", "cgroup_backend"];

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs a program in a box of its own, under limits, and leaves nothing behind.
    Run(Lazy<Box<RunArgs>>),
    /// Runs many programs, each in a box of its own that was prepared before it was needed.
    Batch(Lazy<BatchArgs>),
    /// Tries everything that a box needs on this host by doing it, and says how to get what is missing.
    #[command(visible_alias = "check")]
    Doctor(Lazy<DoctorArgs>),
    /// Finds every process of a box that is not where it belongs, and whatever dead boxes left.
    Audit(Lazy<AuditArgs>),
    /// Says whether this worker may be given work; recovers it, takes it out and puts it back.
    Health(Lazy<crate::health::HealthArgs>),
    /// Prints what is counted and known in the text format of Prometheus.
    Metrics(Lazy<crate::metrics::MetricsArgs>),
    /// Draws every box: supervisor, init, payloads, and in red what is not where it belongs.
    Tree,
    /// Lists the boxes of this host and the processes in them.
    Ps {
        /// One JSON object on stdout.
        #[arg(long)]
        json: bool,
    },
    /// Kills everything in a box, waits until it is empty and removes it.
    #[command(after_help = COLLECT_HELP)]
    Kill {
        /// Id of the box.
        #[arg(value_name = "BOX")]
        box_id: String,
    },
    /// Removes what dead boxes left behind; kills a living one only when it is named, or with `--all`.
    #[command(after_help = COLLECT_HELP)]
    Cleanup(Lazy<CleanupArgs>),
    /// Makes runs cost the same however many mounts and processes this host has.
    #[command(after_help = PREPARE_HELP)]
    Prepare {
        /// Takes it back; boxes that live are not affected.
        #[arg(long)]
        undo: bool,
    },
    /// Prints the cgroup directories in which boxes live, the one that lists every process of a box first.
    CgroupRoot,
    /// Looks at the configuration.
    Config {
        #[command(subcommand)]
        action: ConfigAction,
    },
    /// Prints the JSON Schema of the report of `rustbox run --json`.
    Schema,
    /// Prints a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Prints the manual page, or writes the pages of every command into a directory.
    #[command(hide = true)]
    Man {
        /// An existing directory.
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
    },
}

/// Arguments of `rustbox cleanup`: which boxes; without a choice, all dead ones.
#[derive(Debug, Args)]
pub(crate) struct CleanupArgs {
    /// Id of one box: killed if it is alive, then removed
    #[arg(value_name = "BOX", conflicts_with = "all")]
    pub(crate) box_id: Option<String>,
    /// Every box of this state directory, living ones too; living ones of another one are never touched
    #[arg(long)]
    pub(crate) all: bool,
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigAction {
    /// Prints OK, or everything that is wrong with the file.
    Check {
        /// The file to check [default: the one that would be used].
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Prints every setting with its value and where it comes from.
    Show,
}

/// The program's arguments as clap describes them.
pub(crate) fn command() -> clap::Command {
    lazy::tell_of_all(Cli::command())
}

/// Parses the program's arguments.
///
/// # Errors
/// What clap says, which includes `--help` and `--version`.
pub(crate) fn parse(args: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Cli, clap::Error> {
    let args: Vec<_> = args.into_iter().collect();
    let matches = lazy::tell_of_typed(Cli::command(), &args).try_get_matches_from(args)?;
    let mut cli = Cli::from_arg_matches(&matches).map_err(|e| e.format(&mut command()))?;
    let sources = KEYS.iter().filter_map(|key| matches.value_source(key).map(|source| (*key, source)));
    cli.global.sources = sources.collect();
    if let (Command::Run(run), Some(("run", sub))) = (&mut cli.command, matches.subcommand()) {
        run.0.order_binds(sub);
    }
    Ok(cli)
}
