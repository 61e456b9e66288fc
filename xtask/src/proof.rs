//! Runs the tests that prove containment, and nothing else.

use clap::Args;

use anyhow::Result;

use crate::command;
use crate::workspace::Workspace;

/// Arguments of `cargo xtask proof`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Arguments of the test programs, such as `--nocapture` or the beginning of a test's name.
    #[arg(last = true, value_name = "ARG")]
    passed_on: Vec<String>,
}

/// The tests whose claims are "it cannot get out", "nothing is left" and "not even when rustbox is killed".
const PROOFS: &[&str] = &[
    "process_containment_test",
    "race_proof_test",
    "supervisor_kill_test",
    "filesystem_mountinfo_diff_test",
    "leak_test",
];

/// Runs the proofs, optimised, since a race that a slow program wins proves little.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let mut test = workspace.cargo(["test", "--release", "--package", "rustbox-tests", "--no-fail-fast"]);
    for proof in PROOFS {
        test.args(["--test", proof]);
    }
    command::run(test.arg("--").args(&arguments.passed_on))
}
