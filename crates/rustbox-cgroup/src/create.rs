//! Making a box's cgroups, all or none.
//!
//! The primary directory comes first and goes last. Whoever finds *any* directory of a box then finds the primary too,
//! and on it the lock: without a primary there is no live box. The other way round, a collector that looks in the
//! middle of a creation would see directories that nobody has locked, and remove them from under us.
//! Between `mkdir` and `flock` of the primary a collector can be faster; then the lock is busy or the directory gone,
//! and the creation begins anew.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustbox_core::{AppliedControl, BoxId, Limits, Mode};
use rustix::fs::{FlockOperation, Mode as FileMode, OFlags, flock, mkdirat, openat};
use rustix::io::Errno;

use crate::attr::{Dir, TASKS};
use crate::error::{Error, RemoveError};
use crate::group::{BoxCgroup, Files, Origin};
use crate::hierarchies::{Hierarchies, host_has_swap, swap_missing};
use crate::layout::{Control, ControlSet, Layout, Root, Version, wanted};
use crate::plan::{Absent, Setting, settings};
use crate::wait::pause;

/// How often a creation begins anew because a collector was faster. Each time it has to hit the few microseconds
/// between `mkdir` and `flock`.
const ATTEMPTS: u32 = 16;
/// Pause before another attempt where a directory is in the way, which is mostly there to stay.
const IN_THE_WAY: Duration = Duration::from_millis(1);

/// Whether a collector took the directory for a dead box's, before it was locked.
fn is_collected(error: &Error) -> bool {
    let kept = matches!(error, Error::UndoCreate { undo, .. } if !undo.failures.is_empty());
    !kept && (error.is_gone() || matches!(error, Error::LockBusy { .. }))
}

impl Hierarchies {
    /// Makes the box's directories, locks them, writes the limits and reads every one back.
    ///
    /// In [`Mode::Strict`] a missing control refuses; in [`Mode::Permissive`] it is left out, and
    /// [`BoxCgroup::applied`] does not name it.
    ///
    /// The README has the number of system calls: mkdir, open and flock for each directory; open, write, read and
    /// close for each of three limits; and the files that stay open.
    ///
    /// # Errors
    /// [`Error::ControlsMissing`] before anything is made. [`Error::Exists`] when a directory is there already.
    /// After any other error, too, everything that this call made is removed again; what could not be removed comes as
    /// [`Error::UndoCreate`] together with the first error.
    pub fn create(&self, id: &BoxId, limits: &Limits, mode: Mode) -> Result<BoxCgroup, Error> {
        if mode == Mode::Strict {
            let controls = self.missing(limits);
            if !controls.is_empty() {
                return Err(Error::ControlsMissing { controls });
            }
        }
        self.layout.enable_controllers(limits)?;
        let mut attempt = 1;
        loop {
            match self.create_once(id, limits, mode) {
                Err(error) if attempt < ATTEMPTS && is_collected(&error) => {
                    tracing::debug!(box_id = %id, attempt, "somebody collected the cgroups that were being made");
                    attempt += 1;
                }
                // A collector that finds a box half gone makes its first directory to hold the name, and removes it at once.
                Err(Error::Exists { path }) if attempt < ATTEMPTS => {
                    tracing::debug!(box_id = %id, attempt, path = %path.display(), "there is a cgroup in the way");
                    attempt += 1;
                    pause(IN_THE_WAY)?;
                }
                created => return created,
            }
        }
    }

    fn create_once(&self, id: &BoxId, limits: &Limits, mode: Mode) -> Result<BoxCgroup, Error> {
        let mut dirs = Vec::with_capacity(4);
        let made = make_dirs(&self.layout, id, limits, &mut dirs);
        let mut group = BoxCgroup {
            layout: Arc::clone(&self.layout),
            id: id.clone(),
            origin: Origin::Created,
            dirs,
            attach: Vec::new(),
            applied: Vec::new(),
            files: Files::new(),
        };
        match made.and_then(|()| group.fill(limits, mode)) {
            Ok(()) => {
                tracing::debug!(box_id = %id, "cgroups created");
                Ok(group)
            }
            Err(first) => Err(undo(group, first)),
        }
    }
}

