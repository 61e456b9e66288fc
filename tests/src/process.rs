//! Processes of the host, read from `/proc` by the tests themselves.

use std::path::{Path, PathBuf};

/// One process or zombie, as the kernel showed it.
#[derive(Clone, Debug)]
pub struct SeenProcess {
    /// Process id.
    pub pid: u32,
    /// Parent.
    pub ppid: u32,
    /// State letter.
    pub state: char,
    /// When it began, in clock ticks since boot.
    pub starttime_ticks: u64,
    /// Name of the main thread; shown, never believed.
    pub comm: String,
    /// Session.
    pub session: u32,
    /// Real uid.
    pub uid: u32,
    /// The text of `/proc/PID/cgroup`.
    pub cgroup: String,
    /// Inode number of its PID namespace; none for a zombie.
    pub pid_namespace: Option<u64>,
    /// What it executes; none for a zombie and a kernel thread.
    pub exe: Option<PathBuf>,
    /// Argument list, NUL separated.
    pub cmdline: Vec<u8>,
    /// Environment, NUL separated.
    pub environ: Vec<u8>,
}

impl SeenProcess {
    /// The process with this pid, if there still is one.
    #[must_use]
    pub fn read(pid: u32) -> Option<Self> {
        let directory = PathBuf::from(format!("/proc/{pid}"));
        let stat = std::fs::read(directory.join("stat")).ok()?;
        let stat = String::from_utf8_lossy(&stat).into_owned();
        // The name may hold anything, `)` and newlines included: the last one ends it.
        let (head, tail) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
        let number = |at: usize| fields.get(at).and_then(|f| f.parse().ok());
        let status = std::fs::read_to_string(directory.join("status")).unwrap_or_default();
        let uid = status.lines().find_map(|l| l.strip_prefix("Uid:")).and_then(|l| l.split_ascii_whitespace().next());
        let bytes = |name: &str| std::fs::read(directory.join(name)).unwrap_or_default();
        Some(Self {
            pid,
            ppid: number(1)?,
            state: fields.first()?.chars().next()?,
            starttime_ticks: fields.get(19).and_then(|f| f.parse().ok())?,
            comm: head.split_once('(').map(|(_, comm)| comm.to_owned()).unwrap_or_default(),
            session: number(3)?,
            uid: uid.and_then(|u| u.parse().ok()).unwrap_or(u32::MAX),
            cgroup: String::from_utf8_lossy(&bytes("cgroup")).into_owned(),
            pid_namespace: namespace(&directory.join("ns/pid")),
            exe: std::fs::read_link(directory.join("exe")).ok(),
            cmdline: bytes("cmdline"),
            environ: bytes("environ"),
        })
    }

    /// Whether the kernel shows it in a cgroup directory of this name, also when that is already removed.
    #[must_use]
    pub fn is_in_cgroup(&self, name: &str) -> bool {
        in_cgroup(&self.cgroup, name)
    }

    /// Whether it is dead and only waits to be reaped.
    #[must_use]
    pub fn is_zombie(&self) -> bool {
        self.state == 'Z' || self.state == 'X'
    }
}

/// Whether the text of a `/proc/PID/cgroup` names a directory of this name.
pub(crate) fn in_cgroup(text: &str, name: &str) -> bool {
    text.split(['/', '\n']).any(|part| part.strip_suffix(" (deleted)").unwrap_or(part) == name)
}

/// Inode number of a namespace link: `pid:[4026531836]`.
pub(crate) fn namespace(link: &Path) -> Option<u64> {
    let text = std::fs::read_link(link).ok()?;
    text.to_str()?.rsplit_once('[')?.1.trim_end_matches(']').parse().ok()
}

/// Every process of the host that can be read.
#[must_use]
pub fn scan() -> Vec<SeenProcess> {
    pids().into_iter().filter_map(SeenProcess::read).collect()
}

/// Every pid of the host.
pub(crate) fn pids() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("/proc");
    entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect()
}
