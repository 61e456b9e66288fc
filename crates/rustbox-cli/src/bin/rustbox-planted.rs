//! For the tests alone: `rustbox` with a defect that `RUSTBOX_PLANTED` names, under a name of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before any process is made: what comes after a clone must not read the environment.
    let _chosen = rustbox_core::planted::is(rustbox_core::planted::Bug::NoDeathGuard);
    rustbox_cli::main()
}
