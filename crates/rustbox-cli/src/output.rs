//! Where reports go: files that appear whole, and a descriptor that is written as the run proceeds.

mod atomic;
mod patience;
mod reports;
mod status;

use std::io::Write;

use rustbox_core::ExitCode;

pub(crate) use atomic::{AtomicFile, OutputError};
pub(crate) use patience::Patience;
pub(crate) use reports::Reports;

use status::StatusStream;

use crate::error::CliError;

/// Writes a result to standard output.
pub(crate) fn print(text: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(CliError::Stdout)
}

/// Writes a result for people: in colour on a terminal, plain elsewhere.
pub(crate) fn print_styled(text: &str) -> Result<(), CliError> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(CliError::Stdout)
}

/// Writes lines to standard error. When nobody can be told there is nobody to tell.
pub(crate) fn say(lines: impl IntoIterator<Item = String>) {
    let mut err = anstream::stderr().lock();
    for line in lines {
        let _ = writeln!(err, "{line}");
    }
}

/// Prints an error and returns its exit code.
pub(crate) fn fail(error: &CliError) -> u8 {
    say(error_lines(error));
    error.exit_code()
}

fn error_lines(error: &CliError) -> impl Iterator<Item = String> {
    error.lines().into_iter().map(|line| format!("rustbox: {}", crate::render::escape_text(&line)))
}

/// As [`say`], to a reader who may never read.
fn say_patiently(lines: impl IntoIterator<Item = String>, patience: &Patience<'_>) {
    let mut lines = lines.into_iter().peekable();
    if lines.peek().is_none() {
        return;
    }
    let mut err = anstream::AutoStream::new(Vec::new(), anstream::stderr().current_choice());
    for line in lines {
        let _ = writeln!(err, "{line}");
    }
    let _ = patience.write_all(std::io::stderr(), &err.into_inner());
}

/// What clap has to say: help on stdout, mistakes on stderr with the code of misuse.
pub(crate) fn usage(error: &clap::Error) -> u8 {
    if !error.use_stderr() {
        // A reader that closes the pipe after the first page is not an error.
        let _ = error.print();
        return 0;
    }
    // The message repeats what was typed, which need not be fit for a terminal.
    let text = error.render().to_string();
    say(text.trim_end().lines().map(crate::render::escape_text));
    ExitCode::INTERNAL
}
