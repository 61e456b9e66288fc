//! Builds the proof of containment, runs it on the hosts that were asked for, and puts the results together.
//!
//! The attacks, the judgement and the reports are in `containment-proof`, a program of the tests' package that also runs
//! in the virtual machine; here is only who runs where.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::vm::{self, kernel::Choice};
use crate::workspace::{Executable, Role, Workspace};
use crate::{command, payloads};

/// Arguments of `cargo xtask proof`.
#[derive(Debug, Default, Args)]
pub(crate) struct Arguments {
    /// The numbers of the night instead of those of a change: 10,000 spawns, and so on.
    #[arg(long)]
    full: bool,
    /// Also make the attacks on cgroup v2 alone, in the virtual machine of `cargo xtask vm`.
    #[arg(long)]
    vm: bool,
    /// Every shape: this host, v1 alone where it has v1 controllers, v2 alone on Debian's kernel and on that of its backports.
    #[arg(long)]
    matrix: bool,
    /// Attack another sandbox instead, as `tests/targets/NAME.toml` says: bwrap, crun, firejail, unshare, none, ... May be repeated.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["vm", "matrix"])]
    target: Vec<String>,
    /// Only attacks and parts whose name holds this, or one of these with commas between them.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Leave out the sweeps, races and models.
    #[arg(long)]
    attacks_only: bool,
}

/// What was built for it.
struct Built {
    rustbox: PathBuf,
    /// For the parts, whose planted bugs must be noticed.
    planted: Option<PathBuf>,
    programs: Vec<Executable>,
    tests: Vec<Executable>,
}

/// Runs the proof; its exit code is 0 only when all that was planned was done and held.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let built = build(workspace, arguments)?;
    let out = workspace.target.join("proof");
    let mut runs = Vec::new();
    for name in &arguments.target {
        let adapter = workspace.root.join("tests/targets").join(format!("{name}.toml"));
        println!("== the battery against {name}");
        let mut host = built.proof(workspace, "run")?;
        host.arg("--target").arg(adapter);
        runs.push(run_here(host, &out, &format!("run-target-{name}"), arguments)?);
    }
    if arguments.target.is_empty() {
        runs.extend(run_rustbox(workspace, &built, &out, arguments)?);
    }
    let mut report = built.proof(workspace, "report")?;
    report.arg("--out").arg(&out).args(["--commit", &commit(workspace)?]).args(arguments.full.then_some("--full"));
    let status = report.args(&runs).status().context("put the results together")?;
    println!("reports: {}/report.html, report.json, junit.xml, statement.json", out.display());
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Rustbox itself, on every shape that was asked for.
fn run_rustbox(workspace: &Workspace, built: &Built, out: &Path, arguments: &Arguments) -> Result<Vec<PathBuf>> {
    let mut runs = Vec::new();
    println!("== the proof on this host");
    let mut host = built.proof(workspace, "run")?;
    for program in &built.tests {
        host.arg("--program").arg(format!("{}={}", program.name, program.path.display()));
    }
    runs.push(run_here(host, out, "run-host", arguments)?);
    if arguments.matrix && has_v1() {
        println!("== the proof on this host's cgroup v1 alone");
        let mut host = built.proof(workspace, "run")?;
        host.args(["--backend", "v1"]);
        runs.push(run_here(host, out, "run-v1", arguments)?);
    }
    if arguments.vm || arguments.matrix {
        runs.push(run_in_guest(workspace, built, out, "run-vm", arguments, Choice::Stable)?);
    }
    if arguments.matrix {
        runs.push(run_in_guest(workspace, built, out, "run-vm-backports", arguments, Choice::Backports)?);
    }
    Ok(runs)
}

/// As a step of continuous integration.
pub(crate) fn run_quick(workspace: &Workspace) -> Result<()> {
    let arguments = Arguments { vm: true, ..Arguments::default() };
    if run(workspace, &arguments)? == ExitCode::SUCCESS { Ok(()) } else { bail!("containment is not proved") }
}

/// The test programs of the parts, by the lines of `tests/proof-parts.toml` that name them.
pub(crate) fn part_programs(workspace: &Workspace) -> Result<Vec<String>> {
    let path = workspace.root.join("tests/proof-parts.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let names = text.lines().filter_map(|line| line.strip_prefix("test = \"")?.strip_suffix('"'));
    Ok(names.map(str::to_owned).collect())
}

