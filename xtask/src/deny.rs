//! Runs cargo-deny, and builds it first where it is missing.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::command;
use crate::workspace::Workspace;

/// The version that CI uses; cargo's lock file of that release is used as well.
const VERSION: &str = "0.20.2";
/// What is checked. Not `advisories`: that database has to be fetched from where not every machine can reach.
const CHECKS: &[&str] = &["licenses", "bans", "sources"];

/// Checks the workspace against `deny.toml`.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let program = find_or_build(workspace)?;
    command::run(
        Command::new(program).args(["check", "--hide-inclusion-graph"]).args(CHECKS).current_dir(&workspace.root),
    )
}

fn find_or_build(workspace: &Workspace) -> Result<PathBuf> {
    if command::is_in_path("cargo-deny") {
        return Ok("cargo-deny".into());
    }
    let root = workspace.target.join("tools");
    let program = root.join("bin/cargo-deny");
    if program.is_file() {
        return Ok(program);
    }
    println!("building cargo-deny {VERSION} into {}: once, about a minute", root.display());
    // It runs for a second, so an unoptimised one is faster to have: 40 s instead of several minutes on two cores.
    // From `/`, so that the static linking of our `.cargo/config.toml` is not applied to it.
    let mut install = Command::new("cargo");
    install.args(["install", "cargo-deny", "--locked", "--version", VERSION, "--root"]).arg(&root).current_dir("/");
    install.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0").env("CARGO_PROFILE_RELEASE_LTO", "off");
    install.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16").env("CARGO_TARGET_DIR", root.join("build"));
    command::run(&mut install)?;
    Ok(program)
}
