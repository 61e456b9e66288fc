//! The lock of a box, which is also its record: `<state>/boxes/<id>/lock`.
//!
//! The file appears under its name complete and locked: it is written and locked under another name
//! and renamed. Who finds it and cannot lock it has found a live box. Who can lock it has found a dead
//! one, whatever the text says; the text only tells what to collect.

use std::fs::File;
use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustbox_core::{BoxId, Record};
use rustix::fs::{
    AtFlags, FlockOperation, Mode, OFlags, RawDir, RenameFlags, SeekFrom, flock, fstat, mkdirat, openat, renameat_with,
    seek, statat, unlinkat,
};
use rustix::io::Errno;

use crate::error::Error;
use crate::host::Host;
use crate::keeper::{Keeper, TAG_LOCK};

/// Name of the lock inside the box's directory.
pub(crate) const LOCK: &str = "lock";
/// Name of the record with the marks, written once the init is there.
pub(crate) const MARKS: &str = "marks";
/// Name under which the marks are written.
pub(crate) const NEW_MARKS: &str = "marks.new";
/// Name of the file by which `rustbox kill` says that it was an operator.
pub(crate) const KILL_REQUEST: &str = "kill-request";

/// Name of the file that keeps a dead box from being collected unasked: somebody must look first.
pub(crate) const KEPT: &str = "kept";

/// How often a race with somebody who removes the directory is tried again.
const ATTEMPTS: u32 = 64;

const OPEN_DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const OPEN_FILE: OFlags = OFlags::RDWR.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);
const NEW_FILE: OFlags = OPEN_FILE.union(OFlags::CREATE).union(OFlags::EXCL);
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// The lock of a live box, held by this process.
#[derive(Debug)]
pub(crate) struct BoxLock {
    id: BoxId,
    directory: OwnedFd,
    file: File,
}

/// What an attempt to take a box's lock found.
#[derive(Debug)]
pub(crate) enum Taken {
    /// It is ours, and new.
    Ours(BoxLock),
    /// Somebody alive has it.
    Busy { owner: Option<u32> },
    /// Its owner is dead and has left things to collect.
    Stale(BoxLock),
}

/// What an attempt to make a lock came to.
enum Made {
    Lock(BoxLock),
    Existed(OwnedFd),
    Raced,
}

impl BoxLock {
    /// Takes the lock of a box that does not exist yet, with its record.
    pub(crate) fn take(host: &Host, record: &Record, keeper: &Keeper) -> Result<Taken, Error> {
        for _ in 0..ATTEMPTS {
            if let Some(taken) = Self::try_take(host, record, keeper)? {
                return Ok(taken);
            }
        }
        Ok(Taken::Busy { owner: None })
    }

    /// One attempt; none when somebody removed the directory under our feet. What a failed attempt made
    /// is removed again.
    fn try_take(host: &Host, record: &Record, keeper: &Keeper) -> Result<Option<Taken>, Error> {
        let id = &record.box_id;
        let failed = |errno: Errno| Error::Open { path: path_of(host, id), source: errno.into() };
        let leftovers: &[&str] = match mkdirat(host.boxes(), id.as_str(), Mode::RWXU) {
            // Only a request can have come since: the rest is written by those who hold the lock.
            Ok(()) => &[KILL_REQUEST],
            Err(Errno::EXIST) => &[KILL_REQUEST, MARKS, NEW_MARKS, KEPT],
            Err(errno) => return Err(failed(errno)),
        };
        let made = match openat(host.boxes(), id.as_str(), OPEN_DIRECTORY, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => Err(failed(errno)),
            Ok(directory) => Self::make(host, record, keeper, directory, leftovers),
        };
        if made.is_err() {
            // Refused while somebody else has a file in it.
            let _ = unlinkat(host.boxes(), id.as_str(), AtFlags::REMOVEDIR);
        }
        match made? {
            Made::Lock(lock) => Ok(Some(Taken::Ours(lock))),
            Made::Existed(directory) => Self::examine(host, id, directory),
            Made::Raced => Ok(None),
        }
    }

