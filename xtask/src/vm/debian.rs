//! A Debian root as the guest's, with its own systemd as pid 1.

use std::path::Path;

use anyhow::{Context, Result};

use super::cpio::{Archive, Node};
use super::image::{self, Image};
use super::kernel;

/// Nothing on the console but what the job says; no journal on it, since it is slow.
const APPEND: &str = "systemd.show_status=no systemd.log_target=journal quiet";

/// Writes the archive into `directory`. The root has a job in `/guest`, and a unit that runs it.
pub(super) fn write(directory: &Path, root: &Path) -> Result<Image> {
    let marker = image::marker()?;
    let mut archive = Archive::default();
    archive.add_tree(root).with_context(|| format!("list {}", root.display()))?;
    archive.add("usr/bin/busybox", Node::Copy(kernel::busybox(directory)?));
    // The kernel opens it for pid 1 before anything is mounted.
    archive.add("dev/console", Node::Device(5, 1));
    archive.add("init", Node::Program(include_bytes!("first-init.sh").to_vec()));
    archive.add("guest/init", Node::Link("/lib/systemd/systemd".to_owned()));
    archive.add("guest/marker", Node::Text(format!("{marker}\n").into_bytes()));
    let path = directory.join("debian");
    image::save(&archive, &path)?;
    Ok(Image { path, marker, append: APPEND })
}
