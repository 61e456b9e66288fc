//! System calls of one run, by strace: to the program's exec, and in all.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::contender::{Contender, clear_environment};
use crate::command;

/// System calls of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Calls {
    /// Until the boxed program's `execve`.
    pub(crate) to_exec: usize,
    /// Of all processes, the program's own included.
    pub(crate) in_all: usize,
}

/// Counts them; none without strace.
pub(crate) fn count(contender: &Contender, directory: &Path) -> Result<Option<Calls>> {
    if !command::is_in_path("strace") {
        return Ok(None);
    }
    let log = directory.join("strace.log");
    let mut trace = Command::new("strace");
    clear_environment(&mut trace);
    trace.args(["-f", "-qq", "-o"]).arg(&log).args(&contender.words);
    trace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = trace.status().context("start strace")?;
    if !status.success() {
        bail!("{}: {status}", command::text(&trace));
    }
    let text = fs::read(&log).with_context(|| format!("read {}", log.display()))?;
    Ok(Some(of_trace(&String::from_utf8_lossy(&text))))
}

/// A call that another process interrupts has two lines in the trace; the second one begins with `<...`.
fn of_trace(text: &str) -> Calls {
    let is_call = |line: &&str| {
        let rest = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
        rest.starts_with(|c: char| c.is_ascii_alphabetic())
    };
    let lines: Vec<&str> = text.lines().filter(is_call).collect();
    let mut execs = lines.iter().enumerate().filter(|(_, line)| line.contains("execve("));
    // The last one is the program's: runtimes execute themselves again on the way.
    let to_exec = execs.next_back().map_or(0, |(index, _)| index);
    Calls { to_exec, in_all: lines.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_in_two_pieces_counts_once() {
        let trace = "10 execve(\"/a\", [], 0) = 0\n10 brk(NULL <unfinished ...>\n11 execve(\"/b\") = 0\n\
                     10 <... brk resumed>) = 0x1\n11 exit_group(0) = ?\n11 +++ exited with 0 +++\n";
        assert_eq!(of_trace(trace), Calls { to_exec: 2, in_all: 4 });
    }
}