    /// Makes the lock in its directory: written and locked under another name, then renamed.
    fn make(
        host: &Host,
        record: &Record,
        keeper: &Keeper,
        directory: OwnedFd,
        leftovers: &[&str],
    ) -> Result<Made, Error> {
        let path = || path_of(host, &record.box_id).join(LOCK);
        let failed = |errno: Errno| Error::Open { path: path(), source: errno.into() };
        let temporary = new_lock_name(host);
        let mut file = match openat(&directory, temporary.as_str(), NEW_FILE, FILE_MODE) {
            Err(Errno::NOENT) => return Ok(Made::Raced),
            Err(Errno::EXIST) => {
                // A process that had our pid died here.
                let _ = unlinkat(&directory, temporary.as_str(), AtFlags::empty());
                return Ok(Made::Raced);
            }
            result => File::from(result.map_err(failed)?),
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            // Somebody looks whether it is held, or takes it for that of a dead process.
            Err(Errno::WOULDBLOCK) => return Ok(Made::Raced),
            Err(errno) => {
                let _ = unlinkat(&directory, temporary.as_str(), AtFlags::empty());
                return Err(Error::Flock { path: path(), source: errno.into() });
            }
        }
        // Before the rename: from then on the keeper must know that this lock is ours.
        let handed = keeper.hand_over(TAG_LOCK, &[file.as_fd()]);
        let written = write_record(&mut file, record).map_err(|source| Error::Write { path: path(), source });
        let renamed = handed.and(written).and_then(|()| {
            match renameat_with(&directory, temporary.as_str(), &directory, LOCK, RenameFlags::NOREPLACE) {
                Ok(()) => Ok(true),
                Err(Errno::EXIST | Errno::NOENT) => Ok(false),
                Err(errno) => Err(failed(errno)),
            }
        });
        if !matches!(renamed, Ok(true)) {
            let _ = unlinkat(&directory, temporary.as_str(), AtFlags::empty());
        }
        if renamed? {
            // What somebody left for a box of this name that ended meanwhile is not meant for this one.
            for name in leftovers {
                let _ = unlinkat(&directory, *name, AtFlags::empty());
            }
            return Ok(Made::Lock(Self { id: record.box_id.clone(), directory, file }));
        }
        Ok(Made::Existed(directory))
    }

    /// Opens the lock of a box that is there; none when there is no directory of this name.
    pub(crate) fn open(host: &Host, id: &BoxId) -> Result<Option<Taken>, Error> {
        for _ in 0..ATTEMPTS {
            match openat(host.boxes(), id.as_str(), OPEN_DIRECTORY, Mode::empty()) {
                Err(Errno::NOENT) => return Ok(None),
                Err(errno) => return Err(Error::Open { path: path_of(host, id), source: errno.into() }),
                Ok(directory) => {
                    if let Some(taken) = Self::examine(host, id, directory)? {
                        return Ok(Some(taken));
                    }
                }
            }
        }
        Ok(Some(Taken::Busy { owner: None }))
    }

    /// Whether the lock in a directory is held; none when it went away meanwhile.
    fn examine(host: &Host, id: &BoxId, directory: OwnedFd) -> Result<Option<Taken>, Error> {
        let failed = |errno: Errno| Error::Open { path: path_of(host, id).join(LOCK), source: errno.into() };
        let mut file = match openat(&directory, LOCK, OPEN_FILE, Mode::empty()) {
            Err(Errno::NOENT) => return Self::examine_unlocked(host, id, directory),
            result => File::from(result.map_err(failed)?),
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            // Not held, only looked at: by `is_held`, which is done in an instant.
            Err(Errno::WOULDBLOCK) if !is_held(file.as_fd()) => return Ok(None),
            Err(Errno::WOULDBLOCK) => {
                let owner = read_record(&mut file).map(|record| record.pid);
                return Ok(Some(Taken::Busy { owner }));
            }
            Err(errno) => return Err(failed(errno)),
        }
        // The lock of a file that was unlinked meanwhile says nothing about the name.
        let same = match (fstat(&file), statat(&directory, LOCK, AtFlags::SYMLINK_NOFOLLOW)) {
            (Ok(ours), Ok(named)) => (ours.st_dev, ours.st_ino) == (named.st_dev, named.st_ino),
            _ => false,
        };
        Ok(same.then(|| Taken::Stale(Self { id: id.clone(), directory, file })))
    }

    /// A directory without a lock: its maker is at work, or died before it had one. What is in it is then
    /// a file that nobody has locked.
    fn examine_unlocked(host: &Host, id: &BoxId, directory: OwnedFd) -> Result<Option<Taken>, Error> {
        let failed = |errno: Errno| Error::Open { path: path_of(host, id), source: errno.into() };
        for name in names_in(&directory).map_err(failed)? {
            if let Ok(fd) = openat(&directory, name.as_str(), OPEN_FILE, Mode::empty())
                && flock(&fd, FlockOperation::NonBlockingLockExclusive).is_err()
            {
                return Ok(Some(Taken::Busy { owner: None }));
            }
            let _ = unlinkat(&directory, name.as_str(), AtFlags::empty());
        }
        match unlinkat(host.boxes(), id.as_str(), AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(None),
            Err(errno) => Err(Error::Remove { path: path_of(host, id), source: errno.into() }),
        }
    }

