//! The command `rustbox-cli`: `rustbox` under its second name.

use std::process::ExitCode;

fn main() -> ExitCode {
    rustbox_cli::main()
}
