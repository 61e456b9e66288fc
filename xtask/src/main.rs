//! Chores of the project, as `cargo xtask COMMAND`.
//!
//! Nothing here is part of what is shipped. It builds, fetches, and runs the built binaries from
//! outside, so it depends on no crate of the workspace.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a chore reports to the terminal that started it")]

mod apt;
mod bench;
mod ci;
mod command;
mod debian;
mod deny;
mod deps;
mod elf;
mod gameday;
mod install;
mod layout;
mod packaging;
mod payloads;
mod prometheus;
mod proof;
mod readme;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// Chores of the rustbox project.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Compare the directions of the workspace's dependencies with the table in the architecture.
    Deps,
    /// Compile the payloads of tests/adversarial next to their sources, with $CC (default cc).
    Payloads,
    /// Check licences, banned crates and sources with cargo-deny, which is built if it is missing.
    Deny,
    /// Boot Debian's kernel under QEMU, with cgroup v2 alone, and run tests or a command in it.
    ///
    /// Downloads the kernel and busybox with apt-get, and installs QEMU if it is missing (as root).
    Vm(vm::Arguments),
    /// Attack boxes on this host (and in a virtual machine), and report what held, what not, and why.
    Proof(proof::Arguments),
    /// Measure rustbox beside the other sandboxes of this host, and check the targets.
    Bench(bench::Arguments),
    /// Count what one run costs, and compare it with the budget.
    Budget(bench::budget::Arguments),
    /// Find out which functions a run enters, and write them down for the linker of the release. As root.
    Layout,
    /// Build rustbox, and install it with its manual pages and completions.
    Install(install::Arguments),
    /// Break a host, follow the runbook, end healthy. As root.
    Gameday(gameday::Arguments),
    /// Install into a small Debian, try it as a container's root, boot it with systemd, and follow the runbooks there. As root.
    ///
    /// Downloads Debian's packages, and installs mmdebstrap and QEMU if they are missing.
    Debian(debian::Arguments),
    /// Have scripts, units, rules, dashboard, manual pages and completions read by the programs that they are for.
    Packaging,
    /// Run every check that a change has to pass, in order, and stop at the first failure.
    Ci(ci::Arguments),
}

fn main() -> ExitCode {
    run(&Arguments::parse().chore).unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(chore: &Chore) -> anyhow::Result<ExitCode> {
    let workspace = Workspace::find()?;
    match chore {
        Chore::Deps => deps::check(&workspace)?,
        Chore::Payloads => payloads::build(&workspace)?,
        Chore::Deny => deny::check(&workspace)?,
        Chore::Gameday(arguments) => gameday::run(&workspace, arguments)?,
        Chore::Debian(arguments) => debian::run(&workspace, arguments)?,
        Chore::Packaging => packaging::check(&workspace)?,
        Chore::Install(arguments) => install::run(&workspace, arguments)?,
        Chore::Layout => layout::run(&workspace)?,
        Chore::Budget(arguments) => bench::budget::check(&workspace, arguments)?,
        Chore::Bench(arguments) => return bench::run(&workspace, arguments),
        Chore::Vm(arguments) => return vm::run(&workspace, arguments),
        Chore::Proof(arguments) => return proof::run(&workspace, arguments),
        Chore::Ci(arguments) => return ci::run(&workspace, arguments),
    }
    Ok(ExitCode::SUCCESS)
}
