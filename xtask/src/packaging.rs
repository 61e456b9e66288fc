//! Checks what operators get by the tools that will read it: as it is installed, not as it is written.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};

use crate::workspace::Workspace;
use crate::{apt, command, install, prometheus};

pub(crate) const RULES: &str = "share/rustbox/prometheus/rustbox.rules.yml";
pub(crate) const DASHBOARD: &str = "share/rustbox/grafana/rustbox.json";
/// What the path of a page begins with under the default prefix.
const INSTALLED_PAGES: &str = "/usr/local/share/doc/rustbox/";

/// Installs into a directory of its own, and has every file read by the program that it is for.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    for (program, package) in
        [("shellcheck", "shellcheck"), ("systemd-analyze", "systemd"), ("jq", "jq"), ("zsh", "zsh"), ("fish", "fish")]
    {
        apt::ensure_program(program, package)?;
    }
    let destdir = workspace.target.join("packaging");
    if destdir.exists() {
        fs::remove_dir_all(&destdir).with_context(|| format!("remove {}", destdir.display()))?;
    }
    install::run(workspace, &install::Arguments { prefix: "/usr/local".into(), destdir: destdir.clone() })?;
    let prefix = destdir.join("usr/local");
    scripts(&workspace.root, &prefix)?;
    units(&destdir, &prefix)?;
    catalogue(&destdir, &prefix)?;
    pages(&prefix)?;
    users(&destdir, &prefix)?;
    completions(&prefix)?;
    manuals(&prefix)?;
    prometheus::check(workspace, &prefix)
}

fn scripts(root: &Path, prefix: &Path) -> Result<()> {
    let scripts = files(&prefix.join("bin"), "sh")?;
    command::run(Command::new("shellcheck").arg("--shell=sh").args(&scripts))?;
    let stress = files(&root.join("tests/stress"), "sh")?;
    command::run(
        Command::new("shellcheck").args(["--shell=sh", "--external-sources"]).args(&stress).current_dir(root),
    )?;
    println!("{} scripts are clean under shellcheck", scripts.len() + stress.len());
    Ok(())
}

/// As systemd sees them: below a root in which the program is where the units say.
fn units(destdir: &Path, prefix: &Path) -> Result<()> {
    let directory = prefix.join("lib/systemd/system");
    let mut units = Vec::new();
    for kind in ["service", "timer", "mount", "slice"] {
        units.extend(files(&directory, kind)?);
    }
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no", "--recursive-errors=no", "--root"]).arg(destdir);
    verify.args(units.iter().filter_map(|unit| unit.file_name()));
    let output = verify.stdin(Stdio::null()).output().context("start systemd-analyze")?;
    let said = String::from_utf8_lossy(&output.stderr);
    // What is wrong with a unit is a warning to it, which leaves the exit code alone.
    if !output.status.success() || !said.trim().is_empty() {
        bail!("systemd-analyze verify: {}: {said}", output.status);
    }
    for unit in &units {
        if unit.file_name().is_some_and(|name| name.to_string_lossy().starts_with("rustbox-")) {
            bail!("{}: its cgroup would have a box's name", unit.display());
        }
    }
    println!("{} units are accepted by systemd", units.len());
    Ok(())
}

/// The user that systemd-sysusers makes below a root of its own.
fn users(destdir: &Path, prefix: &Path) -> Result<()> {
    let root = destdir.join("users");
    for directory in ["etc", "usr/lib/sysusers.d"] {
        fs::create_dir_all(root.join(directory)).with_context(|| format!("create {directory}"))?;
    }
    let [list] = files(&prefix.join("lib/sysusers.d"), "conf")?.try_into().map_err(|_| anyhow!("one list of users"))?;
    fs::copy(&list, root.join("usr/lib/sysusers.d/rustbox.conf")).context("copy the list of users")?;
    command::run(Command::new("systemd-sysusers").arg("--root").arg(&root))?;
    let users = fs::read_to_string(root.join("etc/passwd")).context("read what systemd-sysusers made")?;
    if !users.starts_with("rustbox-box:x:70000:70000:") { bail!("systemd-sysusers made {users}") } else { Ok(()) }
}

