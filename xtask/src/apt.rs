//! Fetches what Debian packages, and says so before it does.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;

/// Installs a package unless the program that it brings is there. Needs root.
pub(crate) fn ensure_program(program: &str, package: &str) -> Result<()> {
    if command::is_in_path(program) {
        return Ok(());
    }
    println!("{program} is missing: apt-get install {package}");
    let mut install = Command::new("apt-get");
    install.args(["install", "--yes", "--quiet", "--no-install-recommends", package]);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    Source::ours().with_lists(|| command::run(&mut install))
}

/// The name of this machine's release of Debian.
pub(crate) fn codename() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").context("read /etc/os-release")?;
    let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(codename.context("find VERSION_CODENAME in /etc/os-release")?.to_owned())
}

/// Where packages come from.
#[derive(Debug)]
pub(crate) struct Source {
    options: Vec<String>,
}

impl Source {
    /// What this machine is set up with.
    pub(crate) fn ours() -> Self {
        Self { options: Vec::new() }
    }

    /// The backports of Debian's release, with lists of their own below `directory`: what this machine is set up with does not change.
    pub(crate) fn backports(directory: &Path) -> Result<Self> {
        let codename = codename()?;
        let partial = directory.join("lists/partial");
        fs::create_dir_all(&partial).with_context(|| format!("create {}", partial.display()))?;
        let list = directory.join("sources.list");
        let key = "/usr/share/keyrings/debian-archive-keyring.gpg";
        let text = format!("deb [signed-by={key}] http://deb.debian.org/debian {codename}-backports main\n");
        fs::write(&list, text).with_context(|| format!("write {}", list.display()))?;
        let option = |name: &str, value: &Path| format!("--option={name}={}", value.display());
        Ok(Self {
            options: vec![
                option("Dir::Etc::SourceList", &list),
                option("Dir::Etc::SourceParts", Path::new("/dev/null")),
                option("Dir::State::Lists", &directory.join("lists")),
                option("Dir::Cache::pkgcache", Path::new("")),
                option("Dir::Cache::srcpkgcache", Path::new("")),
            ],
        })
    }

    /// Downloads a package and unpacks it below `directory/unpacked`; nothing is installed.
    pub(crate) fn unpack(&self, package: &str, directory: &Path) -> Result<()> {
        println!("downloading Debian's {package}");
        fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
        remove_archives(directory, package)?;
        let mut download = Command::new("apt-get");
        download.args(["download", "--quiet", "--option=APT::Sandbox::User=root"]).args(&self.options).arg(package);
        download.current_dir(directory);
        self.with_lists(|| command::run(&mut download))?;
        let archives = archives(directory, package)?;
        let [archive] = archives.as_slice() else {
            bail!("apt-get download {package} left {} archives", archives.len())
        };
        command::run(Command::new("dpkg-deb").arg("--extract").arg(archive).arg(directory.join("unpacked")))?;
        remove_archives(directory, package)
    }

    /// The package that an empty package of Debian's stands for: the newest kernel, say.
    pub(crate) fn real_package(&self, package: &str, prefix: &str) -> Result<String> {
        let mut found = None;
        self.with_lists(|| {
            let mut depends = Command::new("apt-cache");
            let listed = command::output(depends.args(&self.options).args(["depends", "--important", package]))?;
            let names = listed.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
            found = names.into_iter().find(|name| name.starts_with(prefix)).map(str::to_owned);
            if found.is_none() { bail!("{package} depends on nothing called {prefix}*") } else { Ok(()) }
        })?;
        found.with_context(|| format!("what {package} stands for"))
    }

    /// Tries; when that fails, fetches the package lists and tries once more.
    fn with_lists(&self, mut action: impl FnMut() -> Result<()>) -> Result<()> {
        if action().is_ok() {
            return Ok(());
        }
        println!("the package lists may be old: apt-get update");
        command::run(Command::new("apt-get").args(["update", "--quiet"]).args(&self.options))?;
        action()
    }
}

fn archives(directory: &Path, package: &str) -> Result<Vec<std::path::PathBuf>> {
    let prefix = format!("{package}_");
    let entries = fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))?;
    let paths = entries.map(|e| e.map(|e| e.path())).collect::<Result<Vec<_>, _>>();
    let mut paths = paths.with_context(|| format!("read {}", directory.display()))?;
    paths.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)));
    Ok(paths)
}

fn remove_archives(directory: &Path, package: &str) -> Result<()> {
    for archive in archives(directory, package)? {
        fs::remove_file(&archive).with_context(|| format!("remove {}", archive.display()))?;
    }
    Ok(())
}
