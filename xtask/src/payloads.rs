//! Compiles the hostile programs of `tests/adversarial/` next to their sources.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::command;
use crate::workspace::Workspace;

/// Static, so that a payload runs in any root; optimised, so that an attack is as fast as a real one.
const FLAGS: &[&str] = &["-static", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread"];

/// Compiles what is older than its source or than a header.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    let sources = files(&workspace.root, "c")?;
    let newest_header = newest(&files(&workspace.root, "h")?)?;
    let mut compiled = 0_usize;
    for source in &sources {
        let program = source.with_extension("");
        let built = program.metadata().and_then(|m| m.modified()).ok();
        if built
            .is_some_and(|built| modified(source).is_ok_and(|t| t < built) && newest_header.is_none_or(|t| t < built))
        {
            continue;
        }
        compile(source, &program)?;
        compiled += 1;
    }
    println!("{} payloads, {compiled} compiled now", sources.len());
    Ok(())
}

/// Compiles one program with `$CC`, by default `cc`.
pub(crate) fn compile(source: &Path, program: &Path) -> Result<()> {
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    command::run(Command::new(&compiler).args(FLAGS).arg("-o").arg(program).arg(source))
}

/// The compiled payloads: the directory's programs that have a source.
pub(crate) fn built(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let programs = files(&workspace.root, "c")?.into_iter().map(|source| source.with_extension(""));
    Ok(programs.filter(|program| program.is_file()).collect())
}

fn files(root: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let directory = root.join("tests/adversarial");
    let entries = fs::read_dir(&directory).with_context(|| format!("read {}", directory.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("read {}", directory.display()))?.path();
        if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn modified(path: &Path) -> Result<SystemTime> {
    path.metadata().and_then(|m| m.modified()).with_context(|| format!("look at {}", path.display()))
}

fn newest(paths: &[PathBuf]) -> Result<Option<SystemTime>> {
    let times = paths.iter().map(|path| modified(path)).collect::<Result<Vec<_>>>()?;
    Ok(times.into_iter().max())
}