/// Removes what a failed creation made. It never held a process, so there is nothing to wait for.
fn undo(group: BoxCgroup, first: Error) -> Error {
    if group.dirs.is_empty() {
        return first;
    }
    match group.remove(std::time::Duration::ZERO) {
        Ok(()) => first,
        Err(undo) => Error::UndoCreate { first: Box::new(first), undo },
    }
}

fn make_dirs(layout: &Layout, id: &BoxId, limits: &Limits, dirs: &mut Vec<Dir>) -> Result<(), Error> {
    let name = id.cgroup_name();
    for index in layout.used(limits) {
        let Some(root) = layout.roots.get(index) else { continue };
        let path = root.path.join(&name);
        mkdirat(root.dir()?, name.as_str(), FileMode::from_raw_mode(0o755)).map_err(|e| match e {
            Errno::EXIST => Error::Exists { path: path.clone() },
            other => Error::MakeDir { path: path.clone(), source: other.into() },
        })?;
        dirs.push(open_made(root, index, &name, path)?);
    }
    Ok(())
}

/// Opens and locks a directory that was just made; when that fails it is removed here, since nobody else knows of it.
fn open_made(root: &Root, index: usize, name: &str, path: PathBuf) -> Result<Dir, Error> {
    let opened = open_dir(root, index, name, path.clone()).and_then(|dir| {
        lock_made(&dir)?;
        Ok(dir)
    });
    opened.map_err(|first| match crate::remove::remove_empty(root, name) {
        Ok(()) => first,
        Err(source) => {
            let failures = vec![crate::error::RemoveFailure { path, source }];
            Error::UndoCreate { first: Box::new(first), undo: RemoveError { failures } }
        }
    })
}

/// How long somebody who only looks whether the box is alive may be in the way of its lock.
const LOOKERS: Duration = Duration::from_millis(200);

/// Locks a directory that was just made. Nobody can own it yet, but somebody may be looking at it, and a look is
/// a lock for an instant. A collector that took it for dead removes it, and then the creation fails.
fn lock_made(dir: &Dir) -> Result<(), Error> {
    let ends = Instant::now() + LOOKERS;
    loop {
        match flock(&dir.fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK) if Instant::now() < ends => pause(Duration::from_millis(1))?,
            Err(Errno::WOULDBLOCK) => return Err(Error::LockBusy { path: dir.path.clone() }),
            Err(other) => return Err(Error::Lock { path: dir.path.clone(), source: other.into() }),
        }
    }
}

/// Opens a box's directory below a root. Readable, since `flock` refuses an `O_PATH` descriptor.
pub(crate) fn open_dir(root: &Root, index: usize, name: &str, path: PathBuf) -> Result<Dir, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(root.dir()?, name, flags, FileMode::empty()) {
        Ok(fd) => Ok(Dir { root: index, version: root.version, path, fd }),
        Err(e) => Err(Error::OpenDir { path, source: e.into() }),
    }
}

impl Layout {
    /// Hands the controllers that these limits need down to the children of the v2 root, where that is not done yet.
    ///
    /// Read anew for each box: a service manager that reloads may have taken them away again.
    fn enable_controllers(&self, limits: &Limits) -> Result<(), Error> {
        const SUBTREE_CONTROL: &str = "cgroup.subtree_control";
        let Some((index, root)) = self.roots.iter().enumerate().find(|(_, root)| root.version == Version::V2) else {
            return Ok(());
        };
        let on_v2 = |control: &Control| *control != Control::CpuAcct && self.home(*control) == Some(index);
        let needed: Vec<Control> = wanted(limits).filter(on_v2).collect();
        if needed.is_empty() {
            return Ok(());
        }
        let dir = open_dir(root, index, ".", root.path.clone())?;
        let enabled = dir.read(SUBTREE_CONTROL, |text| Some(ControlSet::from_words(text)))?;
        let lacking = needed.iter().filter(|control| !enabled.contains(**control));
        let controllers = lacking.map(|control| format!("+{}", control.name())).collect::<Vec<_>>().join(" ");
        if controllers.is_empty() {
            return Ok(());
        }
        dir.write(SUBTREE_CONTROL, &controllers).map_err(|error| {
            if let Error::WriteAttr { path, value, source, .. } = error {
                Error::EnableControllers { path, controllers: value, source }
            } else {
                error
            }
        })?;
        tracing::info!(root = %root.path.display(), controllers, "enabled cgroup controllers for boxes");
        Ok(())
    }
}

