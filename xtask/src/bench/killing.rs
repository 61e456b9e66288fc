//! From the kill of a crowd to a box that is verified empty and removed, beside a C program that does no more than it
//! must.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::contender::Stage;
use super::stages::{at_us, one};
use super::stats::percentile;
use crate::command;

/// Medians, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kill {
    pub(crate) processes: usize,
    /// Ours, until the cgroup read empty.
    pub(crate) emptied_ms: f64,
    /// Ours, until everything was removed, audited and given back.
    pub(crate) removed_ms: f64,
    /// The C program's, until its cgroup was removed.
    pub(crate) c_ms: f64,
}

/// Kills a crowd of this size so often, in turns with the C program; none where there is no cgroup2 mount.
pub(crate) fn run(stage: &Stage, crowd: &Path, killer: &Path, processes: usize, runs: usize) -> Result<Option<Kill>> {
    let Some(root) = cgroup2() else { return Ok(None) };
    let count = processes.to_string();
    let (mut emptied, mut removed, mut c) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        let events = one(stage, crowd, &[&count])?;
        let at = |name| at_us(&events, name).with_context(|| format!("no event {name}"));
        let killing = at("killing")?;
        emptied.push((at("emptied")? - killing) / 1e3);
        removed.push((at("removed")? - killing) / 1e3);
        let text = command::output(Command::new(killer).arg(&root).arg(&count).arg(crowd))?;
        c.push(text.trim().parse::<f64>().context("the killer's nanoseconds")? / 1e6);
    }
    let [emptied_ms, removed_ms, c_ms] = [&emptied, &removed, &c].map(|ms| percentile(ms, 50));
    Ok(Some(Kill { processes, emptied_ms, removed_ms, c_ms }))
}

/// The first cgroup2 mount.
pub(crate) fn cgroup2() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let line = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
    line.split(' ').nth(4).map(PathBuf::from)
}
