//! Where log events go: lines on stderr for people or for programs, or the journal with every field.

use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::SubscriberBuilder;
use tracing_subscriber::fmt::format::{DefaultFields, Format};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::args::{GlobalArgs, LogFormat};
use crate::error::CliError;

/// The unit that every event belongs to, whoever started us: `journalctl -u rustbox` shows a timer's audits too.
const UNIT: [(&str, &str); 1] = [("OBJECT_SYSTEMD_UNIT", "rustbox.service")];

/// Installs the one subscriber of the process.
///
/// # Errors
/// The journal was asked for by name and cannot be reached.
pub(crate) fn install(global: &GlobalArgs) -> Result<(), CliError> {
    let level = global.log.level;
    match global.log.format {
        LogFormat::Journal => install_journal(level).map_err(CliError::Journal)?,
        // Text that the journal takes line by line loses its fields; its own protocol keeps them. What it does not take
        // is still worth a line.
        LogFormat::Auto if stderr_is_the_journal() && install_journal(level).is_ok() => {}
        LogFormat::Auto => lines(level).with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => lines(level).json().init(),
    }
    Ok(())
}

/// One event a line, on standard error. Where that cannot be written nobody can be told: the default is to tell of
/// it on standard error, which panics.
fn lines(level: LevelFilter) -> SubscriberBuilder<DefaultFields, Format, LevelFilter, fn() -> std::io::Stderr> {
    let builder = tracing_subscriber::fmt().with_writer(std::io::stderr as fn() -> std::io::Stderr);
    builder.with_max_level(level).log_internal_errors(false)
}

fn install_journal(level: LevelFilter) -> std::io::Result<()> {
    let layer = tracing_journald::layer()?
        // Else MESSAGE_ID would be F_MESSAGE_ID, which is nobody's.
        .with_field_prefix(None)
        .with_syslog_identifier("rustbox".to_owned())
        .with_custom_fields(UNIT);
    tracing_subscriber::registry().with(level).with(layer).init();
    Ok(())
}

/// systemd says in `JOURNAL_STREAM` which file leads to the journal: a child whose stderr was redirected has it too.
fn stderr_is_the_journal() -> bool {
    let Some(stream) = std::env::var_os("JOURNAL_STREAM") else { return false };
    let own = std::fs::metadata("/proc/self/fd/2").map(|stderr| format!("{}:{}", stderr.dev(), stderr.ino()));
    own.is_ok_and(|own| stream == own.as_str())
}
