//! Boxes that are there already: finding them, and telling the dead from the living by their locks.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustbox_core::BoxId;
use rustix::fs::{Dir as Listing, FileType, FlockOperation, Mode, OFlags, flock, mkdirat, openat};
use rustix::io::Errno;

use crate::create::open_dir;
use crate::error::Error;
use crate::group::{BoxCgroup, Files, Origin};
use crate::hierarchies::Hierarchies;
use crate::remove::{Name, remove_empty};

/// What an attempt at a box's lock found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Lock {
    /// It is ours now: whoever ran the box is dead. Held until the [`BoxCgroup`] is dropped or removed.
    Acquired,
    /// Somebody holds it: the box lives, or is being collected. Nothing may be done to it.
    Busy,
    /// The directory was removed, or replaced by another of the same name, after it was opened. Open it again.
    Replaced,
}

impl Hierarchies {
    /// The boxes that have a directory in any hierarchy, by name.
    ///
    /// A name alone proves nothing: whether it is a box, and a dead one, its lock and its record tell. Names that are
    /// no box id, such as a service manager's `rustbox-audit.service`, are left out. Three or four calls per hierarchy.
    ///
    /// # Errors
    /// When a root cannot be listed.
    pub fn boxes(&self) -> Result<Vec<BoxId>, Error> {
        let mut boxes = BTreeSet::new();
        for root in self.layout.all().into_iter().filter_map(|i| self.layout.roots.get(i)) {
            let failed = |e: Errno| Error::ListDir { path: root.path.clone(), source: e.into() };
            // The root's own descriptor is O_PATH, which cannot be listed.
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let listed = openat(root.dir()?, ".", flags, Mode::empty()).and_then(Listing::new);
            for entry in listed.map_err(failed)? {
                let entry = entry.map_err(failed)?;
                if entry.file_type() == FileType::Directory
                    && let Some(id) = entry.file_name().to_str().ok().and_then(BoxId::from_cgroup_name)
                {
                    boxes.insert(id);
                }
            }
        }
        Ok(boxes.into_iter().collect())
    }

    /// Opens the cgroups of a box in whichever hierarchies it has one; none when there is no directory at all.
    ///
    /// Does not lock. One `open` per hierarchy.
    ///
    /// # Errors
    /// When a root cannot be opened, and when a directory is there and cannot be opened.
    pub fn open_existing(&self, id: &BoxId) -> Result<Option<BoxCgroup>, Error> {
        let name = id.cgroup_name();
        let mut dirs = Vec::new();
        for index in self.layout.all() {
            let Some(root) = self.layout.roots.get(index) else { continue };
            // A root that is not there says nothing about the box: only its directory may be missing.
            root.dir()?;
            match open_dir(root, index, &name, root.path.join(&name)) {
                Ok(dir) => dirs.push(dir),
                Err(error) if error.is_gone() => {}
                Err(error) => return Err(error),
            }
        }
        Ok((!dirs.is_empty()).then(|| BoxCgroup {
            layout: Arc::clone(&self.layout),
            id: id.clone(),
            origin: Origin::Found,
            dirs,
            attach: Vec::new(),
            applied: Vec::new(),
            files: Files::new(),
        }))
    }
}

impl BoxCgroup {
    /// Tries to lock every directory of a box that [`Hierarchies::open_existing`] found; never waits.
    ///
    /// All of them, since a box that was made with another backend has its primary elsewhere. When the primary is
    /// missing it is made, so that nobody can create the box anew while it is being collected.
    ///
    /// # Errors
    /// When `flock`, `mkdir` or `stat` fail for another reason than the three answers.
    pub fn lock(&mut self) -> Result<Lock, Error> {
        let primary = self.layout.primary();
        let adopted = self.primary().root != primary;
        if adopted && self.make_primary(primary)? == Lock::Busy {
            return Ok(Lock::Busy);
        }
        let lock = self.lock_all();
        if adopted && !matches!(lock, Ok(Lock::Acquired)) {
            let made = self.dirs.remove(0);
            if let Some(root) = self.layout.roots.get(made.root)
                && let Err(error) = remove_empty(root, &self.id.cgroup_name())
            {
                tracing::warn!(%error, path = %made.path.display(), "could not remove the directory again");
            }
        }
        lock
    }

    fn make_primary(&mut self, index: usize) -> Result<Lock, Error> {
        let Some(root) = self.layout.roots.get(index) else { return Ok(Lock::Acquired) };
        let name = self.id.cgroup_name();
        let path = root.path.join(&name);
        match mkdirat(root.dir()?, name.as_str(), Mode::from_raw_mode(0o755)) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(Lock::Busy),
            Err(e) => return Err(Error::MakeDir { path, source: e.into() }),
        }
        self.dirs.insert(0, open_dir(root, index, &name, path)?);
        Ok(Lock::Acquired)
    }

    fn lock_all(&self) -> Result<Lock, Error> {
        for (taken, dir) in self.dirs.iter().enumerate() {
            match flock(&dir.fd, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => {
                    self.unlock(taken)?;
                    return Ok(Lock::Busy);
                }
                Err(e) => return Err(Error::Lock { path: dir.path.clone(), source: e.into() }),
            }
        }
        for dir in &self.dirs {
            if self.name_of(dir)? != Name::Ours {
                self.unlock(self.dirs.len())?;
                return Ok(Lock::Replaced);
            }
        }
        Ok(Lock::Acquired)
    }

    /// Gives the first locks back: a lock on half a box would stand in the way of the one who has the rest.
    fn unlock(&self, count: usize) -> Result<(), Error> {
        for dir in self.dirs.iter().take(count) {
            flock(&dir.fd, FlockOperation::Unlock)
                .map_err(|e| Error::Lock { path: dir.path.clone(), source: e.into() })?;
        }
        Ok(())
    }
}