fn build(workspace: &Workspace, arguments: &Arguments) -> Result<Built> {
    println!("building; optimised, since a race that a slow program wins proves little");
    payloads::build(workspace)?;
    let rustbox = workspace.program_under_test()?;
    let programs = workspace.build(["build", "--package", "rustbox-tests", "--bins"])?;
    let (mut tests, mut planted) = (Vec::new(), None);
    if !arguments.attacks_only && arguments.target.is_empty() {
        planted = Some(vm::planted(workspace)?);
        let names = part_programs(workspace)?;
        let names = names.iter().flat_map(|name| ["--test", name]);
        tests = workspace.build(["test", "--no-run", "--package", "rustbox-tests"].into_iter().chain(names))?;
        tests.retain(|program| program.role == Role::Test);
    }
    Ok(Built { rustbox, planted, programs, tests })
}

impl Built {
    /// `containment-proof VERB`, and where it finds what it uses.
    fn proof(&self, workspace: &Workspace, verb: &str) -> Result<Command> {
        let mut command = Command::new(find(&self.programs, "containment-proof")?);
        command.arg(verb).current_dir(workspace.root.join("tests")).stdin(Stdio::null());
        command.env("RUSTBOX_BIN", &self.rustbox).env("RUSTBOX_PEN", find(&self.programs, "containment-pen")?);
        command.env("RUSTBOX_PAYLOADS", workspace.root.join("tests/adversarial"));
        command.envs(self.planted.iter().map(|path| ("RUSTBOX_PLANTED_BIN", path)));
        Ok(command)
    }
}

fn run_here(mut proof: Command, out: &Path, name: &str, arguments: &Arguments) -> Result<PathBuf> {
    let path = out.join(format!("{name}.json"));
    forget(&path)?;
    proof.arg("--out").arg(out).args(["--name", name]).args(further(arguments));
    // Its exit code is the conclusion on this host; the report draws it again for all of them.
    proof.status().with_context(|| format!("start `{}`", command::text(&proof)))?;
    if path.is_file() { Ok(path) } else { bail!("`{}` left no result", command::text(&proof)) }
}

fn run_in_guest(
    workspace: &Workspace,
    built: &Built,
    out: &Path,
    name: &str,
    arguments: &Arguments,
    kernel: Choice,
) -> Result<PathBuf> {
    println!("== the proof on cgroup v2 alone, in a virtual machine ({kernel:?})");
    let path = out.join(format!("{name}.json"));
    forget(&path)?;
    // On an emulated CPU the parts take the best part of an hour: that is for the night.
    let parts: &[Executable] = if arguments.full { &built.tests } else { &[] };
    let planted = built.planted.clone().filter(|_| arguments.full);
    let proved = vm::prove(workspace, built.programs.clone(), parts, planted, further(arguments), kernel);
    let told = proved.unwrap_or_else(|error| {
        println!("not proved there: {error:#}");
        not_proved(name, &format!("{error:#}"))
    });
    std::fs::write(&path, told).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

/// The run of a guest that told none: one thing was planned, and it is missing, so that nothing is proved.
fn not_proved(name: &str, why: &str) -> String {
    let run = serde_json::json!({
        "shape": name, "target": "rustbox", "kernel": "", "cpus": 0, "binary_sha256": "", "started_at": "", "seconds": 0.0,
        "planned": 1, "attacks": [], "parts": [], "missing": [why], "host": { "compared": {}, "differences": [] },
    });
    run.to_string()
}

/// A result of an earlier run would be taken for this one's.
fn forget(path: &Path) -> Result<()> {
    if path.is_file() {
        std::fs::remove_file(path).with_context(|| format!("remove {}", path.display()))?;
    }
    Ok(())
}

fn further(arguments: &Arguments) -> Vec<String> {
    let mut words = Vec::new();
    if arguments.full {
        words.push("--full".to_owned());
    }
    if let Some(name) = &arguments.only {
        words.extend(["--only".to_owned(), name.clone()]);
    }
    words
}

fn has_v1() -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts.lines().any(|line| line.contains(" - cgroup ") && line.ends_with("memory"))
}

fn commit(workspace: &Workspace) -> Result<String> {
    let git = |words: &[&str]| command::output(Command::new("git").args(words).current_dir(&workspace.root));
    let head = git(&["rev-parse", "HEAD"])?.trim().to_owned();
    Ok(if git(&["status", "--porcelain"])?.is_empty() { head } else { format!("{head}-dirty") })
}

fn find<'a>(programs: &'a [Executable], name: &str) -> Result<&'a Path> {
    let found = programs.iter().find(|program| program.name == name);
    found.map(|program| program.path.as_path()).with_context(|| format!("cargo built no {name}"))
}
