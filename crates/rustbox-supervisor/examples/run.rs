//! Runs one command in a box and prints its report: `cargo run --example run -- /bin/echo hello`.

use std::error::Error;

use rustbox_core::RunSpec;
use rustbox_supervisor::{Host, Places, RunIo, run};

#[expect(clippy::print_stdout, reason = "an example that prints")]
fn main() -> Result<(), Box<dyn Error>> {
    let spec = RunSpec { argv: std::env::args_os().skip(1).collect(), ..RunSpec::default() };
    let plan = spec.validate()?;
    let host = Host::open(&Places::default(), plan.cgroup_backend)?;
    let report = run(&host, &plan, RunIo { interrupt: None, observer: &mut |_| {} })?;
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}
