//! A small virtual machine with cgroup v2 alone, for what the host cannot show.
//!
//! Theory of operation. The kernel is Debian's, unpacked from its package. The root file system is
//! an initramfs that we write ourselves: busybox, the rustbox binary, the payloads and the test
//! programs, all of them static, and a script that runs them. A root that the kernel unpacked
//! cannot be left by `pivot_root`, so the first script copies everything into a tmpfs and switches
//! there; from then on the guest's mounts look like those of any machine. The second script runs
//! what was asked for and prints one line with the exit code, behind a word that is new in every
//! boot, on the serial console. QEMU's console is our pipe: we pass its lines on, remember that
//! one, and end QEMU when the time is up. No acceleration is used, so that it works anywhere.

mod boot;
mod cpio;
mod debian;
mod image;
pub(crate) mod kernel;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::workspace::{Executable, Role, Workspace};
use crate::{apt, payloads};

/// Without acceleration the guest is ten times slower than its host.
const DEFAULT_TIMEOUT_SECONDS: u64 = 1800;

/// For the whole battery, on an emulated CPU that others may be using too.
const PROOF_TIMEOUT: Duration = Duration::from_secs(1800);

/// The same with the parts: sweeps, races and models.
const PARTS_TIMEOUT: Duration = Duration::from_secs(2 * 3600);

/// Arguments of `cargo xtask vm`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Test programs to run, by name; all but those that make no sense in the guest when none is given.
    #[arg(long = "test", value_name = "NAME", num_args = 1.., conflicts_with = "command")]
    tests: Vec<String>,
    /// End the machine after so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_TIMEOUT_SECONDS)]
    timeout: u64,
    /// Which of Debian's kernels to boot.
    #[arg(long, value_enum, default_value_t = kernel::Choice::Stable)]
    kernel: kernel::Choice,
    /// A command to run in the guest instead of the tests.
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

/// What the guest is to do.
#[derive(Debug)]
enum Job {
    /// Run tests, one program after the other, and fail if one fails.
    Tests {
        /// The tests, and the binaries of their packages.
        programs: Vec<Executable>,
        /// A rustbox with its death guards taken out: with it the kill tests must fail, or they prove nothing.
        planted: Option<PathBuf>,
    },
    /// Run this command.
    Command(Vec<String>),
    /// Make the attacks of the proof, and print the result behind a word.
    Proof {
        /// The program that makes them, the pen, and the parts.
        programs: Vec<Executable>,
        /// For the parts, whose planted bugs must be noticed.
        planted: Option<PathBuf>,
        /// Further arguments.
        arguments: Vec<String>,
    },
}

/// Boots the machine, runs what the arguments ask for, and hands its exit code on.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let job = match arguments.command.as_slice() {
        [] => tests(workspace, &arguments.tests)?,
        command => Job::Command(command.to_vec()),
    };
    let end = run_job(workspace, &job, Duration::from_secs(arguments.timeout), arguments.kernel)?;
    Ok(ExitCode::from(end.code))
}

/// Makes the attacks of the proof in the guest, and runs those of the parts that make sense there; returns what
/// `containment-proof run` wrote there.
pub(crate) fn prove(
    workspace: &Workspace,
    mut programs: Vec<Executable>,
    parts: &[Executable],
    planted: Option<PathBuf>,
    mut arguments: Vec<String>,
    kernel: kernel::Choice,
) -> Result<String> {
    let limit = if parts.is_empty() { PROOF_TIMEOUT } else { PARTS_TIMEOUT };
    for part in parts {
        match why_left_out(&part.name) {
            Some(why) => println!("left out in the guest: {}: {why}", part.name),
            None => {
                arguments.extend(["--program".to_owned(), format!("{}=/{}", part.name, image::guest_path(part))]);
                programs.push(part.clone());
            }
        }
    }
    let job = Job::Proof { programs, planted, arguments };
    let end = run_job(workspace, &job, limit, kernel)?;
    if end.told.is_empty() {
        bail!("the guest told no result, and its job exited with {}", end.code);
    }
    Ok(end.told)
}

/// Runs every test of the guest, and fails if one fails.
pub(crate) fn run_tests(workspace: &Workspace) -> Result<()> {
    let limit = Duration::from_secs(DEFAULT_TIMEOUT_SECONDS);
    match run_job(workspace, &tests(workspace, &[])?, limit, kernel::Choice::Stable)?.code {
        0 => Ok(()),
        code => bail!("the tests in the guest ended with {code}"),
    }
}

