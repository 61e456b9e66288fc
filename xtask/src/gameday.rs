//! Game days: a real host state is broken, the runbook's own commands are followed, and the worker ends healthy.
//!
//! A day is a script in `tests/gameday`. It runs as root against an installed rustbox, in a mount namespace in which
//! rustbox's places are empty: boxes, processes and cgroups are the host's. What it follows is cut out of the runbooks
//! while it runs, and with all days every command block of every page must have been followed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::workspace::Workspace;
use crate::{command, install};

/// Arguments of `cargo xtask gameday`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The day; without one, they are listed.
    #[arg(value_name = "NAME", conflicts_with = "all")]
    name: Option<String>,
    /// Every day, and a check that every command block of every runbook was followed.
    #[arg(long)]
    all: bool,
}

/// Runs the day that was asked for, or all of them.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let days = days(workspace)?;
    match &arguments.name {
        Some(name) if days.contains(name) => run_days(workspace, std::slice::from_ref(name)).map(|_| ()),
        Some(name) => bail!("no game day is called {name}; there are {}", days.join(", ")),
        None if arguments.all => check(workspace),
        None => {
            println!("{}", days.join("\n"));
            Ok(())
        }
    }
}

/// Runs every day, and fails when a command block was followed by none of them.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let followed = run_days(workspace, &days(workspace)?)?;
    let blocks = blocks(&workspace.root.join("docs/runbooks"))?;
    let missed: Vec<&String> = blocks.difference(&followed).collect();
    if !missed.is_empty() {
        bail!("command blocks that no game day follows: {missed:?}");
    }
    println!("{} command blocks of the runbooks were followed", blocks.len());
    Ok(())
}

/// The names of the days, which are those of their scripts.
fn days(workspace: &Workspace) -> Result<Vec<String>> {
    let directory = workspace.root.join("tests/gameday");
    let entries = fs::read_dir(&directory).with_context(|| format!("list {}", directory.display()))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> =
        names.filter_map(|name| name.strip_suffix(".sh").map(str::to_owned)).filter(|name| name != "lib").collect();
    names.sort();
    Ok(names)
}

/// Runs days one after the other, and returns the command blocks that were followed: a page and a number.
fn run_days(workspace: &Workspace, names: &[String]) -> Result<BTreeSet<String>> {
    let mut followed = BTreeSet::new();
    for name in names {
        println!("game day: {name}");
        // Not below the target directory, which may be in a home that the day covers.
        let place = std::env::temp_dir().join(format!("rustbox-gameday-{}", std::process::id()));
        let ran = run_day(workspace, name, &place);
        let written = fs::read_to_string(place.join("followed")).unwrap_or_default();
        fs::remove_dir_all(&place).with_context(|| format!("remove {}", place.display()))?;
        ran.with_context(|| format!("the game day {name}"))?;
        followed.extend(written.lines().map(str::to_owned));
    }
    Ok(followed)
}

fn run_day(workspace: &Workspace, name: &str, place: &Path) -> Result<()> {
    fs::create_dir(place).with_context(|| format!("create {}", place.display()))?;
    let days = workspace.root.join("tests/gameday");
    let arguments = install::Arguments { prefix: "/usr/local".into(), destdir: place.join("installed") };
    install::run(workspace, &arguments)?;
    command::run(Command::new("cp").arg("-r").arg(workspace.root.join("docs/runbooks")).arg(place.join("runbooks")))?;
    for file in ["lib.sh".to_owned(), format!("{name}.sh")] {
        fs::copy(days.join(&file), place.join(&file)).with_context(|| format!("copy {file}"))?;
    }
    let script = format!(". \"$GAMEDAY/lib.sh\"; . \"$GAMEDAY/{name}.sh\"; ends_healthy");
    let mut day = Command::new("unshare");
    // Without a terminal: what asks reads what the day types.
    day.args(["--mount", "--propagation", "private", "bash", "-c", &script]).env("GAMEDAY", place);
    let status = day.stdin(Stdio::null()).status().context("start unshare")?;
    if status.success() { Ok(()) } else { bail!("{status}") }
}

/// Every command block of every page.
fn blocks(directory: &Path) -> Result<BTreeSet<String>> {
    let entries = fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))?;
    let pages: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let mut blocks = BTreeSet::new();
    for page in pages.iter().filter(|page| page.extension().is_some_and(|ending| ending == "md")) {
        let text = fs::read_to_string(page).with_context(|| format!("read {}", page.display()))?;
        let stem = page.file_stem().unwrap_or_default().to_string_lossy();
        let count = text.lines().filter(|line| *line == "```sh").count();
        blocks.extend((1..=count).map(|number| format!("{stem} {number}")));
    }
    if blocks.len() < 20 { bail!("only {} command blocks were found", blocks.len()) } else { Ok(blocks) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_game_days_of_the_runbook_index_are_there() -> Result<()> {
        let days = days(&Workspace::find()?)?;
        for day in ["cleanup-failure", "quarantine-drill", "disk-full", "v1-fallback", "orphan-process", "stale-state"]
        {
            assert!(days.iter().any(|name| name == day), "{day} of {days:?}");
        }
        Ok(())
    }
}
