//! A small Debian into which rustbox is installed: tried as a container's root, and booted with systemd.
//!
//! Theory of operation. `mmdebstrap` makes a minimal root with systemd once, below the target directory; each call works on a
//! copy. `cargo xtask install` goes into that, systemd's own tools enable the units and make user and directories in it,
//! and a script tries the programs in it, in a mount namespace in which it is the root. Then the same root becomes the
//! virtual machine's: systemd boots it, and a unit of ours runs the game days whose commands need a booted systemd.

mod root;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use crate::workspace::Workspace;
use crate::{apt, command, vm};

/// Ten times what it takes on an emulated CPU that is its own.
const BOOT_LIMIT: Duration = Duration::from_secs(600);

/// Arguments of `cargo xtask debian`.
#[derive(Debug, Default, Args)]
pub(crate) struct Arguments {
    /// Try the root as that of a container only, and boot nothing.
    #[arg(long)]
    no_boot: bool,
}

/// Installs, tries, boots.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    apt::ensure_program("mmdebstrap", "mmdebstrap")?;
    let root = root::installed(workspace)?;
    in_a_container(&root)?;
    if arguments.no_boot {
        println!("skipped: booted systemd: --no-boot");
        return Ok(());
    }
    let end = vm::boot_debian(workspace, &root, BOOT_LIMIT)?;
    if end != 0 { bail!("the booted Debian's job ended with {end}") } else { Ok(()) }
}

/// The root as a container has it: nothing of the host's is there but the kernel's own file systems.
fn in_a_container(root: &Path) -> Result<()> {
    // `pivot_root` needs a root that is a mount point, which a directory becomes by being bound to itself.
    const ENTER: &str = "\
        mount --rbind \"$1\" \"$1\" && mount -t proc proc \"$1/proc\" && mount --rbind /sys \"$1/sys\" && \
        mount --rbind /dev \"$1/dev\" && cd \"$1\" && exec chroot . /bin/bash /guest/container.sh";
    let mut enter = Command::new("unshare");
    enter.args(["--mount", "--propagation", "private", "sh", "-c", ENTER, "sh"]).arg(root);
    enter.env_clear().env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
    command::run(&mut enter)
}
