//! For the tests alone: `rustbox` without its death guards, under a name of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    rustbox_cli::main()
}
