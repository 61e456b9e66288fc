//! Removing a box's directories, and being sure that they are the box's.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Dir as Listing, FileType, Mode, OFlags, fstat, openat, statat, unlinkat};
use rustix::io::Errno;

use crate::attr::Dir;
use crate::error::{Error, RemoveError, RemoveFailure};
use crate::group::BoxCgroup;
use crate::layout::Root;
use crate::wait::pause;

/// First and longest time between two attempts at a busy directory.
const RETRY: (Duration, Duration) = (Duration::from_micros(200), Duration::from_millis(8));

/// How deep children are looked for. Boxes have none; an operator's experiment has one or two levels.
const MAX_DEPTH: usize = 32;

/// What a directory's name stands for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// The directory that we have open.
    Ours,
    /// Nothing.
    Gone,
    /// Another directory, which somebody made after ours was removed.
    Other,
}

impl BoxCgroup {
    /// Removes the directories, the primary last, retrying busy ones until `deadline` is over.
    ///
    /// A directory that is gone already is fine. One that was replaced by another of the same name is left alone.
    /// Two looks at the primary's name and one `rmdir` per directory, and the closing of everything that is open.
    ///
    /// # Errors
    /// Every directory that is still there is named, with its own cause.
    pub fn remove(self, deadline: Duration) -> Result<(), RemoveError> {
        let ends = Instant::now() + deadline;
        // While the primary is ours, and locked, nobody else makes directories of this name.
        let all_ours = self.name_of(self.primary()).is_ok_and(|name| name == Name::Ours);
        let mut failures = Vec::new();
        for dir in self.dirs.iter().rev() {
            let name = if all_ours { Ok(Name::Ours) } else { self.name_of(dir) };
            let removed = match name {
                Ok(Name::Ours) => self.remove_dir(dir, ends),
                Ok(Name::Gone | Name::Other) => {
                    tracing::debug!(path = %dir.path.display(), "removed by somebody else");
                    Ok(())
                }
                // What cannot be looked at is not removed, and not called so.
                Err(error) => Err(io::Error::other(error)),
            };
            failures.extend(removed.err().map(|source| RemoveFailure { path: dir.path.clone(), source }));
        }
        if failures.is_empty() { Ok(()) } else { Err(RemoveError { failures }) }
    }

    fn remove_dir(&self, dir: &Dir, ends: Instant) -> io::Result<()> {
        let Some(root) = self.layout.roots.get(dir.root) else { return Ok(()) };
        let name = self.id.cgroup_name();
        let mut retry = RETRY.0;
        let mut first = remove_empty(root, &name);
        loop {
            match first {
                // rmdir of a cgroup with members or children is EBUSY; other file systems say ENOTEMPTY.
                Err(e) if is_busy(&e) => {
                    let children = remove_children(dir.fd.as_fd(), 0);
                    first = remove_empty(root, &name);
                    if first.is_ok() || Instant::now() >= ends {
                        return first;
                    }
                    if let Err(error) = children {
                        tracing::debug!(%error, path = %dir.path.display(), "children not removed yet");
                    }
                    let _interrupted = pause(retry.min(ends.saturating_duration_since(Instant::now())));
                    retry = RETRY.1.min(retry * 2);
                }
                other => return other,
            }
        }
    }

    /// What the name of one of our directories stands for.
    pub(crate) fn name_of(&self, dir: &Dir) -> Result<Name, Error> {
        let Some(root) = self.layout.roots.get(dir.root) else { return Ok(Name::Gone) };
        let failed = |e: Errno| Error::StatDir { path: dir.path.clone(), source: e.into() };
        let named = match statat(root.dir()?, self.id.cgroup_name(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(Name::Gone),
            named => named.map_err(failed)?,
        };
        let opened = fstat(&dir.fd).map_err(failed)?;
        let same = (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino);
        Ok(if same { Name::Ours } else { Name::Other })
    }
}

fn is_busy(error: &io::Error) -> bool {
    use rustbox_core::planted::{Bug, is};
    error.kind() == io::ErrorKind::DirectoryNotEmpty
        || error.kind() == io::ErrorKind::ResourceBusy && !is(Bug::RetryOnlyNotEmpty)
}

/// One `rmdir` below a root; nothing there is fine.
pub(crate) fn remove_empty(root: &Root, name: &str) -> io::Result<()> {
    let dir = root.dir().map_err(io::Error::other)?;
    match unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Removes the cgroups below a directory, deepest first. Members of one keep it, and it is reported.
fn remove_children(dir: BorrowedFd<'_>, depth: usize) -> io::Result<()> {
    if depth >= MAX_DEPTH {
        return Err(Errno::LOOP.into());
    }
    for entry in Listing::read_from(dir)? {
        let entry = entry?;
        let name: &CStr = entry.file_name();
        if entry.file_type() != FileType::Directory || name == c"." || name == c".." {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let child = openat(dir, name, flags, Mode::empty())?;
        remove_children(child.as_fd(), depth + 1)?;
        unlinkat(dir, name, AtFlags::REMOVEDIR)?;
    }
    Ok(())
}
