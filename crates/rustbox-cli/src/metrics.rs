//! `rustbox metrics`: what is counted and known, for Prometheus.

mod serve;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use rustbox_health::{BatchQueue, Counters, Exposition, Look, WorkerFacts, WorkerState, expose, look};

use crate::config::Settings;
use crate::error::CliError;
use crate::output::{AtomicFile, OutputError, print};

/// Name of the file in node_exporter's directory.
const FILE: &str = "rustbox.prom";

const HELP: &str = "\
--listen serves /metrics, and /healthz: 200 while runs are admitted, 503 while they are refused or that is not known. It gives
up every capability before it answers, and needs none: what it reads belongs to root.
Exit codes: 0, 2 the counters could not be read, 125 misuse, DIR cannot be written to or ADDRESS cannot be listened on.";

/// Arguments of `rustbox metrics`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct MetricsArgs {
    /// Replaces DIR/rustbox.prom in one step instead, for node_exporter's textfile collector
    #[arg(long, value_name = "DIR")]
    textfile: Option<PathBuf>,
    /// Serves them over HTTP until it is ended [default address: 127.0.0.1:9090]
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = "127.0.0.1:9090")]
    #[arg(conflicts_with = "textfile")]
    listen: Option<SocketAddr>,
}

/// `rustbox metrics`.
pub(crate) fn metrics(settings: &Settings, args: &MetricsArgs) -> Result<u8, CliError> {
    if let Some(address) = args.listen {
        return serve::serve(settings, address);
    }
    let Exposition(text) = exposition(settings)?;
    match &args.textfile {
        None => print(&text)?,
        Some(directory) => TextFile::open(directory)?.put(&text)?,
    }
    Ok(0)
}

/// The file for node_exporter's textfile collector.
#[derive(Debug)]
pub(crate) struct TextFile(AtomicFile);

impl TextFile {
    /// Opens the directory, and creates nothing.
    pub(crate) fn open(directory: &Path) -> Result<Self, CliError> {
        AtomicFile::open(&directory.join(FILE)).map(Self).map_err(unwritten)
    }

    /// Replaces the file by what is counted and known now.
    pub(crate) fn write(&self, settings: &Settings) -> Result<(), CliError> {
        self.put(&exposition(settings)?.0)
    }

    fn put(&self, text: &str) -> Result<(), CliError> {
        self.0.write(text.as_bytes()).map_err(unwritten)
    }
}

fn unwritten(source: OutputError) -> CliError {
    CliError::Output { flag: "--textfile", source }
}

fn exposition(settings: &Settings) -> Result<Exposition, CliError> {
    let totals = Counters::read(&settings.state_dir).map_err(CliError::HealthUnknown)?;
    let (found, _) = look(&settings.state_dir).map_err(CliError::HealthUnknown)?;
    let state = match found {
        Look::New => WorkerState::default(),
        Look::Known(state) => *state,
        Look::Damaged { problem } => rustbox_health::damaged_state(&problem).map_err(CliError::HealthUnknown)?,
    };
    let backend = rustbox_health::backend(settings.run.cgroup_backend, settings.cgroup_root.as_deref());
    let batch_queue_depth = BatchQueue::depth(&settings.state_dir).map_err(CliError::HealthUnknown)?;
    let version = env!("CARGO_PKG_VERSION");
    let facts = WorkerFacts { state: Some(&state), batch_queue_depth, backend: &backend, version };
    expose(&totals, &facts).map_err(CliError::HealthUnknown)
}