impl BoxCgroup {
    /// Writes the limits into fresh directories and opens what stays open.
    fn fill(&mut self, limits: &Limits, mode: Mode) -> Result<(), Error> {
        let mems = self.root_mems(limits)?;
        for setting in settings(&self.layout, limits, mems) {
            let Some(dir) = self.dirs.iter().find(|dir| dir.root == setting.root) else { continue };
            if let Some(applied) = apply(dir, &setting, mode, Held::Not)? {
                self.applied.push(applied);
            }
        }
        if let Some(accounting) = self.cpu_accounting(mode)? {
            self.applied.push(accounting);
        }
        if let Some(dir) = self.v2() {
            // Opened now so that killing and waiting work when no descriptor is to be had any more.
            self.files.kill.open(dir, OFlags::WRONLY)?;
            self.files.events.open(dir, OFlags::RDONLY)?;
            self.files.procs.open(dir, OFlags::RDONLY)?;
        }
        let v1 = self.dirs.iter().filter(|dir| dir.version == Version::V1);
        self.attach = v1.map(|dir| dir.open(TASKS, OFlags::WRONLY)).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// The memory nodes of the v1 cpuset root, when a cpuset is asked for.
    pub(crate) fn root_mems(&self, limits: &Limits) -> Result<Option<String>, Error> {
        let home = limits.cpuset.as_ref().and_then(|_| self.home(Control::CpuSet));
        let Some(dir) = home.filter(|dir| dir.version == Version::V1) else { return Ok(None) };
        let Some(root) = self.layout.roots.get(dir.root) else { return Ok(None) };
        let root_dir = open_dir(root, dir.root, ".", root.path.clone())?;
        root_dir.read("cpuset.mems", |text| Some(Some(text.trim_end().to_owned())))
    }

    /// Confirms that CPU time is counted, by reading it.
    fn cpu_accounting(&self, mode: Mode) -> Result<Option<AppliedControl>, Error> {
        let Some(dir) = self.home(Control::CpuAcct) else { return Ok(None) };
        let attr = if dir.version == Version::V2 { "cpu.stat" } else { "cpuacct.usage" };
        match self.cpu_usage() {
            Ok(usage) => Ok(Some(AppliedControl {
                control: "cpu_accounting".to_owned(),
                requested: "readable".to_owned(),
                read_back: format!("{} ns", usage.total_ns),
                source: dir.path.join(attr).to_string_lossy().into_owned(),
            })),
            Err(_) if mode == Mode::Permissive => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Whether a setting may be in force already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// The directory is new.
    Not,
    /// It is worth a look before the write.
    Perhaps,
}

/// Writes one setting, and reads back what the kernel made of it; only reads what is as wanted.
pub(crate) fn apply(dir: &Dir, setting: &Setting, mode: Mode, held: Held) -> Result<Option<AppliedControl>, Error> {
    let page_size = rustix::param::page_size() as u64;
    let is_held = |found: &str| setting.expect.holds(&setting.value, found, page_size);
    let look = (held == Held::Perhaps).then_some(is_held);
    let read_back = match dir.write_and_read_back(setting.attr, &setting.value, look) {
        Err(error @ Error::OpenAttr { .. }) if error.is_gone() => return absent(setting, mode, error),
        other => other?,
    };
    if !setting.expect.holds(&setting.value, &read_back, page_size) {
        let requested = setting.value.clone();
        return Err(Error::ReadBackDiffers { path: dir.path.clone(), attr: setting.attr, requested, read_back });
    }
    Ok(setting.control.map(|control| AppliedControl {
        control: control.to_owned(),
        requested: setting.value.clone(),
        read_back,
        source: dir.path.join(setting.attr).to_string_lossy().into_owned(),
    }))
}

/// A control file that is not there: harmless, a missing control, or an error.
fn absent(setting: &Setting, mode: Mode, error: Error) -> Result<Option<AppliedControl>, Error> {
    match (&setting.absent, mode) {
        (_, Mode::Permissive) => Ok(None),
        (Absent::SwapAccounting, Mode::Strict) if !host_has_swap() => Ok(None),
        (Absent::SwapAccounting, Mode::Strict) => Err(Error::ControlsMissing { controls: vec![swap_missing()] }),
        (Absent::Refuse, Mode::Strict) => Err(error),
    }
}
