//! Makes the root, and puts into it what is tried there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;
use crate::{apt, command, install};

/// What the runbooks' commands need, besides what every Debian has.
const PACKAGES: &str = "systemd,systemd-sysv,jq,procps,psmisc";
/// What nobody reads in a virtual machine, and which would be half of it.
const LEFT_OUT: [&str; 5] =
    ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/i18n/*", "/usr/share/zoneinfo/*"];
/// The units that an operator enables.
const ENABLED: [&str; 5] = [
    "rustbox.service",
    "audit-rustbox.timer",
    "metrics-rustbox.service",
    "prepare-rustbox.service",
    "var-lib-rustbox-boxes.mount",
];
/// What would wait for hardware that the guest does not have, or for a network.
const MASKED: [&str; 6] = [
    "serial-getty@ttyS0.service",
    "console-getty.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "systemd-networkd-wait-online.service",
];

/// A root into which this rustbox is installed.
pub(super) fn installed(workspace: &Workspace) -> Result<PathBuf> {
    let directory = workspace.target.join("debian");
    let base = base(&directory)?;
    let root = directory.join("root");
    remove(&root)?;
    command::run(Command::new("cp").args(["--archive", "--reflink=auto"]).arg(&base).arg(&root))?;
    install::run(workspace, &install::Arguments { prefix: "/usr/local".into(), destdir: root.clone() })?;
    add_tests(workspace, &root)?;
    set_up(&root)?;
    Ok(root)
}

/// Debian as it is packaged, made once.
fn base(directory: &Path) -> Result<PathBuf> {
    let base = directory.join("base");
    if !base.exists() {
        let release = apt::codename()?;
        println!("making a small Debian {release}");
        fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
        let partial = directory.join("base.partial");
        remove(&partial)?;
        let mut make = Command::new("mmdebstrap");
        make.args(["--quiet", "--mode=root", "--variant=minbase", "--include", PACKAGES]);
        make.args(LEFT_OUT.map(|path| format!("--dpkgopt=path-exclude={path}")));
        command::run(make.arg(release).arg(&partial).arg("http://deb.debian.org/debian"))?;
        fs::rename(&partial, &base).with_context(|| format!("move {}", partial.display()))?;
    }
    Ok(base)
}

/// What an administrator does after an installation, by systemd's own tools; and what they made.
fn set_up(root: &Path) -> Result<()> {
    let of = |program: &str, words: &[&str]| {
        let mut command = Command::new(program);
        command.arg("--root").arg(root).args(words);
        command
    };
    command::run(&mut of("systemd-sysusers", &[]))?;
    command::run(&mut of("systemd-tmpfiles", &["--create", "--prefix=/var/lib/rustbox", "--prefix=/run/rustbox"]))?;
    command::run(of("systemctl", &["enable"]).args(ENABLED))?;
    command::run(of("systemctl", &["mask"]).args(MASKED))?;
    command::run(&mut of("systemctl", &["set-default", "guest.target"]))?;
    let users = fs::read_to_string(root.join("etc/passwd")).context("read the root's users")?;
    if !users.lines().any(|line| line.starts_with("rustbox-box:x:70000:70000:")) {
        bail!("systemd-sysusers made no rustbox-box: {users}");
    }
    for unit in ENABLED {
        let state = command::output(&mut of("systemctl", &["is-enabled", unit]))?;
        if state.trim() != "enabled" {
            bail!("{unit} is {state}");
        }
    }
    println!("systemd's tools made the user and enabled {} units in the root", ENABLED.len());
    Ok(())
}

/// The scripts that are run in it, and a unit that runs one when everything is up.
fn add_tests(workspace: &Workspace, root: &Path) -> Result<()> {
    let guest = root.join("guest");
    fs::create_dir_all(&guest).with_context(|| format!("create {}", guest.display()))?;
    let tests = workspace.root.join("tests");
    for from in ["gameday", "booted"].map(|name| tests.join(name)) {
        command::run(Command::new("cp").arg("--recursive").arg(from.join(".")).arg(&guest))?;
    }
    command::run(Command::new("cp").arg("--recursive").arg(workspace.root.join("docs/runbooks")).arg(&guest))?;
    for unit in ["guest.service", "guest.target"] {
        let to = root.join("etc/systemd/system").join(unit);
        fs::rename(guest.join(unit), &to).with_context(|| format!("move {unit} to {}", to.display()))?;
    }
    // A machine without an id boots for the first time, and then systemd enables whatever it finds.
    fs::write(root.join("etc/machine-id"), "72757374626f7800000000000000cafe\n").context("write the machine's id")
}

fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}
