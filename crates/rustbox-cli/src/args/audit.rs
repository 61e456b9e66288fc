//! Arguments of `rustbox audit`.

use std::path::PathBuf;

use clap::Args;

const VERDICTS: &str = "\
Looks at every process of the host at least twice, and accuses by kernel facts only: PID namespace,
audit session, cgroup. Names and arguments are shown, and weigh nothing.
Exit codes: 0 clean, 1 findings, 2 no verdict (it could not look everywhere), 125 misuse.
With --kill the exit code tells what is left after it. What was found counts for `rustbox health`.

--watch follows the kernel's process events, and compares the boxes' cgroups with their namespaces every 50 ms. Each finding is
a log event; with --json it is a line on stdout too, as is each full pass. SIGTERM ends it; the exit code is that of the worst.";

/// Arguments of `rustbox audit`.
#[derive(Debug, Args)]
#[command(after_help = VERDICTS)]
pub(crate) struct AuditArgs {
    /// One JSON object on stdout; with --watch one a line
    #[arg(long)]
    pub(crate) json: bool,
    /// Ends what was found, removes empty cgroups of dead boxes, and looks again
    #[arg(long)]
    pub(crate) kill: bool,
    /// Leaves the worker as it is: else a violation quarantines it, and a stale record makes it unhealthy
    #[arg(long)]
    pub(crate) no_quarantine: bool,
    /// Only this box
    #[arg(long = "box", value_name = "ID")]
    pub(crate) box_id: Option<String>,
    /// Writes an incident report; what kind is told by its ending: .md, .html or .json
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Goes on until it is ended: an escape is told within a tenth of a second, and a full pass is made again and again
    #[arg(long, conflicts_with_all = ["report", "proc_root", "box_id"])]
    pub(crate) watch: bool,
    /// With --watch: seconds between two full passes
    #[arg(long, value_name = "SECONDS", default_value_t = 60, requires = "watch")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) interval: u64,
    /// Replaces DIR/rustbox.prom in one step after the audit, for node_exporter's textfile collector
    #[arg(long, value_name = "DIR")]
    pub(crate) textfile: Option<PathBuf>,
    /// Looks at this process directory instead of /proc: a copy, or another mount of procfs
    #[arg(long, value_name = "DIR", conflicts_with = "kill")]
    pub(crate) proc_root: Option<PathBuf>,
}