    /// Adds the marks, which are known only now: by rename, so that a reader never sees half of them.
    pub(crate) fn write_marks(&self, host: &Host, record: &Record) -> Result<(), Error> {
        let temporary = NEW_MARKS;
        let failed = |source| Error::Write { path: path_of(host, &self.id).join(MARKS), source };
        let file = openat(&self.directory, temporary, NEW_FILE, FILE_MODE).map_err(|errno| failed(errno.into()))?;
        let written = write_record(&mut File::from(file), record).and_then(|()| {
            rustix::fs::renameat(&self.directory, temporary, &self.directory, MARKS).map_err(Into::into)
        });
        if written.is_err() {
            let _ = unlinkat(&self.directory, temporary, AtFlags::empty());
        }
        written.map_err(failed)
    }

    /// What the record says; the fuller one first. None when neither can be read.
    pub(crate) fn record(&mut self) -> Option<Record> {
        let marks = openat(&self.directory, MARKS, OPEN_FILE, Mode::empty()).ok();
        marks.and_then(|fd| read_record(&mut File::from(fd))).or_else(|| read_record(&mut self.file))
    }

    /// Whether an operator asked for the kill.
    pub(crate) fn kill_requested(&self) -> bool {
        statat(&self.directory, KILL_REQUEST, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Keeps the record of a box that is not clean until somebody asks for its cleanup.
    pub(crate) fn keep(&self, host: &Host, why: &str) -> Result<(), Error> {
        let failed = |source| Error::Write { path: path_of(host, &self.id).join(KEPT), source };
        match openat(&self.directory, KEPT, NEW_FILE, FILE_MODE) {
            Ok(file) => File::from(file).write_all(why.as_bytes()).map_err(failed),
            Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(failed(errno.into())),
        }
    }

    /// Whether the record is kept for somebody to look at.
    pub(crate) fn is_kept(&self) -> bool {
        statat(&self.directory, KEPT, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Removes the directory, the lock last: only when nothing of the box is left.
    pub(crate) fn remove(self, host: &Host) -> Result<(), Error> {
        let failed = |errno: Errno| Error::Remove { path: path_of(host, &self.id), source: errno.into() };
        for name in names_in(&self.directory).map_err(failed)? {
            if name != LOCK {
                ignore_missing(self.remove_entry(&name)).map_err(failed)?;
            }
        }
        ignore_missing(unlinkat(&self.directory, LOCK, AtFlags::empty())).map_err(failed)?;
        for _ in 0..ATTEMPTS {
            match unlinkat(host.boxes(), self.id.as_str(), AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                // Somebody who waits for the name has put a file of their own there; or had, and it is tried again.
                Err(Errno::NOTEMPTY | Errno::EXIST) => {
                    seek(&self.directory, SeekFrom::Start(0)).map_err(failed)?;
                    if !names_in(&self.directory).map_err(failed)?.is_empty() {
                        return Ok(());
                    }
                }
                Err(errno) => return Err(failed(errno)),
            }
        }
        Err(failed(Errno::NOTEMPTY))
    }

    /// Rustbox makes no directory here. An empty one, where something was mounted perhaps, goes; what is in any other
    /// is not ours to remove, and a mount point stays for its own error.
    fn remove_entry(&self, name: &str) -> Result<(), Errno> {
        match unlinkat(&self.directory, name, AtFlags::empty()) {
            Err(Errno::ISDIR) => unlinkat(&self.directory, name, AtFlags::REMOVEDIR),
            other => other,
        }
    }
}

/// The name under which this process writes a lock, before it is renamed.
pub(crate) fn new_lock_name(host: &Host) -> String {
    format!("{LOCK}.{}", host.pid())
}

fn ignore_missing(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// Leaves word that an operator wants the box dead.
pub(crate) fn request_kill(host: &Host, id: &BoxId) -> Result<(), Error> {
    let failed = |errno: Errno| Error::Write { path: path_of(host, id).join(KILL_REQUEST), source: errno.into() };
    let directory = match openat(host.boxes(), id.as_str(), OPEN_DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        result => result.map_err(failed)?,
    };
    match openat(&directory, KILL_REQUEST, NEW_FILE, FILE_MODE) {
        Ok(_) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(failed(errno)),
    }
}

/// Whether a box has a directory, whatever is in it.
pub(crate) fn exists(host: &Host, id: &BoxId) -> bool {
    !matches!(statat(host.boxes(), id.as_str(), AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT))
}

/// The record of a box, without its lock; none when there is none that can be read.
pub(crate) fn peek(host: &Host, id: &BoxId) -> Option<Record> {
    let directory = openat(host.boxes(), id.as_str(), OPEN_DIRECTORY, Mode::empty()).ok()?;
    let read = |name| {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        read_record(&mut File::from(openat(&directory, name, flags, Mode::empty()).ok()?))
    };
    read(MARKS).or_else(|| read(LOCK)).filter(|record| record.box_id == *id)
}

/// The boxes that have a directory of ours.
pub(crate) fn boxes(host: &Host) -> Result<Vec<BoxId>, Error> {
    let failed = |errno: Errno| Error::Open { path: host.boxes_path(), source: errno.into() };
    let mut ids = Vec::new();
    // Other threads list it too, and an open directory has one position.
    let own = openat(host.boxes(), ".", OPEN_DIRECTORY, Mode::empty()).map_err(failed)?;
    for_each_name(&own, |name| ids.extend(name.parse().ok())).map_err(failed)?;
    ids.sort();
    Ok(ids)
}

/// The files of a box's directory from its position on, which is its start until it is listed; or why they could not be
/// listed. A name that is not text is not ours.
fn names_in(directory: &OwnedFd) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for_each_name(directory, |name| names.push(name.to_owned()))?;
    names.retain(|name| name != "." && name != "..");
    Ok(names)
}

/// Every name from the directory's position on that is text. One that was removed meanwhile has none (`ENOENT`, of
/// `iterate_dir` in `fs/readdir.c`).
fn for_each_name(directory: &OwnedFd, mut each: impl FnMut(&str)) -> Result<(), Errno> {
    let mut buffer = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(directory, &mut buffer);
    while let Some(entry) = entries.next() {
        match entry {
            Ok(entry) => entry.file_name().to_str().into_iter().for_each(&mut each),
            Err(Errno::NOENT) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn write_record(file: &mut File, record: &Record) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(record)?;
    text.push(b'\n');
    file.write_all(&text)
}

/// A record of ours: complete, of this schema, and not longer than we write them.
fn read_record(file: &mut File) -> Option<Record> {
    let mut text = Vec::new();
    file.take(Record::MAX_BYTES + 1).read_to_end(&mut text).ok()?;
    if u64::try_from(text.len()).ok()? > Record::MAX_BYTES {
        return None;
    }
    let record: Record = serde_json::from_slice(&text).ok()?;
    (record.schema == Record::SCHEMA).then_some(record)
}

fn path_of(host: &Host, id: &BoxId) -> PathBuf {
    host.boxes_path().join(id.as_str())
}

/// Whether somebody else holds the lock of what a descriptor stands for. A lock that is free is taken and
/// given back at once: shared, so that two who look do not see each other.
pub(crate) fn is_held(fd: BorrowedFd<'_>) -> bool {
    match flock(fd, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {
            let _ = flock(fd, FlockOperation::NonBlockingUnlock);
            false
        }
        Err(_) => true,
    }
}

/// Whether the lock in the box's directory is held; none when there is no such lock.
pub(crate) fn record_is_held(host: &Host, id: &BoxId) -> Option<bool> {
    let directory = openat(host.boxes(), id.as_str(), OPEN_DIRECTORY, Mode::empty()).ok()?;
    let file = openat(&directory, LOCK, OPEN_FILE, Mode::empty()).ok()?;
    Some(is_held(file.as_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_was_removed_while_it_was_open_has_no_names() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("box");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("lock"), "").unwrap();
        let open = openat(rustix::fs::CWD, &path, OPEN_DIRECTORY, Mode::empty()).unwrap();
        assert_eq!(names_in(&open), Ok(vec!["lock".to_owned()]));
        // A second look sees what the first did not.
        assert_eq!(names_in(&open), Ok(Vec::new()));
        seek(&open, SeekFrom::Start(0)).unwrap();
        std::fs::remove_dir_all(&path).unwrap();
        assert_eq!(names_in(&open), Ok(Vec::new()));
    }
}
