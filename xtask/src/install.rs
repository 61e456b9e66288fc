//! Puts what is shipped where a system looks for it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
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
    pub(crate) prefix: PathBuf,
    /// A directory to put before every path, for those who make packages.
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub(crate) destdir: PathBuf,
}

/// The shells, and where below the prefix each looks for completions.
pub(crate) const COMPLETIONS: &[(&str, &str)] = &[
    ("bash", "share/bash-completion/completions/rustbox"),
    ("zsh", "share/zsh/site-functions/_rustbox"),
    ("fish", "share/fish/vendor_completions.d/rustbox.fish"),
];

/// Files of the repository that are installed as they are: a directory, the ending of what is taken from it, where it goes,
/// and its mode. Below the prefix, but for what the system looks for in one place only.
struct Shipped {
    from: &'static str,
    ending: &'static str,
    to: &'static str,
    mode: u32,
}

const SHIPPED: &[Shipped] = &[
    Shipped { from: "packaging/scripts", ending: "sh", to: "bin", mode: 0o755 },
    Shipped { from: "packaging/systemd", ending: "service", to: "lib/systemd/system", mode: 0o644 },
    Shipped { from: "packaging/systemd", ending: "timer", to: "lib/systemd/system", mode: 0o644 },
    Shipped { from: "packaging/systemd", ending: "mount", to: "lib/systemd/system", mode: 0o644 },
    Shipped { from: "packaging/systemd", ending: "slice", to: "lib/systemd/system", mode: 0o644 },
    Shipped { from: "packaging/sysusers.d", ending: "conf", to: "lib/sysusers.d", mode: 0o644 },
    Shipped { from: "packaging/catalog", ending: "catalog", to: "lib/systemd/catalog", mode: 0o644 },
    Shipped { from: "packaging/grafana", ending: "json", to: "share/rustbox/grafana", mode: 0o644 },
    Shipped { from: "packaging/tmpfiles.d", ending: "conf", to: "lib/tmpfiles.d", mode: 0o644 },
    Shipped { from: "packaging/prometheus", ending: "yml", to: "share/rustbox/prometheus", mode: 0o644 },
    Shipped { from: "docs/runbooks", ending: "md", to: "share/doc/rustbox/runbooks", mode: 0o644 },
];

/// Builds the program, and installs it with its second name, manual pages, completions, scripts, units, rules and runbooks.
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
    let paths = Replacement { written: PACKAGED, now: format!("{}/", arguments.prefix.display()) };
    for shipped in SHIPPED {
        copy_shipped(&workspace.root, &prefix, shipped, &paths)?;
    }
    println!("installed below {}", prefix.display());
    Ok(())
}

/// Where units, scripts, rules, dashboard and catalogue say that everything is.
const PACKAGED: &str = "/usr/local/";

/// A path in a text, and what stands for it under another prefix.
struct Replacement {
    written: &'static str,
    now: String,
}

/// Units and scripts name the program by its path, since neither may rely on a caller's PATH.
fn copy_shipped(root: &Path, prefix: &Path, shipped: &Shipped, paths: &Replacement) -> Result<()> {
    let from = root.join(shipped.from);
    let to = directory(prefix, shipped.to)?;
    let mut copied = 0;
    for entry in fs::read_dir(&from).with_context(|| format!("list {}", from.display()))? {
        let path = entry.with_context(|| format!("list {}", from.display()))?.path();
        let Some(name) = path.file_name().filter(|_| path.extension().is_some_and(|e| e == shipped.ending)) else {
            continue;
        };
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let text = text.replace(paths.written, &paths.now);
        let mode = fs::Permissions::from_mode(shipped.mode);
        replace(&to.join(name), |target| fs::write(target, &text).and_then(|()| fs::set_permissions(target, mode)))?;
        copied += 1;
    }
    if copied == 0 {
        bail!("{} has no *.{}: what is to be shipped moved", from.display(), shipped.ending);
    }
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
    use crate::packaging;

    #[test]
    fn a_package_is_made_below_its_own_directory() -> Result<()> {
        assert_eq!(below(Path::new("/tmp/package"), Path::new("/usr"))?, Path::new("/tmp/package/usr"));
        assert_eq!(below(Path::new("/"), Path::new("/usr/local"))?, Path::new("/usr/local"));
        assert!(below(Path::new("/"), Path::new("usr")).is_err());
        Ok(())
    }

    #[test]
    fn what_is_shipped_is_there_runs_and_names_the_program_where_it_is() -> Result<()> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let package = std::env::temp_dir().join(format!("rustbox-install-{}", std::process::id()));
        let paths = Replacement { written: PACKAGED, now: "/opt/rustbox/".to_owned() };
        for shipped in SHIPPED {
            copy_shipped(&root, &package, shipped, &paths)?;
        }
        let unit = fs::read_to_string(package.join("lib/systemd/system/rustbox.service"))?;
        let script = package.join("bin/rustbox-cleanup-all.sh");
        let mode = fs::metadata(&script)?.permissions().mode();
        let rules = fs::read_to_string(package.join(packaging::RULES))?;
        let dashboard = fs::read_to_string(package.join(packaging::DASHBOARD))?;
        fs::remove_dir_all(&package)?;
        assert!(unit.contains("ExecStart=/opt/rustbox/bin/rustbox health --recover"), "{unit}");
        assert!(!unit.contains(PACKAGED), "{unit}");
        assert_eq!(mode & 0o777, 0o755);
        let pages = "/opt/rustbox/share/doc/rustbox/runbooks/";
        let urls: Vec<_> = rules.lines().filter(|line| line.trim().starts_with("runbook_url: ")).collect();
        assert!(!urls.is_empty() && urls.iter().all(|url| url.contains(&format!("file://{pages}"))), "{urls:?}");
        assert!(dashboard.contains(pages) && !dashboard.contains(PACKAGED), "{dashboard}");
        Ok(())
    }
}