/// As `journalctl --update-catalog` takes it.
fn catalogue(destdir: &Path, prefix: &Path) -> Result<()> {
    let [catalogue] =
        files(&prefix.join("lib/systemd/catalog"), "catalog")?.try_into().map_err(|_| anyhow!("one catalogue"))?;
    let text = fs::read_to_string(&catalogue).with_context(|| format!("read {}", catalogue.display()))?;
    // The journal looks in one place only, and writes its database there.
    let looked = destdir.join("catalogue");
    for directory in ["usr/lib/systemd/catalog", "var/lib/systemd/catalog"] {
        fs::create_dir_all(looked.join(directory)).with_context(|| format!("create {directory}"))?;
    }
    fs::copy(&catalogue, looked.join("usr/lib/systemd/catalog/rustbox.catalog")).context("copy the catalogue")?;
    let journal = || {
        let mut journalctl = Command::new("journalctl");
        journalctl.arg("--root").arg(&looked);
        journalctl
    };
    command::run(journal().arg("--update-catalog"))?;
    let listed = command::output(journal().arg("--list-catalog"))?;
    let entries = text.lines().filter(|line| line.starts_with("-- ")).count();
    if listed.lines().count() != entries || entries == 0 {
        bail!("{entries} entries in the catalogue, and journalctl lists {listed}");
    }
    println!("{entries} entries of the message catalogue are listed by journalctl");
    Ok(())
}

/// Whoever reads an alert, a panel or the journal is sent to a page: each is installed where it is said to be.
fn pages(prefix: &Path) -> Result<()> {
    let mut named = 0;
    for file in ["lib/systemd/catalog/rustbox.catalog", RULES, DASHBOARD] {
        let path = prefix.join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let ends = |c: char| c.is_whitespace() || c == '"';
        let pages: Vec<&str> = text.split(INSTALLED_PAGES).skip(1).filter_map(|rest| rest.split(ends).next()).collect();
        for page in &pages {
            if !prefix.join("share/doc/rustbox").join(page).is_file() {
                bail!("{} names {page}, which is not installed", path.display());
            }
        }
        if pages.is_empty() || text.contains("docs/runbooks") {
            bail!("{} names no page, or one of the sources", path.display());
        }
        named += pages.len();
    }
    println!("{named} times a page is named by its path, and is there");
    Ok(())
}

fn completions(prefix: &Path) -> Result<()> {
    for (shell, path) in install::COMPLETIONS {
        command::run(Command::new(shell).arg("-n").arg(prefix.join(path)))?;
    }
    println!("{} shells parse their completions", install::COMPLETIONS.len());
    Ok(())
}

/// Every command of the program has its page, and every flag of the command is in it.
fn manuals(prefix: &Path) -> Result<()> {
    let rustbox = prefix.join("bin/rustbox");
    let pages = files(&prefix.join("share/man/man1"), "1")?;
    let mut flags = 0;
    for page in &pages {
        let stem = page.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(page).with_context(|| format!("read {}", page.display()))?;
        let text = text.replace("\\-", "-");
        // A command has hyphens in its name, and so has the page of a command's command.
        let words: Vec<&str> = stem.split('-').skip(1).collect();
        let help = [vec![words.join("-")], words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()]
            .into_iter()
            .map(|words| words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>())
            .find_map(|words| help(&rustbox, &words));
        let help = help.with_context(|| format!("{stem}.1 is the page of no command"))?;
        for flag in help.split_ascii_whitespace().filter(|word| word.starts_with("--") && word.len() > 2) {
            let name = flag.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            let name = name.split(['=', '[', '`', ',', ')']).next().unwrap_or(name);
            if !text.contains(name) {
                bail!("{stem}.1 does not have {name}");
            }
            flags += 1;
        }
    }
    if pages.len() < 10 || flags < 100 {
        bail!("{} pages with {flags} flags: they are not looked at any more", pages.len());
    }
    println!("{} manual pages have every flag of their commands", pages.len());
    Ok(())
}

/// What a command says about itself; none where there is no such command.
fn help(rustbox: &Path, words: &[String]) -> Option<String> {
    let output = Command::new(rustbox).args(words).arg("--help").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn files(directory: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>();
    let mut paths = paths.with_context(|| format!("list {}", directory.display()))?;
    paths.retain(|path| path.extension().is_some_and(|found| found == ending));
    paths.sort();
    if paths.is_empty() { bail!("{} has no *.{ending}", directory.display()) } else { Ok(paths) }
}
