//! What the command itself can fail at, and the exit code of each.

use rustbox_core::{ExitCode, MissingControl, SpecError};

use crate::config::{Origin, Problem};

/// A command that could not be carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CliError {
    /// Started through a set-uid or set-gid file: the environment and descriptors are the caller's, the rights are not.
    #[error("real and effective ids differ: rustbox is not made to be set-uid or set-gid (chmod a-s FILE)")]
    SetUid,
    /// Whether it was cannot be told.
    #[error("read the real and the effective ids of this process")]
    Ids(#[source] std::io::Error),
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
    /// A box's name has another form.
    #[error("BOX")]
    BoxName(#[source] rustbox_core::BoxIdError),
    /// Boxes cannot be looked at: exit code 2, since nothing is known.
    #[error("could not look at the boxes of this host{}", said_of_rights())]
    CouldNotLook(#[source] rustbox_supervisor::Error),
    /// An empty mount namespace cannot be kept, or taken back.
    #[error("nothing is changed{}", said_of_rights())]
    Prepare(#[source] rustbox_supervisor::Error),
    /// There is no verdict: exit code 2.
    #[error("the host could not be audited")]
    Audit(#[source] rustbox_audit::AuditError),
    /// `--report` names a file of no known kind.
    #[error("--report {}: the name must end with .md, .html or .json", .0.display())]
    ReportKind(std::path::PathBuf),
    /// A file that was asked for cannot be written.
    #[error("{flag}")]
    Output {
        /// The flag that names the file.
        flag: &'static str,
        /// Why.
        #[source]
        source: crate::output::OutputError,
    },
    /// The results of a batch cannot be written.
    #[error("--out")]
    Results(#[source] crate::batch::ResultsError),
    /// The jobs of a batch cannot be read.
    #[error("open the jobs in {}", path.display())]
    Jobs {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The jobs of a batch can be read no further.
    #[error("read the jobs")]
    ReadJobs(#[source] std::io::Error),
    /// A result belongs to another job.
    #[error("--resume: job {number} is another one than that whose result is in the output; the jobs were changed")]
    OtherJob {
        /// Its line.
        number: u64,
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
    /// The cgroup file systems cannot be used.
    #[error("look for cgroups")]
    Cgroups(#[source] rustbox_cgroup::Error),
    /// `run` needs root's rights.
    #[error("rustbox makes boxes as root only: namespaces, cgroups and uids are the host's (sudo rustbox run ...)")]
    Unprivileged,
    /// The supervisor refused or failed.
    #[error("the run is not started")]
    Supervisor(#[source] rustbox_supervisor::Error),
    /// The worker takes no work: exit code 120.
    #[error("refused, nothing was created: {0}")]
    Quarantined(rustbox_health::Refused),
    /// Whether the worker takes work is not known, so it takes none.
    #[error("the run is not started: whether this worker is quarantined cannot be told")]
    Health(#[source] rustbox_health::Error),
    /// The worker's state cannot be read or written: exit code 2.
    #[error("the worker's state{}", said_of_rights())]
    HealthUnknown(#[source] rustbox_health::Error),
    /// The address of `metrics --listen` cannot be used.
    #[error("--listen {address}: {reason}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        reason: String,
    },
    /// Capabilities that are not needed cannot be given up: better not to serve.
    #[error("give up capabilities")]
    Capabilities(#[source] caps::errors::CapsError),
    /// The status descriptor cannot be written.
    #[error("--status-fd: write the last line")]
    StatusFd(#[source] std::io::Error),
    /// `--log journal` without a journal.
    #[error("--log journal: the journal cannot be reached")]
    Journal(#[source] std::io::Error),
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

/// Without root's rights that is what is lacking, whatever the call says that failed first.
fn said_of_rights() -> &'static str {
    if rustix::process::geteuid().is_root() { "" } else { " without root's rights (sudo rustbox ...)" }
}

/// What `ps`, `kill`, `cleanup` and `doctor` return when they do not know.
pub(crate) const COULD_NOT_LOOK: u8 = 2;

impl CliError {
    /// What the program exits with.
    pub(crate) fn exit_code(&self) -> u8 {
        if matches!(self, Self::CouldNotLook(_) | Self::Cgroups(_) | Self::Audit(_) | Self::HealthUnknown(_)) {
            return COULD_NOT_LOOK;
        }
        if matches!(self, Self::Quarantined(_)) {
            return ExitCode::QUARANTINED;
        }
        if let Self::Supervisor(rustbox_supervisor::Error::Interrupted { signal }) = self {
            return ExitCode::SIGNAL_BASE.saturating_add(u8::try_from(*signal).unwrap_or(0));
        }
        let refused = matches!(self, Self::Spec { source: SpecError::ControlOff { .. }, .. } | Self::Unprivileged)
            || !self.missing_controls().is_empty();
        if refused { ExitCode::CONTROL_MISSING } else { ExitCode::INTERNAL }
    }

    /// The word for it in a refusal's JSON.
    pub(crate) fn cause(&self) -> &'static str {
        if matches!(self, Self::Supervisor(rustbox_supervisor::Error::Busy { .. })) {
            "box_busy"
        } else if self.is_interrupted() {
            "interrupted"
        } else if self.exit_code() == ExitCode::QUARANTINED {
            "worker_quarantined"
        } else if self.exit_code() == ExitCode::CONTROL_MISSING {
            "control_missing"
        } else {
            "ie_setup"
        }
    }

    /// Whether a signal to rustbox is why there was no run.
    pub(crate) fn is_interrupted(&self) -> bool {
        matches!(self, Self::Supervisor(rustbox_supervisor::Error::Interrupted { .. }))
    }

    /// The controls that are missing, where that is the reason.
    pub(crate) fn missing_controls(&self) -> &[MissingControl] {
        if let Self::Supervisor(rustbox_supervisor::Error::ControlMissing(missing)) = self { missing } else { &[] }
    }

    /// The same as [`Self::lines`], in one.
    pub(crate) fn line(&self) -> String {
        self.lines().join("; ")
    }

    /// Lines for people, without the program's name.
    pub(crate) fn lines(&self) -> Vec<String> {
        if let Self::Config(problems) = self {
            return problems.iter().map(ToString::to_string).collect();
        }
        let missing = self.missing_controls();
        if missing.is_empty() { vec![chain(self)] } else { refusal(missing) }
    }
}

fn refusal(missing: &[MissingControl]) -> Vec<String> {
    let one = |m: &MissingControl| format!("refused: no {}: {} ({})", m.control, m.reason, m.fix);
    let advice = "--permissive runs without what is missing, and reports it; `rustbox doctor` tries everything";
    missing.iter().map(one).chain([advice.to_owned()]).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use rustbox_supervisor::Error;

    fn told(error: &CliError) -> String {
        format!("{}\n{} {}", error.lines().join("\n"), error.exit_code(), error.cause())
    }

    #[test]
    fn an_error_says_what_failed_why_and_what_to_do() {
        let missing = vec![MissingControl {
            control: "memory".to_owned(),
            reason: "the memory controller is not available".to_owned(),
            fix: "mount it".to_owned(),
        }];
        let off = SpecError::ControlOff { key: "pid_namespace" };
        let value = SpecError::Value { field: "--mem", reason: "1K is too small".to_owned() };
        let origin = Some(Origin::File { file: "/etc/rustbox/config.toml".into(), line: 3 });
        let errors = [
            CliError::SetUid,
            CliError::Spec { source: value, origin: None },
            CliError::Spec { source: off, origin },
            CliError::Supervisor(Error::ControlMissing(missing)),
            CliError::Supervisor(Error::PassFd { fd: 7 }),
            CliError::Supervisor(Error::Busy { id: rustbox_core::BoxId::from_random(7), owner: Some(42) }),
            CliError::Supervisor(Error::Interrupted { signal: 15 }),
            CliError::Unprivileged,
            CliError::BoxName("A".parse::<rustbox_core::BoxId>().unwrap_err()),
            CliError::Stdout(std::io::Error::from_raw_os_error(32)),
            CliError::NoDryRun,
        ];
        insta::assert_snapshot!(errors.iter().map(told).collect::<Vec<_>>().join("\n"));
    }
}
