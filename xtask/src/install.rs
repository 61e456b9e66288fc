//! Puts what is shipped where a system looks for it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::command;
use crate::workspace::Workspace;

/// Arguments of `cargo xtask install`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Where the installed program will live.
    #[arg(long, value_name = "DIR", default_value = "/usr/local")]
    prefix: PathBuf,
    /// A directory to put before every path, for those who make packages.
    #[arg(long, value_name = "DIR", default_value = "/")]
    destdir: PathBuf,
}

/// The shells, and where below the prefix each looks for completions.
const COMPLETIONS: &[(&str, &str)] = &[
    ("bash", "share/bash-completion/completions/rustbox"),
    ("zsh", "share/zsh/site-functions/_rustbox"),
    ("fish", "share/fish/vendor_completions.d/rustbox.fish"),
];

/// Builds the program, and installs it with its second name, manual pages and completions.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let binary = workspace.release_binary()?;
    let prefix = below(&arguments.destdir, &arguments.prefix)?;
    let bin = directory(&prefix, "bin")?;
    replace(&bin.join("rustbox"), |target| fs::copy(&binary, target).map(|_| ()))?;
    replace(&bin.join("rustbox-cli"), |target| symlink("rustbox", target))?;
    let man = directory(&prefix, "share/man/man1")?;
    command::run(Command::new(&binary).arg("man").arg(&man))?;
    for (shell, path) in COMPLETIONS {
        let script = command::output(Command::new(&binary).args(["completions", shell]))?;
        let path = prefix.join(path);
        directory(path.parent().unwrap_or(&prefix), "")?;
        replace(&path, |target| fs::write(target, &script))?;
    }
    println!("installed below {}", prefix.display());
    Ok(())
}

fn below(destdir: &Path, prefix: &Path) -> Result<PathBuf> {
    match prefix.strip_prefix("/") {
        Ok(relative) => Ok(destdir.join(relative)),
        Err(_) => bail!("--prefix {} is not an absolute path", prefix.display()),
    }
}

fn directory(prefix: &Path, name: &str) -> Result<PathBuf> {
    let directory = prefix.join(name);
    fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    Ok(directory)
}

/// Takes the old file's name away first: a program that is running cannot be written to.
fn replace(path: &Path, write: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove {}", path.display()));
        }
        _ => {}
    }
    write(path).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_made_below_its_own_directory() -> Result<()> {
        assert_eq!(below(Path::new("/tmp/package"), Path::new("/usr"))?, Path::new("/tmp/package/usr"));
        assert_eq!(below(Path::new("/"), Path::new("/usr/local"))?, Path::new("/usr/local"));
        assert!(below(Path::new("/"), Path::new("usr")).is_err());
        Ok(())
    }
}
