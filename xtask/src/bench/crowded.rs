//! A host that is full: of idle boxes, mounts, cgroups, or processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use super::contender::Stage;
use super::killing::cgroup2;
use crate::command;

/// Programs that fill a host, compiled.
#[derive(Debug)]
pub(crate) struct Fillers {
    /// Waits for the end of its input.
    pub(crate) waits: PathBuf,
    /// Starts others, and waits with them.
    pub(crate) many: PathBuf,
}

/// What a host can be full of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crowd {
    Nothing,
    IdleBoxes(usize),
    Mounts(usize),
    Cgroups(usize),
    Processes(usize),
}

impl Crowd {
    pub(crate) fn text(self) -> String {
        match self {
            Self::Nothing => "an idle host".to_owned(),
            Self::IdleBoxes(count) => format!("{count} idle boxes"),
            Self::Mounts(count) => format!("{count} mounts"),
            Self::Cgroups(count) => format!("{count} cgroups"),
            Self::Processes(count) => format!("{count} processes"),
        }
    }
}

/// A host that is full as long as the value lives.
#[derive(Debug, Default)]
pub(crate) struct Full {
    children: Vec<Child>,
    mounts: Option<PathBuf>,
    cgroups: Option<PathBuf>,
}

impl Full {
    /// Fills the host.
    pub(crate) fn of(crowd: Crowd, stage: &Stage, fillers: &Fillers) -> Result<Self> {
        let mut full = Self::default();
        match crowd {
            Crowd::Nothing => {}
            Crowd::IdleBoxes(count) => {
                // With leases of their own: there are no more uids than a thousand on a host.
                full.start(&stage.with(&fillers.waits, "idle")?.run(&fillers.waits), count)?;
            }
            Crowd::Processes(count) => full.start(&[fillers.many.display().to_string(), count.to_string()], 1)?,
            Crowd::Mounts(count) => full.mount(&stage.directory.join("mounts"), count)?,
            Crowd::Cgroups(count) => full.make_cgroups(count)?,
        }
        Ok(full)
    }

    fn start(&mut self, words: &[String], count: usize) -> Result<()> {
        use std::io::Read;
        for _ in 0..count {
            let mut command = Command::new(words.first().map_or("", String::as_str));
            command.args(words.get(1..).unwrap_or_default());
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
            let child = command.spawn().with_context(|| format!("start {}", words.join(" ")))?;
            self.children.push(child);
        }
        for child in &mut self.children {
            let mut ready = [0; 6];
            let stdout = child.stdout.as_mut().context("a pipe from the child")?;
            stdout.read_exact(&mut ready).context("wait for a program that waits")?;
        }
        Ok(())
    }

    fn mount(&mut self, directory: &Path, count: usize) -> Result<()> {
        fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
        command::run(Command::new("mount").args(["-t", "tmpfs", "rustbox-bench"]).arg(directory))?;
        self.mounts = Some(directory.to_owned());
        command::run(Command::new("mount").arg("--make-private").arg(directory))?;
        for number in 0..count {
            let point = directory.join(number.to_string());
            fs::create_dir(&point).with_context(|| format!("make {}", point.display()))?;
            command::run(Command::new("mount").args(["-t", "tmpfs", "rustbox-bench"]).arg(&point))?;
        }
        Ok(())
    }

    fn make_cgroups(&mut self, count: usize) -> Result<()> {
        let root = cgroup2().context("no cgroup2 mount")?.join(format!("bench-{}", std::process::id()));
        fs::create_dir(&root).with_context(|| format!("make {}", root.display()))?;
        self.cgroups = Some(root.clone());
        for number in 0..count {
            fs::create_dir(root.join(number.to_string())).context("make a cgroup")?;
        }
        Ok(())
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        for child in &mut self.children {
            drop(child.stdin.take());
        }
        for child in &mut self.children {
            if let Err(error) = child.wait() {
                println!("a program that waits was not reaped: {error}");
            }
        }
        if let Some(directory) = &self.mounts
            && let Err(error) = command::run(Command::new("umount").arg("--recursive").arg(directory))
        {
            println!("mounts are left: {error:#}");
        }
        if let Some(root) = &self.cgroups {
            let below = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
            for path in below.filter(|path| path.is_dir()).chain([root.clone()]) {
                if let Err(error) = fs::remove_dir(&path) {
                    println!("{} is left: {error}", path.display());
                }
            }
        }
    }
}
