//! The command `rustbox`.

use std::process::ExitCode;

fn main() -> ExitCode {
    rustbox_cli::main()
}
