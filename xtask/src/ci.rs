//! The list of checks that a change has to pass; `.ci/run` adds nothing to it but a machine that has what it needs.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::workspace::Workspace;
use crate::{bench, command, debian, deny, deps, elf, gameday, packaging, payloads, proof, readme, vm};

/// Arguments of `cargo xtask ci`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Run these steps only.
    #[arg(long, value_name = "STEP", num_args = 1..)]
    only: Vec<String>,
    /// Stop at the first step that fails, and do not go on to see what else does.
    #[arg(long)]
    fail_fast: bool,
    /// Print the steps and run nothing.
    #[arg(long)]
    list: bool,
}

struct Step {
    name: &'static str,
    what: &'static str,
    run: fn(&Workspace) -> Result<()>,
}

/// Cheap checks first: most mistakes are found in the first minute.
const STEPS: &[Step] = &[
    Step {
        name: "fmt",
        what: "the formatting is rustfmt's",
        run: |w| command::run(&mut w.cargo(["fmt", "--all", "--check"])),
    },
    Step { name: "deps", what: "dependencies point the way the architecture draws them", run: deps::check },
    Step { name: "clippy", what: "no warning from clippy", run: clippy },
    Step { name: "doc", what: "the API documentation builds without a warning", run: doc },
    Step { name: "deny", what: "licences, banned crates, sources", run: deny::check },
    Step { name: "release", what: "the release binary is static", run: |w| elf::check_static(&w.release_binary()?) },
    Step {
        name: "packaging",
        what: "scripts, units, rules and pages are as their readers want them",
        run: packaging::check,
    },
    Step { name: "gameday", what: "every runbook is followed on a host that is broken for it", run: gameday::check },
    Step { name: "budget", what: "a run makes no more system calls and page faults than its budget", run: budget },
    Step { name: "bench", what: "the benchmark runs, and writes nothing", run: bench_smoke },
    Step { name: "readme", what: "the README's examples run", run: readme::run_examples },
    Step { name: "payloads", what: "the hostile programs compile", run: payloads::build },
    Step { name: "test", what: readme::TEST_COMMAND, run: test },
    Step { name: "vm", what: "the containment tests on cgroup v2 alone, in a virtual machine", run: vm::run_tests },
    Step {
        name: "debian",
        what: "an installation works in a small Debian, and with its systemd when that is booted",
        run: |workspace| debian::run(workspace, &debian::Arguments::default()),
    },
    Step { name: "proof", what: "every attack with its control, here and on cgroup v2 alone", run: proof::run_quick },
];

/// Runs the steps, all of them: who has to wait for CI wants to know everything that is wrong.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    if let Some(unknown) = arguments.only.iter().find(|name| STEPS.iter().all(|step| step.name != **name)) {
        bail!("no step is called {unknown}");
    }
    let chosen = |step: &&Step| arguments.only.is_empty() || arguments.only.iter().any(|name| name == step.name);
    let steps: Vec<_> = STEPS.iter().filter(chosen).collect();
    let mut failed = Vec::new();
    for (number, step) in (1..).zip(&steps) {
        println!("== {number}/{} {}: {}", steps.len(), step.name, step.what);
        if arguments.list {
            continue;
        }
        let started = Instant::now();
        let result = (step.run)(workspace);
        let seconds = started.elapsed().as_secs_f64();
        match result {
            Ok(()) => println!("== {} passed in {seconds:.1} s", step.name),
            Err(error) => {
                println!("== {} FAILED after {seconds:.1} s: {error:#}", step.name);
                failed.push((step.name, format!("{error:#}")));
                if arguments.fail_fast {
                    break;
                }
            }
        }
    }
    for (name, error) in &failed {
        println!("FAILED {name}: {error}");
    }
    if !arguments.list {
        println!("{} steps, {} failed", steps.len(), failed.len());
    }
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn budget(workspace: &Workspace) -> Result<()> {
    bench::budget::check(workspace, &bench::budget::Arguments::default())
}

/// Three rounds: whether it works, not what it measures.
fn bench_smoke(workspace: &Workspace) -> Result<()> {
    bench::run(workspace, &bench::Arguments::smoke()).map(|_| ())
}

fn clippy(workspace: &Workspace) -> Result<()> {
    command::run(workspace.cargo(["clippy", "--workspace", "--all-targets"]).args(["--", "--deny", "warnings"]))
}

fn doc(workspace: &Workspace) -> Result<()> {
    let mut doc = workspace.cargo(["doc", "--workspace", "--no-deps"]);
    command::run(doc.env("RUSTDOCFLAGS", "--deny warnings"))
}

/// What `cargo test --workspace` runs, without the programs that the step `proof` starts itself: those of its parts. The
/// attacks of the table are left to it by the tests themselves, when `RUSTBOX_ATTACKS_BY_PROOF` is set.
fn test(workspace: &Workspace) -> Result<()> {
    if std::env::var_os("RUSTBOX_ATTACKS_BY_PROOF").is_none_or(|v| v != "1") {
        return command::run(&mut workspace.cargo(["test", "--workspace", "--no-fail-fast"]));
    }
    let others = command::run(&mut workspace.cargo(["test", "--workspace", "--no-fail-fast", "--exclude", TESTS]));
    let parts = proof::part_programs(workspace)?;
    let package = workspace.packages.iter().find(|package| package.name == TESTS).context("the tests' package")?;
    let tests = package.targets.iter().filter(|target| target.kind == ["test"] && !parts.contains(&target.name));
    let mut test = workspace.cargo(["test", "--no-fail-fast", "--package", TESTS, "--lib", "--bins"]);
    for target in tests {
        test.args(["--test", &target.name]);
    }
    command::run(&mut test).and(others)
}

/// The package of the tests of the whole program.
const TESTS: &str = "rustbox-tests";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_has_a_name_of_its_own() {
        let mut names: Vec<_> = STEPS.iter().map(|step| step.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), STEPS.len());
    }
}
