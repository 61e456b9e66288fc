//! How many jobs of this worker's batches wait for a box.
//!
//! Each batch has a file of its own, in which it writes its number, and whose lock it holds while it lives. A number whose
//! lock is free is that of a batch that has ended or was killed, and counts for nothing. Files are used again, and are
//! never removed: there are as many as there were ever batches at once.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, openat};
use rustix::io::Errno;

use crate::directory::Directory;
use crate::error::Error;

/// Batches at most that are told of: far more than a host has room for.
const BATCHES_MAX: u32 = 256;

/// The number of one batch.
#[derive(Debug)]
pub struct BatchQueue {
    file: File,
    path: PathBuf,
}

impl BatchQueue {
    /// Begins at 0.
    ///
    /// # Errors
    /// No file could be made, or there are 256 batches already.
    pub fn open(state_dir: &Path) -> Result<Self, Error> {
        let directory = Directory::create(state_dir)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for name in names() {
            let path = directory.path_of(&name);
            let fd = openat(directory.as_fd(), name.as_str(), flags, Mode::RUSR | Mode::WUSR)
                .map_err(|errno| Error::Open { path: path.clone(), source: errno.into() })?;
            match flock(&fd, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    let queue = Self { file: fd.into(), path };
                    return queue.tell(0).map(|()| queue);
                }
                // Another batch's, or looked at just now by who exports.
                Err(Errno::WOULDBLOCK) => {}
                Err(errno) => return Err(Error::Lock { path, source: errno.into() }),
            }
        }
        Err(Error::TooManyBatches { most: BATCHES_MAX })
    }

    /// Says how many jobs wait now.
    ///
    /// # Errors
    /// It could not be written.
    pub fn tell(&self, waiting: u64) -> Result<(), Error> {
        // Eight aligned bytes: a reader sees one number or the other.
        let written = self.file.write_all_at(&waiting.to_le_bytes(), 0);
        written.map_err(|source| Error::Write { path: self.path.clone(), source })
    }

    /// How many jobs wait in all batches that live.
    ///
    /// # Errors
    /// A file could not be read.
    pub fn depth(state_dir: &Path) -> Result<u64, Error> {
        let Some(directory) = Directory::open(state_dir)? else { return Ok(0) };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let mut depth: u64 = 0;
        for name in names() {
            let path = directory.path_of(&name);
            let file = match openat(directory.as_fd(), name.as_str(), flags, Mode::empty()) {
                Err(Errno::NOENT) => break,
                opened => File::from(opened.map_err(|e| Error::Open { path: path.clone(), source: e.into() })?),
            };
            match flock(file.as_fd(), FlockOperation::NonBlockingLockShared) {
                // Nobody's: its batch is gone.
                Ok(()) => continue,
                Err(Errno::WOULDBLOCK) => {}
                Err(errno) => return Err(Error::Lock { path, source: errno.into() }),
            }
            let mut bytes = [0; size_of::<u64>()];
            match file.read_exact_at(&mut bytes, 0) {
                Ok(()) => depth = depth.saturating_add(u64::from_le_bytes(bytes)),
                // A batch that has its lock and has told nothing yet.
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {}
                Err(source) => return Err(Error::Read { path, source }),
            }
        }
        Ok(depth)
    }
}

fn names() -> impl Iterator<Item = String> {
    (0..BATCHES_MAX).map(|number| format!("batch-queue.{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_that_live_are_added_up_and_those_that_ended_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let depth = || BatchQueue::depth(dir.path()).unwrap();
        assert_eq!(depth(), 0, "without a file");
        let first = BatchQueue::open(dir.path()).unwrap();
        let second = BatchQueue::open(dir.path()).unwrap();
        assert_eq!(depth(), 0);
        first.tell(3).unwrap();
        second.tell(40).unwrap();
        assert_eq!(depth(), 43);
        drop(first);
        assert_eq!(depth(), 40, "its number is still in the file");
        let third = BatchQueue::open(dir.path()).unwrap();
        assert_eq!(depth(), 40, "a file that is used again begins at 0");
        third.tell(1).unwrap();
        assert_eq!(depth(), 41);
        drop((second, third));
        assert_eq!(depth(), 0);
        assert_eq!(names().filter(|name| dir.path().join("health").join(name).exists()).count(), 2);
    }

    #[test]
    fn more_batches_than_there_are_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let all: Vec<_> = names().map(|_| BatchQueue::open(dir.path()).unwrap()).collect();
        assert!(matches!(BatchQueue::open(dir.path()), Err(Error::TooManyBatches { .. })));
        drop(all);
        BatchQueue::open(dir.path()).unwrap();
    }
}