/// Boots a Debian root with its own systemd, whose unit runs a job; returns the job's exit code.
pub(crate) fn boot_debian(workspace: &Workspace, root: &Path, limit: Duration) -> Result<u8> {
    apt::ensure_program("qemu-system-x86_64", "qemu-system-x86")?;
    let directory = workspace.target.join("vm");
    let kernel = kernel::fetch(&directory, kernel::Choice::Stable)?;
    let image = debian::write(&directory, root)?;
    Ok(boot::run(&kernel, &image, limit)?.code)
}

fn run_job(workspace: &Workspace, job: &Job, limit: Duration, choice: kernel::Choice) -> Result<boot::End> {
    payloads::build(workspace)?;
    let rustbox = workspace.program_under_test()?;
    apt::ensure_program("qemu-system-x86_64", "qemu-system-x86")?;
    let directory = workspace.target.join("vm");
    let kernel = kernel::fetch(&directory, choice)?;
    let image = image::write(&directory, job, &rustbox, &payloads::built(workspace)?)?;
    boot::run(&kernel, &image, limit)
}

/// Tests that the guest does not run unless they are named, and why.
const LEFT_OUT: &[(&str, &str)] = &[
    ("adversarial_security_test", "it runs programs of a whole Debian, and the guest has busybox"),
    ("audit_test", "it measures a crowded host, and the guest has no compiler"),
    ("bad_input_test", "nothing in it depends on the kernel"),
    ("collect_sweep_test", "it takes minutes on an emulated CPU"),
    ("fault_sweep_test", "it takes minutes on an emulated CPU"),
    ("planted_bugs_test", "its moments are not always reached on an emulated CPU"),
    ("failure_matrix_test", "it waits for our own time limits, and nothing in it depends on the kernel"),
    ("pen_test", "nothing in it depends on the kernel"),
    (
        "held_barriers_test",
        "it holds a process for longer than an emulated CPU needs for the attack, and is not sure to",
    ),
    ("mount_swap_test", "its binds are id-mapped, which the guest's file system cannot be on Linux 6.1"),
    ("hostile_start_test", "it runs programs of a whole Debian, and the guest has busybox"),
    ("pool_test", "its honest programs are those of a whole Debian, and the guest has busybox"),
    ("proof_report_test", "nothing in it depends on the kernel"),
    ("recovery_kill_test", "it takes minutes on an emulated CPU"),
    ("state_machine_test", "its moments are not always reached on an emulated CPU"),
    ("runtimes_test", "the guest has no compilers"),
    ("threads", "its writable binds are id-mapped, which the guest's file system cannot be on Linux 6.1"),
];

fn why_left_out(test: &str) -> Option<&'static str> {
    LEFT_OUT.iter().find(|(name, _)| *name == test).map(|(_, why)| *why)
}

/// Packages whose tests run in the guest: those that ask the kernel, and not only themselves.
const TESTED: [&str; 4] = ["rustbox-tests", "rustbox-cgroup", "rustbox-ns", "rustbox-supervisor"];

fn tests(workspace: &Workspace, names: &[String]) -> Result<Job> {
    let packages = TESTED.iter().flat_map(|package| ["--package", package]);
    let mut built = workspace.build(["test", "--no-run"].into_iter().chain(packages))?;
    let is_test = |program: &Executable, name: &String| program.role == Role::Test && program.name == *name;
    if let Some(unknown) = names.iter().find(|name| !built.iter().any(|program| is_test(program, name))) {
        bail!("no test program is called {unknown}");
    }
    let chosen = |program: &Executable| match names {
        [] => why_left_out(&program.name).is_none(),
        names => names.iter().any(|name| is_test(program, name)),
    };
    built.retain(|program| program.role == Role::Binary || chosen(program));
    if names.is_empty() {
        for (name, why) in LEFT_OUT {
            println!("left out in the guest: {name}: {why}");
        }
    }
    // Cargo's order is that in which the compilers finished.
    built.sort_by(|a, b| (&a.name, &a.path).cmp(&(&b.name, &b.path)));
    let kills = built.iter().any(|program| program.name == KILL_TEST);
    Ok(Job::Tests { programs: built, planted: if kills { Some(planted(workspace)?) } else { None } })
}

/// The one test program that needs the planted rustbox.
const KILL_TEST: &str = "supervisor_kill_test";

/// The one that the tests build too when they run on the host.
pub(crate) fn planted(workspace: &Workspace) -> Result<PathBuf> {
    const NAME: &str = "rustbox-planted";
    let package = ["build", "--package", "rustbox-cli", "--bin", NAME, "--features", "planted-bugs"];
    let built = workspace.build(package)?;
    built.into_iter().find(|program| program.name == NAME).map(|program| program.path).context("a planted rustbox")
}
