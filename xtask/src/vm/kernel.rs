//! Fetches Debian's kernel and busybox, and makes sure that the kernel can do what a box needs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::apt;

/// The package that always depends on the newest kernel for virtual machines.
const KERNEL_PACKAGE: &str = "linux-image-cloud-amd64";

/// What has to be built in, since the guest loads no modules.
const NEEDED: &[&str] = &[
    "BLK_DEV_INITRD",
    "SERIAL_8250_CONSOLE",
    "DEVTMPFS",
    "TMPFS",
    "CGROUPS",
    "MEMCG",
    "CGROUP_PIDS",
    "CPUSETS",
    "CFS_BANDWIDTH",
    "PID_NS",
    "NET_NS",
    "IPC_NS",
    "UTS_NS",
    "USER_NS",
    "TIME_NS",
    "SECCOMP_FILTER",
    "POSIX_MQUEUE",
    "AUDITSYSCALL",
    "KEYS",
    "BINFMT_SCRIPT",
];

/// Which of Debian's kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Choice {
    /// The one of the release.
    Stable,
    /// The one of its backports, from Debian's own server, without a change to this machine's sources.
    Backports,
}

/// What the guest boots from.
#[derive(Debug)]
pub(super) struct Kernel {
    /// The compressed kernel.
    pub(super) image: PathBuf,
    /// The model of its CPU, in QEMU's words.
    pub(super) cpu: &'static str,
}

/// The kernel below `directory`, fetched if it is not there yet.
pub(super) fn fetch(directory: &Path, choice: Choice) -> Result<Kernel> {
    let image = directory.join(match choice {
        Choice::Stable => "vmlinuz",
        Choice::Backports => "vmlinuz-backports",
    });
    if !image.is_file() {
        let source = match choice {
            Choice::Stable => apt::Source::ours(),
            Choice::Backports => apt::Source::backports(&directory.join("backports"))?,
        };
        let package = source.real_package(KERNEL_PACKAGE, "linux-image-")?;
        source.unpack(&package, directory)?;
        let boot = directory.join("unpacked/boot");
        check_configuration(&find(&boot, "config-")?)?;
        move_file(&find(&boot, "vmlinuz-")?, &image)?;
        clear(directory)?;
    }
    // The memory allocator of Linux 6.12 uses `cmpxchg16b` where the CPU has it, and QEMU 7.2 of the stable release
    // returns from that with a stack pointer's bits in the flags: the kernel dies of it sooner or later.
    let cpu = match choice {
        Choice::Stable => "max",
        Choice::Backports => "max,-cx16",
    };
    Ok(Kernel { image, cpu })
}

/// Debian's static busybox below `directory`, fetched if it is not there yet.
pub(super) fn busybox(directory: &Path) -> Result<PathBuf> {
    let program = directory.join("busybox");
    if !program.is_file() {
        apt::Source::ours().unpack("busybox-static", directory)?;
        move_file(&directory.join("unpacked/bin/busybox"), &program)?;
        clear(directory)?;
    }
    Ok(program)
}

fn check_configuration(config: &Path) -> Result<()> {
    let text = fs::read_to_string(config).with_context(|| format!("read {}", config.display()))?;
    let missing = missing(&text);
    if !missing.is_empty() {
        bail!("{} does not build in CONFIG_{}", config.display(), missing.join(", CONFIG_"));
    }
    Ok(())
}

fn missing(config: &str) -> Vec<&'static str> {
    let built_in = |option: &str| config.lines().any(|line| line == format!("CONFIG_{option}=y"));
    NEEDED.iter().copied().filter(|option| !built_in(option)).collect()
}

fn find(directory: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))?;
    let mut paths = entries.filter_map(|entry| entry.ok().map(|e| e.path()));
    let wanted = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
    paths.find(wanted).with_context(|| format!("find {prefix}* in {}", directory.display()))
}

fn move_file(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("move {} to {}", from.display(), to.display()))
}

fn clear(directory: &Path) -> Result<()> {
    let unpacked = directory.join("unpacked");
    fs::remove_dir_all(&unpacked).with_context(|| format!("remove {}", unpacked.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_with_a_module_in_place_of_a_built_in_option_is_refused() {
        let config: String = NEEDED.iter().map(|option| format!("CONFIG_{option}=y\n")).collect();
        assert_eq!(missing(&config), Vec::<&str>::new());
        let config =
            config.replace("CONFIG_TMPFS=y", "CONFIG_TMPFS=m").replace("CONFIG_KEYS=y", "# CONFIG_KEYS is not set");
        assert_eq!(missing(&config), ["TMPFS", "KEYS"]);
    }
}
