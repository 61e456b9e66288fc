//! Peak memory of the processes that a sandbox keeps beside the program.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::contender::{Contender, RUSTBOX, Stage};

/// `VmHWM` of each of our processes beside a program that waits, by name, in KiB.
pub(crate) fn of_rustbox(stage: &Stage, waits: &std::path::Path) -> Result<Vec<(String, u64)>> {
    beside(Contender::new(RUSTBOX, stage.run(waits), "").command())
}

/// The sum of the same for each contender's own processes, in KiB; none of one that could not be looked at.
pub(crate) fn of_all(contenders: &[Contender], waiting: &[Contender]) -> Vec<Option<u64>> {
    let one = |contender: &Contender| {
        let waits = waiting.iter().find(|waits| waits.name == contender.name)?;
        match beside(waits.command()) {
            Ok(found) => Some(found.iter().map(|(_, kib)| kib).sum()),
            Err(error) => {
                println!("memory of {}: {error:#}", contender.name);
                None
            }
        }
    };
    contenders.iter().map(one).collect()
}

/// Of each process of a sandbox beside its program, which waits.
fn beside(mut command: Command) -> Result<Vec<(String, u64)>> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("start the sandbox")?;
    let mut ready = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut ready).context("wait for the program in the box")?;
    }
    let found = tree(child.id()).into_iter().filter_map(peak).collect();
    drop(child.stdin.take());
    let status = child.wait().context("wait for the sandbox")?;
    if ready != "ready\n" || !status.success() {
        bail!("a box with a waiting program: {status}, it said {ready:?}");
    }
    Ok(found)
}

/// A process and everything below it.
fn tree(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let below = children.split_ascii_whitespace().filter_map(|word| word.parse().ok()).flat_map(tree);
    std::iter::once(pid).chain(below).collect()
}

fn peak(pid: u32) -> Option<(String, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let kib = field("VmHWM:")?.strip_suffix(" kB")?.trim().parse().ok()?;
    Some((field("Name:")?.to_owned(), kib)).filter(|(name, _)| name != "program" && name != "waits")
}
