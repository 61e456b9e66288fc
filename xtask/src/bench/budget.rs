//! `cargo xtask budget`: what a run may cost, in counts that do not depend on the machine's mood.
//!
//! System calls by strace, page faults and memory by the kernel's own accounts, for the release binary and a program that
//! does nothing. Instructions by callgrind, of a dry run: everything between the exec and the first clone, which valgrind
//! does not know. Allocations by a test of the supervisor that counts them. Each is the least of several runs, since a
//! signal or a lock that somebody looks at can only add. The budget is a file: who needs more has to say so in a change
//! of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::sys::resource::{UsageWho, getrusage};

use super::contender::{Contender, RUSTBOX, Stage};
use super::{calls, memory};
use crate::command;
use crate::workspace::Workspace;

/// Arguments of `cargo xtask budget`.
#[derive(Debug, Default, Args)]
pub(crate) struct Arguments {
    /// Measure this program instead of the release binary, which is built otherwise.
    #[arg(long, value_name = "PATH")]
    rustbox: Option<PathBuf>,
}

/// Where the budget is.
const FILE: &str = "xtask/src/bench/budget.json";
/// Runs of which the least counts.
const RUNS: usize = 5;

/// Measures, prints, and fails when anything is beyond its budget.
pub(crate) fn check(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let rustbox = match &arguments.rustbox {
        Some(path) => path.canonicalize().with_context(|| format!("find {}", path.display()))?,
        None => workspace.release_binary()?,
    };
    let path = workspace.root.join(FILE);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let budgets: BTreeMap<String, BTreeMap<String, u64>> = serde_json::from_str(&text).context(FILE)?;
    let cgroups = cgroups();
    let measured = super::in_directory(|directory| measure(workspace, &rustbox, directory))?;
    let Some(budget) = budgets.get(cgroups) else {
        // What it costs to attach differs, and nobody has measured that here: it is shown, and held to nothing.
        println!("{FILE} has no budget for cgroups {cgroups}: {measured:?}");
        return Ok(());
    };
    let mut beyond = Vec::new();
    for (name, most) in budget {
        match measured.get(name.as_str()) {
            None => beyond.push(format!("{name} was not measured")),
            Some(found) => {
                println!("{name}: {found} of {most}");
                if found > most {
                    beyond.push(format!("{name}: {found}, the budget is {most}"));
                }
            }
        }
    }
    if !beyond.is_empty() {
        bail!("a run costs more than {FILE} allows with cgroups {cgroups}:\n  {}", beyond.join("\n  "));
    }
    Ok(())
}

/// By which interface boxes are limited here: what it costs to attach depends on it.
fn cgroups() -> &'static str {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let has = |kind: &str| mounts.lines().any(|line| line.contains(kind));
    match (has(" - cgroup "), has(" - cgroup2 ")) {
        (true, true) => "hybrid",
        (true, false) => "v1",
        (false, _) => "v2",
    }
}

fn measure(workspace: &Workspace, rustbox: &Path, directory: &Path) -> Result<BTreeMap<&'static str, u64>> {
    let nothing = super::compile(workspace, directory, "nothing")?;
    let waits = super::compile(workspace, directory, "waits")?;
    let stage = Stage::new(directory, rustbox, nothing)?;
    let words = stage.run(&stage.nothing);
    let run = Contender::new(RUSTBOX, words, "");
    let mut least = BTreeMap::new();
    let mut note = |name, found: u64| {
        let known = least.entry(name).or_insert(found);
        *known = found.min(*known);
    };
    for _ in 0..RUNS {
        // The first one makes directories that the others find.
        note("page_faults", page_faults(&run)?);
        let calls = calls::count(&run, directory)?.context("strace is needed: apt-get install strace")?;
        note("system_calls_to_exec", u64::try_from(calls.to_exec)?);
        note("system_calls_in_all", u64::try_from(calls.in_all)?);
        for (name, kib) in memory::of_rustbox(&stage, &waits)? {
            match name.as_str() {
                "rustbox" => note("supervisor_peak_kib", kib),
                "rustbox-keeper" => note("keeper_peak_kib", kib),
                "rustbox-init" => note("init_peak_kib", kib),
                other => bail!("a process of ours that has no budget: {other}"),
            }
        }
    }
    note("instructions_before_the_box", instructions(&stage)?);
    for (name, found) in allocations(workspace)? {
        note(name, found);
    }
    Ok(least)
}

/// Instructions of a dry run, with no environment.
fn instructions(stage: &Stage) -> Result<u64> {
    let mut words = stage.run(&stage.nothing);
    let at = words.iter().position(|word| word == "run").context("a run")?;
    words.insert(at, "--dry-run".to_owned());
    let mut callgrind = Command::new("valgrind");
    callgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).args(&words);
    let output = callgrind.env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null()).output();
    let output = output.context("valgrind is needed: apt-get install valgrind")?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let count = text.lines().find_map(|line| line.split_once("Collected :")).map(|(_, count)| count.trim().parse());
    count.with_context(|| format!("callgrind counted nothing: {text}"))?.context("a count of instructions")
}

/// What the supervisor's test counts.
fn allocations(workspace: &Workspace) -> Result<Vec<(&'static str, u64)>> {
    let mut test = workspace.cargo(["test", "--quiet", "--package", "rustbox-supervisor", "--test", "allocations"]);
    let text = command::output(test.args(["--", "--nocapture"]))?;
    let found = |said: &str| -> Result<u64> {
        let line =
            text.lines().find_map(|line| line.split_once(said)).with_context(|| format!("no {said:?}: {text}"))?;
        line.1.trim().parse().with_context(|| format!("a number after {said:?}"))
    };
    Ok(vec![
        ("allocations_of_a_cold_run", found("allocations of a cold run:")?),
        ("allocations_of_a_warm_run", found("allocations of a warm run:")?),
    ])
}

/// Page faults of everything that a run consists of.
fn page_faults(run: &Contender) -> Result<u64> {
    let count = || getrusage(UsageWho::RUSAGE_CHILDREN).map(|usage| usage.minor_page_faults()).context("getrusage");
    let before = count()?;
    let mut command = run.command();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().context("start rustbox")?;
    if !status.success() {
        bail!("{}: {status}", run.text());
    }
    u64::try_from(count()? - before).context("page faults went backwards")
}
